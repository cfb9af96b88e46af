"""Fields that many kernels have in common."""

from __future__ import annotations

from typing import Final

from faceinv.backends.cupy_cuda.kernels.camera import CAMERA_SIZE
from faceinv.backends.cupy_cuda.kernels.constants import LIGHTING_COUNT, SH_COUNT
from faceinv.backends.cupy_cuda.launch.kernel import BYTE, DOUBLE, FLOAT, INT, reads, whole_number

__all__ = [
    "ACTIVE",
    "ALBEDO",
    "BATCH",
    "CAMERA",
    "COUNTS",
    "DEPTH",
    "HEIGHT",
    "IMAGE",
    "INVERSE_LENGTH",
    "LIGHTING",
    "NORMALS",
    "PARAMETERS",
    "PIXEL_WEIGHTS",
    "POINTS",
    "ROOT",
    "SAMPLED",
    "SHADOW",
    "STEP",
    "TRIANGLE",
    "TRIANGLES",
    "TRIANGLE_COUNT",
    "VERTICES",
    "WIDTH",
    "XY",
]

BATCH: Final = whole_number("batch", "B")
VERTICES: Final = whole_number("vertices", "N")
TRIANGLE_COUNT: Final = whole_number("triangle_count", "T")
PARAMETERS: Final = whole_number("parameters", "P")
HEIGHT: Final = whole_number("height", "H")
WIDTH: Final = whole_number("width", "W")

# Of a model.
TRIANGLES: Final = reads("triangles", INT, ("triangle_count", 3))

# Of a posed surface.
CAMERA: Final = reads("camera", DOUBLE, ("batch", CAMERA_SIZE))
LIGHTING: Final = reads("lighting", DOUBLE, ("batch", LIGHTING_COUNT), "red, then green, then blue")
POINTS: Final = reads("points", DOUBLE, ("batch", "vertices", 3), "mm")
NORMALS: Final = reads("normals", DOUBLE, ("batch", "vertices", 3))
INVERSE_LENGTH: Final = reads("inverse_length", DOUBLE, ("batch", "vertices"))
ALBEDO: Final = reads("albedo", DOUBLE, ("batch", "vertices", 3))
SHADOW: Final = reads("shadow", DOUBLE, ("batch", "vertices", SH_COUNT), "camera frame", optional=True)
XY: Final = reads("xy", DOUBLE, ("batch", "vertices", 2), "px")
DEPTH: Final = reads("depth", DOUBLE, ("batch", "vertices"), "px")

# Of photos, and of what is held fixed for a step.
ACTIVE: Final = reads("active", BYTE, ("batch",), "items to work on")
COUNTS: Final = reads("counts", INT, ("batch", 2), "pixels and vertices")
STEP: Final = whole_number("step", "H is summed over one in so many pixels")
ROOT: Final = whole_number("root", "the whole root of that")
SAMPLED: Final = reads("sampled", INT, ("batch",), "pixels on the lattice of H; for none, H is summed over all")
IMAGE: Final = reads("image", FLOAT, ("batch", "height", "width", 3))
PIXEL_WEIGHTS: Final = reads("weights", FLOAT, ("batch", "height", "width"), "of pixels, 0 to 1")
TRIANGLE: Final = reads("triangle", INT, ("batch", "height", "width"), "-1 for the background")
