"""How long one linearisation of the `numpy` engine takes, against NumPy's `J.T @ J` of as many float32 rows.

    NUMBA_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python benchmarks/linearize.py [--save]

Times are the least CPU time of the calling thread over some runs, so they mean the work only with one thread.
`--save` writes `linearize.json`, and `linearize.png` where matplotlib is there, to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import numpy as np
from report import RESULTS, save

from faceinv.backends.numpy_numba import build
from faceinv.engine.records import Energy, EngineSettings, Problem
from faceinv.engine.remembered import Remembered
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faceinv.engine.records import Assembly, Normals
    from faceinv.face.model import MorphableModel

WAYS: tuple[tuple[Normals, Assembly], ...] = (
    ("smooth", "rows"),
    ("smooth", "vertices"),
    ("flat", "rows"),
    ("flat", "vertices"),
)


def milliseconds(work: Callable[[], Any], runs: int) -> float:
    """The least of some runs, after one to warm up."""
    work()
    times = []
    for _ in range(runs):
        begin = time.thread_time()
        work()
        times.append(time.thread_time() - begin)
    return round(1e3 * min(times), 2)


def measure(model: MorphableModel, size: int, normals: Normals, assembly: Assembly, runs: int) -> dict[str, Any]:
    """Stages of a linearisation of one frontal face that fills a square image."""
    layout, rng = ParameterLayout.of(model), np.random.default_rng(0)
    chi = np.zeros((1, layout.count))
    chi[:, layout.shape] = rng.normal(0, 0.5, (1, layout.shape_count))
    chi[:, layout.albedo] = rng.normal(0, 0.5, (1, layout.albedo_count))
    turn = rotation_matrix(np.array([0.1, 0.1, -0.05]))
    chi[:, layout.pose] = Camera(size / 170, turn, np.full(2, size / 2)).pack()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8) + rng.normal(0, 0.1, (9, 3)))
    problem = Problem(
        image=rng.uniform(0.3, 0.5, (1, size, size, 3)).astype(np.float32),
        mask=np.ones((1, size, size), np.bool_),
        landmarks=np.full((1, 68, 2), size / 2),
        landmark_sigma=np.full((1, 68), 0.03),
        eye_distance=np.full(1, 0.4 * size),
        energy=Energy(1e3, 1.0, 1.0, 1.0, 1.0, 0.1),
    )
    engine: Any = build(model, EngineSettings(normals=normals, assembly=assembly))
    differentiator, active = engine.differentiator(problem), np.ones(1, np.bool_)
    frozen = differentiator.freeze(chi)
    seen = frozen.cache[0]

    def forget() -> None:
        engine.renderer.surfaces = Remembered()

    def whole() -> None:
        forget()
        differentiator.linearize(chi, differentiator.freeze(chi), active)

    def surface() -> None:
        forget()
        engine.renderer.surface(chi[0], 0)

    rows = rng.normal(size=(3 * len(seen.pixels), layout.count)).astype(np.float32)
    times = {
        "product": milliseconds(lambda: rows.T @ rows, runs),
        "surface": milliseconds(surface, runs),
        "freeze": milliseconds(lambda: differentiator.freeze(chi), runs),
        "derivatives": milliseconds(lambda: differentiator._local(chi[0], seen, 0, robust=True), runs),
        "linearize": milliseconds(lambda: differentiator.linearize(chi, frozen, active), runs),
        "whole": milliseconds(whole, runs),
    }
    again = milliseconds(lambda: rows.T @ rows, runs)
    times["product"] = min(times["product"], again)
    return {
        "size": size,
        "parameters": layout.count,
        "normals": normals,
        "assembly": assembly,
        "pixels": len(seen.pixels),
        "vertices": len(seen.vertices),
        "milliseconds": times,
        "ratio": round(times["whole"] / times["product"], 2),
    }


def plot(results: list[dict[str, Any]], path: Path) -> None:
    """Whole linearisation and `J.T @ J` over pixels, if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(7, 5))
    most = max(r["parameters"] for r in results)
    for normals, assembly in WAYS:
        chosen = [r for r in results if (r["normals"], r["assembly"], r["parameters"]) == (normals, assembly, most)]
        pixels, times = [r["pixels"] for r in chosen], [r["milliseconds"] for r in chosen]
        axis.loglog(pixels, [t["whole"] for t in times], "o-", label=f"{normals} normals, by {assembly}")
        if (normals, assembly) == WAYS[0]:
            axis.loglog(pixels, [t["product"] for t in times], "k--", label="J.T @ J alone")
    axis.set(xlabel="face pixels", ylabel="ms", title=f"One linearisation, {most} parameters, float32")
    axis.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[112, 160, 224, 320, 512, 1024])
    parser.add_argument(
        "--modes", type=float, nargs="+", default=[0.25, 0.5], help="parts of the model's modes, at 224 px"
    )
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results")
    options = parser.parse_args()
    model = load_model("default")
    tasks = [(model, size) for size in options.sizes]
    for part in options.modes:
        counts = [int(part * n) for n in (model.identity_count, model.expression_count, model.albedo_count)]
        tasks.append((model.truncated(*counts), 224))
    results = []
    for chosen, size in tasks:
        for normals, assembly in WAYS:
            measured = measure(chosen, size, normals, assembly, options.runs)
            results.append(measured)
            print(" ".join(f"{key} {value}" for key, value in measured.items()), flush=True)
    if options.save:
        save("linearize", {"results": results})
        plot(results, RESULTS / "linearize.png")


if __name__ == "__main__":
    main()
