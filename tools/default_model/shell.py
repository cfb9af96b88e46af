"""What the skin needs to become a closed head: cranium, neck, lid margins and the inside of the mouth.

The face mesh (`mesh.py`) ends before the back of the head, at the lids and behind the lips. The shell is what
MakeHuman's body adds there: the cranium and the neck down to one loop of edges, which is laid into a plane; rings
inside the lids; and the whole bag of the mouth. Vertices of the face keep their numbers; those of the shell follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from mesh import mirror_average
from scipy import sparse
from scipy.sparse import csgraph
from sources import MILLIMETRES, macro_offset
from subdivision import catmull_clark, mirror_of_parents, split_uv, stream_order

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from mesh import Mesh
    from sources import Sources

__all__ = ["Skin", "in_a_plane", "neutral_body", "whole_skin"]

NECK_VERTEX: Final = 858
"""A vertex of MakeHuman's body at the back of the neck; the loop of edges around the neck through it ends the mesh."""
LID_RINGS: Final = 3
"""Rings of vertices inside the lids: the margin, from its front edge to the eyeball."""


@dataclass(frozen=True)
class Skin:
    """Face and shell as one surface. Coarse vertices are the face's M, then the shell's H."""

    kept: Ints
    """(M + H,) vertices of the body."""
    face_count: int
    """M."""
    mean: Floats
    """(M + H, 3) mm."""
    coarse_mirror: Ints
    """(M + H,)"""
    quads: Ints
    """(Q, 4)"""
    lid_ring: Ints
    """(M + H,) 1 to `LID_RINGS` on the rings inside the lids, from the edge inwards; 0 elsewhere."""
    mouth_ring: Ints
    """(M + H,) rings between a vertex and the lips' outer skin; 0 outside the mouth."""
    neck: Ints
    """The coarse vertices of the loop that ends the neck."""
    subdivision: sparse.csr_array
    """(N, M + H) one Catmull-Clark step: the face's vertices in the face's own order, then the shell's."""
    parents: list[tuple[int, ...]]
    """N sorted tuples of coarse vertices."""
    mirror: Ints
    """(N,)"""
    triangles: Ints
    """(T, 3), the face's first."""
    uv: Floats
    """(U, 2), the face's first."""
    uv_triangles: Ints
    """(T, 3)"""


def neutral_body(sources: Sources, origin: Floats) -> Floats:
    """(V, 3) mm in model space: the mean adult, symmetric."""
    body = sources.vertices + macro_offset(sources, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.25, 0.5, 0.5)
    return mirror_average(body, sources.mirror) * MILLIMETRES - origin


def whole_skin(sources: Sources, mesh: Mesh, body: Floats) -> Skin:
    """The face with its shell.

    Args:
        sources: the packages.
        mesh: the face.
        body: (V, 3) mm in model space: the mean adult.
    """
    quads, uv_quads = sources.quads, sources.uv_quads
    ring, in_mouth = _cavity_rings(quads, sources.cavities, len(body))
    loop = _edge_loop(quads, body, NECK_VERTEX)
    of_face = _rows_of(np.sort(mesh.kept[mesh.coarse_quads], axis=1), np.sort(quads, axis=1))
    wanted = np.asarray((in_mouth | (ring <= LID_RINGS))[quads].all(axis=1))
    above = _flood(quads, of_face, wanted, loop)
    added = np.setdiff1d(np.flatnonzero(above), of_face)

    extra = np.setdiff1d(np.unique(quads[added]), mesh.kept)
    kept = np.concatenate([mesh.kept, extra])
    where = np.full(len(body), -1)
    where[kept] = np.arange(len(kept))
    mirror = where[sources.mirror[kept]]
    if (mirror < 0).any() or (mirror[mirror] != np.arange(len(kept))).any():
        raise RuntimeError("the shell is not symmetric")
    face_quads, shell_quads = mesh.coarse_quads, where[quads[added]]
    both = np.concatenate([face_quads, shell_quads])
    step, fine_quads, parents = catmull_clark(both, len(kept))
    # Quads come corner by corner, each time those of the face before those of the shell.
    fine_quads = fine_quads.reshape(4, len(both), 4)[:, len(face_quads) :].reshape(-1, 4)

    index = {key: number for number, key in enumerate(parents)}
    face_rows = np.array([index[key] for key in mesh.parents])
    shell_triangles = np.concatenate([fine_quads[:, [0, 1, 2]], fine_quads[:, [0, 2, 3]]])
    order = stream_order(shell_triangles, step.shape[0])
    is_face = np.zeros(step.shape[0], dtype=np.bool_)
    is_face[face_rows] = True
    order = np.concatenate([face_rows, order[~is_face[order]]])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    rows = sparse.csr_array(step[order])
    # The edges of lids and lips stay as sharp as they are where the face's mesh ends.
    rim = _rim_rows(mesh, (ring > 0)[mesh.kept])
    beyond = len(order) - len(rim)
    own = mesh.subdivision
    wider = sparse.csr_array((own.data, own.indices, own.indptr), shape=(len(rim), len(kept)))
    sharp = sparse.vstack([sparse.diags_array(rim.astype(float)) @ wider, sparse.csr_array((beyond, len(kept)))])
    smooth = sparse.diags_array(np.concatenate([~rim, np.ones(beyond, dtype=np.bool_)]).astype(float))
    rows = sparse.csr_array(smooth @ rows + sharp)
    rows.eliminate_zeros()
    rows.sort_indices()

    parents = [parents[vertex] for vertex in order]
    uv, fine_uv = split_uv(sources.uv, uv_quads[added])
    shell_uv = np.concatenate([fine_uv[:, [0, 1, 2]], fine_uv[:, [0, 2, 3]]])
    triangles = rank[shell_triangles]
    uv, uv_triangles = _joined_uv(mesh, triangles, uv, shell_uv)
    coarse_ring, coarse_mouth = ring[kept], in_mouth[kept]
    mean = body[kept]
    neck = where[loop]
    mean[neck] = in_a_plane(mean[neck])
    return Skin(
        kept=kept,
        face_count=len(mesh.kept),
        mean=mean,
        coarse_mirror=mirror,
        quads=both,
        lid_ring=np.where(coarse_mouth, 0, coarse_ring),
        mouth_ring=np.where(coarse_mouth, coarse_ring, 0),
        neck=neck,
        subdivision=rows,
        parents=parents,
        mirror=mirror_of_parents(parents, mirror),
        triangles=np.concatenate([mesh.triangles, triangles]),
        uv=uv,
        uv_triangles=uv_triangles,
    )


def _cavity_rings(quads: Ints, cavities: Bools, count: int) -> tuple[Ints, Bools]:
    """(count,) rings of edges between a cavity's vertex and the outer skin, 0 outside; and whether it is the
    mouth's."""
    edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    graph = sparse.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(count, count)).tocsr()
    inner = np.flatnonzero(cavities)
    part = csgraph.connected_components(graph[inner][:, inner], directed=False)[1]
    sizes = np.bincount(part)
    if len(sizes) != 3:
        raise RuntimeError(f"{len(sizes)} cavities found, expected a mouth and two eye sockets")
    # The sockets are twins; the mouth is the third.
    mouth = next(k for k in range(3) if (sizes == sizes[k]).sum() == 1)
    in_mouth = np.zeros(count, dtype=np.bool_)
    in_mouth[inner[part == mouth]] = True
    outer = np.flatnonzero(~cavities & np.isin(np.arange(count), quads))
    steps = csgraph.dijkstra(graph, directed=False, indices=outer, unweighted=True, min_only=True)
    return np.where(cavities, steps, 0).astype(np.int64), in_mouth


def _edge_loop(quads: Ints, body: Floats, start: int) -> Ints:
    """The loop of edges around the body through `start` that goes straight on at every vertex of four edges."""
    around: dict[int, list[Ints]] = {}
    for quad in quads:
        for vertex in quad:
            around.setdefault(int(vertex), []).append(quad)

    def neighbours(vertex: int) -> set[int]:
        found = set()
        for quad in around[vertex]:
            k = int(np.flatnonzero(quad == vertex)[0])
            found |= {int(quad[(k + 1) % 4]), int(quad[k - 1])}
        return found

    sideways = max(neighbours(start), key=lambda vertex: body[vertex, 0])
    loop = [start, sideways]
    while loop[-1] != start:
        before, vertex = loop[-2:]
        beside = {int(v) for quad in around[vertex] if before in quad for v in quad}
        ahead = neighbours(vertex) - beside
        if len(ahead) != 1 or len(loop) > 200:
            raise RuntimeError("the loop around the neck is not closed")
        loop.append(ahead.pop())
    return np.array(loop[:-1])


def _rows_of(some: Ints, rows: Ints) -> Ints:
    """Which of `rows` (n, k) those of `some` (m, k) are."""
    index = {tuple(row): number for number, row in enumerate(rows.tolist())}
    return np.array([index[tuple(row)] for row in some.tolist()])


def _flood(quads: Ints, start: Ints, wanted: Bools, loop: Ints) -> Bools:
    """(Q,) the wanted quads that hang together with those of `start` by edges that are not of `loop`."""
    sides = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
    face = np.tile(np.arange(len(quads)), 4)
    barrier = {frozenset(pair) for pair in zip(loop.tolist(), np.roll(loop, -1).tolist(), strict=True)}
    keys, inverse = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True)
    open_edge = np.array([frozenset(key) not in barrier for key in keys.tolist()])[inverse.ravel()]
    use = open_edge & wanted[face]
    order = np.argsort(inverse.ravel()[use], kind="stable")
    edge, owner = inverse.ravel()[use][order], face[use][order]
    same = edge[1:] == edge[:-1]
    graph = sparse.coo_array((np.ones(same.sum()), (owner[1:][same], owner[:-1][same])), shape=(len(quads),) * 2)
    label = csgraph.connected_components(graph, directed=False)[1]
    flooded: Bools = wanted & (label == label[start[0]])
    return flooded


def _rim_rows(mesh: Mesh, in_cavity: Bools) -> Bools:
    """(N,) vertices of the face's mesh that lie on its border inside a cavity."""
    quads = mesh.coarse_quads
    sides = np.sort(np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)]), axis=1)
    edges, uses = np.unique(sides, axis=0, return_counts=True)
    border = {tuple(edge) for edge in edges[uses == 1].tolist()}
    vertices = {vertex for edge in border for vertex in edge}
    return np.array(
        [
            in_cavity[list(key)].all() and (key in border if len(key) == 2 else len(key) == 1 and key[0] in vertices)
            for key in mesh.parents
        ]
    )


def _joined_uv(mesh: Mesh, triangles: Ints, uv: Floats, uv_triangles: Ints) -> tuple[Floats, Ints]:
    """Texture coordinates of the face and the shell; where they meet without a seam they share their corners."""
    known = {}
    for vertex, corner in zip(mesh.triangles.ravel().tolist(), mesh.uv_triangles.ravel().tolist(), strict=True):
        known[vertex, *np.round(mesh.uv[corner], 6).tolist()] = corner
    coordinates = list(mesh.uv)
    joined = np.empty(triangles.size, dtype=np.int64)
    for place, (vertex, corner) in enumerate(
        zip(triangles.ravel().tolist(), uv_triangles.ravel().tolist(), strict=True)
    ):
        key = (vertex, *np.round(uv[corner], 6).tolist())
        if key not in known:
            known[key] = len(coordinates)
            coordinates.append(uv[corner])
        joined[place] = known[key]
    return np.array(coordinates), np.concatenate([mesh.uv_triangles, joined.reshape(-1, 3)])


def in_a_plane(points: Floats) -> Floats:
    """A symmetric loop (n, 3) moved along y into the plane that fits it best."""
    design = np.stack([np.ones(len(points)), points[:, 2]], axis=1)
    level, slope = np.linalg.lstsq(design, points[:, 1], rcond=None)[0].round(4)
    flat = points.copy()
    flat[:, 1] = level + slope * points[:, 2]
    return flat
