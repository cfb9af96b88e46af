"""What `CupyDevice` says when the GPU, its driver or its memory will not do; CuPy is there, its runtime is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from faceinv.backends.cupy_cuda.kernels import FILES
from faceinv.backends.cupy_cuda.kernels.geometry import POSE_CAMERAS
from faceinv.backends.cupy_cuda.launch.device import DeviceMemoryError
from faceinv.errors import BackendError, DeviceLostError

cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)

from faceinv.backends.cupy_cuda.launch import cupy_device, nvrtc_library  # noqa: E402


class _Array:
    """Enough of a CuPy array: (2, n) of float64."""

    class data:  # noqa: N801
        ptr = 0x7000

    def __init__(self, columns: int) -> None:
        self.shape, self.dtype, self.flags = (2, columns), np.dtype(np.float64), np.zeros(1).flags


_CAMERAS: dict[str, Any] = {
    **{"batch": 2, "parameters": 51, "pose": 15, "light": 24},
    **{"chi": _Array(51), "camera": _Array(15), "lighting": _Array(27)},
}
_INSUFFICIENT, _NO_DEVICE, _NOT_INITIALIZED, _SUCCESS_COUNT = 35, 100, 3, 2


class _FakeDevice:
    """Enough of cupy.cuda.Device."""

    compute_capability = "90"

    def __init__(self, index: int) -> None:
        self.index = index

    def use(self) -> None:
        pass

    def __enter__(self) -> _FakeDevice:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def _raising(code: int) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise cupy.cuda.runtime.CUDARuntimeError(code)

    return call


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A machine with two GPUs of compute capability 9.0."""
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceCount", lambda: _SUCCESS_COUNT)
    monkeypatch.setattr(cupy.cuda.runtime, "getDeviceProperties", lambda _: {"name": b"Example GPU"})
    monkeypatch.setattr(cupy.cuda, "Device", _FakeDevice)
    monkeypatch.setattr(cupy_device, "_oldest_supported", lambda: 75)
    nvrtc_library.load_nvrtc.cache_clear()
    return monkeypatch


def test_a_gpu(machine: pytest.MonkeyPatch) -> None:
    device = cupy_device.CupyDevice("cuda:1")
    assert device.name == f"CuPy {cupy.__version__}, Example GPU (9.0), device 1"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "-1", "0 ", "cuda:x"])
def test_names_that_mean_nothing(machine: pytest.MonkeyPatch, name: str) -> None:
    with pytest.raises(BackendError, match=r"unknown to engine 'cupy'; give a number"):
        cupy_device.CupyDevice(name)


def test_a_gpu_that_is_not_there(machine: pytest.MonkeyPatch) -> None:
    with pytest.raises(BackendError, match=r"device 2 is not there; engine 'cupy' sees 2 \(0 to 1\)"):
        cupy_device.CupyDevice("2")


@pytest.mark.parametrize(
    ("code", "driver", "message"),
    [
        (_NO_DEVICE, 13000, "there is no NVIDIA GPU here, or no driver for it"),
        (_NOT_INITIALIZED, 13000, r"as after a fork .*'spawn'"),
        (_INSUFFICIENT, 0, "there is no NVIDIA GPU here, or no driver for it"),
        (_INSUFFICIENT, 11040, r"the driver supports CUDA 11.4, older than CuPy's 13.0; update the driver"),
        (999, 13000, "cudaErrorUnknown"),
    ],
)
def test_no_gpu_or_driver(machine: pytest.MonkeyPatch, code: int, driver: int, message: str) -> None:
    machine.setattr(cupy.cuda.runtime, "getDeviceCount", _raising(code))
    machine.setattr(cupy.cuda.runtime, "driverGetVersion", lambda: driver)
    machine.setattr(cupy.cuda.runtime, "runtimeGetVersion", lambda: 13000)
    with pytest.raises(BackendError, match=message) as caught:
        cupy_device.CupyDevice("")
    assert "Use engine 'numpy'" in str(caught.value)


def test_an_old_gpu(machine: pytest.MonkeyPatch) -> None:
    machine.setattr(_FakeDevice, "compute_capability", "61")
    with pytest.raises(BackendError, match=r"Example GPU has compute capability 6.1; .* needs 7.5 or newer"):
        cupy_device.CupyDevice("0")


def _failing(error: Exception) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        raise error

    return call


_RUNTIME = cupy.cuda.runtime.CUDARuntimeError
_DRIVER: Any = cupy.cuda.driver.CUDADriverError


class _DriverError(_DRIVER):  # type: ignore[misc]
    """CuPy's own looks its text up in the driver, which is not there."""

    def __init__(self, status: int) -> None:
        RuntimeError.__init__(self, f"CUDA_ERROR_{status}: as told by the driver")
        self.status = status


@pytest.mark.parametrize(
    "error",
    [cupy.cuda.memory.OutOfMemoryError(1 << 40, 1 << 30), _RUNTIME(2), _DriverError(2)],
    ids=["pool", "runtime", "driver"],
)
def test_out_of_memory(machine: pytest.MonkeyPatch, error: Exception) -> None:
    """Of the pool, at a copy or at a launch: always the error that halves the batch."""
    device = cupy_device.CupyDevice("0")
    for name in ("empty", "zeros", "array", "asnumpy"):
        machine.setattr(cupy, name, _failing(error))
    device._functions["pose_cameras"] = _failing(error)
    for work in (
        lambda: device.empty((1,), np.float64),
        lambda: device.zeros((1,), np.float64),
        lambda: device.asarray(np.zeros(1)),
        lambda: device.to_host(None),
        lambda: device.launch(POSE_CAMERAS, (1, 1, 1), 32, **_CAMERAS),
    ):
        with pytest.raises(DeviceMemoryError, match=r"Example GPU .* is out of memory: .*Use smaller") as caught:
            work()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [_RUNTIME(700), _DriverError(719), _DriverError(702)])
def test_a_kernel_that_failed_is_not_blamed_on_the_next(machine: pytest.MonkeyPatch, error: Exception) -> None:
    device = cupy_device.CupyDevice("0")
    device._functions["pose_cameras"] = _failing(error)
    with pytest.raises(DeviceLostError, match=r"an earlier kernel failed .* Start the program again"):
        device.launch(POSE_CAMERAS, (1, 1, 1), 32, **_CAMERAS)


def test_failures_that_show_late(machine: pytest.MonkeyPatch) -> None:
    """Changing the device reports what an earlier kernel did; it does not hide an error of faceinv's own."""
    device = cupy_device.CupyDevice("0")
    machine.setattr(_FakeDevice, "__exit__", _failing(_RUNTIME(700)))
    machine.setattr(cupy, "empty", lambda *_: None)
    with pytest.raises(BackendError, match="an earlier kernel failed"):
        device.empty((1,), np.float64)
    machine.setattr(cupy, "empty", _failing(BackendError("mine")))
    with pytest.raises(BackendError, match=r"^mine$"):
        device.empty((1,), np.float64)
    machine.setattr(_FakeDevice, "__enter__", _failing(_RUNTIME(46)))
    with pytest.raises(BackendError, match="cannot make an array: cudaErrorDevicesUnavailable"):
        device.empty((1,), np.float64)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            cupy.cuda.compiler.CompileException("no such thing\nmore", "", "x", ()),
            "geometry.cu cannot be compiled: no such",
        ),
        (_DriverError(209), "geometry.cu cannot be loaded: .*update the older of the two"),
        (_DriverError(2), "is out of memory"),
        (_RUNTIME(700), "an earlier kernel failed"),
        (PermissionError(13, "Permission denied", "/cache"), "geometry.cu cannot be compiled: .*Permission denied"),
        (RuntimeError("Failed to find CUDA headers"), "geometry.cu cannot be compiled: Failed to find CUDA headers"),
    ],
)
def test_kernels_that_cannot_be_loaded(machine: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    machine.setattr(cupy, "RawModule", _failing(error))
    device = cupy_device.CupyDevice("0")
    with pytest.raises(BackendError, match=message) as caught:
        device.load(FILES.values(), "float", "false")
    assert "\n" not in str(caught.value)


def test_no_compiler(machine: pytest.MonkeyPatch) -> None:
    """Said when the engine is built, not at the first photo."""
    from cupy_backends.cuda.libs import nvrtc

    nvrtc_library.load_nvrtc.cache_clear()
    machine.setattr(nvrtc, "getVersion", _failing(RuntimeError("CuPy failed to load libnvrtc.so.13\nand more")))
    with pytest.raises(
        BackendError, match=r"NVRTC cannot be loaded .*libnvrtc.so.13.*Install it with: pip install"
    ) as caught:
        cupy_device.CupyDevice("0")
    assert "\n" not in str(caught.value)
    nvrtc_library.load_nvrtc.cache_clear()


def test_launches_reach_cupy(machine: pytest.MonkeyPatch) -> None:
    """One module a file, with the instances asked for; the struct by value as an array of one."""
    made: list[dict[str, Any]] = []
    calls: list[tuple[Any, ...]] = []

    class Module:
        def __init__(self, **keywords: Any) -> None:
            made.append(keywords)

        def get_function(self, name: str) -> Any:
            return lambda *arguments, **keywords: calls.append((name, *arguments, keywords))

    machine.setattr(cupy, "RawModule", Module)
    device = cupy_device.CupyDevice("0")
    device.load(FILES.values(), "float", "true")
    assert len(made) == len(FILES)
    device.launch(POSE_CAMERAS, (1, 1, 1), 32, **_CAMERAS)
    assert made[0]["name_expressions"] == [
        "pose_cameras",
        "linear_surface<float, 1>",
        "linear_surface<float, 8>",
        "pose_surface",
        "turn_shadows",
    ]
    assert all("double" not in name and "false" not in name for one in made for name in one["name_expressions"])
    assert "#include" not in made[0]["code"]
    ((name, grid, block, (parameters,), keywords),) = calls
    assert (name, grid, block, keywords) == ("pose_cameras", (1, 1, 1), (32, 1, 1), {"shared_mem": 0})
    assert parameters.shape == (1,)
    assert parameters[0].item() == (2, 51, 15, 24, 0x7000, 0x7000, 0x7000)


def test_every_launch_of_an_engine_finds_its_kernel() -> None:
    """`load` makes what launches ask for: all instances of a precision and a kind of normals, and no others."""
    for real in ("float", "double"):
        for flat in ("true", "false"):
            loaded = {name for file in FILES.values() for name in file.expressions_with(real, flat)}
            every = {name for file in FILES.values() for name in file.expressions()}
            others = {"float", "double"} - {real} | ({"true", "false"} - {flat})
            assert loaded == {name for name in every if not any(word in name for word in others)}
