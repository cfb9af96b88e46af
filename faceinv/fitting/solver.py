"""One Gauss-Newton driver for a batch of independent problems. It knows nothing of faces or array libraries.

Levenberg-Marquardt damping follows the gain ratio (Nielsen, "Damping parameter in Marquardt's method", 1999; Madsen,
Nielsen and Tingleff, "Methods for non-linear least squares problems", 2004, section 3.2).
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Cost, Step

__all__ = ["AbstractObjective", "Iteration", "Solution", "SolverSettings", "Status", "gauss_newton"]


class Status(Enum):
    """Why a problem stopped. The value is the sentence a user reads."""

    CONVERGED_COST = "The cost no longer falls noticeably."
    CONVERGED_STEP = "The steps have become negligible."
    CONVERGED_GRADIENT = "The gradient vanishes: this is a minimum."
    MAX_ITERATIONS = "The iteration limit was reached while the cost was still falling."
    NO_DECREASE = "No step, however short, lowers the cost further."
    NOT_FINITE = "The cost is not a finite number; check the input."

    @property
    def success(self) -> bool:
        """Whether the result can be used."""
        return self is not Status.NOT_FINITE


class AbstractObjective(ABC):
    """What the driver minimises: a sum of squares for each item of a batch.

    `state` is what one step and its acceptance test hold fixed; it is opaque to the driver.
    """

    @abstractmethod
    def freeze(self, x: NDArray[np.float64]) -> Any:
        """The state at x (B, P); a function of x alone, so that items which did not move get theirs again."""

    @abstractmethod
    def linearize(self, x: NDArray[np.float64], state: Any, active: NDArray[np.bool_]) -> Any:
        """A `Linearization` at x; parts of inactive items are ignored."""

    @abstractmethod
    def cost(self, x: NDArray[np.float64], state: Any, active: NDArray[np.bool_]) -> Cost:
        """The cost alone, in the same state."""

    @abstractmethod
    def solve(self, linearization: Any, damping: NDArray[np.float64]) -> Step:
        """Damped steps."""

    @abstractmethod
    def retract(self, x: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move x by a tangent step."""


class Linearization(Protocol):
    """A model of the cost around one x. All else in it is between the objective's `linearize` and `solve`."""

    @property
    def cost(self) -> Cost:
        """At x."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """(B,) residual rows, for the record."""


@dataclass(frozen=True)
class SolverSettings:
    """When to stop and how to damp."""

    max_iterations: int = 25
    """Linearisations at most."""
    cost_tolerance: float = 1e-4
    """Stop when an accepted step lowers the cost by less than this fraction of it."""
    step_tolerance: float = 1e-6
    """Stop when a refused step promised less than this fraction of the cost."""
    gradient_tolerance: float = 1e-9
    """Stop when no entry of g, over the root of its diagonal in H, exceeds this times the root of the cost."""
    initial_damping: float = 1e-3
    """Relative to the diagonal of H; 0 for plain Gauss-Newton with fall-back to damping."""
    max_damping: float = 1e8
    """Beyond this no step is expected to help."""
    final_linearization: bool = True
    """Whether costs and derivatives of the solution are those at its own point, at the price of one more."""


@dataclass(frozen=True)
class Iteration:
    """What happened to one item in one iteration."""

    item: int
    index: int
    cost: float
    """E before the step."""
    terms: Mapping[str, float]
    """What `cost` is the sum of."""
    trial_cost: float
    """E after the step, in the same frozen state."""
    step: float
    """Euclidean norm of the step."""
    damping: float
    gain: float
    """Actual over predicted decrease."""
    accepted: bool
    rows: int
    """Residual rows."""
    seconds: float
    """Wall time of the whole batch's iteration."""


@dataclass(frozen=True)
class Solution:
    """Where a batch arrived."""

    x: NDArray[np.float64]
    """(B, P)."""
    status: tuple[Status, ...]
    cost: Cost
    """At `x`, or at the last linearisation where no final one was asked for."""
    history: tuple[Iteration, ...]
    linearization: Any
    """The last one, for covariances; without a final one, items that had stopped before are missing from it."""
    state: Any
    """The state it was made in."""


def gauss_newton(
    objective: AbstractObjective,
    x: NDArray[np.float64],
    settings: SolverSettings | None = None,
    progress: Callable[[Iteration], None] | None = None,
) -> Solution:
    """Minimise a batch of sums of squares from x (B, P).

    A step is accepted when the cost falls in the state it was computed in, so costs of accepted steps never rise. Items
    are damped, accepted and stopped one by one; a finished item costs no further derivatives.
    """
    settings = settings or SolverSettings()
    x = np.array(x, np.float64)
    batch = len(x)
    damping, growth = np.full(batch, settings.initial_damping), np.full(batch, 2.0)
    status: list[Status | None] = [None] * batch
    history: list[Iteration] = []
    active = np.ones(batch, np.bool_)
    state = objective.freeze(x)
    linearization = objective.linearize(x, state, active)
    cost = linearization.cost
    current = active.copy()  # items that the linearisation holds, at the x they have now
    for index in range(settings.max_iterations):
        began = time.perf_counter()
        if not current[active].all():
            # Items that were refused get what they had again; one that is alone keeps it, and only its damping changes.
            state = objective.freeze(x)
            linearization = objective.linearize(x, state, active)
            cost = _merge(cost, linearization.cost, active)
            current = active.copy()
        step = objective.solve(linearization, damping)
        trial = objective.retract(x, np.where(active[:, None], step.delta, 0.0))
        trial_cost = objective.cost(trial, state, active)
        seconds = time.perf_counter() - began
        for record in _judge(np.flatnonzero(active), index, linearization, step, trial_cost, damping, seconds):
            item = record.item
            history.append(record)
            if progress is not None:
                progress(record)
            if record.accepted:
                x[item], current[item] = trial[item], False
                damping[item] = max(damping[item] * max(1 / 3, 1 - (2 * min(record.gain, 1.0) - 1) ** 3), 1e-9)
                growth[item] = 2.0
            else:
                damping[item] = max(damping[item], 1e-6) * growth[item]
                growth[item] *= 2
            status[item] = _verdict(record, step, damping[item], settings)
            active[item] = status[item] is None
        if not active.any():
            break
    if settings.final_linearization and not current.all():
        state = objective.freeze(x)
        linearization = objective.linearize(x, state, np.ones(batch, np.bool_))
        cost = linearization.cost
    final = tuple(s or Status.MAX_ITERATIONS for s in status)
    return Solution(x, final, cost, tuple(history), linearization, state)


def _judge(
    items: NDArray[np.int64],
    index: int,
    linearization: Linearization,
    step: Step,
    trial_cost: Cost,
    damping: NDArray[np.float64],
    seconds: float,
) -> list[Iteration]:
    """Compare what the step of each item did with what it promised."""
    cost = linearization.cost
    before, after, predicted = (x[items].tolist() for x in (cost.total, trial_cost.total, step.predicted_decrease))
    columns = (
        items,
        np.sqrt((step.delta[items] ** 2).sum(axis=1)),
        damping[items],
        step.solved[items],
        linearization.rows[items],
    )
    return [
        Iteration(
            item=item,
            index=index,
            cost=was,
            terms={name: float(term[item]) for name, term in cost.terms.items()},
            trial_cost=now,
            step=length,
            damping=damped,
            gain=(was - now) / promised if promised > 0 else -1.0,
            accepted=solved and now < was,
            rows=rows,
            seconds=seconds,
        )
        for was, now, promised, item, length, damped, solved, rows in zip(
            before, after, predicted, *(column.tolist() for column in columns), strict=True
        )
    ]


def _verdict(record: Iteration, step: Step, damping: float, settings: SolverSettings) -> Status | None:
    """Why to stop after this iteration, or None."""
    predicted = float(step.predicted_decrease[record.item])
    if not np.isfinite(record.cost):
        return Status.NOT_FINITE
    if step.gradient_norm[record.item] <= settings.gradient_tolerance * np.sqrt(record.cost):
        return Status.CONVERGED_GRADIENT
    if record.accepted:
        falling = record.cost - record.trial_cost > settings.cost_tolerance * record.cost
        return None if falling else Status.CONVERGED_COST
    if step.solved[record.item] and 0 <= predicted <= settings.step_tolerance * record.cost:
        return Status.CONVERGED_STEP
    return Status.NO_DECREASE if damping > settings.max_damping else None


def _merge(old: Cost, new: Cost, chosen: NDArray[np.bool_]) -> Cost:
    """Items of `new` where chosen, of `old` elsewhere."""
    terms = {name: np.where(chosen, term, old.terms[name]) for name, term in new.terms.items()}
    return type(old)(np.where(chosen, new.total, old.total), terms)
