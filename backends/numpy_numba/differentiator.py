"""The photometric term of a batch: pixels, residuals, rows of J, and the choice of how J^T J is formed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.numpy_numba.camera import SCREEN_ROWS
from faceinv.backends.numpy_numba.normal_equations import LightTurn, NormalEquations
from faceinv.backends.numpy_numba.parts import Listed, Local, Seen, Target
from faceinv.backends.numpy_numba.raster import list_pixels, rasterize
from faceinv.backends.numpy_numba.record import RECORD
from faceinv.backends.numpy_numba.shading import local_rows, residuals
from faceinv.backends.numpy_numba.surface import tangent_frames, vertex_jacobian
from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.records import ResidualJacobian, Visibility, hessian_lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.numpy_numba.renderer import NumbaRenderer
    from faceinv.engine.records import Frozen, Problem

__all__ = ["NumbaDifferentiator"]


class NumbaDifferentiator(HostTermsDifferentiator):
    """Analytic derivatives; J^T J by vertices, or by blocks of rows; J^T r without rows."""

    renderer: NumbaRenderer

    def __init__(self, renderer: NumbaRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        renderer.surfaces.resize(len(problem.image))
        self._image = np.array(problem.image, np.float32, order="C")
        self._mask = np.array(problem.mask, np.bool_, order="C")
        self._weights = np.array(problem.weights, np.float32, order="C")
        self._lattice = hessian_lattice(problem.size, problem.hessian_step)
        self._shadowed = renderer.model.occlusion is not None
        self._face_mask = renderer.model.face_mask.copy()
        # R rows of a vertex's motion: its place on the screen, and its depth or the two turns of its normal.
        rank = SCREEN_ROWS + (1 if renderer.flat else 2)
        self._equations = NormalEquations(renderer.layout, renderer.mesh, renderer.albedo_basis, rank)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[Listed]]:
        mesh, size = self.renderer.mesh, self.problem.size
        visibility = Visibility(np.empty((len(chi), *size), np.int32), np.empty((len(chi), *size, 3)))
        listed = []
        for item, one in enumerate(chi):
            surface, triangle = self.renderer.surface(one, item), visibility.triangle[item]
            inverse_focal = float(one[self.renderer.layout.inverse_focal])
            rasterize(
                surface.image_xy,
                surface.depth,
                inverse_focal,
                mesh.triangles,
                triangle,
                visibility.barycentric[item],
            )
            seen = self._list(triangle, self._mask[item], surface.image_xy)
            listed.append(Listed(seen, *self._sampled(seen, triangle, self._mask[item], surface.image_xy)))
        return visibility, np.array([len(one.seen.pixels) for one in listed], np.int64), listed

    def _list(self, triangle: NDArray[np.int32], mask: NDArray[np.bool_], image_xy: NDArray[np.float64]) -> Seen:
        mesh = self.renderer.mesh
        orders = mesh.triangle_order, mesh.vertex_order
        return Seen(*list_pixels(triangle, mask, self._face_mask, image_xy, mesh.triangles, *orders))

    def _sampled(
        self, seen: Seen, triangle: NDArray[np.int32], mask: NDArray[np.bool_], image_xy: NDArray[np.float64]
    ) -> tuple[Seen, NDArray[np.int32]]:
        """The pixels that H is summed over, and where they are among those seen."""
        everything = np.arange(len(seen.pixels), dtype=np.int32)
        if self.problem.hessian_step == 1:
            return seen, everything
        sample = self._list(triangle, mask & self._lattice, image_xy)
        if not len(sample.pixels):
            return seen, everything
        at = np.empty(triangle.size, np.int32)
        at[seen.pixels] = everything
        return sample, at[sample.pixels]

    def _target(self, seen: Seen, item: int) -> Target:
        energy = self.problem.energy
        scale = float(np.sqrt(energy.photometric / max(len(seen.pixels), 1)))
        return Target(self._image[item], float(energy.huber_delta), scale, self._weights[item])

    def _gamma(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(9, 3) of one item."""
        return np.ascontiguousarray(self.renderer.layout.gamma(chi))

    def _light_turn(self, chi: NDArray[np.float64]) -> LightTurn | None:
        """What the pose's turn is in columns of the light, where shadows turn with the interpolated normals."""
        if not self._shadowed or self.renderer.flat:
            return None
        return LightTurn.of(self.renderer.layout, self._gamma(chi))

    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        renderer, seen = self.renderer, frozen.cache[item].seen
        cost = np.empty(len(seen.pixels))
        posed, target = renderer.surface(chi, item).posed, self._target(seen, item)
        residuals(renderer.flat, renderer.mesh.triangles, posed, self._gamma(chi), seen, target, cost)
        return float(cost.sum())

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, free: NDArray[np.bool_]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        renderer, equations, layout = self.renderer, self._equations, self.renderer.layout
        listed: Listed = frozen.cache[item]
        local = self._local(chi, listed.seen, item, robust=True)
        cost = float(local.cost.sum())
        sample = local.of(listed.chosen)
        larger = len(local.cost) / len(sample.cost)
        if not free[: layout.lighting.start].any():
            gradient, hessian = equations.light_alone(local, sample)
            return cost, gradient, larger * hessian
        surface, turn = renderer.surface(chi, item), self._light_turn(chi)
        gradient = equations.gradient(local, listed.seen, surface.shape, surface.posed, renderer.shape_basis, turn)
        motion = self._motion(chi, listed.sample, item)
        hessian = equations.hessian(sample, listed.sample, motion, renderer.settings.assembly, turn)
        return cost, gradient, larger * hessian

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        seen: Seen = frozen.cache[item].seen
        local = self._local(chi[item], seen, item, robust=False)
        motion = self._motion(chi[item], seen, item)
        order = np.argsort(seen.pixels)  # row by row
        jacobian = self._equations.jacobian(local, seen, motion, self._light_turn(chi[item]))[order]
        jacobian = jacobian.reshape(3 * len(order), -1)
        chosen = slice(None) if rows is None else rows
        return ResidualJacobian(
            local.residual[order].ravel()[chosen], jacobian[chosen], local.weight[order].ravel()[chosen]
        )

    def _motion(self, chi: NDArray[np.float64], seen: Seen, item: int) -> NDArray[Any]:
        """U of the vertices that are seen, see `surface.vertex_jacobian`."""
        renderer, surface = self.renderer, self.renderer.surface(chi, item)
        motion = self._equations.motion(len(seen.vertices))
        vertex_jacobian(
            renderer.flat,
            not self._shadowed,
            renderer.mesh,
            surface.shape,
            surface.posed,
            seen.vertices,
            renderer.shape_basis,
            motion,
        )
        return motion

    def _local(self, chi: NDArray[np.float64], seen: Seen, item: int, robust: bool) -> Local:
        renderer, equations = self.renderer, self._equations
        surface, count = renderer.surface(chi, item), len(seen.pixels)
        tangents = np.empty((len(seen.vertices), 2, 3))
        if not renderer.flat:
            tangent_frames(surface.shape.normals, surface.posed.camera, seen.vertices, tangents)
        local = Local(
            cost=np.empty(count),
            residual=np.empty((count, 3)),
            weight=np.empty((count, 3)),
            spin=np.empty((count if self._shadowed and renderer.flat else 0, 3, 3), renderer.real),
            record=equations.buffer("record", count, RECORD),
        )
        local_rows(
            renderer.flat,
            renderer.mesh.triangles,
            surface.posed,
            self._gamma(chi),
            seen,
            self._target(seen, item),
            robust,
            tangents,
            local.cost,
            local.residual,
            local.weight,
            local.spin,
            local.record,
        )
        return local
