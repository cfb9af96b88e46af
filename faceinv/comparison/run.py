"""Every engine in a process of its own, one after the other, so that memory is each one's and none slows another."""

from __future__ import annotations

import datetime
import math
import multiprocessing
import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np

from faceinv.comparison.baselines import host_baselines
from faceinv.comparison.measure import Case, Measured, Task, measure, synthetic_case
from faceinv.engine.registry import available_engines, parse_engine
from faceinv.errors import BackendError, ConfigError, FaceinvError, InputError, NoFaceError
from faceinv.fitting.config import FitConfig
from faceinv.fitting.fitter import Fitter
from faceinv.photo.detector import detect_faces
from faceinv.photo.read import ImageLike, load_image
from faceinv.run.warmup import kernels_compiled
from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["REFERENCE", "Plan", "compare"]

REFERENCE: Final = "numpy:float64"
"""What results are held against."""
_MIN_SIZE: Final = 28

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """What to compare."""

    image: ImageLike
    """The photo, anything `faceinv.fit` accepts."""
    engines: tuple[str, ...] = ()
    """`engine[:device][:dtype]`; empty for all that are installed and start."""
    sizes: tuple[int, ...] = (224,)
    dtypes: tuple[str, ...] = ("float32",)
    """For engines given without one."""
    model: str = "default"
    config: FitConfig = field(default_factory=FitConfig)
    rounds: int = 3
    """Fits that are timed, after the first."""
    baselines: bool = True
    """At the first size."""
    adam_steps: int = 1500
    tuning_steps: int = 300


def compare(plan: Plan, tell: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Fit a photo and a drawn face with every engine; then time what they replace.

    Args:
        plan: what to compare.
        tell: told what is being done.

    Returns:
        A record for JSON: `machine`, `engines` (a row for each engine, size and photo), `skipped`, `baselines`.

    Raises:
        BackendError: when an engine that was asked for cannot be used.
        FaceinvError: when the photo or the model cannot be used.
    """
    if plan.rounds < 1 or plan.adam_steps < 1 or plan.tuning_steps < 1:
        raise InputError("rounds and steps must be at least 1.")
    for size in plan.sizes:
        if size < _MIN_SIZE:
            raise InputError(f"size {size} is too small; expected {_MIN_SIZE} px at least.")
    if math.isinf(plan.config.photometric_sigma):
        raise ConfigError(
            "'photometric_sigma' is infinite: engines are compared by how they fit the photo; give it a number."
        )
    backends, skipped = _backends(plan)
    compiled = kernels_compiled()
    photo, name = _photo(plan.image)
    load = _load()
    rows: list[dict[str, Any]] = []
    descriptions: dict[str, str] = {}
    for size in plan.sizes:
        config = replace(plan.config, size=size)
        cases = (photo, synthetic_case(Fitter(plan.model, REFERENCE, config), size))
        reference: list[Measured] = []
        for backend in dict.fromkeys([REFERENCE, *backends]):
            if any(one["engine"] == backend for one in skipped):
                continue
            tell(f"{backend}, {size} px")
            try:
                measured = _apart(measure, Task(backend, plan.model, config, cases, plan.rounds))
            except BackendError as error:
                if plan.engines or backend == REFERENCE:
                    raise
                skipped.append({"engine": backend, "reason": str(error)})
                continue
            reference = reference or measured
            rows += [_row(backend, size, one, other) for one, other in zip(measured, reference, strict=True)]
            descriptions[backend] = measured[0].description
    baselines = None
    if plan.baselines:
        config = replace(plan.config, size=plan.sizes[0])
        baselines = _baselines(plan, Task("", plan.model, config, (photo,), plan.rounds), backends, skipped, tell)
    return {
        "faceinv": __version__,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "machine": {**_machine(), "load_before": load, "load_after": _load()},
        "photo": name,
        "sizes": list(plan.sizes),
        "reference": REFERENCE,
        "rounds": plan.rounds,
        "numpy_kernels_compiled_before": compiled,
        "descriptions": descriptions,
        "engines": rows,
        "skipped": skipped,
        "baselines": baselines,
    }


def _backends(plan: Plan) -> tuple[list[str], list[dict[str, str]]]:
    """Config strings with dtypes, and engines left out."""
    skipped = []
    known = {status.name: status for status in available_engines()}
    names = list(plan.engines)
    if not names:
        for status in known.values():
            if status.installed:
                names.append(status.name)
            else:
                skipped.append({"engine": status.name, "reason": f"not installed: {status.install}"})
    specs: list[str] = []
    for name in names:
        spec = parse_engine(name)
        status = known[spec.engine]
        if not status.installed:
            raise BackendError(f"engine '{spec.engine}' is not installed. Install it with: {status.install}.")
        given = name.strip().endswith(("float32", "float64"))
        specs += [str(parse_engine(name if given else f"{name}:{dtype}")) for dtype in plan.dtypes]
    return list(dict.fromkeys(specs)), skipped


def _photo(image: ImageLike) -> tuple[Case, str]:
    loaded = load_image(image)
    faces = detect_faces(loaded.pixels)
    if not faces:
        raise NoFaceError(f"no face was found in '{loaded.name}'; give a photo with an upright face in view.")
    return Case("photo", loaded.pixels, faces[0].landmarks), loaded.name


def _apart(work: Callable[..., T], task: Task, *more: int) -> T:
    """The work, done in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_guarded, work, task, *more).result()
        except BrokenProcessPool:
            raise BackendError(f"the process of engine '{task.backend}' died; is there memory enough?") from None


def _guarded(work: Callable[..., T], *given: Task | int) -> T:
    """The work; errors that were made on purpose keep their class, others become plain ones that can travel."""
    try:
        return work(*given)
    except FaceinvError:
        raise
    except Exception as error:
        raise BackendError(f"{type(error).__name__}: {error}") from None


def _adam(task: Task, steps: int, tuning_steps: int) -> dict[str, Any]:
    from faceinv.comparison.adam import adam_baseline

    return adam_baseline(task, steps, tuning_steps)


def _baselines(
    plan: Plan,
    task: Task,
    backends: Sequence[str],
    skipped: Sequence[dict[str, str]],
    tell: Callable[[str], None],
) -> dict[str, Any]:
    tell("finite differences and SciPy's least_squares (numpy:float64)")
    baselines = _apart(host_baselines, replace(task, backend=REFERENCE))
    gone = {one["engine"] for one in skipped}
    torch = [b for b in backends if b.split(":")[0] == "torch" and b not in gone]
    installed = any(status.name == "torch" and status.installed for status in available_engines())
    backend = torch[0] if torch else "torch:float32"
    if not installed or "torch" in gone or backend in gone:
        baselines["adam"] = {"skipped": 'needs the torch engine: pip install "faceinv[torch]"'}
        return baselines
    tell(f"Adam, {plan.adam_steps} steps and two rates tried besides ({backend})")
    baselines["adam"] = _apart(_adam, replace(task, backend=backend), plan.adam_steps, plan.tuning_steps)
    return baselines


def _row(backend: str, size: int, one: Measured, reference: Measured) -> dict[str, Any]:
    gap = np.linalg.norm(one.vertices - reference.vertices, axis=1)
    return {
        "engine": backend,
        "size": size,
        "problem": one.case,
        "start_s": one.start_s,
        "first_fit_s": one.first_fit_s,
        "fit_s": one.fit_s,
        "linearization_s": (one.freeze_ms + one.linearize_ms) / 1e3,
        "freeze_ms": one.freeze_ms,
        "linearize_ms": one.linearize_ms,
        "cost_ms": one.cost_ms,
        "solve_ms": one.solve_ms,
        "iterations": one.iterations,
        "final_cost": one.final_cost,
        "vertex_rms_mm": float(np.sqrt((gap**2).mean())),
        "image_rms": _picture_gap(one.picture, reference.picture),
        "peak_memory_mb": one.peak_memory_mb,
        **one.standard.differences(reference.standard),
    }


def _picture_gap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Root mean square over pixels and channels where either face is."""
    covered = np.maximum(one[..., 3], other[..., 3]) > 0
    gap = (one[..., :3].astype(np.float64) - other[..., :3])[covered]
    return float(np.sqrt((gap**2).mean())) if gap.size else 0.0


def _load() -> list[float]:
    """Processes that wanted a core over the last 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()] if hasattr(os, "getloadavg") else []


def _machine() -> dict[str, Any]:
    """What a time depends on; nothing that names the computer."""
    processor = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    versions = {status.name: status.version for status in available_engines() if status.installed}
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "threads": {name: os.environ[name] for name in sorted(os.environ) if name.endswith("_NUM_THREADS")},
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy_version": metadata.version("numpy"),
        "scipy_version": metadata.version("scipy"),
        "libraries": versions,
    }
