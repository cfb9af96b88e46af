"""One engine's fits, timed in the process this runs in; and the photos that are fitted."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceinv.comparison.agreement import Standard, standard_linearization
from faceinv.comparison.watched import WatchedEngine
from faceinv.engine.evaluation import radiance
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.stages import level_sizes
from faceinv.photo.color import linear_to_srgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.fitting.config import FitConfig

__all__ = ["Case", "Measured", "Task", "measure", "peak_memory", "synthetic_case"]


@dataclass(frozen=True)
class Case:
    """A photo with its landmarks, so that finding them is no part of any engine's time."""

    name: str
    """`photo` or `synthetic`."""
    image: NDArray[np.float32]
    landmarks: NDArray[np.float64]


@dataclass(frozen=True)
class Task:
    """What one process is asked for."""

    backend: str
    model: str
    config: FitConfig
    cases: tuple[Case, ...]
    rounds: int


@dataclass(frozen=True)
class Measured:
    """One engine on one photo."""

    case: str
    description: str
    start_s: float
    """Loading the model and building the engine."""
    first_fit_s: float
    """The process' first fit of this photo: with what is compiled or read from a cache of compiled code."""
    fit_s: float
    """Median of the later fits, landmarks given."""
    freeze_ms: float
    linearize_ms: float
    cost_ms: float
    solve_ms: float
    """Medians over the finest level of one more fit: surface and visibility; cost, g and H; the cost alone; a step."""
    iterations: int
    """Over all levels."""
    final_cost: float
    peak_memory_mb: float
    """Of the process, after the fits of this photo."""
    vertices: NDArray[np.float64]
    picture: NDArray[np.float32]
    """(H, W, 4) the face, linear RGB, and where it is."""
    standard: Standard
    """One linearisation that is the same for all engines."""


def measure(task: Task) -> list[Measured]:
    """Fit the photos one after the other with one engine.

    Raises:
        FaceinvError: when the engine, model or photo cannot be used.
    """
    began = time.perf_counter()
    fitter = Fitter(task.model, task.backend, task.config)
    start = time.perf_counter() - began
    engine, found, results = fitter.engine, [], []
    standard = standard_linearization(engine, level_sizes(task.config)[-1])
    for case in task.cases:
        seconds = []
        for _ in range(1 + task.rounds):
            began = time.perf_counter()
            result = fitter.fit(case.image, case.landmarks)
            seconds.append(time.perf_counter() - began)
        fitter.engine = watched = WatchedEngine(engine)
        fitter.fit(case.image, case.landmarks)
        fitter.engine, finest = engine, watched.made[-1]
        results.append(result)
        found.append(
            Measured(
                case=case.name,
                description=engine.description,
                start_s=start,
                first_fit_s=seconds[0],
                fit_s=float(np.median(seconds[1:])),
                freeze_ms=finest.milliseconds("freeze"),
                linearize_ms=finest.milliseconds("linearize"),
                cost_ms=finest.milliseconds("cost"),
                solve_ms=finest.milliseconds("solve"),
                iterations=len(result.history),
                final_cost=result.cost,
                peak_memory_mb=peak_memory(),
                vertices=result.vertices,
                picture=np.zeros((0, 0, 4), np.float32),
                standard=standard,
            )
        )
    # Pictures last: they are drawn by the `numpy` engine, whose memory is not this engine's.
    return [replace(one, picture=result.render()) for one, result in zip(found, results, strict=True)]


def peak_memory() -> float:
    """MB of memory that this process held at most; NaN where the system does not tell."""
    try:
        # Unlike getrusage, this does not count the process that started this one.
        status = Path("/proc/self/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024 / 1e6
    except (OSError, StopIteration, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return float("nan")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def synthetic_case(fitter: Fitter, size: int, seed: int = 0) -> Case:
    """A random face of the model, drawn by the fitter's engine on grey, with its own landmarks."""
    rng, model, layout, renderer = np.random.default_rng(seed), fitter.model, fitter.layout, fitter.engine.renderer
    shape, albedo = 0.7 * rng.normal(size=layout.shape_count), 0.7 * rng.normal(size=layout.albedo_count)
    identity, expression = shape[layout.identity], shape[layout.expression]
    spots = model.landmarks(model.vertices(identity, expression))
    camera = Camera(0.6 * size / float(np.ptp(spots[:, 1])), rotation_from_euler(0.05, 0.2, -0.05), np.zeros(2))
    middle = camera.project(spots)[:, :2].mean(axis=0)
    camera = Camera(camera.scale, camera.rotation, size / 2 - middle)
    face = Face(identity, expression, albedo, camera, ambient(0.8) + 0.1 * rng.normal(size=(9, 3)))
    chi = face.pack(layout)[None]
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, (size, size))
    drawn = radiance(renderer, geometry, visibility, chi)[0]
    covered = renderer.to_host(visibility.triangle)[0] >= 0
    encoded = np.clip(drawn, 0, 1)
    if model.albedo_space == "linear":
        encoded = linear_to_srgb(encoded)
    image = np.where(covered[..., None], encoded, 0.3).astype(np.float32)
    return Case("synthetic", image, camera.project(spots)[:, :2])
