"""The weak-perspective camera and rotations.

`x = s (R V)_x + t_x`, `y = -s (R V)_y + t_y` in pixels (x right, y down, centres at integers), depth `s (R V)_z`,
larger is nearer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "WeakPerspective",
    "axis_angle",
    "euler_angles",
    "fit_weak_perspective",
    "rotation_from_euler",
    "rotation_matrix",
    "turned",
]


def rotation_matrix(axis_angle_vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp([w]x) for w (..., 3): (..., 3, 3), by Rodrigues' formula; exact in the limit of small angles."""
    w = np.asarray(axis_angle_vector, np.float64)
    x, y, z = w[..., 0], w[..., 1], w[..., 2]
    squared = x * x + y * y + z * z
    near = squared < 1e-8  # series: the quotients would lose digits
    safe = np.where(near, 1.0, squared)
    angle = np.sqrt(safe)
    first = np.where(near, 1 - squared / 6, np.sin(angle) / angle)[..., None, None]
    second = np.where(near, 0.5 - squared / 24, (1 - np.cos(angle)) / safe)[..., None, None]
    zero = np.zeros_like(x)
    skew = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*w.shape, 3)
    result: NDArray[np.float64] = np.eye(3) + first * skew + second * (skew @ skew)
    return result


def axis_angle(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of rotation matrices (..., 3, 3): vectors w (..., 3) with |w| in [0, pi]."""
    from scipy.spatial.transform import Rotation

    result: NDArray[np.float64] = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec()
    return result.reshape(rotation.shape[:-1])


def turned(turn: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(exp([turn]x) exp([before]x)) for vectors (B, 3) each: (B, 3) with lengths in [0, pi]."""
    from scipy.spatial.transform import Rotation

    result: NDArray[np.float64] = (Rotation.from_rotvec(turn) * Rotation.from_rotvec(before)).as_rotvec()
    return result


def rotation_from_euler(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    """R = Rz(roll) Ry(yaw) Rx(pitch), angles in radians."""
    cx, sx, cy, sy, cz, sz = (f(a) for a in (pitch, yaw, roll) for f in (np.cos, np.sin))
    rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    result: NDArray[np.float64] = rz @ ry @ rx
    return result


def euler_angles(rotation: NDArray[np.float64]) -> tuple[float, float, float]:
    """(pitch, yaw, roll) in radians with R = Rz(roll) Ry(yaw) Rx(pitch); yaw in [-pi/2, pi/2]."""
    yaw = float(np.arctan2(-rotation[2, 0], np.hypot(rotation[0, 0], rotation[1, 0])))
    if abs(rotation[2, 0]) > 1 - 1e-12:  # looking along the pitch axis: only pitch -+ roll is defined
        return float(np.arctan2(-rotation[1, 2], rotation[1, 1])), yaw, 0.0
    pitch = float(np.arctan2(rotation[2, 1], rotation[2, 2]))
    roll = float(np.arctan2(rotation[1, 0], rotation[0, 0]))
    return pitch, yaw, roll


@dataclass(frozen=True)
class WeakPerspective:
    """Scaled orthographic projection.

    Raises:
        ValueError: when the scale is not positive.
    """

    scale: Any
    """px per mm."""
    rotation: NDArray[np.float64]
    """(3, 3), model to camera."""
    translation: NDArray[np.float64]
    """(2,) px."""

    def __post_init__(self) -> None:
        if not np.all(np.asarray(self.scale) > 0):
            raise ValueError(f"scale is {self.scale}; expected a positive number of pixels per millimetre.")

    @classmethod
    def unpack(cls, parameters: NDArray[np.float64]) -> WeakPerspective:
        """Of parameters (..., 6): log s, w (3), t (2)."""
        logs = parameters[..., 0]
        scale = np.array([math.exp(value) for value in np.ravel(logs)]).reshape(np.shape(logs))
        return cls(scale, rotation_matrix(parameters[..., 1:4]), parameters[..., 4:6].copy())

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(N, 3) mm to (N, 3): x px, y px, depth px (larger is nearer)."""
        turned = np.asarray(points, np.float64) @ self.rotation.T
        x = self.scale * turned[:, 0] + self.translation[0]
        y = -self.scale * turned[:, 1] + self.translation[1]
        return np.stack([x, y, self.scale * turned[:, 2]], axis=1)

    def moved(self, zoom: float, offset: NDArray[np.floating] | tuple[float, float]) -> WeakPerspective:
        """The camera whose pixels are `zoom * xy + offset` of this one's."""
        shift = np.asarray(offset, np.float64)
        return WeakPerspective(self.scale * zoom, self.rotation, zoom * self.translation + shift)


def fit_weak_perspective(
    points: NDArray[np.floating], image_xy: NDArray[np.floating], weights: NDArray[np.floating]
) -> WeakPerspective:
    """The scaled orthographic camera nearest to the affine one that best takes points (L, 3) mm to image_xy (L, 2) px.

    DeMenthon and Davis, "Model-based object pose in 25 lines of code" (IJCV 1995), without its perspective iterations.
    """
    root = np.sqrt(np.asarray(weights, np.float64))[:, None]
    homogeneous = np.concatenate([points, np.ones((len(points), 1))], axis=1)
    affine = np.linalg.lstsq(root * homogeneous, root * (np.asarray(image_xy) * [1.0, -1.0]), rcond=None)[0].T
    u, s, vt = np.linalg.svd(affine[:, :3], full_matrices=False)
    rows = u @ vt
    rotation = np.vstack([rows, np.cross(rows[0], rows[1])])
    scale = float(s.mean())
    centre = np.average(np.asarray(points, np.float64), axis=0, weights=weights)
    middle = np.average(np.asarray(image_xy, np.float64), axis=0, weights=weights)
    turned = rotation @ centre
    return WeakPerspective(scale, rotation, middle - scale * turned[:2] * [1.0, -1.0])
