"""Lids over eyeballs: where they lie at rest, how they close, and what keeps them off the eye in every facial unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from eyes import BLINK_RETREAT_MM, Eyeball, look
from scipy import sparse

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from shell import Skin

__all__ = ["EyeMotion", "clear_of_eyes", "closed_blink", "eye_motion", "rested_lids"]

CLEAR_MM: Final = 0.12
"""Between the lids and the eyeball, at the least."""
REST_MM: Final = 0.2
"""Of the innermost ring of the lids' margins from the eyeball, at rest."""
STEPS: Final = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0)
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


_STILL: Final = EyeMotion(np.zeros((3, 3)), np.zeros(3))


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


@dataclass(frozen=True)
class _Samples:
    """Points of the skin about an eye: vertices, and middles of edges and triangles, as rows over coarse vertices."""

    rows: sparse.csr_array

    @classmethod
    def about(cls, skin: Skin, mean: Floats, eye: Eyeball) -> _Samples:
        surface = skin.subdivision @ mean
        near = np.linalg.norm(surface - eye.centre, axis=1) < eye.radius + REACH_MM
        near &= surface[:, 2] > eye.centre[2] + 3
        triangles = skin.triangles[near[skin.triangles].all(axis=1)]
        edges = np.unique(
            np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [0, 2]]]), 1), axis=0
        )
        points = [np.unique(triangles)[:, None], edges, triangles]
        rows = [sum(skin.subdivision[p[:, k]] for k in range(p.shape[1])) / p.shape[1] for p in points]
        return cls(sparse.csr_array(sparse.vstack(rows)))

    def spread(self, push: Floats, pushed: Bools) -> Floats:
        """What coarse vertices do to pass a push (P, 3) of some points on: each the mean of its points' pushes."""
        weights = self.rows.T.tocsr()
        load = weights @ pushed.astype(float)
        step: Floats = np.where((load > 0.02)[:, None], (weights @ push) / np.maximum(load, 1e-9)[:, None], 0.0)
        return step


def rested_lids(skin: Skin, mean: Floats, eyes: tuple[Eyeball, Eyeball]) -> Floats:
    """The mean (M + H, 3) with the margins of the lids laid onto the eyeballs: the innermost ring touches, the others
    do not enter."""
    moved = mean.copy()
    last = skin.lid_ring.max()
    for eye, side in zip(eyes, (-1, 1), strict=True):
        of_side = (skin.lid_ring > 1) & (side * mean[:, 0] > 0)
        for ring, least, most in ((last, REST_MM, REST_MM), (last - 1, 0.35, np.inf)):
            vertices = np.flatnonzero(of_side & (skin.lid_ring == ring))
            gap, away = clearance(eye, _STILL, 0.0, moved[vertices])
            moved[vertices] += (np.clip(gap, least, most) - gap)[:, None] * away
        samples = _Samples.about(skin, moved, eye)
        for _ in range(ROUNDS):
            gap, away = clearance(eye, _STILL, 0.0, samples.rows @ moved)
            lack = np.maximum(0.5 * CLEAR_MM - gap, 0.0)
            if lack.max() < 1e-3:
                break
            moved += samples.spread(lack[:, None] * away, lack > 0)
    return np.round(moved, 4)


def clear_of_eyes(skin: Skin, mean: Floats, offset: Floats, unit: str, eyes: tuple[Eyeball, Eyeball]) -> Floats:
    """A unit's full offset (M + H, 3), corrected so that no skin enters an eyeball at any activation from 0 to 1.

    Points that would enter are pushed out along the radius; the coarse vertices that carry them take the push on.
    """
    corrected = offset.copy()
    for eye, side in zip(eyes, (-1, 1), strict=True):
        motion = eye_motion(unit, side)
        samples = _Samples.about(skin, mean, eye)
        here = samples.rows @ mean
        wanted = np.minimum(clearance(eye, _STILL, 0.0, here)[0], CLEAR_MM)
        for _ in range(ROUNDS):
            there = samples.rows @ corrected
            push, size = np.zeros((len(here), 3)), np.zeros(len(here))
            for t in STEPS:
                gap, away = clearance(eye, motion, t, here + t * there)
                lack = np.maximum(wanted - gap, 0.0) / t
                worse = lack > size
                size = np.where(worse, lack, size)
                push[worse] = (lack[:, None] * away)[worse]
            if size.max() < 1e-3:
                break
            corrected += samples.spread(push, size > 0)
    return np.round(corrected, 4)


def closed_blink(skin: Skin, mean: Floats, offset: Floats, side: int) -> Floats:
    """The full offset (M + H, 3) of an `eyeBlink` unit, so that the upper lid ends on the lower one.

    MakeHuman's lid runs past the lower lid. The movement is shortened, by what its edge needs, along the whole lid;
    then each ring of the upper margin is laid onto the same ring of the lower margin.
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
    ordered: Ints = lower[np.argsort((mean + offset)[lower, 0])]
    return ordered
