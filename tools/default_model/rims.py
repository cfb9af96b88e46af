"""Modes that keep lids on eyeballs and lips together: what statistics leave uncertain about the rims, settled.

Registration sees little of the edges of lids and lips: their vertices wander by a millimetre from one to the next, in
statistics as in single faces. Here a displacement of the face is changed, linearly, at these edges alone: along the
lids it is made smooth and goes along with the eyeball in the direction away from it; and both lips are moved together
by the gap between them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from lips import CORNER_MM, lip_share, lower_lip
from scipy import sparse

if TYPE_CHECKING:
    from arrays import Floats, Ints
    from follow import Frame
    from shell import Skin

__all__ = ["settled"]

LID_REACH: Final = 3
"""Edges between the lids' border and the skin that is left as it is."""
DATA: Final = 0.12
"""Of the given displacement, against bending: waves of ten vertices stay, those of three vanish."""
RADIAL: Final = 1.0
"""Of going along with the eyeball, for the border; a third of it one edge away."""


def settled(
    skin: Skin, displacement: Floats, sockets: tuple[Frame, Frame], centres: tuple[Floats, Floats], jaw_open: Floats
) -> Floats:
    """A displacement of the face (M, 3, K) whose lids and lips stay where they belong.

    Args:
        skin: the skin.
        displacement: (M, 3, K) mm.
        sockets: what carries the right and the left eyeball.
        centres: (3,) mm of each.
        jaw_open: (M + H, 3) mm: the full offset of `jawOpen`.
    """
    moved = displacement.copy()
    for frame, centre, side in zip(sockets, centres, (-1, 1), strict=True):
        _settle_lids(skin, moved, frame, centre, side)
    _settle_lips(skin, moved, jaw_open)
    return np.round(moved, 4)


def _graph(skin: Skin) -> sparse.csr_array:
    """(M, M) 1 where an edge of the face joins two vertices."""
    sides = np.concatenate([skin.quads[:, [k, (k + 1) % 4]] for k in range(4)])
    sides = sides[(sides < skin.face_count).all(axis=1)]
    count = skin.face_count
    graph = sparse.coo_array((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(count, count)).tocsr()
    return sparse.csr_array(((graph + graph.T) > 0).astype(float))


def _settle_lids(skin: Skin, moved: Floats, frame: Frame, centre: Floats, side: int) -> None:
    count, graph = skin.face_count, _graph(skin)
    points = skin.mean[:count]
    distance = np.full(count, LID_REACH + 1)
    distance[(skin.lid_ring[:count] == 1) & (side * points[:, 0] > 0)] = 0
    for step in range(1, LID_REACH + 1):
        reached = (graph @ (distance == step - 1).astype(float) > 0) & (distance > step)
        distance[reached] = step
    free = np.flatnonzero(distance < LID_REACH)
    near = np.flatnonzero(distance <= LID_REACH)
    bend = sparse.csr_array(
        sparse.diags_array(1 / np.asarray(graph.sum(axis=1)).ravel()) @ graph - sparse.eye_array(count)
    )
    rows = bend[free][:, near].toarray()
    inner = np.isin(near, free)
    given = moved[near]
    flexible, fixed = rows[:, inner], rows[:, ~inner]
    away = points[free] - centre
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    radial = RADIAL * np.where(distance[free] == 0, 1.0, np.where(distance[free] == 1, 1 / 3, 0.0))
    # Unknowns vertex after vertex, x, y and z each.
    system = np.kron(flexible.T @ flexible + DATA * np.eye(len(free)), np.eye(3))
    outer = radial[:, None, None] * away[:, :, None] * away[:, None, :]
    for k in range(len(free)):
        system[3 * k : 3 * k + 3, 3 * k : 3 * k + 3] += outer[k]
    eyeball = frame.moves(moved, points[free])
    right = DATA * given[inner] + np.einsum("nij,njk->nik", outer, eyeball)
    right -= np.einsum("nm,mik->nik", flexible.T @ fixed, given[~inner])
    moved[free] = np.linalg.solve(system, right.reshape(3 * len(free), -1)).reshape(right.shape)


def _settle_lips(skin: Skin, moved: Floats, jaw_open: Floats) -> None:
    count = skin.face_count
    low = lower_lip(skin, jaw_open)[:count]
    share = lip_share(skin, skin.mean)[:count]
    edge = (skin.mouth_ring[:count] == 1) | (skin.mouth_ring[:count] == 2)
    x = skin.mean[:count, 0]
    upper, lower = (_by_width(np.flatnonzero(edge & part), x) for part in (~low, low))
    here = np.flatnonzero(share > 0)
    difference = _at_widths(moved[upper, 1], x[upper], x[here]) - _at_widths(moved[lower, 1], x[lower], x[here])
    taper = np.interp(np.abs(x[here]), CORNER_MM, (1.0, 0.0)) * share[here]
    moved[here, 1] += np.where(low[here], 0.5, -0.5)[:, None] * taper[:, None] * difference


def _by_width(vertices: Ints, x: Floats) -> Ints:
    return vertices[np.argsort(x[vertices], kind="stable")]


def _at_widths(values: Floats, x: Floats, at: Floats) -> Floats:
    """(n, K) means of values (m, K) at widths x (m,) about widths `at` (n,), weighted by a bell 1.5 mm wide."""
    weights = np.exp(-0.5 * ((at[:, None] - x) / 1.5) ** 2)
    smooth: Floats = (weights / weights.sum(axis=1, keepdims=True)) @ values
    return smooth
