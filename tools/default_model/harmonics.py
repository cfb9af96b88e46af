"""Smooth harmonics of the face mesh: eigenfunctions of its Laplacian.

They are to a surface what sines are to a string (Vallet and Levy, "Spectral geometry processing with manifold
harmonics", 2008): the first few vary over the whole head, later ones over ever less. Every coarse vertex weighs
the same, so that they become fine where the mesh is fine, about eyes, nose and mouth; outside the face vertices weigh
less, so that few functions are spent there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from principal import positive_sign
from scipy.spatial import cKDTree

from faceinv.face.registration.stiffness import cotangent_laplacian

if TYPE_CHECKING:
    from arrays import Bools, Floats
    from mesh import Mesh

__all__ = ["Harmonics", "harmonics"]

OUTSIDE: Final = 0.1
"""Weight of a vertex far from the face."""
FADE_MM: Final = 12.0
"""Over which the weight falls outside the face."""


@dataclass(frozen=True)
class Harmonics:
    """Functions on the coarse vertices, smoothest first."""

    values: Floats
    """(M, K)"""
    eigenvalues: Floats
    """(K,) ascending: how much each one varies."""
    parity: Floats
    """(K,) 1 where left and right are equal, -1 where they are opposite."""

    @property
    def mirror_signs(self) -> Floats:
        """(K, 3) what mirroring a vector field does to its coefficients."""
        signs: Floats = self.parity[:, None] * np.array([-1.0, 1.0, 1.0])
        return signs


def harmonics(mesh: Mesh, shown: Bools, count: int) -> Harmonics:
    """The `count` smoothest functions of either parity together.

    Symmetric and antisymmetric functions are found apart: together, pairs of nearly equal eigenvalues (one ear alone,
    as it were) would mix by rounding, and the functions would not be the same on every machine.

    Args:
        mesh: the face.
        shown: (T,) its face mask.
        count: how many.
    """
    quads, mirror, size = mesh.coarse_quads, mesh.coarse_mirror, len(mesh.mean)
    # Both diagonals of each quad alike, half each.
    triangles = np.concatenate([quads[:, list(corners)] for corners in ((0, 1, 2), (0, 2, 3), (1, 2, 3), (1, 3, 0))])
    laplacian = np.round(cotangent_laplacian(mesh.mean, triangles).toarray() / 2, 9)
    laplacian = (laplacian + laplacian[mirror][:, mirror]) / 2
    face = mesh.surface[np.unique(mesh.triangles[shown])]
    distance = np.asarray(cKDTree(face).query(mesh.mean)[0])
    weight = np.round(OUTSIDE + (1 - OUTSIDE) * np.exp(-((distance / FADE_MM) ** 2)), 6)
    root = 1 / np.sqrt((weight + weight[mirror]) / 2)
    scaled = root[:, None] * laplacian * root

    index = np.arange(size)
    one, middle = np.flatnonzero(index < mirror), np.flatnonzero(index == mirror)
    found = []
    for sign in (1.0, -1.0):
        alone = middle if sign > 0 else middle[:0]
        onto = np.zeros((size, len(one) + len(alone)))
        onto[one, np.arange(len(one))] = np.sqrt(0.5)
        onto[mirror[one], np.arange(len(one))] = sign * np.sqrt(0.5)
        onto[alone, len(one) + np.arange(len(alone))] = 1.0
        eigenvalues, vectors = np.linalg.eigh(onto.T @ scaled @ onto)
        found.append((eigenvalues, root[:, None] * (onto @ vectors), np.full(len(eigenvalues), sign)))
    eigenvalues, values, parity = (np.concatenate([part[k] for part in found], axis=-1) for k in range(3))
    order = np.argsort(eigenvalues, kind="stable")[:count]
    return Harmonics(positive_sign(values[:, order]), eigenvalues[order], parity[order])
