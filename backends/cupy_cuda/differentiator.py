"""Energy, derivatives and steps with CUDA kernels; only chi and a few numbers of each item cross to the host."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from faceinv.backends.cupy_cuda.device import DeviceMemoryError
from faceinv.backends.cupy_cuda.renderer import Surface, blocks, listed_pixels
from faceinv.energy import prior_diagonal
from faceinv.errors import BackendError
from faceinv.interface import (
    AbstractDifferentiator,
    CostParts,
    Frozen,
    LandmarkPoints,
    Linearization,
    ResidualJacobian,
    Step,
    Visibility,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.device import Array, Device
    from faceinv.backends.cupy_cuda.renderer import CudaRenderer
    from faceinv.interface import Problem

__all__ = ["CudaDifferentiator"]

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")

_THREADS: Final = 128
_PIXEL_THREADS: Final = 128
"""Pixels in a block of local_rows and photometric_cost: both must agree for equal costs."""
_LIST_THREADS: Final = 512
_SLAB_PIXELS: Final = 256
_MAX_SLABS: Final = 128
_TILE_THREADS: Final = 256
"""Tiles of H that a block of normal_equations holds at most."""
_SHARED_LIMIT: Final = 48 * 1024
"""Dynamic shared memory that every architecture grants without asking."""
_SOLVE_THREADS: Final = 320
_PATCH: Final = 16
_VERTICES_PER_BLOCK: Final = 4
_LANDMARKS: Final = 68


@dataclass(frozen=True)
class _Seen:
    """The photometric pixels and vertices of a batch, on the device unless named host."""

    counts: Array
    """(B, 2) pixels and vertices."""
    pixels: Array
    """(B, listed) places in tile order."""
    used: Array
    """(B, N) vertices that pixels touch."""
    place: Array
    """(B, N) a vertex's place in `used`, -1 for none."""
    host: NDArray[np.int64]
    """(B, 2) counts, host."""


class _DevicePoints(LandmarkPoints):
    """Landmark points that stay on the device until somebody reads them."""

    device_vertices: Array
    device_weights: Array

    def __init__(self, device: Device, vertices: Array, weights: Array) -> None:
        object.__setattr__(self, "_device", device)
        object.__setattr__(self, "device_vertices", vertices)
        object.__setattr__(self, "device_weights", weights)

    @property
    def vertices(self) -> NDArray[np.int32]:
        """(B, 68, 3), host."""
        host: NDArray[np.int32] = self.__dict__["_device"].to_host(self.device_vertices)
        return host

    @property
    def weights(self) -> NDArray[np.float64]:
        """(B, 68, 3), host."""
        host: NDArray[np.float64] = self.__dict__["_device"].to_host(self.device_weights)
        return host


@dataclass(frozen=True)
class _Rows:
    """Local rows of some items; see record.cuh."""

    record: Array
    """(B, fields, capacity)."""
    corner: Array
    """(B, 6, capacity)."""
    cost: Array
    """(B, blocks)."""
    residual: Array | None
    weight: Array | None


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
        self._part = max(1, len(problem.image))  # items worked on at once
        self._surfaces: list[tuple[bytes, Surface]] = []
        self._free: tuple[bytes, Array] | None = None
        self._fields = 81 if renderer.flat else 72
        self._side = 4 if renderer.real_name == "double" else 8
        self._tiles = blocks(layout.count, self._side)
        self._pairs = self._tiles * (self._tiles + 1) // 2
        self._piece, self._shared = self._piece_and_shared_bytes()
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
        ) = self._whole(upload)

    # What the driver calls.

    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`. |F| and the number of vertices of each item come to the host."""
        device, count, batch = self._device, self.renderer.model.vertex_count, len(chi)
        size = self.problem.size
        listed = listed_pixels(size)
        triangle, barycentric, pixels, used, place, counts, vertices, weights = self._whole(
            lambda: (
                device.empty((batch, *size), np.int32),
                device.empty((batch, *size, 3), np.float64),
                device.empty((batch, listed), np.int32),
                device.empty((batch, count), np.int32),
                device.empty((batch, count), np.int32),
                device.empty((batch, 2), np.int32),
                device.empty((batch, _LANDMARKS, 3), np.int32),
                device.empty((batch, _LANDMARKS, 3), np.float64),
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
            device.launch(
                "landmark_points",
                (items, 1, 1),
                96,
                batch=items,
                vertices=count,
                reach=self.renderer.model.jaw_contour.shape[1],
                fixed_vertices=self._fixed_vertices,
                fixed_weights=self._fixed_weights,
                contour=self._contour,
                xy=surface.xy,
                target=self._target[part],
                point_vertices=vertices[part],
                point_weights=weights[part],
            )

        self._in_parts(batch, work)
        host = device.to_host(counts).astype(np.int64)
        seen = _Seen(counts, pixels, used, place, host)
        points = _DevicePoints(device, vertices, weights)
        return Frozen(Visibility(triangle, barycentric), points, host[:, 0].copy(), seen)

    def linearize(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """See `AbstractDifferentiator.linearize`. g and H stay on the device."""
        device, (batch, count) = self._device, chi.shape
        gradient, hessian, costs = self._whole(
            lambda: (
                device.empty((batch, count), np.float64),
                device.empty((batch, count, count), np.float64),
                device.empty((batch, 3), np.float64),
            )
        )
        points = self._points(frozen)

        def work(part: slice) -> None:
            items = part.stop - part.start
            surface, on = self._surface(chi[part]), device.asarray(active[part].astype(np.uint8))
            residual, landmark = self._landmarks(surface, points, part, on, rows=True)
            rows = self._rows(surface, frozen, part, on, robust=True)
            slabs = max(1, int(_slabs(frozen.cache.host[part, 0]).max()))
            photo_h = device.empty((items, slabs, self._pairs, self._side, self._side), self.renderer.real)
            photo_g = device.empty((items, slabs, count), np.float64)
            if frozen.cache.host[part, 0].any():
                self._normal_equations(surface, rows, frozen, part, on, photo_h, photo_g)
            shared = {
                "batch": items,
                "parameters": count,
                "slabs": slabs,
                "slab_pixels": _SLAB_PIXELS,
                "max_slabs": _MAX_SLABS,
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
                tiles=self._tiles,
                pairs=self._pairs,
                side=self._side,
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
            self._sum_costs(surface, frozen, part, on, rows.cost, residual, costs[part])

        self._in_parts(batch, work)
        return Linearization(_cost_parts(device.to_host(costs)), gradient, hessian, 3 * frozen.pixels)

    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> CostParts:
        """See `AbstractDifferentiator.cost`."""
        device, renderer, batch = self._device, self.renderer, len(chi)
        costs = self._whole(lambda: device.empty((batch, 3), np.float64))
        points = self._points(frozen)

        def work(part: slice) -> None:
            items = part.stop - part.start
            surface, on = self._surface(chi[part]), device.asarray(active[part].astype(np.uint8))
            residual, _ = self._landmarks(surface, points, part, on, rows=False)
            parts = blocks(max(1, int(frozen.cache.host[part, 0].max())), _PIXEL_THREADS)
            partial = device.empty((items, parts), np.float64)
            device.launch(
                "photometric_cost",
                (parts, items, 1),
                _PIXEL_THREADS,
                template=(renderer.flat_name,),
                **self._looking(surface, frozen, part, on),
                blocks=parts,
                cost=partial,
            )
            self._sum_costs(surface, frozen, part, on, partial, residual, costs[part])

        self._in_parts(batch, work)
        return _cost_parts(device.to_host(costs))

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """See `AbstractDifferentiator.solve`: a Cholesky factorisation for each item, on the device."""
        device, (batch, count) = self._device, linearization.gradient.shape
        chosen = np.flatnonzero(free).astype(np.int32)
        if not len(chosen):
            return Step(np.zeros((batch, count)), np.zeros(batch), np.zeros(batch), np.ones(batch, np.bool_))
        key = chosen.tobytes()
        if self._free is None or self._free[0] != key:
            self._free = key, device.asarray(chosen)
        index = self._free[1]
        delta, report = self._whole(
            lambda: (device.zeros((batch, count), np.float64), device.empty((batch, 3), np.float64))
        )
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
                delta=delta[part],
                report=report[part],
            )

        self._in_parts(batch, work)
        told = device.to_host(report)
        return Step(device.to_host(delta), told[:, 0].copy(), told[:, 1].copy(), told[:, 2] > 0)

    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        device, renderer, model = self._device, self.renderer, self.renderer.model
        part, count, pixels = slice(item, item + 1), renderer.layout.count, int(frozen.pixels[item])
        if not pixels:
            return ResidualJacobian(np.zeros(0), np.zeros((0, count)), np.zeros(0))
        surface, on = self._surface(chi[part]), device.asarray(np.ones(1, np.uint8))
        local = self._rows(surface, frozen, part, on, robust=False)
        normal = self._normal_basis(surface, frozen, part, on)
        out = device.empty((pixels, 3, count), renderer.real)
        device.launch(
            "dense_rows",
            (pixels, 1, 1),
            _THREADS,
            template=(renderer.real_name, renderer.flat_name),
            batch=1,
            vertices=model.vertex_count,
            shape_modes=renderer.layout.shape_count,
            albedo_modes=model.albedo_count,
            parameters=count,
            fields=self._fields,
            capacity=local.record.shape[2],
            used_capacity=1 if normal is None else normal.shape[1],
            pixels=pixels,
            record=local.record,
            corner=local.corner,
            shape_basis=renderer.shape_basis,
            normal_basis=normal,
            albedo_basis=renderer.albedo_basis,
            out=out,
        )
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
        keep = 2 * blocks(len(self.problem.image), self._part)
        self._surfaces = [(key, made), *self._surfaces[: keep - 1]]
        return made

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

    def _looking(self, surface: Surface, frozen: Frozen, part: slice, on: Array) -> dict[str, Any]:
        """The arguments that photometric_cost and local_rows share."""
        (height, width), seen = self.problem.size, frozen.cache
        return {
            "batch": part.stop - part.start,
            "vertices": self.renderer.model.vertex_count,
            "triangle_count": len(self.renderer.model.triangles),
            "height": height,
            "width": width,
            "listed": seen.pixels.shape[1],
            "photometric": self.problem.energy.photometric,
            "delta": self.problem.energy.huber_delta,
            "active": on,
            "counts": seen.counts[part],
            "pixels": seen.pixels[part],
            "triangles": self.renderer.triangles,
            "camera": surface.camera,
            "points": surface.points,
            "normals": surface.normals,
            "albedo": surface.albedo,
            "xy": surface.xy,
            "triangle": frozen.visibility.triangle[part],
            "image": self._image[part],
        }

    def _rows(self, surface: Surface, frozen: Frozen, part: slice, on: Array, robust: bool) -> _Rows:
        device, renderer, items = self._device, self.renderer, part.stop - part.start
        most = max(1, int(frozen.cache.host[part, 0].max()))
        parts, capacity = blocks(most, _PIXEL_THREADS), 256 * blocks(most, 256)
        check = [None if robust else device.empty((items, 3, capacity), np.float64) for _ in range(2)]
        rows = _Rows(
            device.empty((items, self._fields, capacity), renderer.real),
            device.empty((items, 6, capacity), np.int32),
            device.empty((items, parts), np.float64),
            *check,
        )
        device.launch(
            "local_rows",
            (parts, items, 1),
            _PIXEL_THREADS,
            template=(renderer.real_name, renderer.flat_name),
            **self._looking(surface, frozen, part, on),
            blocks=parts,
            fields=self._fields,
            capacity=capacity,
            robust=int(robust),
            place=frozen.cache.place[part],
            depth=surface.depth,
            record=rows.record,
            corner=rows.corner,
            residual=rows.residual,
            weight=rows.weight,
            cost=rows.cost,
        )
        return rows

    def _normal_basis(self, surface: Surface, frozen: Frozen, part: slice, on: Array) -> Array | None:
        """d n / d coefficients (B, capacity, 3, K) of the used vertices; None for flat normals."""
        device, renderer, items = self._device, self.renderer, part.stop - part.start
        if renderer.flat:
            return None
        most = int(frozen.cache.host[part, 1].max())
        modes, capacity = renderer.layout.shape_count, 256 * blocks(max(1, most), 256)
        out = device.empty((items, capacity, 3, modes), renderer.real)
        device.launch(
            "normal_jacobian",
            (blocks(most, _VERTICES_PER_BLOCK), items, 1),
            32 * _VERTICES_PER_BLOCK,
            template=(renderer.real_name,),
            batch=items,
            vertices=renderer.model.vertex_count,
            triangle_count=len(renderer.model.triangles),
            ring_size=renderer.ring.shape[0],
            modes=modes,
            capacity=capacity,
            active=on,
            counts=frozen.cache.counts[part],
            used=frozen.cache.used[part],
            triangles=renderer.triangles,
            corner_start=renderer.corner_start,
            corners=renderer.corners,
            ring_start=renderer.ring_start,
            ring=renderer.ring,
            ring_slot=renderer.ring_slot,
            points=surface.points,
            normals=surface.normals,
            inverse_length=surface.inverse_length,
            basis=renderer.shape_basis,
            out=out,
        )
        return out

    def _normal_equations(
        self, surface: Surface, rows: _Rows, frozen: Frozen, part: slice, on: Array, hessian: Array, gradient: Array
    ) -> None:
        renderer, layout, items = self.renderer, self.renderer.layout, part.stop - part.start
        normal = self._normal_basis(surface, frozen, part, on)
        slabs = hessian.shape[1]
        shares = blocks(self._pairs, _TILE_THREADS)
        threads = max(128, 32 * blocks(blocks(self._pairs, shares), 32))
        self._device.launch(
            "normal_equations",
            (shares, slabs, items),
            threads,
            template=(renderer.real_name, renderer.flat_name),
            shared=self._shared,
            batch=items,
            vertices=renderer.model.vertex_count,
            shape_modes=layout.shape_count,
            albedo_modes=layout.albedo_count,
            parameters=layout.count,
            fields=self._fields,
            capacity=rows.record.shape[2],
            used_capacity=1 if normal is None else normal.shape[1],
            slabs=slabs,
            tiles=self._tiles,
            pairs=self._pairs,
            side=self._side,
            piece=self._piece,
            active=on,
            counts=frozen.cache.counts[part],
            record=rows.record,
            corner=rows.corner,
            shape_basis=renderer.shape_basis,
            normal_basis=normal,
            albedo_basis=renderer.albedo_basis,
            hessian=hessian,
            gradient=gradient,
        )

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
            block_pixels=_PIXEL_THREADS,
            active=on,
            counts=frozen.cache.counts[part],
            partial=partial,
            residual=residual,
            prior=self._prior,
            chi=surface.chi,
            cost=out,
        )

    def _piece_and_shared_bytes(self) -> tuple[int, int]:
        """How many pixels' rows fit into shared memory at once, at most 16, and what they take (assembly.cu)."""
        count, real = self.renderer.layout.count, self.renderer.real.itemsize
        fixed = 8 * (2 * blocks(count, 2))
        each = (3 * self._tiles * self._side + self._fields + 3) * real + 6 * 4
        for piece in (16, 8, 4, 2, 1):
            if fixed + piece * each <= _SHARED_LIMIT:
                return piece, fixed + piece * each
        raise BackendError(
            f"engine 'cupy': a model with {count} unknowns needs {fixed + each} bytes of shared memory a block, "
            f"more than the {_SHARED_LIMIT} there are. Truncate the model, or use engine 'numpy'."
        )

    # Memory.

    def _whole(self, make: Callable[[], _T]) -> _T:
        """Arrays for the whole batch, which cannot be split."""
        try:
            return make()
        except DeviceMemoryError:
            self._surfaces = []
            self._device.free_unused()
        try:
            return make()
        except DeviceMemoryError as error:
            raise BackendError(
                f"{self._device.name} has no room for a batch of {len(self.problem.image)} photos of "
                f"{self.problem.size[0]} x {self.problem.size[1]} px ({error}). Use smaller batches."
            ) from error

    def _in_parts(self, batch: int, work: Callable[[slice], None]) -> None:
        """Work on the batch, in as few parts as memory allows."""
        start = 0
        while start < batch:
            part = slice(start, min(start + self._part, batch))
            try:
                work(part)
            except DeviceMemoryError as error:
                items = part.stop - part.start
                self._surfaces = []
                self._device.free_unused()
                if items == 1:
                    raise BackendError(
                        f"{self._device.name} has no room for even one photo of {self.problem.size[0]} x "
                        f"{self.problem.size[1]} px with this model ({error}). Use a smaller image or engine 'numpy'."
                    ) from error
                if self._part == len(self.problem.image):  # said once: later halvings follow from the first
                    _LOG.warning(
                        "%s is out of memory for %d photos at once; going on with half of them at a time.",
                        self._device.name,
                        items,
                    )
                self._part = blocks(items, 2)
                continue
            start = part.stop


def _slabs(pixels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Slabs (B,) of items with |F| pixels each: the rule of assembly.cu."""
    length = _SLAB_PIXELS * -(-pixels // (_SLAB_PIXELS * _MAX_SLABS))
    return -(-pixels // np.maximum(length, 1))


def _cost_parts(costs: NDArray[np.float64]) -> CostParts:
    return CostParts(*(np.ascontiguousarray(costs[:, k]) for k in range(3)))


def _row_by_row(places: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    """Flat pixel indices y * width + x of places in tile order."""
    across = blocks(width, 8)
    tile, within = places.astype(np.int64) // 64, places.astype(np.int64) % 64
    return (tile // across * 8 + within // 8) * width + tile % across * 8 + within % 8
