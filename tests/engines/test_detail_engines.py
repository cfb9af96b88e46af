"""Fine detail on every engine: derivatives are differences, engines agree, batches do not mix."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from detail_problems import displacement, item_of, patches
from numpy.typing import NDArray
from problems import toy_model
from tolerances import FINITE_DIFFERENCE, SAME, TOLERANCE, Tolerance, assert_agrees

from faceinv.detail.solver import LevelPlan, solve_detail
from faceinv.engine.detail import COST_PARTS, AbstractDetailSolver, DetailProblem
from faceinv.engine.interface import Engine
from faceinv.engine.records import DType, EngineSettings
from faceinv.engine.registry import build_engine

CASES: dict[str, dict[str, Any]] = {
    "robust": {"heavy_tails": True, "slope_softness": 0.05},
    "L1": {},
    "squares": {"huber": np.inf, "slope": 0.0, "steep": 0.0},
}
EACH = Tolerance(1e-5, "float32 sums of two thousand pixels, each rounded to 6e-8, with cancellation")
SOLVED = Tolerance(
    2e-3, "conjugate gradients magnify rounding: systems of condition 1e4 solved to 1e-3 of the residual"
)


@cache
def engine_of(name: str) -> Engine:
    return build_engine(name, toy_model(), EngineSettings())


@cache
def _bound(name: str, case: str) -> AbstractDetailSolver:
    return engine_of(name).detail(patches(**CASES[case]))


@pytest.fixture
def detailed(engine_name: str) -> str:
    """The name of an engine that finds detail."""
    if type(engine_of(engine_name)).detail is Engine.detail:
        pytest.skip(f"engine '{engine_name}' finds no detail")
    return engine_name


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_is_half_the_costs_difference(detailed: str, case: str) -> None:
    solver = _bound(f"{detailed}:float64", case)
    point, step = displacement(solver.problem), 1e-6
    along = displacement(solver.problem, 1.0, seed=3)
    gradient = solver.to_host(solver.linearize(solver.upload(point)).gradient)
    ends = [solver.linearize(solver.upload(point + sign * step * along)).cost.sum(axis=1) for sign in (1, -1)]
    assert_agrees((gradient * along).sum(axis=(1, 2)), (ends[0] - ends[1]) / (4 * step), FINITE_DIFFERENCE, "g")


def test_the_hessian_is_that_of_squares(detailed: str) -> None:
    """Where residuals vanish and costs are squares, Gauss-Newton's H is half the second difference of the cost."""
    problem = patches(**CASES["squares"], curvature=0.0)
    solver = engine_of(f"{detailed}:float64").detail(problem)
    point, along, step = displacement(problem, 0.02), displacement(problem, seed=5), 1e-4
    shown = _modelled(solver, point)
    exact = engine_of(f"{detailed}:float64").detail(replace(problem, target=shown))
    costs = [
        exact.linearize(exact.upload(point + sign * step * along)).cost[:, COST_PARTS.index("photometric")]
        for sign in (1, 0, -1)
    ]
    linearized = exact.linearize(exact.upload(point))
    product = exact.to_host(exact.hessian_product(linearized, exact.upload(along)))
    product = product - problem.weights.size * along
    second = (costs[0] - 2 * costs[1] + costs[2]) / (2 * step**2)
    coarse = Tolerance(1e-4, "targets are float32, which leaves residuals of 6e-8 in a second difference")
    assert_agrees((product * along).sum(axis=(1, 2)), second, coarse, "H")


def _modelled(solver: AbstractDetailSolver, point: NDArray[np.float64]) -> NDArray[np.float32]:
    """(B, H, W, 3) float32 what the model shows at a displacement."""
    from faceinv.face.lighting import sh_basis

    normals = solver.to_host(solver.normals(solver.upload(point)))
    shade = np.einsum("bhwk,bkc->bhwc", sh_basis(normals), solver.problem.lighting)
    shown: NDArray[np.float32] = (solver.problem.gain * shade).astype(np.float32)
    return shown


@pytest.mark.parametrize("case", CASES)
def test_the_hessian_is_symmetric_and_steps_solve_it(detailed: str, case: str) -> None:
    solver = _bound(f"{detailed}:float64", case)
    problem = solver.problem
    one, other = displacement(problem, seed=5), displacement(problem, seed=6)
    linearized = solver.linearize(solver.upload(displacement(problem)))
    products = [solver.to_host(solver.hessian_product(linearized, solver.upload(v))) for v in (one, other)]
    assert_agrees((products[0] * other).sum(axis=(1, 2)), (products[1] * one).sum(axis=(1, 2)), SAME, "symmetry")
    step, taken = solver.solve(linearized, 1e-9, 2000)
    assert (taken < 2000).all()
    product = solver.to_host(solver.hessian_product(linearized, step))
    assert_agrees(-product, solver.to_host(linearized.gradient), Tolerance(1e-7, "the residual asked for"), "H step")


@pytest.mark.parametrize("case", CASES)
def test_engines_agree(detailed: str, dtype: DType, case: str) -> None:
    found, wanted = _bound(f"{detailed}:{dtype}", case), _bound("numpy:float64", case)
    point, along = displacement(wanted.problem), displacement(wanted.problem, seed=7)
    tolerance = TOLERANCE[dtype] if dtype == "float64" else EACH
    got, want = (s.linearize(s.upload(point)) for s in (found, wanted))
    assert_agrees(got.cost, want.cost, tolerance, "cost")
    assert_agrees(found.to_host(got.gradient), wanted.to_host(want.gradient), tolerance, "g")
    products = [s.to_host(s.hessian_product(at, s.upload(along))) for s, at in ((found, got), (wanted, want))]
    assert_agrees(products[0], products[1], tolerance, "H v")
    normals = [s.to_host(s.normals(s.upload(point))) for s in (found, wanted)]
    assert_agrees(normals[0], normals[1], tolerance, "normals")
    length = np.array([0.0, 0.3])
    moved = [s.to_host(s.moved(s.upload(point), s.upload(along), length)) for s in (found, wanted)]
    assert_agrees(moved[0], moved[1], tolerance, "moved")
    solved = [s.solve(at, 1e-3, 5) for s, at in ((found, got), (wanted, want))]
    assert solved[0][1].tolist() == solved[1][1].tolist()
    steps = [s.to_host(step[0]) for s, step in zip((found, wanted), solved, strict=True)]
    assert_agrees(steps[0], steps[1], SOLVED, "step")


def test_levels_are_carried_up_alike(detailed: str, dtype: DType) -> None:
    found, wanted = (engine_of(name).detail(patches(42, 37)) for name in (f"{detailed}:{dtype}", "numpy:float64"))
    small = engine_of(f"{detailed}:{dtype}").detail(patches(21, 18))
    reference = engine_of("numpy:float64").detail(patches(21, 18))
    relief = displacement(small.problem)
    raised = [
        fine.to_host(fine.prolong(coarse.upload(relief))) for fine, coarse in ((found, small), (wanted, reference))
    ]
    assert_agrees(raised[0], raised[1], TOLERANCE[dtype], "prolonged")
    counts = wanted.problem.corners
    assert not raised[1][~counts].any()
    even = np.zeros_like(raised[1])
    even[:, ::2, ::2] = relief[:, :22, :19]
    assert_agrees(raised[1][:, ::2, ::2], np.where(counts, even, 0)[:, ::2, ::2], EACH, "corners that coincide")


def test_items_of_a_batch_do_not_touch(detailed: str) -> None:
    """Bit for bit where sums go by rows; the relief of each is what it is alone."""
    problem = patches(**CASES["robust"])
    engine = engine_of(f"{detailed}:float64")
    plan = (LevelPlan(3, 20), LevelPlan(3, 20))
    together = solve_detail(engine.detail, problem, plan)
    for item in range(2):
        alone = solve_detail(engine.detail, item_of(problem, item), plan)
        assert_agrees(together.displacement[item], alone.displacement[0], EACH, "relief")
        assert len(together.history[item]) == len(alone.history[0])
        assert together.status[item] is alone.status[0]


def test_the_same_bits_again(detailed: str) -> None:
    problem = patches(**CASES["robust"])
    plan = (LevelPlan(2, 10), LevelPlan(2, 10))
    first, second = (solve_detail(engine_of(detailed).detail, problem, plan) for _ in range(2))
    assert np.array_equal(first.displacement, second.displacement)
    assert np.array_equal(first.normal, second.normal)
    assert np.array_equal(first.cost, second.cost)


def test_items_that_do_not_move_keep_their_bits(detailed: str) -> None:
    solver = _bound(f"{detailed}:float32", "robust")
    start = solver.upload(displacement(solver.problem))
    step = solver.upload(displacement(solver.problem, seed=9))
    moved = solver.to_host(solver.moved(start, step, np.array([0.0, 1.0])))
    assert np.array_equal(moved[0], solver.to_host(start)[0])
    assert not np.array_equal(moved[1], solver.to_host(start)[1])


def test_a_mask_on_the_rim_is_refused() -> None:
    problem = patches()
    mask = problem.mask.copy()
    mask[0, 0, 3] = True
    with pytest.raises(ValueError, match="rim of the image"):
        replace(problem, mask=mask)


def test_shapes_that_differ_are_refused() -> None:
    problem: DetailProblem = patches()
    with pytest.raises(ValueError, match="gain has the shape"):
        replace(problem, gain=problem.gain[:, :-1])
