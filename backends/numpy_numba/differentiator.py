"""The photometric term of a batch: pixels, residuals, rows of J, and the choice of how J^T J is formed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.numpy_numba.normal_equations import LightTurn, NormalEquations
from faceinv.backends.numpy_numba.parts import Listed, Local, Pulls, Seen, Target
from faceinv.backends.numpy_numba.raster import list_pixels, rasterize
from faceinv.backends.numpy_numba.record import LIGHTS, PULL, RECORD
from faceinv.backends.numpy_numba.shading import local_rows, pixel_pulls, residuals
from faceinv.backends.numpy_numba.surface import tangent_frames
from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.records import ResidualJacobian, Visibility, hessian_lattice

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.numpy_numba.renderer import NumbaRenderer
    from faceinv.engine.records import Frozen, Problem

__all__ = ["NumbaDifferentiator"]

_PULL_BLOCKS: Final = 64
"""Blocks of pixels whose pulls at the light are summed by themselves."""


class NumbaDifferentiator(HostTermsDifferentiator):
    """Analytic derivatives; J^T J by vertices, or by rows; J^T r without rows."""

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
        self._equations = NormalEquations(renderer, turning=not self._shadowed)

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
            listed.append(Listed(seen, self._sampled(seen, triangle, self._mask[item], surface.image_xy)))
        return visibility, np.array([len(one.seen.pixels) for one in listed], np.int64), listed

    def _list(self, triangle: NDArray[np.int32], mask: NDArray[np.bool_], image_xy: NDArray[np.float64]) -> Seen:
        mesh = self.renderer.mesh
        orders = mesh.triangle_order, mesh.vertex_order
        return Seen(*list_pixels(triangle, mask, self._face_mask, image_xy, mesh.triangles, *orders))

    def _sampled(
        self, seen: Seen, triangle: NDArray[np.int32], mask: NDArray[np.bool_], image_xy: NDArray[np.float64]
    ) -> Seen:
        """The pixels that H is summed over."""
        if self.problem.hessian_step == 1:
            return seen
        sample = self._list(triangle, mask & self._lattice, image_xy)
        return sample if len(sample.pixels) else seen

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
        layout, equations = self.renderer.layout, self._equations
        listed: Listed = frozen.cache[item]
        target = self._target(listed.seen, item)
        pulls = self._pulls(chi, listed.seen, item, target)
        local = self._local(chi, listed.sample, item, target, robust=True)
        cost, larger = float(pulls.cost.sum()), len(listed.seen.pixels) / len(listed.sample.pixels)
        if not free[: layout.lighting.start].any():
            gradient, hessian = equations.light_alone(pulls, local)
        else:
            surface, turn = self.renderer.surface(chi, item), self._light_turn(chi)
            gradient = equations.gradient(pulls, listed.seen, surface, turn)
            hessian = equations.hessian(local, listed.sample, surface, turn)
        hessian *= larger
        return cost, gradient, hessian

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        seen: Seen = frozen.cache[item].seen
        local = self._local(chi[item], seen, item, self._target(seen, item), robust=False)
        surface = self.renderer.surface(chi[item], item)
        order = np.argsort(seen.pixels)  # row by row
        jacobian = self._equations.jacobian(local, seen, surface, self._light_turn(chi[item]))[order]
        jacobian = jacobian.reshape(3 * len(order), -1)
        chosen = slice(None) if rows is None else rows
        return ResidualJacobian(
            local.residual[order].ravel()[chosen], jacobian[chosen], local.weight[order].ravel()[chosen]
        )

    def _pulls(self, chi: NDArray[np.float64], seen: Seen, item: int, target: Target) -> Pulls:
        renderer, count = self.renderer, len(seen.pixels)
        cost, pixels, sums = np.empty(count), np.empty((count, PULL)), np.empty((_PULL_BLOCKS, 3 * LIGHTS + 3))
        flat, posed = renderer.flat, renderer.surface(chi, item).posed
        spinning = self._shadowed and flat
        gamma = self._gamma(chi)
        pixel_pulls(flat, spinning, renderer.mesh.triangles, posed, gamma, seen, target, cost, pixels, sums)
        total = sums.sum(axis=0)
        return Pulls(cost, pixels, total[: 3 * LIGHTS], total[3 * LIGHTS :])

    def _local(self, chi: NDArray[np.float64], seen: Seen, item: int, target: Target, robust: bool) -> Local:
        renderer, equations = self.renderer, self._equations
        surface, count = renderer.surface(chi, item), len(seen.pixels)
        tangents = np.empty((len(seen.vertices), 2, 3))
        if not renderer.flat:
            tangent_frames(surface.shape.normals, surface.posed.camera, seen.vertices, tangents)
        local = Local(
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
            target,
            robust,
            tangents,
            local.residual,
            local.weight,
            local.spin,
            local.record,
        )
        return local
