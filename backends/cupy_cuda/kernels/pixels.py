"""What each pixel shows of the surface, and its radiance under a light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import SH_COUNT, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import (
    BATCH,
    CAMERA,
    HEIGHT,
    LIGHTING,
    TRIANGLE,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
    WIDTH,
)
from faceinv.backends.cupy_cuda.launch.kernel import DOUBLE, FLAT, INT, Kernel, reads, whole_number, writes
from faceinv.engine.records import Pixels

if TYPE_CHECKING:
    from collections.abc import Collection

    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array
    from faceinv.engine.records import PixelQuantity, Visibility

__all__ = ["FILE", "Vertices", "interpolate_pixels", "shade_pixels"]

_THREADS: Final = 128
_IMAGE: Final = ("batch", "height", "width")

_INTERPOLATE_PIXELS: Final = Kernel(
    "interpolate_pixels",
    "pixels.cu",
    (BATCH, VERTICES, TRIANGLE_COUNT, whole_number("uv_count", "M, or 0"), HEIGHT, WIDTH),
    (
        TRIANGLES,
        reads("uv_triangles", INT, ("triangle_count", 3), optional=True),
        reads("texture_uv", DOUBLE, ("uv_count", 2), optional=True),
        CAMERA,
        reads("vertex_position", DOUBLE, ("batch", "vertices", 3), "mm"),
        reads("vertex_normal", DOUBLE, ("batch", "vertices", 3), "model frame"),
        reads("vertex_albedo", DOUBLE, ("batch", "vertices", 3)),
        reads("vertex_shadow", DOUBLE, ("batch", "vertices", SH_COUNT), "camera frame", optional=True),
        reads("vertex_depth", DOUBLE, ("batch", "vertices"), "px"),
        TRIANGLE,
        reads("barycentric", DOUBLE, (*_IMAGE, 3)),
        # Zeros for the background.
        writes("position", DOUBLE, (*_IMAGE, 3), "mm, model frame", optional=True),
        writes("normal", DOUBLE, (*_IMAGE, 3), "unit, camera frame", optional=True),
        writes("albedo", DOUBLE, (*_IMAGE, 3), optional=True),
        writes("shadow", DOUBLE, (*_IMAGE, SH_COUNT), "camera frame", optional=True),
        writes("depth", DOUBLE, _IMAGE, "px, larger is nearer", optional=True),
        writes("uv", DOUBLE, (*_IMAGE, 2), optional=True),
    ),
    template=(FLAT,),
)

_SHADE_PIXELS: Final = Kernel(
    "shade_pixels",
    "pixels.cu",
    (BATCH, HEIGHT, WIDTH),
    (
        LIGHTING,
        TRIANGLE,
        reads("normal", DOUBLE, (*_IMAGE, 3), "unit, camera frame"),
        reads("albedo", DOUBLE, (*_IMAGE, 3)),
        reads("shadow", DOUBLE, (*_IMAGE, SH_COUNT), "camera frame", optional=True),
        writes("radiance", DOUBLE, (*_IMAGE, 3), "zeros for the background"),
    ),
)

FILE: Final = kernel_file(_INTERPOLATE_PIXELS, _SHADE_PIXELS)

_WIDTHS: Final[dict[PixelQuantity, tuple[int, ...]]] = {
    "position": (3,),
    "normal": (3,),
    "albedo": (3,),
    "shadow": (SH_COUNT,),
    "depth": (),
    "uv": (2,),
}


@dataclass(frozen=True)
class Vertices:
    """What is blended over triangles: of the vertices of a posed surface, float64."""

    camera: Array
    """(B, CAMERA_SIZE)."""
    position: Array
    """(B, N, 3) mm."""
    normal: Array
    """(B, N, 3) unit, model frame."""
    albedo: Array
    """(B, N, 3)."""
    shadow: Array | None
    """(B, N, 9) camera frame, or None for a model without occlusion."""
    depth: Array
    """(B, N) px."""


def interpolate_pixels(
    model: DeviceModel, vertices: Vertices, visibility: Visibility, quantities: Collection[PixelQuantity]
) -> Pixels:
    """What each pixel shows: see `AbstractRenderer.interpolate`."""
    device, (batch, height, width) = model.device, visibility.triangle.shape
    wanted: dict[str, Any] = {
        name: device.empty((batch, height, width, *more), np.float64) if name in quantities else None
        for name, more in _WIDTHS.items()
        if name != "shadow" or vertices.shadow is not None
    }
    wanted.setdefault("shadow", None)
    textured = "uv" in quantities
    device.launch(
        _INTERPOLATE_PIXELS,
        (blocks(height * width, _THREADS), batch, 1),
        _THREADS,
        template=(model.flat_name,),
        batch=batch,
        vertices=model.vertices,
        triangle_count=model.triangle_count,
        uv_count=len(model.host.uv) if textured else 0,
        height=height,
        width=width,
        triangles=model.triangles,
        uv_triangles=model.uv_triangles if textured else None,
        texture_uv=model.texture_uv if textured else None,
        camera=vertices.camera,
        vertex_position=vertices.position,
        vertex_normal=vertices.normal,
        vertex_albedo=vertices.albedo,
        vertex_shadow=vertices.shadow if wanted["shadow"] is not None else None,
        vertex_depth=vertices.depth,
        triangle=visibility.triangle,
        barycentric=visibility.barycentric,
        **wanted,
    )
    return Pixels(visibility.triangle, **wanted)


def shade_pixels(model: DeviceModel, pixels: Pixels, lighting: Array) -> Array:
    """Radiance (B, H, W, 3) under lighting (B, 27) on the device: see `AbstractRenderer.shade`."""
    device = model.device
    batch, height, width = pixels.triangle.shape
    normal, albedo = pixels.needed("normal"), pixels.needed("albedo")
    radiance = device.empty((batch, height, width, 3), np.float64)
    device.launch(
        _SHADE_PIXELS,
        (blocks(height * width, _THREADS), batch, 1),
        _THREADS,
        batch=batch,
        height=height,
        width=width,
        lighting=lighting,
        triangle=pixels.triangle,
        normal=normal,
        albedo=albedo,
        shadow=None if model.moments is None else pixels.needed("shadow"),
        radiance=radiance,
    )
    return radiance
