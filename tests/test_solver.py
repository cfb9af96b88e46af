"""The driver on textbook problems; it is told nothing of faces."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import least_squares

from faceinv.engine.host_solve import solve_on_host
from faceinv.engine.records import Cost, Linearization, Step
from faceinv.fitting.solver import AbstractObjective, Iteration, Solution, SolverSettings, Status, gauss_newton

Vector = NDArray[np.float64]
Function = Callable[[Vector], tuple[Vector, Vector]]
"""x -> residual (R,) and Jacobian (R, P)."""


class Squares(AbstractObjective):
    """A batch of sums of squares, one function for each item; counts what it is asked for."""

    def __init__(self, functions: Sequence[Function]) -> None:
        self.functions = functions
        self.linearized = np.zeros(len(functions), np.int64)
        self.priced = np.zeros(len(functions), np.int64)

    def freeze(self, x: Vector) -> Any:
        return x.copy()

    def linearize(self, x: Vector, state: Any, active: NDArray[np.bool_]) -> Linearization:
        batch, count = x.shape
        assert np.array_equal(state[active], x[active]), "derivatives are wanted where the state was made"
        cost, gradient, hessian = np.zeros(batch), np.zeros((batch, count)), np.zeros((batch, count, count))
        for item in np.flatnonzero(active).tolist():
            residual, jacobian = self.functions[item](x[item])
            cost[item], gradient[item] = residual @ residual, jacobian.T @ residual
            hessian[item] = jacobian.T @ jacobian
            self.linearized[item] += 1
        return Linearization(Cost.of(squares=cost), gradient, hessian, np.full(batch, 7))

    def cost(self, x: Vector, state: Any, active: NDArray[np.bool_]) -> Cost:
        cost = np.zeros(len(x))
        for item in np.flatnonzero(active).tolist():
            residual, _ = self.functions[item](x[item])
            cost[item] = residual @ residual
            self.priced[item] += 1
        return Cost.of(squares=cost)

    def solve(self, linearization: Linearization, damping: Vector) -> Step:
        free = np.ones(linearization.gradient.shape[1], np.bool_)
        return solve_on_host(linearization.gradient, linearization.hessian, damping, free)

    def retract(self, x: Vector, step: Vector) -> Vector:
        return x + step


def rosenbrock(x: Vector) -> tuple[Vector, Vector]:
    return np.array([10 * (x[1] - x[0] ** 2), 1 - x[0]]), np.array([[-20 * x[0], 10.0], [-1.0, 0.0]])


def linear(seed: int) -> Function:
    rng = np.random.default_rng(seed)
    matrix, target = rng.normal(size=(6, 2)), rng.normal(size=6)
    return lambda x: (matrix @ x - target, matrix)


def exponential(x: Vector) -> tuple[Vector, Vector]:
    """a exp(b t) through points that are not quite on such a curve."""
    t = np.linspace(0, 2, 9)
    grown = np.exp(np.clip(x[1] * t, -50, 50))
    residual = x[0] * grown - (2.5 * np.exp(-1.3 * t) + 0.05 * np.cos(7 * t))
    return residual, np.stack([grown, x[0] * t * grown], axis=1)


def kink(x: Vector) -> tuple[Vector, Vector]:
    """Its slope promises a descent that there is not: no step lowers the cost."""
    return np.array([1 + abs(x[0]), 0.0]), np.array([[1.0, 0.0], [0.0, 1.0]])


def logarithm(x: Vector) -> tuple[Vector, Vector]:
    """Undefined for x <= 0, where the first full step from 5 leads."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.array([np.log(x[0]), x[1]]), np.array([[1 / x[0], 0.0], [0.0, 1.0]])


def undefined(x: Vector) -> tuple[Vector, Vector]:
    return np.full(2, np.nan), np.eye(2)


def run(*items: tuple[Function, Sequence[float]], **changes: Any) -> Solution:
    functions, starts = zip(*items, strict=True)
    return gauss_newton(Squares(functions), np.array(starts, np.float64), SolverSettings(**changes))


def test_a_linear_problem_takes_one_step() -> None:
    solution = run((linear(0), (3.0, -4.0)), initial_damping=0.0, max_iterations=1)
    residual, matrix = linear(0)(np.zeros(2))
    assert solution.x[0] == pytest.approx(np.linalg.lstsq(matrix, -residual, rcond=None)[0], abs=1e-9)
    assert solution.history[0].accepted
    assert solution.history[0].gain == pytest.approx(1.0)


def test_rosenbrock_reaches_its_minimum() -> None:
    solution = run((rosenbrock, (-1.2, 1.0)), max_iterations=100, cost_tolerance=0.0)
    assert solution.x[0] == pytest.approx([1.0, 1.0], abs=1e-8)
    assert solution.cost.total[0] < 1e-16
    assert solution.status[0].success


def test_exponential_fit_agrees_with_scipy() -> None:
    solution = run((exponential, (1.0, 0.0)), max_iterations=60, cost_tolerance=1e-12)

    def residual(x: Vector) -> Vector:
        return exponential(x)[0]

    wanted = least_squares(residual, (1.0, 0.0), xtol=1e-14, ftol=1e-14, gtol=1e-14)
    assert solution.x[0] == pytest.approx(wanted.x, rel=1e-5)
    assert solution.cost.total[0] == pytest.approx(2 * wanted.cost, rel=1e-9)


REASONS: dict[Status, tuple[Function, tuple[float, float], dict[str, Any]]] = {
    Status.CONVERGED_COST: (exponential, (1.0, 0.0), {}),
    Status.CONVERGED_STEP: (kink, (0.0, 0.0), {"max_iterations": 60}),
    Status.CONVERGED_GRADIENT: (logarithm, (1.0, 0.0), {}),
    Status.MAX_ITERATIONS: (rosenbrock, (-1.2, 1.0), {"max_iterations": 2}),
    Status.NO_DECREASE: (kink, (0.0, 0.0), {"max_iterations": 60, "step_tolerance": 0.0}),
    Status.NOT_FINITE: (undefined, (0.0, 0.0), {}),
}


@pytest.mark.parametrize("status", Status)
def test_every_status_is_reached(status: Status) -> None:
    function, start, changes = REASONS[status]
    assert run((function, start), **changes).status == (status,)


@pytest.mark.parametrize("status", Status)
def test_every_status_is_a_sentence(status: Status) -> None:
    assert status.value[0].isupper()
    assert status.value.endswith(".")
    assert " " in status.value
    assert status.success == (status is not Status.NOT_FINITE)


def test_items_of_a_batch_stop_for_their_own_reasons() -> None:
    items = [(linear(1), (2.0, 2.0)), (undefined, (5.0, 6.0)), (kink, (0.0, 0.0)), (rosenbrock, (-1.2, 1.0))]
    solution = run(*items, max_iterations=12, cost_tolerance=1e-9)
    assert solution.status[1] is Status.NOT_FINITE
    assert solution.status[3] is Status.MAX_ITERATIONS
    assert solution.status[0] in (Status.CONVERGED_COST, Status.CONVERGED_STEP, Status.CONVERGED_GRADIENT)
    assert np.array_equal(solution.x[1], [5.0, 6.0]), "an item without a finite cost stays where it was"


@given(seed=st.integers(0, 10**6), order=st.permutations(range(4)))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_a_batch_equals_its_items_alone(seed: int, order: list[int]) -> None:
    pool = [(linear(seed), (1.0, 1.0)), (rosenbrock, (-1.2, 1.0)), (exponential, (1.0, 0.0)), (kink, (0.0, 0.0))]
    items = [pool[k] for k in order]
    together = run(*items)
    for place, item in enumerate(items):
        alone = run(item)
        assert np.array_equal(together.x[place], alone.x[0])
        assert together.status[place] is alone.status[0]
        assert together.cost.total[place] == alone.cost.total[0]
        assert np.array_equal(together.linearization.hessian[place], alone.linearization.hessian[0])
        ours = [(r.cost, r.trial_cost, r.damping, r.accepted) for r in together.history if r.item == place]
        assert ours == [(r.cost, r.trial_cost, r.damping, r.accepted) for r in alone.history]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=25, deadline=None, derandomize=True)
def test_accepted_steps_never_raise_the_cost(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(4, 2)), rng.normal(size=(4, 2))

    def curved(x: Vector) -> tuple[Vector, Vector]:
        return np.sin(a @ x) + (b @ x) ** 2 - 1, np.cos(a @ x)[:, None] * a + 2 * (b @ x)[:, None] * b

    solution = run((curved, rng.normal(0, 2, 2).tolist()), max_iterations=40)
    reached = [r.trial_cost for r in solution.history if r.accepted]
    for record in solution.history:
        assert record.accepted == (record.trial_cost < record.cost)
    assert reached == sorted(reached, reverse=True)
    assert solution.cost.total[0] == min([solution.history[0].cost, *reached])


def test_a_trial_without_a_finite_cost_is_refused_and_a_shorter_step_taken() -> None:
    solution = run((logarithm, (5.0, 0.0)), cost_tolerance=0.0, max_iterations=60)
    assert not solution.history[0].accepted
    assert np.isnan(solution.history[0].trial_cost)
    assert solution.x[0, 0] == pytest.approx(1.0)
    assert solution.status[0].success


def test_damping_grows_faster_with_each_refusal_and_falls_after_a_good_step() -> None:
    refused = run((kink, (0.0, 0.0)), max_iterations=4).history
    assert [r.damping for r in refused] == pytest.approx([1e-3, 2e-3, 8e-3, 64e-3])
    good, after = run((linear(2), (3.0, 3.0)), initial_damping=1.0, max_iterations=2).history
    assert good.gain > 0.95
    assert after.damping == pytest.approx(1 / 3)


def test_a_system_that_is_not_positive_definite_is_damped_more() -> None:
    """Rounding can leave H slightly indefinite; that is no sign of a minimum."""

    class Stubborn(Squares):
        def solve(self, linearization: Linearization, damping: Vector) -> Step:
            shifted = linearization.hessian - 0.5 * np.einsum("bii->bi", linearization.hessian)[:, None] * np.eye(2)
            free = np.ones(2, np.bool_)
            return solve_on_host(linearization.gradient, shifted, damping, free)

    def skewed(x: Vector) -> tuple[Vector, Vector]:
        matrix = np.array([[1.0, 0.9], [0.0, 0.2]])
        return matrix @ x - 1.0, matrix

    start = np.array([[4.0, -3.0]])
    solution = gauss_newton(Stubborn([skewed]), start, SolverSettings(max_iterations=80, cost_tolerance=1e-9))
    assert solution.history[0].step == 0, "the first system cannot be solved"
    assert solution.cost.total[0] < 1e-3


def test_finished_items_cost_nothing_more() -> None:
    objective = Squares([undefined, rosenbrock])
    settings = SolverSettings(max_iterations=10, final_linearization=False)
    gauss_newton(objective, np.array([[0.0, 0.0], [-1.2, 1.0]]), settings)
    assert objective.linearized[0] == 1
    assert objective.priced[0] == 1
    assert objective.linearized[1] > 3


def test_refused_steps_need_no_new_derivatives() -> None:
    objective = Squares([kink])
    gauss_newton(objective, np.zeros((1, 2)), SolverSettings(max_iterations=5))
    assert objective.priced[0] == 5
    assert objective.linearized[0] == 1


@pytest.mark.parametrize("limit", [1, 3, 25])
def test_the_last_linearization_is_the_solutions(limit: int) -> None:
    solution = run((exponential, (1.0, 0.0)), max_iterations=limit)
    residual, jacobian = exponential(solution.x[0])
    assert solution.cost.total[0] == residual @ residual
    assert np.array_equal(solution.linearization.gradient[0], jacobian.T @ residual)
    assert np.array_equal(solution.state, solution.x)


def test_without_a_final_linearization_there_is_one_less() -> None:
    counts = []
    for final in (True, False):
        objective = Squares([exponential])
        settings_ = SolverSettings(max_iterations=2, final_linearization=final)
        gauss_newton(objective, np.array([[1.0, 0.0]]), settings_)
        counts.append(int(objective.linearized[0]))
    assert counts == [3, 2]


def test_progress_hears_of_every_iteration_and_the_start_is_left_alone() -> None:
    heard: list[Iteration] = []
    start = np.array([[1.0, 0.0], [0.0, 0.0]])
    solution = gauss_newton(Squares([exponential, linear(3)]), start, progress=heard.append)
    assert tuple(heard) == solution.history
    assert np.array_equal(start, [[1.0, 0.0], [0.0, 0.0]])
    assert {r.rows for r in heard} == {7}


def spd(seed: int, count: int = 4) -> tuple[Vector, Vector]:
    rng = np.random.default_rng(seed)
    jacobian, residual = rng.normal(size=(9, count)), rng.normal(size=9)
    return jacobian.T @ residual, jacobian.T @ jacobian


@given(seed=st.integers(0, 10**6), damping=st.floats(0, 100))
@settings(max_examples=20, deadline=None, derandomize=True)
def test_step_solves_the_damped_system_over_free_entries(seed: int, damping: float) -> None:
    gradient, hessian = spd(seed)
    free = np.array([True, False, True, True])
    step = solve_on_host(gradient[None], hessian[None], np.array([damping]), free)
    part = hessian[np.ix_(free, free)]
    wanted = np.linalg.solve(part + damping * np.diag(np.diagonal(part)), -gradient[free])
    assert step.delta[0, free] == pytest.approx(wanted, rel=1e-6, abs=1e-9)
    assert step.delta[0, 1] == 0
    delta = step.delta[0]
    assert step.predicted_decrease[0] == pytest.approx(-(2 * gradient @ delta + delta @ hessian @ delta))
    assert step.predicted_decrease[0] > 0
    assert step.gradient_norm[0] == pytest.approx(np.abs(gradient[free] / np.sqrt(np.diagonal(part))).max())
    assert step.solved[0]


def test_units_of_the_unknowns_do_not_matter() -> None:
    gradient, hessian = spd(5)
    unit = np.array([1e-2, 1.0, 1e3, 30.0])
    free, damping = np.ones(4, np.bool_), np.array([0.3])
    plain = solve_on_host(gradient[None], hessian[None], damping, free)
    other = solve_on_host((gradient * unit)[None], (hessian * np.outer(unit, unit))[None], damping, free)
    assert other.delta * unit == pytest.approx(plain.delta, rel=1e-9)
    assert other.predicted_decrease == pytest.approx(plain.predicted_decrease)


def test_entries_that_nothing_depends_on_stay() -> None:
    gradient, hessian = spd(6)
    gradient[2], hessian[2], hessian[:, 2] = 0.0, 0.0, 0.0
    step = solve_on_host(gradient[None], hessian[None], np.zeros(1), np.ones(4, np.bool_))
    assert step.solved[0]
    assert step.delta[0, 2] == 0


@pytest.mark.parametrize("broken", [np.nan, np.inf, -50.0])
def test_systems_that_cannot_be_solved_are_said_so(broken: float) -> None:
    gradient, hessian = spd(7)
    hessian[1, 1] = broken
    both = solve_on_host(np.stack([gradient] * 2), np.stack([hessian, spd(7)[1]]), np.zeros(2), np.ones(4, np.bool_))
    assert both.solved.tolist() == [False, True]
    assert not both.delta[0].any()
    assert both.delta[1].any()


# ---- an arrow: many problems that share unknowns, solved by the shape of their Hessian


@dataclass(frozen=True)
class ArrowLinearization:
    """H of [shared | own of curve 0 | own of curve 1 ...]: dense in `shared`, diagonal in the rest."""

    cost: Cost
    rows: NDArray[np.int64]
    shared: Vector
    """(2, 2)."""
    border: Vector
    """(2, n)."""
    own: Vector
    """(n,)."""
    gradient: Vector
    """(2 + n,)."""


class SharedDecay(AbstractObjective):
    """Curves own_i exp(-a t) + b, with a and b shared by all: one item, 2 + n unknowns, no dense Hessian."""

    def __init__(self, curves: Vector, times: Vector) -> None:
        self.curves, self.times = curves, times

    def freeze(self, x: Vector) -> None:
        return None

    def _residual(self, x: Vector) -> tuple[Vector, Vector]:
        decay = np.exp(-np.clip(x[0, 0], -5, 5) * self.times)
        return x[0, 2:, None] * decay + x[0, 1] - self.curves, decay

    def cost(self, x: Vector, state: None, active: NDArray[np.bool_]) -> Cost:
        return Cost.of(curves=np.array([(self._residual(x)[0] ** 2).sum()]))

    def linearize(self, x: Vector, state: None, active: NDArray[np.bool_]) -> ArrowLinearization:
        residual, decay = self._residual(x)
        by_shared = np.stack([-x[0, 2:, None] * self.times * decay, np.ones_like(residual)])  # (2, n, t)
        return ArrowLinearization(
            cost=self.cost(x, state, active),
            rows=np.array([residual.size]),
            shared=np.einsum("ant,bnt->ab", by_shared, by_shared),
            border=by_shared @ decay,
            own=np.full(len(residual), decay @ decay),
            gradient=np.concatenate([np.einsum("ant,nt->a", by_shared, residual), residual @ decay]),
        )

    def solve(self, linearization: ArrowLinearization, damping: Vector) -> Step:
        l, factor = linearization, 1 + damping[0]  # noqa: E741
        own, shared = factor * l.own, l.shared + damping[0] * np.diag(np.diag(l.shared))
        schur = shared - l.border / own @ l.border.T
        first = np.linalg.solve(schur, -l.gradient[:2] + l.border / own @ l.gradient[2:])
        rest = (-l.gradient[2:] - l.border.T @ first) / own
        delta = np.concatenate([first, rest])
        bent = first @ l.shared @ first + 2 * first @ l.border @ rest + rest @ (l.own * rest)
        scale = np.sqrt(np.concatenate([np.diag(l.shared), l.own]))
        return Step(
            delta[None],
            np.array([-(2 * l.gradient @ delta + bent)]),
            np.array([np.abs(l.gradient / scale).max()]),
            np.array([True]),
        )

    def retract(self, x: Vector, step: Vector) -> Vector:
        return x + step


def test_an_arrow_shaped_problem_needs_no_other_loop() -> None:
    rng, times, count = np.random.default_rng(5), np.linspace(0, 3, 12), 40
    own = rng.uniform(0.5, 2, count)
    curves = own[:, None] * np.exp(-1.3 * times) + 0.4 + 0.01 * rng.normal(size=(count, 12))
    start = np.concatenate([[0.3, 0.0], np.ones(count)])
    objective = SharedDecay(curves, times)
    solution = gauss_newton(objective, start[None], SolverSettings(max_iterations=60, cost_tolerance=1e-13))

    def residual(x: Vector) -> Vector:
        return objective._residual(x[None])[0].ravel()

    known = least_squares(residual, start, xtol=1e-14, ftol=1e-14)
    assert solution.x[0] == pytest.approx(known.x, abs=1e-5)
    assert solution.x[0, :2] == pytest.approx([1.3, 0.4], abs=0.05)
    assert dict(solution.history[0].terms) == {"curves": solution.history[0].cost}
