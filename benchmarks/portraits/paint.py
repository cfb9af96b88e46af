"""Skin and hair: reflectances of places on the mean head, painted as no model's albedo modes are."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from portraits.head import IctHead

    Array = NDArray[np.float64]

__all__ = ["HAIRS", "IRISES", "TONES", "Skin", "decoded", "encoded", "hair_cover", "paint_skin", "ramp", "waves"]


TONES: Final = (
    (240, 205, 185), (228, 184, 156), (205, 154, 122), (166, 116, 86), (124, 82, 60), (88, 58, 45),
)  # fmt: skip
"""sRGB of skins, from light to dark."""


HAIRS: Final = ((24, 20, 18), (46, 33, 25), (84, 60, 42), (140, 104, 66), (150, 146, 142))


IRISES: Final = ((58, 36, 22), (86, 60, 36), (90, 110, 130), (84, 96, 70))


def decoded(srgb: Any) -> Array:
    share = np.asarray(srgb, np.float64) / 255
    curve: Array = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return curve


def encoded(linear: Array) -> NDArray[np.uint8]:
    share = np.clip(linear, 0, 1)
    curve = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(255 * curve), np.uint8)


def waves(rng: np.random.Generator, points: Array, length: float, count: int = 24) -> Array:
    """(Q,) smooth noise of unit variance whose features are about `length` mm across."""
    directions = rng.normal(size=(count, 3)) * (2 * np.pi / (2.5 * length))
    phases = rng.uniform(0, 2 * np.pi, count)
    total = np.zeros(len(points))
    for direction, phase in zip(directions, phases, strict=True):
        total += np.cos(points @ direction + phase)
    return total * math.sqrt(2 / count)


def ramp(values: Array, low: float, high: float) -> Array:
    share = np.clip((values - low) / (high - low), 0, 1)
    smooth: Array = share * share * (3 - 2 * share)
    return smooth


def _from_line(points: Array, line: Array) -> Array:
    """Distance in the xy plane from a polyline."""
    best = np.full(len(points), np.inf)
    for a, b in itertools.pairwise(line):
        edge = b - a
        along = np.clip(((points - a) @ edge) / (edge @ edge), 0, 1)
        best = np.minimum(best, np.linalg.norm(a + along[:, None] * edge - points, axis=1))
    return best


def _within(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Even-odd rule in the xy plane."""
    inside = np.zeros(len(points), np.bool_)
    x, y = points.T
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay if by != ay else 1e-9) + ax)
    return inside


def hair_cover(rng: np.random.Generator, place: Array, ears: Array) -> Array:
    """(Q,) from 0, bare, to 1, of places on the mean head. `ears` are 1 there."""
    line = rng.uniform(88, 106)
    fringe = line - 0.0028 * place[:, 0] ** 2 * (place[:, 2] > 0) + 2.5 * waves(rng, place * [1, 0.3, 1], 6)
    top = ramp(place[:, 1] - fringe, 0, 7) * ramp(-place[:, 2], -108, -96)
    side_front = rng.uniform(20, 40)
    side = ramp(side_front - place[:, 2] + 2 * waves(rng, place, 5), 0, 8) * ramp(place[:, 1], 28, 48)
    nape = rng.uniform(-90, -50)
    back = ramp(-14 - place[:, 2], 0, 10) * ramp(place[:, 1], nape, nape + 12)
    return np.maximum(np.maximum(top, side), back) * (1 - ears)


@dataclass(frozen=True)
class Skin:
    """What a place of the skin looks like."""

    colour: Array
    """(Q, 3) linear reflectance."""
    roughness: Array
    """(Q,)."""


def paint_skin(rng: np.random.Generator, head: IctHead, place: Array, tone: Array, hair: Array) -> Skin:
    """Skin at places (Q, 3) of the mean face."""
    marks = head.mean[head.landmarks]
    colour = np.tile(tone, (len(place), 1))
    colour *= np.exp(rng.uniform(0.03, 0.09) * waves(rng, place, 32)[:, None])
    colour *= np.exp(np.outer(rng.uniform(0.02, 0.07) * waves(rng, place, 11), [0.3, 1.0, 0.9]))
    colour *= np.exp(rng.uniform(0.01, 0.05) * waves(rng, place, 2.2)[:, None])
    # Redder cheeks, nose and ears, darker lids, a paler or yellower forehead.
    regions = (
        (marks[[2, 48, 41]].mean(0), 17.0), (marks[[14, 54, 46]].mean(0), 17.0), (marks[30], 11.0), (marks[8], 14.0),
    )  # fmt: skip
    for centre, reach in regions:
        near = np.exp(-((place - centre) ** 2).sum(axis=1) / (2 * reach**2))
        colour *= np.exp(np.outer(near * rng.uniform(0, 0.3), [0.02, -1.0, -0.8]))
    for lid in (marks[36:42], marks[42:48]):
        gap = np.linalg.norm((place - lid.mean(0)) * [0.75, 1.0, 0.6], axis=1)
        colour *= np.exp(-np.outer(ramp(-gap, -19, -8) * rng.uniform(0, 0.3), [0.8, 1.0, 0.9]))
    brow_height = marks[17:27, 1].mean()
    colour *= np.exp(np.outer(ramp(place[:, 1] - brow_height, 5, 25) * rng.normal() * 0.07, [1.0, 1.0, 1.3]))
    # Freckles, moles, pimples.
    face = np.flatnonzero(head.outline)
    spots = head.mean[rng.choice(face, int(rng.choice([6, 15, 60, 300])))]
    spots = spots + rng.normal(size=spots.shape) * 0.8
    gap, which = cKDTree(spots).query(place)
    size, strength = rng.uniform(0.6, 1.3, len(spots)), rng.uniform(0.05, 0.35, len(spots)) / (1 + len(spots) / 200)
    colour *= 1 - (strength[which] * np.exp(-((gap / size[which]) ** 2)))[:, None] * [0.7, 1.0, 1.1]
    mole = head.mean[rng.choice(face, 4)]
    gap, _ = cKDTree(mole).query(place)
    colour *= 1 - np.outer(np.exp(-((gap / 1.2) ** 4)), [0.55, 0.7, 0.75])
    outer, inner = marks[48:60, :2], marks[60:68, :2]
    edge = _from_line(place[:, :2], np.vstack([outer, outer[:1]]))
    signed = np.where(_within(place[:, :2], outer), edge, -edge)
    # Stubble.
    if rng.random() < 0.35:
        beard = ramp(-place[:, 1], 16, 34) * ramp(np.abs(place[:, 0]) + 0.9 * np.abs(place[:, 1] + 60), 8, 30)
        beard = np.maximum(beard, ramp(-place[:, 1], 52, 60)) * ramp(place[:, 2], 25, 45) * ramp(place[:, 1], -120, -95)
        beard *= rng.uniform(0.15, 0.5) * (0.85 + 0.15 * waves(rng, place, 2)) * ramp(-signed, 0, 2)
        colour = colour * (1 - beard[:, None]) + beard[:, None] * (0.6 * hair + 0.25 * tone)
    # Lips.
    lips = ramp(signed, -1.0, 1.2) * (place[:, 2] > 80) * rng.uniform(0.4, 0.95)
    green = rng.uniform(0.45, 0.8)
    red = np.array([rng.uniform(0.85, 1.0), green, green * rng.uniform(0.95, 1.2)])
    colour = colour * (1 - lips[:, None] * (1 - red))
    line = _from_line(place[:, :2], np.vstack([inner, inner[:1]]))
    colour *= 1 - (0.4 * np.exp(-((line / 0.8) ** 2)) * (place[:, 2] > 80))[:, None]
    # Brows, thicker at their inner ends.
    thick, dense = rng.uniform(2.5, 5.0), rng.uniform(0.35, 0.9)
    lift = rng.normal() * 0.7
    for brow in (marks[17:22, :2], marks[22:27, :2]):
        gap = _from_line(place[:, :2], brow + np.array([0.0, lift]))
        taper = 1 - 0.35 * ramp(np.abs(place[:, 0]), 25, 55)
        strokes = np.clip(0.85 + 0.12 * waves(rng, place * [1.5, 0.6, 1.0], 1.2), 0, 1)
        cover = dense * (1 - ramp(gap / taper, 0.4 * thick, thick)) * strokes * (place[:, 2] > 60)
        colour = colour * (1 - cover[:, None]) + cover[:, None] * np.minimum(hair, 0.35 * tone)
    # Lashes.
    depth = rng.uniform(0.3, 0.85)
    for lid in (marks[36:40, :2], marks[42:46, :2]):
        gap = _from_line(place[:, :2], lid)
        colour *= 1 - (depth * np.exp(-((gap / 1.1) ** 2)) * (place[:, 2] > 50))[:, None]
    # Inside of lids and mouth.
    deep = _within(place[:, :2], outer) & (place[:, 2] < 92)
    colour[deep] = np.array([0.16, 0.05, 0.045])
    # Foreheads and noses shine more.
    rough = rng.uniform(0.38, 0.6) * np.exp(0.12 * waves(rng, place, 9))
    oil = np.exp(-((place - marks[29]) ** 2).sum(axis=1) / (2 * 14**2))
    oil = np.maximum(oil, ramp(place[:, 1], 50, 75))
    rough = rough * (1 - rng.uniform(0, 0.25) * oil) - 0.1 * lips
    return Skin(np.clip(colour, 0.004, 0.92), np.clip(rough, 0.25, 0.8))
