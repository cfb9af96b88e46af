"""Which engines the tests run: `pytest --engines numpy,torch`."""

from __future__ import annotations

from collections.abc import Iterator

import entry_point
import pytest
from quick import CONFIG, sample

import faceinv
from faceinv.run.warmup import compile_kernels


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--engines",
        default="",
        help="comma-separated engines that must be there and pass; others are skipped. Without it: all that are there.",
    )
    parser.addoption("--save-pictures", action="store_true", help="write the pictures that tests are held against anew")


@pytest.fixture(scope="session")
def cuda_on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bool]:
    """The registry knows the engine `cuda-on-cpu`; whether it can run, which takes a compiler."""
    with entry_point.registered(tmp_path_factory.mktemp("site")):
        yield entry_point.COMPILER is not None


@pytest.fixture(scope="session")
def kernels() -> None:
    """The `numpy` engine's kernels are compiled in this process, so that no command waits for them, or says so."""
    compile_kernels(faceinv.Fitter(config=CONFIG), lambda done, total: None)


@pytest.fixture(scope="session")
def sample_fit() -> faceinv.FitResult:
    """The packaged photo, fitted well enough to look at."""
    config = faceinv.FitConfig(size=96, levels=2, iterations=6, coarse_iterations=4)
    return faceinv.fit(sample(), config=config)
