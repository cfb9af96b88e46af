"""CuPy's arrays and launches behind `Device`; the only module here that imports CuPy."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import cupy
import numpy as np

from faceinv.backends.cupy_cuda.device import Device, DeviceMemoryError
from faceinv.backends.cupy_cuda.kernels import EXACT, Kernel, kernels_of, source
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from faceinv.backends.cupy_cuda.device import Array

__all__ = ["CupyDevice", "compile_options"]

_OLDEST: Final = 70
"""The oldest compute capability, times ten: warps whose lanes may diverge."""


def compile_options(file: str) -> tuple[str, ...]:
    """NVRTC's options for a file, but for the architecture."""
    return ("--std=c++17", f"--fmad={'false' if file in EXACT else 'true'}", "--prec-div=true", "--prec-sqrt=true")


class CupyDevice(Device):
    """One NVIDIA GPU.

    Raises:
        BackendError: without a GPU or driver, with a driver or GPU that this CuPy does not support, or for a device
            that is not there.
    """

    def __init__(self, device: str) -> None:
        match = re.fullmatch(r"(?:cuda:)?(\d+)?", device)
        if match is None or device == "cuda:":
            raise BackendError(f"device '{device}' is unknown to engine 'cupy'; give a number, as in 'cupy:0'.")
        index, count = int(match.group(1) or 0), _device_count()
        if index >= count:
            raise BackendError(f"device {index} is not there; engine 'cupy' sees {count} (0 to {count - 1}).")
        try:
            self._device = cupy.cuda.Device(index)
            # What others do with this engine's arrays, such as indexing, happens on the thread's current device.
            self._device.use()
            capability = int(self._device.compute_capability)
            properties = cupy.cuda.runtime.getDeviceProperties(index)
        except cupy.cuda.runtime.CUDARuntimeError as error:
            raise BackendError(f"device {index} does not answer: {error}") from error
        title = properties["name"].decode()
        if capability < _oldest_supported():
            raise BackendError(
                f"{title} has compute capability {capability / 10}; this CuPy's compiler needs "
                f"{_oldest_supported() / 10} or newer. Use an older CuPy (cupy-cuda12x), or engine 'numpy'."
            )
        self.name = f"CuPy {cupy.__version__}, {title} ({capability / 10}), device {index}"
        self._functions: dict[str, Any] = {}

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Device.empty`."""
        with self._device:
            try:
                return cupy.empty(shape, dtype)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceMemoryError(str(error)) from error

    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """See `Device.zeros`."""
        with self._device:
            try:
                return cupy.zeros(shape, dtype)
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceMemoryError(str(error)) from error

    def asarray(self, array: NDArray[Any]) -> Array:
        """See `Device.asarray`."""
        with self._device:
            try:
                return cupy.array(array, order="C")
            except cupy.cuda.memory.OutOfMemoryError as error:
                raise DeviceMemoryError(str(error)) from error

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `Device.to_host`.

        Raises:
            BackendError: when work launched earlier failed.
        """
        with self._device:
            try:
                return np.asarray(cupy.asnumpy(array))
            except cupy.cuda.runtime.CUDARuntimeError as error:
                raise BackendError(f"{self.name}: a kernel failed: {error}") from error

    def synchronize(self) -> None:
        """See `Device.synchronize`."""
        with self._device:
            cupy.cuda.get_current_stream().synchronize()

    def free_unused(self) -> None:
        """See `Device.free_unused`."""
        with self._device:
            cupy.get_default_memory_pool().free_all_blocks()

    def _address(self, array: Array) -> int:
        return int(array.data.ptr)

    def _launch(
        self,
        what: Kernel,
        expression: str,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        parameters: np.ndarray[Any, Any],
    ) -> None:
        with self._device:
            function = self._functions.get(expression) or self._compile(what.file, expression)
            try:
                # CuPy passes a NumPy array of structs by value.
                function(grid, (threads, 1, 1), (parameters,), shared_mem=shared)
            except cupy.cuda.driver.CUDADriverError as error:
                raise BackendError(f"{self.name}: kernel {what.name} cannot be launched: {error}") from error

    def _compile(self, file: str, expression: str) -> Any:
        """All instances of a file; CuPy keeps the result on disk for the next process."""
        names = [found.expression(instance) for found in kernels_of(file) for instance in found.instances]
        try:
            module = cupy.RawModule(code=source(file), options=compile_options(file), name_expressions=names)
            self._functions.update({name: module.get_function(name) for name in names})
        except (cupy.cuda.compiler.CompileException, cupy.cuda.driver.CUDADriverError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise BackendError(
                f"{self.name}: {file} cannot be compiled or loaded: {first} "
                "A driver older than CuPy's CUDA is the usual reason: update it, or install the CuPy of its version."
            ) from error
        return self._functions[expression]


def _device_count() -> int:
    try:
        count = int(cupy.cuda.runtime.getDeviceCount())
    except cupy.cuda.runtime.CUDARuntimeError as error:
        if "InsufficientDriver" in str(error) and _driver_version():
            reason = (
                f"the driver supports CUDA {_driver_version()}, older than CuPy's {_version(_runtime_version())}; "
                "update the driver"
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
    from cupy_backends.cuda.libs import nvrtc

    try:
        return max(_OLDEST, int(min(nvrtc.getSupportedArchs())))
    except (AttributeError, RuntimeError, ValueError):
        return _OLDEST
