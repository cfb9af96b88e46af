"""Relief as a tangent-space normal map, for the GLB.

The frame of a texel is the one that viewers build from what the file holds: the vertices' normals n and tangents t
(`faceinv.face.tangents`), interpolated and made unit, and the bitangent b = sign n x t. The colour is `(c + 1) / 2 *
255`, where the normal with relief is `c_x t + c_y b + c_z n`; x goes along increasing u, y along increasing v (up).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.mesh import vertex_normals
from faceinv.face.tangents import vertex_tangents
from faceinv.render.uv import texture_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.chart import Chart
    from faceinv.detail.relief_map import ReliefMap
    from faceinv.face.model import MorphableModel

__all__ = ["FLAT", "normal_map"]

FLAT: Final = (128, 128, 255)
"""The colour of no relief."""
_NONE: Final = 1e-12


def normal_map(relief: ReliefMap, model: MorphableModel, vertices: NDArray[np.float64]) -> NDArray[np.uint8]:
    """(S, S, 3) in `texture_layout`, row 0 is v = 1.

    Args:
        relief: the relief.
        model: the model, of the relief's layout.
        vertices: (N, 3) mm: the surface that is exported.

    Raises:
        InputError: when the model has another layout than the relief.
    """
    chart = relief.chart(model)
    normals = chart.at_texels(vertex_normals(vertices, model.triangles))
    normals = _unit(normals)
    tangent, sign = _tangents(chart, model, vertices)
    bitangent = _unit(np.cross(normals, tangent)) * sign[:, None]
    bent = normals - _gradient(relief, chart, vertices, normals)
    bent = _unit(bent)
    # The tangent need not be at right angles to the normal between vertices.
    slant = (normals * tangent).sum(axis=1)
    along_t, along_n = (bent * tangent).sum(axis=1), (bent * normals).sum(axis=1)
    rest = np.maximum(1 - slant**2, _NONE)
    parts = [(along_t - slant * along_n) / rest, (bent * bitangent).sum(axis=1), (along_n - slant * along_t) / rest]
    colours = np.rint((np.clip(np.stack(parts, axis=1), -1, 1) + 1) * 127.5)
    picture = np.full((relief.size, relief.size, 3), FLAT, np.uint8)
    top, left, bottom, right = relief.window
    # Texels beyond the rim of the skin are met by filtering.
    near = colours.astype(np.uint8)[chart.nearest[chart.near]]
    picture[top:bottom, left:right][chart.near] = near
    return picture


def _gradient(
    relief: ReliefMap, chart: Chart, vertices: NDArray[np.float64], normals: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(M, 3) mm per mm: how the offset grows along the surface, at right angles to the normals."""
    slopes = relief.slopes[chart.skin].astype(np.float64)
    frames = chart.frames_at_texels(chart.frames(vertices))
    metric = np.einsum("mik,mjk->mij", frames, frames)
    determinant = np.maximum(metric[:, 0, 0] * metric[:, 1, 1] - metric[:, 0, 1] ** 2, _NONE)
    along = np.stack(
        [
            metric[:, 1, 1] * slopes[:, 0] - metric[:, 0, 1] * slopes[:, 1],
            metric[:, 0, 0] * slopes[:, 1] - metric[:, 0, 1] * slopes[:, 0],
        ],
        axis=1,
    )
    gradient = np.einsum("mi,mik->mk", along / determinant[:, None], frames)
    return gradient - normals * (gradient * normals).sum(axis=1, keepdims=True)


def _tangents(
    chart: Chart, model: MorphableModel, vertices: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(M, 3) unit tangents at texels, and (M,) the signs of their bitangents."""
    # As in the file: vertices on a seam are there once for each side.
    corners = np.stack([model.triangles.ravel(), model.uv_triangles.ravel()], axis=1)
    pairs, index = np.unique(corners, axis=0, return_inverse=True)
    triangles = index.reshape(-1, 3)
    upright = vertex_normals(vertices, model.triangles)[pairs[:, 0]]
    tangents = vertex_tangents(vertices[pairs[:, 0]], upright, texture_layout(model)[pairs[:, 1]], triangles)
    at_texels = np.einsum("mk,mkd->md", chart.weights, tangents[triangles[chart.triangle]])
    return _unit(at_texels[:, :3]), np.where(at_texels[:, 3] < 0, -1.0, 1.0)


def _unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    unit: NDArray[np.float64] = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), _NONE)
    return unit
