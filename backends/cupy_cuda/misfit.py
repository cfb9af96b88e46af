"""Where and by how much the model's image misses the photo, on the device: see faceinv/misfit.py for the rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.renderer import blocks
from faceinv.engine.evaluation import occlusion_window

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.device import Array
    from faceinv.backends.cupy_cuda.renderer import CudaRenderer, Surface

__all__ = ["PhotoMisfit"]

_THREADS: Final = 128
_ITEM_THREADS: Final = 512
"""Threads of a kernel that goes through a whole photo in one block."""


@dataclass(frozen=True)
class PhotoMisfit:
    """Some photos of a batch beside the model's image of them."""

    renderer: CudaRenderer
    image: Array
    """(B, H, W, 3) float32."""
    mask: Array
    """(B, H, W)."""
    hull: Array
    """(B, H, W)."""

    def explained(self, surface: Surface, threshold: float, kept: Array) -> None:
        """Fill kept (B, H, W) with the mask but for what covers the face."""
        device, (batch, height, width) = self.renderer.device, self.mask.shape
        misfit, window = self._pixels(surface, squared=False, white=1.0), occlusion_window(height)
        row_sum, mean = (device.empty((batch, height, width), np.float64) for _ in range(2))
        row_count = device.empty((batch, height, width), np.int32)
        shared = {"batch": batch, "height": height, "width": width}
        grid = (blocks(height * width, _THREADS), batch, 1)
        device.launch("row_sums", grid, _THREADS, **shared, window=window, misfit=misfit, sum=row_sum, count=row_count)
        device.launch("local_means", grid, _THREADS, **shared, window=window, sum=row_sum, count=row_count, mean=mean)
        device.launch(
            "keep_explained",
            (batch, 1, 1),
            _ITEM_THREADS,
            **shared,
            threshold=threshold,
            mask=self.mask,
            hull=self.hull,
            misfit=misfit,
            mean=mean,
            kept=kept,
        )

    def sums(self, surface: Surface, white: float, out: Array) -> None:
        """Fill out (B, 2) with the sum of squares inside the hull, in linear RGB, and the number of pixels."""
        batch, height, width = self.mask.shape
        self.renderer.device.launch(
            "sum_inside",
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
        renderer, device = self.renderer, self.renderer.device
        batch, height, width = self.mask.shape
        visibility = renderer.rasterize(surface.geometry, (height, width))
        misfit = device.empty((batch, height, width), np.float64)
        device.launch(
            "pixel_misfit",
            (blocks(height * width, _THREADS), batch, 1),
            _THREADS,
            batch=batch,
            triangle_count=len(renderer.model.triangles),
            height=height,
            width=width,
            squared=int(squared),
            srgb=int(renderer.model.albedo_space == "srgb"),
            white=white,
            face_mask=renderer.face_mask,
            mask=self.mask,
            triangle=visibility.triangle,
            radiance=renderer.radiance(surface.geometry, surface.camera, visibility),
            image=self.image,
            misfit=misfit,
        )
        return misfit
