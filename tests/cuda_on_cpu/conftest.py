"""Fixtures: the CUDA engine on the CPU, as an engine of its own beside those that the registry knows."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest

# The test bodies, problems and tolerances of all engines are those of this one too.
sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

from executor import COMPILER
from problems import Run, run

from faceinv.engine.records import DType, Normals

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "cuda-on-cpu"


@pytest.fixture(scope="session", autouse=True)
def compiler() -> None:
    """Skip, by name, where there is no compiler."""
    if COMPILER is None:
        pytest.skip("g++ is not installed: CUDA kernels cannot be run on the CPU")


@pytest.fixture(scope="session", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The executor as an engine that another distribution provides: found through its entry point."""
    folder = tmp_path_factory.mktemp("site")
    information = folder / "cuda_on_cpu-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cuda-on-cpu\nVersion: 0\n")
    (information / "entry_points.txt").write_text(f"[faceinv.backends]\n{NAME} = executor:build\n")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))


@pytest.fixture(scope="session", params=[NAME, f"{NAME}:7"], ids=["in-order", "shuffled"])
def engine_name(request: pytest.FixtureRequest, compiler: None, registered: None) -> str:
    """Blocks and lanes in their natural order, and in a shuffled one."""
    name: str = request.param
    return name


@pytest.fixture(scope="session", params=get_args(DType))
def dtype(request: pytest.FixtureRequest) -> DType:
    """The precision of rows."""
    result: DType = request.param
    return result


@pytest.fixture(scope="session", params=get_args(Normals))
def normals(request: pytest.FixtureRequest) -> Normals:
    """Smooth and flat."""
    result: Normals = request.param
    return result


@pytest.fixture
def found(engine_name: str, dtype: DType, normals: Normals) -> Run:
    """The toy problem, two photos, on the engine under test."""
    return run(f"{engine_name}:{dtype}", normals)


@pytest.fixture
def reference(normals: Normals) -> Run:
    """The same on the reference engine."""
    return run("numpy:float64", normals)
