"""The engine and its settings as fixtures: one test body serves all engines."""

from __future__ import annotations

from typing import get_args

import entry_point
import pytest
from fixture_types import Need
from problems import Run, run

from faceinv.engine.records import DType, Normals
from faceinv.engine.registry import available_engines
from faceinv.errors import BackendError


@pytest.fixture(scope="session")
def need(pytestconfig: pytest.Config, cuda_on_cpu: bool) -> Need:
    """Skip, by name, engines that are not there or not asked for; fail where an engine asked for is missing."""
    asked = [name.strip() for name in str(pytestconfig.getoption("--engines")).split(",") if name.strip()]
    known = {status.name: status for status in available_engines()}
    unknown = sorted(set(asked) - set(known))

    def check(name: str) -> None:
        if unknown:
            pytest.fail(f"--engines names unknown engines: {', '.join(unknown)}; known are {', '.join(known)}")
        if asked and name not in asked:
            pytest.skip(f"engine '{name}' was not asked for by --engines")
        message = "" if known[name].installed else f"engine '{name}' is not installed: {known[name].install}"
        if name == entry_point.NAME and not cuda_on_cpu:
            message = f"engine '{name}' cannot be used here: g++ is not installed"
        if message:
            if name in asked:
                pytest.fail(message)
            pytest.skip(message)

    return check


@pytest.fixture(scope="session")
def usable(need: Need, pytestconfig: pytest.Config) -> Need:
    """As `need`, and the engine must start on this machine, which one for a GPU may not."""
    problem: dict[str, str] = {}

    def check(name: str) -> None:
        need(name.split(":")[0])
        if name not in problem:
            try:
                run(name, "smooth")
                problem[name] = ""
            except BackendError as error:
                problem[name] = f"engine '{name}' cannot be used here: {error}"
        if problem[name]:
            # Only engines for a GPU may be there and yet unusable.
            if name in str(pytestconfig.getoption("--engines")).split(",") or name != "cupy":
                pytest.fail(problem[name])
            pytest.skip(problem[name])

    return check


@pytest.fixture(scope="session", params=["numpy", "torch", "mxnet", "cupy", *entry_point.ORDERS])
def engine_name(request: pytest.FixtureRequest, usable: Need) -> str:
    """Each engine that can be used."""
    name: str = request.param
    usable(name)
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
