"""The photometric term on the device: costs, local rows, J^T J and J^T r of some items of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.renderer import blocks
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.device import Array
    from faceinv.backends.cupy_cuda.renderer import CudaRenderer, Surface
    from faceinv.engine.records import Frozen, Problem

__all__ = ["MAX_SLABS", "PIXEL_THREADS", "SLAB_PIXELS", "LocalRows", "PhotometricTerm", "Seen"]

PIXEL_THREADS: Final = 128
"""Pixels in a block of local_rows and photometric_cost: both must agree for equal costs."""
SLAB_PIXELS: Final = 256
MAX_SLABS: Final = 128
"""How pixels are cut into slabs: the rule of assembly.cu."""
_THREADS: Final = 128
_TILE_THREADS: Final = 192
"""Tiles of H that a block of normal_equations holds at most: its launch bounds."""
_SHARED_LIMIT: Final = 48 * 1024
"""Dynamic shared memory that every architecture grants without asking."""
_VERTICES_PER_BLOCK: Final = 4


@dataclass(frozen=True)
class Seen:
    """The photometric pixels and vertices of a batch, on the device unless named host; lists are None where nothing was
    drawn."""

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


@dataclass(frozen=True)
class LocalRows:
    """Local rows of some items; see record.cuh."""

    record: Array
    """(B, fields, capacity)."""
    corner: Array
    """(B, 6, capacity)."""
    cost: Array
    """(B, blocks)."""
    residual: Array | None
    weight: Array | None


class PhotometricTerm:
    """The photometric term of a batch of photos, `image` (B, H, W, 3) float32 on the device.

    Raises:
        BackendError: for a model with more unknowns than a block's shared memory can take.
    """

    def __init__(self, renderer: CudaRenderer, problem: Problem, image: Array) -> None:
        self.renderer = renderer
        self.problem = problem
        self._device = renderer.device
        self._image = image
        self._fields = 81 if renderer.flat else 72  # of a record: see record.cuh
        self.side = 4 if renderer.real_name == "double" else 8
        """Columns of a tile of H."""
        self.tiles = blocks(renderer.layout.count, self.side)
        """Tiles along a side of H."""
        self.pairs = self.tiles * (self.tiles + 1) // 2
        """Tiles in its upper triangle."""
        self._piece, self._shared = self._piece_and_shared_bytes()

    def slabs(self, frozen: Frozen, part: slice) -> int:
        """The most slabs that an item of a part has; at least 1."""
        pixels: NDArray[np.int64] = frozen.cache.host[part, 0]
        length = SLAB_PIXELS * -(-pixels // (SLAB_PIXELS * MAX_SLABS))
        return max(1, int((-(-pixels // np.maximum(length, 1))).max()))

    def cost(self, surface: Surface, frozen: Frozen, part: slice, on: Array) -> Array:
        """(B, blocks) each block's part of the photometric term."""
        items = part.stop - part.start
        parts = blocks(max(1, int(frozen.cache.host[part, 0].max())), PIXEL_THREADS)
        partial = self._device.empty((items, parts), np.float64)
        if frozen.pixels[part].any():
            self._device.launch(
                "photometric_cost",
                (parts, items, 1),
                PIXEL_THREADS,
                template=(self.renderer.flat_name,),
                **self._looking(surface, frozen, part, on),
                blocks=parts,
                cost=partial,
            )
        return partial

    def dense_rows(self, surface: Surface, rows: LocalRows, frozen: Frozen, part: slice, on: Array) -> Array:
        """J itself (|F|, 3, P) of one item, its pixels in tile order; for checks."""
        device, renderer, model = self._device, self.renderer, self.renderer.model
        count, pixels = renderer.layout.count, int(frozen.cache.host[part, 0][0])
        normal = self.normal_basis(surface, frozen, part, on)
        out = device.empty((pixels, 3, count), renderer.real)
        device.launch(
            "dense_rows",
            (pixels, 1, 1),
            _THREADS,
            template=(renderer.real_name, renderer.flat_name),
            batch=1,
            vertices=model.vertex_count,
            shape_modes=renderer.layout.shape_count,
            shape_stride=renderer.shape_stride,
            albedo_modes=model.albedo_count,
            parameters=count,
            fields=self._fields,
            capacity=rows.record.shape[2],
            used_capacity=1 if normal is None else normal.shape[1],
            pixels=pixels,
            record=rows.record,
            corner=rows.corner,
            shape_basis=renderer.shape_basis,
            normal_basis=normal,
            albedo_basis=renderer.albedo_basis,
            out=out,
        )
        return out

    def _looking(self, surface: Surface, frozen: Frozen, part: slice, on: Array) -> dict[str, Any]:
        """The arguments that photometric_cost and local_rows share."""
        (height, width), seen = self.problem.size, frozen.cache
        assert frozen.visibility is not None  # there are photometric pixels
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

    def rows(self, surface: Surface, frozen: Frozen, part: slice, on: Array, robust: bool) -> LocalRows:
        """Residuals and local derivatives; with `robust` times the root of Huber's weight."""
        device, renderer, items = self._device, self.renderer, part.stop - part.start
        most = max(1, int(frozen.cache.host[part, 0].max()))
        parts, capacity = blocks(most, PIXEL_THREADS), 256 * blocks(most, 256)
        check = [None if robust else device.empty((items, 3, capacity), np.float64) for _ in range(2)]
        rows = LocalRows(
            device.empty((items, self._fields, capacity), renderer.real),
            device.empty((items, 6, capacity), np.int32),
            device.empty((items, parts), np.float64),
            *check,
        )
        device.launch(
            "local_rows",
            (parts, items, 1),
            PIXEL_THREADS,
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

    def normal_basis(self, surface: Surface, frozen: Frozen, part: slice, on: Array) -> Array | None:
        """d n / d coefficients (B, capacity, 3, K and padding) of the used vertices; None for flat normals."""
        device, renderer, items = self._device, self.renderer, part.stop - part.start
        if renderer.flat:
            return None
        most = int(frozen.cache.host[part, 1].max())
        modes, capacity = renderer.shape_stride, 256 * blocks(max(1, most), 256)
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

    def normal_equations(
        self, surface: Surface, rows: LocalRows, frozen: Frozen, part: slice, on: Array, hessian: Array, gradient: Array
    ) -> None:
        """Fill hessian (B, slabs, pairs, side, side) and gradient (B, slabs, P), float64, with each slab's sum."""
        renderer, layout, items = self.renderer, self.renderer.layout, part.stop - part.start
        normal = self.normal_basis(surface, frozen, part, on)
        slabs = hessian.shape[1]
        shares = blocks(self.pairs, _TILE_THREADS)
        threads = max(128, 32 * blocks(blocks(self.pairs, shares), 32))
        self._device.launch(
            "normal_equations",
            (shares, slabs, items),
            threads,
            template=(renderer.real_name, renderer.flat_name),
            shared=self._shared,
            batch=items,
            vertices=renderer.model.vertex_count,
            shape_modes=layout.shape_count,
            shape_stride=renderer.shape_stride,
            albedo_modes=layout.albedo_count,
            parameters=layout.count,
            fields=self._fields,
            capacity=rows.record.shape[2],
            used_capacity=1 if normal is None else normal.shape[1],
            slabs=slabs,
            tiles=self.tiles,
            pairs=self.pairs,
            side=self.side,
            piece=self._piece,
            piece_bits=self._piece.bit_length() - 1,
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

    def _piece_and_shared_bytes(self) -> tuple[int, int]:
        """How many pixels' rows fit into shared memory at once, at most 16, and what they take (assembly.cu)."""
        count, real = self.renderer.layout.count, self.renderer.real.itemsize
        fixed = 8 * (2 * blocks(count, 2))
        each = (3 * self.tiles * self.side + self._fields + 3) * real + 6 * 4
        for piece in (16, 8, 4, 2, 1):
            if fixed + piece * each <= _SHARED_LIMIT:
                return piece, fixed + piece * each
        raise BackendError(
            f"engine 'cupy': a model with {count} unknowns needs {fixed + each} bytes of shared memory a block, "
            f"more than the {_SHARED_LIMIT} there are. Truncate the model, or use engine 'numpy'."
        )
