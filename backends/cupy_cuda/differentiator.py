"""Energy, derivatives and steps with CUDA kernels; only chi and a few numbers of each item cross to the host."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.cupy_cuda.kernels.assembly import AssemblyPlan, SlabSums, dense_rows, normal_equations
from faceinv.backends.cupy_cuda.kernels.constants import COUNT_PIXELS, COUNT_VERTICES, REPORT
from faceinv.backends.cupy_cuda.kernels.finish import finish_derivatives, sum_costs
from faceinv.backends.cupy_cuda.kernels.landmarks import (
    DeviceLandmarks,
    DevicePoints,
    landmark_rows,
    place_landmarks,
)
from faceinv.backends.cupy_cuda.kernels.misfit import PhotoMisfit
from faceinv.backends.cupy_cuda.kernels.photometric import FrozenPart, local_rows, photometric_cost
from faceinv.backends.cupy_cuda.kernels.raster import draw
from faceinv.backends.cupy_cuda.kernels.select import Seen, count_sample, list_flags, listed_pixels, row_by_row
from faceinv.backends.cupy_cuda.kernels.solve import solve_step
from faceinv.backends.cupy_cuda.launch.device import part_of
from faceinv.backends.cupy_cuda.parts import Parts
from faceinv.engine.host_terms import priors
from faceinv.engine.interface import AbstractDifferentiator
from faceinv.engine.records import Cost, Frozen, Linearization, ResidualJacobian, Step, Visibility

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.kernels.geometry import Surface
    from faceinv.backends.cupy_cuda.launch.device import Array
    from faceinv.backends.cupy_cuda.renderer import CudaRenderer
    from faceinv.engine.records import Problem

__all__ = ["CudaDifferentiator"]


class CudaDifferentiator(AbstractDifferentiator):
    """Analytic derivatives; J^T J from rows that live in shared memory only.

    Where the device runs out of memory, the batch is worked on in halves, quarters and so on.

    Raises:
        BackendError: when the device has no room for the photos, or a block's shared memory none for the model.
    """

    renderer: CudaRenderer

    def __init__(self, renderer: CudaRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        device = self._device = renderer.device
        self._model = renderer.on_device
        self._plan = AssemblyPlan.of(self._model)
        self._surfaces: list[tuple[bytes, Surface]] = []
        self._parts = Parts(device, len(problem.image), problem.size, self._surfaces.clear)
        self._latest: dict[str, tuple[bytes, Array]] = {}
        self._image, self._pixel_weights, self._mask, self._landmarks = self._parts.whole(
            lambda: (
                device.asarray(np.ascontiguousarray(problem.image, np.float32)),
                device.asarray(problem.weights),
                device.asarray(np.ascontiguousarray(problem.mask).astype(np.uint8)),
                DeviceLandmarks.of(device, problem),
            )
        )
        self._prior_weights, self._prior_means = self._parts.whole(
            lambda: tuple(device.asarray(part) for part in priors(renderer.layout, problem))
        )

    # What the driver calls.

    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`. |F| and the number of vertices of each item come to the host."""
        device, model, batch = self._device, self._model, len(chi)
        counts, points = self._parts.whole(
            lambda: (device.zeros((batch, 2), np.int32), DevicePoints.empty(device, batch))
        )
        if not self.problem.energy.photometric:
            self._parts.run(
                batch, lambda part: place_landmarks(model, self._surface(chi[part]), self._landmarks, points, part)
            )
            host = np.zeros((batch, 2), np.int64)
            sampled = self._parts.whole(lambda: device.zeros((batch,), np.int32))
            return Frozen(None, points, host[:, COUNT_PIXELS], Seen(counts, None, None, None, sampled, host))
        size, listed = self.problem.size, listed_pixels(self.problem.size)
        triangle, barycentric, pixels, used, place, sampled = self._parts.whole(
            lambda: (
                device.empty((batch, *size), np.int32),
                device.empty((batch, *size, 3), np.float64),
                device.empty((batch, listed), np.int32),
                device.empty((batch, model.vertices), np.int32),
                device.empty((batch, model.vertices), np.int32),
                device.empty((batch,), np.int32),
            )
        )

        def work(part: slice) -> None:
            surface, shape = self._surface(chi[part]), (part.stop - part.start,)
            included = device.empty((*shape, listed), np.uint8)
            touched = device.zeros((*shape, model.vertices), np.uint8)
            mask = part_of(self._mask, part)
            draw(
                model,
                surface.camera,
                surface.xy,
                surface.depth,
                part_of(triangle, part),
                part_of(barycentric, part),
                mask,
                included,
                touched,
            )
            list_flags(device, included, COUNT_PIXELS, part_of(pixels, part), None, part_of(counts, part))
            list_flags(
                device, touched, COUNT_VERTICES, part_of(used, part), part_of(place, part), part_of(counts, part)
            )
            step = self.problem.hessian_step
            count_sample(device, part_of(pixels, part), part_of(counts, part), size[1], step, part_of(sampled, part))
            place_landmarks(model, surface, self._landmarks, points, part)

        self._parts.run(batch, work)
        host = device.to_host(counts).astype(np.int64)
        seen = Seen(counts, pixels, used, place, sampled, host)
        return Frozen(Visibility(triangle, barycentric), points, host[:, COUNT_PIXELS].copy(), seen)

    def linearize(
        self,
        chi: NDArray[np.float64],
        frozen: Frozen,
        active: NDArray[np.bool_],
        free: NDArray[np.bool_] | None = None,
    ) -> Linearization:
        """See `AbstractDifferentiator.linearize`. g and H stay on the device, and are whole whatever is free."""
        device, (batch, count) = self._device, chi.shape
        gradient, hessian, costs = self._parts.whole(
            lambda: (
                device.empty((batch, count), np.float64),
                device.empty((batch, count, count), np.float64),
                device.empty((batch, 3), np.float64),
            )
        )
        points = DevicePoints.of(device, frozen.points)

        def work(part: slice) -> None:
            chosen = self._frozen_part(chi, frozen, active, part)
            residual, landmark = self._landmark_rows(chosen, points, part, rows=True)
            sums = SlabSums.empty(self._plan, chosen)
            if chosen.seen.most_pixels:
                rows = local_rows(chosen, robust=True)
                normal_equations(self._plan, chosen, rows, sums)
                partial = rows.cost
            else:
                partial = device.empty((chosen.items, 1), np.float64)
            finish_derivatives(
                self._plan,
                chosen,
                sums,
                residual,
                landmark,
                self._priors(part),
                part_of(gradient, part),
                part_of(hessian, part),
            )
            sum_costs(chosen, partial, residual, self._priors(part), part_of(costs, part))

        self._parts.run(batch, work)
        return Linearization(_cost(device.to_host(costs)), gradient, hessian, 3 * frozen.pixels)

    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        device, batch = self._device, len(chi)
        costs = self._parts.whole(lambda: device.empty((batch, 3), np.float64))
        points = DevicePoints.of(device, frozen.points)

        def work(part: slice) -> None:
            chosen = self._frozen_part(chi, frozen, active, part)
            residual, _ = self._landmark_rows(chosen, points, part, rows=False)
            sum_costs(chosen, photometric_cost(chosen), residual, self._priors(part), part_of(costs, part))

        self._parts.run(batch, work)
        return _cost(device.to_host(costs))

    def without_occluders(self, chi: NDArray[np.float64], share: float) -> Self:
        """See `AbstractDifferentiator.without_occluders`. The photos and the latest surfaces are shared."""
        device, hull, white = self._device, self._hull, self.problem.white
        weights = self._parts.whole(lambda: device.empty(self._mask.shape, np.float32))

        def work(part: slice) -> None:
            misfit = PhotoMisfit(
                self._model, part_of(self._image, part), part_of(self._mask, part), part_of(hull, part)
            )
            misfit.responsibilities(self._surface(chi[part]), share, white, part_of(weights, part))

        self._parts.run(len(chi), work)
        bare = copy.copy(self)
        bare._latest = {}
        bare._pixel_weights = weights
        bare.problem = replace(self.problem, pixel_weights=device.to_host(weights))
        return bare

    def photometric_rmse(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractDifferentiator.photometric_rmse`."""
        device, hull, batch = self._device, self._hull, len(chi)
        sums = self._parts.whole(lambda: device.empty((batch, 2), np.float64))

        def work(part: slice) -> None:
            misfit = PhotoMisfit(
                self._model, part_of(self._image, part), part_of(self._mask, part), part_of(hull, part)
            )
            misfit.sums(self._surface(chi[part]), self.problem.white, part_of(sums, part))

        self._parts.run(batch, work)
        total, count = device.to_host(sums).T
        rmse: NDArray[np.float64] = np.sqrt(np.divide(total, count, out=np.full(batch, np.nan), where=count > 0))
        return rmse

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """See `AbstractDifferentiator.solve`: a Cholesky factorisation for each item, on the device."""
        device, (batch, count) = self._device, linearization.gradient.shape
        masks = np.broadcast_to(free, (batch, count))
        if not masks.any():
            return Step(np.zeros((batch, count)), np.zeros(batch), np.zeros(batch), np.ones(batch, np.bool_))
        free_counts = masks.sum(axis=1, dtype=np.int32)
        # Of each item what is free comes first, in order.
        chosen = np.argsort(~masks, axis=1, kind="stable")[:, : free_counts.max()].astype(np.int32)
        index, counts = self._put("free", chosen), self._put("free_counts", free_counts)
        step = self._parts.whole(lambda: device.zeros((batch, count + REPORT), np.float64))

        def work(part: slice) -> None:
            lift = device.asarray(np.ascontiguousarray(damping[part], np.float64))
            solve_step(
                device,
                part_of(linearization.hessian, part),
                part_of(linearization.gradient, part),
                lift,
                part_of(index, part),
                part_of(counts, part),
                part_of(step, part),
            )

        self._parts.run(batch, work)
        report = device.to_host(step)
        return Step(report[:, :count], report[:, count], report[:, count + 1], report[:, count + 2] > 0)

    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        device, count = self._device, self.renderer.layout.count
        pixels = int(frozen.pixels[item])
        if not pixels:
            return ResidualJacobian(np.zeros(0), np.zeros((0, count)), np.zeros(0))
        part = self._frozen_part(chi, frozen, np.ones(len(chi), np.bool_), slice(item, item + 1))
        local = local_rows(part, robust=False)
        out = dense_rows(part, local)
        # The device lists pixels tile by tile; the caller wants them row by row.
        order = np.argsort(row_by_row(device.to_host(part.seen.pixels)[0, :pixels], self.problem.size[1]))

        def arrange(array: Array) -> NDArray[np.float64]:
            values = device.to_host(array)[0, :, :pixels].T[order].ravel()
            return np.ascontiguousarray(values if rows is None else values[rows])

        jacobian = device.to_host(out)[order].reshape(3 * pixels, count).astype(np.float64)
        return ResidualJacobian(
            arrange(local.residual), jacobian if rows is None else jacobian[rows], arrange(local.weight)
        )

    # Some items of the batch.

    def _frozen_part(
        self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_], part: slice
    ) -> FrozenPart:
        return FrozenPart(
            model=self._model,
            energy=self.problem.energy,
            active=part_of(self._put("active", active.astype(np.uint8)), part),
            surface=self._surface(chi[part]),
            image=part_of(self._image, part),
            weights=part_of(self._pixel_weights, part),
            triangle=None if frozen.visibility is None else part_of(frozen.visibility.triangle, part),
            seen=frozen.cache.of(part),
            hessian_step=self.problem.hessian_step,
        )

    def _surface(self, chi: NDArray[np.float64]) -> Surface:
        """The posed surface; the latest are remembered, as a trial point becomes the next start."""
        key = chi.tobytes()
        for known, surface in self._surfaces:
            if known == key:
                return surface
        surface = self.renderer.surface(chi)
        if self._parts.count == 1:  # otherwise memory is short
            self._surfaces.insert(0, (key, surface))
            del self._surfaces[2:]
        return surface

    @cached_property
    def _hull(self) -> Array:
        """(B, H, W) see `Problem.hull`; two questions are asked of the finest photos."""
        return self._parts.whole(lambda: self._device.asarray(self.problem.hull.view(np.uint8)))

    def _put(self, name: str, array: NDArray[Any]) -> Array:
        """A host array on the device; what was put there last under this name is not sent again."""
        key = array.tobytes()
        if name not in self._latest or self._latest[name][0] != key:
            self._latest[name] = key, self._device.asarray(array)
        return self._latest[name][1]

    def _priors(self, part: slice) -> tuple[Array, Array]:
        """Weights and means (b, P) each."""
        return part_of(self._prior_weights, part), part_of(self._prior_means, part)

    def _landmark_rows(
        self, chosen: FrozenPart, points: DevicePoints, part: slice, rows: bool
    ) -> tuple[Array, Array | None]:
        """Landmark residuals (b, 136) and, with `rows`, their derivative (b, 136, P)."""
        return landmark_rows(self._model, chosen.surface, self._landmarks, points, part, chosen.active, rows)


def _cost(terms: NDArray[np.float64]) -> Cost:
    photometric, landmarks, prior = (np.ascontiguousarray(column) for column in terms.T)
    return Cost.of(photometric=photometric, landmarks=landmarks, prior=prior)
