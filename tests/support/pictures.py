"""Pictures that tests are held against: small PNG files beside this module.

`pytest --save-pictures` writes them anew; look at each one before it is kept.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

__all__ = ["assert_pictured"]

FOLDER = Path(__file__).parent / "pictures"
MEAN = 0.004
"""Of 1: fonts and the last digits of colours differ between versions of libraries."""
SHARE = 0.01
"""Of the pixels may differ by more than a tenth."""


def assert_pictured(config: pytest.Config, name: str, picture: Image.Image) -> None:
    """The picture is the one that is kept under this name, but for a little."""
    path = FOLDER / f"{name}.png"
    if config.getoption("--save-pictures"):
        picture.convert("RGB").save(path, optimize=True)
    with Image.open(path) as kept:
        expected = np.asarray(kept.convert("RGB"), np.float64) / 255
    pixels = np.asarray(picture.convert("RGB"), np.float64) / 255
    assert pixels.shape == expected.shape
    gap = np.abs(pixels - expected).max(axis=2)
    assert gap.mean() < MEAN, f"{path.name}: colours differ by {gap.mean():.3f} on average"
    assert (gap > 0.1).mean() < SHARE, f"{path.name}: {(gap > 0.1).mean():.1%} of the pixels differ"
