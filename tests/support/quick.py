"""One quick fit of the packaged photo for tests of what follows a fit."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import faceinv

CONFIG = faceinv.FitConfig(size=64, levels=1, iterations=4)
CONFIG_TOML = "size = 64\nlevels = 1\niterations = 4\n"


def sample() -> Path:
    """The packaged photo."""
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
        return path


@cache
def quick_fit() -> faceinv.FitResult:
    """A rough fit of it."""
    return faceinv.fit(sample(), config=CONFIG)
