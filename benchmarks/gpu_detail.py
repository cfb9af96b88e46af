"""Fine detail on a GPU for `gpu.py`: checked against the reference engine, then measured."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.detail.prepare import ROBUST_BANDS, ROBUST_WEIGHTS
from faceinv.detail.solver import solve_detail
from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
from faceinv.engine.interface import Engine
from faceinv.engine.records import DType, EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.errors import BackendError
from faceinv.face.model import MorphableModel

__all__ = ["check_detail", "detail_kernels_table", "detail_table", "skin_patches"]

_TOLERANCE: Final[dict[DType, float]] = {"float64": 1e-10, "float32": 1e-4}
"""Relative to the largest number; of float32, a step of conjugate gradients after the other adds to it."""
_SWEEPS: Final = 23
"""Numbers of each pixel that a step of conjugate gradients moves: its three kernels read 7, 4 and 5 and write 4, 1 and
2."""


def skin_patches(batch: int, size: int, seed: int) -> DetailProblem:
    """Noisy ovals of skin, size x size px, as the stage would hand them over."""
    rng = np.random.default_rng(seed)
    y, x = (np.mgrid[:size, :size] + 0.5) / size * 2 - 1
    mask = np.repeat((x**2 / 0.6 + y**2 < 0.9)[None], batch, axis=0)
    mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    normal = np.stack([0.8 * x, -0.7 * y, np.sqrt(np.maximum(1 - (0.8 * x) ** 2 - (0.7 * y) ** 2, 0.1))], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    lighting = rng.normal(0, 0.15, (batch, 9, 3))
    lighting[:, 0] += 2.0
    lighting[:, 2] += 1.0
    return DetailProblem(
        target=np.exp(rng.normal(0, 0.05, (batch, size, size, 3))).astype(np.float32),
        gain=np.full((batch, size, size, 3), 0.8, np.float32),
        normal=np.repeat(normal[None].astype(np.float32), batch, axis=0),
        weight=np.ones((batch, size, size), np.float32),
        mask=mask,
        lighting=lighting,
        metric=np.repeat(np.eye(3)[None] / 3, batch, axis=0),
        pixel=np.full(batch, 180.0 / size),
        principal_point=np.full((batch, 2), (size - 1) / 2),
        inverse_focal=np.full(batch, 0.5 / size),
        weights=ROBUST_WEIGHTS,
        bands=ROBUST_BANDS,
    )


def check_detail(
    build: Callable[[MorphableModel, EngineSettings], Engine], model: MorphableModel, size: int
) -> list[str]:
    """What differs from the reference engine, or from itself, by more than it may."""
    wrong: list[str] = []
    problem = skin_patches(2, size, 7)
    wanted = _evaluated(build_engine("numpy:float64", model, EngineSettings()).detail(problem))
    dtypes: tuple[DType, ...] = ("float32", "float64")
    for dtype in dtypes:
        engine = build(model, EngineSettings(dtype=dtype))
        found, again = (_evaluated(engine.detail(problem)) for _ in range(2))
        known = len(wrong)
        for name, value in found.items():
            off = float(np.abs(value - wanted[name]).max()) / max(float(np.abs(wanted[name]).max()), 1e-300)
            if not off <= _TOLERANCE[dtype]:
                wrong.append(f"detail {dtype}: {name} is off by {off:.1e}, allowed {_TOLERANCE[dtype]:.0e}")
            if not np.array_equal(value, again[name]):
                wrong.append(f"detail {dtype}: {name} differs between two runs")
        print(f"check detail {dtype} {size} px: {wrong[known:] or 'ok'}", flush=True)
    return wrong


def _evaluated(solver: AbstractDetailSolver) -> dict[str, np.ndarray[Any, Any]]:
    """Everything that a level computes, at a rough displacement."""
    corners = solver.problem.corners
    rng = np.random.default_rng(3)
    start = solver.upload(np.where(corners, rng.normal(0, 0.05, corners.shape), 0.0))
    here = solver.linearize(start)
    step, _ = solver.solve(here, 1e-6, 8)
    half = solver.upload(np.where(corners, rng.normal(0, 0.05, corners.shape), 0.0))
    arrays = {
        "gradient": here.gradient,
        "product": solver.hessian_product(here, start),
        "step": step,
        "moved": solver.moved(start, step, np.linspace(0, 1, len(corners))),
        "normals": solver.normals(start),
        "prolonged": solver.prolong(half),
    }
    return {"cost": here.cost, **{name: np.asarray(solver.to_host(array)) for name, array in arrays.items()}}


def detail_table(engine: CudaEngine, cases: list[tuple[int, int]], timer: Any, copied: float | None) -> list[list[str]]:
    """A row for each (batch, size): milliseconds of a linearisation, microseconds of a step of conjugate gradients,
    and the whole search, sent there and fetched, for each face, with the part of it that the host spends on bands
    between sizes and at the end.

    Args:
        engine: on the GPU.
        cases: (batch, size).
        timer: of `gpu.py`.
        copied: bytes a second of a large copy; None where that is not known.
    """
    rows = [
        ["px", "batch", "linearize ms", "step us a face", "GB/s", "x floor", "search ms a face", "of it bands, host"]
    ]
    for batch, size in cases:
        try:
            problem = skin_patches(batch, size, batch + size)
            solver = engine.detail(problem)
            here = solver.linearize(solver.upload(None))
            count = 24

            def search(problem: DetailProblem = problem) -> object:
                return solve_detail(engine.detail, problem)

            def without(problem: DetailProblem = problem) -> object:
                return solve_detail(engine.detail, dataclasses.replace(problem, bands=None))

            def steps(solver: AbstractDetailSolver = solver, here: Any = here, limit: int = count) -> object:
                return solver.solve(here, 0.0, limit)

            linearize = timer(lambda solver=solver, here=here: solver.linearize(here.gradient))
            step = timer(steps) / count
            whole, bare = timer(search, 1), timer(without, 1)
        except BackendError as error:
            rows.append([str(size), str(batch), str(error)[:60]])
            continue
        real = 8 if engine.renderer.settings.dtype == "float64" else 4
        moved = batch * (size + 1) ** 2 * _SWEEPS * real
        rows.append(
            [
                *(str(size), str(batch), f"{1e3 * linearize:.3f}", f"{1e6 * step / batch:.2f}"),
                f"{moved / step / 1e9:.0f}",
                "-" if copied is None else f"{step * copied / moved:.1f}",
                f"{1e3 * whole / batch:.2f}",
                f"{1e3 * (whole - bare) / batch:.2f}",
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    return rows


def detail_kernels_table(
    engine: CudaEngine, batch: int, size: int, profile: Callable[[Callable[[], object]], dict[str, float]], repeats: int
) -> list[list[str]]:
    """Where the time of a search goes, kernel by kernel: `profile` gives seconds by kernel of a piece of work."""
    problem = skin_patches(batch, size, 5)

    def search() -> None:
        solve_detail(engine.detail, problem)

    search()
    runs = [profile(search) for _ in range(repeats)]
    names = sorted(runs[0], key=lambda name: -runs[0][name])
    return [
        ["kernel", "us a face"],
        *([name, f"{1e6 * statistics.median(run.get(name, 0.0) for run in runs) / batch:.1f}"] for name in names),
    ]
