"""Fixtures of the CUDA engine's own tests; as an engine among others it is tested in tests/engines."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session", autouse=True)
def compiler(cuda_on_cpu: bool) -> None:
    """Skip, by name, where there is no compiler."""
    if not cuda_on_cpu:
        pytest.skip("g++ is not installed: CUDA kernels cannot be run on the CPU")
