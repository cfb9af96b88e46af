"""What comes before the first fit, and what stays after many: imports, compiling, memory.

    python benchmarks/startup.py [imports] [compiling] [memory] [--backends NAMES] [--save]

All three by default. Everything runs in fresh processes.

- `imports`: seconds of `import faceinv` inside Python, and of `faceinv --help` as a whole, least of ten, of the wall
  and of the processor.
- `compiling`: the first fit of the packaged photo with an empty folder for compiled kernels and one thread, beside the
  first one with a full folder: seconds of the processor, and those of each kernel that was compiled, without the ones
  that it calls, which are compiled first.
- `memory`: MB held after 2, 5, 10 and 20 fits in a row, and as many batches of four; not the peak.

`--save` writes `startup.json` to `benchmarks/results`.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

TARGET_IMPORT: Final = 0.2
"""Seconds."""
FITS: Final = (2, 5, 10, 20)
_RUNS: Final = 10
_IN_A_BATCH: Final = 4
_PARTS: Final = ("imports", "compiling", "memory")

_IMPORT: Final = """
import time
wall, cpu = time.perf_counter(), time.process_time()
import faceinv
print(time.perf_counter() - wall, time.process_time() - cpu)
"""


def imports() -> dict[str, Any]:
    """Seconds of `import faceinv` and of `faceinv --help`."""
    inside = [[float(word) for word in _run("-c", _IMPORT).split()] for _ in range(_RUNS)]
    whole = []
    for _ in range(_RUNS):
        wall, before = time.perf_counter(), os.times()
        _run("-m", "faceinv", "--help")
        after = os.times()
        cpu = after.children_user - before.children_user + after.children_system - before.children_system
        whole.append([time.perf_counter() - wall, cpu])
    return {
        name: {"wall": min(wall for wall, _ in times), "CPU": min(cpu for _, cpu in times)}
        for name, times in (("import faceinv", inside), ("faceinv --help", whole))
    }


def compiling() -> dict[str, Any]:
    """Seconds of the first fit with kernels to compile and without, and those of each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {"NUMBA_CACHE_DIR": folder, "NUMBA_NUM_THREADS": "1"}
        empty, full = (json.loads(_run(__file__, "--child", "first", **environment)) for _ in range(2))
    assert not full["kernels"], "kernels were compiled again"
    return {"empty": empty["seconds"], "full": full["seconds"], "kernels": empty["kernels"]}


def memory(backend: str) -> dict[str, Any]:
    """MB after so many fits, and after so many batches."""
    return {way: json.loads(_run(__file__, "--child", way, "--backends", backend)) for way in ("fit", "fit_batch")}


def _run(*arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


# ---- in processes of their own


def first_fit() -> dict[str, Any]:
    """Seconds of CPU since the start of the process, and of each kernel that was compiled."""
    from importlib import resources

    import faceinv

    kernels = _watched()
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
        faceinv.fit(photo)
    slowest = sorted(kernels.items(), key=lambda entry: -entry[1][1])
    return {
        "seconds": time.process_time(),
        "kernels": [{"kernel": name, "times": times, "seconds": seconds} for name, (times, seconds) in slowest],
    }


def _watched() -> dict[str, tuple[int, float]]:
    """By the names of kernels, how often they are compiled from now on and how long it takes."""
    event: Any = importlib.import_module("numba.core.event")
    kernels: dict[str, tuple[int, float]] = {}
    begun: list[list[float]] = []
    """Of each kernel that is being compiled: when it was begun, and what others took meanwhile."""

    class Listener(event.Listener):  # type: ignore[misc]
        def on_start(self, event: Any) -> None:
            begun.append([time.thread_time(), 0.0])

        def on_end(self, event: Any) -> None:
            start, others = begun.pop()
            whole = time.thread_time() - start
            if begun:
                begun[-1][1] += whole
            function = event.data["dispatcher"].py_func
            name = f"{function.__module__.rpartition('.')[2]}.{function.__qualname__}"
            times, seconds = kernels.get(name, (0, 0.0))
            kernels[name] = times + 1, seconds + whole - others

    event.register("numba:compile", Listener())
    return kernels


def many_fits(way: str, backend: str) -> dict[str, float]:
    """MB held after so many fits or batches."""
    import gc

    from batch import photos

    import faceinv

    fitter, chosen = faceinv.Fitter(backend=backend), photos(_IN_A_BATCH)
    marks = [fitter.prepare(photo).landmarks for photo in chosen]
    held = {}
    for number in range(1, FITS[-1] + 1):
        if way == "fit":
            fitter.fit(chosen[number % _IN_A_BATCH])
        else:
            fitter.fit_batch(chosen, marks)
        if number in FITS:
            gc.collect()
            held[str(number)] = _held_mb()
    return held


def _held_mb() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("this system does not say what a process holds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("parts", nargs="*", choices=[*_PARTS, []], default=[])
    parser.add_argument("--backends", nargs="*", default=None)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--child", choices=["first", "fit", "fit_batch"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        told = first_fit() if options.child == "first" else many_fits(options.child, options.backends[0])
        print(json.dumps(told))
        return

    from measuring import busy
    from report import save, table

    parts = options.parts or _PARTS
    content: dict[str, Any] = {"load_before": busy()}
    if "imports" in parts:
        content["imports"] = {"target": TARGET_IMPORT, **imports()}
        print({name: times for name, times in content["imports"].items() if name != "target"})
    if "compiling" in parts:
        found = content["compiling"] = compiling()
        print(table(found["kernels"]))
        print(f"first fit: {found['empty']:.1f} s of CPU, {found['full']:.1f} where kernels are there")
    if "memory" in parts:
        installed = [name for name in ("numpy", "torch") if name == "numpy" or importlib.util.find_spec(name)]
        content["memory"] = {name: memory(name) for name in options.backends or installed}
        for name, ways in content["memory"].items():
            for way, held in ways.items():
                print(name, way, {number: round(mb) for number, mb in held.items()})
    if options.save:
        print(save("startup", content))


if __name__ == "__main__":
    main()
