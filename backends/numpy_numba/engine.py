"""The `numpy` engine: builds the kernels' inputs and calls them in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np

from faceinv.backends.numpy_numba import assembly, raster, shading, surface
from faceinv.backends.numpy_numba.mesh import Mesh
from faceinv.backends.numpy_numba.threads import before_launch
from faceinv.engine.blas import one_blas_thread
from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.interface import AbstractDifferentiator, AbstractRenderer, Engine
from faceinv.engine.records import PIXEL_QUANTITIES, Frozen, Geometry, Pixels, ResidualJacobian, Visibility
from faceinv.errors import BackendError
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import LIGHTING_COUNT

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from faceinv.engine.records import EngineSettings, PixelQuantity, Problem
    from faceinv.face.model import MorphableModel

__all__ = ["build"]

_PIXELS: Final = 4096
"""Pixels in one block of rows."""
_VERTICES: Final = 2048
"""Vertices in one block of rows."""
_LIGHT_BLOCKS: Final = 64
"""Blocks of pixels whose light columns are summed by themselves."""
_WHOLE: Final = 32
"""Used vertices are padded to a multiple of this, as BLAS likes it."""


@dataclass(frozen=True)
class _Surface:
    """The posed surface of one item; float64."""

    vertices: NDArray[np.float64]
    """(N, 3) mm."""
    normals: NDArray[np.float64]
    """(N, 3) model frame."""
    inverse_length: NDArray[np.float64]
    """(N,) see `surface.vertex_normals`."""
    albedo: NDArray[np.float64]
    """(N, 3)."""
    camera: NDArray[np.float64]
    """(N, 3) scale * (rotation @ vertex): px, y up, before translation."""
    camera_normals: NDArray[np.float64]
    """(N, 3)."""
    image_xy: NDArray[np.float64]
    """(N, 2) px."""
    rotation: NDArray[np.float64]
    scale: float
    translation: NDArray[np.float64]
    gamma: NDArray[np.float64]


@dataclass(frozen=True)
class _Seen:
    """The photometric pixels of one item; see `raster.list_pixels`."""

    pixels: NDArray[np.int32]
    shown: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    vertices: NDArray[np.int32]
    place: NDArray[np.int32]


@dataclass(frozen=True)
class _Local:
    """Residuals and local derivatives of one item's pixels."""

    cost: NDArray[np.float64]
    """(F,)."""
    residual: NDArray[np.float64]
    """(F, 3)."""
    weight: NDArray[np.float64]
    """(F, 3)."""
    record: NDArray[Any]
    """(F, RECORD); see `shading.local_rows`."""
    motion: NDArray[Any]
    """(V, R, K + 6) padded with zeros; see `surface.vertex_jacobian`."""


class NumbaRenderer(AbstractRenderer):
    """Renders with Numba kernels."""

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.model = model
        self.layout = ParameterLayout.of(model)
        self.settings = settings
        self.real = np.dtype(settings.dtype)
        self.mesh = Mesh.of(model.triangles, model.vertex_count)
        self.shape_basis = np.concatenate([model.identity_basis, model.expression_basis], axis=2, dtype=self.real)
        self.albedo_basis = np.array(model.albedo_basis, self.real, order="C")
        # Writable copies: Numba would compile kernels once more for read-only arrays.
        self.mean, self.mean_albedo = model.mean.copy(), model.mean_albedo.copy()
        self.uv, self.uv_triangles = model.uv.astype(np.float64), model.uv_triangles.copy()
        self.flat = settings.normals == "flat"
        self._latest: list[tuple[bytes, _Surface]] = []

    def surface(self, chi: NDArray[np.float64]) -> _Surface:
        """The posed surface of one item; the two latest are remembered, as a trial point becomes the next start."""
        before_launch()
        key = chi.tobytes()
        for known, found in self._latest:
            if known == key:
                return found
        layout, mesh = self.layout, self.mesh
        vertices, albedo, normals = (np.empty((self.model.vertex_count, 3)) for _ in range(3))
        inverse_length = np.empty(len(vertices))
        surface.linear_surface(self.mean, self.shape_basis, chi[layout.shape].copy(), vertices)
        surface.linear_surface(self.mean_albedo, self.albedo_basis, chi[layout.albedo].copy(), albedo)
        surface.vertex_normals(vertices, mesh.triangles, mesh.corner_start, mesh.corners, normals, inverse_length)
        rotation, scale, camera, camera_normals = self._turned(chi, vertices, normals)
        translation = layout.cameras(chi).translation
        image_xy = np.stack([camera[:, 0] + translation[0], translation[1] - camera[:, 1]], axis=1)
        gamma = np.ascontiguousarray(layout.gamma(chi))
        made = _Surface(
            vertices,
            normals,
            inverse_length,
            albedo,
            camera,
            camera_normals,
            image_xy,
            rotation,
            scale,
            translation,
            gamma,
        )
        self._latest = [(key, made), *self._latest[:1]]
        return made

    def _turned(
        self, chi: NDArray[np.float64], vertices: NDArray[np.float64], normals: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], float, NDArray[np.float64], NDArray[np.float64]]:
        """R, s, and vertices in px (before translation) and normals in the camera frame."""
        view = self.layout.cameras(chi)
        rotation, scale = view.rotation, float(view.scale)
        return rotation, scale, scale * (vertices @ rotation.T), normals @ rotation.T

    @one_blas_thread()
    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        made = [self.surface(item) for item in chi]
        return Geometry(
            vertices=np.stack([s.vertices for s in made]),
            normals=np.stack([s.normals for s in made]),
            albedo=np.stack([s.albedo for s in made]),
            image_xy=np.stack([s.image_xy for s in made]),
            depth=np.stack([s.camera[:, 2] for s in made]),
            camera=self.layout.cameras(chi),
        )

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        before_launch()
        batch = len(geometry.image_xy)
        triangle, barycentric = np.empty((batch, *size), np.int32), np.empty((batch, *size, 3))
        for item in range(batch):
            xy, depth = np.array(geometry.image_xy[item], order="C"), np.array(geometry.depth[item], order="C")
            raster.rasterize(xy, depth, self.mesh.triangles, triangle[item], barycentric[item])
        return Visibility(triangle, barycentric)

    @one_blas_thread()
    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """See `AbstractRenderer.interpolate`."""
        before_launch()
        tables: dict[str, tuple[NDArray[np.int32], NDArray[np.float64]]] = {
            "position": (self.mesh.triangles, geometry.vertices),
            "albedo": (self.mesh.triangles, geometry.albedo),
            "depth": (self.mesh.triangles, geometry.depth[..., None]),
            "uv": (self.uv_triangles, np.broadcast_to(self.uv, (len(visibility.triangle), *self.uv.shape))),
        }
        mixed: dict[str, NDArray[np.float64]] = {}
        for name, (corners, values) in tables.items():
            if name in quantities:
                mixed[name] = np.empty((*visibility.triangle.shape, values.shape[2]))
                for item, out in enumerate(mixed[name]):
                    table = np.array(values[item], order="C")
                    shading.mix(visibility.triangle[item], visibility.barycentric[item], corners, table, out)
        return Pixels(
            triangle=visibility.triangle,
            position=mixed.get("position"),
            normal=self._normals(geometry, visibility) if "normal" in quantities else None,
            albedo=mixed.get("albedo"),
            depth=mixed["depth"][..., 0] if "depth" in mixed else None,
            uv=mixed.get("uv"),
        )

    def _normals(self, geometry: Geometry, visibility: Visibility) -> NDArray[np.float64]:
        """(B, H, W, 3) unit normals in the camera frame."""
        out = np.empty((*visibility.triangle.shape, 3))
        for item, normals in enumerate(out):
            rotation = geometry.camera.rotation[item]
            shading.mix_normals(
                self.flat,
                visibility.triangle[item],
                visibility.barycentric[item],
                self.mesh.triangles,
                float(geometry.camera.scale[item]) * (geometry.vertices[item] @ rotation.T),
                geometry.normals[item] @ rotation.T,
                normals,
            )
        return out

    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractRenderer.shade`."""
        before_launch()
        normal, albedo = pixels.needed("normal"), pixels.needed("albedo")
        out = np.empty((*pixels.triangle.shape, 3))
        for item, colours in enumerate(out):
            gamma = np.array(lighting[item], np.float64, order="C")
            shading.radiance(pixels.triangle[item], normal[item], albedo[item], gamma, colours)
        return out

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return array


class NumbaDifferentiator(HostTermsDifferentiator):
    """Analytic derivatives; J^T J by vertices, or by blocks of rows.

    Inside, columns are ordered [shape | pose | albedo | light | residual]; see `assembly`.
    """

    renderer: NumbaRenderer

    def __init__(self, renderer: NumbaRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        self._image = np.array(problem.image, np.float32, order="C")
        self._mask = np.array(problem.mask, np.bool_, order="C")
        self._face_mask = renderer.model.face_mask.copy()
        layout = renderer.layout
        self._shape_pose = layout.shape_count + layout.camera.PARAMETER_COUNT
        self._dense = self._shape_pose + layout.albedo_count
        parts = (layout.shape, layout.pose, layout.albedo, layout.lighting)
        self._order = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        """(P,) where each column inside is in chi."""
        self._axes = (0, 1, 2) if renderer.flat else (0, 1, 2, 3)
        self._buffers: dict[str, NDArray[Any]] = {}

    def _buffer(self, name: str, *shape: int) -> NDArray[Any]:
        """An array of rows that keeps its memory between calls (fresh pages are slow); zeros at first, then as left."""
        size = int(np.prod(shape))
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.zeros(size, self.renderer.real)
        return self._buffers[name][:size].reshape(shape)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[_Seen]]:
        mesh, size = self.renderer.mesh, self.problem.size
        visibility = Visibility(np.empty((len(chi), *size), np.int32), np.empty((len(chi), *size, 3)))
        seen = []
        for item, one in enumerate(chi):
            made, triangle = self.renderer.surface(one), visibility.triangle[item]
            depth = made.camera[:, 2].copy()
            raster.rasterize(made.image_xy, depth, mesh.triangles, triangle, visibility.barycentric[item])
            listed = raster.list_pixels(
                triangle,
                self._mask[item],
                self._face_mask,
                made.image_xy,
                mesh.triangles,
                mesh.triangle_order,
                mesh.vertex_order,
            )
            seen.append(_Seen(*listed))
        return visibility, np.array([len(s.pixels) for s in seen], np.int64), seen

    def _pixel_inputs(self, made: _Surface, seen: _Seen, item: int) -> tuple[Any, ...]:
        """What `shading.residuals` and `shading.local_rows` share."""
        return (
            seen.pixels,
            seen.shown,
            self.renderer.mesh.triangles,
            made.camera,
            made.camera_normals,
            made.albedo,
            made.translation,
            made.gamma,
            self._image[item],
            float(self.problem.energy.huber_delta),
            float(np.sqrt(self.problem.energy.photometric / max(len(seen.pixels), 1))),
        )

    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        made, seen = self.renderer.surface(chi), frozen.cache[item]
        cost = np.empty(len(seen.pixels))
        shading.residuals(self.renderer.flat, *self._pixel_inputs(made, seen, item), cost)
        return float(cost.sum())

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        seen: _Seen = frozen.cache[item]
        local = self._local(chi, seen, item, robust=True)
        way = self.renderer.settings.assembly
        if way == "auto":  # a vertex costs about as much as R pixels; measured by benchmarks/linearize.py
            way = "vertices" if len(seen.pixels) > len(self._axes) * len(seen.vertices) else "rows"
        inside = (self._by_vertices if way == "vertices" else self._by_rows)(local, seen)
        count = len(self._order)
        upper = np.triu(inside[:count, :count])
        gradient, hessian = np.empty(count), np.empty((count, count))
        gradient[self._order] = inside[:count, count]
        hessian[np.ix_(self._order, self._order)] = upper + np.triu(upper, 1).T
        return float(local.cost.sum()), gradient, hessian

    def _by_vertices(self, local: _Local, seen: _Seen) -> NDArray[np.float64]:
        """H (upper triangle) and, as its last column, g: (P + 1, P + 1)."""
        renderer, mesh = self.renderer, self.renderer.mesh
        rank, shape_pose, dense, total = len(self._axes), self._shape_pose, self._dense, len(self._order) + 1
        albedo_count, used = renderer.layout.albedo_count, len(seen.vertices)
        inside = np.zeros((total, total))
        block = min(_VERTICES, len(local.motion))
        rows = self._buffer("rows", block, rank, _round_up(total, 16))
        albedo_rows = self._buffer("albedo rows", block, 3, albedo_count + LIGHTING_COUNT + 1)
        for first in range(0, used, block):
            count = min(block, used - first)
            padded = _round_up(count, _WHOLE)
            assembly.vertex_rows(
                self._axes,
                first,
                seen.vertices,
                seen.place,
                seen.start,
                seen.stop,
                mesh.triangles,
                mesh.corner_start,
                mesh.corners,
                mesh.ring_start,
                mesh.ring,
                mesh.ring_slot,
                mesh.ring_size,
                local.record,
                local.motion,
                renderer.albedo_basis,
                shape_pose,
                rows[:count],
                albedo_rows[:count],
            )
            rows[count:padded] = 0.0
            albedo_rows[count:padded] = 0.0
            u = local.motion[first : first + padded].reshape(padded * rank, -1)
            product = u.T @ rows[:padded].reshape(padded * rank, -1)
            inside[:shape_pose] += product[:shape_pose, :total]
            albedo = np.zeros((padded, 3, albedo_count), renderer.real)
            albedo[:count] = renderer.albedo_basis[seen.vertices[first : first + count]]
            product = albedo.reshape(3 * padded, -1).T @ albedo_rows[:padded].reshape(3 * padded, -1)
            inside[shape_pose:dense, shape_pose:] += product
        light = np.empty((_LIGHT_BLOCKS, 3, 10, 16), renderer.real)
        assembly.light_products(local.record, light)
        for c, product in enumerate(light.sum(axis=0, dtype=np.float64)):
            part = slice(dense + 9 * c, dense + 9 * c + 9)
            inside[part, part], inside[part, -1] = product[:9, :9], product[9, :9]
        return inside

    def _by_rows(self, local: _Local, seen: _Seen) -> NDArray[np.float64]:
        """As `_by_vertices`."""
        dense, count = self._dense, len(seen.pixels)
        width = dense + 10
        channels = np.zeros((3, width, width))
        for first in range(0, count, _PIXELS):
            rows = self._pixel_rows(local, seen, first, min(_PIXELS, count - first))
            for c in range(3):
                channels[c] += (rows[c].T @ rows[c])[:width, :width]
        inside = np.zeros((len(self._order) + 1,) * 2)
        shared = channels.sum(axis=0)
        inside[:dense, :dense], inside[:dense, -1] = shared[:dense, :dense], shared[:dense, -1]
        for c in range(3):
            part = slice(dense + 9 * c, dense + 9 * c + 9)
            inside[: part.stop, part] = 0.0
            inside[:dense, part] = channels[c, :dense, dense:-1]
            inside[part, part], inside[part, -1] = channels[c, dense:-1, dense:-1], channels[c, dense:-1, -1]
        return inside

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        seen: _Seen = frozen.cache[item]
        local = self._local(chi[item], seen, item, robust=False)
        order = np.argsort(seen.pixels)  # row by row
        made = self._pixel_rows(local, seen, 0, len(order)).transpose(1, 0, 2)[order]
        dense, count = self._dense, len(self._order)
        inside = np.zeros((*made.shape[:2], count))
        inside[:, :, :dense] = made[:, :, :dense]
        for c in range(3):
            inside[:, c, dense + 9 * c : dense + 9 * c + 9] = made[:, c, dense : dense + 9]
        jacobian = np.empty((3 * len(order), count))
        jacobian[:, self._order] = inside.reshape(-1, count)
        chosen = slice(None) if rows is None else rows
        return ResidualJacobian(
            local.residual[order].ravel()[chosen], jacobian[chosen], local.weight[order].ravel()[chosen]
        )

    def _local(self, chi: NDArray[np.float64], seen: _Seen, item: int, robust: bool) -> _Local:
        renderer, mesh, made = self.renderer, self.renderer.mesh, self.renderer.surface(chi)
        count, used = len(seen.pixels), len(seen.vertices)
        shape = (_round_up(used, _WHOLE), len(self._axes), _round_up(self._shape_pose, 16))
        local = _Local(
            cost=np.empty(count),
            residual=np.empty((count, 3)),
            weight=np.empty((count, 3)),
            record=self._buffer("record", count, shading.RECORD),
            motion=self._buffer("motion", *shape),
        )
        local.motion[used:] = 0.0
        tangents = np.empty((used, 2, 3))
        surface.vertex_jacobian(
            renderer.flat,
            seen.vertices,
            made.vertices,
            made.normals,
            made.inverse_length,
            mesh.triangles,
            mesh.corner_start,
            mesh.corners,
            mesh.ring_start,
            mesh.ring,
            mesh.ring_slot,
            mesh.ring_size,
            renderer.shape_basis,
            made.rotation,
            made.scale,
            made.camera,
            tangents,
            local.motion,
        )
        shading.local_rows(
            renderer.flat,
            *self._pixel_inputs(made, seen, item),
            robust,
            seen.place,
            tangents,
            local.cost,
            local.residual,
            local.weight,
            local.record,
        )
        return local

    def _pixel_rows(self, local: _Local, seen: _Seen, first: int, count: int) -> NDArray[Any]:
        """See `assembly.pixel_rows`."""
        out = self._buffer("rows", 3, count, _round_up(self._dense + 10, 8))
        assembly.pixel_rows(
            self._axes,
            first,
            seen.shown,
            self.renderer.mesh.triangles,
            seen.place,
            local.record,
            local.motion,
            self.renderer.albedo_basis,
            self._shape_pose,
            out,
        )
        return out


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step


class NumbaEngine(Engine):
    """NumPy arrays, Numba kernels, one CPU."""

    name = "numpy"

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.description = f"NumPy {np.__version__}, Numba {numba.__version__}, cpu, {settings.dtype}"
        self.renderer: NumbaRenderer = NumbaRenderer(model, settings)

    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """See `Engine.differentiator`."""
        return NumbaDifferentiator(self.renderer, problem)


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the registry calls.

    Raises:
        BackendError: when a device other than the CPU is asked for.
    """
    if settings.device not in ("", "cpu"):
        raise BackendError(f"engine 'numpy' runs on 'cpu' only, not on '{settings.device}'.")
    return NumbaEngine(model, settings)
