"""Which engines the tests run: `pytest --engines numpy,torch`."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default="",
        help="comma-separated engines that must be there and pass; others are skipped. Without it: all that are there.",
    )
