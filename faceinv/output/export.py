"""A fitted face as a file for other programs: GLB, OBJ or PLY, by suffix.

| file | unit | what it holds |
| --- | --- | --- |
| `.glb` | metres | glTF 2.0: the mesh with normals, texture coordinates and the texture inside |
| `.obj` | millimetres | the same with `NAME.mtl` and `NAME_texture.png` beside it |
| `.ply` | millimetres | binary: the mesh with normals and 8-bit sRGB colours at the vertices |

Axes are those of the model in all three, right-handed: x to the image's right for a frontal face (the person's left),
y up, z from the face towards the viewer. So a GLB opens upright and facing the viewer, as glTF asks (+y up, +z front).
The head is not turned as in the photo: pose and camera are in `Face.camera`, and a GLB holds the camera too where that
is asked for. OBJ and PLY say unit and axes in their comments. The material is rough and not metallic; with a photo
texture, which has its light painted in, the GLB asks viewers not to light it (`KHR_materials_unlit`). Both sides of the
surface are shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.errors import InputError
from faceinv.face.mesh import vertex_normals
from faceinv.files import write_whole
from faceinv.output.face_glb import AXES, face_glb
from faceinv.output.picture import save_image
from faceinv.render.inner_parts import with_painted_parts
from faceinv.render.texture import check_texture, texture_image, vertex_colours
from faceinv.render.uv import texture_layout
from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.relief_map import ReliefMap
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.render.texture import Texture

__all__ = ["SUFFIXES", "export_face"]

SUFFIXES: Final = (".glb", ".obj", ".ply")


@dataclass(frozen=True)
class _Content:
    """What is written."""

    model: MorphableModel
    face: Face
    texture: Texture
    photo: NDArray[np.float32] | None
    image_size: tuple[int, int] | None
    """(width, height) px of the photo, where its camera is written too."""
    rig: bool
    texture_size: int | None
    vertices: NDArray[np.float64]
    """(N, 3) mm."""
    relief: ReliefMap | None
    """What a normal map is made of."""

    @cached_property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3)."""
        return vertex_normals(self.vertices, self.model.triangles)

    def image(self) -> NDArray[np.uint8]:
        """(S, S, 3) the texture."""
        image = texture_image(
            self.model, self.face, self.texture, self.photo, self.texture_size, self.vertices, moving=self.rig
        )
        if self.rig and self.texture == "photo" and self.photo is not None:
            return with_painted_parts(self.model, self.face, self.photo, image)
        return image

    def normal_map(self) -> NDArray[np.uint8] | None:
        """(S, S, 3) of the surface that the file holds, or None."""
        from faceinv.output.normal_map import normal_map
        from faceinv.output.rig import Rig

        if self.relief is None:
            return None
        return normal_map(self.relief, self.model, Rig.of(self.model, self.face).base if self.rig else self.vertices)


def export_face(
    model: MorphableModel,
    face: Face,
    path: Path,
    texture: Texture = "albedo",
    photo: NDArray[np.float32] | None = None,
    image_size: tuple[int, int] | None = None,
    rig: bool = False,
    texture_size: int | None = None,
    vertices: NDArray[np.float64] | None = None,
    relief: ReliefMap | None = None,
) -> None:
    """Write a face as `.glb`, `.obj` or `.ply`; every file whole or not at all.

    Args:
        model: the model.
        face: the face; for a photo texture, in the frame of the photo.
        path: its suffix chooses the format; missing folders are made.
        texture: `albedo` (reflectance, without light), `photo` (the photo's own colours) or `photo-delit` (these
            without the light); see `faceinv.render.texture`.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; needed for a texture from it.
        image_size: (width, height) px of the photo: with it a GLB holds its camera.
        rig: whether a GLB holds morph targets and turnable eyes (`faceinv.output.face_glb`).
        texture_size: texels along each side of the texture; None for 1024. A `.ply` has none.
        vertices: (N, 3) mm of the face, where they are known already.
        relief: fine detail, of which a GLB gets a normal map; other files do without.

    Raises:
        InputError: for another suffix or texture, a camera or rig in a file that cannot hold one, a rig of a model
            without named units, a place that cannot be written, or a photo texture without a photo.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        given = f"has the suffix '{path.suffix}'" if path.suffix else "has no suffix"
        raise InputError(f"'{path.name}' {given}; faces are exported as {', '.join(SUFFIXES)}.")
    if path.is_dir():
        raise InputError(f"cannot write '{path}': it is a folder. Give a file name in it.")
    if image_size is not None and suffix != ".glb":
        raise InputError(f"'{path.name}': only a .glb holds the camera. Export a .glb, or leave the camera out.")
    if rig and suffix != ".glb":
        raise InputError(f"'{path.name}': only a .glb holds a rig. Export a .glb, or leave the rig out.")
    check_texture(texture, photo)
    surface = face.vertices(model) if vertices is None else vertices
    content = _Content(model, face, texture, photo, image_size, rig, texture_size, surface, relief)
    {".glb": _write_glb, ".obj": _write_obj, ".ply": _write_ply}[suffix](content, path)


def _write_glb(content: _Content, path: Path) -> None:
    encoded = face_glb(
        content.model,
        content.face,
        content.image(),
        content.texture,
        unlit=content.texture == "photo",
        normal_map=content.normal_map(),
        rig=content.rig,
        image_size=content.image_size,
        vertices=content.vertices,
    )
    with write_whole(path) as temporary:
        temporary.write_bytes(encoded)


def _write_obj(content: _Content, path: Path) -> None:
    model, texture = content.model, content.texture
    # Readers split these names at blanks, and a texture named like the photo beside it would overwrite the photo.
    stem = re.sub(r"\s+", "_", path.stem)
    material_file, texture_file = f"{stem}.mtl", f"{stem}_texture.png"
    save_image(path.with_name(texture_file), content.image())
    lit = "illum 0" if texture == "photo" else "illum 1"
    material = [f"# faceinv {__version__}", f"newmtl {texture}", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "d 1", lit]
    with write_whole(path.with_name(material_file)) as temporary:
        temporary.write_bytes(_naming_files("\n".join([*material, f"map_Kd {texture_file}", ""])))
    vertex, uv = model.triangles + 1, model.uv_triangles + 1
    faces = np.stack([vertex, uv, vertex], axis=2).reshape(-1, 9)
    parts = [
        f"# faceinv {__version__}\n# unit: millimetre; axes: {AXES}\nmtllib {material_file}\no face\n",
        _lines("v %.5f %.5f %.5f", content.vertices),
        _lines("vt %.6f %.6f", texture_layout(model)),
        _lines("vn %.5f %.5f %.5f", content.normals),
        f"usemtl {texture}\n",
        _lines("f %d/%d/%d %d/%d/%d %d/%d/%d", faces),
    ]
    with write_whole(path) as temporary:
        temporary.write_bytes(_naming_files("".join(parts)))


def _naming_files(text: str) -> bytes:
    """UTF-8 but for names that are none, whose own bytes are written, so that readers find the files."""
    return text.encode("utf-8", "surrogateescape")


def _lines(pattern: str, rows: NDArray[Any]) -> str:
    return ((pattern + "\n") * len(rows)) % tuple(rows.ravel().tolist())


def _write_ply(content: _Content, path: Path) -> None:
    model, texture = content.model, content.texture
    count = model.vertex_count
    vertex = np.empty(count, [(n, "<f4") for n in ("x", "y", "z", "nx", "ny", "nz")] + [(n, "u1") for n in "rgb"])
    for k, axis in enumerate("xyz"):
        vertex[axis], vertex["n" + axis] = content.vertices[:, k], content.normals[:, k]
    colours = np.rint(255 * vertex_colours(model, content.face, texture, content.photo, content.vertices)).astype(
        np.uint8
    )
    for k, channel in enumerate("rgb"):
        vertex[channel] = colours[:, k]
    face = np.empty(len(model.triangles), [("count", "u1"), ("index", "<i4", 3)])
    face["count"], face["index"] = 3, model.triangles
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment faceinv {__version__}",
        f"comment unit: millimetre; axes: {AXES}",
        f"comment colours: {texture}, sRGB",
        f"element vertex {count}",
        *(f"property float {name}" for name in ("x", "y", "z", "nx", "ny", "nz")),
        *(f"property uchar {name}" for name in ("red", "green", "blue")),
        f"element face {len(face)}",
        "property list uchar int vertex_indices",
        "end_header\n",
    ]
    with write_whole(path) as temporary:
        temporary.write_bytes("\n".join(header).encode("ascii") + vertex.tobytes() + face.tobytes())
