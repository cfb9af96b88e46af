"""One pass through all kernels on a problem large enough to fill more than one stretch of every loop.

Run as a script it is a process that may crash: with a barrier taken out (`barrier FILE NUMBER`) or under sanitizers
(`checked`), there also with a text replaced (`checked FILE OLD NEW`). See test_mistakes.py.
"""

from __future__ import annotations

import dataclasses
import re
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from detail_problems import displacement, patches
from executor import CpuDevice, KernelError
from problems import shadowed_model, toy_chi, toy_problem

from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.engine.records import EngineSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from faceinv.engine.records import DType, Normals
    from faceinv.face.model import MorphableModel

__all__ = ["BARRIER", "results", "wide_model", "without_barrier"]

BARRIER = re.compile(r"__sync(threads|warp)\(\);")
_BATCH = 2
_CHECKED_RUNS: tuple[tuple[int, DType, Normals], ...] = ((0, "float32", "smooth"), (3, "float64", "flat"))


@cache
def wide_model() -> MorphableModel:
    """The toy face with shadows and 70 identity modes: P = 112."""
    toy = shadowed_model()
    waves = np.sin(np.arange(1, 71) * 0.37 * (1 + toy.mean[:, :, None] / 90))
    return dataclasses.replace(toy, identity_basis=(waves / np.arange(1, 71) ** 0.5).astype(np.float32))


def without_barrier(number: int) -> Callable[[str], str]:
    """A text without one of its barriers, counted from 0."""

    def change(text: str) -> str:
        barrier = list(BARRIER.finditer(text))[number]
        return text[: barrier.start()] + "{}" + text[barrier.end() :]

    return change


def results(device: CpuDevice, dtype: DType = "float64", normals: Normals = "smooth") -> list[NDArray[np.float64]]:
    """All that the engine computes for the toy problem."""
    model = wide_model()
    engine = CudaEngine(device, model, EngineSettings(dtype=dtype, normals=normals))
    differentiator = engine.differentiator(toy_problem(_BATCH))
    chi, every = toy_chi(_BATCH, model), np.ones(_BATCH, np.bool_)
    frozen = differentiator.freeze(chi)
    linearization = differentiator.linearize(chi, frozen, every)
    free = engine.renderer.layout.unknowns.copy()
    free[3:6] = False
    step = differentiator.solve(linearization, np.full(_BATCH, 1e-3), free)
    geometry = engine.renderer.geometry(chi)
    assert frozen.visibility is not None
    pixels = engine.renderer.interpolate(geometry, frozen.visibility)
    rows = differentiator.residual_jacobian(chi, frozen, 1)
    cost = differentiator.cost(chi, frozen, every)
    kept = differentiator.without_occluders(chi, 0.1).problem.weights
    found = [
        *(geometry.vertices, geometry.normals, geometry.albedo, geometry.image_xy, geometry.depth),
        *(frozen.visibility.triangle, frozen.visibility.barycentric, frozen.pixels),
        *(frozen.points.vertices, frozen.points.weights),
        *(pixels.position, pixels.normal, pixels.albedo, pixels.shadow, pixels.depth, pixels.uv),
        engine.renderer.shade(pixels, engine.renderer.layout.gamma(chi)),
        *(linearization.cost.total, linearization.gradient, linearization.hessian, cost.total),
        *(step.delta, step.predicted_decrease, step.gradient_norm),
        *rows,
        *(kept, differentiator.photometric_rmse(chi)),
        *_relief(engine),
    ]
    return [np.asarray(array, np.float64) for array in found]


def _relief(engine: CudaEngine) -> list[NDArray[np.float64]]:
    """All that the engine computes for a level of fine detail."""
    problem = patches(30, 33)
    solver = engine.detail(problem)
    start = solver.upload(displacement(problem))
    here = solver.linearize(start)
    step, taken = solver.solve(here, 1e-2, 20)
    there = solver.moved(start, step, np.array([0.0, 1.0]))
    coarse = solver.upload(None)[:, :16, :17].copy()
    return [
        *(here.cost, here.gradient, step, taken, there, solver.normals(there)),
        *(solver.hessian_product(here, step), solver.prolong(coarse)),
    ]


def _without_barrier(file: str, number: str) -> None:
    plain = results(CpuDevice())
    for seed in range(4):
        device = CpuDevice(seed, changes={file: without_barrier(int(number))})
        try:
            changed = results(device)
        except KernelError as error:
            print(f"seen: {error}")
            return
        if not all(a.shape == b.shape and np.allclose(a, b, rtol=1e-9) for a, b in zip(plain, changed, strict=True)):
            print(f"seen: other results with seed {seed}")
            return
    print("not seen")


def _checked(file: str = "", old: str = "", new: str = "") -> None:
    changes = {file: lambda text: text.replace(old, new, 1)} if file else {}
    for seed, dtype, normals in _CHECKED_RUNS:
        results(CpuDevice(seed, checked=True, changes=changes), dtype, normals)
    print("clean")


if __name__ == "__main__":
    runs: dict[str, Callable[..., None]] = {"barrier": _without_barrier, "checked": _checked}
    runs[sys.argv[1]](*sys.argv[2:])
