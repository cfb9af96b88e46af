"""An engine that notes what the solver asks of it and how long each answer takes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.interface import AbstractDifferentiator, Engine

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from numpy.typing import NDArray

    from faceinv.engine.records import Cost, Frozen, Linearization, Problem, ResidualJacobian, Step

    T = TypeVar("T")

__all__ = ["WatchedDifferentiator", "WatchedEngine"]


@dataclass
class WatchedEngine(Engine):
    """Another engine, watched."""

    inner: Engine
    made: list[WatchedDifferentiator] = field(default_factory=list)
    """The differentiators that were asked for, in order."""

    def __post_init__(self) -> None:
        self.name, self.description = self.inner.name, self.inner.description
        self.renderer = self.inner.renderer

    def differentiator(self, problem: Problem) -> WatchedDifferentiator:
        """See `Engine.differentiator`."""
        return WatchedDifferentiator(self.inner.differentiator(problem), self.made)


class WatchedDifferentiator(AbstractDifferentiator):
    """Another differentiator of one photo, watched.

    Attributes:
        start: chi (1, P) of the first `freeze`, or None before it.
        seconds: durations by method's name.
        trace: (seconds since this was made, cost) of each linearisation, in its own visibility.

    Args:
        inner: the one to watch.
        made: gets this one and those that come from it.
    """

    def __init__(self, inner: AbstractDifferentiator, made: list[WatchedDifferentiator] | None = None) -> None:
        self.inner = inner
        self._all = [] if made is None else made
        self._all.append(self)
        self.renderer, self.problem = inner.renderer, inner.problem
        self.start: NDArray[np.float64] | None = None
        self.seconds: dict[str, list[float]] = {}
        self.trace: list[tuple[float, float]] = []
        self._made = time.perf_counter()

    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """See `AbstractDifferentiator.freeze`."""
        if self.start is None:
            self.start = chi.copy()
        return self._timed("freeze", lambda: self.inner.freeze(chi))

    def linearize(
        self,
        chi: NDArray[np.float64],
        frozen: Frozen,
        active: NDArray[np.bool_],
        free: NDArray[np.bool_] | None = None,
    ) -> Linearization:
        """See `AbstractDifferentiator.linearize`."""
        linearization = self._timed("linearize", lambda: self.inner.linearize(chi, frozen, active, free))
        self.trace.append((time.perf_counter() - self._made, float(linearization.cost.total[0])))
        return linearization

    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Cost:
        """See `AbstractDifferentiator.cost`."""
        return self._timed("cost", lambda: self.inner.cost(chi, frozen, active))

    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """See `AbstractDifferentiator.residual_jacobian`."""
        return self.inner.residual_jacobian(chi, frozen, item, rows)

    def without_occluders(self, chi: NDArray[np.float64], share: float) -> WatchedDifferentiator:
        """See `AbstractDifferentiator.without_occluders`."""
        return WatchedDifferentiator(self.inner.without_occluders(chi, share), self._all)

    def photometric_rmse(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractDifferentiator.photometric_rmse`."""
        return self.inner.photometric_rmse(chi)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """See `AbstractDifferentiator.solve`."""
        return self._timed("solve", lambda: self.inner.solve(linearization, damping, free))

    def milliseconds(self, name: str) -> float:
        """The median duration of a method."""
        return float(np.median(self.seconds.get(name, [np.nan]))) * 1e3

    def _timed(self, name: str, call: Callable[[], T]) -> T:
        began = time.perf_counter()
        output = call()
        self.renderer.synchronize()
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)
        return output
