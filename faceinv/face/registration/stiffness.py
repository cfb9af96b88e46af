"""How a mesh resists bending: as-similar-as-possible deformation by a cotangent Laplacian.

With rest positions v, new positions x and local similarities S_i, the part of each edge that its ends cannot explain by
turning and growing together is `(x_i - x_j) - (S_i + S_j) / 2 (v_i - v_j)`. Weighted by cotangents and summed over a
vertex's edges this is `(L x - b(S))_i` (Sorkine and Alexa, "As-rigid-as-possible surface modeling", SGP 2007, with
growth free as in conformal maps).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from faceinv.face.mesh import vertex_areas

__all__ = ["Stiffness", "cotangent_laplacian"]

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]

_LEAST_COTANGENT: Final = 0.02
"""Obtuse corners give negative weights, with which the energy may have no minimum."""
_MOST_COTANGENT: Final = 5.0
"""Of slivers, whose weights would outweigh all others."""


def cotangent_laplacian(vertices: Points, triangles: Triangles) -> sparse.csr_array:
    """(N, N) positive semi-definite: `(L x)_i = sum_j w_ij (x_i - x_j)`, `w_ij` half the sum of the cotangents of the
    angles opposite the edge, kept within positive bounds (Pinkall and Polthier 1993)."""
    rows, columns, weights = [], [], []
    for k in range(3):
        i, j, o = triangles[:, (k + 1) % 3], triangles[:, (k + 2) % 3], triangles[:, k]
        a, b = vertices[i] - vertices[o], vertices[j] - vertices[o]
        area = np.linalg.norm(np.cross(a, b), axis=1)
        cotangent = (a * b).sum(axis=1) / np.maximum(area, 1e-12)
        rows.append(i)
        columns.append(j)
        weights.append(np.clip(cotangent, _LEAST_COTANGENT, _MOST_COTANGENT) / 2)
    row, column, weight = (np.concatenate(parts) for parts in (rows, columns, weights))
    count = len(vertices)
    half = sparse.coo_array((weight, (row, column)), shape=(count, count)).tocsr()
    both = half + half.T
    return sparse.csr_array(sparse.diags_array(np.asarray(both.sum(axis=1)).ravel()) - both)


class Stiffness:
    """The resistance of a mesh at rest to any deformation but local similarities."""

    def __init__(self, rest: Points, triangles: Triangles) -> None:
        """Take the mesh at rest: (N, 3), (T, 3)."""
        self.laplacian = cotangent_laplacian(rest, triangles)
        area = vertex_areas(rest, triangles)
        self._inverse_area = 1 / np.maximum(area, 1e-3 * float(np.median(area)))
        edges = sparse.triu(-self.laplacian, k=1).tocoo()
        self._from, self._to, self._weight = edges.row, edges.col, edges.data
        self._edge = rest[self._from] - rest[self._to]
        count = len(rest)
        ring = sparse.coo_array((np.ones(len(self._from)), (self._from, self._to)), shape=(count, count)).tocsr()
        ring = ring + ring.T + sparse.eye_array(count)
        self._ring = sparse.csr_array(sparse.diags_array(1 / np.asarray(ring.sum(axis=1)).ravel()) @ ring)
        self._count = count

    def matrix(self, stretching: float, bending: float) -> sparse.csr_array:
        """(N, N) A of the energy `x^T A x - 2 x^T c` of each coordinate.

        Args:
            stretching: weight of the edges' residuals, first order.
            bending: weight of the vertices' residuals by area, mm^2, second order.
        """
        second = self.laplacian @ sparse.diags_array(self._inverse_area) @ self.laplacian
        return sparse.csr_array(stretching * self.laplacian + bending * second)

    def pull(self, placed: Points, stretching: float, bending: float) -> Points:
        """(N, 3) c of the same energy, with the local similarities that suit positions (N, 3) best."""
        turns = self.similarities(placed)
        turned = np.einsum("eij,ej->ei", (turns[self._from] + turns[self._to]) / 2, self._edge)
        flow = self._weight[:, None] * turned
        b = np.zeros((self._count, 3))
        np.add.at(b, self._from, flow)
        np.subtract.at(b, self._to, flow)
        pull: Points = stretching * b + bending * (self.laplacian @ (self._inverse_area[:, None] * b))
        return pull

    def similarities(self, placed: Points) -> Points:
        """(N, 3, 3) turn times growth of the neighbourhood of each vertex, two rings wide."""
        moved = placed[self._from] - placed[self._to]
        product = self._weight[:, None, None] * moved[:, :, None] * self._edge[:, None, :]
        length = self._weight * (self._edge**2).sum(axis=1)
        covariance = np.zeros((self._count, 9))
        norm = np.zeros(self._count)
        for ends in (self._from, self._to):
            np.add.at(covariance, ends, product.reshape(-1, 9))
            np.add.at(norm, ends, length)
        covariance, norm = self._ring @ covariance, self._ring @ norm
        left, values, right = np.linalg.svd(covariance.reshape(-1, 3, 3))
        sign = np.ones((self._count, 3))
        sign[:, 2] = np.sign(np.linalg.det(left @ right))
        growth = (values * sign).sum(axis=1) / np.maximum(norm, 1e-12)
        turn: Points = growth[:, None, None] * (left * sign[:, None, :]) @ right
        return turn
