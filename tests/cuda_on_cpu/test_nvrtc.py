"""Every kernel compiles with NVIDIA's own compiler, without a word of warning, for old and new architectures."""

from __future__ import annotations

import importlib
from pathlib import Path

import nvrtc
import pytest

from faceinv.backends.cupy_cuda.kernels import FILES


@pytest.fixture(scope="module", autouse=True)
def compiler() -> None:
    """Skip, by name, where NVRTC is not there."""
    found, reason = nvrtc.load()
    if found is None:
        pytest.skip(f"NVRTC cannot be used here: {reason}")


@pytest.mark.parametrize("architecture", nvrtc.ARCHITECTURES)
@pytest.mark.parametrize("file", FILES)
def test_compiles(file: str, architecture: str) -> None:
    cubin, log = nvrtc.compile_file(FILES[file], architecture)
    assert not log, log
    for kernel in FILES[file].kernels:
        assert cubin.count(kernel.name.encode()) >= len(kernel.instances)


def test_warnings_are_seen() -> None:
    text = "__global__ void kernel(int* out) { int unused; out[0] = 1; }"
    assert "never referenced" in nvrtc.compile_text("text.cu", text, ["kernel"], "sm_90", exact=False)[1]


def test_errors_are_seen() -> None:
    with pytest.raises(RuntimeError, match="undefined"):
        nvrtc.compile_text(
            "text.cu", "__global__ void kernel(int* out) { out[0] = absent; }", ["kernel"], "sm_90", exact=True
        )


def test_normal_equations_hardly_spill(monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a few spilled bytes end up in the loop that takes most of a step's time, as they did once."""
    pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "benchmarks")
    gpu_kernels = importlib.import_module("gpu_kernels")
    for architecture in ("sm_80", "sm_90"):
        for name, numbers in gpu_kernels.measure(FILES["assembly.cu"], architecture).items():
            assert numbers["registers"] > 0
            assert numbers["spilled"] <= 40, f"{name} spills {numbers['spilled']} bytes on {architecture}"


def test_options_are_the_engines() -> None:
    """What is checked here is compiled with the options that the engine gives CuPy."""
    pytest.importorskip("cupy", reason="CuPy is not installed", exc_type=ImportError)
    from faceinv.backends.cupy_cuda.launch.cupy_device import compile_options

    for file in FILES.values():
        assert set(compile_options(file)) <= set(nvrtc.options(file.exact, "sm_90"))
