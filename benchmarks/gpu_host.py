"""What a fit on the CUDA engine costs the host, measured without a GPU.

    python benchmarks/gpu_host.py [--save]

Kernels run once on the CPU (tests/cuda_on_cpu), and what they send to the host is noted. Then the same fits run again
with launches that do nothing and with those notes as the device's answers: the host does all that it does beside a
GPU, no more. Left out are CuPy's own few microseconds for each launch, allocation and copy, whose numbers are given,
and the GPU itself. Times are the least of several runs: a floor of the time of a fit, and where to begin before a GPU
can show its speed.
"""

from __future__ import annotations

import argparse
import sys
import time
from importlib import resources
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from report import RESULTS, save, table

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from executor import CpuDevice

import faceinv
from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.engine.records import EngineSettings
from faceinv.face.fit_mesh import fit_mesh

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class Notes(CpuDevice):
    """Runs kernels and notes their answers, or gives the answers again and runs nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[NDArray[Any]] = []
        self.replay = False
        self.given = self.allocations = self.copies = 0

    def start(self, replay: bool) -> None:
        """Begin a run."""
        self.replay, self.given, self.allocations, self.copies = replay, 0, 0, 0
        # Two attributes, as `data.ptr` of CuPy's arrays: NumPy's own address is slow to get.
        self.address = attrgetter("dtype.num") if replay else super().address
        self.launches.clear()
        if not replay:
            self.answers.clear()

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Device.empty`."""
        self.allocations += 1
        return np.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Device.zeros`; on a GPU the host does not write them."""
        self.allocations += 1
        return np.empty(shape, dtype) if self.replay else np.zeros(shape, dtype)

    def asarray(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Device.asarray`."""
        self.copies += 1
        return np.array(array, order="C")

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Device.to_host`."""
        self.copies += 1
        if not self.replay:
            self.answers.append(array.copy())
        self.given += 1
        return self.answers[self.given - 1].copy()

    def _launch(self, what: Any, *arguments: Any) -> None:
        if self.replay:
            self.launches.append(what.name)
        else:
            super()._launch(what, *arguments)


def fits(fitter: faceinv.Fitter, photo: NDArray[np.uint8], sets: list[NDArray[np.float64]]) -> list[faceinv.FitResult]:
    """As many fits of one photo as there are landmark sets."""
    given = fitter.fit_batch([photo] * len(sets), sets)
    results = [result for result in given if isinstance(result, faceinv.FitResult)]
    assert len(results) == len(sets), given
    return results


def measure(batch: int, repeats: int, config: faceinv.FitConfig | None = None) -> dict[str, Any]:
    """A row of the table."""
    path = resources.files("faceinv").joinpath("data", "sample.jpg")
    with resources.as_file(path) as file:
        photo = np.asarray(Image.open(file).convert("RGB"))
    fitter = faceinv.Fitter(config=config)
    landmarks = fitter.fit(photo).landmarks_target
    device = Notes()
    fitter.engine = CudaEngine(device, fit_mesh(fitter.model), EngineSettings())
    rng = np.random.default_rng(2)
    sets = [landmarks + rng.normal(size=(68, 2)) for _ in range(batch)]
    device.start(replay=False)
    real = fits(fitter, photo, sets)
    runs: list[tuple[float, dict[str, float]]] = []
    cpu = []
    for _ in range(repeats):
        device.start(replay=True)
        began, began_cpu = time.perf_counter(), time.process_time()
        again = fits(fitter, photo, sets)
        runs.append((time.perf_counter() - began, again[0].timings))
        cpu.append(time.process_time() - began_cpu)
    for one, other in zip(real, again, strict=True):
        assert np.array_equal(one.identity, other.identity), "the two runs took different paths"
    least, stages = min(runs, key=lambda run: run[0])
    each = least / batch
    return {
        "batch": batch,
        "host ms a face": 1e3 * each,
        "CPU ms a face": 1e3 * min(cpu) / batch,
        "faces/s at most": 1 / each,
        "launches": len(device.launches),
        "allocations": device.allocations,
        "copies": device.copies,
        "stages, ms a face": {name: 1e3 * taken / batch for name, taken in stages.items()},
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,8,32", help="numbers of faces, with commas between them")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--save", action="store_true", help="write results/gpu_host.json")
    options = parser.parse_args()
    rows = [measure(int(batch), options.repeats) for batch in options.batches.split(",")]
    shown = [{key: value for key, value in row.items() if not isinstance(value, dict)} for row in rows]
    print(table(shown))
    for row in rows:
        print(row["batch"], ", ".join(f"{name} {taken:.2f}" for name, taken in row["stages, ms a face"].items()))
    if options.save:
        content = {"model": "default", "size": faceinv.FitConfig().size, "photo": "sample, as an array", "rows": rows}
        print(save("gpu_host", content))
        (RESULTS / "gpu_host.md").write_text(markdown(rows))


def markdown(rows: list[dict[str, Any]]) -> str:
    """The tables, for people."""
    stages = list(rows[0]["stages, ms a face"])
    names = [name for name in rows[0] if not isinstance(rows[0][name], dict)]
    lines = [
        "# What a fit on the CUDA engine costs the host",
        "",
        "Made by `benchmarks/gpu_host.py`, without a GPU.",
        "",
    ]
    lines += [f"| {' | '.join(names)} |", f"|{' --- |' * len(names)}"]
    for row in rows:
        cells = [f"{row[name]:.1f}" if isinstance(row[name], float) else str(row[name]) for name in names]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"| batch; ms a face by stage | {' | '.join(stages)} |", f"|{' --- |' * (len(stages) + 1)}"]
    for row in rows:
        taken = row["stages, ms a face"]
        lines.append(f"| {row['batch']} | {' | '.join(f'{taken[stage]:.2f}' for stage in stages)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
