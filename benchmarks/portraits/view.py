"""The camera, and where it sees landmarks as annotators mark them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from portraits.meshes import edges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from portraits.head import IctHead

    Array = NDArray[np.float64]

__all__ = ["MAX_YAW", "SIZE", "Pose", "draw_pose", "outline_landmarks"]


SIZE: Final = 400


MAX_YAW: Final = 40.0
"""Degrees to either side, unless told."""


@dataclass(frozen=True)
class Pose:
    """The camera, at the origin, looks along -z; x right, y up."""

    rotation: Array
    """(3, 3) model space to the camera's."""
    translation: Array
    """(3,) mm."""
    focal: float
    """px."""
    size: int
    """px; the principal point is the middle of the image."""

    def to_camera(self, points: Array) -> Array:
        """(..., 3) mm, camera space."""
        moved: Array = points @ self.rotation.T + self.translation
        return moved

    def project(self, points: Array) -> Array:
        """(..., 2) px, pixel centres at integers."""
        seen = self.to_camera(points)
        centre = (self.size - 1) / 2
        return centre + self.focal * seen[..., :2] * [1.0, -1.0] / -seen[..., 2:]


def _rotation(pitch: float, yaw: float, roll: float) -> Array:
    (sp, cp), (sy, cy), (sr, cr) = ((math.sin(a), math.cos(a)) for a in np.radians([pitch, yaw, roll]))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned: Array = about_z @ about_y @ about_x
    return turned


def draw_pose(
    rng: np.random.Generator, head: IctHead, vertices: Array, distance: float, size: int = SIZE, yaw: float = MAX_YAW
) -> tuple[Pose, Array]:
    """A camera at some distance for a picture of size x size px, and the angles pitch, yaw (to `yaw` at most, to either
    side), roll in degrees."""
    angles = np.array([rng.uniform(-12, 12), rng.uniform(-yaw, yaw), rng.uniform(-10, 10)])
    rotation = _rotation(*angles)
    marks = vertices[head.landmarks]
    middle = marks[17:].mean(axis=0)
    height = float(np.linalg.norm(marks[27] - marks[8]))
    focal = size * distance / (rng.uniform(2.5, 2.9) * height)
    shift = (rng.normal(size=2) * [9.0, 9.0] + [0.0, -6.0]) * (size / SIZE)
    place = np.array([shift[0] * distance / focal, shift[1] * distance / focal, -distance])
    return Pose(rotation, place - rotation @ middle, float(focal), size), angles


def outline_landmarks(head: IctHead, vertices: Array, pose: Pose) -> Array:
    """(17, 2) px: the jaw as annotators mark it, on the visible outline of the face.

    The outline is that of the projected skin within the jaw line: where the head turns away, the contour at which the
    cheek ends; where it turns towards the camera, the jaw's edge itself. Each mark is where the outline is met by the
    ray from the middle of the face through the outermost point of its own cross-section of the head.
    """
    inside = head.outline[head.triangles].all(axis=1)
    edges, _ = edges_of(head.triangles[inside])
    xy = pose.project(vertices)
    jaw, nose = head.landmarks[:17], vertices[head.landmarks[27:36]].mean(axis=0)
    # From well inside: the ends of the jaw line lie above it, the chin below.
    centre = pose.project(vertices[head.landmarks[27:31]].mean(axis=0) - [0.0, 12.0, 25.0])
    skin = np.unique(head.triangles[inside])
    start, along = xy[edges[:, 0]], xy[edges[:, 1]] - xy[edges[:, 0]]
    marks = np.empty((17, 2))
    for number, vertex in enumerate(jaw):
        # Seen from the front of the head: a cross-section through the jaw point, towards the nose or, higher up, level.
        toward = (vertices[vertex] - nose)[:2]
        if vertices[vertex, 1] > nose[1]:
            toward[1] = 0.0
        toward /= np.linalg.norm(toward)
        arm = vertices[skin] - vertices[vertex]
        off = np.abs(arm[:, 0] * toward[1] - arm[:, 1] * toward[0])
        own_side = (vertices[skin] - nose)[:, :2] @ toward > 0.15 * np.linalg.norm((vertices[vertex] - nose)[:2])
        section = skin[(off < 2.5) & own_side]
        outward = (pose.rotation @ np.array([*toward, 0.0]))[:2] * [1.0, -1.0]
        goal = xy[section[np.argmax(xy[section] @ outward)]] if len(section) else xy[vertex]
        ray = goal - centre
        ray /= np.linalg.norm(ray)
        # centre + r ray = start + s along
        cross = ray[0] * along[:, 1] - ray[1] * along[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = start - centre
            r = (gap[:, 0] * along[:, 1] - gap[:, 1] * along[:, 0]) / cross
            s = (gap[:, 0] * ray[1] - gap[:, 1] * ray[0]) / cross
        met = (s >= 0) & (s <= 1) & (r > 0) & np.isfinite(r)
        marks[number] = centre + ray * r[met].max()
    return marks
