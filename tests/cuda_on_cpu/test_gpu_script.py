"""benchmarks/gpu.py and gpu_host.py run from end to end on the CPU: a rare GPU hour is not for their mistakes."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from executor import CpuDevice

import faceinv
from faceinv.backends.cupy_cuda.engine import CudaEngine
from faceinv.engine.interface import Engine
from faceinv.engine.records import EngineSettings
from faceinv.face.formats import load_model
from faceinv.face.model import MorphableModel

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def _script(name: str) -> ModuleType:
    specification = importlib.util.spec_from_file_location(name, _BENCHMARKS / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def gpu(compiler: None) -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_BENCHMARKS)
        yield _script("gpu")


def test_runs(gpu: ModuleType) -> None:
    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        return CudaEngine(CpuDevice(), model, settings)

    models = [load_model("default", identity=4, expression=3, albedo=2), gpu.wide_model(31, (5, 4, 3))]
    text = gpu.run(build, models, [1, 2], [32], 1, measured_ceilings=False, rival="numpy")
    for heading in (
        "Parts of a step, float32",
        "Parts of a step, float64",
        "Kernels of one step",
        "Fine detail, float32",
        "Kernels of fine detail",
        "Fits of the sample",
        "Beside numpy",
    ):
        assert heading in text
    assert "normal_equations" in text
    assert "relief_spread" in text


def test_a_wrong_engine_is_not_measured(gpu: ModuleType) -> None:
    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        right = "total += p.prior[static_cast<size_t>(item) * p.parameters + i];"
        change = {"finish.cu": lambda text: text.replace(right, right + " if (i == j) total += 1.0;")}
        return CudaEngine(CpuDevice(changes=change), model, settings)

    with pytest.raises(SystemExit, match="checks failed, nothing was measured"):
        gpu.run(build, [gpu.wide_model(31, (5, 4, 3))], [1], [32], 1, measured_ceilings=False)


def test_wrong_detail_is_not_measured(gpu: ModuleType) -> None:
    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        change = {"detail.cu": lambda text: text.replace("0.5 * inverse * pulled", "0.51 * inverse * pulled")}
        return CudaEngine(CpuDevice(changes=change), model, settings)

    wrong = gpu.check_detail(build, gpu.wide_model(31, (5, 4, 3)), 24)
    assert any("gradient" in line for line in wrong)


def test_floors_count_half_of_h(gpu: ModuleType) -> None:
    model = gpu.wide_model(31, (5, 4, 3))
    operations, moved = gpu.floors(model, 1000, 0, 2, 4, 32)
    parameters = 5 + 4 + 3 + 34
    assert operations == 2 * (1000 * (72 * 9 + 18 * 3) + 3 * 1000 * parameters * (parameters + 1))
    assert moved > 0


def test_the_hosts_share_takes_the_same_path(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replayed without kernels, a fit asks the device for the same things in the same order."""
    monkeypatch.syspath_prepend(_BENCHMARKS)
    row = _script("gpu_host").measure(2, 1, faceinv.FitConfig(size=56, levels=2))
    assert row["launches"] > 100
    assert row["copies"] < row["launches"] / 2
    assert row["host ms a face"] > 0
