"""Energy, derivatives and steps with CUDA kernels; only chi and a few numbers of each item cross to the host."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.misfit import PhotoMisfit
from faceinv.backends.cupy_cuda.parts import Parts
from faceinv.backends.cupy_cuda.photometric import MAX_SLABS, PIXEL_THREADS, SLAB_PIXELS, PhotometricTerm, Seen
from faceinv.backends.cupy_cuda.renderer import Surface, blocks, listed_pixels
from faceinv.engine.host_terms import prior_diagonal
from faceinv.engine.interface import AbstractDifferentiator
from faceinv.engine.records import Cost, Frozen, LandmarkPoints, Linearization, ResidualJacobian, Step, Visibility

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.device import Array, Device
    from faceinv.backends.cupy_cuda.renderer import CudaRenderer
    from faceinv.engine.records import Problem

__all__ = ["CudaDifferentiator"]

_THREADS: Final = 128
_LIST_THREADS: Final = 512
_SOLVE_THREADS: Final = 320
_PATCH: Final = 16
_LANDMARKS: Final = 68


class _DevicePoints(LandmarkPoints):
    """Landmark points that stay on the device until somebody reads them."""

    device_vertices: Array
    device_weights: Array

    def __init__(self, device: Device, vertices: Array, weights: Array) -> None:
        object.__setattr__(self, "_device", device)
        object.__setattr__(self, "device_vertices", vertices)
        object.__setattr__(self, "device_weights", weights)

    @cached_property
    def vertices(self) -> NDArray[np.int32]:
        """(B, 68, 3), host."""
        host: NDArray[np.int32] = self.__dict__["_device"].to_host(self.device_vertices)
        return host

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(B, 68, 3), host."""
        host: NDArray[np.float64] = self.__dict__["_device"].to_host(self.device_weights)
        return host


class CudaDifferentiator(AbstractDifferentiator):
    """Analytic derivatives; J^T J from rows that live in shared memory only.

    Where the device runs out of memory, the batch is worked on in halves, quarters and so on.
    """

    renderer: CudaRenderer

    def __init__(self, renderer: CudaRenderer, problem: Problem) -> None:
        self.renderer = renderer
        self.problem = problem
        self._device = renderer.device
        layout = renderer.layout
        self._surfaces: list[tuple[bytes, Surface]] = []
        self._parts = Parts(renderer.device, len(problem.image), problem.size, self._surfaces.clear)
        self._latest: dict[str, tuple[bytes, Array]] = {}
        model = renderer.model

        def upload() -> tuple[Array, ...]:
            put = self._device.asarray
            return (
                put(np.ascontiguousarray(problem.image, np.float32)),
                put(np.ascontiguousarray(problem.mask).astype(np.uint8)),
                put(np.ascontiguousarray(problem.landmarks, np.float64)),
                put(np.ascontiguousarray(problem.landmark_weights, np.float64)),
                put(np.ascontiguousarray(problem.eye_distance, np.float64)),
                put(prior_diagonal(layout, problem.energy)),
                put(model.landmark_vertices),
                put(model.landmark_weights.astype(np.float64)),
                put(model.jaw_contour),
            )

        (
            self._image,
            self._mask,
            self._target,
            self._omega,
            self._eye_distance,
            self._prior,
            self._fixed_vertices,
            self._fixed_weights,
            self._contour,
        ) = self._parts.whole(upload)
        self._photometric = PhotometricTerm(renderer, problem, self._image)

    # What the driver calls.

    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`. |F| and the number of vertices of each item come to the host."""
        device, batch = self._device, len(chi)
        counts, vertices, weights = self._parts.whole(
            lambda: (
                device.zeros((batch, 2), np.int32),
                device.empty((batch, _LANDMARKS, 3), np.int32),
                device.empty((batch, _LANDMARKS, 3), np.float64),
            )
        )
        points = _DevicePoints(device, vertices, weights)
        if not self.problem.energy.photometric:
            self._parts.run(batch, lambda part: self._place_landmarks(self._surface(chi[part]), points, part))
            host = np.zeros((batch, 2), np.int64)
            return Frozen(None, points, host[:, 0], Seen(counts, None, None, None, host))
        size, count, listed = self.problem.size, self.renderer.model.vertex_count, listed_pixels(self.problem.size)
        triangle, barycentric, pixels, used, place = self._parts.whole(
            lambda: (
                device.empty((batch, *size), np.int32),
                device.empty((batch, *size, 3), np.float64),
                device.empty((batch, listed), np.int32),
                device.empty((batch, count), np.int32),
                device.empty((batch, count), np.int32),
            )
        )

        def work(part: slice) -> None:
            surface, items = self._surface(chi[part]), part.stop - part.start
            included = device.empty((items, listed), np.uint8)
            touched = device.zeros((items, count), np.uint8)
            self.renderer.draw(
                surface.xy, surface.depth, triangle[part], barycentric[part], self._mask[part], included, touched
            )
            for column, flags, into, where in (
                (0, included, pixels[part], None),
                (1, touched, used[part], place[part]),
            ):
                device.launch(
                    "list_flags",
                    (items, 1, 1),
                    _LIST_THREADS,
                    batch=items,
                    length=flags.shape[1],
                    column=column,
                    flags=flags,
                    list=into,
                    place=where,
                    counts=counts[part],
                )
            self._place_landmarks(surface, points, part)

        self._parts.run(batch, work)
        host = device.to_host(counts).astype(np.int64)
        seen = Seen(counts, pixels, used, place, host)
        return Frozen(Visibility(triangle, barycentric), points, host[:, 0].copy(), seen)

    def linearize(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """See `AbstractDifferentiator.linearize`. g and H stay on the device."""
        device, photometric, (batch, count) = self._device, self._photometric, chi.shape
        gradient, hessian, costs = self._parts.whole(
            lambda: (
                device.empty((batch, count), np.float64),
                device.empty((batch, count, count), np.float64),
                device.empty((batch, 3), np.float64),
            )
        )
        points = self._points(frozen)

        def work(part: slice) -> None:
            items = part.stop - part.start
            surface, on = self._surface(chi[part]), self._put("active", active.astype(np.uint8))[part]
            residual, landmark = self._landmarks(surface, points, part, on, rows=True)
            slabs, (pairs, side) = photometric.slabs(frozen, part), (photometric.pairs, photometric.side)
            photo_h = device.empty((items, slabs, pairs, side, side), self.renderer.real)
            photo_g = device.empty((items, slabs, count), np.float64)
            if frozen.pixels[part].any():
                rows = photometric.rows(surface, frozen, part, on, robust=True)
                photometric.normal_equations(surface, rows, frozen, part, on, photo_h, photo_g)
                photo_cost = rows.cost
            else:
                photo_cost = device.empty((items, 1), np.float64)
            shared = {
                "batch": items,
                "parameters": count,
                "slabs": slabs,
                "slab_pixels": SLAB_PIXELS,
                "max_slabs": MAX_SLABS,
                "active": on,
                "counts": frozen.cache.counts[part],
                "landmark": landmark,
                "prior": self._prior,
            }
            patches = blocks(count, _PATCH)
            device.launch(
                "finish_hessian",
                (patches, patches, items),
                _PATCH * _PATCH,
                template=(self.renderer.real_name,),
                **shared,
                tiles=photometric.tiles,
                pairs=pairs,
                side=side,
                partial=photo_h,
                hessian=hessian[part],
            )
            device.launch(
                "finish_gradient",
                (blocks(count, _THREADS), items, 1),
                _THREADS,
                **shared,
                partial=photo_g,
                residual=residual,
                chi=surface.chi,
                gradient=gradient[part],
            )
            self._sum_costs(surface, frozen, part, on, photo_cost, residual, costs[part])

        self._parts.run(batch, work)
        return Linearization(_cost_parts(device.to_host(costs)), gradient, hessian, 3 * frozen.pixels)

    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        device, batch = self._device, len(chi)
        costs = self._parts.whole(lambda: device.empty((batch, 3), np.float64))
        points = self._points(frozen)

        def work(part: slice) -> None:
            surface, on = self._surface(chi[part]), self._put("active", active.astype(np.uint8))[part]
            residual, _ = self._landmarks(surface, points, part, on, rows=False)
            partial = self._photometric.cost(surface, frozen, part, on)
            self._sum_costs(surface, frozen, part, on, partial, residual, costs[part])

        self._parts.run(batch, work)
        return _cost_parts(device.to_host(costs))

    def without_occluders(self, chi: NDArray[np.float64], threshold: float) -> CudaDifferentiator:
        """See `AbstractDifferentiator.without_occluders`. The photos and the latest surfaces are shared."""
        device, hull = self._device, self._hull
        kept = self._parts.whole(lambda: device.empty(self._mask.shape, np.uint8))

        def work(part: slice) -> None:
            misfit = PhotoMisfit(self.renderer, self._image[part], self._mask[part], hull[part])
            misfit.explained(self._surface(chi[part]), threshold, kept[part])

        self._parts.run(len(chi), work)
        found = copy.copy(self)
        found._latest = {}
        found._mask = kept
        found.problem = replace(self.problem, mask=device.to_host(kept).astype(np.bool_))
        return found

    def photometric_rmse(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractDifferentiator.photometric_rmse`."""
        device, hull, batch = self._device, self._hull, len(chi)
        sums = self._parts.whole(lambda: device.empty((batch, 2), np.float64))

        def work(part: slice) -> None:
            misfit = PhotoMisfit(self.renderer, self._image[part], self._mask[part], hull[part])
            misfit.sums(self._surface(chi[part]), self.problem.white, sums[part])

        self._parts.run(batch, work)
        total, count = device.to_host(sums).T
        rmse: NDArray[np.float64] = np.sqrt(np.divide(total, count, out=np.full(batch, np.nan), where=count > 0))
        return rmse

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """See `AbstractDifferentiator.solve`: a Cholesky factorisation for each item, on the device."""
        device, (batch, count) = self._device, linearization.gradient.shape
        chosen = np.flatnonzero(free).astype(np.int32)
        if not len(chosen):
            return Step(np.zeros((batch, count)), np.zeros(batch), np.zeros(batch), np.ones(batch, np.bool_))
        index = self._put("free", chosen)
        step = self._parts.whole(lambda: device.zeros((batch, count + 3), np.float64))
        threads = min(_SOLVE_THREADS, max(64, 32 * blocks(len(chosen) + 1, 32)))

        def work(part: slice) -> None:
            items = part.stop - part.start
            device.launch(
                "solve_step",
                (items, 1, 1),
                threads,
                batch=items,
                parameters=count,
                free_count=len(chosen),
                free=index,
                hessian=linearization.hessian[part],
                gradient=linearization.gradient[part],
                damping=device.asarray(np.ascontiguousarray(damping[part], np.float64)),
                factor=device.empty((items, len(chosen), len(chosen) + 1), np.float64),
                scale=device.empty((items, len(chosen)), np.float64),
                step=step[part],
            )

        self._parts.run(batch, work)
        told = device.to_host(step)
        return Step(told[:, :count], told[:, count], told[:, count + 1], told[:, count + 2] > 0)

    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        device, count = self._device, self.renderer.layout.count
        part, pixels = slice(item, item + 1), int(frozen.pixels[item])
        if not pixels:
            return ResidualJacobian(np.zeros(0), np.zeros((0, count)), np.zeros(0))
        surface, on = self._surface(chi[part]), device.asarray(np.ones(1, np.uint8))
        local = self._photometric.rows(surface, frozen, part, on, robust=False)
        out = self._photometric.dense_rows(surface, local, frozen, part, on)
        # The device lists pixels tile by tile; the caller wants them row by row.
        width = self.problem.size[1]
        order = np.argsort(_row_by_row(device.to_host(frozen.cache.pixels[part])[0, :pixels], width))

        def arrange(array: Array) -> NDArray[np.float64]:
            values = device.to_host(array)[0, :, :pixels].T[order].ravel()
            return np.ascontiguousarray(values if rows is None else values[rows])

        jacobian = device.to_host(out)[order].reshape(3 * pixels, count).astype(np.float64)
        return ResidualJacobian(
            arrange(local.residual), jacobian if rows is None else jacobian[rows], arrange(local.weight)
        )

    # Steps on some items of the batch.

    def _surface(self, chi: NDArray[np.float64]) -> Surface:
        """The posed surface; the latest are remembered, as a trial point becomes the next start."""
        key = chi.tobytes()
        for known, found in self._surfaces:
            if known == key:
                return found
        made = self.renderer.surface(chi)
        if self._parts.count == 1:  # otherwise memory is short
            self._surfaces.insert(0, (key, made))
            del self._surfaces[2:]
        return made

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

    def _place_landmarks(self, surface: Surface, points: _DevicePoints, part: slice) -> None:
        """Fill the landmark points of a part."""
        model, items = self.renderer.model, part.stop - part.start
        self._device.launch(
            "landmark_points",
            (items, 1, 1),
            96,
            batch=items,
            vertices=model.vertex_count,
            reach=model.jaw_contour.shape[1],
            fixed_vertices=self._fixed_vertices,
            fixed_weights=self._fixed_weights,
            contour=self._contour,
            xy=surface.xy,
            target=self._target[part],
            point_vertices=points.device_vertices[part],
            point_weights=points.device_weights[part],
        )

    def _points(self, frozen: Frozen) -> tuple[Array, Array]:
        points = frozen.points
        if isinstance(points, _DevicePoints):
            return points.device_vertices, points.device_weights
        put = self._device.asarray
        return put(np.ascontiguousarray(points.vertices, np.int32)), put(
            np.ascontiguousarray(points.weights, np.float64)
        )

    def _landmarks(
        self, surface: Surface, points: tuple[Array, Array], part: slice, on: Array, rows: bool
    ) -> tuple[Array, Array | None]:
        """Landmark residuals (B, 136) and, with `rows`, their derivative (B, 136, P)."""
        device, renderer, items = self._device, self.renderer, part.stop - part.start
        count = renderer.layout.count
        residual = device.empty((items, 2 * _LANDMARKS), np.float64)
        jacobian = device.empty((items, 2 * _LANDMARKS, count), np.float64) if rows else None
        device.launch(
            "landmark_rows",
            (_LANDMARKS, items, 1),
            64,
            template=(renderer.real_name,),
            batch=items,
            vertices=renderer.model.vertex_count,
            shape_modes=renderer.layout.shape_count,
            shape_stride=renderer.shape_stride,
            albedo_modes=renderer.model.albedo_count,
            parameters=count,
            landmarks=self.problem.energy.landmarks,
            active=on,
            point_vertices=points[0][part],
            point_weights=points[1][part],
            target=self._target[part],
            omega=self._omega[part],
            eye_distance=self._eye_distance[part],
            camera=surface.camera,
            points=surface.points,
            xy=surface.xy,
            shape_basis=renderer.shape_basis,
            residual=residual,
            jacobian=jacobian,
        )
        return residual, jacobian

    def _sum_costs(
        self, surface: Surface, frozen: Frozen, part: slice, on: Array, partial: Array, residual: Array, out: Array
    ) -> None:
        items = part.stop - part.start
        self._device.launch(
            "sum_costs",
            (items, 1, 1),
            _THREADS,
            batch=items,
            parameters=self.renderer.layout.count,
            blocks=partial.shape[1],
            block_pixels=PIXEL_THREADS,
            active=on,
            counts=frozen.cache.counts[part],
            partial=partial,
            residual=residual,
            prior=self._prior,
            chi=surface.chi,
            cost=out,
        )


def _cost_parts(costs: NDArray[np.float64]) -> Cost:
    names = ("photometric", "landmarks", "prior")
    return Cost.of(**{name: np.ascontiguousarray(costs[:, k]) for k, name in enumerate(names)})


def _row_by_row(places: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    """Flat pixel indices y * width + x of places in tile order."""
    across = blocks(width, 8)
    tile, within = places.astype(np.int64) // 64, places.astype(np.int64) % 64
    return (tile // across * 8 + within // 8) * width + tile % across * 8 + within % 8
