"""Tangents of a surface along its texture's axes: the frame in which a normal map has its normals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["vertex_tangents"]

_NONE = 1e-20


def vertex_tangents(
    positions: NDArray[np.floating[Any]],
    normals: NDArray[np.floating[Any]],
    uv: NDArray[np.floating[Any]],
    triangles: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """(N, 4) unit tangents along increasing u, at right angles to the normals, and the sign s of the bitangent along
    increasing v, which is `s * cross(normal, tangent)`: glTF's TANGENT for texture coordinates with v upwards.

    Tangents of triangles (Lengyel, "Computing Tangent Space Basis Vectors for an Arbitrary Mesh") are averaged by area.

    Args:
        positions: (N, 3).
        normals: (N, 3) unit.
        uv: (N, 2), v upwards; one for each position, so that vertices on a seam are there once for each side.
        triangles: (T, 3).
    """
    points, flat = np.asarray(positions, np.float64), np.asarray(uv, np.float64)
    a, b, c = (triangles[:, k] for k in range(3))
    edge_b, edge_c = points[b] - points[a], points[c] - points[a]
    (ub, vb), (uc, vc) = (flat[b] - flat[a]).T, (flat[c] - flat[a]).T
    turn = np.sign(ub * vc - uc * vb)[:, None]
    area = np.linalg.norm(np.cross(edge_b, edge_c), axis=1, keepdims=True)

    def averaged(directions: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.linalg.norm(directions, axis=1, keepdims=True)
        weighted = directions * turn * area / np.maximum(size, _NONE)
        corners = triangles.ravel()
        return np.stack(
            [np.bincount(corners, np.repeat(weighted[:, k], 3), minlength=len(points)) for k in range(3)], axis=1
        )

    along_u = averaged(edge_b * vc[:, None] - edge_c * vb[:, None])
    along_v = averaged(edge_c * ub[:, None] - edge_b * uc[:, None])
    upright = np.asarray(normals, np.float64)
    tangent = along_u - upright * (upright * along_u).sum(axis=1, keepdims=True)
    size = np.linalg.norm(tangent, axis=1, keepdims=True)
    # Where the texture has no extent any direction on the surface will do.
    other = np.cross(upright, np.where(np.abs(upright[:, :1]) < 0.9, [[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.0]]))
    tangent = np.where(size > _NONE, tangent / np.maximum(size, _NONE), other / np.linalg.norm(other, axis=1)[:, None])
    sign = np.where((np.cross(upright, tangent) * along_v).sum(axis=1) < 0, -1.0, 1.0)
    return np.concatenate([tangent, sign[:, None]], axis=1)
