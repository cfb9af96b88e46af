"""glTF 2.0 in one piece (GLB), written with pygltflib: nodes, meshes of several primitives, morph targets, cameras.

What a face is made of is said elsewhere (`faceinv.output.face_glb`); here it becomes a file. Units are metres, +y is
up. Morph targets are sparse accessors, since a unit of expression moves a small part of a face; their names stand in
`mesh.extras.targetNames`, where Blender, three.js and Unity's importers look.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Lens", "Material", "Mesh", "Node", "Picture", "Primitive", "Target", "glb_bytes"]

_FLOAT, _UNSIGNED_SHORT, _UNSIGNED_INT = 5126, 5123, 5125
_ARRAY, _ELEMENT_ARRAY = 34962, 34963
_TRIANGLES: Final = 4
_JPEG_QUALITY: Final = 92
_T = TypeVar("_T")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image inside the file. The same object in two materials is stored once."""

    pixels: NDArray[np.uint8]
    """(H, W, 3); row 0 is v = 1 of the model's layout, the upper edge of the picture."""
    lossless: bool = False
    """PNG, for data such as normals; JPEG otherwise, which is a tenth of the size and of the time."""

    def encoded(self) -> tuple[bytes, str]:
        """The file's bytes and its MIME type."""
        from PIL import Image

        stream, image = io.BytesIO(), Image.fromarray(self.pixels)
        if self.lossless:
            image.save(stream, "PNG", compress_level=1)
            return stream.getvalue(), "image/png"
        image.save(stream, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
        return stream.getvalue(), "image/jpeg"


@dataclass(frozen=True, eq=False)
class Material:
    """How a surface looks. The same object in two primitives is stored once."""

    name: str
    image: Picture | None = None
    """sRGB base colour."""
    normal_map: Picture | None = None
    """Tangent space, x along increasing u, y along increasing v, `(n + 1) / 2 * 255`; to be stored without loss."""
    unlit: bool = False
    """Whether the light is painted in, so that viewers must not add their own."""
    roughness: float = 1.0
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Linear; multiplies the image."""


@dataclass(frozen=True, eq=False)
class Target:
    """What a morph target of weight 1 adds to a primitive: to a few of its vertices, maybe to none."""

    vertices: NDArray[np.integer[Any]]
    """(M,) strictly ascending."""
    displacement: NDArray[np.floating[Any]]
    """(M, 3) m."""
    normal: NDArray[np.floating[Any]]
    """(M, 3) added to the unit normals of the base."""


@dataclass(frozen=True, eq=False)
class Primitive:
    """Triangles of one material, with one index a corner for position, normal and texture coordinate."""

    material: Material
    positions: NDArray[np.floating[Any]]
    """(N, 3) m."""
    normals: NDArray[np.floating[Any]]
    """(N, 3) unit."""
    uv: NDArray[np.floating[Any]]
    """(N, 2), v upwards."""
    triangles: NDArray[np.integer[Any]]
    """(T, 3) counter-clockwise from outside."""
    tangents: NDArray[np.floating[Any]] | None = None
    """(N, 4): the unit tangent along u, and the sign that the bitangent has; for a normal map."""
    targets: Sequence[Target] = ()
    """One for each of the mesh's target names."""


@dataclass(frozen=True, eq=False)
class Mesh:
    """Primitives that are moved together."""

    name: str
    primitives: Sequence[Primitive]
    target_names: Sequence[str] = ()
    weights: Sequence[float] = ()
    """Of the targets, where nothing else drives them."""


@dataclass(frozen=True, eq=False)
class Lens:
    """A camera: what glTF's camera object says."""

    name: str
    projection: dict[str, Any]
    """`type`, and the object of that name."""
    extras: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Node:
    """A thing in the scene. `translation` or `matrix`, not both."""

    name: str
    mesh: Mesh | None = None
    lens: Lens | None = None
    translation: Sequence[float] | None = None
    """(3,) m."""
    matrix: NDArray[np.floating[Any]] | None = None
    """(4, 4) to the parent's frame, m."""
    children: Sequence[Node] = ()
    extras: dict[str, Any] = field(default_factory=dict)


def glb_bytes(nodes: Sequence[Node], extras: dict[str, Any]) -> bytes:
    """A GLB of one scene.

    Args:
        nodes: those at the top.
        extras: facts for `asset.extras`, such as the unit.
    """
    import pygltflib as gltf

    writer = _Writer(gltf.GLTF2(asset=gltf.Asset(version="2.0", generator=f"faceinv {__version__}", extras=extras)))
    top = [writer.node(node) for node in nodes]
    writer.tree.scenes.append(gltf.Scene(nodes=top))
    writer.tree.scene = 0
    return writer.finish()


class _Writer:
    """The tree and the binary part, which grow together."""

    def __init__(self, tree: Any) -> None:
        self.tree = tree
        self._data = bytearray()
        self._materials: dict[int, int] = {}
        self._textures: dict[int, int] = {}

    def node(self, node: Node) -> int:
        import pygltflib as gltf

        entry = gltf.Node(name=node.name, children=[self.node(child) for child in node.children])
        if node.mesh is not None:
            entry.mesh = self._mesh(node.mesh)
        if node.lens is not None:
            entry.camera = self._lens(node.lens)
        if node.translation is not None:
            entry.translation = [float(value) for value in node.translation]
        if node.matrix is not None:
            # Column after column, as glTF has matrices.
            entry.matrix = np.asarray(node.matrix, np.float64).T.ravel().tolist()
        entry.extras = dict(node.extras)
        return _appended(self.tree.nodes, entry)

    def finish(self) -> bytes:
        import pygltflib as gltf

        self._data.extend(b"\0" * (-len(self._data) % 4))
        self.tree.buffers.append(gltf.Buffer(byteLength=len(self._data)))
        self.tree.set_binary_blob(bytes(self._data))
        return b"".join(self.tree.save_to_bytes())

    def _mesh(self, mesh: Mesh) -> int:
        import pygltflib as gltf

        entry = gltf.Mesh(name=mesh.name, primitives=[self._primitive(primitive) for primitive in mesh.primitives])
        if mesh.target_names:
            entry.weights = [float(weight) for weight in mesh.weights]
            entry.extras = {"targetNames": list(mesh.target_names)}
        return _appended(self.tree.meshes, entry)

    def _primitive(self, primitive: Primitive) -> Any:
        import pygltflib as gltf

        count = len(primitive.positions)
        attributes = gltf.Attributes(
            POSITION=self._vectors(primitive.positions, bounds=True),
            NORMAL=self._vectors(primitive.normals),
            # glTF's v runs down the picture.
            TEXCOORD_0=self._vectors(np.stack([primitive.uv[:, 0], 1 - primitive.uv[:, 1]], axis=1)),
        )
        if primitive.tangents is not None:
            attributes.TANGENT = self._vectors(primitive.tangents)
        indices, kind = _indices(primitive.triangles.ravel(), count)
        return gltf.Primitive(
            attributes=attributes,
            indices=_appended(
                self.tree.accessors,
                gltf.Accessor(
                    bufferView=self._view(indices, _ELEMENT_ARRAY),
                    componentType=kind,
                    count=len(indices),
                    type="SCALAR",
                ),
            ),
            material=self._material(primitive.material),
            mode=_TRIANGLES,
            targets=self._targets(primitive.targets, count),
        )

    def _targets(self, targets: Sequence[Target], count: int) -> list[dict[str, int]]:
        entries: list[dict[str, int]] = []
        still: int | None = None
        for target in targets:
            if len(target.vertices):
                indices, kind = _indices(target.vertices, count)
                view = self._view(indices)
                entries.append(
                    {
                        "POSITION": self._sparse(target.displacement, view, kind, count, bounds=True),
                        "NORMAL": self._sparse(target.normal, view, kind, count),
                    }
                )
                continue
            if still is None:
                still = self._still(count)
            entries.append({"POSITION": still, "NORMAL": still})
        return entries

    def _material(self, material: Material) -> int:
        import pygltflib as gltf

        if id(material) in self._materials:
            return self._materials[id(material)]
        surface = gltf.PbrMetallicRoughness(
            baseColorFactor=[*material.colour, 1.0], metallicFactor=0.0, roughnessFactor=material.roughness
        )
        if material.image is not None:
            surface.baseColorTexture = gltf.TextureInfo(index=self._texture(material.image))
        entry = gltf.Material(
            name=material.name, pbrMetallicRoughness=surface, doubleSided=True, alphaCutoff=None, alphaMode=None
        )
        if material.normal_map is not None:
            entry.normalTexture = gltf.NormalMaterialTexture(index=self._texture(material.normal_map))
        if material.unlit:
            entry.extensions = {"KHR_materials_unlit": {}}
            self.tree.extensionsUsed = ["KHR_materials_unlit"]
        self._materials[id(material)] = _appended(self.tree.materials, entry)
        return self._materials[id(material)]

    def _texture(self, picture: Picture) -> int:
        import pygltflib as gltf

        if id(picture) in self._textures:
            return self._textures[id(picture)]
        encoded, kind = picture.encoded()
        source = _appended(self.tree.images, gltf.Image(bufferView=self._view(encoded), mimeType=kind))
        if not self.tree.samplers:
            self.tree.samplers.append(gltf.Sampler(magFilter=9729, minFilter=9987))  # linear, with mipmaps
        self._textures[id(picture)] = _appended(self.tree.textures, gltf.Texture(source=source, sampler=0))
        return self._textures[id(picture)]

    def _lens(self, lens: Lens) -> int:
        import pygltflib as gltf

        kind = lens.projection["type"]
        shape = {"perspective": gltf.Perspective, "orthographic": gltf.Orthographic}[kind](**lens.projection[kind])
        return _appended(
            self.tree.cameras, gltf.Camera(name=lens.name, type=kind, extras=dict(lens.extras), **{kind: shape})
        )

    def _view(self, values: NDArray[Any] | bytes, target: int | None = None) -> int:
        """Append data, aligned to four bytes; the index of its buffer view."""
        import pygltflib as gltf

        self._data.extend(b"\0" * (-len(self._data) % 4))
        raw = values if isinstance(values, bytes) else np.ascontiguousarray(values).tobytes()
        view = gltf.BufferView(buffer=0, byteOffset=len(self._data), byteLength=len(raw), target=target)
        self._data.extend(raw)
        return _appended(self.tree.bufferViews, view)

    def _vectors(self, values: NDArray[Any], bounds: bool = False) -> int:
        """An accessor of float32 vectors (N, 2 to 4)."""
        import pygltflib as gltf

        values = np.asarray(values, dtype="<f4")
        accessor = gltf.Accessor(
            bufferView=self._view(values, _ARRAY),
            componentType=_FLOAT,
            count=len(values),
            type=f"VEC{values.shape[1]}",
        )
        return self._accessor(accessor, values if bounds else None)

    def _sparse(self, values: NDArray[Any], index_view: int, index_kind: int, count: int, bounds: bool = False) -> int:
        """An accessor of float32 vectors (N, 3) that are zero but for a few."""
        import pygltflib as gltf

        values = np.asarray(values, dtype="<f4")
        accessor = gltf.Accessor(
            byteOffset=None,  # it has no view of its own
            componentType=_FLOAT,
            count=count,
            type="VEC3",
            sparse=gltf.Sparse(
                count=len(values),
                indices=gltf.AccessorSparseIndices(bufferView=index_view, componentType=index_kind),
                values=gltf.AccessorSparseValues(bufferView=self._view(values)),
            ),
        )
        zero = np.zeros((1 if len(values) < count else 0, 3), "<f4")
        return self._accessor(accessor, np.concatenate([values, zero]) if bounds else None)

    def _still(self, count: int) -> int:
        """An accessor of zeros, which takes no room."""
        import pygltflib as gltf

        accessor = gltf.Accessor(byteOffset=None, componentType=_FLOAT, count=count, type="VEC3")
        return self._accessor(accessor, np.zeros((1, 3), "<f4"))

    def _accessor(self, accessor: Any, bounded: NDArray[np.float32] | None) -> int:
        if bounded is not None:
            accessor.min = [float(value) for value in bounded.min(axis=0)]
            accessor.max = [float(value) for value in bounded.max(axis=0)]
        return _appended(self.tree.accessors, accessor)


def _appended(entries: list[_T], entry: _T) -> int:
    entries.append(entry)
    return len(entries) - 1


def _indices(values: NDArray[np.integer[Any]], count: int) -> tuple[NDArray[Any], int]:
    """Numbers of `count` vertices in the smallest type that holds them, and that type; its largest is reserved."""
    small = count < 65536
    return values.astype("<u2" if small else "<u4"), _UNSIGNED_SHORT if small else _UNSIGNED_INT
