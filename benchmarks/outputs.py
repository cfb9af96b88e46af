"""How long it takes until a result lies on the disk: landmarks, each kind of file, and a whole folder.

    python benchmarks/outputs.py [--old PYTHON] [--photo FILE] [--runs N] [--folder N] [--save]

Everything runs in a process of its own, warm: each step once before it is timed, then some times, of which the median
counts, on the clock of the wall and that of the processor (all threads together). Each run starts with a result that
has nothing computed beforehand; writing the file counts. `--old` names the Python of an environment with another
release, such as

    python -m venv old && old/bin/pip install "git+URL@COMMIT"

which is measured beside, in turns. `--folder` is the number of photos (the one photo, mirrored and cut) that
`faceinv fit FOLDER` fits with all files it writes by default; its start counts, compiled kernels are there. 0 leaves it
out. `--save` writes `outputs.json` and `outputs.md` to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np

BARS: Final = {
    "landmarks": 80.0,
    "npz": 60.0,
    "overlay": 80.0,
    "GLB": 100.0,
    "GLB, photo": 250.0,
    "report": 150.0,
}
"""Milliseconds on the wall that are asked for, on two cores."""
PHOTOS_A_SECOND: Final = 1.5
ROUNDS: Final = 2
"""How often releases take turns; the lower median counts."""


def measure(photo: Path, runs: int) -> dict[str, Any]:
    """Milliseconds of each step, with the faceinv of this Python; public names of every release alone."""
    import dataclasses

    import faceinv
    from faceinv.output.picture import save_image
    from faceinv.photo.detector import detect_faces
    from faceinv.photo.read import load_image

    fitter = faceinv.Fitter("default", "numpy")
    result = fitter.fit(photo)
    image = load_image(photo).pixels
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps: dict[str, Callable[[Any], Any]] = {
            "landmarks": lambda fresh: detect_faces(image),
            "fit": lambda fresh: fitter.fit(photo),
            "npz": lambda fresh: fresh.save(folder / "a.npz"),
            "overlay": lambda fresh: save_image(folder / "a.png", fresh.overlay()),
            "GLB": lambda fresh: fresh.export(folder / "a.glb"),
            "GLB, photo": lambda fresh: fresh.export(folder / "b.glb", "photo"),
        }
        if hasattr(result, "report"):
            steps["report"] = lambda fresh: fresh.report(folder / "a.html")
        found = {step: _timed(work, lambda: dataclasses.replace(result), runs) for step, work in steps.items()}
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return {"version": faceinv.__version__, "steps": found, "bytes": sizes}


def _timed(work: Callable[[Any], Any], make: Callable[[], Any], runs: int) -> dict[str, float]:
    walls, processors = [], []
    for run in range(runs + 1):
        result = make()
        wall, processor = time.perf_counter(), time.process_time()
        work(result)
        if run:  # the first warms up
            walls.append(time.perf_counter() - wall)
            processors.append(time.process_time() - processor)
    return {"wall_ms": 1e3 * float(np.median(walls)), "cpu_ms": 1e3 * float(np.median(processors))}


def fit_folder(python: str, photo: Path, count: int) -> float:
    """Photos a second of `faceinv fit FOLDER`, its start included."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as name:
        photos = Path(name) / "photos"
        photos.mkdir()
        with Image.open(photo) as opened:
            picture = opened.convert("RGB")
        for number in range(count):
            cut = number // 2
            version = picture.crop((cut, cut, picture.width - cut, picture.height - cut))
            if number % 2:
                version = version.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            version.save(photos / f"{number:03d}.jpg", quality=92)
        # Releases before 0.2 cannot be started as a module.
        program = [python, "-c", "from faceinv.cli import main; main()"]
        command = [*program, "fit", str(photos), "-o", str(Path(name) / "out"), "--quiet"]
        begin = time.perf_counter()
        subprocess.run(command, check=True, env=_environment(python), cwd=name)
        return count / (time.perf_counter() - begin)


def _environment(python: str) -> dict[str, str]:
    """Another Python must not find the faceinv of this one."""
    environment = dict(os.environ)
    if python != sys.executable:
        environment.pop("PYTHONPATH", None)
        environment.pop("NUMBA_CACHE_DIR", None)
    return environment


def run(python: str, photo: Path, runs: int) -> dict[str, Any]:
    """`measure` in a process of a Python's own."""
    command = [python, __file__, "--worker", "--photo", str(photo), "--runs", str(runs)]
    done = subprocess.run(
        command, check=True, env=_environment(python), cwd=photo.parent, stdout=subprocess.PIPE, text=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def lower(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Of two measurements the lower of each step."""
    steps = {
        step: min(one["steps"][step], other["steps"][step], key=lambda times: times["wall_ms"]) for step in one["steps"]
    }
    return {**one, "steps": steps}


def rows_of(found: dict[str, dict[str, Any]], rates: dict[str, float]) -> list[dict[str, Any]]:
    """The table: a row for each step."""
    rows = []
    for step in found["new"]["steps"]:
        row: dict[str, Any] = {"step": step}
        for release, measured in found.items():
            times = measured["steps"].get(step)
            row[f"{release}, ms"] = "-" if times is None else f"{times['wall_ms']:.0f}"
            row[f"{release}, CPU ms"] = "-" if times is None else f"{times['cpu_ms']:.0f}"
        bar = BARS.get(step)
        row["asked, ms"] = "-" if bar is None else f"{bar:.0f}"
        row["met"] = "-" if bar is None else "yes" if found["new"]["steps"][step]["wall_ms"] <= bar else "no"
        rows.append(row)
    if rates:
        row = {"step": "folder, photos/s"}
        for release in found:
            row[f"{release}, ms"] = f"{rates[release]:.2f}"
            row[f"{release}, CPU ms"] = "-"
        row["asked, ms"] = f"{PHOTOS_A_SECOND:.2f}"
        row["met"] = "yes" if rates["new"] >= PHOTOS_A_SECOND else "no"
        rows.append(row)
    return rows


def markdown(rows: list[dict[str, Any]], runs: int) -> str:
    """The table for people."""
    keys = list(rows[0])
    lines = ["# Results on the disk", ""]
    lines += [f"Medians of {runs} warm runs on {os.cpu_count()} cores (`benchmarks/outputs.py`).", ""]
    lines += ["| " + " | ".join(keys) + " |", "| --- " + "| ---: " * (len(keys) - 1) + "|"]
    lines += ["| " + " | ".join(str(row[key]) for key in keys) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long files of results take.")
    parser.add_argument("--old", metavar="PYTHON", help="of an environment with another release")
    parser.add_argument("--photo", type=Path, help="default: the packaged one")
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--folder", type=int, default=24, metavar="N", help="photos of the folder, 0 for none")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        sys.stdout.write(json.dumps(measure(options.photo, options.runs)) + "\n")
        return
    from importlib import resources

    from report import RESULTS, save, table

    photo = options.photo
    if photo is None:
        with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
            photo = path
    photo = photo.resolve()
    pythons = {"new": sys.executable, **({"old": options.old} if options.old else {})}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(ROUNDS):
        for release, python in pythons.items():
            measured = run(python, photo, options.runs)
            found[release] = lower(found[release], measured) if release in found else measured
    rates = {
        release: fit_folder(python, photo, options.folder) for release, python in pythons.items() if options.folder
    }
    rows = rows_of(found, rates)
    sys.stdout.write(table(rows) + "\n")
    if options.save:
        content = {"runs": options.runs, "folder_photos": options.folder, "photos_per_second": rates, "releases": found}
        save("outputs", content)
        (RESULTS / "outputs.md").write_text(markdown(rows, options.runs), encoding="utf-8")


if __name__ == "__main__":
    main()
