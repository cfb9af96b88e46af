"""A `Device` that runs the package's `.cu` text on the CPU, compiled by g++."""

from __future__ import annotations

import ctypes
import hashlib
import os
import re
import subprocess
import tempfile
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from entry_point import COMPILER

from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.backends.cupy_cuda.kernels import FILES
from faceinv.backends.cupy_cuda.launch.device import Device, DeviceMemoryError
from faceinv.backends.cupy_cuda.launch.kernel import Kernel

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import DTypeLike, NDArray

    from faceinv.engine.interface import Engine
    from faceinv.engine.records import EngineSettings
    from faceinv.face.model import MorphableModel

__all__ = ["CpuDevice", "KernelError", "build", "build_library", "sanitizer_environment"]

_HEADER = Path(__file__).with_name("cuda_on_cpu.h")
_FLAGS = (
    *("-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique"),
    *("-ffp-contract=off", "-fno-strict-aliasing", "-Wall", "-Wextra", "-Werror"),
    *("-Wno-unknown-pragmas", "-Wno-missing-field-initializers"),
)
_FAST = ("-O3",)
_CHECKED = ("-O1", "-g", "-fsanitize=address,undefined,float-cast-overflow", "-fno-sanitize-recover=all")
_WAITS = re.compile(r"__sync|__shfl|block_(sum|max|scan|total)")


class KernelError(Exception):
    """A kernel broke the rules of barriers."""


def sanitizer_environment() -> dict[str, str]:
    """Environment variables for a process that loads checked libraries: the sanitizers must be there first."""
    assert COMPILER is not None
    runtime = subprocess.run(
        [COMPILER, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True
    ).stdout.strip()
    return {
        **os.environ,
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "UBSAN_OPTIONS": "print_stacktrace=0",
    }


def build_library(file: str, text: str, checked: bool) -> Path:
    """Compile the expanded text of a `.cu` file; results stay in a cache, named after their contents."""
    assert COMPILER is not None
    exports = []
    for number, expression in enumerate(FILES[file].expressions()):
        exports.append(
            f'extern "C" __attribute__((visibility("default"))) const char* launch_{number}(const unsigned* grid, '
            "unsigned threads, size_t shared, int fibres, unsigned seed, const void* parameters)\n"
            f"{{ return cpu::launch(&{expression}, grid, threads, shared, fibres, seed, parameters); }}\n"
        )
    code = f'#include "cuda_on_cpu.h"\n#line 1 "{file}"\n{_with_poison(text)}\n{"".join(exports)}'
    flags = (*_FLAGS, *(_CHECKED if checked else _FAST))
    digest = hashlib.sha256("\0".join([_HEADER.read_text(), code, *flags, _compiler_version()]).encode()).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"faceinv-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    library = folder / f"{digest[:24]}.so"
    if not library.exists():
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            cpp, made = Path(scratch) / "kernel.cpp", Path(scratch) / "kernel.so"
            cpp.write_text(code)
            command = [COMPILER, *flags, "-I", str(_HEADER.parent), str(cpp), "-o", str(made)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(f"{file} does not compile:\n{done.stderr[:4000]}")
            made.replace(library)
    return library


def _with_poison(text: str) -> str:
    """The text with shared variables that hold garbage at the start of every block, as they do on a GPU."""

    def poisoned(match: re.Match[str]) -> str:
        names = re.findall(r"(\w+)(?:\[[^\]]*\])*\s*(?:,|$)", match.group(1))
        return match.group(0) + "".join(f" POISON({name});" for name in names)

    return re.sub(r"__shared__ \w+ ([^;]+);", poisoned, text)


class CpuDevice(Device):
    """NumPy arrays and kernels on the CPU.

    Args:
        seed: 0 for the natural order of blocks and lanes, another number for a shuffled one.
        checked: with AddressSanitizer and UndefinedBehaviorSanitizer; the process must run with
            `sanitizer_environment()`.
        changes: for a file, what to do to its text: deliberate mistakes that tests must see.
        largest: arrays with more bytes than this are refused, as on a device that is out of memory.
    """

    address = attrgetter("ctypes.data")

    def __init__(
        self,
        seed: int = 0,
        checked: bool = False,
        changes: Mapping[str, Callable[[str], str]] | None = None,
        largest: int | None = None,
    ) -> None:
        self.name = "CUDA on the CPU"
        self.seed = seed
        self.largest = largest
        self.launches: list[str] = []
        self._checked = checked
        self._changes = dict(changes or {})
        self._functions: dict[str, Any] = {}
        self.copied_to_host = self.copied_to_device = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Filled with bytes 0xcd: whatever is read without having been written shows."""
        array = self._room(np.empty(shape, dtype))
        array.view(np.uint8)[...] = 0xCD
        return array

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """See `Device.zeros`."""
        return self._room(np.zeros(shape, dtype))

    def asarray(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Device.asarray`."""
        self.copied_to_device += array.nbytes
        return self._room(np.array(array, order="C"))

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `Device.to_host`."""
        self.copied_to_host += array.nbytes
        return array.copy()

    def synchronize(self) -> None:
        """Nothing to wait for."""

    def free_unused(self) -> None:
        """Nothing to give back."""

    def _room(self, array: NDArray[Any]) -> NDArray[Any]:
        if self.largest is not None and array.nbytes > self.largest:
            raise DeviceMemoryError(self.name, f"{array.nbytes} bytes asked for, {self.largest} free")
        return array

    def _launch(
        self,
        what: Kernel,
        expression: str,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        parameters: bytes,
    ) -> None:
        if threads > 1024 or threads < 1 or shared > 48 * 1024:
            raise KernelError(f"{what.name}: {threads} threads and {shared} bytes of shared memory cannot be launched")
        self.launches.append(what.name)
        error = self._function(what.file, expression)(
            (ctypes.c_uint * 3)(*grid),
            threads,
            shared,
            int(_needs_fibres(what.file, what.name)),
            self.seed,
            parameters,
        )
        if error:
            raise KernelError(f"{what.name}: {error.decode()}")

    def _function(self, file: str, expression: str) -> Any:
        if expression not in self._functions:
            text = FILES[file].text
            if file in self._changes:
                changed = self._changes[file](text)
                assert changed != text, f"nothing was changed in {file}"
                text = changed
            library = ctypes.CDLL(str(build_library(file, text, self._checked)))
            for number, name in enumerate(FILES[file].expressions()):
                function = getattr(library, f"launch_{number}")
                function.argtypes = [
                    ctypes.POINTER(ctypes.c_uint),
                    ctypes.c_uint,
                    ctypes.c_size_t,
                    ctypes.c_int,
                    ctypes.c_uint,
                    ctypes.c_void_p,
                ]
                function.restype = ctypes.c_char_p
                self._functions[name] = function
        return self._functions[expression]


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """The engine as an entry point of the group `faceinv.backends`; `settings.device` is the seed of the orders."""
    return CudaEngine(CpuDevice(int(settings.device or 0)), model, settings)


@cache
def _needs_fibres(file: str, name: str) -> bool:
    """Whether a kernel waits anywhere; one that does and was not seen to here ends the process with a message."""
    head = rf"__global__ void (?:__launch_bounds__\([\d, ]+\) )?{name}\("
    match = re.search(rf"{head}.*?\n}}", FILES[file].text, re.DOTALL)
    assert match is not None
    return bool(_WAITS.search(match.group(0)))


@cache
def _compiler_version() -> str:
    assert COMPILER is not None
    return subprocess.run([COMPILER, "--version"], check=True, capture_output=True, text=True).stdout
