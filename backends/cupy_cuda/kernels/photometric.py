"""The photometric pixels of some items: their cost alone, and their residuals with local derivatives."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import (
    CORNER_FIELDS,
    PIXEL_THREADS,
    RECORD_FIELDS,
    blocks,
    kernel_file,
)
from faceinv.backends.cupy_cuda.kernels.fields import (
    ACTIVE,
    ALBEDO,
    BATCH,
    CAMERA,
    COUNTS,
    DEPTH,
    HEIGHT,
    IMAGE,
    LIGHTING,
    NORMALS,
    PIXEL_WEIGHTS,
    POINTS,
    ROOT,
    SAMPLED,
    SHADOW,
    STEP,
    TRIANGLE,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
    WIDTH,
    XY,
)
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    FLAT,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    number,
    reads,
    whole_number,
    writes,
)

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.geometry import Surface
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.kernels.select import Seen
    from faceinv.backends.cupy_cuda.launch.device import Array
    from faceinv.engine.records import Energy

__all__ = ["FILE", "FrozenPart", "LocalRows", "local_rows", "photometric_cost", "room"]

_ROOM: Final = 256
"""Room for pixels and vertices comes in multiples of this."""

_SHARED_NUMBERS: Final = (
    BATCH,
    VERTICES,
    TRIANGLE_COUNT,
    HEIGHT,
    WIDTH,
    whole_number("listed", "length of an item's pixel list"),
    whole_number("blocks", "blocks of an item"),
    number("photometric", "the energy's weight"),
    number("delta", "Huber's, in the units of the image"),
)
_SHARED_ARRAYS: Final = (
    ACTIVE,
    COUNTS,
    reads("pixels", INT, ("batch", "listed"), "in tile order"),
    TRIANGLES,
    CAMERA,
    LIGHTING,
    POINTS,
    NORMALS,
    ALBEDO,
    XY,
    DEPTH,
    SHADOW,
    TRIANGLE,
    IMAGE,
    PIXEL_WEIGHTS,
    writes("cost", DOUBLE, ("batch", "blocks"), "each block's part of the photometric term"),
)

_PHOTOMETRIC_COST: Final = Kernel(
    "photometric_cost", "photometric.cu", _SHARED_NUMBERS, _SHARED_ARRAYS, template=(FLAT,)
)

_LOCAL_ROWS: Final = Kernel(
    "local_rows",
    "photometric.cu",
    (
        *_SHARED_NUMBERS,
        whole_number("fields", "fields of a record"),
        whole_number("capacity", "pixels for which there is room"),
        STEP,
        ROOT,
        whole_number("robust", "1: rows and residuals times the root of Huber's weight: H = J^T J, g = J^T r"),
    ),
    (
        *_SHARED_ARRAYS,
        SAMPLED,
        reads("place", INT, ("batch", "vertices"), "a vertex's place among those used"),
        writes("record", REAL, ("batch", "fields", "capacity")),
        writes("corner", INT, ("batch", CORNER_FIELDS, "capacity"), "see CORNER_FIELDS"),
        writes("residual", DOUBLE, ("batch", 3, "capacity"), "float64, for checks", optional=True),
        writes("weight", DOUBLE, ("batch", 3, "capacity"), "Huber's, for checks", optional=True),
    ),
    template=(REAL_TYPE, FLAT),
)

FILE: Final = kernel_file(_PHOTOMETRIC_COST, _LOCAL_ROWS)


@dataclass(frozen=True)
class FrozenPart:
    """Some items of a batch, b of them: their surfaces now, and what a step holds fixed."""

    model: DeviceModel
    energy: Energy
    active: Array
    """(b,) uint8: items to work on."""
    surface: Surface
    image: Array
    """(b, H, W, 3) float32."""
    weights: Array
    """(b, H, W) float32, of pixels."""
    triangle: Array | None
    """(b, H, W) int32; None where nothing was drawn."""
    seen: Seen
    hessian_step: int
    """H is summed over one in so many pixels."""

    @property
    def items(self) -> int:
        """b."""
        return len(self.seen.host)


@dataclass(frozen=True)
class LocalRows:
    """Local rows of some items; see record.cuh."""

    record: Array
    """(b, RECORD_FIELDS, capacity)."""
    corner: Array
    """(b, CORNER_FIELDS, capacity)."""
    cost: Array
    """(b, blocks)."""
    residual: Array | None
    """(b, 3, capacity) float64."""
    weight: Array | None
    """(b, 3, capacity) float64."""


def room(count: int) -> int:
    """Pixels or vertices for which there is room where `count` are needed."""
    return _ROOM * blocks(max(1, count), _ROOM)


def photometric_cost(part: FrozenPart) -> Array:
    """(b, blocks) each block's part of the photometric term."""
    parts = blocks(max(1, part.seen.most_pixels), PIXEL_THREADS)
    cost = part.model.device.empty((part.items, parts), np.float64)
    if part.seen.most_pixels:
        part.model.device.launch(
            _PHOTOMETRIC_COST,
            (parts, part.items, 1),
            PIXEL_THREADS,
            template=(part.model.flat_name,),
            **_shared(part, parts, cost),
        )
    return cost


def local_rows(part: FrozenPart, robust: bool) -> LocalRows:
    """Residuals and local derivatives of photometric pixels, of which there are some; with `robust` times the root of
    Huber's weight, without it with residuals and weights in float64."""
    model, device, items, most = part.model, part.model.device, part.items, max(1, part.seen.most_pixels)
    parts, capacity, fields = blocks(most, PIXEL_THREADS), room(most), RECORD_FIELDS[model.flat]
    residual, weight = (None if robust else device.empty((items, 3, capacity), np.float64) for _ in range(2))
    rows = LocalRows(
        record=device.empty((items, fields, capacity), model.real),
        corner=device.empty((items, CORNER_FIELDS, capacity), np.int32),
        cost=device.empty((items, parts), np.float64),
        residual=residual,
        weight=weight,
    )
    device.launch(
        _LOCAL_ROWS,
        (parts, items, 1),
        PIXEL_THREADS,
        template=(model.real_name, model.flat_name),
        **_shared(part, parts, rows.cost),
        fields=fields,
        capacity=capacity,
        step=part.hessian_step,
        root=math.isqrt(part.hessian_step),
        sampled=part.seen.sampled,
        robust=int(robust),
        place=part.seen.place,
        record=rows.record,
        corner=rows.corner,
        residual=rows.residual,
        weight=rows.weight,
    )
    return rows


def _shared(part: FrozenPart, parts: int, cost: Array) -> dict[str, Any]:
    """The arguments that both kernels have."""
    model, surface = part.model, part.surface
    _, height, width, _ = part.image.shape
    return {
        "batch": part.items,
        "vertices": model.vertices,
        "triangle_count": model.triangle_count,
        "height": height,
        "width": width,
        "listed": part.seen.pixels.shape[1],
        "blocks": parts,
        "photometric": part.energy.photometric,
        "delta": part.energy.huber_delta,
        "active": part.active,
        "counts": part.seen.counts,
        "pixels": part.seen.pixels,
        "triangles": model.triangles,
        "camera": surface.camera,
        "lighting": surface.lighting,
        "points": surface.points,
        "normals": surface.normals,
        "albedo": surface.albedo,
        "xy": surface.xy,
        "depth": surface.depth,
        "shadow": surface.shadow,
        "triangle": part.triangle,
        "image": part.image,
        "weights": part.weights,
        "cost": cost,
    }
