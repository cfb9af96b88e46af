"""The `numpy` engine: builds the kernels' inputs and calls them in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np

from faceinv.backends.numpy_numba import assembly, raster, shading, surface
from faceinv.backends.numpy_numba.mesh import Mesh
from faceinv.camera import rotation_matrix
from faceinv.differentiator import HostTermsDifferentiator
from faceinv.errors import BackendError
from faceinv.interface import (
    AbstractDifferentiator,
    AbstractRenderer,
    Engine,
    Frozen,
    Geometry,
    ResidualJacobian,
    Visibility,
)
from faceinv.parameters import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.interface import EngineSettings, Problem
    from faceinv.model import MorphableModel

__all__ = ["build"]

_BLOCK_PIXELS: Final = 1024
"""Pixels in one block of dense rows: the block stays in the second-level cache."""


@dataclass(frozen=True)
class _Surface:
    """The posed surface of one item; float64."""

    vertices: NDArray[np.float64]
    normals: NDArray[np.float64]
    inverse_length: NDArray[np.float64]
    albedo: NDArray[np.float64]
    image_xy: NDArray[np.float64]
    depth: NDArray[np.float64]
    rotation: NDArray[np.float64]
    scale: float
    translation: NDArray[np.float64]
    gamma: NDArray[np.float64]


@dataclass(frozen=True)
class _Seen:
    """The photometric pixels of one item and what the assembly needs of them."""

    pixels: NDArray[np.int32]
    order: NDArray[np.int32]
    triangles: NDArray[np.int32]
    start: NDArray[np.int32]
    vertices: NDArray[np.int32]
    place: NDArray[np.int32]


@dataclass(frozen=True)
class _Rows:
    """Residuals and local derivatives of the pixels of one item; see `shading.local_rows`."""

    cost: NDArray[np.float64]
    residual: NDArray[np.float64]
    weight: NDArray[np.float64]
    bary: NDArray[Any]
    geometry: NDArray[Any]
    shade: NDArray[Any]
    light: NDArray[Any]
    pose: NDArray[Any]


class NumbaRenderer(AbstractRenderer):
    """Renders with Numba kernels."""

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.model = model
        self.layout = ParameterLayout.of(model)
        self.settings = settings
        self.real = np.dtype(settings.dtype)
        self.mesh = Mesh.of(model.triangles, model.vertex_count)
        self.shape_basis = np.concatenate([model.identity, model.expression], axis=2, dtype=self.real)
        self.albedo_basis = np.ascontiguousarray(model.albedo, self.real)
        self.flat = settings.normals == "flat"
        self._latest: list[tuple[bytes, _Surface]] = []

    def surface(self, chi: NDArray[np.float64]) -> _Surface:
        """The posed surface of one item; the two latest are remembered, as a trial point becomes the next start."""
        key = chi.tobytes()
        for known, found in self._latest:
            if known == key:
                return found
        layout, model = self.layout, self.model
        vertices = np.empty((model.vertex_count, 3))
        surface.linear_surface(model.mean, self.shape_basis, np.ascontiguousarray(chi[layout.shape]), vertices)
        albedo = np.empty_like(vertices)
        surface.linear_surface(model.mean_albedo, self.albedo_basis, np.ascontiguousarray(chi[layout.albedo]), albedo)
        normals, inverse_length = np.empty_like(vertices), np.empty(model.vertex_count)
        surface.vertex_normals(
            vertices, self.mesh.triangles, self.mesh.corner_start, self.mesh.corners, normals, inverse_length
        )
        rotation, scale = rotation_matrix(chi[layout.rotation]), float(np.exp(chi[layout.log_scale]))
        translation = chi[layout.translation].copy()
        turned = scale * (vertices @ rotation.T)
        image_xy = np.stack([turned[:, 0] + translation[0], translation[1] - turned[:, 1]], axis=1)
        made = _Surface(
            vertices,
            normals,
            inverse_length,
            albedo,
            image_xy,
            np.ascontiguousarray(turned[:, 2]),
            rotation,
            scale,
            translation,
            np.ascontiguousarray(layout.gamma(chi)),
        )
        self._latest = [(key, made), *self._latest[:1]]
        return made

    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        made = [self.surface(item) for item in chi]
        return Geometry(
            *(np.stack([getattr(s, f) for s in made]) for f in ("vertices", "normals", "albedo", "image_xy", "depth"))
        )

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        batch = len(geometry.image_xy)
        triangle = np.empty((batch, *size), np.int32)
        barycentric = np.empty((batch, *size, 3))
        for item in range(batch):
            raster.rasterize(
                np.ascontiguousarray(geometry.image_xy[item]),
                np.ascontiguousarray(geometry.depth[item]),
                self.mesh.triangles,
                triangle[item],
                barycentric[item],
            )
        return Visibility(triangle, barycentric)

    def shade(self, geometry: Geometry, visibility: Visibility, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractRenderer.shade`."""
        out = np.empty((*visibility.triangle.shape, 3))
        for item in range(len(chi)):
            shading.radiance(
                self.flat,
                visibility.triangle[item],
                visibility.barycentric[item],
                self.mesh.triangles,
                np.ascontiguousarray(geometry.vertices[item]),
                np.ascontiguousarray(geometry.normals[item]),
                np.ascontiguousarray(geometry.albedo[item]),
                rotation_matrix(chi[item, self.layout.rotation]),
                np.ascontiguousarray(self.layout.gamma(chi[item])),
                out[item],
            )
        return out

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return array


class NumbaDifferentiator(HostTermsDifferentiator):
    """Analytic derivatives; J^T J by vertices, or by blocks of rows."""

    renderer: NumbaRenderer

    def __init__(self, renderer: NumbaRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        self._image = np.ascontiguousarray(problem.image, np.float32)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[_Seen]]:
        renderer, mesh = self.renderer, self.renderer.mesh
        size = self.problem.size
        visibility = Visibility(np.empty((len(chi), *size), np.int32), np.empty((len(chi), *size, 3)))
        seen = []
        for item, one in enumerate(chi):
            made = renderer.surface(one)
            raster.rasterize(
                made.image_xy, made.depth, mesh.triangles, visibility.triangle[item], visibility.barycentric[item]
            )
            pixels, order = raster.list_pixels(
                visibility.triangle[item],
                self.problem.mask[item],
                renderer.model.face_mask,
                made.image_xy,
                mesh.triangles,
            )
            used = assembly.used_vertices(
                pixels, order, visibility.triangle[item], mesh.triangles, renderer.model.vertex_count
            )
            seen.append(_Seen(pixels, order, *used))
        return visibility, np.array([len(s.pixels) for s in seen], np.int64), seen

    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        made, seen = self.renderer.surface(chi), frozen.cache[item]
        cost = np.empty(len(seen.pixels))
        shading.residuals(
            self.renderer.flat,
            seen.pixels,
            frozen.visibility.triangle[item],
            self.renderer.mesh.triangles,
            made.image_xy,
            made.vertices,
            made.normals,
            made.albedo,
            made.rotation,
            made.gamma,
            self._image[item],
            self.problem.energy.huber_delta,
            self._scale(len(seen.pixels)),
            cost,
        )
        return float(cost.sum())

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        renderer, seen = self.renderer, frozen.cache[item]
        rows = self._rows(chi, frozen, item, robust=True)
        normal_basis = self._normal_basis(chi, seen)
        by_rows = renderer.flat or renderer.settings.assembly != "vertices"
        gradient, hessian = (self._by_rows if by_rows else self._by_vertices)(rows, normal_basis, frozen, item)
        upper = np.triu(hessian)
        return float(rows.cost.sum()), gradient, upper + np.triu(upper, 1).T

    def _by_vertices(
        self, rows: _Rows, normal_basis: NDArray[Any], frozen: Frozen, item: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        renderer, seen, mesh = self.renderer, frozen.cache[item], self.renderer.mesh
        count = renderer.layout.count
        chunks = -(-len(seen.vertices) // assembly.CHUNK)
        chunk_start, chunk_entries = assembly.chunk_triangles(seen.triangles, mesh.triangles, seen.place, chunks)
        hessian = np.empty((assembly.GROUPS, count, assembly.padded(count)), renderer.real)
        gradient = np.empty((assembly.GROUPS, count))
        assembly.normal_equations(
            seen.triangles,
            seen.start,
            seen.order,
            seen.vertices,
            seen.place,
            chunk_start,
            chunk_entries,
            mesh.triangles,
            mesh.ring_start,
            mesh.ring,
            mesh.ring_slot,
            rows.bary,
            rows.geometry,
            rows.shade,
            rows.light,
            rows.pose,
            rows.residual,
            renderer.shape_basis,
            normal_basis,
            renderer.albedo_basis,
            hessian,
            gradient,
        )
        return gradient.sum(axis=0), hessian[:, :, :count].sum(axis=0, dtype=np.float64)

    def _by_rows(
        self, rows: _Rows, normal_basis: NDArray[Any], frozen: Frozen, item: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        count, total = self.renderer.layout.count, len(rows.cost)
        gradient, hessian = np.zeros(count), np.zeros((count, count))
        for first in range(0, total, _BLOCK_PIXELS):
            block = self._dense(rows, normal_basis, frozen, item, first, min(_BLOCK_PIXELS, total - first))
            gradient += block.T @ rows.residual[first : first + _BLOCK_PIXELS].ravel().astype(block.dtype)
            hessian += block.T @ block
        return gradient, hessian

    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        local = self._rows(chi[item], frozen, item, robust=False)
        normal_basis = self._normal_basis(chi[item], frozen.cache[item])
        dense = self._dense(local, normal_basis, frozen, item, 0, len(local.cost)).astype(np.float64)
        chosen = slice(None) if rows is None else rows
        return ResidualJacobian(local.residual.ravel()[chosen], dense[chosen], local.weight.ravel()[chosen])

    def _scale(self, pixels: int) -> float:
        return float(np.sqrt(self.problem.energy.photometric / max(pixels, 1)))

    def _normal_basis(self, chi: NDArray[np.float64], seen: _Seen) -> NDArray[Any]:
        renderer, mesh = self.renderer, self.renderer.mesh
        if renderer.flat:
            return np.empty((0, 3, renderer.layout.shape_count), renderer.real)
        made = renderer.surface(chi)
        out = np.empty((len(seen.vertices), 3, renderer.layout.shape_count), renderer.real)
        surface.normal_jacobian(
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
            renderer.shape_basis,
            out,
        )
        return out

    def _rows(self, chi: NDArray[np.float64], frozen: Frozen, item: int, robust: bool) -> _Rows:
        renderer, made, seen = self.renderer, self.renderer.surface(chi), frozen.cache[item]
        count, real = len(seen.pixels), renderer.real
        rows = _Rows(
            cost=np.empty(count),
            residual=np.empty((count, 3)),
            weight=np.empty((count, 3)),
            bary=np.empty((count, 3), real),
            geometry=np.empty((count, 3, 9 if renderer.flat else 6), real),
            shade=np.empty((count, 3), real),
            light=np.empty((count, 3, 9), real),
            pose=np.empty((count, 3, 6), real),
        )
        shading.local_rows(
            renderer.flat,
            robust,
            seen.pixels,
            frozen.visibility.triangle[item],
            renderer.mesh.triangles,
            made.image_xy,
            made.depth,
            made.vertices,
            made.normals,
            made.albedo,
            made.rotation,
            made.translation,
            made.scale,
            made.gamma,
            self._image[item],
            self.problem.energy.huber_delta,
            self._scale(count),
            rows.cost,
            rows.residual,
            rows.weight,
            rows.bary,
            rows.geometry,
            rows.shade,
            rows.light,
            rows.pose,
        )
        return rows

    def _dense(
        self, rows: _Rows, normal_basis: NDArray[Any], frozen: Frozen, item: int, first: int, count: int
    ) -> NDArray[Any]:
        renderer, seen = self.renderer, frozen.cache[item]
        out = np.empty((3 * count, renderer.layout.count), renderer.real)
        assembly.dense_rows(
            renderer.flat,
            first,
            seen.pixels,
            frozen.visibility.triangle[item],
            renderer.mesh.triangles,
            seen.place,
            rows.bary,
            rows.geometry,
            rows.shade,
            rows.light,
            rows.pose,
            renderer.shape_basis,
            normal_basis,
            renderer.albedo_basis,
            out,
        )
        return out


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
