"""Which engines the tests run: `pytest --engines numpy,torch`."""

from __future__ import annotations

import pytest
from quick import sample

import faceinv


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default="",
        help="comma-separated engines that must be there and pass; others are skipped. Without it: all that are there.",
    )
    parser.addoption("--save-pictures", action="store_true", help="write the pictures that tests are held against anew")


@pytest.fixture(scope="session")
def sample_fit() -> faceinv.FitResult:
    """The packaged photo, fitted well enough to look at."""
    config = faceinv.FitConfig(size=96, levels=2, iterations=6, coarse_iterations=4)
    return faceinv.fit(sample(), config=config)
