"""Whether two engines draw the same variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tolerances import SAME, assert_agrees

if TYPE_CHECKING:
    from faceinv.generate.variants import Variant

__all__ = ["assert_same_variant"]


def assert_same_variant(found: Variant, reference: Variant) -> None:
    """Fail unless labels are those of the reference engine but for rounding, and pictures but for one of 255 steps."""
    one, two = found.labels, reference.labels
    assert np.array_equal(one.vector, two.vector)
    for name in ("triangle", "face_mask", "skin_mask", "landmark_visible"):
        assert np.array_equal(getattr(one, name), getattr(two, name)), name
    for name in ("landmarks", "landmarks3d"):
        assert_agrees(getattr(one, name), getattr(two, name), SAME, name)
    for name in ("barycentric", "normal", "vertices_xy", "vertices_depth", "depth", "uv"):  # kept as float32
        values, wanted = getattr(one, name), getattr(two, name)
        assert np.array_equal(np.isnan(values), np.isnan(wanted)), name
        assert np.nanmax(np.abs(values - wanted)) <= 4e-7 * np.nanmax(np.abs(wanted)), name
    assert np.abs(found.image.astype(int) - reference.image).max() <= 1
