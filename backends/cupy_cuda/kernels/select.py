"""From flags to lists, and the order in which pixels are listed: tile by tile."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import (
    COUNT_PIXELS,
    COUNT_VERTICES,
    MAX_SLABS,
    SLAB_PIXELS,
    TILE,
    blocks,
    kernel_file,
)
from faceinv.backends.cupy_cuda.kernels.fields import BATCH, COUNTS, ROOT, STEP, WIDTH
from faceinv.backends.cupy_cuda.launch.kernel import BYTE, INT, Kernel, reads, whole_number, writes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.launch.device import Array, Device

__all__ = ["FILE", "Seen", "count_sample", "list_flags", "listed_pixels", "row_by_row"]

_THREADS: Final = 512

_LIST_FLAGS: Final = Kernel(
    "list_flags",
    "select.cu",
    (
        BATCH,
        whole_number("length", "flags of an item"),
        whole_number("column", "which column of `counts` to fill: COUNT_PIXELS or COUNT_VERTICES"),
    ),
    (
        reads("flags", BYTE, ("batch", "length")),
        writes("list", INT, ("batch", "length"), "the places of set flags, ascending; the rest is left alone"),
        writes("place", INT, ("batch", "length"), "a set flag's place in `list`, -1 elsewhere", optional=True),
        writes("counts", INT, ("batch", 2), "how many flags are set"),
    ),
)

_COUNT_SAMPLE: Final = Kernel(
    "count_sample",
    "select.cu",
    (BATCH, whole_number("listed", "length of an item's pixel list"), WIDTH, STEP, ROOT),
    (
        COUNTS,
        reads("pixels", INT, ("batch", "listed"), "in tile order"),
        writes("sampled", INT, ("batch",), "how many of them are on the lattice"),
    ),
)

FILE: Final = kernel_file(_LIST_FLAGS, _COUNT_SAMPLE)


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
    sampled: Array
    """(B,) how many of the pixels are on the lattice of H; where there are none, or every pixel is, H is summed over
    all."""
    host: NDArray[np.int64]
    """(B, 2) counts, host."""

    @cached_property
    def most_pixels(self) -> int:
        """|F| of the item that has most."""
        return int(self.host[:, COUNT_PIXELS].max())

    @cached_property
    def most_vertices(self) -> int:
        """Vertices used by the item that uses most."""
        return int(self.host[:, COUNT_VERTICES].max())

    @cached_property
    def most_slabs(self) -> int:
        """Slabs of the item that has most; the rule of slabs.cuh."""
        pixels = self.host[:, COUNT_PIXELS]
        length = SLAB_PIXELS * -(-pixels // (SLAB_PIXELS * MAX_SLABS))
        return int((-(-pixels // np.maximum(length, 1))).max())

    def of(self, part: slice) -> Seen:
        """Those of some items."""
        if part.stop - part.start == len(self.host):
            return self
        if self.pixels is None:  # nothing was drawn
            return Seen(self.counts[part], None, None, None, self.sampled[part], self.host[part])
        pixels, used, place = self.pixels[part], self.used[part], self.place[part]
        return Seen(self.counts[part], pixels, used, place, self.sampled[part], self.host[part])


def list_flags(device: Device, flags: Array, column: int, places: Array, place: Array | None, counts: Array) -> None:
    """List the flags (B, L) that are set.

    Args:
        device: where.
        flags: (B, L) uint8.
        column: of `counts`.
        places: (B, L) filled with the places of set flags, ascending.
        place: (B, L) filled with each flag's place in the list, -1 for none.
        counts: (B, 2) whose column gets how many there are.
    """
    batch, length = flags.shape
    device.launch(
        _LIST_FLAGS,
        (batch, 1, 1),
        _THREADS,
        batch=batch,
        length=length,
        column=column,
        flags=flags,
        list=places,
        place=place,
        counts=counts,
    )


def count_sample(device: Device, pixels: Array, counts: Array, width: int, step: int, sampled: Array) -> None:
    """Fill sampled (B,): the pixels (B, listed) in tile order, as many as counts (B, 2) says, that are on
    `records.hessian_lattice`."""
    batch, listed = pixels.shape
    device.launch(
        _COUNT_SAMPLE,
        (batch, 1, 1),
        _THREADS,
        batch=batch,
        listed=listed,
        width=width,
        step=step,
        root=math.isqrt(step),
        counts=counts,
        pixels=pixels,
        sampled=sampled,
    )


def listed_pixels(size: tuple[int, int]) -> int:
    """Places in tile order for an image of size (H, W): whole tiles."""
    return blocks(size[0], TILE) * blocks(size[1], TILE) * TILE * TILE


def row_by_row(places: NDArray[np.int32], width: int) -> NDArray[np.int64]:
    """Flat pixel indices y * width + x of places in tile order."""
    across, area = blocks(width, TILE), TILE * TILE
    tile, within = places.astype(np.int64) // area, places.astype(np.int64) % area
    return (tile // across * TILE + within // TILE) * width + tile % across * TILE + within % TILE
