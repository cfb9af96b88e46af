"""Whole fits of one photo by every engine of this environment, stage by stage, as multiples of the `numpy` engine's.

    python benchmarks/engines.py [PHOTO] [--landmarks PTS] [--engines torch,mxnet] [--threads 2] [--rounds 9] [--save]

Each engine has a process of its own, warm, with as many threads as the others. They take turns, fit by fit, so that
whatever else the machine does falls on all of them, and ratios are those of fits that follow one another. Landmarks are
given: finding them is no engine's work. Besides seconds there is processor time, which means the work where a machine
is busy. `--save` writes `engines.json` to `benchmarks/results`. Without `--landmarks` they are found once, before.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from report import save, table

import faceinv
from faceinv.engine.registry import available_engines
from faceinv.fitting.fitter import Fitter
from faceinv.photo.detector import detect_faces
from faceinv.photo.pts import read_landmarks
from faceinv.photo.read import load_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

SAMPLE: Final = Path(faceinv.__file__).parent / "data" / "sample.jpg"
REFERENCE: Final = "numpy"
LIMITS: Final = {"torch": 2.5, "mxnet": 6.0}
"""A whole fit may take so many times as long as the `numpy` engine's."""
THREADS: Final = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_WARM: Final = 2


@dataclass(frozen=True)
class Fit:
    """One fit."""

    seconds: float
    processor: float
    """Seconds, of all threads."""
    stages: dict[str, float]
    vertices: NDArray[np.float64]
    steps: int


class Worker:
    """What an engine's process holds."""

    fitter: Fitter
    photo: Any
    landmarks: NDArray[np.float64]


def start(engine: str, photo: Any, landmarks: NDArray[np.float64]) -> str:
    """Build the engine, and fit until it is warm; its description."""
    Worker.fitter, Worker.photo, Worker.landmarks = Fitter(backend=engine), photo, landmarks
    for _ in range(_WARM):
        fit()
    return Worker.fitter.engine.description


def fit() -> Fit:
    """Fit once."""
    begin, used = time.perf_counter(), time.process_time()
    result = Worker.fitter.fit(Worker.photo, landmarks=Worker.landmarks)
    seconds, processor = time.perf_counter() - begin, time.process_time() - used
    return Fit(seconds, processor, dict(result.timings), result.vertices, len(result.history))


def measure(engines: list[str], photo: Any, landmarks: NDArray[np.float64], rounds: int) -> dict[str, Any]:
    """Rows by engine, and by engine and stage."""
    fits: dict[str, list[Fit]] = {engine: [] for engine in engines}
    context = multiprocessing.get_context("spawn")
    before = os.getloadavg()
    with ExitStack() as stack:
        pools = {engine: stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for engine in engines}
        described = {e: pool.submit(start, e, photo, landmarks).result() for e, pool in pools.items()}
        for number in range(rounds):
            # Each goes first in turn.
            for place in range(len(engines)):
                engine = engines[(number + place) % len(engines)]
                fits[engine].append(pools[engine].submit(fit).result())
    rows, stages = [], []
    for engine in engines:
        one, reference = fits[engine], fits[REFERENCE]
        ratios = [a.seconds / b.seconds for a, b in zip(one, reference, strict=True)]
        apart = one[0].vertices - reference[0].vertices
        rows.append(
            {
                "engine": engine,
                "fit s": min(f.seconds for f in one),
                "median s": statistics.median(f.seconds for f in one),
                "processor s": min(f.processor for f in one),
                "ratio": statistics.median(ratios),
                "processor ratio": min(f.processor for f in one) / min(f.processor for f in reference),
                "limit": LIMITS.get(engine, "-"),
                "steps": one[0].steps,
                "apart mm": float(np.sqrt((apart**2).sum(axis=1).mean())),
            }
        )
        least = {name: min(f.stages[name] for f in one) for name in one[0].stages}
        stages.append({"engine": engine, **{f"{name} s": value for name, value in least.items()}})
    return {
        "engines": rows,
        "stages": stages,
        "descriptions": described,
        "load before": before,
        "load after": os.getloadavg(),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photo", nargs="?", type=Path, help="a photo of one face; the sample photo without it")
    parser.add_argument("--landmarks", type=Path, help="its 68 landmarks, as faceinv reads them")
    parser.add_argument("--engines", help="separated by commas; all that are installed and start on a CPU without it")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of each engine")
    parser.add_argument("--rounds", type=int, default=9, help="fits of each engine")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    os.environ.update(dict.fromkeys(THREADS, str(options.threads)))  # for the processes to come
    installed = [status.name for status in available_engines() if status.installed and status.name != "cupy"]
    asked = options.engines.split(",") if options.engines else installed
    engines = list(dict.fromkeys([REFERENCE, *asked]))
    photo = load_image(options.photo or SAMPLE).pixels
    found = read_landmarks(options.landmarks) if options.landmarks else detect_faces(photo)[0].landmarks
    content = {"threads": options.threads, "rounds": options.rounds, **measure(engines, photo, found, options.rounds)}
    print(f"{options.threads} threads each, load before {content['load before']}, after {content['load after']}")
    print(table(content["engines"]), table(content["stages"]), sep="\n\n")
    if options.save:
        print(save("engines", content))


if __name__ == "__main__":
    main()
