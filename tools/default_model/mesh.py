"""The face mesh, cut out of the body."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from sources import MILLIMETRES, macro_offset
from subdivision import catmull_clark, mirror_of_parents, sorted_triangles, split_uv, stream_order

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from sources import Sources

__all__ = ["Mesh", "cut_mesh", "mirror_average"]

BACK_MM: Final = (-34.0, 0.55)
"""The mesh ends behind the depth z = a, just behind the ears, and behind z = a + b (y - 25) above them."""
NECK_MM: Final = -122.0
"""The mesh ends below this height."""
MOUTH_RINGS: Final = 3
"""Rings of vertices kept inside the lips, which close the mouth at rest."""


@dataclass(frozen=True)
class Mesh:
    """The face cut out of the body, coarse and subdivided. Coarse vertices are rows of the sources' arrays."""

    kept: Ints
    """(M,) vertices of the body that the face keeps."""
    mean: Floats
    """(M, 3) mm in model space."""
    coarse_mirror: Ints
    """(M,)"""
    coarse_quads: Ints
    """(Q, 4)"""
    cavity_depth: Ints
    """(N,) twice the rings between a vertex and the outer skin; 0 on the outer skin."""
    subdivision: sparse.csr_array
    """(N, M) one Catmull-Clark step, rows in the order of the full mesh."""
    triangles: Ints
    """(T, 3)"""
    mirror: Ints
    """(N,)"""
    uv: Floats
    """(U, 2)"""
    uv_triangles: Ints
    """(T, 3)"""

    @property
    def surface(self) -> Floats:
        """(N, 3) mm: the subdivided mean."""
        subdivided: Floats = self.subdivision @ self.mean
        return subdivided


def cut_mesh(sources: Sources) -> tuple[Mesh, Floats]:
    """The face mesh and the origin (3,) of model space in mm of the body."""
    neutral = sources.vertices + macro_offset(sources, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.25, 0.5, 0.5)
    neutral = mirror_average(neutral, sources.mirror) * MILLIMETRES
    body = np.unique(sources.quads)
    crown = neutral[body, 1].max()
    skin = np.zeros(len(neutral), dtype=np.bool_)
    skin[body] = True
    skin &= ~sources.cavities
    # The chin: the lowest point of the front of the head's midline above the throat.
    profile = np.flatnonzero(skin & (np.abs(neutral[:, 0]) < 0.1) & (neutral[:, 1] > crown - 260))
    front = neutral[profile][np.argsort(neutral[profile, 1])]
    throat = front[:, 2].max() - 45
    chin = front[front[:, 2] > throat][0, 1]
    head = body[neutral[body, 1] > chin]
    middle = (neutral[head].max(axis=0) + neutral[head].min(axis=0)) / 2
    origin = np.array([0.0, np.round(middle[1]), np.round(middle[2])])
    neutral = neutral - origin

    depth = _cavity_rings(sources.quads, sources.cavities, len(neutral))
    eye_side = neutral[:, 1] > -35
    allowed = np.where(eye_side, 1, MOUTH_RINGS)
    wanted = depth <= allowed
    centre = neutral[sources.quads].mean(axis=1)
    region = wanted[sources.quads].all(axis=1)
    back = BACK_MM[0] + BACK_MM[1] * np.maximum(centre[:, 1] - 25, 0)
    region &= (centre[:, 2] > back) & (centre[:, 1] > NECK_MM)
    region = _largest_part(sources.quads, region)
    quads, uv_quads = sources.quads[region], sources.uv_quads[region]

    kept, compact = np.unique(quads, return_inverse=True)
    compact = compact.reshape(quads.shape)
    where = np.full(len(neutral), -1)
    where[kept] = np.arange(len(kept))
    coarse_mirror = where[sources.mirror[kept]]
    if (coarse_mirror < 0).any() or (coarse_mirror[coarse_mirror] != np.arange(len(kept))).any():
        raise RuntimeError("the cut is not symmetric")

    step, fine_quads, parents = catmull_clark(compact, len(kept))
    mirror = mirror_of_parents(parents, coarse_mirror)
    uv, fine_uv = split_uv(sources.uv, uv_quads)
    cavity_depth = np.array([sum(2 * depth[kept[list(p)]]) // len(p) for p in parents], dtype=np.int64)
    # From a corner's own vertex to the face point: the mirror image of a diagonal is then a diagonal again.
    triangles = np.concatenate([fine_quads[:, [0, 1, 2]], fine_quads[:, [0, 2, 3]]])
    uv_triangles = np.concatenate([fine_uv[:, [0, 1, 2]], fine_uv[:, [0, 2, 3]]])

    order = stream_order(triangles, step.shape[0])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    triangles, uv_triangles = sorted_triangles(rank[triangles], uv_triangles)
    used, uv_inverse = np.unique(uv_triangles, return_inverse=True)
    mesh = Mesh(
        kept=kept,
        mean=neutral[kept],
        coarse_mirror=coarse_mirror,
        coarse_quads=compact,
        cavity_depth=cavity_depth[order],
        subdivision=sparse.csr_array(step[order]),
        triangles=triangles,
        mirror=rank[mirror[order]],
        uv=uv[used],
        uv_triangles=uv_inverse.reshape(uv_triangles.shape),
    )
    return mesh, origin


def mirror_average(values: Floats, mirror: Ints) -> Floats:
    """Vectors (V, 3) made symmetric about x = 0, exactly."""
    average: Floats = (values + values[mirror] * np.array([-1.0, 1.0, 1.0])) / 2
    return average


def _cavity_rings(quads: Ints, cavities: Bools, count: int) -> Ints:
    """(count,) rings of quads between a cavity vertex and the outer skin; 0 outside cavities."""
    depth = np.where(cavities, np.iinfo(np.int64).max, 0)
    depth[np.setdiff1d(np.arange(count), np.unique(quads))] = 0
    ring = 0
    while True:
        at_ring = depth == ring
        # Along edges, not over the corners of quads.
        edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
        edges = np.concatenate([edges, edges[:, ::-1]])
        reached = edges[at_ring[edges[:, 0]], 1]
        reached = np.unique(reached[depth[reached] > ring + 1])
        if not len(reached):
            return depth
        ring += 1
        depth[reached] = ring


def _largest_part(quads: Ints, region: Bools) -> Bools:
    """Of the quads in `region` (Q,), those of the largest part that hangs together."""
    chosen = np.flatnonzero(region)
    corners = quads[chosen]
    count = int(quads.max()) + 1
    graph = sparse.coo_array(
        (np.ones(3 * len(chosen)), (np.repeat(corners[:, 0], 3), corners[:, 1:].ravel())), shape=(count, count)
    )
    _, label = csgraph.connected_components(graph, directed=False)
    part = label[corners[:, 0]]
    kept = np.zeros_like(region)
    kept[chosen[part == np.bincount(part).argmax()]] = True
    return kept
