"""What Gauss-Newton with local derivatives replaces, on the same photo, start and image size.

All start from the landmark fit and the first lighting, at one image size. Costs are compared in the start's visibility,
so that all minimise one function.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.comparison.watched import WatchedDifferentiator, WatchedEngine
from faceinv.engine.host_terms import HostTerms, priors
from faceinv.engine.records import SHADED, LandmarkPoints
from faceinv.face.camera import rotation_matrix
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.solver import SolverSettings, gauss_newton

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.comparison.measure import Case, Task
    from faceinv.engine.records import Frozen, Problem

__all__ = ["EQUAL", "Start", "common_start", "first_below", "host_baselines", "run_gauss_newton"]

TIGHT: Final = SolverSettings(max_iterations=150, cost_tolerance=1e-9)
"""Gauss-Newton goes on well beyond a fit's usual tolerance, to see when it passes the others' best."""
EQUAL: Final = 1e-3
"""Costs are called equal within this fraction: the usual tolerance of a fit."""

Trace = list[tuple[float, float]]


@dataclass(frozen=True)
class Start:
    """Where all methods start."""

    problem: Problem
    chi: NDArray[np.float64]
    """(1, P)."""


class _HeldObjective(FaceObjective):
    """The energy with visibility and landmark points held as they were at the start."""

    held: Frozen | None = None

    def freeze(self, x: NDArray[np.float64]) -> Frozen:
        """See `AbstractObjective.freeze`."""
        if self.held is None:
            self.held = super().freeze(x)
        return self.held


def common_start(fitter: Fitter, case: Case) -> Start:
    """The finest level's problem, and where a fit of one level enters it."""
    config, engine = fitter.config, fitter.engine
    watched = WatchedEngine(engine)
    fitter.engine, fitter.config = watched, replace(config, levels=1, iterations=1)
    try:
        fitter.fit(case.image, case.landmarks)
    finally:
        fitter.engine, fitter.config = engine, config
    finest = watched.made[-1]
    assert finest.start is not None  # a fit of one level freezes there
    return Start(finest.problem, finest.start)


def run_gauss_newton(fitter: Fitter, start: Start, held: bool = False) -> tuple[Trace, NDArray[np.float64]]:
    """Costs over time from the start, and where it ended, after a warm-up; `held`: in the start's visibility."""
    kind = _HeldObjective if held else FaceObjective
    gauss_newton(kind(fitter.engine.differentiator(start.problem)), start.chi, replace(TIGHT, max_iterations=2))
    watched = WatchedDifferentiator(fitter.engine.differentiator(start.problem))
    solution = gauss_newton(kind(watched), start.chi, TIGHT)
    return watched.trace, solution.x


def first_below(trace: Trace, cost: float) -> float | None:
    """Seconds until the cost is reached, or None."""
    return next((seconds for seconds, cost_then in trace if cost_then <= cost), None)


def host_baselines(task: Task) -> dict[str, Any]:
    """Finite differences and SciPy, on the task's engine."""
    fitter = Fitter(task.model, task.backend, task.config)
    start = common_start(fitter, task.cases[0])
    return {
        "finite_differences": _finite_differences(fitter, start, task.rounds),
        "least_squares": _least_squares(fitter, start),
    }


def _finite_differences(fitter: Fitter, start: Start, rounds: int) -> dict[str, Any]:
    """One render, times the renders that a Jacobian by forward differences takes."""
    renderer, differentiator = (
        fitter.engine.renderer,
        WatchedDifferentiator(fitter.engine.differentiator(start.problem)),
    )
    seconds, active, count = [], np.ones(1, np.bool_), int(fitter.layout.unknowns.sum())
    lighting = fitter.layout.gamma(start.chi)
    for number in range(rounds + 1):
        chi = start.chi + 1e-9 * (number + 1)  # nothing remembered serves
        began = time.perf_counter()
        geometry = renderer.geometry(chi)
        visibility = renderer.rasterize(geometry, start.problem.size)
        renderer.shade(renderer.interpolate(geometry, visibility, SHADED), lighting)
        renderer.synchronize()
        seconds.append(time.perf_counter() - began)
        moved = chi + 5e-10
        differentiator.linearize(moved, differentiator.freeze(moved), active)
    render = float(np.median(seconds[1:]))
    one = sum(float(np.median(differentiator.seconds[name][1:])) for name in ("freeze", "linearize"))
    return {
        "engine": fitter.backend,
        "note": "extrapolated: the time of one render (surface, visibility, shading) times P + 1 renders",
        "render_ms": render * 1e3,
        "parameters": count,
        "extrapolated_s": render * (count + 1),
        "linearization_s": one,
        "ratio": render * (count + 1) / one,
    }


class _Rows:
    """The energy as plain squares of a vector over tangent steps from the start, everything frozen there.

    A photometric residual r becomes the signed root of its Huber cost, so that the sum of squares is E.
    """

    def __init__(self, fitter: Fitter, start: Start) -> None:
        self._start, self._layout = start, fitter.layout
        self._differentiator = fitter.engine.differentiator(start.problem)
        self._frozen = self._differentiator.freeze(start.chi)
        self._terms = HostTerms(fitter.engine.renderer.model)
        self._free = FaceObjective(self._differentiator).free[0]
        points = self._frozen.points
        self._points = LandmarkPoints(points.vertices[:1], points.weights[:1], points.metric[:1])
        weights, means = priors(fitter.layout, start.problem)
        self._prior, self._mean = np.sqrt(weights[0]), means[0]
        self._latest: tuple[bytes, NDArray[np.float64], NDArray[np.float64]] | None = None
        self.trace: Trace = []
        self.began = time.perf_counter()

    def residual(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R,)."""
        residual = self._at(step)[0]
        self.trace.append((time.perf_counter() - self.began, float(residual @ residual)))
        return residual

    def jacobian(self, step: NDArray[np.float64]) -> NDArray[np.float64]:
        """(R, P)."""
        return self._at(step)[1]

    def _at(self, step: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if self._latest is None or self._latest[0] != step.tobytes():
            chi = self._layout.retract(self._start.chi, step[None])
            photo = self._differentiator.residual_jacobian(chi, self._frozen, 0)
            weight = photo.weight
            marks, by_chi = self._terms.landmark_rows(chi, self._points, self._start.problem, np.array([0]))
            residual = [photo.residual * np.sqrt(weight * (2 - weight)), marks[0], self._prior * (chi[0] - self._mean)]
            rows = [photo.jacobian * np.sqrt(weight / (2 - weight))[:, None], by_chi[0], np.diag(self._prior)]
            jacobian = np.concatenate(rows)
            turn = self._layout.rotation
            jacobian[:, turn] = jacobian[:, turn] @ _turning(step[turn])
            jacobian[:, ~self._free] = 0.0
            self._latest = step.tobytes(), np.concatenate(residual), jacobian
        return self._latest[1:]


def _turning(w: NDArray[np.float64]) -> NDArray[np.float64]:
    """d: exp(w + e) = exp(d e) exp(w) to first order (3, 3)."""
    # The mean of the turns on the way to w, by Gauss's rule: exact to rounding for the angles met here.
    nodes, weights = np.polynomial.legendre.leggauss(8)
    mean: NDArray[np.float64] = sum(
        (0.5 * weight * rotation_matrix((0.5 + 0.5 * node) * w) for node, weight in zip(nodes, weights, strict=True)),
        np.zeros((3, 3)),
    )
    return mean


def _least_squares(fitter: Fitter, start: Start) -> dict[str, Any]:
    """SciPy's trust region on the same residuals and Jacobian, against Gauss-Newton, both in the start's visibility."""
    from scipy.optimize import least_squares

    newton, _ = run_gauss_newton(fitter, start, held=True)
    rows = _Rows(fitter, start)
    rows.jacobian(np.full(fitter.layout.count, 1e-9))  # warm-up
    rows.began = time.perf_counter()
    optimum = least_squares(
        rows.residual,
        np.zeros(fitter.layout.count),
        jac=rows.jacobian,
        method="trf",
        x_scale="jac",
        ftol=1e-6,
        max_nfev=100,
    )
    seconds = time.perf_counter() - rows.began
    goal = max(newton[-1][1], 2 * float(optimum.cost)) * (1 + EQUAL)
    theirs, ours = first_below(rows.trace, goal), first_below(newton, goal)
    return {
        "engine": fitter.backend,
        "note": "visibility and landmark points held as at the start for both; costs equal within 0.1 %",
        "start_cost": rows.trace[0][1],
        "final_cost": 2 * float(optimum.cost),
        "evaluations": int(optimum.nfev),
        "total_s": seconds,
        "gauss_newton_final_cost": newton[-1][1],
        "equal_cost": goal,
        "seconds_to_equal_cost": theirs,
        "gauss_newton_seconds_to_equal_cost": ours,
        "ratio": theirs / ours if theirs and ours else None,
        "trace": rows.trace,
        "gauss_newton_trace": newton,
    }
