"""From chi to the posed surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.camera import CAMERA_SIZE
from faceinv.backends.cupy_cuda.kernels.constants import LIGHTING_COUNT, SH_COUNT, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import (
    BATCH,
    CAMERA,
    PARAMETERS,
    POINTS,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
)
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    Size,
    TemplateParameter,
    reads,
    whole_number,
    writes,
)
from faceinv.face.self_shadow import MOMENT_COUNT

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "POSE_CAMERAS", "Surface", "posed_surface", "turned_shadows"]

_THREADS: Final = 128
_CAMERA_THREADS: Final = 32
_ITEMS: Final = 8
"""Items for which a thread of linear_surface works at once; batches of one have their own instance."""

POSE_CAMERAS: Final = Kernel(
    "pose_cameras",
    "geometry.cu",
    (
        BATCH,
        PARAMETERS,
        whole_number("pose", "where the pose begins in chi"),
        whole_number("light", "where the lighting begins in chi"),
    ),
    (
        reads("chi", DOUBLE, ("batch", "parameters")),
        writes("camera", DOUBLE, ("batch", CAMERA_SIZE)),
        writes("lighting", DOUBLE, ("batch", LIGHTING_COUNT)),
    ),
)

_LINEAR_SURFACE: Final = Kernel(
    "linear_surface",
    "geometry.cu",
    (
        BATCH,
        whole_number("rows", "3 N"),
        whole_number("modes", "K"),
        PARAMETERS,
        whole_number("first", "where the K coefficients begin in chi"),
    ),
    (
        reads("mean", DOUBLE, ("rows",)),
        reads("basis", REAL, ("modes", "rows"), "mode after mode: neighbouring threads read neighbouring words"),
        reads("chi", DOUBLE, ("batch", "parameters")),
        writes("out", DOUBLE, ("batch", "rows")),
    ),
    template=(REAL_TYPE, TemplateParameter("int ITEMS", ("1", str(_ITEMS)))),
)

_POSE_SURFACE: Final = Kernel(
    "pose_surface",
    "geometry.cu",
    (BATCH, VERTICES, TRIANGLE_COUNT),
    (
        TRIANGLES,
        reads("corner_start", INT, (Size("vertices", plus=1),), "v's corners are corners[corner_start[v]] and on"),
        reads("corners", INT, (Size("triangle_count", times=3),), "3 * triangle + corner"),
        CAMERA,
        POINTS,
        writes("normals", DOUBLE, ("batch", "vertices", 3), "unit, area-weighted; (0, 0, 1) where there is none"),
        writes("inverse_length", DOUBLE, ("batch", "vertices"), "one over the length they had; 0 where there is none"),
        writes("xy", DOUBLE, ("batch", "vertices", 2), "px"),
        writes("depth", DOUBLE, ("batch", "vertices"), "px, larger is nearer"),
    ),
)

_TURN_SHADOWS: Final = Kernel(
    "turn_shadows",
    "geometry.cu",
    (BATCH, VERTICES),
    (
        CAMERA,
        reads("moments", DOUBLE, ("vertices", MOMENT_COUNT), "1; x, y, z; xx, xy, xz, yy, yz, zz"),
        writes("shadow", DOUBLE, ("batch", "vertices", SH_COUNT), "see faceinv/face/self_shadow.py"),
    ),
)

FILE: Final = kernel_file(POSE_CAMERAS, _LINEAR_SURFACE, _POSE_SURFACE, _TURN_SHADOWS)


@dataclass(frozen=True)
class Surface:
    """The posed surface of a batch on the device, float64."""

    chi: Array
    """(B, P)."""
    camera: Array
    """(B, CAMERA_SIZE): see camera.py."""
    lighting: Array
    """(B, 27) gamma: red, then green, then blue."""
    points: Array
    """(B, N, 3) mm."""
    albedo: Array
    """(B, N, 3)."""
    normals: Array
    """(B, N, 3) unit, model space."""
    inverse_length: Array
    """(B, N) one over the length of the unnormalised normals."""
    xy: Array
    """(B, N, 2) px."""
    depth: Array
    """(B, N) px, larger is nearer."""
    shadow: Array | None
    """(B, N, 9) camera frame: see `turned_shadows`."""


def posed_surface(model: DeviceModel, chi: Array) -> Surface:
    """The posed surface of chi (B, P) on the device."""
    device, layout, (batch, parameters) = model.device, model.layout, chi.shape
    camera, lighting = (device.empty((batch, width), np.float64) for width in (CAMERA_SIZE, LIGHTING_COUNT))
    device.launch(
        POSE_CAMERAS,
        (blocks(batch, _CAMERA_THREADS), 1, 1),
        _CAMERA_THREADS,
        batch=batch,
        parameters=parameters,
        pose=layout.pose.start,
        light=layout.lighting.start,
        chi=chi,
        camera=camera,
        lighting=lighting,
    )
    points = _linear(model, model.mean, model.shape_modes, chi, layout.shape.start)
    albedo = _linear(model, model.mean_albedo, model.albedo_modes, chi, layout.albedo.start)
    count = model.vertices
    normals, inverse_length, xy, depth = (
        device.empty((batch, count, *more), np.float64) for more in ((3,), (), (2,), ())
    )
    device.launch(
        _POSE_SURFACE,
        (blocks(count, _THREADS), batch, 1),
        _THREADS,
        batch=batch,
        vertices=count,
        triangle_count=model.triangle_count,
        triangles=model.triangles,
        corner_start=model.corner_start,
        corners=model.corners,
        camera=camera,
        points=points,
        normals=normals,
        inverse_length=inverse_length,
        xy=xy,
        depth=depth,
    )
    shadow = turned_shadows(model, camera)
    return Surface(chi, camera, lighting, points, albedo, normals, inverse_length, xy, depth, shadow)


def turned_shadows(model: DeviceModel, camera: Array) -> Array | None:
    """(B, N, 9) what the surface takes from the basis in the frames of cameras (B, CAMERA_SIZE): see
    `faceinv.face.self_shadow`. None for a model without occlusion."""
    if model.moments is None:
        return None
    batch = camera.shape[0]
    shadow = model.device.empty((batch, model.vertices, SH_COUNT), np.float64)
    model.device.launch(
        _TURN_SHADOWS,
        (blocks(model.vertices, _THREADS), batch, 1),
        _THREADS,
        batch=batch,
        vertices=model.vertices,
        camera=camera,
        moments=model.moments,
        shadow=shadow,
    )
    return shadow


def _linear(model: DeviceModel, mean: Array, basis: Array, chi: Array, first: int) -> Array:
    """(B, N, 3) mean + basis a, with the coefficients a from `first` on in chi."""
    (batch, parameters), (modes, rows) = chi.shape, basis.shape
    items = 1 if batch == 1 else _ITEMS
    out = model.device.empty((batch, rows), np.float64)
    model.device.launch(
        _LINEAR_SURFACE,
        (blocks(rows, _THREADS), blocks(batch, items), 1),
        _THREADS,
        template=(model.real_name, str(items)),
        batch=batch,
        rows=rows,
        modes=modes,
        parameters=parameters,
        first=first,
        mean=mean,
        basis=basis,
        chi=chi,
        out=out,
    )
    return out.reshape(batch, rows // 3, 3)
