"""benchmarks/gpu.py, gpu_host.py and gpu_session.py run from end to end on the CPU: a rare GPU hour is not for their
mistakes."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import zipfile
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
    config = faceinv.FitConfig(albedo_field=0.0, iterations=3, coarse_iterations=2)
    said: list[str] = []
    report = gpu.run(
        build,
        models,
        gpu.Cases((1, 2), (32,), 1),
        config,
        gpu.Report(said.append),
        measured_ceilings=False,
        rival="numpy",
    )
    text = report.text
    assert not report.failed, text
    assert said[-1] == text
    assert len(said) > 8, "tables are told as they are made"
    for heading in (
        "Parts of a step, float32",
        "Parts of a step, float64",
        "Kernels of one step",
        "Fine detail, float32",
        "Kernels of fine detail",
        "Fits of the sample",
        "Kernels of a whole fit",
        "kernels together",
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

    cases, config = gpu.Cases((1,), (32,), 1), faceinv.FitConfig(albedo_field=0.0, self_occlusion=False)
    with pytest.raises(SystemExit, match="checks failed, nothing was measured"):
        gpu.run(build, [gpu.wide_model(31, (5, 4, 3))], cases, config, measured_ceilings=False)


def test_the_command_line_writes_what_it_has(gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        return CudaEngine(CpuDevice(), model, settings)

    small, cases, tables = gpu.wide_model(31, (5, 4, 3)), gpu.Cases((1,), (32,), 1), tmp_path / "tables.md"
    monkeypatch.setattr("faceinv.backends.cupy_cuda.build", build)
    monkeypatch.setattr(gpu, "wide_model", lambda: small)
    monkeypatch.setattr(gpu, "Cases", lambda: cases)
    monkeypatch.setattr(gpu, "ceilings", lambda timer: None)
    monkeypatch.setattr(gpu.faceinv, "load_model", lambda name: load_model(name, identity=4, expression=3, albedo=2))
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--only-checks"])
    with pytest.raises(SystemExit) as checked:
        gpu.main()
    assert checked.value.code == 0
    monkeypatch.setattr(sys, "argv", ["gpu.py", "--unchecked", "--seconds", "-1", "--output", str(tables)])
    with pytest.raises(SystemExit, match="tables could not be made"):
        gpu.main()
    text = tables.read_text()
    assert "Not checked in this run" in text
    assert text.count("out of time") > 8


def test_wrong_detail_is_not_measured(gpu: ModuleType) -> None:
    def build(model: MorphableModel, settings: EngineSettings) -> Engine:
        change = {"detail.cu": lambda text: text.replace("0.5 * inverse * pulled", "0.51 * inverse * pulled")}
        return CudaEngine(CpuDevice(changes=change), model, settings)

    wrong = gpu.check_detail(build, gpu.wide_model(31, (5, 4, 3)), 24)
    assert any("gradient" in line for line in wrong)


def test_one_table_s_failure_is_told_and_costs_no_other(gpu: ModuleType) -> None:
    def broken() -> None:
        raise ValueError("no such thing")

    def lost() -> None:
        raise faceinv.DeviceLostError("gone")

    report = gpu.Report()
    report.table("first", broken)
    report.table("second", lambda: [["a"], ["1"]])
    report.table("third", lost)
    report.table("fourth", lambda: [["a"], ["1"]])
    assert "Not made: ValueError: no such thing" in report.text
    assert "| 1 |" in report.text
    assert report.text.rstrip().endswith("Not made: the device was lost before.")
    assert report.failed == 3
    late = gpu.Report(seconds=-1.0)
    late.table("fifth", lambda: [["a"], ["1"]])
    assert "out of time" in late.text


def test_floors_count_half_of_h(gpu: ModuleType) -> None:
    model = gpu.wide_model(31, (5, 4, 3))
    parameters = 5 + 4 + 3 + 34
    each = 72 * 9 + 18 * 3 + 3 * parameters * (parameters + 1)
    for size, sampled in ((32, 1000), (112, 250)):
        operations, moved = gpu.floors(model, 1000, 0, 2, 4, size)
        assert operations == 2 * (sampled * each + 1000 * 3 * 72)
        assert moved > 0


def test_the_hosts_share_takes_the_same_path(compiler: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Replayed without kernels, a fit asks the device for the same things in the same order."""
    monkeypatch.syspath_prepend(_BENCHMARKS)
    row = _script("gpu_host").measure(2, 1, faceinv.FitConfig(size=56, levels=2))
    assert row["launches"] > 100
    assert row["copies"] < row["launches"] / 2
    assert row["host ms a face"] > 0


def test_a_session_s_steps_do_not_end_each_other(tmp_path: Path) -> None:
    module = _script("gpu_session")
    python = sys.executable
    chosen = [
        module.Step("good", (python, "-c", "print('fine')"), 60.0),
        module.Step("bad", (python, "-c", "print('so far'); raise SystemExit(3)"), 60.0),
        module.Step("slow", (python, "-uc", "import time; print('begun'); time.sleep(600)"), 3.0),
        module.Step("last", (python, "-c", "print('at the end')"), 60.0),
    ]
    outcomes = module.session(chosen, tmp_path, 5.0, dict(os.environ))
    assert [outcome.status for outcome in outcomes] == ["passed", "failed", "out of time", "passed"]
    assert outcomes[1].code == 3
    assert [entry["name"] for entry in json.loads((tmp_path / "summary.json").read_text())] == [s.name for s in chosen]
    assert "so far" in (tmp_path / "bad.log").read_text()
    assert "begun" in (tmp_path / "slow.log").read_text()
    late = module.session(chosen[:1], tmp_path, 0.0, dict(os.environ))
    assert [outcome.status for outcome in late] == ["not begun"]


def test_a_session_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = _script("gpu_session")
    monkeypatch.setitem(module.MODULES, "no_such_module", "no-such-package")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["gpu_session.py", "--output", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"lacks:(\n.*)*no-such-package \(module no_such_module\)"):
        module.main()


def test_carried_wheels_fill_gaps_only(tmp_path: Path) -> None:
    module = _script("gpu_session")
    for name in ("numpy", "Carried_Thing"):
        with zipfile.ZipFile(tmp_path / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
            text = (
                f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\nRequires-Dist: other_one>=1\n"
                "Requires-Dist: windows-only; sys_platform == 'win32'\nRequires-Dist: more; extra == 'all'\n\nWords\n"
            )
            wheel.writestr(f"{name}-1.0.dist-info/METADATA", text)
            wheel.writestr(f"{name}-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr(f"{name}-1.0.dist-info/RECORD", "")
            wheel.writestr(f"{name.lower()}.py", "here = True\n")
    assert module.install(tmp_path, tmp_path / "site") == ["carried-thing"]
    assert (tmp_path / "site" / "carried_thing.py").exists()
    assert module._needs(tmp_path / "numpy-1.0-py3-none-any.whl", "3.12") == {"other-one": ">=1"}
