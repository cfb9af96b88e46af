"""Lids over eyeballs: where they lie at rest, how they close, and what keeps them off the eye in every facial unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from eyes import BLINK_RETREAT_MM, Eyeball, look

if TYPE_CHECKING:
    from arrays import Floats, Ints
    from shell import Skin

__all__ = ["EyeMotion", "clear_of_eyes", "closed_blink", "eye_motion", "rested_lids"]

CLEAR_MM: Final = 0.12
"""Between the lids and the eyeball, at the least."""
STEPS: Final = (0.0, 0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
"""Activations of a unit at which lids are looked at."""
ROUNDS: Final = 60
REACH_MM: Final = 6.0
"""Skin within this distance of an eyeball is looked at."""


@dataclass(frozen=True)
class EyeMotion:
    """How an eyeball moves in a unit: at activation t the point x goes to `x + t (D (x - centre) + shift)`."""

    linear: Floats
    """(3, 3)"""
    shift: Floats
    """(3,) mm."""

    def moves(self, points: Floats, centre: Floats) -> Floats:
        """(N, 3) mm at full activation."""
        moved: Floats = (points - centre) @ self.linear.T + self.shift
        return moved


def eye_motion(unit: str, side: int) -> EyeMotion:
    """How the eye of a side (+1: the subject's left, positive x) moves in a facial unit."""
    own = unit.endswith("Left" if side > 0 else "Right")
    linear, shift = np.zeros((3, 3)), np.zeros(3)
    if own and unit.startswith("eyeLook"):
        linear = np.round(look(unit, side) - np.eye(3), 9)
    if own and unit.startswith("eyeBlink"):
        shift = np.array([0.0, 0.0, -BLINK_RETREAT_MM])
    return EyeMotion(linear, shift)


def clearance(eye: Eyeball, motion: EyeMotion, activation: float, points: Floats) -> tuple[Floats, Floats]:
    """(N,) mm from the moved eyeball to points (N, 3), negative inside, and (N, 3) unit directions away from it."""
    turn = np.eye(3) + activation * motion.linear
    arms = points - eye.centre - activation * motion.shift
    back = np.linalg.solve(turn, arms.T).T
    distance = np.linalg.norm(back, axis=1)
    gap = distance - eye.radius_towards(back / distance[:, None])
    return gap, arms / np.linalg.norm(arms, axis=1, keepdims=True)


def rested_lids(skin: Skin, mean: Floats, eyes: tuple[Eyeball, Eyeball]) -> Floats:
    """The mean (M + H, 3) with the margins of the lids laid onto the eyeballs: the innermost ring touches, the others do
    not enter. Only the shell's vertices move."""
    moved = mean.copy()
    still = EyeMotion(np.zeros((3, 3)), np.zeros(3))
    last = skin.lid_ring.max()
    for eye, side in zip(eyes, (-1, 1), strict=True):
        of_side = (skin.lid_ring > 1) & (side * mean[:, 0] > 0)
        for ring, least, most in ((last, CLEAR_MM, CLEAR_MM), (last - 1, 0.35, np.inf)):
            vertices = np.flatnonzero(of_side & (skin.lid_ring == ring))
            gap, away = clearance(eye, still, 0.0, moved[vertices])
            moved[vertices] += (np.clip(gap, least, most) - gap)[:, None] * away
    return np.round(moved, 4)


def clear_of_eyes(skin: Skin, mean: Floats, offset: Floats, unit: str, eyes: tuple[Eyeball, Eyeball]) -> Floats:
    """A unit's full offset (M + H, 3), corrected so that no skin enters an eyeball at any activation from 0 to 1.

    Fine vertices that would enter are pushed out along the radius; the coarse vertices that carry them take the push on.
    """
    corrected = offset.copy()
    rows = skin.subdivision
    for eye, side in zip(eyes, (-1, 1), strict=True):
        motion = eye_motion(unit, side)
        surface = rows @ mean
        near = np.flatnonzero(
            (np.linalg.norm(surface - eye.centre, axis=1) < eye.radius + REACH_MM) & (surface[:, 2] > eye.centre[2] + 3)
        )
        carriers = rows[near]
        weights = carriers.T.tocsr()
        for _ in range(ROUNDS):
            here, there = surface[near], carriers @ corrected
            push, size = np.zeros((len(near), 3)), np.zeros(len(near))
            for t in STEPS[1:]:
                gap, away = clearance(eye, motion, t, here + t * there)
                lack = np.maximum(_wanted(eye, here) - gap, 0.0) / t
                worse = lack > size
                size = np.where(worse, lack, size)
                push[worse] = (lack[:, None] * away)[worse]
            if size.max() < 1e-3:
                break
            pushed = size > 0
            load = weights @ pushed.astype(float)
            step = (weights @ push) / np.maximum(load, 1e-9)[:, None]
            corrected += np.where((load > 0.02)[:, None], step, 0.0)
    return np.round(corrected, 4)


def _wanted(eye: Eyeball, here: Floats) -> Floats:
    """(N,) mm of clearance asked for: what there is at rest, where that is less than `CLEAR_MM`."""
    still = EyeMotion(np.zeros((3, 3)), np.zeros(3))
    gap, _ = clearance(eye, still, 0.0, here)
    return np.minimum(gap, CLEAR_MM)


def closed_blink(skin: Skin, mean: Floats, offset: Floats, side: int) -> Floats:
    """The full offset (M + H, 3) of an `eyeBlink` unit, so that the upper lid ends on the lower one.

    MakeHuman's lid runs past the lower lid. The movement is shortened, by what its edge needs, along the whole lid; then
    each ring of the upper margin is laid onto the same ring of the lower margin.
    """
    corrected = offset.copy()
    on_side = side * mean[:, 0] > 0
    edge = np.flatnonzero((skin.lid_ring == 1) & on_side)
    upper = edge[offset[edge, 1] < -1.5]
    upper = upper[np.argsort(mean[upper, 0])]
    lower = _lower_margin(skin, mean, offset, side, 1)
    line = (mean + offset)[lower]
    goal = np.interp((mean + offset)[upper, 0], line[:, 0], line[:, 1])
    share = np.clip((goal - mean[upper, 1]) / offset[upper, 1], 0.2, 1.0)
    lid = np.flatnonzero(on_side & (offset[:, 1] < -0.3) & (mean[:, 2] > 50))
    lid = np.setdiff1d(lid, lower)
    factor = np.interp(mean[lid, 0], mean[upper, 0], share)
    corrected[lid] = offset[lid] * factor[:, None]
    for ring in range(1, skin.lid_ring.max() + 1):
        border = _lower_margin(skin, mean, offset, side, ring)
        line = (mean + corrected)[border]
        vertices = np.setdiff1d(np.flatnonzero((skin.lid_ring == ring) & on_side), border)
        closed = mean[vertices] + corrected[vertices]
        x = np.clip(closed[:, 0], line[0, 0], line[-1, 0])
        goal = np.stack([x, *(np.interp(x, line[:, 0], line[:, k]) for k in (1, 2))], axis=1)
        corrected[vertices] += goal - closed
    return np.round(corrected, 4)


def _lower_margin(skin: Skin, mean: Floats, offset: Floats, side: int, ring: int) -> Ints:
    """Vertices of a ring of the lower lid, by x, with those of the corners of the eye."""
    vertices = np.flatnonzero((skin.lid_ring == ring) & (side * mean[:, 0] > 0))
    lower = vertices[offset[vertices, 1] >= -1.5]
    return lower[np.argsort((mean + offset)[lower, 0])]
