"""Where the time of a whole fit goes, stage by stage, on the `numpy` engine.

    python benchmarks/fit_profile.py [--save]

The sample photo is fitted warm, its landmarks found, in a process of one thread and in one of two. Functions are
wrapped from here, so the library holds no timers: a function's time is its own, less that of others in the table which
it calls. Times are those of the fastest of some fits, so they add up; wall is the clock's, CPU that of all threads. A
stage's "driver" is what no function in the table accounts for: the solver's bookkeeping, and NumPy in between. Networks
that find landmarks have threads of their own, on all cores. `--save` writes `fit_profile.json`, `.md`, and `.png` where
matplotlib is there, to `benchmarks/results`. Takes half a minute.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections import defaultdict
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any, Final

import report
from measuring import alone, busy, peak_mb

FUNCTIONS: Final = (
    ("faceinv.photo.prepare", "load_image", "read the photo"),
    ("faceinv.photo.prepare", "detect_faces", "find landmarks"),
    ("faceinv.photo.prepare", "_cut", "cut crops"),
    ("faceinv.fitting.stages", "problem_at", "set problems up"),
    ("faceinv.backends.numpy_numba.renderer", "NumbaRenderer._surface", "surface"),
    ("faceinv.backends.numpy_numba.differentiator", "NumbaDifferentiator.__init__", "set problems up"),
    ("faceinv.backends.numpy_numba.differentiator", "NumbaDifferentiator._see", "freeze: draw and list pixels"),
    ("faceinv.backends.numpy_numba.differentiator", "NumbaDifferentiator._local", "derivatives of pixels"),
    ("faceinv.backends.numpy_numba.differentiator", "NumbaDifferentiator._pulls", "what pixels pull at"),
    ("faceinv.backends.numpy_numba.differentiator", "NumbaDifferentiator._photometric_cost", "cost of a trial"),
    ("faceinv.backends.numpy_numba.normal_equations", "NormalEquations.gradient", "gradient"),
    ("faceinv.backends.numpy_numba.normal_equations", "NormalEquations.light_alone", "gradient and H of light"),
    ("faceinv.backends.numpy_numba.normal_equations", "NormalEquations.hessian", "products"),
    ("faceinv.backends.numpy_numba.normal_equations", "pixel_rows", "rows"),
    ("faceinv.backends.numpy_numba.normal_equations", "vertex_rows", "rows"),
    ("faceinv.engine.host_terms", "HostTerms.points", "landmarks: outline and points"),
    ("faceinv.engine.host_terms", "HostTerms.linearize", "landmarks and priors: derivatives"),
    ("faceinv.engine.host_terms", "HostTerms.cost", "landmarks and priors: cost"),
    ("faceinv.engine.interface", "solve_on_host", "solve"),
    ("faceinv.engine.interface", "responsibilities", "weights of pixels"),
    ("faceinv.engine.interface", "photometric_rmse", "RMSE"),
    ("faceinv.fitting.fitter", "Fitter._result", "result"),
    ("faceinv.fitting.fitter", "add_detail", "fine detail"),
)
"""What is told apart: module, function, and what it is called here."""
REST: Final = "driver"
FOUND: Final = "finding landmarks"


class Profile:
    """Seconds of wall and CPU by stage and by what was done."""

    def __init__(self) -> None:
        self.seconds: dict[str, dict[str, list[float]]] = {}
        """By stage, by name: wall, CPU, calls."""
        self.absent: list[str] = []
        """Functions of the table that are not there."""
        self._open: list[list[float]] = []
        self._now: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
        self._began = (0.0, 0.0)

    def start(self) -> None:
        """Forget what was, and begin a fit."""
        self.seconds = {}
        self._now.clear()
        self._began = _clock()

    def end_stage(self, stage: str) -> None:
        """What was done since the last stage's end was this one's."""
        now = _clock()
        known = list(self._now.values())
        own = [now[k] - self._began[k] - sum(entry[k] for entry in known) for k in (0, 1)]
        kept = self.seconds.setdefault(stage, {})
        for name, numbers in [*self._now.items(), (REST, [*own, 0.0])]:
            kept[name] = [a + b for a, b in zip(kept.get(name, [0.0] * 3), numbers, strict=True)]
        self._now.clear()
        self._began = _clock()

    def watch(self, module: str, path: str, name: str) -> None:
        """Count a function's own time under a name."""
        owner: Any = importlib.import_module(module)
        *outer, last = path.split(".")
        try:
            for part in outer:
                owner = getattr(owner, part)
            function = getattr(owner, last)
        except AttributeError:
            self.absent.append(f"{module}.{path}")
            return
        setattr(owner, last, self._watched(function, name))

    def _watched(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def watched(*arguments: Any, **named: Any) -> Any:
            inner = [0.0, 0.0]
            self._open.append(inner)
            began = _clock()
            try:
                return function(*arguments, **named)
            finally:
                taken = [now - then for now, then in zip(_clock(), began, strict=True)]
                self._open.pop()
                entry = self._now[name]
                for k in (0, 1):
                    entry[k] += taken[k] - inner[k]
                    if self._open:
                        self._open[-1][k] += taken[k]
                entry[2] += 1

        return watched

    @property
    def total(self) -> float:
        """Wall seconds."""
        return sum(numbers[0] for parts in self.seconds.values() for numbers in parts.values())


def _clock() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def profiled(threads: int, runs: int, model: str, config: dict[str, Any] | None = None) -> dict[str, Any]:
    """The fastest of some warm fits, taken apart; run in a process of its own, started with so many threads."""
    import faceinv
    from faceinv.fitting import stages

    profile = Profile()
    for entry in FUNCTIONS:
        profile.watch(*entry)
    lap, whole = stages._Clock.lap, faceinv.Fitter.prepare

    def prepared(self: faceinv.Fitter, *arguments: Any) -> Any:
        result = whole(self, *arguments)
        profile.end_stage(FOUND)
        return result

    def lapped(self: stages._Clock, stage: str) -> None:
        lap(self, stage)
        profile.end_stage("landmark stage" if stage == "landmark fit" else stage)

    faceinv.Fitter.prepare = prepared  # type: ignore[method-assign, assignment]
    stages._Clock.lap = lapped  # type: ignore[method-assign]
    fitter = faceinv.Fitter(model, config=config)
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
        fitter.fit(photo)
        fits = []
        for _ in range(runs):
            profile.start()
            result = fitter.fit(photo)
            profile.end_stage("result")
            fits.append((profile.total, profile.seconds))
    least, parts = min(fits, key=lambda fit: fit[0])
    return {
        "threads": threads,
        "wall_s": least,
        "cpu_s": sum(numbers[1] for stage in parts.values() for numbers in stage.values()),
        "median_wall_s": sorted(wall for wall, _ in fits)[len(fits) // 2],
        "parameters": fitter.layout.count,
        "linearisations": len(result.history),
        "peak_mb": peak_mb(),
        "not_there": profile.absent,
        "stages": {
            stage: {name: {"wall_s": n[0], "cpu_s": n[1], "calls": round(n[2])} for name, n in done.items()}
            for stage, done in parts.items()
        },
    }


def by_name(measured: dict[str, Any], quantity: str) -> dict[str, float]:
    """Seconds over all stages, the largest first."""
    total: dict[str, float] = defaultdict(float)
    for parts in measured["stages"].values():
        for name, numbers in parts.items():
            total[name] += numbers[quantity]
    return dict(sorted(total.items(), key=lambda entry: -entry[1]))


def markdown(measured: list[dict[str, Any]], idle: str) -> str:
    """Tables: stages by threads, then names by stages."""
    lines = ["# Where the time of a fit goes", "", "Made by `benchmarks/fit_profile.py`. " + idle, ""]
    for one in measured:
        stages = list(one["stages"])
        lines += [
            f"## {one['threads']} thread{'s' * (one['threads'] > 1)}: {1e3 * one['wall_s']:.0f} ms "
            f"({1e3 * one['cpu_s']:.0f} ms CPU), P = {one['parameters']}, {one['linearisations']} linearisations",
            "",
            "Milliseconds of wall time.",
            "",
            f"| | {' | '.join(stages)} | whole | CPU |",
            f"| --- |{' --- |' * (len(stages) + 2)}",
        ]
        cpu = by_name(one, "cpu_s")
        for name, whole in by_name(one, "wall_s").items():
            times = [one["stages"][stage].get(name, {"wall_s": 0.0})["wall_s"] for stage in stages]
            cells = [f"{1e3 * seconds:.1f}" if seconds >= 5e-5 else "" for seconds in times]
            lines.append(f"| {name} | {' | '.join(cells)} | {1e3 * whole:.1f} | {1e3 * cpu[name]:.1f} |")
        wholes = [sum(n["wall_s"] for n in one["stages"][stage].values()) for stage in stages]
        shown = " | ".join(f"{1e3 * seconds:.1f}" for seconds in wholes)
        lines += [f"| **whole** | {shown} | {1e3 * sum(wholes):.1f} | {1e3 * one['cpu_s']:.1f} |", ""]
        if one["not_there"]:
            lines += [f"Not there, so in what calls it: {', '.join(one['not_there'])}.", ""]
    return "\n".join(lines)


def plot(measured: list[dict[str, Any]], path: Path) -> None:
    """A bar for each stage and number of threads, if matplotlib is there."""
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name, seconds in by_name(measured[0], "wall_s").items() if seconds > 4e-3]
    colours = pyplot.get_cmap("tab20")
    figure, axis = pyplot.subplots(figsize=(11, 5.2))
    bars = [(stage, one) for stage in measured[0]["stages"] for one in measured]
    places = [2.6 * (k // len(measured)) + k % len(measured) for k in range(len(bars))]
    left = [0.0] * len(bars)
    for number, name in enumerate([*names, "all else"]):
        widths = []
        for stage, one in bars:
            parts = one["stages"][stage]
            chosen = [name] if name in names else [other for other in parts if other not in names]
            widths.append(1e3 * sum(parts[each]["wall_s"] for each in chosen if each in parts))
        colour = "lightgrey" if name == "all else" else colours(number % 20)
        axis.barh(places, widths, left=left, height=0.9, color=colour, label=name)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    axis.set_yticks(places, [f"{stage}, {one['threads']} thr." for stage, one in bars])
    axis.invert_yaxis()
    axis.set(xlabel="ms of wall time", title="A warm fit of the sample photo, landmarks found: numpy engine")
    axis.grid(axis="x", alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))
    figure.savefig(path, dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def main() -> None:
    """Measure, print, and save where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--model", default="default", help="`default`, or a model's file")
    parser.add_argument("--output", type=Path, help="folder for all files, instead of benchmarks/results")
    parser.add_argument("--save", action="store_true", help="write to benchmarks/results")
    options = parser.parse_args()
    before = busy()
    measured = [alone(profiled, count, options.runs, options.model, threads=count) for count in options.threads]
    idle = f"Processes that wanted a core in the minute before: {before:.1f}."
    text = markdown(measured, idle)
    print(text)
    folder = options.output or (report.RESULTS if options.save else None)
    if folder is not None:
        print(report.save("fit_profile", {"load_before": before, "fits": measured}, folder))
        (folder / "fit_profile.md").write_text(text)
        plot(measured, folder / "fit_profile.png")


if __name__ == "__main__":
    main()
