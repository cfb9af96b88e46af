"""Everything that wants a GPU, in one go: for a machine that is to be had for minutes, and reaches no network.

On a machine with a network, once, for the Python that the other one has (what is there already need not be carried):

    python benchmarks/gpu_session.py --prepare WHEELS --python 3.12 [--have NAMES.txt]

On the machine with the GPU, in a checkout, with WHEELS beside it; a driver and Python are all that it needs:

    python benchmarks/gpu_session.py --wheels WHEELS --output RESULTS [--minutes 11.5]

One after another, each in a process of its own, with a limit of its own:

    look      what GPU, driver, CUDA and packages there are; what is missing is named
    checks    kernels compiled by NVRTC and run, against the reference engine on the host, and against themselves
    quick     `gpu.py --quick`: the first tables, among them where a whole fit's time goes, by device events
    tests     `pytest tests/engines --engines cupy`
    full      `gpu.py`: all tables, with what time is left

A step that fails, or takes too long, does not end the others; only what `look` finds missing does. RESULTS has each
step's output (`NAME.log`), `summary.json`, `quick.md` and `full.md`, all written as they come, so that whatever a
session got stays. The exit status is 0 only where every step passed. To publish, look through `full.md` and copy it to
`benchmarks/results/gpu.md`.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
MODULES: Final = {
    "numpy": "numpy",
    "scipy": "scipy",
    "numba": "numba",
    "PIL": "pillow",
    "trimesh": "trimesh",
    "pygltflib": "pygltflib",
    "onnxruntime": "onnxruntime",
    "threadpoolctl": "threadpoolctl",
    "typer": "typer",
    "rich": "rich",
    "jinja2": "jinja2",
    "pytest": "pytest",
    "hypothesis": "hypothesis",
    "cupy": "cupy-cuda13x",
}
"""What the steps import, and whose distributions bring it."""
PACKAGES: Final = (*MODULES.values(), "nvidia-cuda-nvrtc")
"""What is carried, with what these need."""
PLATFORMS: Final = (*(f"manylinux_2_{minor}_x86_64" for minor in range(39, 16, -1)), "manylinux2014_x86_64")
_LEAST_SECONDS: Final = 15.0
"""A step is not begun with less."""

PROBE: Final = """
import platform
import cupy
from faceinv.backends.cupy_cuda.launch.nvrtc_library import load_nvrtc
runtime = cupy.cuda.runtime
print("python", platform.python_version(), "cupy", cupy.__version__, "cuda", runtime.runtimeGetVersion(), "driver",
      runtime.driverGetVersion(), "nvrtc", load_nvrtc().getVersion(), "gpus", runtime.getDeviceCount())
properties = runtime.getDeviceProperties(0)
for name in ("name", "major", "minor", "multiProcessorCount", "totalGlobalMem", "sharedMemPerBlock",
             "sharedMemPerMultiprocessor", "regsPerMultiprocessor", "l2CacheSize", "clockRate", "memoryClockRate"):
    print(name, properties.get(name))
assert (cupy.arange(8) ** 2).sum() == 140
try:
    import torch
    print("torch", torch.__version__, "sees the GPU:", torch.cuda.is_available())
except ImportError:
    print("no torch: nothing is compared with torch:cuda")
"""


@dataclass(frozen=True)
class Step:
    """A command and the time it may take."""

    name: str
    command: tuple[str, ...]
    seconds: float
    """At most; the last one gets what is left."""


@dataclass(frozen=True)
class Outcome:
    """What became of a step."""

    name: str
    status: str
    """`passed`, `failed`, `out of time` or `not begun`."""
    seconds: float
    code: int | None = None


def steps(output: Path) -> list[Step]:
    """All of them."""
    python, gpu = sys.executable, str(ROOT / "benchmarks" / "gpu.py")
    workers = ("-n", str(min(4, os.cpu_count() or 1))) if importlib.util.find_spec("xdist") else ()
    quick = ("--quick", "--unchecked", "--seconds", "90", "--output", str(output / "quick.md"))
    # Warnings of that machine's versions and plugins are not what is looked for.
    pytest = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "default", *workers)
    tests = (*pytest, "tests/engines", "--engines", "cupy")
    return [
        Step("look", (python, "-c", PROBE), 60),
        Step("checks", (python, gpu, "--only-checks"), 180),
        Step("quick", (python, gpu, *quick), 120),
        Step("tests", (python, *tests), 150),
        Step("full", (python, gpu, "--unchecked", "--output", str(output / "full.md")), 300),
    ]


def missing() -> list[str]:
    """What this machine lacks, in sentences."""
    lacking = [
        f"the Python package {package} (module {module})"
        for module, package in MODULES.items()
        if importlib.util.find_spec(module) is None
    ]
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
        if found.returncode or "GPU" not in found.stdout:
            lacking.append(f"an NVIDIA GPU: nvidia-smi says '{(found.stdout + found.stderr).strip()[:200]}'")
    except FileNotFoundError:
        if not Path("/proc/driver/nvidia/version").exists():
            lacking.append("an NVIDIA GPU with its driver: there is no nvidia-smi, and no driver is loaded")
    except subprocess.TimeoutExpired:
        lacking.append("an answer from the NVIDIA driver: nvidia-smi did not end in 30 s")
    return lacking


def install(wheels: Path, site: Path) -> list[str]:
    """Unpack what is carried and not there yet into a folder; returns its names.

    Raises:
        RuntimeError: when pip fails.
    """
    known = {str(found.metadata["Name"]).lower().replace("_", "-") for found in importlib.metadata.distributions()}
    chosen = [wheel for wheel in sorted(wheels.glob("*.whl")) if _name(wheel) not in known]
    if chosen:
        pip = ("-m", "pip", "install", "-q", "--no-index", "--no-deps", "--no-compile", "--target", str(site))
        done = subprocess.run(
            [sys.executable, *pip, *map(str, chosen)], capture_output=True, text=True, check=False, timeout=180
        )
        if done.returncode:
            raise RuntimeError(f"pip cannot install the wheels of {wheels}: {done.stderr.strip()[-2000:]}")
    return [_name(wheel) for wheel in chosen]


def _name(wheel: Path) -> str:
    """Of a wheel's distribution."""
    return wheel.name.split("-")[0].lower().replace("_", "-")


def run(step: Step, log: Path, seconds: float, environment: dict[str, str]) -> Outcome:
    """A step, with all processes that it starts; its output goes to a file as it comes."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            step.command, stdout=out, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            status = "failed" if code else "passed"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            code, status = process.wait(), "out of time"
    return Outcome(step.name, status, round(time.perf_counter() - began, 1), code)


def session(chosen: list[Step], output: Path, minutes: float, environment: dict[str, str]) -> list[Outcome]:
    """Steps one after another, within the minutes. A summary is written after each."""
    until = time.perf_counter() + 60 * minutes
    outcomes: list[Outcome] = []
    for step in chosen:
        left = until - time.perf_counter()
        if step is chosen[-1]:
            step = Step(step.name, step.command, max(left - 5, step.seconds))
        if left < _LEAST_SECONDS:
            outcomes.append(Outcome(step.name, "not begun", 0.0))
        else:
            print(f"{step.name}: at most {min(step.seconds, left):.0f} s ...", flush=True)
            outcomes.append(run(step, output / f"{step.name}.log", min(step.seconds, left), environment))
        print(f"{step.name}: {outcomes[-1].status}, {outcomes[-1].seconds:.0f} s", flush=True)
        (output / "summary.json").write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1) + "\n")
        if step.name == "look" and outcomes[-1].status != "passed":
            print((output / "look.log").read_text()[-3000:], flush=True)
            break
    return outcomes


def prepare(wheels: Path, python: str, have: set[str]) -> None:
    """Download wheels of all that is needed and not there already.

    Raises:
        RuntimeError: when pip cannot.
    """
    wheels.mkdir(parents=True, exist_ok=True)
    wanted, seen = dict.fromkeys(PACKAGES, ""), set(have)
    while wanted:
        name, versions = wanted.popitem()
        if name in seen:
            continue
        seen.add(name)
        platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
        pip = ("-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:", "--python-version", python)
        command = [sys.executable, *pip, "--implementation", "cp", *platforms, "-d", str(wheels), name + versions]
        before = set(wheels.glob("*.whl"))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"no wheel of {name} for Python {python} on Linux: {done.stderr.strip()[-500:]}")
        for wheel in set(wheels.glob("*.whl")) - before:
            wanted.update(_needs(wheel, python))
            print(f"{wheel.stat().st_size / 2**20:8.2f} MiB  {wheel.name}", flush=True)
    total = sum(wheel.stat().st_size for wheel in wheels.glob("*.whl"))
    print(f"{total / 2**20:8.2f} MiB in {wheels}")


def _needs(wheel: Path, python: str) -> dict[str, str]:
    """Distributions that a wheel needs without its extras, and which versions of them."""
    import zipfile

    from packaging.requirements import Requirement

    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        lines = archive.read(name).decode().split("\n\n")[0].splitlines()
    there = {
        "python_version": python,
        "python_full_version": f"{python}.0",
        "sys_platform": "linux",
        "platform_system": "Linux",
        "platform_machine": "x86_64",
        "os_name": "posix",
        "implementation_name": "cpython",
        "platform_python_implementation": "CPython",
        "extra": "",
    }
    needs = [Requirement(line.split(":", 1)[1]) for line in lines if line.startswith("Requires-Dist:")]
    return {
        need.name.lower().replace("_", "-"): str(need.specifier)
        for need in needs
        if need.marker is None or need.marker.evaluate(there)
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prepare", type=Path, metavar="WHEELS", help="download into this folder, and do no more")
    parser.add_argument("--python", default="3.12", help="version of Python on the other machine")
    parser.add_argument("--have", type=Path, help="file with names of packages that are there, one a line")
    parser.add_argument("--wheels", type=Path, help="folder of wheels that were carried along")
    parser.add_argument("--output", type=Path, default=Path("gpu-session"), help="folder for all results")
    parser.add_argument("--minutes", type=float, default=11.5, help="for all steps together")
    parser.add_argument("--steps", nargs="*", help="only these")
    options = parser.parse_args()
    if options.prepare is not None:
        text = options.have.read_text() if options.have is not None else ""
        prepare(options.prepare, options.python, {line.strip().lower() for line in text.splitlines()})
        return
    began, output = time.perf_counter(), options.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    site = Path(tempfile.mkdtemp(prefix="faceinv-gpu-session-"))
    if options.wheels is not None:
        print(f"installed: {', '.join(install(options.wheels, site)) or 'nothing, all is there'}", flush=True)
        sys.path.append(str(site))
    known = steps(output)
    unknown = set(options.steps or ()) - {step.name for step in known}
    if unknown:
        parser.error(f"no step is called {', '.join(sorted(unknown))}; there are {', '.join(s.name for s in known)}")
    lacking = missing()
    if lacking:
        sys.exit("This machine lacks:\n" + "\n".join(f"- {what}" for what in lacking))
    paths = [str(ROOT), str(site), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONUNBUFFERED": "1"}
    chosen = [step for step in known if not options.steps or step.name in options.steps]
    outcomes = session(chosen, output, options.minutes - (time.perf_counter() - began) / 60, environment)
    if len(outcomes) < len(chosen) or any(outcome.status != "passed" for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
