"""From coarse to fine, linearisation after linearisation: the relief of a batch, on any engine.

At each level of a pyramid of sizes: linearise (which also gives the weights of L1 norms and of Huber's cost), take some
steps of conjugate gradients, and test the cost. A step that does not lower an item's cost is halved, up to
`_HALVINGS` times, else left out. The displacement stays on the engine's device all the while, but for what the default
does on the host in between (`faceinv.detail.bands`, where the problem has `bands`): before the finest size and at the
end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.detail.bands import log_albedo_change, without_broad
from faceinv.detail.levels import pyramid
from faceinv.detail.record import DetailStatus, DetailStep

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from faceinv.engine.detail import AbstractDetailSolver, Bands, DetailLinearization, DetailProblem

__all__ = ["PLAN", "LevelPlan", "Solved", "solve_detail"]

_HALVINGS: Final = 3


@dataclass(frozen=True)
class LevelPlan:
    """What is done at one size."""

    steps: int
    """Linearisations at most."""
    inner: int
    """Steps of conjugate gradients for each, at most."""


PLAN: Final = (LevelPlan(5, 50), LevelPlan(5, 50), LevelPlan(4, 40), LevelPlan(3, 30))
"""Of the default, from the coarsest size to the finest."""


@dataclass(frozen=True, eq=False)
class Solved:
    """The relief of a batch."""

    displacement: NDArray[np.float32]
    """(B, H + 1, W + 1) mm at the corners of pixels."""
    normal: NDArray[np.float32]
    """(B, H, W, 3) unit, camera frame."""
    cost: NDArray[np.float64]
    """(B, 4) in the order of `COST_PARTS`."""
    history: list[tuple[DetailStep, ...]]
    status: list[DetailStatus]


def solve_detail(
    engine: Callable[[DetailProblem], AbstractDetailSolver],
    problem: DetailProblem,
    plan: Sequence[LevelPlan] = PLAN,
    tolerance: float = 1e-3,
    inner_tolerance: float = 0.02,
) -> Solved:
    """Find the relief of every item.

    Args:
        engine: `Engine.detail`.
        problem: at the finest size; with its `bands`, albedo is found anew and broad relief left out on the host.
        plan: what to do at each size, from the coarsest on; as many sizes as entries.
        tolerance: an item is done with a size when a step lowers its cost by less than this share.
        inner_tolerance: conjugate gradients stop where the residual has fallen to this share.
    """
    count = len(problem.mask)
    history: list[list[DetailStep]] = [[] for _ in range(count)]
    displacement: Any = None
    bands = problem.bands
    status = [DetailStatus.ITERATION_LIMIT] * count
    solver: AbstractDetailSolver | None = None
    for level, (stage, sized) in enumerate(zip(plan, pyramid(problem, len(plan)), strict=True)):
        if bands is not None and solver is not None and level == len(plan) - 1:
            solver = engine(_with_albedo_of(solver, displacement, sized, bands))
        else:
            solver = engine(sized)
        displacement = solver.upload(None) if displacement is None else solver.prolong(displacement)
        here = solver.linearize(displacement)
        running = np.ones(count, np.bool_)
        for _ in range(stage.steps):
            step, inner = solver.solve(here, inner_tolerance, stage.inner)
            before = here.cost.sum(axis=1)
            displacement, here, length = _descend(solver, displacement, here, step, running)
            after = here.cost.sum(axis=1)
            for item in np.flatnonzero(running):
                history[item].append(DetailStep(level, float(before[item]), int(inner[item]), float(length[item])))
            running &= (length > 0) & (before - after > tolerance * before)
            if not running.any():
                break
        status = [DetailStatus.ITERATION_LIMIT if on else DetailStatus.CONVERGED for on in running]
    assert solver is not None  # a plan has levels
    if bands is not None:
        displacement = solver.upload(without_broad(problem, np.asarray(solver.to_host(displacement)), bands))
        here = solver.linearize(displacement)
    return Solved(
        np.asarray(solver.to_host(displacement), np.float32),
        np.asarray(solver.to_host(solver.normals(displacement)), np.float32),
        here.cost,
        [tuple(steps) for steps in history],
        status,
    )


def _with_albedo_of(
    solver: AbstractDetailSolver, displacement: Any, problem: DetailProblem, bands: Bands
) -> DetailProblem:
    """A problem with the low-passed albedo that goes with the relief found at half its size."""
    normals = np.asarray(solver.to_host(solver.normals(displacement)), np.float32)
    change = log_albedo_change(solver.problem, normals, bands)
    height, width = problem.size
    # An odd last row or column is not in the half size, nor in the mask.
    change = np.pad(change, ((0, 0), (0, height - change.shape[1]), (0, width - change.shape[2]), (0, 0)))
    return replace(problem, target=problem.target * np.exp(change))


def _descend(
    solver: AbstractDetailSolver, start: Any, here: DetailLinearization, step: Any, running: NDArray[np.bool_]
) -> tuple[Any, DetailLinearization, NDArray[np.float64]]:
    """The displacement and its linearisation after the longest of halved steps that lowers each item's cost."""
    before = here.cost.sum(axis=1)
    length = running.astype(np.float64)
    for halving in range(_HALVINGS + 1):
        there = solver.moved(start, step, length)
        linearized = solver.linearize(there)
        # Items that stand still get the bits they have; NaN is no descent.
        worse = (length > 0) & ~(linearized.cost.sum(axis=1) < before)
        if not worse.any():
            break
        length[worse] = length[worse] / 2 if halving < _HALVINGS - 1 else 0.0
    return there, linearized, length
