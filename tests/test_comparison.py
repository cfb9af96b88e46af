"""`faceinv compare` on a small model: what it writes and says, and the methods it compares against."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from calls import invoke
from quick import CONFIG_TOML, sample
from small import few_modes

from faceinv import FitConfig
from faceinv.comparison.baselines import Start, common_start, host_baselines, run_gauss_newton
from faceinv.comparison.measure import Case, Task, peak_memory
from faceinv.comparison.report import markdown
from faceinv.comparison.run import Plan, compare
from faceinv.errors import BackendError, ConfigError, InputError
from faceinv.face.formats.npz import save_npz_model
from faceinv.fitting.fitter import Fitter
from faceinv.photo.detector import detect_faces
from faceinv.photo.read import load_image

CONFIG = FitConfig(size=64, levels=1, iterations=4, albedo_field=0.0)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "small.npz"
    save_npz_model(few_modes(), path)
    return path


@pytest.fixture(scope="module")
def case() -> Case:
    pixels = load_image(sample()).pixels
    return Case("photo", pixels, detect_faces(pixels)[0].landmarks)


@pytest.fixture(scope="module")
def prepared(model: Path, case: Case) -> tuple[Fitter, Start]:
    fitter = Fitter(model, "numpy:float64", CONFIG)
    return fitter, common_start(fitter, case)


def test_files_and_values(model: Path, tmp_path: Path) -> None:
    config, out = tmp_path / "quick.toml", tmp_path / "out"
    config.write_text(CONFIG_TOML)
    options = ("--engines", "numpy", "--sizes", "64", "--rounds", 1, "--no-baselines")
    run = invoke("compare", *options, "--model", model, "--config", config, "-o", out)
    assert run.status == 0, run.text
    assert {"compare.json", "compare.md"} <= {path.name for path in out.iterdir()}
    record = json.loads((out / "compare.json").read_text())
    assert record["reference"] == "numpy:float64"
    assert record["baselines"] is None
    assert len(record["machine"]["load_before"]) in (0, 3)
    rows = {(row["engine"], row["problem"]): row for row in record["engines"]}
    assert set(rows) == {(f"numpy:float{n}", p) for n in (32, 64) for p in ("photo", "synthetic")}
    for (engine, _), row in rows.items():
        assert 0 < row["fit_s"] < 60
        assert 0 < row["linearization_s"] < row["fit_s"]
        assert 1 <= row["iterations"] <= 4
        assert row["final_cost"] > 0
        assert row["peak_memory_mb"] > 50
        assert row["vertex_rms_mm"] < 1e-2
        assert row["image_rms"] < 1e-3
        assert row["other_triangles"] == 0
        bound = 1e-5 if engine.endswith("32") else 0.0
        assert max(row[f"{name}_error"] for name in ("cost", "gradient", "hessian")) <= bound
        assert (row["vertex_rms_mm"] == 0) == (engine == "numpy:float64")
    assert "| numpy:float32 | 64 | photo |" in (out / "compare.md").read_text()
    assert "| numpy:float32 | 64 | photo |" in run.out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engines", "nonsense"), "unknown engine 'nonsense'"),
        (("--engines", "numpy:gpu", "--no-baselines"), "'cpu' only"),
        (("--sizes", "large"), "--sizes is 'large'"),
        (("--sizes", "8"), "expected 28 px"),
        (("--dtypes", "float16"), "--dtypes is 'float16'"),
    ],
)
def test_refusals(words: tuple[str, ...], said: str, model: Path, tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text(CONFIG_TOML)
    sizes = () if "--sizes" in words else ("--sizes", "64")
    run = invoke("compare", *words, *sizes, "--model", model, "--config", config, "--rounds", 1, "-o", tmp_path / "o")
    assert run.status == 2
    assert said in run.err
    assert not (tmp_path / "o" / "compare.json").exists()


def test_missing_engine_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceinv.engine.registry._version", lambda names: "" if "torch" in names else "some")
    with pytest.raises(BackendError, match="'torch' is not installed"):
        compare(Plan(sample(), engines=("torch",)))
    with pytest.raises(InputError, match="rounds"):
        compare(Plan(sample(), rounds=0))
    with pytest.raises(ConfigError, match="'photometric_sigma' is infinite"):
        compare(Plan(sample(), config=FitConfig(photometric_sigma=math.inf)))


def test_host_baselines(model: Path, case: Case, prepared: tuple[Fitter, Start]) -> None:
    count = prepared[0].layout.count
    found = host_baselines(Task("numpy:float64", str(model), CONFIG, (case,), 1))
    differences, squares = found["finite_differences"], found["least_squares"]
    assert "extrapolated" in differences["note"]
    assert differences["parameters"] == count
    assert differences["extrapolated_s"] == pytest.approx(differences["render_ms"] / 1e3 * (count + 1))
    assert squares["final_cost"] < 0.98 * squares["start_cost"]
    # Both minimise the same function from the same start.
    assert squares["gauss_newton_trace"][0][1] == pytest.approx(squares["start_cost"], rel=1e-9)
    assert squares["gauss_newton_final_cost"] == pytest.approx(squares["final_cost"], rel=2e-2)
    assert squares["seconds_to_equal_cost"] > 0
    assert squares["ratio"] > 0


def test_squares_have_the_energys_derivative(prepared: tuple[Fitter, Start]) -> None:
    from faceinv.comparison.baselines import _Rows

    fitter, start = prepared
    rows, rng = _Rows(fitter, start), np.random.default_rng(0)
    step, change = (0.05 * rng.normal(size=fitter.layout.count) for _ in range(2))
    for part in (step, change):  # held: what is known of the camera
        part[fitter.layout.principal_point] = part[fitter.layout.inverse_focal] = 0.0
    jacobian = rows.jacobian(step)
    # A short step: what is nearly edge-on bends within a longer one.
    ahead, behind = (rows.residual(step + sign * 1e-8 * change) for sign in (1, -1))
    np.testing.assert_allclose((ahead - behind) / 2e-8, jacobian @ change, atol=1e-5 * np.abs(jacobian @ change).max())


def test_adam(prepared: tuple[Fitter, Start], model: Path, case: Case) -> None:
    torch = pytest.importorskip("torch")
    from faceinv.comparison.adam import TorchEnergy, adam_baseline

    start = prepared[1]
    fitter = Fitter(model, "torch:cpu:float64", CONFIG)
    energy = TorchEnergy(fitter, start)
    trace, _ = run_gauss_newton(fitter, start, held=True)
    chi = torch.tensor(start.chi[0], requires_grad=True)
    cost = energy(chi)
    cost.backward()
    assert float(cost.detach()) == pytest.approx(trace[0][1], rel=1e-6)
    differentiator = fitter.engine.differentiator(start.problem)
    made = differentiator.linearize(start.chi, differentiator.freeze(start.chi), np.ones(1, np.bool_))
    # All but the rotation, which the solver moves on its manifold, and what never moves.
    same = fitter.layout.unknowns & ~fitter.layout.mask(fitter.layout.rotation)
    gradient = 2 * np.asarray(made.gradient)[0]
    np.testing.assert_allclose(chi.grad.numpy()[same], gradient[same], atol=1e-5 * np.abs(gradient).max())
    found = adam_baseline(Task("torch:cpu:float32", str(model), CONFIG, (case,), 1), steps=12, tuning_steps=6)
    assert found["steps"] == 12
    assert found["best_cost"] < found["start_cost"]
    assert found["best_cost"] <= min(found["best_cost_by_rate"].values()) * (1 + 1e-4)
    assert found["seconds_to_best_cost"] > 0
    assert set(found["best_cost_by_rate"]) == {"0.001", "0.01", "0.1"}


def test_peak_memory_is_known() -> None:
    assert 10 < peak_memory() < 1e5


def test_skipped_engines_and_adam_are_listed() -> None:
    record = {
        "faceinv": "0",
        "date": "d",
        "machine": dict.fromkeys(("processor", "cores", "system", "python", "load_before", "load_after")),
        "photo": "p",
        "rounds": 1,
        "reference": "numpy:float64",
        "numpy_kernels_compiled_before": False,
        "engines": [],
        "skipped": [{"engine": "cupy", "reason": "no GPU"}],
        "baselines": None,
    }
    assert "Skipped: cupy: no GPU" in markdown(record)
