"""Landmark points on the mesh, their residuals and rows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import JAW_COUNT, LANDMARK_COUNT, LANDMARK_ROWS, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import ACTIVE, BATCH, CAMERA, PARAMETERS, POINTS, VERTICES, XY
from faceinv.backends.cupy_cuda.launch.device import part_of
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    number,
    reads,
    whole_number,
    writes,
)
from faceinv.engine.records import LandmarkPoints

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.kernels.geometry import Surface
    from faceinv.backends.cupy_cuda.kernels.model import DeviceModel
    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.records import Problem

__all__ = ["FILE", "DeviceLandmarks", "DevicePoints", "landmark_rows", "place_landmarks"]

_POINT_THREADS: Final = 96
_ROW_THREADS: Final = 64

_TARGET: Final = reads("target", DOUBLE, ("batch", LANDMARK_COUNT, 2), "px")

_LANDMARK_POINTS: Final = Kernel(
    "landmark_points",
    "landmarks.cu",
    (
        BATCH,
        VERTICES,
        whole_number("reach", "C, candidates in a row of the jaw contour; 1 means that nothing slides"),
    ),
    (
        reads("fixed_vertices", INT, (LANDMARK_COUNT, 3)),
        reads("fixed_weights", DOUBLE, (LANDMARK_COUNT, 3)),
        reads("contour", INT, (JAW_COUNT, "reach")),
        XY,
        _TARGET,
        writes("point_vertices", INT, ("batch", LANDMARK_COUNT, 3)),
        writes("point_weights", DOUBLE, ("batch", LANDMARK_COUNT, 3)),
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
        number("landmarks", "the energy's weight"),
    ),
    (
        ACTIVE,
        reads("point_vertices", INT, ("batch", LANDMARK_COUNT, 3)),
        reads("point_weights", DOUBLE, ("batch", LANDMARK_COUNT, 3)),
        _TARGET,
        reads("omega", DOUBLE, ("batch", LANDMARK_COUNT)),
        reads("eye_distance", DOUBLE, ("batch",), "px"),
        CAMERA,
        POINTS,
        reads("shape_basis", REAL, ("vertices", 3, "shape_stride")),
        writes("residual", DOUBLE, ("batch", LANDMARK_ROWS), "x and y of landmark after landmark"),
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

    def __init__(self, device: Device, vertices: Array, weights: Array) -> None:
        # The base class is frozen, and its two fields are properties here.
        object.__setattr__(self, "device", device)
        object.__setattr__(self, "device_vertices", vertices)
        object.__setattr__(self, "device_weights", weights)

    @classmethod
    def empty(cls, device: Device, batch: int) -> DevicePoints:
        """Room for the points of a batch."""
        shape = (batch, LANDMARK_COUNT, 3)
        return cls(device, device.empty(shape, np.int32), device.empty(shape, np.float64))

    @classmethod
    def of(cls, device: Device, points: LandmarkPoints) -> DevicePoints:
        """The points on the device."""
        if isinstance(points, DevicePoints):
            return points
        vertices = device.asarray(np.ascontiguousarray(points.vertices, np.int32))
        return cls(device, vertices, device.asarray(np.ascontiguousarray(points.weights, np.float64)))

    @cached_property
    def vertices(self) -> NDArray[np.int32]:
        """(B, 68, 3), host."""
        return self.device.to_host(self.device_vertices)

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """(B, 68, 3), host."""
        return self.device.to_host(self.device_weights)


@dataclass(frozen=True)
class DeviceLandmarks:
    """The landmarks of a batch of photos on the device, float64."""

    target: Array
    """(B, 68, 2) px."""
    omega: Array
    """(B, 68) weights."""
    eye_distance: Array
    """(B,) px."""

    @classmethod
    def of(cls, device: Device, problem: Problem) -> DeviceLandmarks:
        """Copy a problem's landmarks to the device."""
        arrays = (problem.landmarks, problem.landmark_weights, problem.eye_distance)
        return cls(*(device.asarray(np.ascontiguousarray(array, np.float64)) for array in arrays))


def place_landmarks(
    model: DeviceModel, surface: Surface, landmarks: DeviceLandmarks, points: DevicePoints, part: slice
) -> None:
    """Fill the landmark points of a part of the batch."""
    batch = part.stop - part.start
    model.device.launch(
        _LANDMARK_POINTS,
        (batch, 1, 1),
        _POINT_THREADS,
        batch=batch,
        vertices=model.vertices,
        reach=model.jaw_contour.shape[1],
        fixed_vertices=model.landmark_vertices,
        fixed_weights=model.landmark_weights,
        contour=model.jaw_contour,
        xy=surface.xy,
        target=part_of(landmarks.target, part),
        point_vertices=part_of(points.device_vertices, part),
        point_weights=part_of(points.device_weights, part),
    )


def landmark_rows(
    model: DeviceModel,
    surface: Surface,
    landmarks: DeviceLandmarks,
    points: DevicePoints,
    part: slice,
    active: Array,
    weight: float,
    rows: bool,
) -> tuple[Array, Array | None]:
    """Residuals (b, 136) of a part of the batch under the energy's weight and, with `rows`, their derivative
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
        landmarks=weight,
        active=active,
        point_vertices=part_of(points.device_vertices, part),
        point_weights=part_of(points.device_weights, part),
        target=part_of(landmarks.target, part),
        omega=part_of(landmarks.omega, part),
        eye_distance=part_of(landmarks.eye_distance, part),
        camera=surface.camera,
        points=surface.points,
        shape_basis=model.shape_basis,
        residual=residual,
        jacobian=jacobian,
    )
    return residual, jacobian
