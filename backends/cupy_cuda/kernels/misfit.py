"""Where and by how much the model's image misses the photo: see faceinv/engine/evaluation.py for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import BATCH, HEIGHT, IMAGE, TRIANGLE, TRIANGLE_COUNT, WIDTH
from faceinv.backends.cupy_cuda.kernels.pixels import Vertices, interpolate_pixels, shade_pixels
from faceinv.backends.cupy_cuda.kernels.raster import visible
from faceinv.backends.cupy_cuda.launch.kernel import (
    BYTE,
    DOUBLE,
    FLOAT,
    INT,
    Kernel,
    number,
    reads,
    whole_number,
    writes,
)
from faceinv.engine.evaluation import occlusion_window
from faceinv.engine.records import SHADED

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.geometry import Surface
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "PhotoMisfit"]

_THREADS: Final = 128
_ITEM_THREADS: Final = 512
"""Threads of a kernel that goes through a whole photo in one block."""
_IMAGE: Final = ("batch", "height", "width")

_PIXEL_MISFIT: Final = Kernel(
    "pixel_misfit",
    "misfit.cu",
    (
        BATCH,
        TRIANGLE_COUNT,
        HEIGHT,
        WIDTH,
        whole_number("squared", "0: mean |log(radiance / photo)|; 1: mean square, in linear RGB with white at 1"),
        whole_number("srgb", "1 where the photo is sRGB-encoded"),
        number("white", "the value of white in the photo"),
    ),
    (
        reads("face_mask", BYTE, ("triangle_count",)),
        reads("mask", BYTE, _IMAGE),
        TRIANGLE,
        reads("radiance", DOUBLE, (*_IMAGE, 3)),
        IMAGE,
        writes("misfit", DOUBLE, _IMAGE, "mean over channels, or NOT_FACE"),
    ),
)

_ROW_SUMS: Final = Kernel(
    "row_sums",
    "misfit.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
        whole_number("window", "pixels in a window's row"),
    ),
    (
        reads("misfit", DOUBLE, _IMAGE),
        writes("sum", DOUBLE, _IMAGE, "of the misfits in the window's row around a pixel"),
        writes("count", INT, _IMAGE, "how many face pixels there are in it"),
    ),
)

_LOCAL_MEANS: Final = Kernel(
    "local_means",
    "misfit.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
        whole_number("window", "rows in a window"),
    ),
    (
        reads("sum", DOUBLE, _IMAGE, "of row_sums"),
        reads("count", INT, _IMAGE, "of row_sums"),
        writes("mean", DOUBLE, _IMAGE, "misfit of the face pixels of the window around a pixel; 0 without any"),
    ),
)

_WEIGH_PIXELS: Final = Kernel(
    "weigh_pixels",
    "misfit.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
        number("share", "of the face that is expected to be covered"),
    ),
    (
        reads("hull", BYTE, _IMAGE, "inside the landmarks' hull"),
        reads("misfit", DOUBLE, _IMAGE),
        reads("mean", DOUBLE, _IMAGE, "of local_means"),
        writes("weights", FLOAT, _IMAGE, "how sure it is that a pixel shows the face"),
    ),
)

_SUM_INSIDE: Final = Kernel(
    "sum_inside",
    "misfit.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
    ),
    (
        reads("hull", BYTE, _IMAGE),
        reads("misfit", DOUBLE, _IMAGE),
        writes("out", DOUBLE, ("batch", 2), "the sum over the face pixels inside the hull, and how many there are"),
    ),
)

FILE: Final = kernel_file(_PIXEL_MISFIT, _ROW_SUMS, _LOCAL_MEANS, _WEIGH_PIXELS, _SUM_INSIDE)


@dataclass(frozen=True)
class PhotoMisfit:
    """Some photos of a batch beside the model's image of them."""

    model: DeviceModel
    image: Array
    """(B, H, W, 3) float32."""
    mask: Array
    """(B, H, W)."""
    hull: Array
    """(B, H, W)."""

    def responsibilities(self, surface: Surface, share: float, white: float, weights: Array) -> None:
        """Fill weights (B, H, W) with how sure it is that each pixel shows the face."""
        device, (batch, height, width) = self.model.device, self.mask.shape
        misfit = self._pixels(surface, squared=False, white=white)
        row_sum, mean = (device.empty((batch, height, width), np.float64) for _ in range(2))
        row_count = device.empty((batch, height, width), np.int32)
        shared = {"batch": batch, "height": height, "width": width}
        grid = (blocks(height * width, _THREADS), batch, 1)
        sums = {"window": occlusion_window(height), "sum": row_sum, "count": row_count}
        device.launch(_ROW_SUMS, grid, _THREADS, **shared, misfit=misfit, **sums)
        device.launch(_LOCAL_MEANS, grid, _THREADS, **shared, mean=mean, **sums)
        device.launch(
            _WEIGH_PIXELS,
            (batch, 1, 1),
            _ITEM_THREADS,
            **shared,
            share=share,
            hull=self.hull,
            misfit=misfit,
            mean=mean,
            weights=weights,
        )

    def sums(self, surface: Surface, white: float, out: Array) -> None:
        """Fill out (B, 2) with the sum of squares inside the hull, in linear RGB, and the number of pixels."""
        batch, height, width = self.mask.shape
        self.model.device.launch(
            _SUM_INSIDE,
            (batch, 1, 1),
            _ITEM_THREADS,
            batch=batch,
            height=height,
            width=width,
            hull=self.hull,
            misfit=self._pixels(surface, squared=True, white=white),
            out=out,
        )

    def _pixels(self, surface: Surface, squared: bool, white: float) -> Array:
        """(B, H, W) see pixel_misfit."""
        model, device = self.model, self.model.device
        batch, height, width = self.mask.shape
        visibility = visible(model, surface.camera, surface.xy, surface.depth, (height, width))
        vertices = Vertices(
            surface.camera, surface.points, surface.normals, surface.albedo, surface.shadow, surface.depth
        )
        pixels = interpolate_pixels(model, vertices, visibility, SHADED)
        misfit = device.empty((batch, height, width), np.float64)
        device.launch(
            _PIXEL_MISFIT,
            (blocks(height * width, _THREADS), batch, 1),
            _THREADS,
            batch=batch,
            triangle_count=model.triangle_count,
            height=height,
            width=width,
            squared=int(squared),
            srgb=int(model.host.albedo_space == "srgb"),
            white=white,
            face_mask=model.face_mask,
            mask=self.mask,
            triangle=visibility.triangle,
            radiance=shade_pixels(model, pixels, surface.lighting),
            image=self.image,
            misfit=misfit,
        )
        return misfit
