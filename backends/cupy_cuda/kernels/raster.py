"""Which triangle each pixel shows, and which pixels and vertices are in the photometric term."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import ROW_THREADS, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import (
    BATCH,
    CAMERA,
    DEPTH,
    HEIGHT,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
    WIDTH,
    XY,
)
from faceinv.backends.cupy_cuda.kernels.select import listed_pixels
from faceinv.backends.cupy_cuda.launch.kernel import BYTE, DOUBLE, INT, KEY, Kernel, reads, whole_number, writes
from faceinv.engine.records import Visibility

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "draw", "visible"]

_THREADS: Final = 128

_DRAW_TRIANGLES: Final = Kernel(
    "draw_triangles",
    "raster.cu",
    (BATCH, VERTICES, TRIANGLE_COUNT, HEIGHT, WIDTH),
    (
        XY,
        DEPTH,
        TRIANGLES,
        writes("keys", KEY, ("batch", "height", "width"), "zeros on entry; 0 stays where nothing is drawn"),
    ),
)

_RESOLVE_PIXELS: Final = Kernel(
    "resolve_pixels",
    "raster.cu",
    (
        BATCH,
        VERTICES,
        TRIANGLE_COUNT,
        HEIGHT,
        WIDTH,
        whole_number("listed", "pixels in tile order: whole tiles, so H W or more"),
    ),
    (
        reads("keys", KEY, ("batch", "height", "width")),
        CAMERA,
        XY,
        DEPTH,
        TRIANGLES,
        reads("face_mask", BYTE, ("triangle_count",), "triangles that may enter the photometric term", optional=True),
        reads("mask", BYTE, ("batch", "height", "width"), "pixels that may", optional=True),
        writes("triangle", INT, ("batch", "height", "width"), "-1 for the background"),
        writes("barycentric", DOUBLE, ("batch", "height", "width", 3), "on the surface; zeros for the background"),
        writes("included", BYTE, ("batch", "listed"), "whether it is in the photometric term", optional=True),
        writes("used", BYTE, ("batch", "vertices"), "zeros on entry; 1 for corners of included pixels", optional=True),
    ),
)

FILE: Final = kernel_file(_DRAW_TRIANGLES, _RESOLVE_PIXELS)


def draw(
    model: DeviceModel,
    camera: Array,
    xy: Array,
    depth: Array,
    triangle: Array,
    barycentric: Array,
    mask: Array | None = None,
    included: Array | None = None,
    used: Array | None = None,
) -> None:
    """Draw vertices at xy (B, N, 2) px with their depth (B, N) px.

    Args:
        model: whose triangles.
        camera: (B, CAMERA_SIZE).
        xy: px.
        depth: px, larger is nearer.
        triangle: (B, H, W) filled: see `Visibility`.
        barycentric: (B, H, W, 3) filled.
        mask: (B, H, W) pixels that may enter the photometric term; given with the next two.
        included: (B, listed) filled: which do, in tile order.
        used: (B, N) zeros before: the vertices that these show.
    """
    device = model.device
    batch, height, width = triangle.shape
    common = {
        "batch": batch,
        "vertices": model.vertices,
        "triangle_count": model.triangle_count,
        "height": height,
        "width": width,
        "xy": xy,
        "depth": depth,
        "triangles": model.triangles,
        "keys": device.zeros((batch, height, width), np.uint64),
    }
    grid = (blocks(ROW_THREADS * model.triangle_count, _THREADS), batch, 1)
    device.launch(_DRAW_TRIANGLES, grid, _THREADS, **common)
    listed = listed_pixels((height, width))
    device.launch(
        _RESOLVE_PIXELS,
        (blocks(listed, _THREADS), batch, 1),
        _THREADS,
        **common,
        camera=camera,
        listed=listed,
        face_mask=None if mask is None else model.face_mask,
        mask=mask,
        triangle=triangle,
        barycentric=barycentric,
        included=included,
        used=used,
    )


def visible(model: DeviceModel, camera: Array, xy: Array, depth: Array, size: tuple[int, int]) -> Visibility:
    """What an image of size (H, W) shows of vertices at xy (B, N, 2) px with their depth (B, N) px."""
    shape = (len(xy), *size)
    seen = Visibility(model.device.empty(shape, np.int32), model.device.empty((*shape, 3), np.float64))
    draw(model, camera, xy, depth, seen.triangle, seen.barycentric)
    return seen
