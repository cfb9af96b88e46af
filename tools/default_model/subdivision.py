"""One Catmull-Clark step as a sparse matrix, and orders of its vertices and triangles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrays import Floats, Ints

__all__ = ["catmull_clark", "mirror_of_parents", "sorted_triangles", "split_uv", "stream_order"]


def catmull_clark(quads: Ints, count: int) -> tuple[sparse.csr_array, Ints, list[tuple[int, ...]]]:
    """One Catmull-Clark step.

    Returns:
        The matrix (N, count); quads (4 Q, 4) that start at the corner's own vertex and have the face point third; and,
        for every new vertex, the sorted coarse vertices it stems from (1, 2 or 4).
    """
    sides = np.concatenate([np.stack([quads[:, k], quads[:, (k + 1) % 4]], axis=1) for k in range(4)])
    edges, inverse, uses = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    edge_of = inverse.reshape(4, len(quads)).T
    n_edges, n_quads = len(edges), len(quads)
    faces_of_edge: list[list[int]] = [[] for _ in range(n_edges)]
    faces_of_vertex: list[list[int]] = [[] for _ in range(count)]
    edges_of_vertex: list[list[int]] = [[] for _ in range(count)]
    for face, (corners, its_edges) in enumerate(zip(quads, edge_of, strict=True)):
        for vertex in corners:
            faces_of_vertex[vertex].append(face)
        for edge in its_edges:
            faces_of_edge[edge].append(face)
    for edge, (a, b) in enumerate(edges):
        edges_of_vertex[a].append(edge)
        edges_of_vertex[b].append(edge)

    rows: list[dict[int, float]] = []

    def add(row: dict[int, float], vertices: Sequence[int] | Ints, weight: float) -> None:
        for vertex in vertices:
            row[int(vertex)] = row.get(int(vertex), 0.0) + weight

    for vertex in range(count):
        row: dict[int, float] = {}
        rim = [edge for edge in edges_of_vertex[vertex] if uses[edge] == 1]
        if rim:
            row[vertex] = 0.75
            for edge in rim:
                other = int(edges[edge].sum()) - vertex
                row[other] = row.get(other, 0.0) + 0.25 / len(rim)
        else:
            valence = len(edges_of_vertex[vertex])
            add(row, [vertex], (valence - 3) / valence)
            for face in faces_of_vertex[vertex]:
                add(row, quads[face], 0.25 / valence**2)
            for edge in edges_of_vertex[vertex]:
                add(row, edges[edge], 1.0 / valence**2)
        rows.append(row)
    for edge in range(n_edges):
        row = {}
        if uses[edge] == 1:
            add(row, edges[edge], 0.5)
        else:
            add(row, edges[edge], 0.25)
            for face in faces_of_edge[edge]:
                add(row, quads[face], 0.0625)
        rows.append(row)
    for face in range(n_quads):
        row = {}
        add(row, quads[face], 0.25)
        rows.append(row)

    lengths = [len(row) for row in rows]
    matrix = sparse.csr_array(
        (
            np.array([row[k] for row in rows for k in sorted(row)]),
            np.array([k for row in rows for k in sorted(row)], dtype=np.int32),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        ),
        shape=(count + n_edges + n_quads, count),
    )
    fine = np.concatenate(
        [
            np.stack(
                [
                    quads[:, k],
                    count + edge_of[:, k],
                    count + n_edges + np.arange(n_quads),
                    count + edge_of[:, (k - 1) % 4],
                ],
                axis=1,
            )
            for k in range(4)
        ]
    )
    parents: list[tuple[int, ...]] = [(vertex,) for vertex in range(count)]
    parents += [tuple(int(v) for v in edge) for edge in edges]
    parents += [tuple(sorted(int(v) for v in quad)) for quad in quads]
    return matrix, fine, parents


def mirror_of_parents(parents: list[tuple[int, ...]], mirror: Ints) -> Ints:
    """(N,) the mirror pair of every subdivided vertex, by the coarse vertices it stems from."""
    index = {key: number for number, key in enumerate(parents)}
    return np.array([index[tuple(sorted(int(mirror[v]) for v in key))] for key in parents])


def split_uv(uv: Floats, uv_quads: Ints) -> tuple[Floats, Ints]:
    """Texture coordinates of the subdivided quads, seams kept: (U, 2) and (4 Q, 4)."""
    corner = uv[uv_quads]
    middle = corner.mean(axis=1)
    fine = np.concatenate(
        [
            np.stack(
                [
                    corner[:, k],
                    (corner[:, k] + corner[:, (k + 1) % 4]) / 2,
                    middle,
                    (corner[:, k] + corner[:, (k - 1) % 4]) / 2,
                ],
                axis=1,
            )
            for k in range(4)
        ]
    )
    unique, inverse = np.unique(np.round(fine.reshape(-1, 2), 7), axis=0, return_inverse=True)
    return unique, inverse.reshape(fine.shape[:2])


def stream_order(triangles: Ints, count: int) -> Ints:
    """(count,) vertices so that neighbours on the surface are neighbours in memory."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    graph = sparse.coo_array((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(count, count)).tocsr()
    return np.asarray(csgraph.reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True), dtype=np.int64)


def sorted_triangles(triangles: Ints, uv_triangles: Ints) -> tuple[Ints, Ints]:
    """Each triangle turned to start at its lowest vertex, winding kept, and all sorted by their vertices."""
    turn = (triangles.argmin(axis=1)[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(triangles, turn, axis=1)
    uv_triangles = np.take_along_axis(uv_triangles, turn, axis=1)
    order = np.lexsort(triangles.T[::-1])
    return triangles[order], uv_triangles[order]
