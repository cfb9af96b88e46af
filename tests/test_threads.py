"""The same bits whatever the thread pools: linearisations by whoever calls them, and whole fits."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

COUNTS = (1, 2, 4)
POOLS = [(1, 1), *((n, 1) for n in COUNTS[1:]), *((1, n) for n in COUNTS[1:]), *((n, n) for n in COUNTS[1:])]
"""Threads of BLAS and of Numba."""


@cache
def told(what: str) -> dict[str, str]:
    """A digest for each entry of `POOLS`, from a child process whose pools are large enough."""
    names = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
    done = subprocess.run(
        [sys.executable, __file__, what],
        env={**os.environ, **dict.fromkeys(names, str(max(COUNTS)))},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    return dict(line.split(": ") for line in done.stdout.splitlines())


@pytest.mark.parametrize("what", ["linearizations", "relief", "a fit", "a batch"])
def test_bits_do_not_depend_on_threads(what: str) -> None:
    digests = told(what)
    assert list(digests) == [str(pools) for pools in POOLS]
    assert len(set(digests.values())) == 1, digests


# ---- in the child process


def linearizations() -> Iterable[object]:
    """Everything that freezing, linearising, solving and costs give, smooth and flat, by rows and by vertices."""
    from small import few_modes, posed, some_problem

    from faceinv.engine.records import EngineSettings
    from faceinv.engine.registry import build_engine

    chi = np.stack([posed(96, yaw=0.2, seed=1), posed(96, roll=0.4, seed=2)])
    on, damping = np.ones(2, np.bool_), np.full(2, 1e-3)
    for normals in ("smooth", "flat"):
        for assembly in ("rows", "vertices"):
            settings = EngineSettings(normals=normals, assembly=assembly)
            engine = build_engine("numpy", few_modes(), settings)
            bound = engine.differentiator(some_problem(96, batch=2)).without_occluders(chi, 0.1)
            frozen = bound.freeze(chi)
            got = bound.linearize(chi, frozen, on)
            step = bound.solve(got, damping, engine.renderer.layout.unknowns)
            yield from (got.hessian, got.gradient, got.cost.total, step.delta, bound.photometric_rmse(chi))
            yield bound.cost(chi + 1e-3, frozen, on).total


def relief() -> Iterable[object]:
    """Everything that fine detail gives."""
    from detail_problems import patches
    from small import few_modes

    from faceinv.detail.solver import LevelPlan, solve_detail
    from faceinv.engine.records import EngineSettings
    from faceinv.engine.registry import build_engine

    engine = build_engine("numpy", few_modes(), EngineSettings())
    solved = solve_detail(engine.detail, patches(90, 81, heavy_tails=True), (LevelPlan(3, 20), LevelPlan(3, 20)))
    yield from (solved.displacement, solved.normal, solved.cost)


def a_fit() -> Iterable[object]:
    """Everything a fit gives."""
    from quick import sample

    import faceinv

    config = faceinv.FitConfig(size=112, levels=2, iterations=5, coarse_iterations=3)
    result = faceinv.fit(sample(), config=config)
    yield from (result.vertices, result.image_xy, result.lighting, result.hessian, result.landmarks3d)
    yield from (result.vertex_std(), result.render(), result.cost, result.photometric_rmse)


def a_batch() -> Iterable[object]:
    """Everything that fits of photos give that are fitted side by side; it is that of each alone."""
    from quick import sample
    from small import few_modes

    import faceinv

    fitter = faceinv.Fitter(few_modes(), config=faceinv.FitConfig(size=48, levels=1, iterations=3))
    marks = fitter.fit(sample()).landmarks_target
    given = [marks, marks + 1.0, marks - [2.0, 0.0]]
    for one, result in zip(given, fitter.fit_batch([sample()] * 3, given), strict=True):
        assert isinstance(result, faceinv.FitResult)
        alone = fitter.fit(sample(), one)
        for mine, its in ((result.hessian, alone.hessian), (result.vertices, alone.vertices)):
            np.testing.assert_array_equal(mine, its)
            yield mine


_MADE = {"a batch": a_batch, "a fit": a_fit, "relief": relief, "linearizations": linearizations}


def main(what: str) -> None:
    import numba
    import scipy.linalg  # noqa: F401 - brings a BLAS of its own
    from threadpoolctl import threadpool_limits

    for blas, engine in POOLS:
        numba.set_num_threads(engine)
        digest = hashlib.sha256()
        with threadpool_limits(blas, "blas"):
            for value in _MADE[what]():
                digest.update(np.ascontiguousarray(value).tobytes())
        print(f"{(blas, engine)}: {digest.hexdigest()}")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent / "support"))
    main(sys.argv[1])
