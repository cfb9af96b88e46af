"""J^T J of the photometric rows on the lattice and J^T r of all, slab by slab, without J; and J itself, for checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import (
    CORNER_FIELDS,
    RECORD_FIELDS,
    blocks,
    kernel_file,
)
from faceinv.backends.cupy_cuda.kernels.fields import (
    ACTIVE,
    BATCH,
    COUNTS,
    PARAMETERS,
    VERTICES,
)
from faceinv.backends.cupy_cuda.kernels.normals import normal_basis
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    FLAT,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    reads,
    whole_number,
    writes,
)
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.kernels.photometric import FrozenPart, LocalRows
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "AssemblyPlan", "SlabSums", "dense_rows", "normal_equations"]

_THREADS: Final = 128
_TILE_THREADS: Final = 192
"""Tiles of H that a block of normal_equations holds at most: its launch bounds."""
_SHARED_LIMIT: Final = 48 * 1024
"""Dynamic shared memory that every architecture grants without asking."""

_SHARED_NUMBERS: Final = (
    BATCH,
    VERTICES,
    whole_number("shape_modes", "K"),
    whole_number("shape_stride", "K rounded up to whole packs"),
    whole_number("albedo_modes", "Ka"),
    PARAMETERS,
    whole_number("fields", "fields of a record"),
    whole_number("capacity", "pixels for which there is room"),
    whole_number("used_capacity", "used vertices for which there is room"),
)
_SHARED_ARRAYS: Final = (
    reads("record", REAL, ("batch", "fields", "capacity")),
    reads("corner", INT, ("batch", CORNER_FIELDS, "capacity")),
    reads("shape_basis", REAL, ("vertices", 3, "shape_stride")),
    reads("normal_basis", REAL, ("batch", "used_capacity", 3, "shape_stride"), ": flat normals", optional=True),
    reads("albedo_basis", REAL, ("vertices", 3, "albedo_modes")),
)

_NORMAL_EQUATIONS: Final = Kernel(
    "normal_equations",
    "assembly.cu",
    (
        *_SHARED_NUMBERS,
        whole_number("slabs", "the most slabs that an item has"),
        whole_number("tiles", "tiles along a side of H"),
        whole_number("pairs", "tiles in its upper triangle"),
        whole_number("side", "columns of a tile"),
        whole_number("piece", "pixels whose rows are in shared memory at once, a power of two"),
        whole_number("piece_bits", "which; taken from `piece` in the kernel it costs registers, and loops spill"),
    ),
    (
        ACTIVE,
        COUNTS,
        *_SHARED_ARRAYS,
        writes("hessian", REAL, ("batch", "slabs", "pairs", "side", "side"), "each slab's sum, tile by tile"),
        writes("gradient", DOUBLE, ("batch", "slabs", "parameters"), "each slab's sum"),
    ),
    template=(REAL_TYPE, FLAT),
)

_DENSE_ROWS: Final = Kernel(
    "dense_rows",
    "assembly.cu",
    (*_SHARED_NUMBERS, whole_number("pixels", "|F|")),
    (*_SHARED_ARRAYS, writes("out", REAL, ("pixels", 3, "parameters"), "J itself")),
    template=(REAL_TYPE, FLAT),
)

FILE: Final = kernel_file(_NORMAL_EQUATIONS, _DENSE_ROWS, exact=False)


@dataclass(frozen=True)
class AssemblyPlan:
    """How H of a model is cut into tiles, and how much of J is in shared memory at once."""

    side: int
    """Columns of a tile."""
    tiles: int
    """Tiles along a side of H."""
    piece: int
    """Pixels whose rows are in shared memory at once, a power of two, at most 16."""
    shared: int
    """Bytes of shared memory that a block takes for them."""

    @property
    def pairs(self) -> int:
        """Tiles in the upper triangle of H."""
        return self.tiles * (self.tiles + 1) // 2

    @classmethod
    def of(cls, model: DeviceModel) -> AssemblyPlan:
        """The plan for a model.

        Raises:
            BackendError: for a model with more unknowns than a block's shared memory can take.
        """
        count, real = model.layout.count, model.real.itemsize
        side = 32 // real
        tiles = blocks(count, side)
        fixed = 8 * (2 * blocks(count, 2)) + 4
        each = (3 * tiles * side + RECORD_FIELDS[model.flat] + 3) * real + (CORNER_FIELDS + 1) * 4
        for piece in (16, 8, 4, 2, 1):
            if fixed + piece * each <= _SHARED_LIMIT:
                return cls(side, tiles, piece, fixed + piece * each)
        raise BackendError(
            f"engine 'cupy': a model with {count} unknowns needs {fixed + each} bytes of shared memory a block, "
            f"more than the {_SHARED_LIMIT} there are. Truncate the model, or use engine 'numpy'."
        )


@dataclass(frozen=True)
class SlabSums:
    """Each slab's part of the photometric H and g of some items."""

    hessian: Array
    """(b, slabs, pairs, side, side), dtype of rows: tiles of the upper triangle."""
    gradient: Array
    """(b, slabs, P) float64."""

    @property
    def slabs(self) -> int:
        """The most slabs that an item has; at least 1."""
        return int(self.gradient.shape[1])

    @classmethod
    def empty(cls, plan: AssemblyPlan, part: FrozenPart) -> SlabSums:
        """Room for the sums of a part."""
        model, items, slabs = part.model, part.items, max(1, part.seen.most_slabs)
        return cls(
            model.device.empty((items, slabs, plan.pairs, plan.side, plan.side), model.real),
            model.device.empty((items, slabs, model.layout.count), np.float64),
        )


def normal_equations(plan: AssemblyPlan, part: FrozenPart, rows: LocalRows, sums: SlabSums) -> None:
    """Fill the sums of slabs."""
    shares = blocks(plan.pairs, _TILE_THREADS)
    threads = max(128, 32 * blocks(blocks(plan.pairs, shares), 32))
    part.model.device.launch(
        _NORMAL_EQUATIONS,
        (shares, sums.slabs, part.items),
        threads,
        template=(part.model.real_name, part.model.flat_name),
        shared=plan.shared,
        **_shared(part, rows),
        slabs=sums.slabs,
        tiles=plan.tiles,
        pairs=plan.pairs,
        side=plan.side,
        piece=plan.piece,
        piece_bits=plan.piece.bit_length() - 1,
        active=part.active,
        counts=part.seen.counts,
        hessian=sums.hessian,
        gradient=sums.gradient,
    )


def dense_rows(part: FrozenPart, rows: LocalRows) -> Array:
    """J itself (|F|, 3, P) of a part's only item, its pixels in tile order."""
    model, pixels = part.model, int(part.seen.host[0, 0])
    out = model.device.empty((pixels, 3, model.layout.count), model.real)
    model.device.launch(
        _DENSE_ROWS,
        (pixels, 1, 1),
        _THREADS,
        template=(model.real_name, model.flat_name),
        **_shared(part, rows),
        pixels=pixels,
        out=out,
    )
    return out


def _shared(part: FrozenPart, rows: LocalRows) -> dict[str, Any]:
    """The arguments that both kernels have."""
    model, normal = part.model, normal_basis(part)
    _, fields, capacity = rows.record.shape
    return {
        "batch": part.items,
        "vertices": model.vertices,
        "shape_modes": model.layout.shape_count,
        "shape_stride": model.shape_stride,
        "albedo_modes": model.layout.albedo_count,
        "parameters": model.layout.count,
        "fields": fields,
        "capacity": capacity,
        "used_capacity": 1 if normal is None else normal.shape[1],
        "record": rows.record,
        "corner": rows.corner,
        "shape_basis": model.shape_basis,
        "normal_basis": normal,
        "albedo_basis": model.albedo_basis,
    }
