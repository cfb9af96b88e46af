"""How shell and parts follow the face: a linear map from any displacement of the face to theirs.

Statistics of identity exist for the face's vertices alone. Everything else follows by rules that are linear in the
displacement, so they hold for a mean, for a mode and for a whole face alike:

- an eyeball moves and grows with the lids and the skin around its socket, but does not turn: people look ahead;
- teeth, tongue and the depth of the mouth move and grow with the lower half of the face, as one, so that bites stay
  bites;
- cranium, neck and the mouth's walls continue the displacement at their border as a plate under tension does: without a
  fold where it begins, and ever more evenly away from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import SuperLU, splu

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from shell import Skin

__all__ = ["Frame", "ShellMap", "mouth_frame", "socket_frame"]

SOCKET_MM: Final = 10.0
"""Skin within this distance of an eyeball carries it."""
TENSION: Final = 0.03
"""Of the shell, against its stiffness."""
DEEP_RING: Final = 9
"""From this ring inwards the mouth's bag moves as the teeth do."""


@dataclass(frozen=True)
class Frame:
    """A translation and growth, fitted by least squares to the displacement of some vertices of the face."""

    anchors: Ints
    """(A,) coarse vertices of the face."""
    points: Floats
    """(A, 3) mm: where they are on the mean face."""

    def moves(self, displacement: Floats, places: Floats) -> Floats:
        """(P, 3, K) how places (P, 3) move where the face moves by (M, 3, K)."""
        centre = self.points.mean(axis=0)
        arms = self.points - centre
        own = displacement[self.anchors]
        shift = own.mean(axis=0)
        growth = np.einsum("ad,adk->k", arms, own) / (arms**2).sum()
        moved: Floats = shift + (places - centre)[:, :, None] * growth
        return moved


def socket_frame(skin: Skin, centre: Floats, radius: float) -> Frame:
    """What carries an eyeball."""
    points = skin.mean[: skin.face_count]
    near = np.linalg.norm(points - centre, axis=1) < radius + SOCKET_MM
    anchors = np.flatnonzero(near & (points[:, 2] > centre[2]))
    return Frame(anchors, points[anchors])


def mouth_frame(skin: Skin) -> Frame:
    """What carries teeth and tongue: the skin over both jaws."""
    points = skin.mean[: skin.face_count]
    x, y, z = points.T
    anchors = np.flatnonzero((np.abs(x) < 42) & (y > -100) & (y < -38) & (z > 45) & (skin.mouth_ring[: len(x)] == 0))
    return Frame(anchors, points[anchors])


@dataclass(frozen=True)
class ShellMap:
    """How the shell's coarse vertices follow the face's."""

    skin: Skin
    sockets: tuple[Frame, Frame]
    """Of the subject's right and left eye."""
    mouth: Frame

    @cached_property
    def _bound(self) -> Bools:
        """(M + H,) vertices whose displacement is known before the plate's."""
        skin = self.skin
        bound = (skin.lid_ring > 0) | (skin.mouth_ring >= DEEP_RING)
        bound[: skin.face_count] = True
        return bound

    def moves(self, displacement: Floats) -> Floats:
        """(H, 3, K) for a displacement of the face (M, 3, K)."""
        skin, face = self.skin, self.skin.face_count
        whole = np.zeros((len(skin.kept), *displacement.shape[1:]))
        whole[:face] = displacement
        deep = np.flatnonzero(skin.mouth_ring >= DEEP_RING)
        whole[deep] = self.mouth.moves(displacement, skin.mean[deep])
        for frame, side in zip(self.sockets, (-1, 1), strict=True):
            on_side = side * skin.mean[:, 0] > 0
            innermost = np.flatnonzero((skin.lid_ring == skin.lid_ring.max()) & on_side)
            whole[innermost] = frame.moves(displacement, skin.mean[innermost])
            for ring in range(skin.lid_ring.max() - 1, 1, -1):
                self._between(whole, np.flatnonzero((skin.lid_ring == ring) & on_side))
        free = np.flatnonzero(~self._bound)
        solver, coupling = self._plate
        right = -(coupling @ whole[self._bound].reshape(int(self._bound.sum()), -1))
        whole[free] = solver.solve(np.asarray(right)).reshape(len(free), *displacement.shape[1:])
        return np.asarray(np.round(whole[face:], 4), np.float64)

    def _between(self, whole: Floats, vertices: Ints) -> None:
        """A ring's displacement, half-way between the rings on its two sides."""
        ring = self.skin.lid_ring
        for vertex in vertices:
            quads = self.skin.quads[(self.skin.quads == vertex).any(axis=1)]
            beside = set()
            for quad in quads:
                k = int(np.flatnonzero(quad == vertex)[0])
                beside |= {int(quad[(k + 1) % 4]), int(quad[k - 1])}
            two = [v for v in beside if ring[v] != ring[vertex]]
            whole[vertex] = whole[two].mean(axis=0)

    @cached_property
    def _plate(self) -> tuple[SuperLU, sparse.csr_array]:
        skin, count = self.skin, len(self.skin.kept)
        sides = np.concatenate([skin.quads[:, [k, (k + 1) % 4]] for k in range(4)])
        edges = np.unique(np.sort(sides, axis=1), axis=0)
        length = np.linalg.norm(skin.mean[edges[:, 0]] - skin.mean[edges[:, 1]], axis=1)
        weight = np.round(1 / np.maximum(length, 0.5), 6)
        graph = sparse.coo_array((weight, (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
        graph = sparse.csr_array(graph + graph.T)
        degree = np.asarray(graph.sum(axis=1)).ravel()
        bend = sparse.diags_array(1 / degree) @ graph - sparse.eye_array(count)
        free = ~self._bound
        # Bending at free vertices, and at those beside them so that no fold begins at the border.
        active = free | ((graph @ free.astype(float)) > 0)
        bend = sparse.csr_array(bend)[np.flatnonzero(active)]
        stretch = sparse.diags_array(degree) - graph
        energy = sparse.csr_array(bend.T @ bend + TENSION * stretch / degree.mean())
        solver = splu(sparse.csc_array(energy[free][:, free]))
        return solver, sparse.csr_array(energy[free][:, ~free])
