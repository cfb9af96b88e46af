"""The shared renderer: surface, normals, visibility and shading by `ArrayOps`, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.interface import AbstractRenderer
from faceinv.engine.local_autodiff.camera import Camera, dot
from faceinv.engine.local_autodiff.patterns import NormalDerivativePattern, corner_rows
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.engine.records import PIXEL_QUANTITIES, Geometry, Pixels, Visibility
from faceinv.engine.remembered import Remembered
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import SH_CONSTANTS, SH_COUNT, SH_TURNS
from faceinv.face.self_shadow import MOMENT_COUNT, shadow_matrix

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.records import EngineSettings, PixelQuantity
    from faceinv.face.model import MorphableModel

__all__ = ["LocalAutodiffRenderer", "PixelCorners", "Surface", "sh_terms", "unit"]

_BLOCK_PIXELS: Final = 1 << 15
_NO_NORMAL: Final = 1e-12
"""mm^2. A vertex whose triangles have no area has no normal; it gets (0, 0, 1) in the model frame."""


@dataclass(frozen=True)
class Surface:
    """The posed surface of one item; float64 on the device, the pose on the host."""

    vertices: Array
    """(3, N) mm."""
    normals: Array
    """(3, N) unit, model frame."""
    owner_normals: Array
    """(3, N) as `normals`, or (3, T) unit face normals: what shading uses."""
    owner_inverse: Array
    """(N,) or (T,): one over the length that the owner's normal had; 0 where there is none."""
    albedo: Array
    """(N, 3)."""
    edges: Array
    """(3T, 3) mm: the edge opposite each corner, from the corner after it to the one after that, negated."""
    image_xy: Array
    """(N, 2) px."""
    depth: Array
    """(N,) px."""
    corner_table: Array
    """(N, 6 to 18): x, y, depth, red, green, blue, for smooth normals the normal in the camera frame, and the nine of
    the shadow of a model that has any."""
    face_table: Array | None
    """(T, 3) face normals in the camera frame, for flat ones."""
    gamma: Array
    """(27,) lighting, channel after channel."""
    light_turns: NDArray[np.float64]
    """(3, 3, 9) host: of a channel and an axis, what `gamma . Y` gains from each function of the basis by a turn."""
    camera: Camera


@dataclass(frozen=True)
class PixelCorners:
    """What a block of n pixels reads from the surface, components first; float64."""

    corners: Array
    """(n, 3) vertex index."""
    owners: Array
    """(n, 3) or (n,) index of the normals' owners: vertices, or triangles for flat normals."""
    x: Sequence[Array]
    y: Sequence[Array]
    depth: Sequence[Array]
    """Three arrays (n,) each, one a corner."""
    albedo: Sequence[Sequence[Array]]
    """Channel, then corner."""
    normals: Sequence[Sequence[Array]] | None
    """Camera frame; axis, then corner; None for flat normals."""
    face_normal: Sequence[Array] | None
    """Camera frame; axis; for flat normals."""
    shadow: Sequence[Sequence[Array]] | None
    """Function of the basis, then corner, see `faceinv.face.self_shadow`; None for a model without."""


class LocalAutodiffRenderer(AbstractRenderer):
    """Renders with a library's own operations."""

    def __init__(self, ops: ArrayOps, model: MorphableModel, settings: EngineSettings) -> None:
        self.ops = ops
        self.model = model
        self.settings = settings
        self.layout = ParameterLayout.of(model)
        self.flat = settings.normals == "flat"
        n = model.vertex_count
        shape = np.concatenate([model.identity_basis, model.expression_basis], axis=2).reshape(3 * n, -1)
        self.triangles = ops.upload(model.triangles, "int64")
        self.face_mask = ops.upload(model.face_mask.astype(np.int32), "int32")
        self.mean = ops.upload(model.mean.reshape(-1), "float64")
        self.mean_albedo = ops.upload(model.mean_albedo.reshape(-1), "float64")
        self.shape_basis = ops.upload(shape, "float64") if shape.size else None
        self.albedo_basis = (
            ops.upload(model.albedo_basis.reshape(3 * n, -1), "float64") if model.albedo_basis.size else None
        )
        self.moments = None if model.occlusion is None else ops.upload(model.occlusion.T, "float64")
        self._around = ops.sparse_rows(*corner_rows(model.triangles, n), len(model.triangles))
        self._ones = ops.full((model.triangles.size,), 1.0, "float64")
        # Row tables, in the rows' own precision: bases of all vertices, shape columns then albedo columns.
        real = settings.dtype
        bases = [ops.cast(b, real).reshape((n, -1)) for b in (self.shape_basis, self.albedo_basis) if b is not None]
        self.row_basis = ops.concatenate(bases, 1) if bases else None
        self.row_shape_basis = ops.cast(self.shape_basis, real) if self.shape_basis is not None else None
        pattern = NormalDerivativePattern.of(model, self.flat)
        self.owners = ops.upload(pattern.owners, "int64")
        self.owner_place = ops.upload(pattern.place, "int64")
        self._entry_owner = ops.upload(pattern.owners[pattern.row], "int64")
        self._entry_order = ops.upload(pattern.order, "int64")
        self._edges = ops.sparse_rows(pattern.edge_start, pattern.edge_index, model.triangles.size)
        self._movers = ops.sparse_rows(pattern.start, pattern.index, 3 * n)
        self._edge_ones = ops.full((len(pattern.edge_index),), 1.0, "float64")
        self.surfaces: Remembered[Surface] = Remembered()

    def surface(self, chi: NDArray[np.float64], item: int) -> Surface:
        """The posed surface of an item of a batch, chi (P,)."""
        return self.surfaces.get(item, chi.tobytes(), lambda: self._surface(chi))

    def _surface(self, chi: NDArray[np.float64]) -> Surface:
        ops, layout, n = self.ops, self.layout, self.model.vertex_count
        uploaded = ops.upload(np.concatenate([chi[layout.shape], chi[layout.albedo], chi[layout.lighting]]), "float64")
        split = layout.shape_count
        vertices = self._linear(self.mean, self.shape_basis, uploaded[:split] if split else None)
        coefficients = uploaded[split : split + layout.albedo_count] if layout.albedo_count else None
        albedo = self._linear(self.mean_albedo, self.albedo_basis, coefficients).reshape((n, 3))
        rows = vertices.reshape((n, 3))
        # Triangles corner by corner, axis by axis: nine arrays (T,).
        c = [[axis[:, k] for k in range(3)] for axis in (ops.take(rows[:, d], self.triangles) for d in range(3))]
        sides = [[axis[(k + 1) % 3] - axis[(k + 2) % 3] for k in range(3)] for axis in c]
        face = _cross([axis[1] - axis[0] for axis in c], [axis[2] - axis[0] for axis in c])
        summed = ops.combine(self._around, self._ones, ops.stack(face, 1))
        normals, inverse = self._normalised([summed[:, d] for d in range(3)])
        xyz = [rows[:, d] for d in range(3)]
        camera = Camera.of(layout.cameras(chi))
        posed = camera.posed(xyz)
        x, y, depth = camera.image(ops, posed)
        columns = [x, y, depth, albedo[:, 0], albedo[:, 1], albedo[:, 2]]
        face_table = None
        if self.flat:
            owner_normals, inverse = self._normalised(face)
            face_table = ops.stack(camera.turned(owner_normals), 1)
        else:
            owner_normals = normals
            columns += camera.turned(normals)
        columns += self._shadow(layout.cameras(chi).rotation)
        return Surface(
            vertices=ops.stack(xyz, 0),
            normals=ops.stack(normals, 0),
            owner_normals=ops.stack(owner_normals, 0),
            owner_inverse=inverse,
            albedo=albedo,
            edges=ops.stack([ops.stack(axis, 1) for axis in sides], 2).reshape((-1, 3)),
            image_xy=ops.stack([x, y], 1),
            depth=depth,
            corner_table=ops.stack(columns, 1),
            face_table=face_table,
            gamma=uploaded[-27:],
            light_turns=np.einsum("akj,kc->caj", SH_TURNS, layout.gamma(chi)),
            camera=camera,
        )

    def _shadow(self, rotation: NDArray[np.float64]) -> list[Array]:
        """Nine arrays (N,), what the vertices take from the basis under a rotation; none for a model without."""
        if self.moments is None:
            return []
        matrix = shadow_matrix(rotation)
        return [dot([self.moments[m] for m in range(MOMENT_COUNT)], matrix[:, k].tolist()) for k in range(SH_COUNT)]

    def normal_derivative(self, surface: Surface) -> Array | None:
        """d normal / d shape coefficients of the face mask's owners, (M, 3 * K) in the rows' precision."""
        if self.row_shape_basis is None:
            return None
        ops = self.ops
        summed = ops.combine(self._edges, self._edge_ones, surface.edges)
        c = [summed[:, d] for d in range(3)]
        n = [ops.take(surface.owner_normals[d], self._entry_owner) for d in range(3)]
        inverse = ops.take(surface.owner_inverse, self._entry_owner)
        # Columns of dV -> dV x c, each projected off n: N turns, its length does not matter.
        entries: list[list[Array]] = [[None] * 3 for _ in range(3)]
        for b, column in enumerate(((0.0, -c[2], c[1]), (c[2], 0.0, -c[0]), (-c[1], c[0], 0.0))):
            along = dot([n[d] for d in range(3) if d != b], [column[d] for d in range(3) if d != b])
            for a in range(3):
                entries[a][b] = (column[a] - n[a] * along) * inverse
        values = ops.stack([value for line in entries for value in line], 1).reshape((-1,))
        values = ops.cast(ops.take(values, self._entry_order), self.settings.dtype)
        result = ops.combine(self._movers, values, self.row_shape_basis)
        return result.reshape((-1, 3 * self.layout.shape_count))

    def read_corners(self, surface: Surface, triangle: Array) -> PixelCorners:
        """What pixels that show the given triangles (n,) read."""
        ops = self.ops
        corners = ops.take(self.triangles, triangle)
        count = surface.corner_table.shape[1]
        table = ops.take(surface.corner_table, corners).reshape((-1, 3 * count)).T
        value = [[table[k * count + i] for k in range(3)] for i in range(count)]
        face_normal = None
        if surface.face_table is not None:
            face = ops.take(surface.face_table, triangle).T
            face_normal = [face[d] for d in range(3)]
        return PixelCorners(
            corners=corners,
            owners=triangle if self.flat else corners,
            x=value[0],
            y=value[1],
            depth=value[2],
            albedo=value[3:6],
            normals=None if self.flat else value[6:9],
            face_normal=face_normal,
            shadow=None if self.moments is None else value[-SH_COUNT:],
        )

    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        surfaces = [self.surface(one, item) for item, one in enumerate(chi)]
        return Geometry(
            vertices=self.ops.stack([s.vertices.T for s in surfaces], 0),
            normals=self.ops.stack([s.normals.T for s in surfaces], 0),
            albedo=self.ops.stack([s.albedo for s in surfaces], 0),
            image_xy=self.ops.stack([s.image_xy for s in surfaces], 0),
            depth=self.ops.stack([s.depth for s in surfaces], 0),
            camera=self.layout.cameras(chi),
        )

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        batch = geometry.depth.shape[0]
        drawn = [
            rasterize(
                self.ops,
                geometry.image_xy[i],
                geometry.depth[i],
                geometry.camera.inverse_focal(i),
                self.triangles,
                size,
            )
            for i in range(batch)
        ]
        return Visibility(*(self.ops.stack(part, 0) for part in zip(*drawn, strict=True)))

    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """See `AbstractRenderer.interpolate`."""
        ops = self.ops
        height, width = visibility.triangle.shape[1:3]
        images: dict[str, list[Array]] = {name: [] for name in PIXEL_QUANTITIES if name in quantities}
        if self.moments is None:
            images.pop("shadow", None)
        for item in range(visibility.triangle.shape[0]):
            tables = self._pixel_tables(geometry, item, images)
            faces = self._face_normals(geometry, item) if self.flat and "normal" in images else None
            triangle = ops.cast(visibility.triangle[item].reshape((-1,)), "int64")
            weights = visibility.barycentric[item].reshape((-1, 3))
            parts: dict[str, list[Array]] = {name: [] for name in images}
            for first in range(0, height * width, _BLOCK_PIXELS):
                block = triangle[first : first + _BLOCK_PIXELS]
                seen = ops.flag(block >= 0)
                chosen = ops.where(seen, block, 0)
                b = [weights[first : first + _BLOCK_PIXELS, k] for k in range(3)]
                mixed: dict[str, list[Array]] = {}
                for corners, columns in tables:
                    read = ops.take(ops.concatenate(list(columns.values()), 1), ops.take(corners, chosen))
                    column = 0
                    for name, table in columns.items():
                        end = column + table.shape[1]
                        mixed[name] = [dot(b, [read[:, k, i] for k in range(3)]) for i in range(column, end)]
                        column = end
                if faces is not None:
                    face = ops.take(faces, chosen)
                    mixed["normal"] = [face[:, d] for d in range(3)]
                if "depth" in mixed:
                    mixed["depth"] = [Camera.of(geometry.camera.item(item)).depth(mixed["depth"][0])]
                if "normal" in mixed:
                    mixed["normal"] = unit(ops, mixed["normal"])
                for name, values in mixed.items():
                    parts[name].append(ops.stack([ops.where(seen, value, 0.0) for value in values], 1))
            for name, blocks in parts.items():
                images[name].append(ops.concatenate(blocks, 0).reshape((height, width, -1)))
        done = {name: ops.stack(pictures, 0) for name, pictures in images.items()}
        return Pixels(
            triangle=visibility.triangle,
            position=done.get("position"),
            normal=done.get("normal"),
            albedo=done.get("albedo"),
            shadow=done.get("shadow"),
            depth=done["depth"][:, :, :, 0] if "depth" in done else None,
            uv=done.get("uv"),
        )

    def _pixel_tables(
        self, geometry: Geometry, item: int, quantities: Collection[str]
    ) -> list[tuple[Array, dict[str, Array]]]:
        """What is mixed over triangles: tables (M, D) by quantity, with the corners (T, 3) that they share."""
        ops = self.ops
        columns: dict[str, Array] = {}
        if "position" in quantities:
            columns["position"] = geometry.vertices[item]
        if "albedo" in quantities:
            columns["albedo"] = geometry.albedo[item]
        if "normal" in quantities and not self.flat:
            normals = geometry.normals[item]
            columns["normal"] = ops.stack(
                Camera.of(geometry.camera.item(item)).turned([normals[:, d] for d in range(3)]), 1
            )
        if "shadow" in quantities:
            columns["shadow"] = ops.stack(self._shadow(geometry.camera.item(item).rotation), 1)
        if "depth" in quantities:
            columns["depth"] = Camera.of(geometry.camera.item(item)).flat_depth(geometry.depth[item]).reshape((-1, 1))
        tables = [(self.triangles, columns)] if columns else []
        if "uv" in quantities:
            corners, uv = self._texture
            tables.append((corners, {"uv": uv}))
        return tables

    @cached_property
    def _texture(self) -> tuple[Array, Array]:
        """Triangles (T, 3) of texture coordinates, and these (U, 2)."""
        return self.ops.upload(self.model.uv_triangles, "int64"), self.ops.upload(self.model.uv, "float64")

    def _face_normals(self, geometry: Geometry, item: int) -> Array:
        """(T, 3) unit normals of the triangles in the camera frame."""
        ops, vertices = self.ops, geometry.vertices[item]
        c = [[ops.take(vertices[:, d], self.triangles[:, k]) for k in range(3)] for d in range(3)]
        face = _cross([axis[1] - axis[0] for axis in c], [axis[2] - axis[0] for axis in c])
        return ops.stack(Camera.of(geometry.camera.item(item)).turned(self._normalised(face)[0]), 1)

    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> Array:
        """See `AbstractRenderer.shade`."""
        ops, normal, albedo = self.ops, pixels.needed("normal"), pixels.needed("albedo")
        shadow = None if self.moments is None else pixels.needed("shadow")
        height, width = pixels.triangle.shape[1:3]
        images = []
        for item, gamma in enumerate(lighting):
            triangle = pixels.triangle[item].reshape((-1,))
            normals, colours = normal[item].reshape((-1, 3)), albedo[item].reshape((-1, 3))
            parts = []
            for first in range(0, height * width, _BLOCK_PIXELS):
                chosen = slice(first, first + _BLOCK_PIXELS)
                seen = ops.flag(triangle[chosen] >= 0)
                basis = sh_terms([normals[chosen, d] for d in range(3)])
                if shadow is not None:
                    lost = shadow[item].reshape((-1, SH_COUNT))[chosen]
                    basis = [y - lost[:, k] for k, y in enumerate(basis)]
                channels = []
                for channel in range(3):
                    light = [float(g) for g in gamma[:, channel]]
                    shade = sum((light[k] * basis[k] for k in range(1, 9)), light[0] * basis[0])
                    channels.append(ops.where(seen, colours[chosen, channel] * shade, 0.0))
                parts.append(ops.stack(channels, 1))
            images.append(ops.concatenate(parts, 0).reshape((height, width, 3)))
        return ops.stack(images, 0)

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return array if isinstance(array, np.ndarray) else self.ops.download(array)

    def _linear(self, mean: Array, basis: Array | None, coefficients: Array | None) -> Array:
        return mean if basis is None else mean + self.ops.multiply(basis, coefficients)

    def _normalised(self, vector: Sequence[Array]) -> tuple[list[Array], Array]:
        """Unit vectors and one over the length they had; (0, 0, 1) and 0 where there is none."""
        ops = self.ops
        length = ops.sqrt(dot(vector, vector))
        has_length = ops.flag(length > _NO_NORMAL)
        inverse = ops.where(has_length, 1.0 / ops.at_least(length, _NO_NORMAL), 0.0)
        unit = [axis * inverse for axis in vector]
        unit[2] = ops.where(has_length, unit[2], 1.0)
        return unit, inverse


def unit(ops: ArrayOps, vector: Sequence[Array]) -> list[Array]:
    """A vector given axis by axis, of length one; what has no length stays."""
    inverse = 1.0 / ops.sqrt(ops.at_least(dot(vector, vector), 1e-24))
    return [axis * inverse for axis in vector]


def sh_terms(normal: Sequence[Array]) -> list[Array]:
    """The nine basis functions (`faceinv.face.lighting`) of a unit normal in the camera frame, axis by axis."""
    x, y, z = normal
    c0, c1, c2, c3, c4 = (float(c) for c in SH_CONSTANTS)
    first = [x * 0.0 + c0, y * c1, z * c1, x * c1]
    return [*first, x * y * c2, y * z * c2, (z * z * 3.0 - 1.0) * c3, x * z * c2, (x * x - y * y) * c4]


def _cross(a: Sequence[Array], b: Sequence[Array]) -> list[Array]:
    return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
