"""Eyeballs: a sphere in the socket with the bulge of the cornea, painted as sclera, iris and pupil."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from part import Part

if TYPE_CHECKING:
    from arrays import Floats
    from sources import Sources

__all__ = ["Eyeball", "eyeball", "eyeball_part", "look"]

IRIS_MM: Final = 5.9
PUPIL_MM: Final = 1.9
CORNEA_MM: Final = 0.7
"""How far the cornea stands out of the sphere, and over which multiple of the iris's radius it fades into it."""
CORNEA_REACH: Final = 1.15
GAZE_DOWN: Final = np.deg2rad(3.0)
"""MakeHuman's eyes are set a little high between its lids; looking down by this puts the iris where relaxed lids have
it."""
MERIDIANS: Final = 32
LOOK: Final = {"Up": 20.0, "Down": 25.0, "In": 28.0, "Out": 28.0}
"""Degrees by which a full `eyeLook...` unit turns an eye: the range that face tracking reports."""
BLINK_RETREAT_MM: Final = 1.5
"""How far an eye sinks back while its lid closes. Eyes do so by one to two millimetres; and a lid that moves on a
straight line, as the vertices of a linear model do, needs the room half-way."""

SCLERA: Final = (0.66, 0.60, 0.55)
SCLERA_RIM: Final = (0.50, 0.30, 0.25)
"""Where the ball turns away from the gaze, and veins and shadow show."""
IRIS_INNER: Final = (0.16, 0.085, 0.040)
IRIS_OUTER: Final = (0.075, 0.038, 0.020)
LIMBUS: Final = (0.030, 0.020, 0.015)
PUPIL: Final = (0.009, 0.008, 0.008)


@dataclass(frozen=True)
class Eyeball:
    """Where an eye is."""

    centre: Floats
    """(3,) mm."""
    radius: float
    gaze: Floats
    """(3,) unit: the axis through the pupil."""

    def radius_towards(self, directions: Floats) -> Floats:
        """(N,) mm from the centre to the surface along unit directions (N, 3)."""
        angle = np.arccos(np.clip(directions @ self.gaze, -1, 1))
        reach = CORNEA_REACH * np.arcsin(IRIS_MM / self.radius)
        bulge = np.maximum(1 - (angle / reach) ** 2, 0) ** 2
        radius: Floats = self.radius + CORNEA_MM * bulge
        return radius


def eyeball(sources: Sources, body: Floats) -> Eyeball:
    """The subject's left eye (positive x): the sphere closest to MakeHuman's, on the mean adult (V, 3) mm."""
    points = body[np.unique(sources.helpers["helper-l-eye"])]
    design = np.concatenate([2 * points, np.ones((len(points), 1))], axis=1)
    solution = np.linalg.lstsq(design, (points**2).sum(axis=1), rcond=None)[0]
    centre = np.round(solution[:3], 3)
    radius = float(np.round(np.sqrt(solution[3] + solution[:3] @ solution[:3]), 3))
    return Eyeball(centre, radius, np.array([0.0, -np.sin(GAZE_DOWN), np.cos(GAZE_DOWN)]))


def eyeball_part(eye: Eyeball, name: str) -> Part:
    """The eye's surface: rings about the gaze, close together at the borders of pupil and iris."""
    pupil, iris = (float(np.degrees(np.arcsin(mm / eye.radius))) for mm in (PUPIL_MM, IRIS_MM))
    angles = np.array(
        [
            *(pupil * 0.5, pupil * 0.94, pupil * 1.06),
            *(pupil + (iris - pupil) * np.array([0.25, 0.5, 0.75])),
            *(iris * 0.955, iris * 1.03, iris * 1.15, 32, 39, 47, 56, 67, 80, 95, 115, 140),
        ]
    )
    theta = np.deg2rad(angles)
    phi = 2 * np.pi * np.arange(MERIDIANS) / MERIDIANS
    up = np.cross(eye.gaze, [1.0, 0.0, 0.0])
    up /= np.linalg.norm(up)
    around = np.cos(phi)[:, None] * np.array([1.0, 0.0, 0.0]) + np.sin(phi)[:, None] * up
    directions = np.cos(theta)[:, None, None] * eye.gaze + np.sin(theta)[:, None, None] * around
    directions = np.concatenate([eye.gaze[None], directions.reshape(-1, 3), -eye.gaze[None]])
    vertices = eye.centre + eye.radius_towards(directions)[:, None] * directions

    rings = len(theta)
    index = 1 + np.arange(rings * MERIDIANS).reshape(rings, MERIDIANS)
    following = np.roll(index, -1, axis=1)
    last = len(vertices) - 1
    triangles = np.concatenate(
        [
            np.stack([np.zeros(MERIDIANS, dtype=np.int64), index[0], following[0]], -1),
            np.stack([index[:-1], index[1:], following[1:]], -1).reshape(-1, 3),
            np.stack([index[:-1], following[1:], following[:-1]], -1).reshape(-1, 3),
            np.stack([np.full(MERIDIANS, last), following[-1], index[-1]], -1),
        ]
    )

    # Two sheets: what can be seen, as a disc about the pupil, and the back.
    border = int(np.searchsorted(angles, 95.0))
    front_radius = eye.radius * theta[border]
    back_radius = eye.radius * (np.pi - theta[border])
    scale = np.concatenate([[0.0], np.repeat(eye.radius * theta, MERIDIANS), [0.0]])
    angle = np.concatenate([[0.0], np.tile(phi, rings), [0.0]])
    disc = scale[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1) + front_radius
    back_scale = np.concatenate([[0.0], np.repeat(eye.radius * (np.pi - theta), MERIDIANS), [0.0]]) / 3
    back = back_scale[:, None] * np.stack([-np.cos(angle), np.sin(angle)], axis=1)
    back += [2 * front_radius + 1 + back_radius / 3, back_radius / 3]
    ring_of = np.concatenate([[0], np.repeat(np.arange(rings), MERIDIANS), [rings]])
    behind = ring_of[triangles].max(axis=1) > border
    used, flat = np.unique(np.where(behind[:, None], len(vertices), 0) + triangles, return_inverse=True)
    return Part(
        name=name,
        vertices=vertices,
        triangles=triangles,
        uv=np.concatenate([disc, back])[used],
        uv_triangles=flat.reshape(-1, 3),
        albedo=_colours(np.concatenate([[0.0], np.repeat(angles, MERIDIANS), [180.0]]), angle, pupil, iris),
    )


def _colours(degrees: Floats, phi: Floats, pupil: float, iris: float) -> Floats:
    """(N, 3) by the angle from the gaze and around it."""
    inner, outer, limbus, sclera, rim = (np.array(c) for c in (IRIS_INNER, IRIS_OUTER, LIMBUS, SCLERA, SCLERA_RIM))
    depth = np.clip((degrees - pupil) / (iris - pupil), 0, 1)[:, None]
    streaks = 1 + 0.18 * np.cos(9 * phi + 2 * depth[:, 0]) * np.sin(np.pi * depth[:, 0])
    colour = (inner + (outer - inner) * depth) * streaks[:, None]
    edge = np.clip((depth - 0.72) / 0.28, 0, 1) ** 2
    colour = colour + (limbus - colour) * edge
    turned = np.clip((degrees - 40) / 40, 0, 1)[:, None]
    white = sclera + (rim - sclera) * turned**1.5
    soft = np.clip((degrees - iris * 0.955) / (iris * 0.075), 0, 1)[:, None]
    colour = colour + (white - colour) * soft
    return np.where((degrees < pupil)[:, None], np.array(PUPIL), colour)


def look(unit: str, side: int) -> Floats:
    """(3, 3) the turn that an eye makes in a full `eyeLook...` unit; side +1 is the subject's left eye (positive x)."""
    direction = next(word for word in LOOK if unit.removeprefix("eyeLook").startswith(word))
    angle = np.deg2rad(LOOK[direction])
    c, s = np.cos(angle), np.sin(angle)
    if direction in ("Up", "Down"):
        s = s if direction == "Up" else -s
        return np.array([[1, 0, 0], [0, c, s], [0, -s, c]])
    towards = -side if direction == "In" else side
    s *= towards
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
