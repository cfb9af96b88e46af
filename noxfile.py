"""What must hold before a change lands, session by session; `.ci/run` calls them on a clean copy.

With `nox --no-venv` a session uses the environment that is on the path, in which everything has been installed.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

nox.options.sessions = ["lint", "tests"]
nox.options.reuse_existing_virtualenvs = True

ROOT = Path(__file__).parent
TYPED = ("tests", "tests/*/", "benchmarks", "examples", "tools", "tools/*/")
"""Folders of scripts and tests, checked one by one: modules of the same name may be in several."""
SUPPORT = "tests/support"
"""The folder whose modules tests import."""


def install(session: nox.Session, *what: str) -> None:
    """Install packages into the session's own environment, if it has one."""
    if session.venv_backend != "none":
        session.install(*what)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, on the engines that come with faceinv."""
    install(session, ".[test]")
    session.run("pytest", "-q", "-n", "2", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style, types, and the order of imports."""
    install(session, ".[test,lint]")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    with session.chdir(package_alone(session)):
        session.run("lint-imports", str(ROOT / "pyproject.toml"), "--no-cache", "--no-logo")
    check_types(session)


@nox.session
def types(session: nox.Session) -> None:
    """Types alone."""
    install(session, ".[test]")
    check_types(session)


def package_alone(session: nox.Session) -> Path:
    """A folder with the package as it is installed, engines inside, which a checkout has in another folder."""
    site = Path(session.create_tmp()) / "site"
    shutil.rmtree(site, ignore_errors=True)
    for source, target in (("faceinv", "faceinv"), ("backends", "faceinv/backends")):
        shutil.copytree(ROOT / source, site / target, ignore=shutil.ignore_patterns("__pycache__"))
    return site


def check_types(session: nox.Session) -> None:
    """mypy over the package, then over each folder of tests and scripts."""
    site = package_alone(session)
    mypy = ("mypy", "--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(ROOT / ".mypy_cache"))
    with session.chdir(site):
        session.run(*mypy, "-p", "faceinv")
        for folder in (folder for pattern in TYPED for folder in sorted(ROOT.glob(pattern))):
            files = sorted(str(path) for path in folder.glob("*.py"))
            if files:
                beside = map(str, (site, folder, ROOT / SUPPORT))
                session.run(*mypy, *files, env={"MYPYPATH": os.pathsep.join(dict.fromkeys(beside))})


@nox.session
def cuda(session: nox.Session) -> None:
    """The CUDA kernels, compiled for every architecture; no GPU is needed."""
    install(session, ".[test,cuda-check]")
    kernels = ("tests/cuda_on_cpu/test_nvrtc.py", "tests/cuda_on_cpu/test_cupy_device.py")
    session.run("pytest", "-q", "-n", "2", *kernels)
    session.run("pytest", "-q", "tests/cuda_on_cpu/test_layer.py", "-k", "no_gpu")
    count = "from cupy.cuda import runtime\ntry:\n    print(runtime.getDeviceCount())\nexcept Exception:\n    print(0)"
    if str(session.run("python", "-c", count, silent=True)).strip() != "0":
        session.log("a GPU is here")
        return
    output = Path(session.create_tmp()) / "none"
    sample = str(ROOT / "faceinv" / "data" / "sample.jpg")
    session.run("faceinv", "fit", sample, "--backend", "cupy", "-o", str(output), success_codes=[2])
    if output.exists():
        session.error("a fit that could not be made has left an output folder")


@nox.session
def engines(session: nox.Session) -> None:
    """Every engine that runs without a GPU, side by side, on NumPy 1.26."""
    install(session, "torch==2.13.0")  # by itself: a looser request may fetch gigabytes of CUDA packages
    install(session, ".[torch,mxnet,test]", "pyarrow<22")  # later ones want NumPy 2, and do not tell pip
    listing = "from importlib.metadata import distributions\nprint(*{d.name for d in distributions()})"
    names = str(session.run("python", "-c", listing, silent=True)).split()
    if unwanted := [name for name in names if name.lower().startswith("nvidia")]:
        session.error(f"CUDA packages were installed: {', '.join(unwanted)}")
    example = "tests/test_examples.py::test_differentiable_rendering"
    tests = ("tests/engines", "tests/test_registry.py", "tests/test_train_pose.py", example)
    session.run("pytest", "-q", "-n", "2", *tests, "--engines", "numpy,torch,mxnet")
