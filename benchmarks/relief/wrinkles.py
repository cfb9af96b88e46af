"""Wrinkles on a head: where age draws them, and some anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from portraits.paint import ramp, waves

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from portraits.head import IctHead

    Array = NDArray[np.float64]

__all__ = ["draw_wrinkles"]

_ANYWHERE = 40


def draw_wrinkles(rng: np.random.Generator, head: IctHead, place: Array, normals: Array) -> Array:
    """(M,) mm along the normals at places (M, 3) of the mean head.

    Grooves across the forehead and between the brows, crow's feet, folds from nose to mouth; ridges and grooves
    anywhere, as `relief.ridges` draws them; and skin that is uneven by some hundredths of a millimetre.
    """
    marks = head.mean[head.landmarks]
    relief = rng.uniform(0.01, 0.04) * waves(rng, place, 1.2)
    age = rng.uniform(0.3, 1.0)
    brow = marks[17:27, 1].max()
    front = ramp(place[:, 2], 60, 75)
    # Across the forehead.
    level = brow + rng.uniform(7, 10)
    for _ in range(int(rng.integers(2, 5))):
        middle, reach = 8 * rng.normal(), rng.uniform(18, 35)
        gap = place[:, 1] - level - 1.2 * np.sin(place[:, 0] / rng.uniform(8, 14) + rng.uniform(0, 6))
        along = np.exp(-0.5 * ((place[:, 0] - middle) / reach) ** 4)
        relief += _groove(rng, gap, age, 0.3, 0.9) * along * front
        level += rng.uniform(6, 10)
    # Between the brows.
    for side in (-1.0, 1.0):
        gap = place[:, 0] - side * rng.uniform(4, 8) - 0.15 * side * (place[:, 1] - brow)
        along = np.exp(-0.5 * ((place[:, 1] - brow + rng.uniform(0, 4)) / rng.uniform(5, 9)) ** 4)
        relief += _groove(rng, gap, age, 0.2, 0.9) * along * front
    # Crow's feet.
    for corner, side in ((marks[36], -1.0), (marks[45], 1.0)):
        for slope in np.linspace(-0.5, 0.7, int(rng.integers(2, 5))) + 0.08 * rng.normal():
            start = corner + np.array([side * rng.uniform(4, 7), 3 * slope, 0.0])
            relief += _stroke(rng, place, start, np.array([side, slope, -0.6]), rng.uniform(7, 14), age, 0.15, 0.6)
    # From nose to mouth.
    for wing, corner, side in ((marks[31], marks[48], -1.0), (marks[35], marks[54], 1.0)):
        top, end = wing + np.array([side * 4.0, 4.0, 0.0]), corner + np.array([side * 7.0, -2.0, 0.0])
        relief += _stroke(rng, place, top, end - top, float(np.linalg.norm(end - top)), age, 0.3, 0.8)
    # Anywhere.
    candidates = np.flatnonzero(head.scored)
    for middle in head.mean[rng.choice(candidates, _ANYWHERE)]:
        direction, length = rng.normal(size=3), rng.uniform(5, 15)
        start = middle - direction / np.linalg.norm(direction) * length / 2
        sign = 1.0 if rng.random() < 0.75 else -0.7
        relief += sign * _stroke(rng, place, start, direction, length, 1.0, 0.2, 0.7)
    # Nothing on lids and lips, whose own creases are not measured either.
    for eye in (marks[36:42], marks[42:48]):
        relief *= ramp(np.linalg.norm((place - eye.mean(axis=0)) * [0.75, 1.0, 0.6], axis=1), 12, 15)
    lips = marks[48:60]
    inside = np.linalg.norm((place - lips.mean(axis=0)) / (0.55 * np.ptp(lips, axis=0) + [1.0, 1.0, 12.0]), axis=1)
    relief *= ramp(inside, 1.0, 1.2) * (normals[:, 2] > -0.5)
    return relief


def _groove(rng: np.random.Generator, gap: Array, age: float, low: float, high: float) -> Array:
    """A groove at distances from its bottom, between shoulders that are a third as high as it is deep."""
    width = rng.uniform(0.6, 1.5)
    depth = age * rng.uniform(low, high)
    groove: Array = -depth * (np.exp(-0.5 * (gap / width) ** 2) - 0.35 * np.exp(-0.5 * (gap / (2.2 * width)) ** 2))
    return groove


def _stroke(
    rng: np.random.Generator,
    place: Array,
    start: Array,
    direction: Array,
    length: float,
    age: float,
    low: float,
    high: float,
) -> Array:
    """A groove that begins at a place and runs so far in a direction, as seen from in front of it."""
    outward = np.array([start[0] / 60.0, 0.2, 1.0])
    outward /= np.linalg.norm(outward)
    along = direction - outward * (direction @ outward)
    along /= np.linalg.norm(along)
    across = np.cross(outward, along)
    arm = place - start
    u = arm @ along - length / 2
    v = arm @ across - rng.normal() * 0.01 * u * u
    ends = np.exp(-0.5 * (u / (length / 2)) ** 4)
    near = np.abs(arm @ outward) < 14
    stroke: Array = _groove(rng, v, age, low, high) * ends * near
    return stroke
