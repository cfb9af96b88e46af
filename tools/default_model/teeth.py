"""Teeth with their gums: two bands along MakeHuman's dental arches, shaped tooth by tooth."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

import numpy as np
from part import tube

if TYPE_CHECKING:
    from arrays import Floats
    from part import Part
    from sources import Sources

__all__ = ["LOWER", "UPPER", "Jaw", "teeth"]

ACROSS: Final = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95)
"""Where columns of vertices are across a tooth; 0 is the gap to its neighbour."""
ENAMEL: Final = (0.66, 0.60, 0.49)
NECK: Final = (0.55, 0.44, 0.30)
"""A tooth near the gum."""
GAP: Final = (0.16, 0.08, 0.06)
GUM: Final = (0.36, 0.13, 0.12)
GUM_DEEP: Final = (0.20, 0.06, 0.055)


@dataclass(frozen=True)
class Jaw:
    """Sizes of one jaw's teeth, mm."""

    name: str
    helper: str
    widths: tuple[float, ...]
    """From the middle to the back."""
    heights: tuple[float, ...]
    """Of the crowns."""
    thickness: tuple[float, ...]
    """From the cheek's to the tongue's side, at the gum."""
    edge: tuple[float, ...]
    """The same at the biting edge."""
    up: float
    """+1 when the roots point up."""
    set_back: float
    """How far behind MakeHuman's strip the teeth stand."""
    raised: float
    """How far the biting edge is moved along y."""


UPPER: Final = Jaw(
    name="upper_teeth",
    helper="helper-upper-teeth",
    widths=(8.4, 6.6, 7.6, 7.0, 6.8, 10.0, 9.5),
    heights=(10.0, 8.8, 9.6, 8.2, 7.6, 7.0, 6.6),
    thickness=(6.5, 6.0, 7.5, 8.5, 8.8, 10.5, 10.5),
    edge=(1.6, 1.5, 1.8, 5.5, 6.0, 8.0, 8.0),
    up=1.0,
    set_back=0.8,
    raised=-0.4,
)
LOWER: Final = Jaw(
    name="lower_teeth",
    helper="helper-lower-teeth",
    widths=(5.4, 5.9, 6.9, 7.0, 7.2, 11.0, 10.5),
    heights=(8.6, 8.8, 9.6, 8.2, 7.8, 7.2, 6.8),
    thickness=(5.5, 5.8, 7.0, 7.5, 8.2, 10.0, 10.0),
    edge=(1.4, 1.4, 1.7, 5.0, 5.5, 8.0, 8.0),
    up=-1.0,
    set_back=2.6,
    raised=0.2,
)


def teeth(sources: Sources, body: Floats, jaw: Jaw) -> Part:
    """One jaw's teeth and gum on the mean adult, body (V, 3) mm: a closed tube along the arch."""
    arch, edge_height, gum_height = _arch(sources, body, jaw)
    total = sum(jaw.widths)
    length = float(np.linalg.norm(np.diff(arch, axis=0), axis=1).sum())
    scale = min(1.0, 0.97 * length / total)
    # Columns from the middle to the back of the subject's left side, then mirrored.
    borders = np.concatenate([[0.0], np.cumsum(jaw.widths)]) * scale
    columns = [(tooth, share) for tooth in range(len(jaw.widths)) for share in ACROSS] + [(len(jaw.widths) - 1, 1.0)]
    along = np.array([borders[tooth] + share * scale * jaw.widths[tooth] for tooth, share in columns])
    foot, outward = _along(arch, along)

    def per_tooth(values: tuple[float, ...]) -> Floats:
        """A size at each column: the tooth's own, that of both neighbours in a gap."""
        own = np.array([values[tooth] for tooth, _ in columns])
        gap = np.array([share in (0.0, 1.0) for _, share in columns])
        before = np.array([values[max(tooth - (share == 0.0), 0)] for tooth, share in columns])
        return np.where(gap, (own + before) / 2, own)

    offset = np.abs(2 * np.array([share for _, share in columns]) - 1)  # 0 in the middle of a tooth, 1 in the gap
    height, thick, thin = per_tooth(jaw.heights), per_tooth(jaw.thickness), per_tooth(jaw.edge)
    level = np.interp(along, [0.0, length], [edge_height[0], edge_height[1]])
    root = np.interp(along, [0.0, length], [gum_height[0], gum_height[1]])
    # Heights are counted from the biting edge towards the root.
    edge = 0.15 + 0.9 * offset**6 + np.where(offset >= 0.999, 0.8, 0.0)
    scallop = height - 1.9 * offset**2.2
    top = np.maximum(np.abs(root - level), height + 2.5)
    sink = 0.25 * offset**3 + np.where(offset >= 0.999, 0.75, 0.0)

    outside: list[tuple[Floats, Floats, str]] = []  # height above the edge, distance behind the arch, paint
    mid = (scallop + edge) / 2
    outside.append((top, np.full_like(top, 0.6), "deep"))
    outside.append((scallop + 2.2, np.full_like(top, -0.55) + 0.3 * offset, "gum"))
    outside.append((scallop + 0.25, 0.05 + 0.4 * sink, "gum"))
    outside.append((scallop - 0.25, 0.35 + 0.8 * sink, "neck"))
    outside.append((scallop - 0.3 * (scallop - edge), 0.0 + sink, "enamel"))
    outside.append((mid - 0.15 * (scallop - edge), 0.05 + sink, "enamel"))
    outside.append((edge + 0.5, 0.45 + sink, "enamel"))
    outside.append((edge, 0.45 + 0.3 * thin + sink, "enamel"))
    inside = [
        (edge, 0.45 + 0.85 * thin - sink, "enamel"),
        (edge + 0.8, 0.5 + thin - sink, "enamel"),
        (mid, 0.35 * thin + 0.65 * thick - sink, "enamel"),
        (scallop - 0.4, thick - 0.3 - sink, "neck"),
        (scallop + 0.3, thick + 0.1 - sink, "gum"),
        (top, thick + 0.8, "deep"),
    ]
    profile = outside + inside
    rows = []
    for rise, behind, _ in profile:
        point = foot - np.maximum(behind, -0.6)[:, None] * outward
        point = np.stack([point[:, 0], level + jaw.up * rise, point[:, 1]], axis=1)
        point[0, 0] = 0.0
        rows.append(point)
    half = np.stack(rows)  # (P, C, 3)
    whole = np.concatenate([half[:, :0:-1] * [-1.0, 1.0, 1.0], half], axis=1)
    colours = np.stack([_paint(name, offset) for _, _, name in profile])
    colours = np.concatenate([colours[:, :0:-1], colours], axis=1)

    # Points run down in front where the roots are up.
    return tube(jaw.name, whole, colours, np.array(GUM_DEEP), inward=jaw.up > 0)


def _arch(sources: Sources, body: Floats, jaw: Jaw) -> tuple[Floats, tuple[float, float], tuple[float, float]]:
    """The arch's front (n, 2) in x and z from the middle to the back of the left side; the heights of its biting edge
    and of the gum's far border, in front and at the back."""
    points = body[np.unique(sources.helpers[jaw.helper])]
    points = points[points[:, 0] > -0.01]
    middle = points[points[:, 0] < 0.01]
    front = middle[middle[:, 2] > middle[:, 2].max() - 5]
    # The outer wall, as polar samples about a point in the mouth: the farthest strip points at each angle.
    centre = np.array([0.0, points[:, 2].min() - 4])
    polar = np.arctan2(points[:, 0], points[:, 2] - centre[1])
    reach = np.hypot(points[:, 0], points[:, 2] - centre[1])
    bins = np.linspace(0.0, polar.max(), 13)
    angles, radii = [], []
    for low, high in pairwise(bins):
        here = np.flatnonzero((polar >= low - 1e-6) & (polar <= high + 1e-6))
        if len(here):
            best = here[reach[here].argmax()]
            angles.append(polar[best])
            radii.append(reach[best])
    # Even in the angle, so that the arch is smooth across the middle.
    design = np.stack([np.ones(len(angles)), *(np.array(angles) ** (2 * k) for k in range(1, 4))], axis=1)
    fitted = np.linalg.lstsq(design, np.array(radii), rcond=None)[0]
    dense = np.linspace(0.0, max(angles), 400)
    radius = np.stack([dense ** (2 * k) for k in range(4)], axis=1) @ fitted - jaw.set_back
    arch = np.stack([radius * np.sin(dense), centre[1] + radius * np.cos(dense)], axis=1)
    back = points[points[:, 2] < points[:, 2].min() + 3]
    low, high = (np.min, np.max) if jaw.up > 0 else (np.max, np.min)
    edges = (float(low(front[:, 1])) + jaw.raised, float(low(back[:, 1])) + jaw.raised)
    gums = (float(high(front[:, 1])), float(high(back[:, 1])))
    return np.round(arch, 3), edges, gums


def _along(arch: Floats, distances: Floats) -> tuple[Floats, Floats]:
    """Points (C, 2) at distances along a curve (n, 2), and unit normals away from the mouth."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(arch, axis=0), axis=1))])
    points = np.stack([np.interp(distances, length, arch[:, k]) for k in range(2)], axis=1)
    tangent = np.stack([np.interp(distances, length, np.gradient(arch[:, k], length)) for k in range(2)], axis=1)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    outward = np.stack([-tangent[:, 1], tangent[:, 0]], axis=1)
    outward[0] = 0.0, 1.0
    return points, outward


def _paint(name: str, offset: Floats) -> Floats:
    """(C, 3) colours of a row: what it is, and dark in the gaps."""
    base = {"deep": GUM_DEEP, "gum": GUM, "neck": NECK, "enamel": ENAMEL}[name]
    colour = np.tile(np.array(base), (len(offset), 1))
    if name in ("neck", "enamel"):
        gap = np.where(offset >= 0.999, 1.0, 0.35 * offset**8)[:, None]
        colour = colour + (np.array(GAP) - colour) * gap
    return colour
