"""The one table of what "agree" means, each entry with its reason.

Differences are relative to the max norm of the reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from faceinv.engine.records import DType

__all__ = ["FINITE_DIFFERENCE", "FIT_COST", "FIT_RMS_MM", "SAME", "TOLERANCE", "assert_agrees"]


@dataclass(frozen=True)
class Tolerance:
    """A bound and why it is what it is."""

    bound: float
    reason: str


SAME: Final = Tolerance(
    1e-10,
    "float64 in every engine whatever its dtype: geometry, shading and costs differ by the order "
    "of sums only, some 1e-14, and edge-on triangles amplify it",
)
TOLERANCE: Final[dict[DType, Tolerance]] = {
    "float64": Tolerance(
        1e-10, "rows, H and g: sums of 1e4 to 1e5 products in another order, amplified by thin triangles"
    ),
    "float32": Tolerance(1e-5, "rows and their residuals are rounded to 6e-8 each; sums over pixels add up some of it"),
}
FINITE_DIFFERENCE: Final = Tolerance(
    2e-6,
    "central differences with steps near 1e-5: truncation about 1e-10 times the third derivative, rounding about 1e-10",
)
FIT_RMS_MM: Final[dict[DType, Tolerance]] = {
    "float64": Tolerance(
        0.01, "the same steps but for rounding; a pixel that flips at a triangle's edge moves less than this"
    ),
    "float32": Tolerance(0.1, "steps differ by 1e-5 of their length, and may stop one iteration apart"),
}
FIT_COST: Final[dict[DType, Tolerance]] = {
    "float64": Tolerance(1e-3, "the solver's own tolerance, relative"),
    "float32": Tolerance(
        5e-3, "visible pixels, and weights of those that hair covers, are chosen anew from renders that differ a little"
    ),
}


def assert_agrees(found: ArrayLike, reference: ArrayLike, tolerance: Tolerance, what: str) -> None:
    """Fail unless `|found - reference|` is within the tolerance of the reference's max norm; shapes must be equal."""
    got, want = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, expected {want.shape}"
    assert np.isfinite(got).all(), f"{what}: not finite"
    scale = max(float(np.abs(want).max(initial=0.0)), 1e-300)
    error = float(np.abs(got - want).max(initial=0.0)) / scale
    assert error <= tolerance.bound, f"{what}: off by {error:.2e} of its max norm, allowed {tolerance.bound:.0e}"
