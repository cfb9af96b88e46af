"""What of a photo's shading is albedo's and what is relief's, by how broad it is.

The low-passed albedo of the default formulation (`faceinv.detail.prepare`) takes the broad part of true relief's
shading with it, as it is found on the coarse normals n0. Once relief is known at half the size, it is found anew on
the normals n of that:

    rho' = exp( mean over `albedo` mm of log(T / S(n)) ) = rho exp( -M ),    M = mean of log(S(n) / S(n0))

which gives relief its part back, and moles, which are not in n, nothing. And what is broader than albedo's mean no
shading tells of: relief is given less its own mean over `relief` mm, instead of being held small at every width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.detail.smooth import MaskedMean, enlarged
from faceinv.engine.detail import corners_of
from faceinv.face.lighting import sh_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.detail import Bands, DetailProblem

__all__ = ["log_albedo_change", "without_broad"]

_DARK: Final = 2e-3
"""Of linear light: no shading is darker."""


def log_albedo_change(problem: DetailProblem, normals: NDArray[np.float32], bands: Bands) -> NDArray[np.float32]:
    """M of a problem at half the size, (B, 2 H, 2 W, 3), for relief with normals (B, H, W, 3) at that size."""
    height, width = problem.size
    change = np.zeros((len(problem.mask), 2 * height, 2 * width, 3), np.float32)
    for item, whole in enumerate(problem.mask):
        used = _extent(whole)
        mask = whole[used]
        ratio = np.zeros((*mask.shape, 3), np.float32)
        before, after = (
            np.maximum(sh_basis(n[item][used][mask]) @ problem.lighting[item], _DARK) for n in (problem.normal, normals)
        )
        ratio[mask] = np.log(after / before)
        mean = MaskedMean(mask, bands.albedo / float(problem.pixel[item]))(ratio)
        size = 2 * mask.shape[0], 2 * mask.shape[1]
        change[item, : size[0], : size[1]] = enlarged(mean, size, 2)
    return change


def without_broad(problem: DetailProblem, displacement: NDArray[Any], bands: Bands) -> NDArray[Any]:
    """Displacements (B, H + 1, W + 1) mm less their means, over the corners that count."""
    kept = np.zeros_like(displacement)
    for item, whole in enumerate(corners_of(problem.mask)):
        used = _extent(whole)
        values, on = displacement[item][used], whole[used]
        mean = MaskedMean(on, bands.relief / float(problem.pixel[item]))(values[..., None])[..., 0]
        kept[item][used] = np.where(on, values - mean, 0)
    return kept


def _extent(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """From the first row and column to the last with a pixel: an item of a batch has the same alone."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    return (slice(0, int(rows[-1]) + 1), slice(0, int(columns[-1]) + 1)) if len(rows) else (slice(0, 1), slice(0, 1))
