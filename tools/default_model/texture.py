"""Images looked up at the vertices."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from arrays import Floats
    from mesh import Mesh

__all__ = ["sample"]


def sample(image: Floats, mesh: Mesh) -> Floats:
    """(N, C) of an image (H, W, C) at the vertices; the mean over the copies of a vertex at a seam. Bilinear."""
    height, width = image.shape[:2]
    x = np.clip(mesh.uv[:, 0] * width - 0.5, 0, width - 1.001)
    y = np.clip((1 - mesh.uv[:, 1]) * height - 0.5, 0, height - 1.001)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    at_uv = (1 - fy) * ((1 - fx) * image[y0, x0] + fx * image[y0, x0 + 1])
    at_uv += fy * ((1 - fx) * image[y0 + 1, x0] + fx * image[y0 + 1, x0 + 1])
    pairs = np.unique(np.stack([mesh.triangles.ravel(), mesh.uv_triangles.ravel()], axis=1), axis=0)
    total = np.zeros((len(mesh.mirror), image.shape[2]))
    np.add.at(total, pairs[:, 0], at_uv[pairs[:, 1]])
    return total / np.bincount(pairs[:, 0], minlength=len(total))[:, None]
