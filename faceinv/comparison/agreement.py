"""Engines side by side: the same problem on each, how far they agree and how long a linearisation takes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.records import Energy, EngineSettings, Problem
from faceinv.engine.registry import build_engine
from faceinv.errors import BackendError, InputError
from faceinv.face.camera import WeakPerspective, rotation_matrix
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.state import Face

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractDifferentiator, Engine
    from faceinv.engine.records import Frozen, Linearization, Normals
    from faceinv.face.model import MorphableModel

__all__ = ["EngineComparison", "compare_engines", "standard_problem"]


@dataclass(frozen=True)
class EngineComparison:
    """One engine against the first of a comparison."""

    backend: str
    description: str
    """Library, version, device, dtype; or, for an engine that cannot be had, why."""
    available: bool
    freeze_ms: float = float("nan")
    linearize_ms: float = float("nan")
    cost_ms: float = float("nan")
    """Least of the rounds: surface, visibility and pixel lists; cost, g and H; the cost alone."""
    ratio: float = float("nan")
    """Median over rounds of linearize's time over the first engine's in the same round."""
    other_triangles: int = 0
    """Pixels that show another triangle than the first engine's."""
    cost_error: float = float("nan")
    gradient_error: float = float("nan")
    hessian_error: float = float("nan")
    """Greatest difference over the first engine's max norm."""


@dataclass
class _Ready:
    backend: str
    engine: Engine
    differentiator: AbstractDifferentiator
    frozen: Frozen
    linearization: Linearization
    seconds: list[tuple[float, float, float]]


def standard_problem(model: MorphableModel, size: int, seed: int = 0) -> tuple[Problem, NDArray[np.float64]]:
    """A random face that fills a square image of noise, turned a little: (problem of one photo, chi (1, P))."""
    layout = ParameterLayout.of(model)
    rng = np.random.default_rng(seed)
    shape, albedo = 0.5 * rng.normal(size=layout.shape_count), 0.5 * rng.normal(size=layout.albedo_count)
    height = float(np.ptp(model.mean[np.unique(model.triangles[model.face_mask]), 1]))
    camera = WeakPerspective(0.8 * size / height, rotation_matrix(np.array([0.1, 0.3, -0.1])), np.full(2, size / 2))
    face = Face(
        identity=shape[layout.identity],
        expression=shape[layout.expression],
        albedo=albedo,
        camera=camera,
        lighting=ambient(0.8) + 0.15 * rng.normal(size=(9, 3)),
    )
    chi = face.pack(layout)[None]
    problem = Problem(
        image=(0.3 + 0.2 * rng.uniform(size=(1, size, size, 3))).astype(np.float32),
        mask=np.ones((1, size, size), np.bool_),
        landmarks=np.full((1, 68, 2), size / 2),
        landmark_weights=np.ones((1, 68)),
        eye_distance=np.array([0.4 * size]),
        energy=Energy(
            photometric=1.0,
            landmarks=1.0,
            identity=1e-3,
            expression=1e-3,
            albedo=1e-3,
            lighting=1e-3,
            huber_delta=0.1,
        ),
    )
    return problem, chi


def compare_engines(
    backends: Sequence[str],
    model: MorphableModel,
    size: int = 224,
    rounds: int = 9,
    normals: Normals = "smooth",
) -> list[EngineComparison]:
    """Run `standard_problem` on engines, one after the other in every round, so that a busy machine slows all alike.

    Args:
        backends: `engine[:device][:dtype]`; the first is what the others are held against.
        model: the face model.
        size: px across the square image.
        rounds: how often each engine is timed, after one round that is not.
        normals: `smooth` or `flat`.

    Raises:
        InputError: for no engine, or fewer than one round.
        BackendError: when the first engine cannot be had; others are reported as not available.
    """
    if not backends or rounds < 1:
        raise InputError(f"{len(backends)} engines and {rounds} rounds were given; expected one of each at least.")
    problem, chi = standard_problem(model, size)
    ready: dict[str, _Ready | BackendError] = {}
    for backend in backends:
        try:
            ready[backend] = _start(backend, model, problem, chi, normals)
        except BackendError as error:
            if backend == backends[0]:
                raise
            ready[backend] = error
    running = [one for one in ready.values() if isinstance(one, _Ready)]
    for _ in range(rounds):
        for one in running:
            one.seconds.append(_time(one, chi, len(one.seconds)))
    first = running[0]
    return [
        _compared(one, first)
        if isinstance(one, _Ready)
        else EngineComparison(backend=backend, description=str(one), available=False)
        for backend, one in ready.items()
    ]


def _start(backend: str, model: MorphableModel, problem: Problem, chi: NDArray[np.float64], normals: Normals) -> _Ready:
    engine = build_engine(backend, model, EngineSettings(normals=normals))
    differentiator = engine.differentiator(problem)
    frozen = differentiator.freeze(chi)
    active = np.ones(1, np.bool_)
    linearization = differentiator.linearize(chi, frozen, active)
    one = _Ready(backend, engine, differentiator, frozen, linearization, [])
    _time(one, chi, -1)
    return one


def _time(one: _Ready, chi: NDArray[np.float64], number: int) -> tuple[float, float, float]:
    """Seconds of freeze, linearize and cost, each at a new chi, so that nothing remembered serves."""
    active, renderer, clock = np.ones(1, np.bool_), one.engine.renderer, [time.perf_counter()]
    for step, call in enumerate(("freeze", "linearize", "cost")):
        moved = chi + 1e-9 * (3 * number + step + 5)
        if call == "freeze":
            one.differentiator.freeze(moved)
        else:
            getattr(one.differentiator, call)(moved, one.frozen, active)
        renderer.synchronize()
        clock.append(time.perf_counter())
    return clock[1] - clock[0], clock[2] - clock[1], clock[3] - clock[2]


def _compared(one: _Ready, first: _Ready) -> EngineComparison:
    def error(found: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
        return float(np.abs(found - reference).max() / np.abs(reference).max())

    host, other = one.engine.renderer.to_host, first.engine.renderer.to_host
    found, reference = one.linearization, first.linearization
    assert one.frozen.visibility is not None
    assert first.frozen.visibility is not None
    shown, expected = host(one.frozen.visibility.triangle), other(first.frozen.visibility.triangle)
    least = np.min(one.seconds, axis=0) * 1e3
    ratios = [a[1] / b[1] for a, b in zip(one.seconds, first.seconds, strict=True)]
    return EngineComparison(
        backend=one.backend,
        description=one.engine.description,
        available=True,
        freeze_ms=float(least[0]),
        linearize_ms=float(least[1]),
        cost_ms=float(least[2]),
        ratio=float(np.median(ratios)),
        other_triangles=int((shown != expected).sum()),
        cost_error=error(found.cost.total, reference.cost.total),
        gradient_error=error(host(found.gradient), other(reference.gradient)),
        hessian_error=error(host(found.hessian), other(reference.hessian)),
    )
