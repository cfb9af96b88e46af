"""Triangle meshes to be traced: normals, areas, finer meshes, ellipsoids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["edges_of", "ellipsoid", "refined", "vertex_areas", "vertex_normals"]


def edges_of(triangles: Indices) -> tuple[Indices, Indices]:
    """(E, 2) undirected edges, and in how many triangles each is."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return unique, counts


def vertex_normals(vertices: Array, triangles: Indices) -> Array:
    corners = vertices[triangles]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(crossed[:, d], 3), minlength=len(vertices)) for d in range(3)], axis=1
    )
    return np.asarray(summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12))


def vertex_areas(vertices: Array, triangles: Indices) -> Array:
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.asarray(np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices)))


def refined(vertices: Array, triangles: Indices, others: list[Array]) -> tuple[Array, Indices, list[Array]]:
    """Each triangle into four; new vertices lie on a curved surface through the old ones, which stay.

    Phong tessellation (Boubekeur and Alexa, SIGGRAPH Asia 2008): the middle of an edge, halfway pulled to the tangent
    planes of its ends. Other quantities of vertices are interpolated linearly.
    """
    normals = vertex_normals(vertices, triangles)
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, inverse = np.unique(pairs, axis=0, return_inverse=True)
    a, b = edges.T
    middle = (vertices[a] + vertices[b]) / 2
    pulled = middle
    for end in (a, b):
        height = ((middle - vertices[end]) * normals[end]).sum(axis=1, keepdims=True)
        pulled = pulled - 0.5 * height * normals[end]
    place = 0.25 * middle + 0.75 * pulled
    ab, bc, ca = (inverse.ravel().reshape(3, -1) + len(vertices))[:3]
    i, j, k = triangles.T
    finer = np.concatenate([np.stack(each, axis=1) for each in ((i, ab, ca), (ab, j, bc), (ca, bc, k), (ab, bc, ca))])
    return (
        np.concatenate([vertices, place]),
        finer,
        [np.concatenate([other, (other[a] + other[b]) / 2]) for other in others],
    )


def ellipsoid(centre: Array, radii: Array, count: int) -> tuple[Array, Indices, Array]:
    """Vertices, triangles and outward directions of an ellipsoid."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count), indexing="ij")
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=-1).reshape(-1, 3)
    index = np.arange(len(unit)).reshape(theta.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    return centre + unit * radii, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), unit
