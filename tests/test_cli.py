"""`faceinv` as people call it."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from calls import Run, invoke
from glb import Glb
from PIL import Image
from quick import CONFIG_TOML, quick_fit, sample

import faceinv
from faceinv.engine import registry
from faceinv.errors import DeviceLostError
from faceinv.face.formats.npz import save_npz_model
from faceinv.render import texture
from faceinv.run import outputs, warmup
from faceinv.run.jobs import Job
from faceinv.run.outputs import unique_stems
from faceinv.run.summary import Summary
from faceinv.run.work import fit_jobs

pytestmark = pytest.mark.usefixtures("kernels")


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything but the optimisation itself, which gives one known result."""
    known = quick_fit()

    def solve(self: Any, photos: list[Any], progress: Callable[[str, float], None] | None = None) -> list[Any]:
        if progress is not None:
            progress("done", 1.0)
        size = [photo.pixels.shape[1::-1] for photo in photos]
        return [dataclasses.replace(known, photo=p.pixels, image_size=s) for p, s in zip(photos, size, strict=True)]

    monkeypatch.setattr(faceinv.Fitter, "solve", solve)
    monkeypatch.setattr(texture, "_SIZES", (128, 128))


@pytest.mark.parametrize(
    ("setting", "options", "estimated"),
    [
        ("", (), True),
        ("", ("--hold-distance",), False),
        ("estimate_distance = false", (), False),
        ("estimate_distance = false", ("--estimate-distance",), True),
    ],
)
@pytest.mark.usefixtures("instant")
def test_an_option_for_the_distance_wins_over_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str, options: tuple[str, ...], estimated: bool
) -> None:
    configs, solve = [], faceinv.Fitter.solve

    def noted(self: faceinv.Fitter, *photos: Any) -> Any:
        configs.append(self.config)
        return solve(self, *photos)

    monkeypatch.setattr(faceinv.Fitter, "solve", noted)
    (tmp_path / "fit.toml").write_text(f"{CONFIG_TOML}\n{setting}\n")
    run = invoke("fit", sample(), "--config", tmp_path / "fit.toml", "--distance", "700", *options, "-o", tmp_path)
    assert run.status == 0, run.text
    assert [(config.distance, config.estimate_distance) for config in configs] == [(700.0, estimated)]


def test_fit_writes_four_files(tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text(CONFIG_TOML)
    out = tmp_path / "new" / "out"
    run = invoke("fit", sample(), "--config", config, "-o", out, "--texture", "photo")
    assert run.status == 0, run.text
    assert {p.name for p in out.iterdir()} == {"sample.npz", "sample.glb", "sample_overlay.png", "sample.json"}
    assert run.out.count("\n") == 1
    assert "sample.jpg: photometric RMSE" in run.out
    assert "━" not in run.text  # no bars where there is no terminal
    record = json.loads((out / "sample.json").read_text())
    assert record["status"] in {status.name.lower() for status in faceinv.Status}
    assert record["iterations"] >= 1
    total = record["cost_photometric"] + record["cost_landmarks"] + record["cost_prior"]
    assert total == pytest.approx(record["cost"])
    assert record["seconds"]["total"] > 0
    assert record["versions"]["faceinv"] == faceinv.__version__
    assert record["photometric_rmse"] == pytest.approx(quick_fit().photometric_rmse)
    result = faceinv.load_result(out / "sample.npz")
    assert result.landmark_error == pytest.approx(record["landmark_error"])
    assert isinstance(trimesh.load(out / "sample.glb", force="mesh"), trimesh.Trimesh)
    with Image.open(out / "sample_overlay.png") as overlay:
        assert overlay.width > 4 * overlay.height


@pytest.mark.usefixtures("instant")
def test_a_rig_on_request(tmp_path: Path) -> None:
    run = invoke("fit", sample(), "-o", tmp_path, "--rig")
    assert run.status == 0, run.text
    options = outputs.FitOptions("default", "numpy", faceinv.FitConfig(), "albedo", rig=True)
    (record,) = fit_jobs(options, [Job(sample(), None, "a.jpg", tmp_path, "in_a_folder")])
    assert record["success"], record
    for file in ("sample.glb", "in_a_folder.glb"):
        glb = Glb.read(tmp_path / file)
        assert {node["name"] for node in glb.tree["nodes"]} == {"head", "face", "eyeLeft", "eyeRight"}
        assert "jawOpen" in glb.mesh_of("face")["extras"]["targetNames"]


def test_a_rig_of_a_model_without_units_is_refused_at_once(tmp_path: Path) -> None:
    units = faceinv.load_model("default")
    save_npz_model(dataclasses.replace(units, expression_units=None), tmp_path / "plain.npz")
    shutil.copy(sample(), tmp_path / "a.jpg")
    for given in (tmp_path / "a.jpg", tmp_path):
        run = invoke("fit", given, "-o", tmp_path / "out", "--model", tmp_path / "plain.npz", "--rig")
        assert run.status == 2
        assert "has no named expression units" in run.err
        assert not (tmp_path / "out").exists()


def test_options_go_before_the_configuration(tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    make = faceinv.Fitter.__init__

    def record(self: Any, model: Any, backend: str, config: Any) -> None:
        seen.append((backend, config))
        make(self, model, backend, config)

    monkeypatch.setattr(faceinv.Fitter, "__init__", record)
    (tmp_path / "c.toml").write_text("size = 96\niterations = 3\n")
    run = invoke(
        *("fit", sample(), "-o", tmp_path / "o", "--config", tmp_path / "c.toml", "--size", 48),
        *("--backend", "numpy:float64"),
    )
    assert run.status == 0, run.text
    ((backend, config),) = seen
    assert backend == "numpy:float64"
    assert config == faceinv.FitConfig(size=48, iterations=3)


def test_all_faces_are_numbered(tmp_path: Path, instant: None) -> None:
    one = np.asarray(Image.open(sample()))
    Image.fromarray(np.concatenate([one, one], axis=1)).save(tmp_path / "two.png")
    run = invoke("fit", tmp_path / "two.png", "--face", "all", "-o", tmp_path / "o")
    assert run.status == 0, run.text
    assert {p.stem for p in (tmp_path / "o").glob("*.npz")} == {"two_1", "two_2"}
    assert json.loads((tmp_path / "o" / "two_2.json").read_text())["face"] == 2


def test_the_largest_of_several_faces_is_said_to_be_one_of_them(tmp_path: Path) -> None:
    one = np.asarray(Image.open(sample()))
    Image.fromarray(np.concatenate([one, one], axis=1)).save(tmp_path / "two.png")
    (tmp_path / "c.toml").write_text("size = 32\nlevels = 1\niterations = 1\n")
    words = ("-o", tmp_path / "o", "--config", tmp_path / "c.toml")
    said = "several faces: 2 faces were found; the largest is fitted. --face all, or fit_faces, fits every one."
    assert f"[{said}]" in invoke("fit", tmp_path / "two.png", *words).out
    assert json.loads((tmp_path / "o" / "two.json").read_text())["warnings"] == [said]
    assert said not in invoke("fit", tmp_path / "two.png", "--face", "all", *words).out
    assert said not in invoke("fit", sample(), *words).out


def test_landmarks_and_mask_are_used(tmp_path: Path, instant: None) -> None:
    from faceinv.photo.pts import write_pts

    write_pts(tmp_path / "a.pts", quick_fit().landmarks_target)
    Image.new("L", (512, 512), 255).save(tmp_path / "m.png")
    words = ("--landmarks", tmp_path / "a.pts", "--mask", tmp_path / "m.png", "-o", tmp_path / "o")
    assert invoke("fit", sample(), *words).status == 0
    assert (tmp_path / "o" / "sample.glb").is_file()


def test_photos_of_one_name_keep_their_own_files(tmp_path: Path, instant: None) -> None:
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        shutil.copy(sample(), tmp_path / place / "x.jpg")
    run = invoke("fit", tmp_path / "a" / "x.jpg", tmp_path / "b" / "x.jpg", tmp_path / "a" / "x.jpg", "-o", tmp_path)
    assert run.status == 0, run.text
    assert {p.name for p in tmp_path.glob("*.npz")} == {"a_x.npz", "b_x.npz"}
    assert "another photo has the same name" in run.err


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["a/x.jpg", "a/y.jpg"], ["x", "y"]),
        (["a/x.jpg", "b/X.jpg"], ["a_x", "b_X"]),
        (["a/x.jpg", "a/x.png"], ["x_jpg", "x_png"]),
        (["a/x.jpg", "c/a/x.jpg"], ["x", "x_2"]),
        (["a/x.jpg", "c/a/x.jpg", "x_2.jpg"], ["x", "x_3", "x_2"]),
        (["a/x.jpg", "b/x.jpg", "a_x.jpg"], ["x", "b_x", "a_x"]),
    ],
)
def test_unique_stems(images: list[str], expected: list[str]) -> None:
    assert unique_stems([Path(image) for image in images]) == expected


def test_demo(tmp_path: Path, instant: None) -> None:
    run = invoke("demo", "-o", tmp_path / "d")
    assert run.status == 0, run.text
    for suffix in outputs.SUFFIXES:
        path = tmp_path / "d" / f"sample{suffix}"
        assert path.is_file()
        assert str(path) in run.out


def test_first_run_is_announced(tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert warmup.FIRST_RUN not in invoke("fit", sample(), "-o", tmp_path).err
    monkeypatch.setattr(warmup, "kernels_compiled", lambda: False)
    run = invoke("fit", sample(), "-o", tmp_path)
    assert warmup.FIRST_RUN in run.err
    assert warmup.FIRST_RUN not in run.out
    assert invoke("fit", sample(), "-o", tmp_path, "--quiet").text == ""


def test_compiled_kernels_are_noticed(tmp_path: Path) -> None:
    """In the process that compiled them, and on disk by another; not where one module's are gone."""
    quick_fit()
    assert warmup.kernels_compiled()
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; from faceinv.run.warmup import kernels_compiled; from quick import *;"
        "print(kernels_compiled()); quick_fit(); print(kernels_compiled())"
    )

    def said() -> list[str]:
        environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
        done = subprocess.run(
            [sys.executable, "-c", code, *sys.path], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert said() == ["False", "True"]
    assert said() == ["True", "True"]
    for index in tmp_path.rglob("raster.*.nbi"):
        index.unlink()
    assert said() == ["False", "True"]


def test_one_bad_photo_does_not_stop_the_others(tmp_path: Path, instant: None) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no photo")
    run = invoke("fit", tmp_path / "bad.jpg", sample(), "-o", tmp_path / "o")
    assert run.status == 1
    assert "bad.jpg" in run.err
    assert "1 of 2 photos failed" in run.err
    assert (tmp_path / "o" / "sample.json").is_file()


def test_a_fault_of_the_program_costs_one_photo(tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(sample(), tmp_path / "other.jpg")
    fit = faceinv.Fitter.fit

    def faulty(self: Any, image: Any, *rest: Any, **options: Any) -> Any:
        if Path(image).name == "other.jpg":
            raise ZeroDivisionError("division by zero")
        return fit(self, image, *rest, **options)

    monkeypatch.setattr(faceinv.Fitter, "fit", faulty)
    run = invoke("fit", tmp_path / "other.jpg", sample(), "-o", tmp_path / "o")
    assert run.status == 1
    assert "unexpected ZeroDivisionError" in run.err
    assert (tmp_path / "o" / "sample.json").is_file()


def test_a_fit_without_a_finite_cost_is_a_failure(
    tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = dataclasses.replace(quick_fit(), status=faceinv.Status.NOT_FINITE)
    monkeypatch.setattr(faceinv.Fitter, "fit", lambda *_, **__: broken)
    run = invoke("fit", sample(), "-o", tmp_path / "o")
    assert run.status == 2
    assert faceinv.Status.NOT_FINITE.value in run.err
    assert not list((tmp_path / "o").iterdir())


def test_interrupting_keeps_what_is_finished(tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(sample(), tmp_path / "second.jpg")
    fit = faceinv.Fitter.fit

    def stopped(self: Any, image: Any, *rest: Any, **options: Any) -> Any:
        if Path(image).name == "second.jpg":
            raise KeyboardInterrupt
        return fit(self, image, *rest, **options)

    monkeypatch.setattr(faceinv.Fitter, "fit", stopped)
    run = invoke("fit", sample(), tmp_path / "second.jpg", "-o", tmp_path / "o")
    assert run.status == 130
    assert "what was finished is kept" in run.err
    assert (tmp_path / "o" / "sample.json").is_file()


def test_json_never_holds_nan(tmp_path: Path) -> None:
    record = {"a": math.nan, "b": [math.inf, 1], "c": {"d": np.float64(2)}, "e": np.int64(3), "f": True}
    outputs.write_json(tmp_path / "x.json", record)
    text = (tmp_path / "x.json").read_text()
    assert "NaN" not in text
    assert json.loads(text) == {"a": None, "b": [None, 1], "c": {"d": 2}, "e": 3, "f": True}
    result = dataclasses.replace(quick_fit(), photometric_rmse=math.nan)
    options = outputs.FitOptions("default", "numpy", faceinv.FitConfig(), "albedo")
    extra = outputs.write_result(result, tmp_path, "y", options, {})
    assert json.loads((tmp_path / "y.json").read_text())["photometric_rmse"] is None
    assert "photometric RMSE unknown" in outputs.describe("y", extra, tmp_path / "y.glb")


def test_engines_lists_all_and_survives_broken_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("its library is damaged")

    monkeypatch.setattr(registry, "_load", lambda name: broken)
    run = invoke("engines")
    assert run.status == 0, run.text
    for name in ("numpy", "torch", "mxnet", "cupy"):
        assert name in run.out
    assert "its library is damaged" in run.out


def test_version_and_help() -> None:
    assert invoke("--version").out == f"faceinv {faceinv.__version__}\n"
    assert invoke("--help").status == 0
    assert invoke("models", "info", "default").status == 0
    missing = invoke("models", "info", "missing.npz")
    assert missing.status == 2
    assert missing.err.startswith("error: ")


def test_help_has_a_short_name_everywhere() -> None:
    for words in ((), ("fit",), ("demo",), ("engines",), ("compare",), ("models",), ("models", "render")):
        short, long = invoke(*words, "-h"), invoke(*words, "--help")
        assert short.status == 0, short.text
        assert short.out == long.out
        assert "--help" in short.out


def test_shells_can_complete() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "faceinv"],
        env={**os.environ, "_FACEINV_COMPLETE": "complete_bash", "COMP_WORDS": "faceinv mod", "COMP_CWORD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["models"], done.stderr
    assert "--install-completion" in invoke("--help").out


def test_the_package_is_a_program() -> None:
    done = subprocess.run([sys.executable, "-m", "faceinv", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"faceinv {faceinv.__version__}\n"


def test_own_pictures_among_others_are_left_out(tmp_path: Path, instant: None) -> None:
    """As `faceinv fit *.png -o .` in a second run."""
    shutil.copy(sample(), tmp_path / "x.jpg")
    assert invoke("fit", tmp_path / "x.jpg", "-o", tmp_path).status == 0
    again = invoke("fit", tmp_path / "x.jpg", tmp_path / "x_overlay.png", "-o", tmp_path)
    assert again.status == 0, again.text
    assert "1 picture is left out: faceinv made it." in again.err
    assert {p.name for p in tmp_path.glob("*.npz")} == {"x.npz"}


def test_warnings_are_said_everywhere(tmp_path: Path, instant: None, monkeypatch: pytest.MonkeyPatch) -> None:
    warned = dataclasses.replace(quick_fit(), warnings=("Landmarks are upside down.", "The mask misses the face."))
    monkeypatch.setattr(faceinv.Fitter, "fit", lambda *_, **__: warned)
    run = invoke("fit", sample(), "-o", tmp_path)
    assert run.out.rstrip().endswith("sample.glb [Landmarks are upside down.] [The mask misses the face.]")
    record = json.loads((tmp_path / "sample.json").read_text())
    assert record["warnings"] == list(warned.warnings)
    job = Job(sample(), None, "sample.jpg", tmp_path, "sample")
    Summary(tmp_path / "summary.csv", [job], {job: record}).write()
    with (tmp_path / "summary.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert list(row)[-1] == "warnings"
    assert row["warnings"] == "Landmarks are upside down. The mask misses the face."


def run_program(*words: str | Path, timeout: float = 120) -> Run:
    """A process of its own."""
    command = [sys.executable, "-c", "from faceinv.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Run(done.returncode, done.stdout, done.stderr)


def test_a_real_process(tmp_path: Path) -> None:
    (tmp_path / "quick.toml").write_text(CONFIG_TOML)
    run = run_program("fit", sample(), "missing.jpg", "--config", tmp_path / "quick.toml", "-o", tmp_path / "o")
    assert run.status == 1
    assert run.out.startswith("sample.jpg: photometric RMSE")
    assert "Traceback" not in run.text
    assert "missing.jpg" in run.err
    assert (tmp_path / "o" / "sample.json").is_file()


def test_importing_is_quick() -> None:
    code = "import time; t = time.process_time(); import faceinv; print(time.process_time() - t)"
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
        for _ in range(2)
    ]
    assert min(seconds) < 0.5
    began = time.process_time()
    heavy_ones = ("numba", "onnxruntime", "pygltflib", "trimesh", "torch")
    loaded = f"import sys, faceinv.cli; print([m for m in {heavy_ones} if m in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout
    assert heavy.strip() == "[]"
    assert time.process_time() - began < 5


def test_a_lost_gpu_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same error for every photo that is left would help nobody; what is written stays."""
    (tmp_path / "config.toml").write_text(CONFIG_TOML)
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        shutil.copy(sample(), tmp_path / name)
    asked: list[str] = []
    fit = faceinv.Fitter.fit

    def lose(self: faceinv.Fitter, image: Path, *args: Any, **kwargs: Any) -> Any:
        asked.append(image.name)
        if image.name == "b.jpg":
            raise DeviceLostError("the GPU is gone; start again")
        return fit(self, image, *args, **kwargs)

    monkeypatch.setattr(faceinv.Fitter, "fit", lose)
    photos = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    run = invoke("fit", *photos, "--config", tmp_path / "config.toml", "-o", tmp_path / "out")
    assert run.status == 2
    assert run.err.count("the GPU is gone") == 1
    assert asked == ["a.jpg", "b.jpg"]
    assert (tmp_path / "out" / "a.json").is_file()
