"""The photometric term of a batch: pixels, residuals, rows of J, and the choice of how J^T J is formed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.backends.numpy_numba.camera import SCREEN_ROWS
from faceinv.backends.numpy_numba.normal_equations import LightTurn, NormalEquations
from faceinv.backends.numpy_numba.parts import Local, Seen, Target
from faceinv.backends.numpy_numba.raster import list_pixels, rasterize
from faceinv.backends.numpy_numba.record import RECORD
from faceinv.backends.numpy_numba.shading import local_rows, residuals
from faceinv.backends.numpy_numba.surface import vertex_jacobian
from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.records import ResidualJacobian, Visibility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.numpy_numba.renderer import NumbaRenderer
    from faceinv.engine.records import Frozen, Problem

__all__ = ["NumbaDifferentiator"]


class NumbaDifferentiator(HostTermsDifferentiator):
    """Analytic derivatives; J^T J by vertices, or by blocks of rows."""

    renderer: NumbaRenderer

    def __init__(self, renderer: NumbaRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        renderer.surfaces.resize(len(problem.image))
        self._image = np.array(problem.image, np.float32, order="C")
        self._mask = np.array(problem.mask, np.bool_, order="C")
        self._weights = np.array(problem.weights, np.float32, order="C")
        self._shadowed = renderer.model.occlusion is not None
        self._face_mask = renderer.model.face_mask.copy()
        # R rows of a vertex's motion: its place on the screen, and its depth or the two turns of its normal.
        rank = SCREEN_ROWS + (1 if renderer.flat else 2)
        self._equations = NormalEquations(renderer.layout, renderer.mesh, renderer.albedo_basis, rank)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[Seen]]:
        mesh, size = self.renderer.mesh, self.problem.size
        visibility = Visibility(np.empty((len(chi), *size), np.int32), np.empty((len(chi), *size, 3)))
        seen = []
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
            listed = list_pixels(
                triangle,
                self._mask[item],
                self._face_mask,
                surface.image_xy,
                mesh.triangles,
                mesh.triangle_order,
                mesh.vertex_order,
            )
            seen.append(Seen(*listed))
        return visibility, np.array([len(s.pixels) for s in seen], np.int64), seen

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
        renderer, seen = self.renderer, frozen.cache[item]
        cost = np.empty(len(seen.pixels))
        posed, target = renderer.surface(chi, item).posed, self._target(seen, item)
        residuals(renderer.flat, renderer.mesh.triangles, posed, self._gamma(chi), seen, target, cost)
        return float(cost.sum())

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        seen: Seen = frozen.cache[item]
        local = self._local(chi, seen, item, robust=True)
        assembly = self.renderer.settings.assembly
        gradient, hessian = self._equations.solve_for(local, seen, assembly, self._light_turn(chi))
        return float(local.cost.sum()), gradient, hessian

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        seen: Seen = frozen.cache[item]
        local = self._local(chi[item], seen, item, robust=False)
        order = np.argsort(seen.pixels)  # row by row
        jacobian = self._equations.jacobian(local, seen, self._light_turn(chi[item]))[order].reshape(3 * len(order), -1)
        chosen = slice(None) if rows is None else rows
        return ResidualJacobian(
            local.residual[order].ravel()[chosen], jacobian[chosen], local.weight[order].ravel()[chosen]
        )

    def _local(self, chi: NDArray[np.float64], seen: Seen, item: int, robust: bool) -> Local:
        renderer, equations = self.renderer, self._equations
        surface, count, used = renderer.surface(chi, item), len(seen.pixels), len(seen.vertices)
        local = Local(
            cost=np.empty(count),
            residual=np.empty((count, 3)),
            weight=np.empty((count, 3)),
            spin=np.empty((count if self._shadowed and renderer.flat else 0, 3, 3), renderer.real),
            record=equations.buffer("record", count, RECORD),
            motion=equations.buffer("motion", *equations.motion_shape(used)),
            tangents=np.empty((used, 2, 3)),
        )
        local.motion[used:] = 0.0
        vertex_jacobian(
            renderer.flat,
            not self._shadowed,
            renderer.mesh,
            surface.shape,
            surface.posed,
            seen.vertices,
            renderer.shape_basis,
            local.tangents,
            local.motion,
        )
        local_rows(
            renderer.flat,
            renderer.mesh.triangles,
            surface.posed,
            self._gamma(chi),
            seen,
            self._target(seen, item),
            robust,
            local.tangents,
            local.cost,
            local.residual,
            local.weight,
            local.spin,
            local.record,
        )
        return local
