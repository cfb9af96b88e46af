"""The shared renderer: surface, normals, visibility and shading by `ArrayOps`, in float64."""

from __future__ import annotations

import weakref
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.interface import AbstractRenderer
from faceinv.engine.local_autodiff.camera import Camera, dot
from faceinv.engine.local_autodiff.patterns import NormalDerivativePattern, corner_rows
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.engine.local_autodiff.scatter import Scatter
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

__all__ = ["Light", "LocalAutodiffRenderer", "Surface", "sh_terms", "unit"]

_BLOCK_PIXELS: Final = 1 << 15
_NO_NORMAL: Final = 1e-12
"""mm^2. A vertex whose triangles have no area has no normal; it gets (0, 0, 1) in the model frame."""


@dataclass(frozen=True)
class Light:
    """The light of one chi, on the device."""

    gamma: Array
    """(3, 9) by channel."""
    columns: Array
    """(9, 3, 1) the same, function after function."""
    turns: Array
    """(9, 9): row `3 axis + channel` is what `gamma . Y` of the channel gains from each function by a turn."""


@dataclass(frozen=True)
class Surface:
    """The posed surface of one item, without light; float64 on the device, the camera on the host."""

    vertices: Array
    """(N, 3) mm."""
    sides: Sequence[Sequence[Array]]
    """Axis, then corner, (T,) mm: the edge opposite each corner, from the corner after it to the one after that,
    negated."""
    normals: Sequence[Array]
    """Axis by axis, (N,) unit, model frame."""
    owner_normals: Sequence[Array]
    """As `normals`, or (T,) unit face normals: what shading uses."""
    owner_inverse: Array
    """(N,) or (T,): one over the length that the owner's normal had; 0 where there is none."""
    albedo: Array
    """(N, 3)."""
    x: Array
    y: Array
    """(N,) px, in the image."""
    depth: Array
    """(N,) px."""
    corner_table: Array
    """(N, 7 to 19): x, y, how many times larger things are than at the model's origin, p_z, red, green, blue, for
    smooth normals the normal in the camera frame, and the nine of the shadow of a model that has any."""
    face_table: Array | None
    """(T, 3) face normals in the camera frame, for flat ones."""
    to_model: Array
    """(6, 6), see `Camera.to_model`."""
    camera: Camera
    drawn: dict[tuple[int, int], tuple[Array, Array]] = field(default_factory=dict)
    """What pictures of some size (H, W) show of it, once drawn: see `rasterize`."""


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
        albedo = model.albedo_basis.reshape(3 * n, -1)
        self.triangles = ops.upload(model.triangles, "int64")
        self.corners = ops.upload(model.triangles.T, "int64")
        self.face_mask = ops.upload(model.face_mask.astype(np.int32), "int32")
        self.mean = ops.upload(model.mean.reshape(-1), "float64")
        self.mean_albedo = ops.upload(model.mean_albedo.reshape(-1), "float64")
        # Coefficient after coefficient, (K, 3N): so products with vectors read memory in one direction.
        self._shape_basis = ops.upload(np.ascontiguousarray(shape.T), "float64") if shape.size else None
        self._albedo_basis = ops.upload(np.ascontiguousarray(albedo.T), "float64") if albedo.size else None
        self.moments = None if model.occlusion is None else ops.upload(model.occlusion.T, "float64")
        self._around = ops.sparse_rows(*corner_rows(model.triangles, n), len(model.triangles))
        self._ones = ops.full((model.triangles.size,), 1.0, "float64")
        # Bases in the rows' own precision, vertex after vertex.
        real = settings.dtype
        self.row_shape_basis = ops.upload(shape.reshape(n, -1), real) if shape.size else None
        self.row_albedo_basis = ops.upload(albedo.reshape(n, -1), real) if albedo.size else None
        self.row_eye = ops.upload(np.eye(3).reshape(1, 3, 3, 1), real)
        # The same of the face mask's vertices alone: forces on others are zero.
        seen = np.unique(model.triangles[model.face_mask])
        self.seen_shape_basis, self.seen_albedo_basis = self._shape_basis, self._albedo_basis
        if len(seen) < n:
            rows = (3 * seen[:, None] + np.arange(3)).ravel()
            self.seen_shape_basis = ops.upload(shape[rows].T, "float64") if shape.size else None
            self.seen_albedo_basis = ops.upload(albedo[rows].T, "float64") if albedo.size else None
        pattern = NormalDerivativePattern.of(model, self.flat)
        place = np.zeros(n, np.int64)
        place[seen] = np.arange(len(seen))
        self._seen_triangles, self._seen_count = place[model.triangles], len(seen)
        self._face_place = pattern.place if self.flat else None
        self._face_count = len(pattern.owners)
        self.owner_place = ops.upload(pattern.place, "int64")
        self._entry_owner = ops.upload(pattern.owners[pattern.row], "int64")
        self._entry_order = ops.upload(pattern.order, "int64")
        self._edges = ops.sparse_rows(pattern.edge_start, pattern.edge_index, model.triangles.size)
        self._movers = ops.sparse_rows(pattern.start, pattern.index, 3 * n)
        self._edge_ones = ops.full((len(pattern.edge_index),), 1.0, "float64")
        self.surfaces: Remembered[Surface] = Remembered()
        self.lights: Remembered[Light] = Remembered()
        self._posed: tuple[weakref.ref[Geometry], list[Surface]] | None = None

    def resize(self, items: int) -> None:
        """Remember surfaces and lights of so many items."""
        self.surfaces.resize(items)
        self.lights.resize(items)

    def surface(self, chi: NDArray[np.float64], item: int) -> Surface:
        """The posed surface of an item of a batch, chi (P,)."""
        # Light falls on a surface but does not change it.
        return self.surfaces.get(item, self.key(chi), lambda: self._surface(chi, item))

    def key(self, chi: NDArray[np.float64]) -> bytes:
        """What the surface of chi (P,) follows from."""
        return chi[: self.layout.lighting.start].tobytes()

    def light(self, chi: NDArray[np.float64], item: int) -> Light:
        """The light of an item of a batch, chi (P,)."""
        return self.lights.get(
            item, chi[self.layout.lighting].tobytes(), lambda: _light(self.ops.upload(self._lit(chi), "float64"))
        )

    def _lit(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(135,) what `Light` is made of."""
        gamma = self.layout.gamma(chi)
        turns = np.einsum("akj,kc->acj", SH_TURNS, gamma)
        return np.concatenate([gamma.T.ravel(), gamma.ravel(), turns.ravel()])

    def _surface(self, chi: NDArray[np.float64], item: int) -> Surface:
        ops, layout, n = self.ops, self.layout, self.model.vertex_count
        host = layout.cameras(chi)
        camera = Camera.of(host)
        # One trip to the device, with the light that will be asked for next.
        parts = [chi[layout.shape], chi[layout.albedo], camera.to_model().ravel(), self._lit(chi)]
        if self.moments is not None:
            parts.append(shadow_matrix(host.rotation).T.ravel())
        numbers = ops.upload(np.concatenate(parts), "float64")
        first, second = layout.shape_count, layout.shape_count + layout.albedo_count
        lit, shadow = second + 36, second + 36 + 135
        self.lights.get(item, chi[layout.lighting].tobytes(), lambda: _light(numbers[lit:shadow]))
        vertices = self._linear(self.mean, self._shape_basis, numbers, 0, first).reshape((n, 3))
        albedo = self._linear(self.mean_albedo, self._albedo_basis, numbers, first, second).reshape((n, 3))
        points = ops.transpose(vertices)
        xyz = [points[d] for d in range(3)]
        # Triangles axis by axis, corner by corner.
        corners = [[at[k] for k in range(3)] for at in (ops.take(axis, self.corners) for axis in xyz)]
        sides = [[axis[(k + 1) % 3] - axis[(k + 2) % 3] for k in range(3)] for axis in corners]
        face = _cross([axis[0] for axis in sides], [axis[1] for axis in sides])
        summed = ops.transpose(ops.combine(self._around, self._ones, ops.stack(face, 1)))
        normals, inverse = self._normalised([summed[d] for d in range(3)])
        posed = camera.posed(xyz)
        x, y, depth = camera.image(ops, posed)
        parts = [ops.stack([x, y, camera.nearer(ops, posed[2]), posed[2]], 0), ops.transpose(albedo)]
        face_table = None
        if self.flat:
            owner_normals, inverse = self._normalised(face)
            face_table = ops.stack(camera.turned(owner_normals), 1)
        else:
            owner_normals = normals
            parts.append(ops.stack(camera.turned(normals), 0))
        if self.moments is not None:
            parts.append(ops.multiply(numbers[shadow:].reshape((SH_COUNT, MOMENT_COUNT)), self.moments))
        return Surface(
            vertices=vertices,
            sides=sides,
            normals=normals,
            owner_normals=owner_normals,
            owner_inverse=inverse,
            albedo=albedo,
            x=x,
            y=y,
            depth=depth,
            corner_table=ops.transpose(ops.concatenate(parts, 0)),
            face_table=face_table,
            to_model=numbers[second:lit].reshape((6, 6)),
            camera=camera,
        )

    def _shadow(self, rotation: NDArray[np.float64]) -> Array:
        """(9, N) what the vertices of a model that has moments take from the basis under a rotation."""
        return self.ops.multiply(self.ops.upload(shadow_matrix(rotation).T, "float64"), self.moments)

    def normal_derivative(self, surface: Surface) -> Array | None:
        """d normal / d shape coefficients of the face mask's owners, (M, 3 * K) in the rows' precision."""
        if self.row_shape_basis is None:
            return None
        ops, real, count = self.ops, self.settings.dtype, self.layout.shape_count
        edges = ops.stack([side for axis in surface.sides for side in axis], 0).reshape((3, -1))
        summed = ops.transpose(ops.combine(self._edges, self._edge_ones, ops.transpose(edges)))
        inverse = ops.take(surface.owner_inverse, self._entry_owner)
        summed = ops.cast(summed * inverse, real)
        c = [summed[d] for d in range(3)]
        n = [ops.cast(ops.take(axis, self._entry_owner), real) for axis in surface.owner_normals]
        # dV -> dV x c, projected off n: N turns, its length does not matter.
        along = _cross(n, c)
        entries = [[n[a] * along[b] for b in range(3)] for a in range(3)]
        for a in range(3):
            i, j = (a + 1) % 3, (a + 2) % 3
            entries[a][i] = entries[a][i] + c[j]
            entries[a][j] = entries[a][j] - c[i]
        values = ops.take(ops.stack([entry for line in entries for entry in line], 0).reshape((-1,)), self._entry_order)
        return ops.combine(self._movers, values, self.row_shape_basis.reshape((-1, count))).reshape((-1, 3 * count))

    def read_corners(self, surface: Surface, triangle: Array) -> list[Array]:
        """What pixels that show triangles (n,) read of `Surface.corner_table` (N, C): (C, n) of each corner."""
        return self._corner_rows(surface.corner_table, self.ops.take(self.triangles, triangle))

    def _corner_rows(self, table: Array, corners: Array) -> list[Array]:
        """Rows of a table (M, C) at corners (n, 3): (C, n) of each corner."""
        columns = int(table.shape[1])
        read = self.ops.transpose(self.ops.take(table, corners).reshape((-1, 3 * columns)))
        read = read.reshape((3, columns, -1))
        return [read[k] for k in range(3)]

    def scatter(self, shown: NDArray[np.int64]) -> Scatter:
        """From pixels that show triangles (n,) of the face mask, host, to its vertices and to the owners of normals."""
        return Scatter(self.ops, self._seen_triangles, self._seen_count, shown, self._face_place, self._face_count)

    def drawn(self, surface: Surface, size: tuple[int, int]) -> tuple[Array, Array]:
        """What each pixel shows of a surface, see `rasterize`; drawn once."""
        if size not in surface.drawn:
            place, inverse_focal = self.ops.stack([surface.x, surface.y], 0), surface.camera.inverse_focal
            surface.drawn[size] = rasterize(self.ops, place, surface.depth, inverse_focal, self.corners, size)
        return surface.drawn[size]

    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        ops, surfaces = self.ops, [self.surface(one, item) for item, one in enumerate(chi)]
        geometry = Geometry(
            vertices=ops.stack([s.vertices for s in surfaces], 0),
            normals=ops.stack([ops.stack(s.normals, 1) for s in surfaces], 0),
            albedo=ops.stack([s.albedo for s in surfaces], 0),
            image_xy=ops.stack([ops.stack([s.x, s.y], 1) for s in surfaces], 0),
            depth=ops.stack([s.depth for s in surfaces], 0),
            camera=self.layout.cameras(chi),
        )
        self._posed = weakref.ref(geometry), surfaces
        return geometry

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        if self._posed is not None and self._posed[0]() is geometry:
            drawn = [self.drawn(surface, size) for surface in self._posed[1]]
        else:
            drawn = [
                rasterize(
                    self.ops,
                    self.ops.transpose(geometry.image_xy[i]),
                    geometry.depth[i],
                    geometry.camera.inverse_focal(i),
                    self.corners,
                    size,
                )
                for i in range(geometry.depth.shape[0])
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
                shares = ops.transpose(weights[first : first + _BLOCK_PIXELS])
                mixed: dict[str, Array] = {}
                for corners, columns in tables:
                    table = ops.concatenate(list(columns.values()), 1)
                    read = self._corner_rows(table, ops.take(corners, chosen))
                    values = dot([shares[k] for k in range(3)], read)
                    column = 0
                    for name, part in columns.items():
                        mixed[name] = values[column : column + part.shape[1]]
                        column += part.shape[1]
                if faces is not None:
                    mixed["normal"] = ops.transpose(ops.take(faces, chosen))
                if "depth" in mixed:
                    mixed["depth"] = Camera.of(geometry.camera.item(item)).depth(mixed["depth"])
                if "normal" in mixed:
                    mixed["normal"] = ops.stack(unit(ops, [mixed["normal"][d] for d in range(3)]), 0)
                for name, rows in mixed.items():
                    parts[name].append(ops.where(seen, ops.transpose(rows), 0.0))
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
            columns["shadow"] = ops.transpose(self._shadow(geometry.camera.item(item).rotation))
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
        for item, light in enumerate(lighting):
            gamma = ops.upload(light.T, "float64")
            triangle = pixels.triangle[item].reshape((-1,))
            normals, colours = normal[item].reshape((-1, 3)), albedo[item].reshape((-1, 3))
            parts = []
            for first in range(0, height * width, _BLOCK_PIXELS):
                chosen = slice(first, first + _BLOCK_PIXELS)
                seen = ops.flag(triangle[chosen] >= 0)
                turned = ops.transpose(normals[chosen])
                basis = ops.stack(sh_terms([turned[d] for d in range(3)]), 0)
                if shadow is not None:
                    basis = basis - ops.transpose(shadow[item].reshape((-1, SH_COUNT))[chosen])
                shade = ops.transpose(ops.multiply(gamma, basis))
                parts.append(ops.where(seen, colours[chosen] * shade, 0.0))
            images.append(ops.concatenate(parts, 0).reshape((height, width, 3)))
        return ops.stack(images, 0)

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return array if isinstance(array, np.ndarray) else self.ops.download(array)

    def _linear(self, mean: Array, basis: Array | None, coefficients: Array, first: int, last: int) -> Array:
        """(3N,) of the coefficients from the first to before the last."""
        return mean if basis is None else mean + self.ops.multiply_transposed(basis, coefficients[first:last])

    def _normalised(self, vector: Sequence[Array]) -> tuple[list[Array], Array]:
        """Unit vectors and one over the length they had; (0, 0, 1) and 0 where there is none."""
        ops = self.ops
        length = ops.sqrt(dot(vector, vector))
        has_length = ops.flag(length > _NO_NORMAL)
        inverse = ops.where(has_length, 1.0 / ops.at_least(length, _NO_NORMAL), 0.0)
        unit = [axis * inverse for axis in vector]
        unit[2] = ops.where(has_length, unit[2], 1.0)
        return unit, inverse


def _light(numbers: Array) -> Light:
    gamma, columns, turns = numbers[:27], numbers[27:54], numbers[54:]
    return Light(gamma.reshape((3, SH_COUNT)), columns.reshape((SH_COUNT, 3, 1)), turns.reshape((9, SH_COUNT)))


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
