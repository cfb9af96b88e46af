"""The 68 landmarks of the mesh."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from regions import closest_point, eye_rims, vertex_normals
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from arrays import Floats, Ints
    from mesh import Mesh

__all__ = ["landmark_points"]

LANDMARKS_RIGHT: Final[dict[int, tuple[float, float, float]]] = {
    0: (-69.8, 0.2, 4.6),
    1: (-67.0, -18.4, 14.0),
    2: (-63.6, -37.0, 28.0),
    3: (-62.3, -52.7, 12.3),
    4: (-56.1, -69.9, 31.2),
    5: (-45.8, -82.4, 47.5),
    6: (-34.4, -93.1, 57.1),
    7: (-19.9, -101.8, 67.7),
    8: (0.0, -106.0, 69.8),
    17: (-53.4, 14.1, 61.5),
    18: (-45.6, 18.9, 73.6),
    19: (-34.7, 20.6, 82.3),
    20: (-25.1, 19.4, 86.2),
    21: (-16.3, 16.5, 87.4),
    27: (0.0, -1.9, 85.3),
    28: (0.0, -13.7, 90.8),
    29: (0.0, -24.7, 97.5),
    30: (0.0, -35.8, 104.2),
    31: (-10.7, -42.3, 87.9),
    32: (-6.0, -43.7, 91.6),
    33: (0.0, -45.2, 93.3),
    36: (-39.9, 0.0, 71.6),
    37: (-33.9, 2.9, 77.7),
    38: (-24.9, 3.0, 77.6),
    39: (-17.4, -1.6, 74.7),
    40: (-24.5, -3.6, 76.5),
    41: (-33.5, -3.5, 75.6),
    48: (-22.7, -65.2, 81.8),
    49: (-15.0, -60.3, 89.8),
    50: (-5.4, -56.6, 93.9),
    51: (0.0, -57.8, 94.8),
    57: (0.0, -75.1, 90.6),
    58: (-6.9, -74.5, 89.6),
    59: (-14.4, -71.4, 87.1),
    60: (-20.2, -65.1, 81.0),
    61: (-6.6, -64.6, 88.4),
    62: (0.0, -64.8, 89.0),
    66: (0.0, -66.1, 89.6),
    67: (-5.9, -66.1, 88.8),
}
"""Where landmarks lie on the mean face, mm in model space: the subject's right side (image left) and the midline. Each
is moved to the nearest surface point; the left side is the mirror image. Lids and inner lips move onto the rims."""
MIRRORED_LANDMARK: Final = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
"""The landmark on the other side of the face, for each of the 68."""
INNER_LIP_DEPTH: Final = {60: 2, 61: 2, 62: 2, 67: 2, 66: 2}
"""Twice the ring of vertices inside the mouth at which the lips' inner edge is seen."""


def landmark_points(mesh: Mesh, surface: Floats) -> tuple[Ints, Floats]:
    """Vertices (68, 3) and weights (68, 3) of the landmarks."""
    corners, weights = np.zeros((68, 3), dtype=np.int64), np.tile([1.0, 0.0, 0.0], (68, 1))
    midline = np.flatnonzero((mesh.mirror == np.arange(len(surface))) & (mesh.cavity_depth == 0))
    outer = mesh.cavity_depth == 0
    outer_triangles = mesh.triangles[outer[mesh.triangles].all(axis=1)]
    right_rim = eye_rims(mesh, surface)[0]
    normal = vertex_normals(surface, mesh.triangles)
    for landmark, position in LANDMARKS_RIGHT.items():
        point = np.array(position)
        twin = MIRRORED_LANDMARK[landmark]
        if landmark in range(36, 42):
            pool = right_rim
        elif landmark in range(60, 68):
            pool = np.flatnonzero(mesh.cavity_depth == INNER_LIP_DEPTH[landmark])
            if twin == landmark:
                pool = pool[mesh.mirror[pool] == pool]
        elif twin == landmark:
            pool = midline[normal[midline, 2] > -0.5]
        elif landmark < 17:
            pool = np.flatnonzero(outer)
        else:
            corners[landmark], weights[landmark] = closest_point(point, surface, outer_triangles)
            corners[twin], weights[twin] = mesh.mirror[corners[landmark]], weights[landmark]
            continue
        vertex = pool[cKDTree(surface[pool]).query(point)[1]]
        corners[landmark] = vertex
        corners[twin] = mesh.mirror[vertex]
    return corners, weights
