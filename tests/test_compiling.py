"""Saying that kernels are being compiled: once, and not while somebody watches."""

from __future__ import annotations

import logging
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import numba
import pytest
from numba.core import event
from quick import quick_fit

import faceinv
from faceinv.engine import compiling
from faceinv.run import warmup


def compiled(package: str) -> None:
    """What Numba says when it compiles a kernel of a package."""
    dispatcher = SimpleNamespace(py_func=SimpleNamespace(__module__=f"{package}.raster", __qualname__="rasterize"))
    with event.trigger_event("numba:compile", data={"dispatcher": dispatcher, "args": (), "return_type": None}):
        pass


def test_the_library_says_once_that_it_compiles(caplog: pytest.LogCaptureFixture) -> None:
    compiling.announce_compiling("some.package")
    compiling.announce_compiling("some.package")
    compiled("another.package")
    assert caplog.records == []
    compiled("some.package")
    compiled("some.package")
    assert [(r.name, r.levelno, r.getMessage()) for r in caplog.records] == [
        ("faceinv", logging.WARNING, compiling.FIRST_RUN)
    ]


def test_who_watches_is_told_of_each_kernel(caplog: pytest.LogCaptureFixture) -> None:
    compiling.announce_compiling("watched.package")
    counted: list[str] = []
    with compiling.watched_compiling(counted.append):
        compiled("watched.package")
        compiled("another.package")
        compiled("watched.package")
    assert counted == ["rasterize"] * 2
    assert caplog.records == []
    compiled("watched.package")
    assert len(caplog.records) == 1


def test_a_user_without_logging_sees_it() -> None:
    """A kernel of the engine's, compiled anew in a process of its own."""
    code = (
        "import numba; from faceinv.backends.numpy_numba import shading;"
        "numba.njit(shading.harmonics.py_func)(0.0, 0.0, 1.0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == compiling.FIRST_RUN


def test_compiling_beforehand_leaves_nothing_to_compile(tmp_path: Any) -> None:
    """What fits and their files need has been compiled, for other settings too, when `compile_kernels` ends."""
    photo, landmarks = quick_fit().photo, quick_fit().landmarks_target
    assert photo is not None
    fitter = faceinv.Fitter(config=faceinv.FitConfig(size=64, levels=1, iterations=2, normals="flat"))
    steps: list[tuple[int, int]] = []
    warmup.compile_kernels(fitter, lambda done, total: steps.append((done, total)))
    assert steps[0][0] == 0
    assert steps[0][1] > 10
    before = signatures()
    result = fitter.fit(photo, landmarks)
    result.overlay()
    result.export(tmp_path / "a.glb", "photo")
    assert signatures() == before


def signatures() -> dict[str, int]:
    """How many versions of each kernel there are."""
    kernels = [kernel for module in warmup._kernels().values() for kernel in module]
    assert all(isinstance(kernel, numba.core.dispatcher.Dispatcher) for kernel in kernels)
    return {kernel.py_func.__qualname__: len(kernel.signatures) for kernel in kernels}
