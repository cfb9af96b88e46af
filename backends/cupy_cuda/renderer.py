"""Drawing the model with CUDA kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.cupy_cuda.kernels import FIT_FILES
from faceinv.backends.cupy_cuda.kernels.camera import camera_records
from faceinv.backends.cupy_cuda.kernels.geometry import Surface, posed_surface, turned_shadows
from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
from faceinv.backends.cupy_cuda.kernels.pixels import Vertices, interpolate_pixels, shade_pixels
from faceinv.backends.cupy_cuda.kernels.raster import visible
from faceinv.engine.interface import AbstractRenderer
from faceinv.engine.records import PIXEL_QUANTITIES, Geometry
from faceinv.face.lighting import pack_lighting

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.records import EngineSettings, PixelQuantity, Pixels, Visibility
    from faceinv.face.model import MorphableModel

__all__ = ["CudaRenderer"]


class CudaRenderer(AbstractRenderer):
    """One model on one device.

    Raises:
        DeviceMemoryError: when the device has no room for the model.
        BackendError: when a kernel cannot be compiled or loaded.
    """

    def __init__(self, device: Device, model: MorphableModel, settings: EngineSettings) -> None:
        self.device = device
        self.model = model
        self.settings = settings
        real, flat = "double" if settings.dtype == "float64" else "float", settings.normals == "flat"
        device.load(FIT_FILES.values(), real, "true" if flat else "false")
        self.on_device = DeviceModel.of(device, model, settings)
        self.layout = self.on_device.layout

    def surface(self, chi: NDArray[np.float64]) -> Surface:
        """The posed surface of chi (B, P), on the device."""
        return posed_surface(self.on_device, self.device.asarray(np.ascontiguousarray(chi, np.float64)))

    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        surface = self.surface(chi)
        return Geometry(
            vertices=surface.points,
            normals=surface.normals,
            albedo=surface.albedo,
            image_xy=surface.xy,
            depth=surface.depth,
            camera=self.layout.cameras(chi),
        )

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        camera = self.device.asarray(camera_records(geometry.camera))
        return visible(self.on_device, camera, geometry.image_xy, geometry.depth, size)

    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """See `AbstractRenderer.interpolate`."""
        camera = self.device.asarray(camera_records(geometry.camera))
        shadow = turned_shadows(self.on_device, camera) if "shadow" in quantities else None
        vertices = Vertices(camera, geometry.vertices, geometry.normals, geometry.albedo, shadow, geometry.depth)
        return interpolate_pixels(self.on_device, vertices, visibility, quantities)

    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> Array:
        """See `AbstractRenderer.shade`."""
        packed = self.device.asarray(pack_lighting(np.asarray(lighting, np.float64)))
        return shade_pixels(self.on_device, pixels, packed)

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return self.device.to_host(array)

    def synchronize(self) -> None:
        """See `AbstractRenderer.synchronize`."""
        self.device.synchronize()
