"""The CUDA engine on a GPU: builds it, checks it against the reference engine, then measures. The tables come last.

    python benchmarks/gpu.py [--quick] [--device 0] [--save]

Needs `pip install "faceinv[cuda]"` and an NVIDIA GPU. Nothing is measured unless every check passes (or it is told to
go on `--anyway`, and says in the text what did not). Times are medians of device events after a warm-up. Ceilings (a
large copy, large matrix products) are measured in the same run, and rates are given against them. Tables are written as
they are made, to the file that `--output` names and, with `--save`, to benchmarks/results/gpu.md: a table that fails,
or a run that is stopped, does not cost the others. `gpu_session.py` runs this and all other checks on a GPU.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
from gpu_detail import check_detail, detail_kernels_table, detail_table

import faceinv
from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.backends.cupy_cuda.launch.device import Device
from faceinv.engine.evaluation import radiance
from faceinv.engine.interface import AbstractDifferentiator, Engine
from faceinv.engine.records import DType, Energy, EngineSettings, Problem
from faceinv.engine.registry import build_engine
from faceinv.errors import BackendError, DeviceLostError
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.face.model import MorphableModel
from faceinv.fitting import stages
from faceinv.fitting.extension import extended, field_amplitude
from faceinv.fitting.lenses import Lenses
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.solver import Solution, SolverSettings, gauss_newton
from faceinv.photo.detector import detect_faces
from faceinv.photo.read import load_image

RESULTS: Final = Path(__file__).resolve().parent / "results" / "gpu.md"
TOLERANCE: Final[dict[DType, float]] = {"float64": 1e-10, "float32": 1e-5}
TARGETS: Final = (
    "Targets: 500 fits/s in batches at 112 to 224 px, under 10 ms for one face, linearisations within 3 times their "
    "floor, 20 times torch:cuda."
)

T = TypeVar("T")
Table = list[list[str]]


class Timer:
    """Median seconds of a piece of device work, by events on a GPU and by the clock elsewhere."""

    def __init__(self, device: Device, repeats: int) -> None:
        self.device = device
        self.repeats = repeats
        try:
            import cupy

            self._cupy: Any = cupy if cupy.cuda.is_available() else None
        except Exception:  # no CuPy or no driver: the clock will do
            self._cupy = None

    def mark(self) -> Any:
        """Now, in the order of the device's work; for `between`."""
        if self._cupy is None:
            return time.perf_counter()
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def between(self, first: Any, second: Any) -> float:
        """Seconds from one mark to a later one; waits for it."""
        if self._cupy is None:
            return float(second - first)
        second.synchronize()
        return float(self._cupy.cuda.get_elapsed_time(first, second)) / 1e3

    def span(self, work: Callable[[], object]) -> float:
        """Seconds of one run."""
        first = self.mark()
        work()
        return self.between(first, self.mark())

    def __call__(self, work: Callable[[], object], warm: int = 2) -> float:
        """Median over the repeats, and all of it on the host's clock where a host waits inside."""
        for _ in range(warm):
            work()
        self.device.synchronize()
        return statistics.median(self.span(work) for _ in range(self.repeats))


def profile(device: Device, timer: Timer, work: Callable[[], object]) -> dict[str, float]:
    """Seconds by kernel in one run of `work`, each kernel timed by itself."""
    seconds: dict[str, float] = defaultdict(float)
    launch = device._launch

    def timed(what: Any, *arguments: Any) -> None:
        seconds[what.name] += timer.span(lambda: launch(what, *arguments))

    device._launch = timed  # type: ignore[method-assign, assignment]
    try:
        work()
    finally:
        del device._launch
    return dict(seconds)


def traced(device: Device, timer: Timer, work: Callable[[], object]) -> dict[str, tuple[int, float]]:
    """Launches and seconds by kernel in one run of `work`, which runs as it does otherwise: nothing is waited for.

    Where the device waits for the host, a kernel's time has the few microseconds between its mark and its launch in it.
    """
    launch, marks = device._launch, []

    def marked(what: Any, *arguments: Any) -> None:
        first = timer.mark()
        launch(what, *arguments)
        marks.append((what.name, first, timer.mark()))

    device._launch = marked  # type: ignore[method-assign, assignment]
    try:
        work()
    finally:
        del device._launch
    device.synchronize()
    found: dict[str, tuple[int, float]] = defaultdict(lambda: (0, 0.0))
    for name, first, last in marks:
        count, seconds = found[name]
        found[name] = count + 1, seconds + timer.between(first, last)
    return dict(found)


def clocked(work: Callable[[], T], repeats: int = 3) -> tuple[float, T]:
    """Median seconds by the host's clock of work that waits for its own result, and the last result."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        output = work()
        times.append(time.perf_counter() - began)
    return statistics.median(times), output


# Problems.


def wide_model(side: int = 231, modes: tuple[int, int, int] = (100, 79, 100)) -> MorphableModel:
    """A smooth face-like surface of side^2 vertices, 53,361 if not said, with random modes, P = 312 if not said."""
    rng = np.random.default_rng(5)
    lon, lat = (a.ravel() for a in np.meshgrid(np.linspace(-1.3, 1.3, side), np.linspace(-1.1, 1.1, side)))
    mean = np.stack([75 * np.sin(lon) * np.cos(lat), 100 * np.sin(lat), 80 * np.cos(lon) * np.cos(lat)], axis=1)

    def basis(count: int, amplitude: float) -> np.ndarray:
        a, b, c = rng.uniform(0.5, 6, count), rng.uniform(0.5, 6, count), rng.uniform(0, 6.28, (3, count))
        waves = [np.sin(np.outer(lon, a) + c[axis]) * np.cos(np.outer(lat, b) - c[axis]) for axis in range(3)]
        return (amplitude * np.stack(waves, axis=1)).astype(np.float32)

    i, j = np.meshgrid(np.arange(side - 1), np.arange(side - 1))
    first = (j * side + i).ravel()
    right, across, up = first + 1, first + side + 1, first + side
    triangles = np.concatenate([np.stack([first, right, across], axis=1), np.stack([first, across, up], axis=1)])
    corners = rng.integers(0, side * side, 68)
    return MorphableModel(
        name=f"smooth surface of {side * side} vertices",
        licence="none",
        albedo_space="linear",
        mean=mean,
        identity_basis=basis(modes[0], 1.0),
        expression_basis=basis(modes[1], 0.7),
        mean_albedo=np.full_like(mean, 0.5),
        albedo_basis=basis(modes[2], 0.02),
        triangles=triangles,
        landmark_vertices=np.repeat(corners[:, None], 3, axis=1),
        landmark_weights=np.tile([1.0, 0.0, 0.0], (68, 1)),
        face_mask=(np.abs(lon[triangles]) < 1.1).all(axis=1) & (np.abs(lat[triangles]) < 0.95).all(axis=1),
        jaw_band=np.tile(np.arange(0, len(triangles), 7, dtype=np.int32), (17, 1)),
        uv=np.zeros((1, 2), np.float32),
        uv_triangles=np.zeros_like(triangles),
        mirror=np.arange(side * side, dtype=np.int32),
    )


def fitted_model(model: MorphableModel, config: faceinv.FitConfig) -> MorphableModel:
    """What a fit's engine holds of a model: with its albedo field and self-occlusion, without what no photo shows."""
    return fit_mesh(extended(model, field_amplitude(model, config.albedo_field), config.self_occlusion))


def hessian_step(size: int, config: faceinv.FitConfig | None = None) -> int:
    """One in how many pixels H is summed over, as in a fit."""
    return max(1, round((size / (config or faceinv.FitConfig()).hessian_size) ** 2))


def make_problem(model: MorphableModel, batch: int, size: int, seed: int) -> tuple[Problem, np.ndarray]:
    """Photos of noise, faces in many poses: (the problem, chi). Fresh numbers for every seed."""
    rng = np.random.default_rng(seed)
    layout = ParameterLayout.of(model)
    chi = np.zeros((batch, layout.count))
    chi[:, layout.shape] = 0.5 * rng.normal(size=(batch, layout.shape_count))
    chi[:, layout.albedo] = 0.5 * rng.normal(size=(batch, layout.albedo_count))
    scale, turns = 0.8 * size / np.ptp(model.mean[:, 1]), rotation_matrix(0.25 * rng.normal(size=(batch, 3)))
    chi[:, layout.pose] = Camera(np.full(batch, scale), turns, np.full((batch, 2), size / 2)).pack()
    light = ambient(0.8) + 0.1 * rng.normal(size=(batch, 9, 3))
    chi[:, layout.lighting] = pack_lighting(light)
    problem = Problem(
        image=rng.uniform(0.2, 0.6, (batch, size, size, 3)).astype(np.float32),
        mask=rng.uniform(size=(batch, size, size)) > 0.01,
        landmarks=rng.uniform(0.3, 0.7, (batch, 68, 2)) * size,
        landmark_sigma=rng.uniform(0.02, 0.05, (batch, 68)),
        eye_distance=np.full(batch, 0.4 * size),
        energy=Energy(5e4, 1.0, 1.0, 1.0, 5.0, 0.1),
        hessian_step=hessian_step(size),
    )
    return problem, chi


# Checks.


def off(found: object, wanted: object) -> float:
    """Largest difference, relative to the largest number wanted; not a number never passes."""
    a, b = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    if a.shape != b.shape or not np.isfinite(a).all():
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0) / max(np.abs(b).max(initial=0.0), 1e-300))


def check(build: Callable[[MorphableModel, EngineSettings], Engine], model: MorphableModel, size: int) -> list[str]:
    """What differs from the reference engine, or from itself, by more than it may."""
    wrong: list[str] = []
    for seed, (dtype, normals) in enumerate((d, n) for d in ("float32", "float64") for n in ("smooth", "flat")):
        settings = EngineSettings(dtype=dtype, normals=normals)  # type: ignore[arg-type]
        known = len(wrong)
        problem, chi = make_problem(model, 3, size, 100 + seed)
        active = np.array([True, False, True])
        engine = build(model, settings)
        values = evaluate(engine, problem, chi, active)
        wanted = evaluate(build_engine("numpy:float64", model, settings), problem, chi, active)
        again = evaluate(engine, problem, chi, active)
        for name, value in values.items():
            bound = TOLERANCE[dtype if name.split()[-1] in ("gradient", "hessian") else "float64"]  # type: ignore[index]
            if name in ("triangle", "pixels"):
                bound = 0.0
            elif name == "weights":  # float32 in every engine
                bound = TOLERANCE["float32"]
            if off(value, wanted[name]) > bound:
                wrong.append(f"{dtype} {normals}: {name} is off by {off(value, wanted[name]):.1e}, allowed {bound:.0e}")
            if not np.array_equal(value, again[name]):
                wrong.append(f"{dtype} {normals}: {name} differs between two runs")
        print(f"check {dtype} {normals} {size} px: {wrong[known:] or 'ok'}", flush=True)
    return wrong


def evaluate(engine: Engine, problem: Problem, chi: np.ndarray, active: np.ndarray) -> dict[str, np.ndarray]:
    """Visibility, occluders, cost, g, H, those of landmarks alone, the image and how far it is off."""
    differentiator, renderer = engine.differentiator(problem), engine.renderer
    frozen = differentiator.freeze(chi)
    linearization = differentiator.linearize(chi, frozen, active)
    free = differentiator.renderer.layout.unknowns
    step = AbstractDifferentiator.solve(differentiator, linearization, np.full(len(chi), 1e-3), free)
    own = differentiator.solve(linearization, np.full(len(chi), 1e-3), free)
    if off(own.delta, step.delta) > 1e-8:
        raise AssertionError(f"solve on the device is off by {off(own.delta, step.delta):.1e}")
    bare = engine.differentiator(
        dataclasses.replace(problem, energy=dataclasses.replace(problem.energy, photometric=0.0))
    )
    landmarks = bare.linearize(chi, bare.freeze(chi), active)
    assert frozen.visibility is not None
    vertices, items = renderer.to_host(renderer.geometry(chi).vertices), np.arange(len(chi))[:, None, None]
    return {
        "weights": differentiator.without_occluders(chi, 0.1).problem.weights,
        "rmse": differentiator.photometric_rmse(chi),
        "landmark cost": landmarks.cost.total,
        "landmark gradient": renderer.to_host(landmarks.gradient),
        "landmark hessian": renderer.to_host(landmarks.hessian),
        "triangle": renderer.to_host(frozen.visibility.triangle),
        "pixels": frozen.pixels,
        # Where they are: a point on an edge is carried by either triangle.
        "points": (frozen.points.weights[..., None] * vertices[items, frozen.points.vertices]).sum(axis=2),
        "metric": np.abs(frozen.points.metric),
        "radiance": radiance(renderer, renderer.geometry(chi), frozen.visibility, chi),
        "cost": linearization.cost.total,
        "cost alone": differentiator.cost(chi, frozen, active).total,
        "gradient": renderer.to_host(linearization.gradient),
        "hessian": renderer.to_host(linearization.hessian),
    }


# Floors.


@dataclasses.dataclass(frozen=True)
class Ceilings:
    """What the machine can do, measured."""

    bytes: float
    """Bytes per second of a large copy, read and written counted."""
    flops: dict[str, float]
    """Floating-point operations per second of a large matrix product, by dtype."""


def ceilings(timer: Timer, size: int = 8192) -> Ceilings:
    """A copy of 2 GiB, and matrix products with TF32 off where cuBLAS is there."""
    import cupy

    rng = np.random.default_rng(0)
    source = cupy.asarray(rng.integers(0, 2**62, 2**28))
    target = cupy.empty_like(source)
    copied = 2 * source.nbytes / timer(lambda: cupy.copyto(target, source))
    flops = {}
    for name in ("float32", "float64"):
        a, b = (cupy.asarray(rng.uniform(-1, 1, (size, size)).astype(name)) for _ in range(2))
        try:
            flops[name] = 2 * size**3 / timer(lambda a=a, b=b: a @ b)  # type: ignore[misc]
        except (ImportError, OSError, RuntimeError) as error:
            print(f"no matrix products: {error}", flush=True)
    return Ceilings(copied, flops)


def floors(model: MorphableModel, pixels: int, vertices: int, batch: int, real: int, size: int) -> tuple[float, float]:
    """(operations, bytes) that a linearisation of a batch cannot do without, for |F| pixels and used vertices an item.

    Operations: of the pixels on H's lattice the rows, formed from bases and the normals' derivatives, and J^T J over
    half of H; of all pixels g, as forces on vertices and one product with the bases. Bytes: bases once, and for each
    item its image, visibility, float64 surface (written once, read once), normals' derivatives at the lattice's corners
    and all pixels' records (the same) and H.
    """
    layout = ParameterLayout.of(model)
    p, k, n = int(layout.unknowns.sum()), layout.shape_count, model.vertex_count
    modes, sampled = k + layout.albedo_count, pixels // hessian_step(size)
    corners = min(vertices, 3 * sampled)
    rows = sampled * (72 * k + 18 * layout.albedo_count)
    products = 3 * sampled * p * (p + 1)
    normals = corners * 7 * 18 * k
    forces = pixels * 3 * 72 + 2 * 3 * vertices * modes
    shared = 2 * 3 * n * modes * real
    surface = 2 * n * 13 * 8
    item = size * size * 16 + surface + 2 * corners * 3 * k * real + 2 * pixels * (72 * real + 24) + 8 * layout.count**2
    return float(batch * (rows + products + normals + forces)), float(shared + batch * item)


# Measurements.


def measure_parts(engine: Engine, model: MorphableModel, batch: int, size: int, timer: Timer) -> dict[str, float]:
    """Seconds of each part of a step, with |F| and used vertices of an average item."""
    problem, chi = make_problem(model, batch, size, batch + size)
    differentiator = engine.differentiator(problem)
    every = np.ones(batch, np.bool_)
    frozen = differentiator.freeze(chi)
    linearization = differentiator.linearize(chi, frozen, every)
    damping, free = np.full(batch, 1e-3), differentiator.renderer.layout.unknowns
    points = [chi + 1e-9 * k for k in range(1, 6)]

    def fresh() -> np.ndarray:
        """A point whose surface is not remembered, so that it is part of what is measured."""
        points.append(points.pop(0))
        return points[0]

    return {
        "freeze": timer(lambda: differentiator.freeze(fresh())),
        "linearize": timer(lambda: differentiator.linearize(fresh(), frozen, every)),
        "cost": timer(lambda: differentiator.cost(fresh(), frozen, every)),
        "solve": timer(lambda: differentiator.solve(linearization, damping, free)),
        "pixels": float(frozen.pixels.mean()),
        "vertices": float(frozen.cache.host[:, 1].mean()),
    }


def parts_table(
    engine: Engine, model: MorphableModel, cases: list[tuple[int, int]], timer: Timer, ceiling: Ceilings | None
) -> Table:
    """A row for each (batch, size)."""
    rows = [
        ["P", "px", "batch", "|F|", "freeze ms", "linearize ms", "cost ms", "solve ms", "us/item", "TFLOP/s", "GB/s",
         "x floor"]
    ]  # fmt: skip
    real, dtype = (8, "float64") if engine.renderer.settings.dtype == "float64" else (4, "float32")
    for batch, size in cases:
        try:
            parts = measure_parts(engine, model, batch, size, timer)
        except BackendError as error:
            rows.append([str(ParameterLayout.of(model).count), str(size), str(batch), str(error)[:60]])
            continue
        seconds = parts["linearize"]
        operations, moved = floors(model, int(parts["pixels"]), int(parts["vertices"]), batch, real, size)
        ratio = "-"
        if ceiling is not None and dtype in ceiling.flops:
            ratio = f"{seconds / max(operations / ceiling.flops[dtype], moved / ceiling.bytes):.1f}"
        rows.append(
            [
                *(str(ParameterLayout.of(model).count), str(size), str(batch), f"{parts['pixels']:.0f}"),
                *(f"{1e3 * parts[name]:.3f}" for name in ("freeze", "linearize", "cost", "solve")),
                f"{1e6 * seconds / batch:.1f}",
                f"{operations / seconds / 1e12:.2f}",
                f"{moved / seconds / 1e9:.0f}",
                ratio,
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    return rows


def kernels_table(engine: CudaEngine, model: MorphableModel, batch: int, size: int, timer: Timer) -> Table:
    """Where the time of a step goes, kernel by kernel."""
    problem, chi = make_problem(model, batch, size, 17)
    differentiator = engine.differentiator(problem)
    every, free = np.ones(batch, np.bool_), engine.renderer.layout.unknowns
    rng = np.random.default_rng(1)

    def step() -> None:
        """As the solver does it: the surface of the trial point is that of the next start."""
        frozen = differentiator.freeze(chi)
        linearization = differentiator.linearize(chi, frozen, every)
        differentiator.solve(linearization, np.full(batch, 1e-3), free)
        trial = chi + 1e-9 * rng.normal()
        differentiator.cost(trial, frozen, every)
        chi[:] = trial

    step()
    device = engine.renderer.device
    runs = [profile(device, timer, step) for _ in range(timer.repeats)]
    names = sorted(runs[0], key=lambda name: -runs[0][name])
    return [
        ["kernel", "us a face"],
        *([name, f"{1e6 * statistics.median(run.get(name, 0.0) for run in runs) / batch:.2f}"] for name in names),
    ]


def _solve(engine: Engine, problem: Problem, chi: np.ndarray, settings: SolverSettings) -> Solution:
    return gauss_newton(FaceObjective(engine.differentiator(problem)), chi, settings)


def _sample() -> tuple[str, np.ndarray]:
    """The packaged photo and the landmarks found in it."""
    photo = str(resources.files("faceinv").joinpath("data", "sample.jpg"))
    return photo, detect_faces(load_image(photo).pixels)[0].landmarks


def solver_table(engine: Engine, model: MorphableModel, cases: list[tuple[int, int]], repeats: int) -> Table:
    """Seconds of ten Gauss-Newton steps, driver and all, for each (batch, size): photos of noise, so of any model."""
    rows = [["P", "px", "batch", "s", "ms a step and face"]]
    settings = SolverSettings(10, cost_tolerance=0.0, step_tolerance=0.0, gradient_tolerance=0.0)
    for batch, size in cases:
        problem, chi = make_problem(model, batch, size, 3 * batch + size)
        try:
            seconds, solution = clocked(partial(_solve, engine, problem, chi, settings), repeats)
        except BackendError as error:
            rows.append([str(chi.shape[1]), str(size), str(batch), str(error)[:60]])
            continue
        steps = max(record.index for record in solution.history) + 1
        shown = f"{1e3 * seconds / steps / batch:.3f}"
        rows.append([str(chi.shape[1]), str(size), str(batch), f"{seconds:.3f}", shown])
        print("  ".join(rows[-1]), flush=True)
    return rows


def _fitter(model: MorphableModel, config: faceinv.FitConfig, engine: Engine) -> faceinv.Fitter:
    """Fits of a model on an engine that holds `fitted_model` of it."""
    fitter = faceinv.Fitter(model, "numpy", config)
    fitter.engine = engine
    return fitter


def fits_table(
    engine: Engine, model: MorphableModel, config: faceinv.FitConfig, cases: list[tuple[int, int]], repeats: int
) -> Table:
    """Fits per second for each (batch, size): Gauss-Newton alone, and from a photo with known landmarks to a result."""
    rows = [["px", "batch", "solver s", "fits/s", "iterations", "photo to result s", "faces/s", "slowest stages"]]
    photo, landmarks = _sample()
    rng = np.random.default_rng(2)
    for batch, size in cases:
        fitter = _fitter(model, dataclasses.replace(config, size=size), engine)
        # As many different faces: landmarks moved by a pixel change crop, start and path.
        sets = [landmarks + rng.normal(size=(68, 2)) for _ in range(batch)]
        photos = [fitter.prepare(photo, points) for points in sets]
        problem = stages.problem_at(fitter.config, fitter.model, photos, len(stages.level_sizes(fitter.config)) - 1)
        settings = SolverSettings(max_iterations=25, cost_tolerance=1e-3)
        try:
            lenses = Lenses(fitter.layout, fitter.config, photos)
            start = stages.start_from_landmarks(engine, fitter.config, problem, lenses)
            start = stages.start_from_light(engine, fitter.config, problem, start)
            solver, solution = clocked(partial(_solve, engine, problem, start, settings), repeats)
            whole, given = clocked(partial(fitter.fit_batch, [photo] * batch, sets), repeats)
        except BackendError as error:
            rows.append([str(size), str(batch), str(error)[:60]])
            continue
        steps = max(record.index for record in solution.history) + 1
        results = [result for result in given if isinstance(result, faceinv.FitResult)]
        slowest = sorted(results[0].timings.items(), key=lambda entry: -entry[1])[:3]
        rows.append(
            [
                *(str(size), str(batch), f"{solver:.3f}", f"{batch / solver:.1f}", str(steps), f"{whole:.3f}"),
                f"{batch / whole:.1f}",
                ", ".join(f"{name} {seconds:.3f} s" for name, seconds in slowest),
            ]
        )
        print("  ".join(rows[-1]), flush=True)
    return rows


def whole_fit_table(
    engine: CudaEngine, model: MorphableModel, config: faceinv.FitConfig, batch: int, timer: Timer
) -> Table:
    """Where the time from photos with known landmarks to results goes, kernel by kernel, and what is left of it."""
    photo, landmarks = _sample()
    fitter = _fitter(model, config, engine)
    pixels, rng = load_image(photo).pixels, np.random.default_rng(6)
    sets = [landmarks + rng.normal(size=(68, 2)) for _ in range(batch)]

    def fit() -> object:
        return fitter.fit_batch([pixels] * batch, sets)

    fit()
    wall, _ = clocked(fit, min(timer.repeats, 5))
    found = traced(engine.renderer.device, timer, fit)
    rows = [["kernel", "launches", "us a face", "% of the fit"]]
    entries = sorted(((seconds, count, name) for name, (count, seconds) in found.items()), reverse=True)
    total = sum(seconds for seconds, _, _ in entries), sum(count for _, count, _ in entries)
    entries += [(total[0], total[1], "kernels together"), (max(wall - total[0], 0.0), 0, "host, copies, waiting")]
    for seconds, count, name in entries:
        rows.append([name, str(count or ""), f"{1e6 * seconds / batch:.1f}", f"{100 * seconds / wall:.1f}"])
    return rows


def rival_table(
    engine: Engine,
    other: Engine,
    model: MorphableModel,
    config: faceinv.FitConfig,
    batch: int,
    size: int,
    timer: Timer,
) -> Table:
    """Milliseconds a face of this engine and of another on the same device, and how many times as fast this one is."""
    held = engine.renderer.model
    problem, chi = make_problem(held, batch, size, 31)
    every = np.ones(batch, np.bool_)
    photo, landmarks = _sample()
    rows = [["what", "px", "batch", f"{other.name} ms a face", "cupy ms a face", "ratio"]]
    spans: dict[str, list[float]] = {"linearisation": [], "photo to result": []}
    for one in (other, engine):
        fitter = _fitter(model, dataclasses.replace(config, size=size), one)
        bound = one.differentiator(problem)
        frozen = bound.freeze(chi)

        def linearize(one: Engine = one, bound: Any = bound, frozen: Any = frozen) -> None:
            bound.linearize(chi + 1e-9 * np.random.default_rng().normal(), frozen, every)
            one.renderer.synchronize()

        def fit(fitter: faceinv.Fitter = fitter) -> None:
            fitter.fit_batch([photo] * batch, [landmarks] * batch)

        for name, work in (("linearisation", linearize), ("photo to result", fit)):
            work()
            spans[name].append(1e3 * clocked(work, min(timer.repeats, 5))[0] / batch)
    for name, (theirs, own) in spans.items():
        rows.append([name, str(size), str(batch), f"{theirs:.3f}", f"{own:.3f}", f"{theirs / own:.1f}"])
        print("  ".join(rows[-1]), flush=True)
    return rows


def markdown(title: str, rows: Table) -> str:
    """A table under a heading."""
    head, *body = rows
    lines = [f"### {title}", "", f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    lines += [f"| {' | '.join(row + [''] * (len(head) - len(row)))} |" for row in body]
    return "\n".join(lines) + "\n"


class Report:
    """Tables as they are made, and what kept others from being made; written whole after each.

    Args:
        tell: gets the text so far.
        seconds: after so many no new table is begun; None for no limit.
    """

    def __init__(self, tell: Callable[[str], object] | None = None, seconds: float | None = None) -> None:
        self._tell, self._parts = tell, list[str]()
        self._until = None if seconds is None else time.perf_counter() + seconds
        self._lost = False
        self.failed = 0
        """Tables that could not be made."""

    @property
    def text(self) -> str:
        """All so far."""
        return "\n".join(self._parts)

    def add(self, text: str) -> None:
        """Append a paragraph or a table."""
        self._parts.append(text)
        if self._tell is not None:
            self._tell(self.text)

    def table(self, title: str, work: Callable[[], Table]) -> None:
        """Make a table; what goes wrong is told in its place."""
        late = self._until is not None and time.perf_counter() > self._until
        if self._lost or late:
            self.failed += 1
            self.add(f"### {title}\n\nNot made: {'out of time' if late else 'the device was lost before'}.\n")
            return
        print(f"-- {title}", flush=True)
        try:
            self.add(markdown(title, work()))
        except Exception as error:  # a rare hour on a GPU is not for one table's mistake
            traceback.print_exc()
            self.failed += 1
            self._lost = isinstance(error, DeviceLostError)
            self.add(f"### {title}\n\nNot made: {type(error).__name__}: {error}\n")


@dataclasses.dataclass(frozen=True)
class Cases:
    """What is measured."""

    batches: tuple[int, ...] = (1, 4, 16, 64, 256)
    sizes: tuple[int, ...] = (112, 224, 448)
    """px. Every batch at the first two; others with a quarter of the largest batch."""
    repeats: int = 15

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """(batch, size)."""
        every = [(batch, size) for size in self.sizes[:2] for batch in self.batches]
        return every + [(max(self.batches[-1] // 4, 1), size) for size in self.sizes[2:]]


def checks(
    build: Callable[[MorphableModel, EngineSettings], Engine], models: list[MorphableModel], sizes: tuple[int, ...]
) -> list[str]:
    """Everything that is wrong with the engine."""
    wrong = [line for size in sizes[:2] for line in check(build, models[0], size)]
    wrong += check(build, models[-1], sizes[0])
    return wrong + check_detail(build, models[0], sizes[0])


def run(
    build: Callable[[MorphableModel, EngineSettings], Engine],
    models: list[MorphableModel],
    cases: Cases,
    config: faceinv.FitConfig | None = None,
    report: Report | None = None,
    *,
    measured_ceilings: bool = True,
    rival: str = "torch:cuda",
    checked: bool = True,
    anyway: bool = False,
) -> Report:
    """Everything, and the ratio to another engine on the same device where that can be built; returns the tables.

    Args:
        build: of the CUDA engine.
        models: the first one is fitted, extended as `config` says; others are measured as they are.
        cases: sizes and numbers.
        config: of fits.
        report: where tables go.
        measured_ceilings: whether to measure what the device can do.
        rival: the other engine.
        checked: whether to check before measuring; the text says so where not.
        anyway: go on where a check fails, and say which.

    Raises:
        SystemExit: when a check fails, unless `anyway`.
    """
    config, report = config or faceinv.FitConfig(), report or Report()
    began = time.perf_counter()
    given, models = models[0], [fitted_model(models[0], config), *models[1:]]
    engines: dict[tuple[str, DType], CudaEngine] = {}
    for model in models:
        for dtype in ("float32", "float64"):
            engine = build(model, EngineSettings(dtype=dtype))
            assert isinstance(engine, CudaEngine)
            engines[model.name, dtype] = engine
    fitted = models[0]
    first = engines[fitted.name, "float32"]
    print(f"{first.description}: engines built in {time.perf_counter() - began:.1f} s", flush=True)
    wrong = checks(build, models, cases.sizes) if checked else []
    if wrong and not anyway:
        raise SystemExit("checks failed, nothing was measured:\n" + "\n".join(wrong))
    verdict = "Checks passed." if checked and not wrong else "**Not checked in this run.**"
    if wrong:
        verdict = "**Checks FAILED, so these are times of something else:** " + "; ".join(wrong)
    report.add(f"{first.description}. {verdict} {TARGETS}\n")
    timer = Timer(first.renderer.device, cases.repeats)
    ceiling = ceilings(timer) if measured_ceilings else None
    if ceiling is not None:
        rates = ", ".join(f"{name} products {rate / 1e12:.1f} TFLOP/s" for name, rate in ceiling.flops.items())
        report.add(f"Ceilings in this run: copy {ceiling.bytes / 1e9:.0f} GB/s, {rates}.\n")
    sizes, batches = cases.sizes, cases.batches
    middle, half = sizes[min(1, len(sizes) - 1)], batches[len(batches) // 2]
    few = min(cases.repeats, 3)
    fits = list(dict.fromkeys([*cases.pairs, (1, sizes[-1])]))
    report.table("Fits of the sample photo, float32", lambda: fits_table(first, given, config, fits, few))
    for batch in dict.fromkeys((1, half)):
        chosen = dataclasses.replace(config, size=sizes[0])
        report.table(
            f"Kernels of a whole fit, batch {batch}, {sizes[0]} px",
            partial(whole_fit_table, first, given, chosen, batch, timer),
        )
    for model in models:
        report.table(
            f"Parts of a step, float32, {model.name}",
            partial(parts_table, engines[model.name, "float32"], model, cases.pairs, timer, ceiling),
        )
    report.table(
        f"Kernels of one step, batch {half}, {middle} px", lambda: kernels_table(first, fitted, half, middle, timer)
    )
    try:
        other = build_engine(rival, fitted)
    except BackendError as error:
        report.add(f"Not compared with {rival}: {error}\n")
    else:
        report.table(f"Beside {rival}", lambda: rival_table(first, other, given, config, half, middle, timer))
    report.table(
        f"Parts of a step, float64, {fitted.name}",
        lambda: parts_table(engines[fitted.name, "float64"], fitted, [(half, middle)], timer, ceiling),
    )
    detailed = [(1, sizes[-1]), (max(batches[-1] // 8, 1), sizes[-1]), (1, 2 * sizes[-1])]
    copied = None if ceiling is None else ceiling.bytes
    report.table("Fine detail, float32", lambda: detail_table(first, detailed, timer, copied))
    measured = partial(profile, first.renderer.device, timer)
    report.table(
        f"Kernels of fine detail, one face, {sizes[-1]} px",
        lambda: detail_kernels_table(first, 1, sizes[-1], measured, few),
    )
    for model in models:
        report.table(
            f"Ten steps, float32, {model.name}",
            partial(solver_table, engines[model.name, "float32"], model, cases.pairs, few),
        )
    return report


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="", help="the GPU's number")
    parser.add_argument("--quick", action="store_true", help="fewer cases and repeats")
    parser.add_argument("--output", type=Path, help="a file for the tables, written after each of them")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    parser.add_argument("--only-checks", action="store_true", help="measure nothing")
    parser.add_argument("--unchecked", action="store_true", help="check nothing, as after --only-checks")
    parser.add_argument("--anyway", action="store_true", help="measure although checks fail")
    parser.add_argument("--seconds", type=float, help="begin no new table after so many seconds")
    options = parser.parse_args()
    from faceinv.backends.cupy_cuda import build as build_cupy

    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        return build_cupy(model, dataclasses.replace(settings, device=options.device))

    def tell(text: str) -> None:
        for path in (options.output, RESULTS if options.save else None):
            if path is not None:
                path.write_text(f"# The CUDA engine on a GPU\n\nMeasured by `benchmarks/gpu.py`.\n\n{text}")

    report = Report(tell, options.seconds)
    models = [faceinv.load_model("default"), wide_model()]
    cases = Cases((1, 32), (112, 224), 5) if options.quick else Cases()
    try:
        if options.only_checks:
            wrong = checks(build, [fitted_model(models[0], faceinv.FitConfig()), models[-1]], cases.sizes)
            sys.exit("\n".join(wrong) or 0)
        run(build, models, cases, report=report, checked=not options.unchecked, anyway=options.anyway)
    except BackendError as error:
        sys.exit(str(error))
    print(report.text)
    if report.failed:
        sys.exit(f"{report.failed} tables could not be made.")


if __name__ == "__main__":
    main()
