"""The tongue: MakeHuman's, subdivided once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from part import Part
from subdivision import catmull_clark

if TYPE_CHECKING:
    from arrays import Bools, Floats, Ints
    from scipy import sparse
    from sources import Sources

__all__ = ["tongue", "tongue_places"]

NARROWER: Final = 0.78
SHORTER: Final = 0.92
FLATTER: Final = 0.85
TONGUE: Final = (0.40, 0.145, 0.135)
ROOT: Final = (0.18, 0.055, 0.05)


def tongue_places(body: Floats, rows: Ints) -> Floats:
    """(n, 3) mm: where the tongue's coarse vertices lie: MakeHuman's, narrower and shorter, so that teeth have room."""
    places = body[rows].copy()
    root = places[:, 2].min()
    places[:, 0] *= NARROWER
    places[:, 2] = root + SHORTER * (places[:, 2] - root)
    top = places[:, 1].max()
    places[:, 1] = top + FLATTER * (places[:, 1] - top)
    return places


def tongue(sources: Sources, body: Floats) -> tuple[Part, Ints, sparse.csr_array]:
    """The tongue on the mean adult, body (V, 3) mm; the body's vertices that it stems from, and the matrix (N, .) that
    takes values at these to its own vertices."""
    quads = sources.helpers["helper-tongue"]
    kept, compact = np.unique(quads, return_inverse=True)
    step, fine, _ = catmull_clark(compact.reshape(quads.shape), len(kept))
    triangles = np.concatenate([fine[:, [0, 1, 2]], fine[:, [0, 2, 3]]])
    vertices = step @ tongue_places(body, kept)
    middle = vertices[:, 1].mean()
    top = _normals_up(vertices, triangles)
    # Two sheets, seen from above and from below.
    side = np.where(top, 0, 1)
    low = vertices.min(axis=0)
    width = float(np.ptp(vertices[:, 0]))
    flat = np.stack([vertices[:, 0] - low[0], vertices[:, 2] - low[2]], axis=1)
    # The rim stands upright; spread it outwards so that its sheet has an area.
    bend = np.clip((vertices[:, 1] - middle) / np.ptp(vertices[:, 1]), -0.5, 0.5)
    centre = flat.mean(axis=0)
    sheets = [centre + (flat - centre) * (1 + 0.35 * (sign * -bend + 0.5))[:, None] for sign in (1.0, -1.0)]
    shift = np.array([1.6 * width, 0.0])
    corners = side[:, None] * len(vertices) + triangles
    used, uv_triangles = np.unique(corners, return_inverse=True)
    uv = np.concatenate([sheets[0], sheets[1] + shift])[used]
    depth = np.clip((vertices[:, 2] - vertices[:, 2].min()) / np.ptp(vertices[:, 2]), 0, 1)[:, None]
    albedo = np.array(ROOT) + (np.array(TONGUE) - np.array(ROOT)) * np.clip(1.5 * depth, 0, 1)
    part = Part("tongue", vertices, triangles, uv - uv.min(axis=0), uv_triangles.reshape(-1, 3), albedo)
    return part, kept, step


def _normals_up(vertices: Floats, triangles: Ints) -> Bools:
    """(T,) which triangles are seen from above."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    up: Bools = np.cross(b - a, c - a)[:, 1] >= 0
    return up
