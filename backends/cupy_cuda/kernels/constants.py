"""Numbers that kernels and Python share. Each is defined here or in the package's core, and put in front of every `.cu`
text, so that no kernel holds a second copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceinv.backends.cupy_cuda.kernels.camera import CAMERA_SIZE, CAMERA_STRUCT, POSE_COUNT
from faceinv.backends.cupy_cuda.launch.kernel_file import KernelFile
from faceinv.engine import evaluation
from faceinv.engine.detail import COST_PARTS
from faceinv.engine.jaw_outline import DOUBTFUL
from faceinv.engine.records import DEPTH_UNITS, MARK_CORNERS, MIN_DOUBLE_AREA, RASTER_LIMIT, SNAP
from faceinv.face.camera import NEAREST
from faceinv.face.landmarks68 import JAW_COUNT, LANDMARK_COUNT
from faceinv.face.lighting import LIGHTING_COUNT, SH_CONSTANTS, SH_COUNT
from faceinv.face.self_shadow import COSINE_BANDS, INTERREFLECTION, MOMENT_COUNT

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.kernel import Kernel

__all__ = [
    "CORNER_FIELDS",
    "COUNT_PIXELS",
    "COUNT_VERTICES",
    "JAW_COUNT",
    "LANDMARK_COUNT",
    "LANDMARK_ROWS",
    "LIGHTING_COUNT",
    "MAX_SLABS",
    "PATCH",
    "PIXEL_THREADS",
    "POINT_THREADS",
    "RECORD_FIELDS",
    "REPORT",
    "ROW_THREADS",
    "SH_COUNT",
    "SLAB_PIXELS",
    "TILE",
    "VIEW_FIELDS",
    "blocks",
    "kernel_file",
]

_CHANNELS: Final = 3
LANDMARK_ROWS: Final = 2 * LANDMARK_COUNT
"""Two residuals of landmark after landmark."""
TILE: Final = 8
"""Side of the tiles in which pixels are listed."""
COUNT_PIXELS: Final = 0
COUNT_VERTICES: Final = 1
"""Columns of the array that counts an item's listed pixels and the vertices they use."""
ROW_THREADS: Final = 4
"""Threads that share a triangle's rows when it is drawn."""
PIXEL_THREADS: Final = 128
"""Listed pixels in a block: the same for costs and for rows, whose costs must be equal."""
POINT_THREADS: Final = 64
"""Threads that share the triangles which a landmark of the jaw sees."""
SLAB_PIXELS: Final = 256
MAX_SLABS: Final = 128
"""How pixels are cut into slabs (slabs.cuh)."""
CORNER_FIELDS: Final = 6
"""A pixel's three vertices, and their places among those used."""
RECORD_FIELDS: Final = {
    flat: 3 + _CHANNELS * ((9 if flat else 6) + 1 + POSE_COUNT + SH_COUNT + 1) for flat in (False, True)
}
"""Numbers in a pixel's record (record.cuh), for smooth and for flat normals."""
PATCH: Final = 16
"""Side of the patches in which H is put together."""
REPORT: Final = 3
"""Numbers after a step: predicted decrease, gradient norm, 1 where solved."""
VIEW_FIELDS: Final = ("X", "Y", "INVERSE_FOCAL", "PIXEL")
"""How pixels of an item of fine detail are seen: principal point px, inverse focal length 1/px, mm per pixel."""


_MIXTURE: Final = (
    *("DARK", "EVIDENCE", "LEAST_SPREAD", "LEAST_COVERED", "MOST_COVERED", "OUTSIDE", "EM_STEPS", "LARGEST_EXPONENT"),
)
"""Of `evaluation.responsibilities`."""


def _prelude() -> str:
    constants: dict[str, int | float] = {
        "SNAP": SNAP,
        "DEPTH_UNITS": float(DEPTH_UNITS),
        "RASTER_LIMIT": float(RASTER_LIMIT),
        "MIN_DOUBLE_AREA": float(MIN_DOUBLE_AREA),
        **{f"SH_{i}": float(value) for i, value in enumerate(SH_CONSTANTS)},
        "CAMERA_SIZE": CAMERA_SIZE,
        "NEAREST": NEAREST,
        "POSE_COUNT": POSE_COUNT,
        "LIGHTING_COUNT": LIGHTING_COUNT,
        "LIGHT_COLUMNS": SH_COUNT,
        "MOMENT_COUNT": MOMENT_COUNT,
        "INTERREFLECTION": INTERREFLECTION,
        **{f"BAND_{i}": float(value) for i, value in enumerate(COSINE_BANDS)},
        "LANDMARKS": LANDMARK_COUNT,
        "LANDMARK_ROWS": LANDMARK_ROWS,
        "JAW": JAW_COUNT,
        "MARK_CORNERS": MARK_CORNERS,
        "DOUBTFUL": DOUBTFUL,
        "POINT_THREADS": POINT_THREADS,
        "TILE": TILE,
        "COUNT_PIXELS": COUNT_PIXELS,
        "COUNT_VERTICES": COUNT_VERTICES,
        "ROW_THREADS": ROW_THREADS,
        "PIXEL_THREADS": PIXEL_THREADS,
        "SLAB_PIXELS": SLAB_PIXELS,
        "MAX_SLABS": MAX_SLABS,
        "CORNER_FIELDS": CORNER_FIELDS,
        "RECORD_FIELDS_SMOOTH": RECORD_FIELDS[False],
        "RECORD_FIELDS_FLAT": RECORD_FIELDS[True],
        "PATCH": PATCH,
        **{name: getattr(evaluation, name) for name in _MIXTURE},
        "REPORT": REPORT,
        "VIEW_SIZE": len(VIEW_FIELDS),
        **{f"VIEW_{name}": index for index, name in enumerate(VIEW_FIELDS)},
        "RELIEF_PARTS": len(COST_PARTS),
        **{f"PART_{name.upper()}": index for index, name in enumerate(COST_PARTS)},
    }
    return "".join(f"#define {name} {value!r}\n" for name, value in constants.items()) + CAMERA_STRUCT


_PRELUDE: Final = _prelude()


def kernel_file(*kernels: Kernel, exact: bool = True) -> KernelFile:
    """A file of this folder with its kernels, in order; see `KernelFile`."""
    assert __package__ is not None
    return KernelFile(__package__, kernels, _PRELUDE, exact)


def blocks(count: int, threads: int) -> int:
    """How many blocks hold `count` threads."""
    return -(-count // threads)
