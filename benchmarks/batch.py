"""Several photos on the cores of one machine: given together, one by one, or shared among processes.

    python benchmarks/batch.py [--photos N] [--runs N] [--processes N] [--backend NAME] [--save]

The photos are the packaged one, mirrored, cut, darkened; their landmarks are given. `fit_batch` and `one by one` are a
process with all cores; `processes` are as many with a core each, started together, that share the photos out. All are
warm. The least wall time of the runs counts, by photo; CPU seconds are those of all threads and processes; memory is
the most that a process has held, and of several processes their sum. What the photos gave is compared bit for bit.
`--save` writes `batch.json` to `benchmarks/results`. To be run on an idle machine: the load is told.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    import faceinv

TARGET: Final = 1.0
"""The time of a photo in `fit_batch` over that in `processes`, at most."""
_CUTS: Final = ((0, 0), (16, 0), (0, 24), (24, 16))


def photos(count: int) -> list[NDArray[np.float32]]:
    """(H, W, 3) float32, sRGB in [0, 1]."""
    from importlib import resources

    from faceinv.photo.read import load_image

    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
        whole = load_image(path).pixels
    kinds = itertools.cycle(itertools.product((1.0, 0.85), (False, True), _CUTS))
    return [
        np.ascontiguousarray(whole[dy:, dx:][:, :: -1 if mirrored else 1] * np.float32(light))
        for light, mirrored, (dx, dy) in itertools.islice(kinds, count)
    ]


def child(way: str, backend: str, numbers: Sequence[int], total: int) -> None:
    """Fit those of so many photos as often as a line is read; each time, and before, a line of JSON is written."""
    from measuring import peak_mb

    import faceinv

    chosen = [photos(total)[number] for number in numbers]
    fitter = faceinv.Fitter(backend=backend)
    marks = [fitter.prepare(photo).landmarks for photo in chosen]
    for photo, mark in zip(chosen[:2], marks, strict=False):
        fitter.fit(photo, mark)
    print("{}", flush=True)
    for _ in sys.stdin:
        cpu = time.process_time()
        results: Sequence[faceinv.FitResult | faceinv.FaceinvError]
        if way == "fit_batch":
            results = fitter.fit_batch(chosen, marks)
        else:
            results = [fitter.fit(photo, mark) for photo, mark in zip(chosen, marks, strict=True)]
        seconds = time.process_time() - cpu
        digests = {number: _digest(result) for number, result in zip(numbers, results, strict=True)}
        print(json.dumps({"cpu": seconds, "peak": peak_mb(), "digests": digests}), flush=True)


def _digest(result: faceinv.FitResult | faceinv.FaceinvError) -> str:
    if isinstance(result, Exception):
        raise result
    digest = hashlib.sha256()
    for part in (result.vertices, result.face.albedo, result.lighting, result.hessian, result.landmarks2d):
        digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def measure(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """One way: seconds of a photo on the wall and of the processor, MB, and what each photo gave."""
    count = options.processes if way == "processes" else 1
    shares = [list(range(first, options.photos, count)) for first in range(count)]
    environment = {**os.environ, **({"NUMBA_NUM_THREADS": "1"} if way == "processes" else {})}
    children = [
        subprocess.Popen(
            [
                *(sys.executable, __file__, "--child", way, "--backend", options.backend),
                *("--photos", str(options.photos), "--share", *map(str, share)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for share in shares
    ]
    try:
        _answers(children)
        walls, cpus = [], []
        for _ in range(options.runs):
            began = time.perf_counter()
            for one in children:
                assert one.stdin is not None
                one.stdin.write("\n")
                one.stdin.flush()
            told = _answers(children)
            walls.append(time.perf_counter() - began)
            cpus.append(sum(answer["cpu"] for answer in told))
    finally:
        for one in children:
            one.communicate()
    digests = {int(number): digest for answer in told for number, digest in answer["digests"].items()}
    return {
        "way": way,
        "wall": min(walls) / options.photos,
        "median wall": float(np.median(walls)) / options.photos,
        "CPU": min(cpus) / options.photos,
        "MB": sum(answer["peak"] for answer in told),
        "digests": [digests[number] for number in range(options.photos)],
    }


def _answers(children: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    answers = []
    for one in children:
        assert one.stdout is not None
        line = one.stdout.readline()
        if not line:
            sys.exit("a process ended; its message is above.")
        answers.append(json.loads(line))
    return answers


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--photos", type=int, default=16)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--share", type=int, nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.backend, options.share, options.photos)
        return

    from measuring import busy
    from report import save, table

    before = busy()
    measured = [measure(way, options) for way in ("fit_batch", "processes", "one by one")]
    same = all(one["digests"] == measured[0]["digests"] for one in measured)
    for one in measured:
        del one["digests"]
    together, apart, _ = (one["wall"] for one in measured)
    print(table(measured))
    print(f"same bits: {same}; fit_batch over processes: {together / apart:.2f} (asked: {TARGET}); load {before:.1f}")
    if options.save:
        content = {
            "photos": options.photos,
            "processes": options.processes,
            "backend": options.backend,
            "load_before": before,
            "ways": measured,
            "same_bits": same,
            "ratio": together / apart,
            "target": TARGET,
        }
        print(save("batch", content))
    if not same:
        sys.exit("what photos gave differs between the ways.")


if __name__ == "__main__":
    main()
