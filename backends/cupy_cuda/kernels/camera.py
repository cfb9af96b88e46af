"""The camera's record on the device, and its pose: what camera.cuh and the arrays that hold cameras agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.camera import Camera

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CAMERA_SIZE", "CAMERA_STRUCT", "POSE_COUNT", "camera_records"]

POSE_COUNT: Final = Camera.PARAMETER_COUNT
"""Unknowns of a camera: see `Camera`."""

_FIELDS: Final = {"rotation": 9, "scale": 1, "translation": 2, "centre": 2, "inverse_focal": 1}
"""Doubles of each field: R, model to camera, row by row; s, px/mm; t, px; the principal point c, px; 1/f, 1/px."""

CAMERA_SIZE: Final = sum(_FIELDS.values())
"""Doubles in a camera record."""


def _member(name: str, count: int) -> str:
    return f"    double {name}{f'[{count}]' if count > 1 else ''};\n"


CAMERA_STRUCT: Final = f"struct Camera {{\n{''.join(_member(*field) for field in _FIELDS.items())}}};\n"
"""Its declaration in C."""


def camera_records(camera: Camera) -> NDArray[np.float64]:
    """The records (B, CAMERA_SIZE) of several cameras."""
    rotation, scale = camera.rotation.reshape(-1, 9), np.reshape(camera.scale, (-1, 1))
    inverse_focal = np.broadcast_to(np.reshape(camera.kappa, (-1, 1)), scale.shape) / scale
    fields = [rotation, scale, camera.translation, camera.centre, inverse_focal]
    return np.concatenate(fields, axis=1, dtype=np.float64)
