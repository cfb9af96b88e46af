"""What `CupyDevice` says when the GPU, its driver or its memory will not do; CuPy is there, its runtime is made up."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from faceinv.backends.cupy_cuda.device import DeviceMemoryError
from faceinv.backends.cupy_cuda.kernels import FILES, kernels_of
from faceinv.errors import BackendError

cupy = pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)

from faceinv.backends.cupy_cuda import cupy_device  # noqa: E402

_INSUFFICIENT, _NO_DEVICE, _SUCCESS_COUNT = 35, 100, 2


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


def test_out_of_memory(machine: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> Any:
        raise cupy.cuda.memory.OutOfMemoryError(1 << 40, 1 << 30)

    device = cupy_device.CupyDevice("0")
    for name in ("empty", "zeros", "array"):
        machine.setattr(cupy, name, full)
    with pytest.raises(DeviceMemoryError, match="Out of memory allocating"):
        device.empty((1,), np.float64)
    with pytest.raises(DeviceMemoryError, match="Out of memory allocating"):
        device.zeros((1,), np.float64)
    with pytest.raises(DeviceMemoryError, match="Out of memory allocating"):
        device.asarray(np.zeros(1))


def test_a_kernel_that_cannot_be_loaded(machine: pytest.MonkeyPatch) -> None:
    class Module:
        def __init__(self, **_: object) -> None:
            pass

        def get_function(self, _: str) -> Any:
            raise cupy.cuda.compiler.CompileException("no such architecture\nmore", "", "geometry.cu", ())

    machine.setattr(cupy, "RawModule", Module)
    device = cupy_device.CupyDevice("0")
    with pytest.raises(
        BackendError, match=r"geometry.cu cannot be compiled or loaded: no such architecture A driver older"
    ):
        device._compile("geometry.cu", "pose_cameras")


def test_launches_reach_cupy(machine: pytest.MonkeyPatch) -> None:
    """One module a file, with all its instances; the struct by value as an array of one; compiled once."""
    made: list[dict[str, Any]] = []
    calls: list[tuple[Any, ...]] = []

    class Array:
        class data:  # noqa: N801
            ptr = 0x7000

        def __init__(self, *shape: int) -> None:
            self.shape, self.dtype = shape, np.dtype(np.float64)
            self.flags = np.zeros(1).flags

    class Module:
        def __init__(self, **keywords: Any) -> None:
            made.append(keywords)

        def get_function(self, name: str) -> Any:
            return lambda *arguments, **keywords: calls.append((name, *arguments, keywords))

    machine.setattr(cupy, "RawModule", Module)
    device = cupy_device.CupyDevice("0")
    for _ in range(2):
        device.launch(
            "pose_cameras", (1, 1, 1), 32, batch=2, parameters=48, pose=15, chi=Array(2, 48), camera=Array(2, 39)
        )
    assert len(made) == 1
    assert made[0]["name_expressions"] == [k.expression(i) for k in kernels_of(FILES[0]) for i in k.instances]
    assert "#include" not in made[0]["code"]
    name, grid, block, (parameters,), keywords = calls[1]
    assert (name, grid, block, keywords) == ("pose_cameras", (1, 1, 1), (32, 1, 1), {"shared_mem": 0})
    assert parameters.shape == (1,)
    assert parameters[0].item() == (2, 48, 15, 0x7000, 0x7000)
