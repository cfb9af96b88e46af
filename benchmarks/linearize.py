"""How long one linearisation of the `numpy` engine takes, against NumPy's `J.T @ J` of as many float32 rows.

    python benchmarks/linearize.py [--model STANDIN] [--save]

A linearisation is what a fit does between two steps: the surface, which pixels show it, cost, g and H, landmarks and
priors included; once with H from as many pixels as `FitConfig.hessian_size` asks for, as in a fit, and once from all.
`J.T @ J` is of all rows, three for each pixel, and of nothing else: neither were they made, nor g.

Both sides are timed in one process, with the same number of threads for Numba and for BLAS, for one thread and for two.
`OPENBLAS_CORETYPE` and `OPENBLAS_L2_SIZE` are unset there, so that BLAS takes the best of its kernels; the result says
which. Wall and CPU seconds are the least of some runs, each at another face, since engines remember surfaces. The
machine should be idle: the result says where it was not, by its load before and by what others used meanwhile. The
default takes some three minutes on two cores.

With `--model`, the linearisations of a model of one's own follow; a folder from `make_basel_standin.py` is one of the
size of the Basel Face Model. `--save` writes `linearize.json`, and `linearize.png` where matplotlib is there, to
`benchmarks/results`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import report
from threadpoolctl import threadpool_info

from faceinv.engine.records import Energy, EngineSettings, Problem
from faceinv.engine.registry import build_engine, parse_engine
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.fitting.config import FitConfig
from faceinv.fitting.extension import extended, field_amplitude

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel

THREADS: Final = (1, 2)
SIZES: Final = (56, 112, 224, 512, 1024)
PARAMETERS: Final = (152, 280, 306, 312)
"""Of the default model as a fit extends it, with fewer modes or with more; a fit with the defaults has 306."""
MAIN: Final = 280
"""At this many parameters all sizes are measured, and flat normals; at others, `FEW_SIZES`."""
FEW_SIZES: Final = (112, 224)
BARS: Final = {("default", 224): 0.75, ("default", 112): 1.2, ("model", 112): 1.0, ("model", 224): 1.0}
"""The most that a linearisation as in a fit, with smooth normals, may take, over `J.T @ J`; of the default model with
`MAIN` parameters."""
BUSY: Final = 0.3
"""The machine is not idle where its load before, or the cores that others used meanwhile, are more."""
_UNSET: Final = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_PRODUCT_ROWS: Final = 100_000
"""Rows of the largest matrix that `J.T @ J` is timed on; more are several such products."""
_SETTLED: Final = 0.1
"""Seconds, after which BLAS's threads no longer spin."""


@dataclass(frozen=True)
class Case:
    """What is measured together: one problem, with H from some pixels and from all."""

    path: str
    """`default` or a model's."""
    parameters: int
    """P; 0 for the model's own."""
    size: int
    normals: Normals


def model_of(path: str, parameters: int) -> MorphableModel:
    """A model as a fit gives it to its engine, with so many parameters."""
    config = FitConfig()
    given = load_model(path)
    model = fit_mesh(extended(given, field_amplitude(given, config.albedo_field), config.self_occlusion))
    whole = ParameterLayout.of(model)
    rest = whole.count - whole.shape_count - whole.albedo_count
    spare = whole.count - parameters
    if not parameters or not spare:
        return model
    if spare < 0:  # modes of the field once more
        basis = np.concatenate([model.albedo_basis, model.albedo_basis[:, :, spare:]], axis=2)
        return replace(model, albedo_basis=basis, field_count=model.field_count - spare)
    if spare < whole.albedo_count // 2:
        return model.truncated(albedo=whole.albedo_count - spare)
    share = (parameters - rest) / (whole.count - rest)
    identity, expression = round(share * model.identity_count), round(share * model.expression_count)
    return model.truncated(identity, expression, parameters - rest - identity - expression)


def problem_of(size: int, step: int) -> Problem:
    """A photo of noise, weighed as in a fit."""
    random = np.random.default_rng(0)
    return Problem(
        image=random.uniform(0.3, 0.5, (1, size, size, 3)).astype(np.float32),
        mask=np.ones((1, size, size), np.bool_),
        landmarks=np.full((1, 68, 2), size / 2) + random.normal(0, size / 8, (1, 68, 2)),
        landmark_sigma=np.full((1, 68), 0.03),
        eye_distance=np.full(1, 0.4 * size),
        energy=Energy(8e4, 1.0, 1.5, 1.0, 5.0, 0.035),
        hessian_step=step,
    )


def face_of(layout: ParameterLayout, size: int, seed: int) -> NDArray[np.float64]:
    """(1, P) a lit face that covers as much of a square image as in a fit; another seed, another face."""
    random = np.random.default_rng(seed)
    chi = np.zeros((1, layout.count))
    chi[:, layout.shape] = random.normal(0, 0.3, (1, layout.shape_count))
    chi[:, layout.albedo] = random.normal(0, 0.3, (1, layout.albedo_count))
    turn = rotation_matrix(np.array([0.1, 0.1, -0.05]))
    middle = np.full(2, size / 2)
    chi[:, layout.pose] = Camera(size / 190, turn, middle, 1 / 900, middle).pack()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8) + random.normal(0, 0.1, (9, 3)))
    return chi


def timed(work: Callable[[int], object], runs: int) -> tuple[float, float]:
    """The least wall and the least CPU milliseconds of some runs; `work` gets the number of the run."""
    work(runs)
    time.sleep(_SETTLED)
    wall, cpu = [], []
    for run in range(runs):
        began, began_cpu = time.perf_counter(), time.process_time()
        work(run)
        wall.append(time.perf_counter() - began)
        cpu.append(time.process_time() - began_cpu)
    return 1e3 * min(wall), 1e3 * min(cpu)


def measure(case: Case, model: MorphableModel, runs: int) -> list[dict[str, Any]]:
    """One case: as in a fit, and with H from all pixels, where that differs."""
    layout, size = ParameterLayout.of(model), case.size
    runs = max(3, runs // max(1, size // 200))
    engine = build_engine(parse_engine("numpy"), model, EngineSettings(normals=case.normals))
    faces = [face_of(layout, size, seed) for seed in range(runs + 1)]
    active, free = np.ones(1, np.bool_), layout.unknowns[None]
    sampled = max(1, round((size / FitConfig().hessian_size) ** 2))
    results: list[dict[str, Any]] = []
    for step in dict.fromkeys((sampled, 1)):
        differentiator = engine.differentiator(problem_of(size, step))
        held = [differentiator.freeze(face) for face in faces]

        def freeze(run: int, bound: Any = differentiator) -> None:
            bound.freeze(faces[run])

        def linearize(run: int, bound: Any = differentiator, held: list[Any] = held) -> None:
            bound.linearize(faces[run], held[run], active, free)

        def whole(run: int, bound: Any = differentiator) -> None:
            bound.linearize(faces[run], bound.freeze(faces[run]), active, free)

        parts = {"whole": timed(whole, runs), "freeze": timed(freeze, runs), "linearize": timed(linearize, runs)}
        results.append(
            {
                "model": case.path if case.path == "default" else "model",
                "vertices": model.vertex_count,
                "parameters": layout.count,
                "size": size,
                "normals": case.normals,
                "hessian": "sample" if step > 1 or size <= FitConfig().hessian_size else "all",
                "pixels": int(held[0].pixels[0]),
                **{
                    f"{name}_{kind}_ms": t
                    for name, pair in parts.items()
                    for kind, t in zip(("wall", "cpu"), pair, strict=True)
                },
            }
        )
    # Last, as the threads of BLAS spin for a while.
    count = 3 * results[0]["pixels"]
    blocks = -(-count // _PRODUCT_ROWS)
    rows = np.random.default_rng(0).normal(size=(-(-count // blocks), layout.count)).astype(np.float32)

    def product(run: int) -> None:
        for _ in range(blocks):
            rows.T @ rows

    wall, cpu = timed(product, max(3, runs // 2))
    for result in results:
        ratios = {"wall_ratio": result["whole_wall_ms"] / wall, "cpu_ratio": result["whole_cpu_ms"] / cpu}
        result.update(product_wall_ms=wall, product_cpu_ms=cpu, **ratios)
    return results


def used() -> float:
    """CPU seconds that all processes have used since the machine started; NaN where the system does not say."""
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return float("nan")
    user, nice, system, _, _, interrupts, soft = (int(field) for field in fields[:7])
    return (user + nice + system + interrupts + soft) / os.sysconf("SC_CLK_TCK")


def measure_all(cases: list[Case], threads: int, runs: int) -> dict[str, Any]:
    """All cases, in this process with its threads."""
    models: dict[tuple[str, int], MorphableModel] = {}
    results: list[dict[str, Any]] = []
    load, before = os.getloadavg()[0], (used(), time.process_time(), time.perf_counter())
    for case in cases:
        key = (case.path, case.parameters)
        if key not in models:
            models = {key: model_of(*key)}  # only one, as large ones are
        for result in measure(case, models[key], runs):
            results.append({"threads": threads, **result})
            print(report.table([_row(results[-1])]).split("\n")[-1], flush=True)
    total, own, wall = (
        now - then for now, then in zip((used(), time.process_time(), time.perf_counter()), before, strict=True)
    )
    others = (total - own) / wall
    libraries = [f"{i['internal_api']} {i['version']} {i.get('architecture')}" for i in threadpool_info()]
    return {
        "threads": threads,
        "blas": sorted({text for text in libraries if "openblas" in text or "mkl" in text or "blis" in text}),
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "cores_used_by_others": others,
        "machine": "busy machine" if load > BUSY or others > BUSY else "idle",
        "results": results,
    }


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    keys = ("threads", "model", "parameters", "size", "normals", "hessian", "pixels", "whole_wall_ms", "whole_cpu_ms")
    return {key: result[key] for key in (*keys, "product_wall_ms", "wall_ratio", "cpu_ratio")}


@contextmanager
def environment(threads: int) -> Iterator[None]:
    """What a process started inside has in its environment."""
    kept = dict(os.environ)
    for name in _UNSET:
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(threads)))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Whole linearisation and `J.T @ J` over pixels, if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(THREADS), figsize=(11, 5), sharey=True)
    for axis, threads in zip(axes, THREADS, strict=True):
        for normals, style in (("smooth", "o-"), ("flat", "s-")):
            for hessian, colour in (("sample", "tab:blue"), ("all", "tab:orange")):
                chosen = [
                    r
                    for r in results
                    if (r["threads"], r["model"], r["parameters"], r["normals"]) == (threads, "default", MAIN, normals)
                    and (r["hessian"] == hessian or r["size"] == min(SIZES))
                ]
                label = f"{normals} normals, H from {'a sample' if hessian == 'sample' else 'all'}"
                fill = "full" if normals == "smooth" else "none"
                pixels, times = [r["pixels"] for r in chosen], [r["whole_wall_ms"] for r in chosen]
                axis.loglog(pixels, times, style, color=colour, fillstyle=fill, label=label)
        axis.loglog(pixels, [r["product_wall_ms"] for r in chosen], "k--", label="J.T @ J of all rows")
        axis.set(xlabel="face pixels", title=f"{MAIN} parameters, float32, threads: {threads}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("wall-clock ms of one linearisation")
    axes[0].legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description="Time one linearisation of the numpy engine.")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--parameters", type=int, nargs="+", default=list(PARAMETERS))
    parser.add_argument("--threads", type=int, nargs="+", default=list(THREADS))
    parser.add_argument("--model", help="a model of one's own beside the default one")
    parser.add_argument("--runs", type=int, default=12, help="of small problems; large ones get fewer")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results")
    options = parser.parse_args()
    cases = []
    for count in options.parameters:
        sizes = options.sizes if count == MAIN else [size for size in options.sizes if size in FEW_SIZES]
        cases += [Case("default", count, size, "smooth") for size in sizes]
        if count == MAIN:
            cases += [Case("default", count, size, "flat") for size in sizes]
    if options.model:
        cases += [Case(options.model, 0, size, "smooth") for size in options.sizes if size in FEW_SIZES]
    passes, results = [], []
    for threads in options.threads:
        with environment(threads), ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            measured = pool.submit(measure_all, cases, threads, options.runs).result()
        results += measured.pop("results")
        passes.append(measured)
    print(report.table([_row(result) for result in results]))
    for measured in passes:
        print(", ".join(f"{key} {value}" for key, value in measured.items()))
    bars = []
    for result in results:
        bar = BARS.get((result["model"], result["size"]))
        right = result["model"] == "model" or result["parameters"] == MAIN
        if bar and right and (result["normals"], result["hessian"]) == ("smooth", "sample"):
            kept = {key: result[key] for key in ("threads", "model", "parameters", "size", "wall_ratio", "cpu_ratio")}
            bars.append({**kept, "bar": bar, "met": "yes" if result["wall_ratio"] <= bar else "no"})
    print(report.table(bars))
    if options.save:
        report.save("linearize", {"passes": passes, "bars": bars, "results": results})
        if not (
            set(SIZES) - set(options.sizes) or MAIN not in options.parameters or set(THREADS) - set(options.threads)
        ):
            plot(results, report.RESULTS / "linearize.png")


if __name__ == "__main__":
    main()
