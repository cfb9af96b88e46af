"""Which engines the tests run: `pytest --engines numpy,torch`."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[1]


def _use_the_installed_package() -> None:
    """Keep the checkout's folder `faceinv` from hiding the installed package, here and in child processes.

    The checkout alone is not importable as a whole: `backends` becomes `faceinv.backends` on installation.
    """
    os.environ["PYTHONSAFEPATH"] = "1"
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != _CHECKOUT]
    if importlib.util.find_spec("faceinv") is None or importlib.util.find_spec("faceinv.backends") is None:
        raise pytest.UsageError('faceinv is not installed; install it first: pip install ".[test]"')


_use_the_installed_package()

from quick import sample  # noqa: E402

import faceinv  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default="",
        help="comma-separated engines that must be there and pass; others are skipped. Without it: all that are there.",
    )


@pytest.fixture(scope="session")
def sample_fit() -> faceinv.FitResult:
    """The packaged photo, fitted well enough to look at."""
    config = faceinv.FitConfig(size=96, levels=2, iterations=6, coarse_iterations=4)
    return faceinv.fit(sample(), config=config)
