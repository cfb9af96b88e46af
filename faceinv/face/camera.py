"""The camera, perspective or weak, and rotations.

With `p = s R V` in px (x right, y up, z to the viewer), c the principal point and `w = 1 / (1 - kappa (R V)_z)`:
`x = c_x + (p_x + t_x - c_x) w`, `y = c_y + (t_y - p_y - c_y) w` in pixels (x right, y down, centres at integers), depth
`p_z w`, larger is nearer. `kappa` is one over the distance from the camera to the model's origin; with 0, w is 1: weak
perspective.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

__all__ = [
    "NEAREST",
    "Camera",
    "Seen",
    "axis_angle",
    "euler_angles",
    "fit_weak_perspective",
    "rotation_from_euler",
    "rotation_matrix",
    "turned",
]


NEAREST: Final = 1 / 16
"""Points nearer to the camera than this share of its distance to the model's origin, or behind it, are not drawn; where
they are in the image is what a point that near would show, so that it stays finite."""


def rotation_matrix(axis_angle_vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp([w]x) for w (..., 3): (..., 3, 3), by Rodrigues' formula; exact in the limit of small angles."""
    w = np.asarray(axis_angle_vector, np.float64)
    # By the numbers of one vector after another: fits ask for one at a time, and a NumPy call costs more than all this.
    return np.array([_rodrigues(*one) for one in w.reshape(-1, 3).tolist()]).reshape(*w.shape, 3)


def _rodrigues(x: float, y: float, z: float) -> tuple[float, ...]:
    """The nine entries of `I + first [w]x + second [w]x^2`."""
    squared = x * x + y * y + z * z
    if squared < 1e-8:  # series: the quotients would lose digits
        first, second = 1 - squared / 6, 0.5 - squared / 24
    else:
        angle = math.sqrt(squared)
        first, second = math.sin(angle) / angle, (1 - math.cos(angle)) / squared
    xy, xz, yz = second * x * y, second * x * z, second * y * z
    return (
        1 - second * (y * y + z * z), xy - first * z, xz + first * y,
        xy + first * z, 1 - second * (x * x + z * z), yz - first * x,
        xz - first * y, yz + first * x, 1 - second * (x * x + y * y),
    )  # fmt: skip


def axis_angle(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """log of rotation matrices (..., 3, 3): vectors w (..., 3) with |w| in [0, pi]."""
    from scipy.spatial.transform import Rotation

    result: NDArray[np.float64] = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).as_rotvec()
    return result.reshape(rotation.shape[:-1])


def turned(turn: NDArray[np.float64], before: NDArray[np.float64]) -> NDArray[np.float64]:
    """log(exp([turn]x) exp([before]x)) for vectors (B, 3) each: (B, 3) with lengths in [0, pi]."""
    return np.array([_composed(*pair) for pair in zip(turn.tolist(), before.tolist(), strict=True)]).reshape(-1, 3)


def _composed(turn: list[float], before: list[float]) -> tuple[float, float, float]:
    """As `turned`, of one vector each, by the product of their unit quaternions."""
    (a, ax, ay, az), (b, bx, by, bz) = _quaternion(*turn), _quaternion(*before)
    real = a * b - (ax * bx + ay * by + az * bz)
    x, y, z = (
        a * bx + b * ax + ay * bz - az * by,
        a * by + b * ay + az * bx - ax * bz,
        a * bz + b * az + ax * by - ay * bx,
    )
    half_sine = math.sqrt(x * x + y * y + z * z)
    # A quaternion and its negative are the same turn; the one with a positive real part is the shorter way.
    factor = 2 * math.atan2(half_sine, abs(real)) / half_sine if half_sine else 2.0
    factor = math.copysign(factor, real)
    return factor * x, factor * y, factor * z


def _quaternion(x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """The unit quaternion of exp([w]x), real part first."""
    angle = math.sqrt(x * x + y * y + z * z)
    factor = math.sin(angle / 2) / angle if angle else 0.5
    return math.cos(angle / 2), factor * x, factor * y, factor * z


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


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole at a distance, or infinitely far away (weak perspective); one camera, or several along leading axes.

    As unknowns a camera is a vector of `PARAMETER_COUNT` numbers, `[log s, w (3), t (2), c (2), 1 / f]` with
    `R = exp([w]x)`: so the scale stays positive, and steps turn on the manifold, `R <- exp([dw]x) R`. A derivative with
    respect to w is one with respect to dw at zero; Euler angles would lock at profile views.

    `f = s / kappa` px is the focal length. It and not the distance is among the parameters, since it is what may be
    known of a photo and can then be held while the scale moves. The principal point c is there for the same reason; it
    is held always, and nothing is differentiated by it (its columns are zeros).

    Raises:
        ValueError: when a scale is not positive, or there is a distance but no principal point.
    """

    PARAMETER_COUNT: ClassVar[int] = 9
    ROTATION: ClassVar[slice] = slice(1, 4)
    """Where w is among the parameters."""
    TRANSLATION: ClassVar[slice] = slice(4, 6)
    """Where t is."""
    PRINCIPAL_POINT: ClassVar[slice] = slice(6, 8)
    """Where c is."""
    INVERSE_FOCAL: ClassVar[int] = 8
    """Where 1 / f is, 1/px."""

    scale: float | NDArray[np.float64]
    """(...,) px per mm, at the depth of the model's origin."""
    rotation: NDArray[np.float64]
    """(..., 3, 3), model to camera."""
    translation: NDArray[np.float64]
    """(..., 2) px: where the model's origin is in the image."""
    kappa: float | NDArray[np.float64] = 0.0
    """(...,) 1/mm: one over the distance from the camera to the model's origin along the optical axis; 0 for weak
    perspective."""
    principal_point: NDArray[np.float64] | None = None
    """(..., 2) px: where the optical axis meets the image; means nothing under weak perspective."""

    def __post_init__(self) -> None:
        if not (np.asarray(self.scale) > 0).all():
            raise ValueError(f"scale is {self.scale}; expected a positive number of pixels per millimetre.")
        if self.principal_point is None:
            if np.any(self.kappa):
                raise ValueError(
                    f"kappa is {self.kappa}, and no principal point is given. Perspective needs one, such as the "
                    "image's middle: [(width - 1) / 2, (height - 1) / 2]."
                )
            object.__setattr__(self, "principal_point", np.zeros_like(np.asarray(self.translation, np.float64)))

    # ---- what it is

    @property
    def distance(self) -> float | NDArray[np.float64]:
        """(...,) mm from the camera to the model's origin along the optical axis; infinite for weak perspective."""
        return _inverse(self.kappa)

    @property
    def focal_length(self) -> float | NDArray[np.float64]:
        """(...,) px; infinite for weak perspective."""
        return _inverse(np.asarray(self.kappa) / np.asarray(self.scale))

    @property
    def centre(self) -> NDArray[np.float64]:
        """(..., 2) px: the principal point; zeros where none is given, which then does not matter."""
        assert self.principal_point is not None
        return np.asarray(self.principal_point, np.float64)

    def inverse_focal(self, item: int) -> float:
        """1/px: one over the focal length of one camera of several; 0 for weak perspective."""
        return float(np.broadcast_to(np.asarray(self.kappa) / np.asarray(self.scale), np.shape(self.scale))[item])

    @property
    def position(self) -> NDArray[np.float64]:
        """(..., 3) mm, model frame: where the camera stands.

        Raises:
            ValueError: under weak perspective, whose camera is infinitely far away.
        """
        if not np.all(np.asarray(self.kappa) > 0):
            raise ValueError("a camera without perspective is infinitely far away; it has no position.")
        aside = (self.centre - np.asarray(self.translation)) / np.asarray(self.scale)[..., None] * [1.0, -1.0]
        seen = np.concatenate([aside, 1 / np.asarray(self.kappa, np.float64)[..., None]], axis=-1)
        place: NDArray[np.float64] = np.einsum("...ij,...i->...j", self.rotation, seen)
        return place

    # ---- as unknowns

    @classmethod
    def of_arrays(cls, stored: Mapping[str, NDArray[Any]]) -> Camera:
        """One camera of the arrays by which files keep it: `scale` and `kappa` (), `rotation` (3, 3), `translation`
        (2,), `principal_point` (2,)."""
        rotation, translation, point = (stored[name] for name in ("rotation", "translation", "principal_point"))
        return cls(float(stored["scale"]), rotation, translation, float(stored["kappa"]), point)

    @classmethod
    def unpack(cls, parameters: NDArray[np.float64]) -> Camera:
        """The cameras of parameter vectors (..., 9)."""
        rotation = rotation_matrix(parameters[..., cls.ROTATION])
        translation, centre = parameters[..., cls.TRANSLATION].copy(), parameters[..., cls.PRINCIPAL_POINT].copy()
        # Not np.exp: NumPy 1.26 computes it one of two ways, by where in memory the result happens to lie.
        if parameters.ndim == 1:
            scale = math.exp(parameters[0])
            return cls(scale, rotation, translation, float(parameters[cls.INVERSE_FOCAL]) * scale, centre)
        scales = np.array([math.exp(value) for value in parameters[..., 0].ravel()]).reshape(parameters.shape[:-1])
        return cls(scales, rotation, translation, parameters[..., cls.INVERSE_FOCAL] * scales, centre)

    def pack(self) -> NDArray[np.float64]:
        """(..., 9) the parameter vectors."""
        scale = np.asarray(self.scale, np.float64)
        logs = np.array([math.log(value) for value in scale.ravel()]).reshape(*scale.shape, 1)
        inverse_focal = np.broadcast_to(np.asarray(self.kappa, np.float64) / scale, scale.shape)[..., None]
        parts = [logs, axis_angle(self.rotation), self.translation, self.centre, inverse_focal]
        return np.concatenate(parts, axis=-1)

    @classmethod
    def retract(cls, parameters: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Parameter vectors (B, 9) moved by tangent steps (B, 9): addition everywhere but for the rotation."""
        moved, turning = parameters + step, step[:, cls.ROTATION].any(axis=1)
        if turning.any():
            moved[turning, cls.ROTATION] = turned(step[turning, cls.ROTATION], parameters[turning, cls.ROTATION])
        return moved

    @classmethod
    def resized(cls, parameters: NDArray[np.float64], ratio: float) -> NDArray[np.float64]:
        """Parameter vectors (..., 9) of the same view in an image `ratio` times as large, the images' edges meeting."""
        moved = parameters.copy()
        moved[..., 0] += math.log(ratio)
        for part in (cls.TRANSLATION, cls.PRINCIPAL_POINT):
            moved[..., part] = (moved[..., part] + 0.5) * ratio - 0.5
        moved[..., cls.INVERSE_FOCAL] /= ratio
        return moved

    # ---- geometry

    def turned(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., N, 3) mm in the camera's frame, px: x right, y up, z to the viewer, before the translation."""
        turned_points: NDArray[np.float64] = np.asarray(self.scale)[..., None, None] * (
            np.asarray(points, np.float64) @ np.swapaxes(self.rotation, -1, -2)
        )
        return turned_points

    def magnification(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., N): w, how many times larger than at the model's origin things are at points (..., N, 3) mm."""
        return self._magnification(self.turned(points)[..., 2])

    def _magnification(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        larger: NDArray[np.float64] = 1 / np.maximum(1 - self._per_point_inverse_focal * z, NEAREST)
        return larger

    @property
    def _per_point_inverse_focal(self) -> NDArray[np.float64]:
        """(..., 1) 1/px: one over the focal length, against numbers (..., N) of points."""
        inverse: NDArray[np.float64] = np.asarray(self.kappa / self.scale)[..., None]
        return inverse

    def project(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Points (..., N, 3) mm to (..., N, 3): x px, y px, depth px (larger is nearer).

        The depth is linear in the image over a plane, which is what z buffers need. It is not finite for points that
        are not in front of the camera (`NEAREST`).
        """
        seen = self.see(points)
        z = seen.turned[..., 2]
        depth = np.where(self._per_point_inverse_focal * z < 1 - NEAREST, z * seen.magnification, np.inf)
        return np.stack([seen.x, seen.y, depth], axis=-1)

    def see(self, points: NDArray[np.floating]) -> Seen:
        """Points (..., N, 3) mm, for callers that want several things of them."""
        p, (t, c) = self.turned(points), (np.asarray(self.translation), self.centre)
        w = self._magnification(p[..., 2])
        # Where w is 1 these are the sums of weak perspective to the last bit.
        x = (t[..., :1] + p[..., 0]) * w + c[..., :1] * (1 - w)
        y = (t[..., 1:] - p[..., 1]) * w + c[..., 1:] * (1 - w)
        return Seen(self, p, w, x, y)

    def unproject(self, image: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., N, 3) mm: the points that `project` takes to (..., N, 3) x px, y px, depth px; for finite depths."""
        image = np.asarray(image, np.float64)
        scale = np.asarray(self.scale, np.float64)[..., None]
        inverse_focal = np.asarray(self.kappa)[..., None] / scale
        larger = 1 + inverse_focal * image[..., 2]  # w, as the depth is z w with w = 1 / (1 - z / f)
        shift, centre = np.asarray(self.translation)[..., None, :], self.centre[..., None, :]
        beside = (image[..., :2] - centre) / larger[..., None] + centre - shift
        turned = np.stack([beside[..., 0], -beside[..., 1], image[..., 2] / larger], axis=-1) / scale[..., None]
        points: NDArray[np.float64] = turned @ self.rotation
        return points

    def screen_jacobian(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., N, 2, 3) px per mm: how the image positions of points (..., N, 3) move with the points."""
        return self.see(points).screen_jacobian

    def pose_columns(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., N, 2, 9): how the image positions of points (..., N, 3) mm move with the camera's parameters; zeros for
        the principal point."""
        return self.see(points).pose_columns

    def to_viewer(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """(..., N, 3) unit vectors from points (..., N, 3) mm to the camera, in the camera's frame."""
        p = self.turned(points)
        inverse_focal = self._per_point_inverse_focal[..., None]
        aside = ((self.centre - np.asarray(self.translation)) * [1.0, -1.0])[..., None, :] - p[..., :2]
        way = np.concatenate([inverse_focal * aside, 1 - inverse_focal * p[..., 2:]], axis=-1)
        unit: NDArray[np.float64] = way / np.linalg.norm(way, axis=-1, keepdims=True)
        return unit

    # ---- other cameras

    def moved(self, zoom: float, offset: NDArray[np.floating] | tuple[float, float]) -> Camera:
        """The camera whose pixels are `zoom * xy + offset` of this one's."""
        shift = np.asarray(offset, np.float64)
        return Camera(
            self.scale * zoom, self.rotation, zoom * self.translation + shift, self.kappa, zoom * self.centre + shift
        )

    def item(self, index: int) -> Camera:
        """One camera of several."""
        kappa = float(np.broadcast_to(np.asarray(self.kappa), np.shape(self.scale))[index])
        return Camera(
            float(np.asarray(self.scale)[index]),
            self.rotation[index],
            self.translation[index],
            kappa,
            self.centre[index],
        )


@dataclass(frozen=True, eq=False)
class Seen:
    """Points as a camera sees them."""

    camera: Camera
    turned: NDArray[np.float64]
    """(..., N, 3) px: see `Camera.turned`."""
    magnification: NDArray[np.float64]
    """(..., N): w."""
    x: NDArray[np.float64]
    """(..., N) px."""
    y: NDArray[np.float64]
    """(..., N) px."""

    @property
    def image_xy(self) -> NDArray[np.float64]:
        """(..., N, 2) px."""
        return np.stack([self.x, self.y], axis=-1)

    @cached_property
    def slant(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(..., N) each: the places from the principal point over the focal length, x and y; zeros under weak
        perspective.

        `(-x, y, 1)` points to the viewer, in the camera's frame: no point moves in the image along it.
        """
        inverse_focal, centre = self.camera._per_point_inverse_focal, self.camera.centre
        return inverse_focal * (self.x - centre[..., :1]), inverse_focal * (self.y - centre[..., 1:])

    @property
    def turned_jacobian(self) -> NDArray[np.float64]:
        """(..., N, 2, 3): how image positions move with turned points: `w [[1, 0, slant x], [0, -1, slant y]]`."""
        w, (slant_x, slant_y) = self.magnification, self.slant
        jacobian = np.zeros((*w.shape, 2, 3))
        jacobian[..., 0, 0], jacobian[..., 1, 1] = w, -w
        jacobian[..., 0, 2], jacobian[..., 1, 2] = w * slant_x, w * slant_y
        return jacobian

    @property
    def screen_jacobian(self) -> NDArray[np.float64]:
        """(..., N, 2, 3) px per mm: see `Camera.screen_jacobian`."""
        rows = self.turned_jacobian
        flat = rows.reshape(*rows.shape[:-3], -1, 3)
        moved: NDArray[np.float64] = flat @ (np.asarray(self.camera.scale)[..., None, None] * self.camera.rotation)
        return moved.reshape(rows.shape)

    @property
    def pose_columns(self) -> NDArray[np.float64]:
        """(..., N, 2, 9): see `Camera.pose_columns`."""
        x, y, z = np.moveaxis(self.turned, -1, 0)
        (slant_x, slant_y), centre = self.slant, self.camera.centre
        zero, one = np.zeros_like(x), np.ones_like(x)
        # log s, a turn about each axis (dw x turned), t, c, 1/f: how turned points move, y down, and how the image does
        # as 1 - 1/w grows by (z, y, -x) / f with the first three.
        across = (x + slant_x * z, slant_x * y, z - slant_x * x, -y, one, zero, zero, zero)
        down = (slant_y * z - y, z + slant_y * y, -slant_y * x, -x, zero, one, zero, zero)
        nearer = (self.x - centre[..., :1]) * z, (self.y - centre[..., 1:]) * z
        columns = self.magnification * np.stack([*across, nearer[0], *down, nearer[1]])
        both = columns.reshape(2, Camera.PARAMETER_COUNT, *x.shape)
        moved: NDArray[np.float64] = np.moveaxis(both, (0, 1), (-2, -1))
        return moved


def _inverse(value: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    with np.errstate(divide="ignore"):
        inverse = np.divide(1.0, value)
    return inverse if np.ndim(inverse) else float(inverse)


def fit_weak_perspective(
    points: NDArray[np.floating], image_xy: NDArray[np.floating], weights: NDArray[np.floating]
) -> Camera:
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
    return Camera(scale, rotation, middle - scale * turned[:2] * [1.0, -1.0])
