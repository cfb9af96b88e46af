"""Lashes: a dark fringe along the edge of each lid, a flat tube whose outer border runs in points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from part import Part, mirrored, tube
from scipy import sparse

if TYPE_CHECKING:
    from arrays import Floats, Ints
    from eyes import Eyeball
    from shell import Skin

__all__ = ["Fringe", "lashes", "mirrored_fringe"]

COLOUR: Final = (0.022, 0.016, 0.013)
TILT: Final = {"upper": 0.55, "lower": -0.75}
"""How far lashes rise, over how far they stand out from the eye."""
LENGTH_MM: Final = {"upper": 4.2, "lower": 1.5}
POINTS: Final = {"upper": 38, "lower": 26}
STEM: Final = 0.22
"""How far the fringe is whole, over the length of a lash."""
THICK_MM: Final = 0.14
CLOSED_TILT: Final = -0.55
"""The same as `TILT` for upper lashes when the eye is shut."""


@dataclass(frozen=True)
class Fringe:
    """The lashes of one lid. A vertex is `roots @ skin + offset`."""

    part: Part
    roots: sparse.csr_array
    """(P, M + H) over the skin's coarse vertices."""
    offset: Floats
    """(P, 3) mm, at rest."""
    blink: Floats
    """(P, 3) mm: what a full blink adds to the offset."""


def lashes(skin: Skin, mean: Floats, eye: Eyeball, lid: str) -> Fringe:
    """The lashes of the `upper` or `lower` lid of the subject's left eye on a mean (M + H, 3)."""
    surface = skin.subdivision @ mean
    edge = _edge(skin, surface, lid)
    count = 2 * POINTS[lid] + 1
    # Even along the edge, without the corners of the eye.
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(surface[edge], axis=0), axis=1))])
    along = np.linspace(0.10, 0.97, count) * length[-1]
    cell = np.clip(np.searchsorted(length, along, side="right") - 1, 0, len(edge) - 2)
    share = (along - length[cell]) / (length[cell + 1] - length[cell])
    pick = sparse.csr_array(
        (
            np.concatenate([1 - share, share]),
            (np.tile(np.arange(count), 2), np.concatenate([edge[cell], edge[cell + 1]])),
        ),
        shape=(count, len(surface)),
    )
    rows = sparse.csr_array(pick @ skin.subdivision)
    roots = rows @ mean
    out = roots - eye.centre
    out[:, 1] *= 0.3
    out /= np.linalg.norm(out, axis=1, keepdims=True)

    where = np.linspace(0.0, 1.0, count)
    # Longest beyond the middle, towards the temple.
    longest = LENGTH_MM[lid] * (0.35 + 0.65 * np.sin(np.pi * np.clip(where, 0, 1) ** 1.25 * 0.93 + 0.07) ** 0.8)
    reach = np.where(np.arange(count) % 2 == 1, longest, STEM * longest)

    def fringe(tilt: float) -> Floats:
        """(4, C, 3) from the root around the tip and back."""
        ahead = out + np.array([0.0, tilt, 0.0])
        ahead /= np.linalg.norm(ahead, axis=1, keepdims=True)
        curl = np.array([0.0, np.sign(TILT[lid]) * 0.18, 0.0])
        across = np.cross(np.gradient(roots, axis=0), ahead)
        across /= np.linalg.norm(across, axis=1, keepdims=True)
        middle = 0.5 * STEM * longest[:, None] * ahead
        tip = reach[:, None] * ahead + (reach**2 / LENGTH_MM[lid])[:, None] * curl
        half = 0.5 * THICK_MM * across
        return np.stack([0.02 * out, middle + half, tip, middle - half])

    rest = fringe(TILT[lid])
    shut = fringe(CLOSED_TILT) if lid == "upper" else rest
    rings = roots[None] + rest
    part = tube(
        f"left_{lid}_lashes",
        rings,
        np.broadcast_to(np.array(COLOUR), rings.shape),
        np.array(COLOUR),
        inward=_clockwise(rings),
    )
    spread = sparse.vstack([rows] * 4 + [rows[[0]], rows[[-1]]])

    def flat(values: Floats) -> Floats:
        return np.concatenate(
            [values.reshape(-1, 3), values[:, 0].mean(axis=0)[None], values[:, -1].mean(axis=0)[None]]
        )

    offset = np.round(flat(rest), 4)
    return Fringe(part, sparse.csr_array(spread), offset, np.round(flat(shut), 4) - offset)


def mirrored_fringe(fringe: Fringe, coarse_mirror: Ints) -> Fringe:
    """The same lashes on the subject's right eye; mirror pairs (M + H,) of the skin's coarse vertices."""
    flip = np.array([-1.0, 1.0, 1.0])
    return Fringe(
        part=mirrored(fringe.part, fringe.part.name.replace("left", "right")),
        roots=sparse.csr_array(fringe.roots[:, coarse_mirror]),
        offset=fringe.offset * flip,
        blink=fringe.blink * flip,
    )


def _clockwise(rings: Floats) -> bool:
    """Whether the points of the tube's rings run clockwise, seen from its last column."""
    along = rings[:, -1].mean(axis=0) - rings[:, 0].mean(axis=0)
    centre = rings[:, rings.shape[1] // 2] - rings[:, rings.shape[1] // 2].mean(axis=0)
    turn = np.cross(centre, np.roll(centre, -1, axis=0)).sum(axis=0)
    return bool(turn @ along < 0)


def _edge(skin: Skin, surface: Floats, lid: str) -> Ints:
    """Fine vertices along the front edge of a lid's margin, by x, from corner to corner of the eye."""
    ring = skin.lid_ring
    on_edge = np.array([len(key) <= 2 and all(ring[v] == 1 for v in key) for key in skin.parents])
    vertices = np.flatnonzero(on_edge & (surface[:, 0] > 0))
    # Only edges that run along the ring: their fine vertices lie next to the whole ones of the ring.
    inner, outer = (vertices[getattr(np, pick)(surface[vertices, 0])] for pick in ("argmin", "argmax"))
    line = surface[[inner, outer]]
    height = np.interp(surface[vertices, 0], np.abs(line[:, 0]), line[:, 1])
    above = surface[vertices, 1] > height
    chosen = vertices[(above if lid == "upper" else ~above) | (vertices == inner) | (vertices == outer)]
    ordered: Ints = chosen[np.argsort(surface[chosen, 0])]
    return ordered
