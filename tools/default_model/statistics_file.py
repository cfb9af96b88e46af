"""The file of scan statistics: a mean and factors in the harmonics of the face mesh."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from mesh import Mesh
    from numpy.typing import NDArray

__all__ = ["HARMONICS", "LICENCE_FILE", "STATISTICS_FILE", "ScanStatistics", "mesh_digest"]

HARMONICS: Final = 600
"""Functions for each coordinate."""
STATISTICS_FILE: Final = Path(__file__).with_name("scan_statistics.npz")
LICENCE_FILE: Final = Path(__file__).with_name("SCAN_STATISTICS_LICENSE.txt")


@dataclass(frozen=True)
class ScanStatistics:
    """Identity as real scans have it, in numbers of our own basis: displacements of the face mesh, mm."""

    mean: NDArray[np.float32]
    """(K, 3) coefficients of the harmonics."""
    factors: NDArray[np.float16]
    """(K, 3, F) a standard deviation each."""
    landmark_vertices: NDArray[np.int32]
    """(51, 3) corners of the full mesh between which the scans' inner landmarks, brows to lips, lie."""
    landmark_weights: NDArray[np.float32]
    """(51, 3)"""
    mesh: str
    """Which face mesh the harmonics belong to (`mesh_digest`)."""

    def write(self, path: Path) -> None:
        """Write an `.npz` with the licence of the scans inside."""
        licence = LICENCE_FILE.read_text(encoding="utf-8")
        np.savez_compressed(
            path,
            mean=self.mean,
            factors=self.factors,
            landmark_vertices=self.landmark_vertices,
            landmark_weights=self.landmark_weights,
            mesh=self.mesh,
            licence=licence,
        )

    @classmethod
    def read(cls, path: Path, mesh: Mesh) -> ScanStatistics:
        """Read the statistics of a face mesh.

        Raises:
            ValueError: when they belong to another one.
        """
        with np.load(path) as arrays:
            found = cls(
                arrays["mean"],
                arrays["factors"],
                arrays["landmark_vertices"],
                arrays["landmark_weights"],
                str(arrays["mesh"]),
            )
        if found.mesh != mesh_digest(mesh):
            raise ValueError(
                f"'{path}' belongs to face mesh {found.mesh}, not to {mesh_digest(mesh)}; compute it anew with "
                "scan_statistics.py."
            )
        return found


def mesh_digest(mesh: Mesh) -> str:
    """A short digest of the coarse face mesh."""
    digest = hashlib.sha256()
    digest.update(np.ascontiguousarray(mesh.coarse_quads, dtype="<i8").tobytes())
    digest.update(np.ascontiguousarray(np.round(mesh.mean, 3), dtype="<f8").tobytes())
    return digest.hexdigest()[:16]
