"""Fine detail with CUDA kernels: like the reference, by finite differences, in batches, and in any order of blocks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from detail_problems import displacement, patches
from executor import CpuDevice
from tolerances import FINITE_DIFFERENCE, TOLERANCE, assert_agrees

from faceinv.backends.cupy_cuda.detail import CudaDetailSolver
from faceinv.backends.cupy_cuda.kernels import detail as kernels
from faceinv.backends.cupy_cuda.kernels import detail_solve
from faceinv.backends.numpy_numba.detail import NumbaDetailSolver
from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
from faceinv.engine.records import DType


@pytest.fixture(autouse=True)
def few_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, and fewer of them than pixels need, so that every loop goes round more than once."""
    monkeypatch.setattr(kernels, "_MOST_SUMS", 3)
    for module in (kernels, detail_solve):
        monkeypatch.setattr(module, "THREADS", 64)


def _all(solver: AbstractDetailSolver, problem: DetailProblem, limit: int = 7) -> dict[str, np.ndarray]:
    """Everything that a level computes."""
    start = solver.upload(displacement(problem))
    here = solver.linearize(start)
    step, taken = solver.solve(here, 1e-3, limit)
    vector = solver.upload(displacement(problem, seed=2))
    height, width = problem.size
    coarse: Any = np.random.default_rng(3).normal(size=(len(problem.mask), height // 2 + 1, width // 2 + 1))
    asked = {
        "gradient": here.gradient,
        "product": solver.hessian_product(here, vector),
        "step": step,
        "moved": solver.moved(start, step, np.array([0.0, 0.25])),
        "normals": solver.normals(start),
        "prolonged": solver.prolong(coarse.astype(np.asarray(solver.to_host(start)).dtype)),
    }
    return {"cost": here.cost, "taken": taken, **{name: solver.to_host(array) for name, array in asked.items()}}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("size", "heavy_tails"), [((21, 18), False), ((30, 47), True)])
def test_as_the_reference(dtype: DType, size: tuple[int, int], heavy_tails: bool) -> None:
    problem = patches(*size, heavy_tails=heavy_tails)
    found = _all(CudaDetailSolver(CpuDevice(), problem, dtype), problem)
    for name, reference in _all(NumbaDetailSolver(problem, "float64"), problem).items():
        assert_agrees(found[name], reference, TOLERANCE[dtype], name)


@pytest.mark.parametrize("weights", [{"curvature": 0.0}, {"slope": 0.0}, {"huber": np.inf}, {"steep": 0.0}])
@pytest.mark.parametrize("heavy_tails", [False, True])
def test_terms_can_be_left_out(weights: dict[str, Any], heavy_tails: bool) -> None:
    problem = patches(**weights, heavy_tails=heavy_tails)
    found = _all(CudaDetailSolver(CpuDevice(), problem, "float64"), problem)
    for name, reference in _all(NumbaDetailSolver(problem, "float64"), problem).items():
        assert_agrees(found[name], reference, TOLERANCE["float64"], name)


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_softness_may_be_zero_where_nothing_is_soft(heavy_tails: bool) -> None:
    off: dict[str, Any] = dict.fromkeys(("curvature", "slope", "curvature_softness", "slope_softness"), 0.0)
    problem = patches(**off, heavy_tails=heavy_tails)
    solver = CudaDetailSolver(CpuDevice(), problem, "float64")
    assert np.isfinite(solver.linearize(solver.upload(None)).cost).all()


@pytest.mark.parametrize("heavy_tails", [False, True])
def test_gradient_is_half_the_costs_derivative(heavy_tails: bool) -> None:
    problem = patches(heavy_tails=heavy_tails)
    solver = CudaDetailSolver(CpuDevice(), problem, "float64")
    start = displacement(problem)
    gradient = solver.to_host(solver.linearize(solver.upload(start)).gradient)
    for seed in range(4):
        direction = displacement(problem, 1.0, seed + 10)
        length = 1e-6
        costs = [
            solver.linearize(solver.upload(start + sign * length * direction)).cost.sum(axis=1) for sign in (1, -1)
        ]
        slope = (costs[0] - costs[1]) / (4 * length)
        assert_agrees((gradient * direction).sum(axis=(1, 2)), slope, FINITE_DIFFERENCE, "half the slope of the cost")


def test_frozen_model_is_symmetric_and_positive() -> None:
    problem = patches()
    solver = CudaDetailSolver(CpuDevice(), problem, "float64")
    here = solver.linearize(solver.upload(displacement(problem)))
    a, b = (displacement(problem, seed=seed) for seed in (5, 6))
    of_a, of_b = (solver.to_host(solver.hessian_product(here, solver.upload(v))) for v in (a, b))
    assert_agrees((a * of_b).sum(axis=(1, 2)), (b * of_a).sum(axis=(1, 2)), TOLERANCE["float64"], "a H b")
    assert ((a * of_a).sum(axis=(1, 2)) > 0).all()


def test_steps_solve_the_system() -> None:
    problem = patches(15, 13)
    solver = CudaDetailSolver(CpuDevice(), problem, "float64")
    here = solver.linearize(solver.upload(displacement(problem)))
    step, taken = solver.solve(here, 1e-12, 500)
    assert (taken < 500).all()
    assert_agrees(solver.to_host(solver.hessian_product(here, step)), -here.gradient, TOLERANCE["float64"], "H step")


def test_an_item_that_is_done_waits_for_the_others() -> None:
    """Its step stays what it was when it stopped, however long the others go on."""
    problem = patches()
    quiet = dataclasses.replace(problem, weight=problem.weight * np.array([1.0, 1e-4], np.float32)[:, None, None])
    solver = CudaDetailSolver(CpuDevice(), quiet, "float64")
    here = solver.linearize(solver.upload(displacement(quiet)))
    step, taken = solver.solve(here, 1e-2, 300)
    assert len(set(taken.tolist())) == 2
    first = int(taken.argmin())
    early, _ = solver.solve(here, 1e-2, int(taken[first]))
    np.testing.assert_array_equal(step[first], early[first])


def test_nothing_to_do_takes_no_step() -> None:
    problem = patches()
    empty = dataclasses.replace(problem, mask=np.zeros_like(problem.mask))
    solver = CudaDetailSolver(CpuDevice(), empty, "float32")
    here = solver.linearize(solver.upload(None))
    step, taken = solver.solve(here, 1e-2, 5)
    assert not here.cost.any()
    assert not step.any()
    assert not taken.any()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_same_bits_in_any_order_of_blocks(dtype: DType) -> None:
    problem = patches(30, 47)
    plain = _all(CudaDetailSolver(CpuDevice(), problem, dtype), problem)
    for seed in (1, 2):
        shuffled = _all(CudaDetailSolver(CpuDevice(seed), problem, dtype), problem)
        for name, array in plain.items():
            np.testing.assert_array_equal(shuffled[name], array, err_msg=name)


@pytest.mark.parametrize("item", [0, 1])
def test_items_get_what_they_get_alone(item: int) -> None:
    problem = patches()
    names = [field.name for field in dataclasses.fields(problem) if field.name not in ("weights", "bands")]
    fields: dict[str, Any] = {name: getattr(problem, name)[item : item + 1] for name in names}
    alone = dataclasses.replace(problem, **fields)
    both, one = (CudaDetailSolver(CpuDevice(), p, "float32") for p in (problem, alone))
    start = displacement(problem)
    here, there = both.linearize(both.upload(start)), one.linearize(one.upload(start[item : item + 1]))
    np.testing.assert_array_equal(there.cost[0], here.cost[item])
    np.testing.assert_array_equal(one.solve(there, 1e-3, 9)[0][0], both.solve(here, 1e-3, 9)[0][item])


def test_costs_and_counts_alone_come_to_the_host() -> None:
    problem = patches()
    device = CpuDevice()
    solver = CudaDetailSolver(device, problem, "float32")
    start = solver.upload(None)
    before = device.copied_to_host
    solver.solve(solver.linearize(start), 1e-3, 10)
    assert device.copied_to_host - before <= 2 * (4 * 8 + 10 * 4)
