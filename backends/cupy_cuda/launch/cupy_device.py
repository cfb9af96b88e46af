"""CuPy's arrays and launches behind `Device`; the only module here that imports CuPy."""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import cupy
import numpy as np

from faceinv.backends.cupy_cuda.launch.device import Device, DeviceMemoryError
from faceinv.backends.cupy_cuda.launch.kernel import Kernel
from faceinv.backends.cupy_cuda.launch.nvrtc_library import load_nvrtc
from faceinv.errors import BackendError, DeviceLostError, first_line
from faceinv.process import before_threads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import DTypeLike, NDArray

    from faceinv.backends.cupy_cuda.launch.device import Array
    from faceinv.backends.cupy_cuda.launch.kernel_file import KernelFile

__all__ = ["CupyDevice", "compile_options"]

_CUDA: Final = "Engine 'cupy' (CUDA)"
_OLDEST: Final = 70
"""The oldest compute capability, times ten: warps whose lanes may diverge."""
_OUT_OF_MEMORY: Final = 2
"""cudaErrorMemoryAllocation and CUDA_ERROR_OUT_OF_MEMORY."""
_NO_BINARY: Final = frozenset({200, 209, 218, 222, 223})
"""Machine code that a driver or GPU does not take (CUDA_ERROR_INVALID_IMAGE, NO_BINARY_FOR_GPU, INVALID_PTX, ...)."""
_LOST: Final = frozenset({214, 700, 702, 710, *range(714, 720)})
"""Errors after which a process's context is of no more use (illegal address, launch timeout, memory fault, ...)."""


def compile_options(file: KernelFile) -> tuple[str, ...]:
    """NVRTC's options for a file, but for the architecture."""
    return ("--std=c++17", f"--fmad={'false' if file.exact else 'true'}", "--prec-div=true", "--prec-sqrt=true")


class CupyDevice(Device):
    """One NVIDIA GPU.

    Raises:
        BackendError: without a GPU or driver, with a driver or GPU that this CuPy does not support, for a device that
            is not there, without NVRTC, or in a process forked from one that used the GPU.
    """

    # Every pointer of every launch: a method would cost more than all other checks of it.
    address = attrgetter("data.ptr")

    def __init__(self, device: str) -> None:
        before_threads(_CUDA)
        match = re.fullmatch(r"(?:cuda:)?(\d+)?", device)
        if match is None or device == "cuda:":
            raise BackendError(f"device '{device}' is unknown to engine 'cupy'; give a number, as in 'cupy:0'.")
        self._index, count = int(match.group(1) or 0), _device_count()
        if self._index >= count:
            raise BackendError(f"device {self._index} is not there; engine 'cupy' sees {count} (0 to {count - 1}).")
        load_nvrtc()
        self.name = f"CuPy {cupy.__version__}, device {self._index}"
        self._functions: dict[str, Any] = {}
        with self._at_work("does not answer"):
            capability = int(cupy.cuda.Device(self._index).compute_capability)
            title = cupy.cuda.runtime.getDeviceProperties(self._index)["name"].decode()
        if capability < _oldest_supported():
            raise BackendError(
                f"{title} has compute capability {capability / 10}; this CuPy's compiler needs "
                f"{_oldest_supported() / 10} or newer. Use an older CuPy (cupy-cuda12x), or engine 'numpy'."
            )
        self.name = f"CuPy {cupy.__version__}, {title} ({capability / 10}), device {self._index}"

    def load(self, files: Iterable[KernelFile], real: str, flat: str) -> None:
        """See `Device.load`. CuPy 14 keeps what it compiled on disk for the next process; CuPy 13 does not."""
        for file in files:
            names = list(file.expressions_with(real, flat))
            with self._at_work(f"cannot load {file.name}"):
                try:
                    module = cupy.RawModule(code=file.text, options=compile_options(file), name_expressions=names)
                    self._functions.update({name: module.get_function(name) for name in names})
                except cupy.cuda.runtime.CUDARuntimeError:
                    raise
                except cupy.cuda.driver.CUDADriverError as error:
                    if error.status not in _NO_BINARY:
                        raise
                    raise BackendError(
                        f"{self.name}: {file.name} cannot be loaded: {first_line(error)}. Either the driver is older "
                        "than CuPy's CUDA, or the GPU is newer than CuPy's compiler: update the older of the two."
                    ) from error
                except (cupy.cuda.compiler.CompileException, OSError, RuntimeError) as error:
                    # The text, no folder for the cache, no CUDA headers.
                    raise BackendError(f"{self.name}: {file.name} cannot be compiled: {first_line(error)}") from error

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        with self._at_work("cannot make an array"):
            return cupy.empty(shape, dtype)

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Device.zeros`."""
        with self._at_work("cannot make an array"):
            return cupy.zeros(shape, dtype)

    def asarray(self, array: NDArray[Any]) -> Array:
        """See `Device.asarray`. Each computation begins with it."""
        before_threads(_CUDA)
        with self._at_work("cannot copy to the device"):
            return cupy.array(array, order="C")

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `Device.to_host`.

        Raises:
            BackendError: when work launched earlier failed.
        """
        with self._at_work("cannot copy to the host"):
            return np.asarray(cupy.asnumpy(array))

    def synchronize(self) -> None:
        """See `Device.synchronize`.

        Raises:
            BackendError: when work launched earlier failed.
        """
        with self._at_work("a kernel failed"):
            cupy.cuda.get_current_stream().synchronize()

    def free_unused(self) -> None:
        """See `Device.free_unused`; pinned buffers on the host too."""
        with self._at_work("cannot give memory back"):
            cupy.get_default_memory_pool().free_all_blocks()
            cupy.get_default_pinned_memory_pool().free_all_blocks()

    def _launch(
        self,
        what: Kernel,
        expression: str,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        parameters: bytes,
    ) -> None:
        with self._at_work("cannot launch", what.name):
            # CuPy passes a NumPy array of structs by value.
            struct = np.frombuffer(parameters, what.layout)
            self._functions[expression](grid, (threads, 1, 1), (struct,), shared_mem=shared)

    def _at_work(self, trouble: str, what: str = "") -> _AtWork:
        """This device as the thread's current one; what CUDA reports becomes an error of faceinv's."""
        # A `Device` of its own each time: it remembers in itself what to go back to, and threads may share this object.
        return _AtWork(self.name, cupy.cuda.Device(self._index), trouble, what)


class _AtWork:
    """See `CupyDevice._at_work`. Leaving the device may itself report the failure of an earlier kernel; it must not
    hide what went wrong inside."""

    __slots__ = ("_device", "_name", "_trouble", "_what")

    def __init__(self, name: str, device: Any, trouble: str, what: str) -> None:
        self._name, self._device, self._trouble, self._what = name, device, trouble, what

    def __enter__(self) -> None:
        try:
            self._device.__enter__()
        except _cuda_errors() as error:
            raise self._error(error) from error

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        late: BaseException | None = None
        try:
            self._device.__exit__(kind, error, trace)
        except _cuda_errors() as found:
            late = found
        cause = late if error is None else error
        if isinstance(cause, _cuda_errors()):
            raise self._error(cause) from cause

    def _error(self, error: Any) -> BackendError:
        status = getattr(error, "status", _OUT_OF_MEMORY)  # CuPy's own pool gives none
        if status == _OUT_OF_MEMORY:
            return DeviceMemoryError(self._name, first_line(error))
        if status in _LOST:
            return DeviceLostError(
                f"{self._name}: an earlier kernel failed ({first_line(error)}), and this process cannot use the GPU "
                "any more. Start the program again; smaller batches help where a display stops kernels that run long."
            )
        trouble = f"{self._trouble} {self._what}".rstrip()
        return BackendError(f"{self._name} {trouble}: {first_line(error)}")


def _cuda_errors() -> tuple[type[Exception], ...]:
    return (
        cupy.cuda.memory.OutOfMemoryError,
        cupy.cuda.runtime.CUDARuntimeError,
        cupy.cuda.driver.CUDADriverError,
    )


def _device_count() -> int:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error) and _driver_version():
            reason = (
                f"the driver supports CUDA {_driver_version()}, older than CuPy's {_version(_runtime_version())}; "
                "update the driver"
            )
        elif "InitializationError" in str(error):
            reason = (
                "CUDA does not start in this process, as after a fork of one that used it; start processes by "
                "multiprocessing.get_context('spawn')"
            )
        elif "InsufficientDriver" in str(error) or "NoDevice" in str(error):
            reason = "there is no NVIDIA GPU here, or no driver for it"
        else:
            reason = str(error)
        raise BackendError(f"engine 'cupy' cannot run: {reason}. Use engine 'numpy' on the CPU.") from error
    except Exception as error:  # libraries that cannot be loaded raise many things
        raise BackendError(f"engine 'cupy' cannot run: {type(error).__name__}: {error}") from error
    if not count:
        raise BackendError("engine 'cupy' cannot run: there is no NVIDIA GPU here. Use engine 'numpy' on the CPU.")
    return count


def _driver_version() -> str:
    try:
        return _version(int(cupy.cuda.runtime.driverGetVersion()))
    except cupy.cuda.runtime.CUDARuntimeError:
        return ""


def _runtime_version() -> int:
    return int(cupy.cuda.runtime.runtimeGetVersion())


def _version(number: int) -> str:
    return f"{number // 1000}.{number % 1000 // 10}" if number else ""


def _oldest_supported() -> int:
    try:
        return max(_OLDEST, int(min(load_nvrtc().getSupportedArchs())))
    except (AttributeError, RuntimeError, ValueError):
        return _OLDEST
