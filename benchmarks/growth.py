"""How time and memory of fits grow: with image size, modes, vertices, photos of a batch, threads and processes.

    python benchmarks/growth.py [--save] [--only size modes ...]

All fits are warm fits of the sample photo on the `numpy` engine, each measured in a process of its own so that peak
memory means something. The four growths have one thread and known landmarks, so they show work and not waiting;
threads and processes fit from the file, landmarks found, as over a folder. Exponents are slopes of straight lines
through the logarithms, by least squares over the whole range, and between the two largest, as small ones have constant
parts. Times are by accepted step of all unknowns too, as their number differs from case to case.

- *Modes*: the first ones of each basis; or each twice, divided by the root of two, which is the same statistics with
  twice as many unknowns.
- *Vertices*: the mesh that a fit computes with the longest edges split, which is the same surface.

From the best of threads and processes follows what a million photos cost: on paper where it says so. `--save` writes
`growth.json`, `.md`, and `.png` where matplotlib is there, to `benchmarks/results`. Takes some five minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import report
from make_basel_standin import refine
from measuring import alone, busy, peak_mb, timed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    import faceinv
    from faceinv.face.model import MorphableModel

CASES: Final[dict[str, tuple[float, ...]]] = {
    "size": (56, 80, 112, 160, 224, 320, 448),
    "modes": (0.25, 0.5, 1, 2),
    "vertices": (1, 2, 4, 8),
    "batch": (1, 2, 4, 8, 16, 32),
}
"""px; shares of the modes; multiples of the vertices; photos."""
SHARED: Final = ((1, 1), (1, 2), (2, 1))
"""Processes, and threads of each."""
_SECONDS: Final = 4.0
"""Of runs of one case, roughly."""
_X: Final = {"size": "size", "modes": "P", "vertices": "vertices", "batch": "batch"}
_LABELS: Final = {"size": "image size, px", "modes": "unknowns P", "vertices": "vertices", "batch": "photos of a batch"}
MILLION: Final = 1_000_000
CORES: Final = 100
GPU_TARGET: Final = 500.0
"""Fits a second on one large GPU: asked for, not measured."""


def with_modes(model: MorphableModel, share: float) -> MorphableModel:
    """The model with so many times as many modes."""
    copies = max(1, round(share))

    def modes(basis: NDArray[np.float32]) -> NDArray[np.float32]:
        kept = basis if share >= 1 else basis[:, :, : max(1, round(share * basis.shape[2]))]
        wider: NDArray[np.float32] = np.concatenate([kept] * copies, axis=2) * np.float32(copies**-0.5)
        return wider

    return dataclasses.replace(
        model,
        identity_basis=modes(model.identity_basis),
        expression_basis=modes(model.expression_basis),
        albedo_basis=modes(model.albedo_basis),
        expression_names=(),
        expression_units=None,
        field_count=0,
    )


def with_vertices(model: MorphableModel, times: int) -> MorphableModel:
    """The same surface on a mesh of so many times as many vertices."""
    if times == 1:
        return model
    count = times * model.vertex_count
    old = np.sort(model.triangles.astype(np.int64), axis=1)
    mean = model.mean.astype(np.float64)
    take, faces = refine(mean, model.triangles.astype(np.int64), count, len(old) + 2 * (count - len(mean)))
    # The corners of a part of a triangle are mixed from all three of that triangle's corners, and from no other.
    mixed = take[faces[:, 0]] + take[faces[:, 1]] + take[faces[:, 2]]
    mixed.sort_indices()
    base = np.array([len(mean) ** 2, len(mean), 1])
    keys, wanted = old @ base, mixed.indices.reshape(-1, 3).astype(np.int64) @ base
    order = np.argsort(keys)
    parent = order[np.searchsorted(keys[order], wanted)]
    rows = [np.flatnonzero(np.isin(parent, row[row >= 0])) for row in model.jaw_band]
    band = np.full((len(rows), max(map(len, rows))), -1, np.int32)
    for row, triangles in zip(band, rows, strict=True):
        row[: len(triangles)] = triangles

    def taken(values: NDArray[np.float32]) -> NDArray[np.float32]:
        flat = take.astype(np.float32) @ values.reshape(len(values), -1)
        return np.asarray(flat).reshape(count, *values.shape[1:])

    return dataclasses.replace(
        model,
        mean=taken(model.mean),
        identity_basis=taken(model.identity_basis),
        expression_basis=taken(model.expression_basis),
        mean_albedo=taken(model.mean_albedo),
        albedo_basis=taken(model.albedo_basis),
        triangles=faces.astype(np.int32),
        face_mask=model.face_mask[parent],
        jaw_band=band,
        uv=np.zeros((1, 2), np.float32),
        uv_triangles=np.zeros(faces.shape, np.int32),
        mirror=np.arange(count, dtype=np.int32),
        occlusion=None if model.occlusion is None else taken(model.occlusion),
        part_names=(),
        triangle_parts=None,
    )


def _fitter(kind: str, value: float) -> faceinv.Fitter:
    import faceinv
    from faceinv.engine.records import EngineSettings
    from faceinv.engine.registry import build_engine, parse_engine
    from faceinv.face.fit_mesh import fit_mesh
    from faceinv.face.layout import ParameterLayout

    fitter = faceinv.Fitter(config=faceinv.FitConfig(size=int(value)) if kind == "size" else None)
    if kind in ("modes", "vertices"):
        held = fit_mesh(fitter.model)
        fitter.model = with_modes(held, value) if kind == "modes" else with_vertices(held, int(value))
        fitter.layout = ParameterLayout.of(fitter.model)
        fitter.engine = build_engine(parse_engine("numpy"), fitter.model, EngineSettings())
    return fitter


def _sample() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The packaged photo's pixels, and the landmarks found in it."""
    from faceinv.photo.detector import detect_faces
    from faceinv.photo.read import load_image

    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
        pixels = load_image(path).pixels
    return pixels, detect_faces(pixels)[0].landmarks


def growing(kind: str, value: float, runs: int) -> dict[str, Any]:
    """One case; run in a process of its own."""
    fitter, (pixels, landmarks) = _fitter(kind, value), _sample()
    built = peak_mb()
    batch = int(value) if kind == "batch" else 1
    rng = np.random.default_rng(1)
    # As many different faces: landmarks moved by a pixel change crop, start and path.
    sets = [landmarks + (rng.normal(size=(68, 2)) if number else 0.0) for number in range(batch)]
    steps: list[int] = []

    def work(run: int) -> None:
        results = fitter.fit_batch([pixels] * batch, sets)
        steps[:] = [sum(record.accepted for record in result.history) for result in results]  # type: ignore[union-attr]

    work(0)
    wall, cpu = timed(work, runs, _SECONDS)
    return {
        "kind": kind,
        "size": fitter.config.size,
        "P": fitter.layout.count,
        "vertices": fitter.engine.renderer.model.vertex_count,
        "batch": batch,
        "wall_s": wall / batch,
        "cpu_s": cpu / batch,
        "steps": sum(steps) / batch,
        "ms_a_step": 1e3 * cpu / sum(steps),
        "built_mb": built,
        "peak_mb": peak_mb(),
    }


def _fitting(folder: str, number: int, seconds: float, ready: Any, results: Any) -> None:
    """Fits as over a folder, for some seconds after all processes are ready."""
    import faceinv

    fitter = faceinv.Fitter()
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
        result = fitter.fit(path)
        file = Path(folder) / f"{number}.npz"
        result.save(file)
        fitter.fit(path)
        ready.wait(300)
        began, cpu, count = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - began < seconds:
            fitter.fit(path)
            count += 1
        taken = time.perf_counter() - began
    results.put((count / taken, (time.process_time() - cpu) / count, peak_mb(), file.stat().st_size))


def sharing(processes: int, threads: int, seconds: float) -> dict[str, Any]:
    """Photos a second of several processes at once."""
    context = multiprocessing.get_context("spawn")
    ready, results = context.Barrier(processes), context.SimpleQueue()
    known = os.environ.get("NUMBA_NUM_THREADS")
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    try:
        with tempfile.TemporaryDirectory() as folder:
            started = [
                context.Process(target=_fitting, args=(folder, number, seconds, ready, results))
                for number in range(processes)
            ]
            for process in started:
                process.start()
            got = [results.get() for _ in started]
            for process in started:
                process.join()
    finally:
        os.environ.pop("NUMBA_NUM_THREADS")
        if known is not None:
            os.environ["NUMBA_NUM_THREADS"] = known
    rate = sum(entry[0] for entry in got)
    return {
        "processes": processes,
        "threads": threads,
        "photos_per_s": rate,
        "wall_s": 1 / rate,
        "cpu_s": sum(entry[1] for entry in got) / processes,
        "peak_mb_a_process": max(entry[2] for entry in got),
        "result_kb": got[0][3] / 1e3,
    }


def exponents(rows: list[dict[str, Any]], kind: str, quantity: str) -> dict[str, float]:
    """Slopes in logarithms: over all, and between the two largest."""
    x, y = (np.log([row[name] for row in rows]) for name in (_X[kind], quantity))
    whole = float(np.polyfit(x, y, 1)[0]) if len(x) > 1 else float("nan")
    end = float((y[-1] - y[-2]) / (x[-1] - x[-2])) if len(x) > 1 else float("nan")
    return {"from": rows[0][_X[kind]], "to": rows[-1][_X[kind]], "exponent": whole, "at the end": end}


QUANTITIES: Final = {"cpu_s": "s a photo", "ms_a_step": "ms a step", "peak_mb": "peak MB"}


def million(shared: list[dict[str, Any]]) -> dict[str, float]:
    """What a million photos cost by the best of threads and processes."""
    best = max(shared, key=lambda row: row["photos_per_s"])
    cores = best["processes"] * best["threads"]
    core_seconds = cores / best["photos_per_s"]
    return {
        "core_seconds_a_photo": core_seconds,
        "core_hours": MILLION * core_seconds / 3600,
        "hours_on_2_cores": MILLION * core_seconds / 2 / 3600,
        f"hours_on_{CORES}_cores_on_paper": MILLION * core_seconds / CORES / 3600,
        "gb_of_results": MILLION * best["result_kb"] / 1e6,
        "mb_a_process": best["peak_mb_a_process"],
        f"gb_of_memory_of_{CORES}_processes": CORES * best["peak_mb_a_process"] / 1e3,
        "hours_at_gpu_target": MILLION / GPU_TARGET / 3600,
    }


def markdown(
    grown: dict[str, list[dict[str, Any]]], shared: list[dict[str, Any]], fits: dict[str, Any], idle: str
) -> str:
    """Exponents first, then all numbers."""
    lines = ["# How fits grow", "", f"Made by `benchmarks/growth.py`: numpy engine, sample photo, float32. {idle}", ""]
    if grown:
        lines += ["Exponents over the range, and between its two largest in brackets.", ""]
        lines += [f"| with | range | {' | '.join(QUANTITIES.values())} |", f"|{' --- |' * (2 + len(QUANTITIES))}"]
        for kind in grown:
            slopes = [fits[kind][quantity] for quantity in QUANTITIES]
            cells = [f"{slope['exponent']:.2f} ({slope['at the end']:.2f})" for slope in slopes]
            span = f"{slopes[0]['from']:.0f} to {slopes[0]['to']:.0f}"
            lines.append(f"| {_LABELS[kind]} | {span} | {' | '.join(cells)} |")
        lines += ["", "![Time and memory](growth.png)", ""]
    for kind, rows in grown.items():
        lines += [f"## {_LABELS[kind][0].upper()}{_LABELS[kind][1:]}", ""]
        lines += [f"| {_LABELS[kind]} | steps | {' | '.join(QUANTITIES.values())} | MB before the fit |"]
        lines += [f"|{' --- |' * (3 + len(QUANTITIES))}"]
        for row in rows:
            lines.append(
                f"| {row[_X[kind]]} | {row['steps']:.1f} | {row['cpu_s']:.3f} | "
                f"{row['ms_a_step']:.1f} | {row['peak_mb']:.0f} | {row['built_mb']:.0f} |"
            )
        lines.append("")
    if shared:
        lines += ["## Threads and processes", "", "From the file, landmarks found, fits one after another.", ""]
        lines += ["| processes | threads of each | photos/s | CPU s a photo | peak MB a process |", f"|{' --- |' * 5}"]
        for row in shared:
            lines.append(
                f"| {row['processes']} | {row['threads']} | {row['photos_per_s']:.2f} | {row['cpu_s']:.3f} | "
                f"{row['peak_mb_a_process']:.0f} |"
            )
        cost = million(shared)
        lines += [
            "",
            "## A million photos",
            "",
            f"{cost['core_seconds_a_photo']:.2f} core seconds a photo: {cost['core_hours']:.0f} core hours, "
            f"{cost['hours_on_2_cores']:.0f} h on two cores at the rate above. On paper, as processes share nothing "
            f"but memory bandwidth and disks: {cost[f'hours_on_{CORES}_cores_on_paper']:.1f} h on {CORES} cores with a "
            f"process on each, {cost['mb_a_process']:.0f} MB of memory a process "
            f"({cost[f'gb_of_memory_of_{CORES}_processes']:.0f} GB). Saved results take {cost['gb_of_results']:.0f} GB "
            f"({shared[0]['result_kb']:.0f} kB each, the model not in it). One large GPU at the target of "
            f"{GPU_TARGET:.0f} fits a second would take {60 * cost['hours_at_gpu_target']:.0f} minutes: a target, "
            "measured nowhere.",
            "",
        ]
    return "\n".join(lines)


def plot(grown: dict[str, list[dict[str, Any]]], fits: dict[str, Any], path: Path) -> None:
    """Time and memory over each quantity, if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(2, len(grown), figsize=(4.2 * len(grown), 7.4), squeeze=False)
    for column, (kind, rows) in enumerate(grown.items()):
        x = [row[_X[kind]] for row in rows]
        for line, quantities in enumerate((("cpu_s", "ms_a_step"), ("peak_mb", "built_mb"))):
            axis = axes[line, column]
            for quantity, look in zip(quantities, ("o-", "s--"), strict=True):
                scale = 1e3 if quantity == "cpu_s" else 1.0
                label = {"cpu_s": "ms a photo", "built_mb": "MB before the fit"}.get(quantity, QUANTITIES.get(quantity))
                if quantity in fits[kind]:
                    label = f"{label}: {fits[kind][quantity]['exponent']:.2f}"
                axis.loglog(x, [scale * row[quantity] for row in rows], look, label=label)
            axis.set_xticks(x, [f"{value:.0f}" for value in x])
            axis.minorticks_off()
            low, high = axis.get_ylim()
            ticks = [first * 10.0**k for k in range(-1, 6) for first in (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)]
            shown = [tick for tick in ticks if low <= tick <= high]
            axis.set_yticks(shown, [f"{tick:g}" for tick in shown])
            axis.tick_params(labelsize=8)
            axis.grid(alpha=0.3)
            axis.legend(fontsize=8)
        axes[1, column].set_xlabel(_LABELS[kind])
    axes[0, 0].set_ylabel("one thread, ms")
    axes[1, 0].set_ylabel("MB")
    figure.suptitle("A warm fit of the sample photo, landmarks known: numpy engine, exponents over the whole range")
    figure.tight_layout()
    figure.savefig(path, dpi=100)
    pyplot.close(figure)


def main() -> None:
    """Measure, print, and save where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*CASES, "sharing"], help="not all")
    parser.add_argument("--runs", type=int, default=5, help="of each case, at most")
    parser.add_argument("--most", type=float, help="leave cases above this out, for a first look")
    parser.add_argument("--seconds", type=float, default=8.0, help="of each run of threads and processes")
    parser.add_argument("--output", type=Path, help="folder for all files, instead of benchmarks/results")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results")
    options = parser.parse_args()
    chosen = options.only or [*CASES, "sharing"]
    before = busy()
    grown: dict[str, list[dict[str, Any]]] = {}
    measure: Callable[..., dict[str, Any]] = growing
    for kind in (kind for kind in CASES if kind in chosen):
        values = [value for value in CASES[kind] if options.most is None or value <= options.most]
        grown[kind] = [alone(measure, kind, value, options.runs, threads=1) for value in values]
        print(report.table([{k: v for k, v in row.items() if k != "kind"} for row in grown[kind]]), "\n", flush=True)
    shared = [sharing(*pair, options.seconds) for pair in SHARED] if "sharing" in chosen else []
    fits = {kind: {name: exponents(rows, kind, name) for name in QUANTITIES} for kind, rows in grown.items()}
    idle = f"Processes that wanted a core in the minute before: {before:.1f}."
    text = markdown(grown, shared, fits, idle)
    print(text)
    folder = options.output or (report.RESULTS if options.save else None)
    if folder is not None:
        content = {
            "load_before": before,
            "growth": grown,
            "exponents": fits,
            "sharing": shared,
            "million": million(shared) if shared else {},
        }
        print(report.save("growth", content, folder))
        (folder / "growth.md").write_text(text)
        if grown:
            plot(grown, fits, folder / "growth.png")


if __name__ == "__main__":
    main()
