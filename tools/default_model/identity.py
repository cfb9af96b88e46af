"""Identity: the mean face and its modes, as scans have them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from mesh import mirror_average
from principal import positive_sign

if TYPE_CHECKING:
    from arrays import Floats
    from harmonics import Harmonics
    from mesh import Mesh
    from statistics_file import ScanStatistics

__all__ = ["identity_modes"]


def identity_modes(mesh: Mesh, basis: Harmonics, statistics: ScanStatistics) -> tuple[Floats, Floats]:
    """The mean (M, 3) and the modes (M, 3, F) in mm per standard deviation.

    The mean is symmetric and each mode symmetric or antisymmetric, exactly. What harmonics, which linear algebra
    libraries find, make of the statistics is the same in at least ten digits on every machine, and is rounded to fewer.
    """
    mean = mesh.mean + basis.values @ statistics.mean.astype(np.float64)
    mean = mirror_average(np.round(mean, 3), mesh.coarse_mirror)
    factors = statistics.factors.astype(np.float64)
    modes = (basis.values @ factors.reshape(len(factors), -1)).reshape(len(mean), 3, -1)
    mirrored = modes[mesh.coarse_mirror] * np.array([-1.0, 1.0, 1.0])[:, None]
    parity = np.where((modes * mirrored).sum(axis=(0, 1)) < 0, -1.0, 1.0)
    return mean, positive_sign(np.round((modes + parity * mirrored) / 2, 4))
