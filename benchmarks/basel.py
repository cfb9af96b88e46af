"""Time and memory at the size of the Basel Face Model 2009: 53,215 vertices, 312 parameters.

    python benchmarks/make_basel_standin.py STANDIN
    python benchmarks/basel.py --model STANDIN --save

The first line writes a stand-in of that size (two minutes, 300 MB); the real model's folder does as well. Measured,
each in a process of its own so that peak memory means something:

- loading the model's own files, and the same model converted to faceinv's `.npz`; its fingerprint;
- a whole warm fit of the sample photo, landmarks included, with the defaults and with the paper's setting, and where
  its time goes;
- one linearisation of the `numpy` engine (visibility, derivatives, J^T J) against NumPy's `J.T @ J` alone for as many
  float32 rows as all pixels have, for smooth and flat normals, at several sizes: as in a fit, with H from a lattice of
  pixels; and with H from all of them, by rows and by vertices.

Wall and CPU seconds are the least of some runs, with as many threads on both sides. Takes some three minutes;
`--sizes` without numbers leaves the linearisations out. `--save` writes `basel.json`, and `basel.png` where matplotlib
is there, to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import os
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any, Final

import numpy as np
import report
from fit_profile import by_name, profiled
from measuring import alone, busy, peak_mb, timed

from faceinv.engine.records import Assembly, Energy, EngineSettings, Normals, Problem
from faceinv.engine.registry import build_engine, parse_engine
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.formats import load_model, save_npz_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.fitting.config import FitConfig
from faceinv.fitting.extension import extended, field_amplitude
from faceinv.fitting.fitter import Fitter

SIZES: Final = (112, 224, 448)
NORMALS: Final[tuple[Normals, ...]] = ("smooth", "flat")
WAYS: Final[tuple[tuple[str, Assembly, bool], ...]] = (
    ("as in a fit", "auto", True),
    ("all, by rows", "rows", False),
    ("all, by vertices", "vertices", False),
)
"""How H is formed: what it is called, the engine's assembly, whether from the lattice of a fit."""
TARGETS: Final = {"load_s": 3.0, "load_converted_s": 0.5, "fit_s": 1.5, "peak_mb": 1500.0, "ratio": 1.0}
SETTINGS: Final = ("defaults", "paper")
_PRODUCT_ROWS: Final = 150_000
"""Rows of the largest matrix that `J.T @ J` is timed on; more are several such products."""
_SECONDS: Final = 4.0
"""Of runs of one thing, roughly."""


def loading(path: Path, form: str, runs: int) -> dict[str, Any]:
    """One form of the model."""
    wall, cpu = timed(lambda run: load_model(path), runs)
    model = load_model(path)
    fingerprint_wall, fingerprint_cpu = timed(lambda run: model.fingerprint, 1)
    return {
        "form": form,
        "wall_s": wall,
        "cpu_s": cpu,
        "fingerprint_wall_s": fingerprint_wall,
        "fingerprint_cpu_s": fingerprint_cpu,
        "peak_mb": peak_mb(),
        "vertices": model.vertex_count,
        "parameters": ParameterLayout.of(model).count,
        "fingerprint": model.fingerprint,
    }


def convert(source: Path, destination: Path) -> float:
    """Write the model in faceinv's own form; returns wall seconds."""
    model = load_model(source)
    return timed(lambda run: save_npz_model(model, destination), 1)[0]


def config_of(setting: str) -> FitConfig:
    """Of one of `SETTINGS`."""
    return FitConfig.paper() if setting == "paper" else FitConfig()


def fitting(path: Path, setting: str, runs: int, picture: Path | None) -> dict[str, Any]:
    """Whole fits of the sample photo, after one to warm up."""
    fitter = Fitter(path, "numpy", config_of(setting))
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
        result = fitter.fit(photo)
        wall, cpu = timed(lambda run: fitter.fit(photo), runs)
    peak = peak_mb()
    if picture is not None:
        result.overlay().save(picture)
    return {
        "setting": setting,
        "parameters": fitter.layout.count,
        "vertices": fitter.engine.renderer.model.vertex_count,
        "wall_s": wall,
        "cpu_s": cpu,
        "steps": len(result.history),
        "status": str(result.status),
        "landmark_error": result.landmark_error,
        "photometric_rmse": result.photometric_rmse,
        "identity_rms": float(np.sqrt((result.identity**2).mean())),
        "expression_rms": float(np.sqrt((result.expression**2).mean())),
        "peak_mb": peak,
        "stages_s": result.timings,
    }


def linearising(path: Path, sizes: list[int], normals: Normals, way: str, runs: int) -> list[dict[str, Any]]:
    """One linearisation of a face that fills a square image, at each size."""
    given, config = load_model(path), FitConfig()
    model = fit_mesh(extended(given, field_amplitude(given, config.albedo_field), config.self_occlusion))
    layout = ParameterLayout.of(model)
    assembly, sampled = next((assembly, sampled) for name, assembly, sampled in WAYS if name == way)
    engine = build_engine(parse_engine("numpy"), model, EngineSettings(normals=normals, assembly=assembly))
    measured = []
    for size in sizes:
        chosen = runs
        random = np.random.default_rng(0)
        problem = Problem(
            image=random.uniform(0.3, 0.5, (1, size, size, 3)).astype(np.float32),
            mask=np.ones((1, size, size), np.bool_),
            landmarks=np.full((1, 68, 2), size / 2),
            landmark_sigma=np.full((1, 68), 0.03),
            eye_distance=np.full(1, 0.4 * size),
            energy=Energy(5e4, 1.0, 1.0, 1.0, 5.0, 0.1),
            hessian_step=max(1, round((size / config.hessian_size) ** 2)) if sampled else 1,
        )
        # Another point each run: engines remember surfaces.
        points = [_chi(layout, size, seed) for seed in range(chosen + 1)]
        differentiator, active = engine.differentiator(problem), np.ones(1, np.bool_)

        def whole(
            run: int,
            points: list[np.ndarray[Any, Any]] = points,
            differentiator: Any = differentiator,
            active: Any = active,
        ) -> None:
            differentiator.linearize(points[run], differentiator.freeze(points[run]), active)

        pixels = int(differentiator.freeze(points[0]).pixels[0])
        blocks = math.ceil(3 * pixels / _PRODUCT_ROWS)
        rows = random.normal(size=(math.ceil(3 * pixels / blocks), layout.count)).astype(np.float32)

        def product(run: int, rows: np.ndarray[Any, Any] = rows, blocks: int = blocks) -> None:
            for _ in range(blocks):
                rows.T @ rows

        whole(chosen)
        product(0)
        before = timed(product, chosen, _SECONDS / 2)
        wall, cpu = timed(whole, chosen, _SECONDS)
        after = timed(product, chosen, _SECONDS / 2)
        product_wall, product_cpu = min(before[0], after[0]), min(before[1], after[1])
        measured.append(
            {
                "normals": normals,
                "hessian": way,
                "size": size,
                "pixels": pixels,
                "wall_ms": 1e3 * wall,
                "cpu_ms": 1e3 * cpu,
                "product_wall_ms": 1e3 * product_wall,
                "product_cpu_ms": 1e3 * product_cpu,
                "wall_ratio": wall / product_wall,
                "cpu_ratio": cpu / product_cpu,
            }
        )
    return measured


def _chi(layout: ParameterLayout, size: int, seed: int) -> np.ndarray[Any, Any]:
    """(1, P) a lit face that nearly fills the image; another seed, another face in the same pose."""
    random = np.random.default_rng(seed)
    chi = np.zeros((1, layout.count))
    chi[:, layout.shape] = random.normal(0, 0.1, (1, layout.shape_count))
    chi[:, layout.albedo] = random.normal(0, 0.1, (1, layout.albedo_count))
    turn = rotation_matrix(np.array([0.1, 0.1, -0.05]))
    chi[:, layout.pose] = Camera(size / 170, turn, np.full(2, size / 2)).pack()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8) + random.normal(0, 0.1, (9, 3)))
    return chi


def plot(results: list[dict[str, Any]], parameters: int, path: Path) -> None:
    """Wall time of a linearisation over the face's pixels, if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.6), sharey=True)
    looks = dict(zip((name for name, *_ in WAYS), ("o-", "s-", "^-"), strict=True))
    for axis, normals in zip(axes, NORMALS, strict=True):
        for way, look in looks.items():
            line = [r for r in results if (r["normals"], r["hessian"]) == (normals, way)]
            axis.loglog([r["pixels"] for r in line], [r["wall_ms"] for r in line], look, label=f"H {way}")
        line = [r for r in results if (r["normals"], r["hessian"]) == (normals, WAYS[0][0])]
        axis.loglog([r["pixels"] for r in line], [r["product_wall_ms"] for r in line], "k--", label="J.T @ J alone")
        sizes = ", ".join(str(r["size"]) for r in line)
        axis.set(xlabel=f"face pixels (images of {sizes} px)", title=f"{normals} normals")
        axis.grid(alpha=0.3, which="both")
    axes[0].set_ylabel("ms for one linearisation")
    axes[0].legend()
    figure.suptitle(f"numpy engine, Basel layout, {parameters} parameters, float32")
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def _shown(rows: list[dict[str, Any]], *without: str) -> str:
    return report.table([{key: value for key, value in row.items() if key not in without} for row in rows])


def main() -> None:
    """Measure, print, and save where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="folder of the stand-in, or of the real model")
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES), help="image sizes of linearisations, px")
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1), help="of Numba and of BLAS")
    parser.add_argument("--pictures", type=Path, help="folder for pictures of the fits")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results")
    options = parser.parse_args()
    if not options.model.exists():
        parser.error(f"{options.model} does not exist; write it with: python benchmarks/make_basel_standin.py FOLDER")
    if options.pictures is not None:
        options.pictures.mkdir(parents=True, exist_ok=True)
    os.environ["OPENBLAS_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(options.threads)
    threads, before = options.threads, busy()
    print(f"{threads} threads; processes that wanted a core in the minute before: {before:.1f}\n")
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder) / "converted.npz"
        written = alone(convert, options.model, own)
        loads = [
            alone(loading, options.model, "own files", min(options.runs, 3)),
            alone(loading, own, "converted", options.runs),
        ]
        print(f"converted: {own.stat().st_size / 1e6:.0f} MB, written in {written:.2f} s\n")
        print(_shown(loads), flush=True)
        fits, profiles = [], []
        for setting in SETTINGS:
            picture = None if options.pictures is None else options.pictures / f"basel_{setting}.png"
            fits.append(alone(fitting, own, setting, options.runs, picture, threads=threads))
            config = dataclasses.asdict(config_of(setting))
            profiles.append(alone(profiled, threads, options.runs, str(own), config, threads=threads))
        print("\n" + _shown(fits, "stages_s"), flush=True)
        for setting, profile in zip(SETTINGS, profiles, strict=True):
            longest, wall = list(by_name(profile, "cpu_s").items())[:9], by_name(profile, "wall_s")
            shown = ", ".join(f"{name} {1e3 * seconds:.0f} ({1e3 * wall[name]:.0f})" for name, seconds in longest)
            print(f"\n{setting}, ms of CPU (wall): {shown}")
        lines: list[dict[str, Any]] = []
        for normals in NORMALS if options.sizes else ():
            for way, *_ in WAYS:
                lines += alone(linearising, own, options.sizes, normals, way, options.runs, threads=threads)
                print("\n" + _shown(lines[-len(options.sizes) :]), flush=True)
    if options.save:
        content = {
            "targets": TARGETS,
            "threads": threads,
            "load_before": before,
            "load": loads,
            "fit": fits,
            "profile": profiles,
            "linearize": lines,
        }
        print(report.save("basel", content))
        if lines:
            plot(lines, loads[0]["parameters"], report.RESULTS / "basel.png")


if __name__ == "__main__":
    main()
