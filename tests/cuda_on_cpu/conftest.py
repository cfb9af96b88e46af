"""Fixtures of the CUDA engine's own tests; as an engine among others it is tested in tests/engines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

# The problems and tolerances of all engines are those of this one too.
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))


@pytest.fixture(scope="session", autouse=True)
def compiler(cuda_on_cpu: bool) -> None:
    """Skip, by name, where there is no compiler."""
    if not cuda_on_cpu:
        pytest.skip("g++ is not installed: CUDA kernels cannot be run on the CPU")
