"""Landmark points on the mesh, their residuals and rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import (
    JAW_COUNT,
    LANDMARK_COUNT,
    LANDMARK_ROWS,
    POINT_THREADS,
    kernel_file,
)
from faceinv.backends.cupy_cuda.kernels.fields import (
    ACTIVE,
    BATCH,
    CAMERA,
    NORMALS,
    PARAMETERS,
    POINTS,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
    XY,
)
from faceinv.backends.cupy_cuda.launch.device import part_of
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    reads,
    whole_number,
    writes,
)
from faceinv.engine.records import MARK_CORNERS, LandmarkPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.kernels.geometry import Surface
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.records import Problem

__all__ = ["FILE", "DeviceLandmarks", "DevicePoints", "landmark_rows", "place_landmarks"]

_ROW_THREADS: Final = 64

_TARGET: Final = reads("target", DOUBLE, ("batch", LANDMARK_COUNT, 2), "px")
_SIGMA: Final = reads("sigma", DOUBLE, ("batch", LANDMARK_COUNT), "shares of the eye distance")
_EYE_DISTANCE: Final = reads("eye_distance", DOUBLE, ("batch",), "px")
_CORNERS: Final = ("batch", LANDMARK_COUNT, MARK_CORNERS)
_METRIC: Final = ("batch", LANDMARK_COUNT, 2, 2)

_LANDMARK_POINTS: Final = Kernel(
    "landmark_points",
    "landmarks.cu",
    (
        BATCH,
        VERTICES,
        TRIANGLE_COUNT,
        whole_number("reach", "M, triangles at most that a mark of the jaw sees; 0 means that nothing slides"),
    ),
    (
        reads("fixed_vertices", INT, (LANDMARK_COUNT, 3)),
        reads("fixed_weights", DOUBLE, (LANDMARK_COUNT, 3)),
        reads("band", INT, (JAW_COUNT, "reach"), "triangles, -1 after the last"),
        TRIANGLES,
        CAMERA,
        POINTS,
        NORMALS,
        XY,
        _TARGET,
        _SIGMA,
        _EYE_DISTANCE,
        writes("point_vertices", INT, _CORNERS),
        writes("point_weights", DOUBLE, _CORNERS),
        writes("metric", DOUBLE, _METRIC, "1/px"),
    ),
)

_LANDMARK_ROWS: Final = Kernel(
    "landmark_rows",
    "landmarks.cu",
    (
        BATCH,
        VERTICES,
        whole_number("shape_modes", "K"),
        whole_number("shape_stride", "K with the basis's padding"),
        whole_number("albedo_modes", "Ka"),
        PARAMETERS,
    ),
    (
        ACTIVE,
        reads("point_vertices", INT, _CORNERS),
        reads("point_weights", DOUBLE, _CORNERS),
        reads("metric", DOUBLE, _METRIC, "1/px"),
        _TARGET,
        reads("offsets", DOUBLE, ("batch", LANDMARK_COUNT, 3), "mm"),
        CAMERA,
        POINTS,
        reads("shape_basis", REAL, ("vertices", 3, "shape_stride")),
        writes("residual", DOUBLE, ("batch", LANDMARK_ROWS), "two of landmark after landmark, in standard deviations"),
        writes("jacobian", DOUBLE, ("batch", LANDMARK_ROWS, "parameters"), ": the cost alone is wanted", optional=True),
    ),
    template=(REAL_TYPE,),
)

FILE: Final = kernel_file(_LANDMARK_POINTS, _LANDMARK_ROWS)


class DevicePoints(LandmarkPoints):
    """Landmark points that stay on the device until somebody reads them."""

    device: Device
    device_vertices: Array
    device_weights: Array

    device_metric: Array

    def __init__(self, device: Device, vertices: Array, weights: Array, metric: Array) -> None:
        # The base class is frozen, and its three fields are properties here.
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "device_vertices", vertices)
        object.__setattr__(self, "device_weights", weights)
        object.__setattr__(self, "device_metric", metric)

    @classmethod
    def empty(cls, device: Device, batch: int) -> DevicePoints:
        """Room for the points of a batch."""
        corners, metric = (batch, LANDMARK_COUNT, MARK_CORNERS), (batch, LANDMARK_COUNT, 2, 2)
        vertices, weights = device.empty(corners, np.int32), device.empty(corners, np.float64)
        return cls(device, vertices, weights, device.empty(metric, np.float64))

    @classmethod
    def of(cls, device: Device, points: LandmarkPoints) -> DevicePoints:
        """The points on the device."""
        if isinstance(points, DevicePoints):
            return points
        vertices = device.asarray(np.ascontiguousarray(points.vertices, np.int32))
        weights, metric = (
            device.asarray(np.ascontiguousarray(array, np.float64)) for array in (points.weights, points.metric)
        )
        return cls(device, vertices, weights, metric)

    @cached_property
    def vertices(self) -> NDArray[np.int32]:
        """(B, 68, MARK_CORNERS), host."""
        return self.device.to_host(self.device_vertices)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(B, 68, MARK_CORNERS), host."""
        return self.device.to_host(self.device_weights)

    @cached_property
    def metric(self) -> NDArray[np.float64]:
        """(B, 68, 2, 2) 1/px, host."""
        return self.device.to_host(self.device_metric)


@dataclass(frozen=True)
class DeviceLandmarks:
    """The landmarks of a batch of photos on the device, float64."""

    target: Array
    """(B, 68, 2) px."""
    sigma: Array
    """(B, 68) shares of the eye distance."""
    eye_distance: Array
    """(B,) px."""
    offsets: Array
    """(B, 68, 3) mm."""

    @classmethod
    def of(cls, device: Device, problem: Problem) -> DeviceLandmarks:
        """Copy a problem's landmarks to the device."""
        offsets = np.broadcast_to(problem.landmark_offsets, (len(problem.landmarks), LANDMARK_COUNT, 3))
        arrays = (problem.landmarks, problem.landmark_sigma, problem.eye_distance, offsets)
        return cls(*(device.asarray(np.ascontiguousarray(array, np.float64)) for array in arrays))


def place_landmarks(
    model: DeviceModel, surface: Surface, landmarks: DeviceLandmarks, points: DevicePoints, part: slice
) -> None:
    """Fill the landmark points of a part of the batch."""
    batch = part.stop - part.start
    model.device.launch(
        _LANDMARK_POINTS,
        (LANDMARK_COUNT, batch, 1),
        POINT_THREADS,
        batch=batch,
        vertices=model.vertices,
        triangle_count=model.triangle_count,
        reach=model.jaw_band.shape[1],
        fixed_vertices=model.landmark_vertices,
        fixed_weights=model.landmark_weights,
        band=model.jaw_band,
        triangles=model.triangles,
        camera=surface.camera,
        points=surface.points,
        normals=surface.normals,
        xy=surface.xy,
        target=part_of(landmarks.target, part),
        sigma=part_of(landmarks.sigma, part),
        eye_distance=part_of(landmarks.eye_distance, part),
        point_vertices=part_of(points.device_vertices, part),
        point_weights=part_of(points.device_weights, part),
        metric=part_of(points.device_metric, part),
    )


def landmark_rows(
    model: DeviceModel,
    surface: Surface,
    landmarks: DeviceLandmarks,
    points: DevicePoints,
    part: slice,
    active: Array,
    rows: bool,
) -> tuple[Array, Array | None]:
    """Residuals (b, 136) of a part of the batch, in standard deviations, and, with `rows`, their derivative
    (b, 136, P)."""
    device, batch, count = model.device, part.stop - part.start, model.layout.count
    residual = device.empty((batch, LANDMARK_ROWS), np.float64)
    jacobian = device.empty((batch, LANDMARK_ROWS, count), np.float64) if rows else None
    device.launch(
        _LANDMARK_ROWS,
        (LANDMARK_COUNT, batch, 1),
        _ROW_THREADS,
        template=(model.real_name,),
        batch=batch,
        vertices=model.vertices,
        shape_modes=model.layout.shape_count,
        shape_stride=model.shape_stride,
        albedo_modes=model.layout.albedo_count,
        parameters=count,
        active=active,
        point_vertices=part_of(points.device_vertices, part),
        point_weights=part_of(points.device_weights, part),
        metric=part_of(points.device_metric, part),
        target=part_of(landmarks.target, part),
        offsets=part_of(landmarks.offsets, part),
        camera=surface.camera,
        points=surface.points,
        shape_basis=model.shape_basis,
        residual=residual,
        jacobian=jacobian,
    )
    return residual, jacobian
