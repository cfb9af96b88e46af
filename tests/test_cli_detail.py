"""`faceinv fit --detail` and `faceinv detail`, as people call them."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import invoke
from glb import Glb
from PIL import Image
from quick import CONFIG_TOML, quick_fit, sample

import faceinv
from faceinv.errors import InputError
from faceinv.run.outputs import clean_leftovers

pytestmark = pytest.mark.usefixtures("kernels")

ALWAYS = {"sample.npz", "sample.glb", "sample_overlay.png", "sample.json"}
DETAIL = {"sample_normals.png", "sample_depth.png", "sample_displacement.png", "sample_dense.ply"}


@pytest.fixture(scope="module")
def fitted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packaged photo and what `faceinv fit` made of it, without detail."""
    folder = tmp_path_factory.mktemp("fitted")
    shutil.copy(sample(), folder / "sample.jpg")
    (folder / "quick.toml").write_text(CONFIG_TOML)
    run = invoke("fit", folder / "sample.jpg", "--config", folder / "quick.toml", "--texture-size", 64, "-o", folder)
    assert run.status == 0, run.text
    return folder


@pytest.fixture(scope="module")
def refined(fitted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another with the detail of these."""
    folder = tmp_path_factory.mktemp("refined")
    run = invoke("detail", fitted / "sample.npz", "-o", folder)
    assert run.status == 0, run.text
    return folder


@pytest.fixture
def copy(fitted: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(fitted, tmp_path / "copy"))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def record(folder: Path, stem: str = "sample") -> dict[str, Any]:
    read: dict[str, Any] = json.loads((folder / f"{stem}.json").read_text())
    return read


def test_fit_with_detail_writes_its_files(tmp_path: Path) -> None:
    config = tmp_path / "quick.toml"
    config.write_text(f"{CONFIG_TOML}\ndetail = true\n")
    out = tmp_path / "out"
    run = invoke("fit", sample(), "--config", config, "--texture-size", 64, "-o", out)
    assert run.status == 0, run.text
    assert {path.name for path in out.iterdir()} == ALWAYS | DETAIL
    told = record(out)
    assert set(told["files"].values()) == ALWAYS | DETAIL
    detail = told["detail"]
    assert detail["success"]
    assert detail["formulation"] == "robust"
    assert detail["iterations"] >= 1
    parts = {key: value for key, value in detail["cost"].items() if key != "total"}
    assert sum(parts.values()) == pytest.approx(detail["cost"]["total"])
    assert 0.5 < detail["share_of_face"] <= 1.0
    assert detail["displacement_mm"]["least"] < 0 < detail["displacement_mm"]["most"]
    assert told["seconds"]["detail"] > 0
    result = faceinv.load_result(out / "sample.npz")
    assert result.detail is not None
    assert detail["pixels"] == int(result.detail.mask.sum())
    with Image.open(out / "sample_normals.png") as normals, Image.open(out / "sample_depth.png") as depth:
        assert normals.size == depth.size == result.image_size
        assert np.asarray(depth).dtype == np.uint16
    with Image.open(out / "sample_displacement.png") as image:
        assert image.size == (detail["displacement_image"]["texels"],) * 2
        offset = np.asarray(image) * detail["displacement_image"]["mm_per_unit"]
        offset = offset + detail["displacement_image"]["mm_at_zero"]
    assert offset.max() == pytest.approx(detail["displacement_image"]["most_mm"], abs=1e-3)
    # The same photo again, and now without: nothing is left that is of another fit.
    run = invoke("fit", sample(), "--config", config, "--texture-size", 64, "--no-detail", "-o", out)
    assert run.status == 0, run.text
    assert {path.name for path in out.iterdir()} == ALWAYS
    assert "detail" not in record(out)


def test_the_option_keeps_the_formulation_of_the_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def fit(images: Any, output: Any, options: Any, **other: Any) -> int:
        seen.append(options.config.detail)
        return 0

    monkeypatch.setattr(sys.modules["faceinv.cli.fit"], "fit_images", fit)
    for setting, option in (("", "--detail"), ("detail = 'paper'", "--detail"), ("detail = 'paper'", "--no-detail")):
        (tmp_path / "c.toml").write_text(setting)
        assert invoke("fit", sample(), "--config", tmp_path / "c.toml", option).status == 0
    assert seen == [True, "paper", False]


def test_detail_of_a_saved_result(fitted: Path, refined: Path) -> None:
    before, after = record(fitted), record(refined)
    assert {path.name for path in refined.iterdir()} == ALWAYS | DETAIL
    assert after["image"] == before["image"]
    assert after["iterations"] == before["iterations"]
    assert after["landmark_error"] == before["landmark_error"]
    assert after["seconds"]["total"] == pytest.approx(before["seconds"]["total"] + after["seconds"]["detail"])
    assert after["detail"]["success"]
    assert any("normalTexture" in entry for entry in Glb.read(refined / "sample.glb").tree["materials"])
    old, new = (faceinv.load_result(folder / "sample.npz") for folder in (fitted, refined))
    assert np.array_equal(old.vertices, new.vertices)
    assert old.detail is None
    direct = quick_fit().with_detail().detail
    assert new.detail is not None
    assert direct is not None
    mask = direct.maps.mask
    assert np.abs(new.detail.maps.displacement - direct.maps.displacement)[mask].max() < 1e-3


def test_a_folder_of_results_keeps_how_they_were_made(copy: Path) -> None:
    quick = copy / "quick.toml"
    run = invoke(
        *("fit", copy / "sample.jpg", "--config", quick, "--texture", "photo", "--texture-size", 64),
        *("--export-camera", "--write-pts", "-o", copy),
    )
    assert run.status == 0, run.text
    before = Glb.read(copy / "sample.glb").tree
    run = invoke("detail", copy)
    assert run.status == 0, run.text
    assert run.out.count("\n") == 1
    assert "relief from -" in run.out
    after = Glb.read(copy / "sample.glb").tree
    assert before["asset"]["extras"]["texture"] == after["asset"]["extras"]["texture"] == "photo"
    assert len(before["cameras"]) == len(after["cameras"]) == 1
    assert [mesh["name"] for mesh in before["meshes"]] == [mesh["name"] for mesh in after["meshes"]]
    assert record(copy)["files"]["landmarks"] == "sample.pts"


def test_a_photo_that_is_another_is_refused(copy: Path, tmp_path: Path) -> None:
    before = contents(copy)
    with Image.open(sample()) as photo:
        photo.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / "mirrored.png")
        photo.resize((300, 300)).save(tmp_path / "small.png")
    for name, words in (("mirrored", "does not show the face of this result"), ("small", "300 x 300 px")):
        run = invoke("detail", copy / "sample.npz", "--photo", tmp_path / f"{name}.png")
        assert run.status == 2
        assert words in run.err
        assert run.err.count("error:") == 1
        assert contents(copy) == before


def test_a_result_whose_photo_is_gone(copy: Path, tmp_path: Path) -> None:
    (copy / "sample.jpg").unlink()
    (copy / "sample.json").write_text(json.dumps({**record(copy), "image": "elsewhere/sample.jpg"}))
    before = contents(copy)
    run = invoke("detail", copy / "sample.npz")
    assert run.status == 2
    assert "--photo IMAGE" in run.err
    assert "sample.jpg" in run.err
    assert contents(copy) == before
    run = invoke("detail", copy / "sample.npz", "--photo", copy)
    assert run.status == 2
    assert f"not in '{copy}'" in run.err
    assert invoke("detail", copy / "sample.npz", "--photo", sample().parent, "-q", "-o", tmp_path / "a").status == 0
    (copy / "sample.json").unlink()
    assert invoke("detail", copy / "sample.npz").status == 2
    assert invoke("detail", copy / "sample.npz", "--photo", sample(), "-q").status == 0
    assert record(copy)["image"] == str(sample())


def test_black_and_white_photos_say_so(tmp_path: Path) -> None:
    with Image.open(sample()) as photo:
        photo.convert("L").save(tmp_path / "grey.png")
    (tmp_path / "quick.toml").write_text(CONFIG_TOML)
    run = invoke(
        *("fit", tmp_path / "grey.png", "--config", tmp_path / "quick.toml", "--texture-size", 64, "--detail"),
        *("-o", tmp_path / "out"),
    )
    assert run.status == 0, run.text
    told = record(tmp_path / "out", "grey")
    assert told["detail"]["success"]
    assert told["detail"]["colour_direction"] is None
    assert any("no colour" in line for line in told["warnings"])


def test_faces_without_detail_keep_their_coarse_files(copy: Path, tmp_path: Path) -> None:
    """A face of few pixels, and one that is masked altogether: said so, done, and no picture of nothing."""
    with Image.open(sample()) as photo:
        photo.resize((300, 300)).save(tmp_path / "small.png")
    run = invoke(
        *("fit", tmp_path / "small.png", "--config", copy / "quick.toml", "--texture-size", 64, "--detail"),
        *("-o", tmp_path / "out"),
    )
    assert run.status == 0, run.text
    assert "smaller than 100 px" in run.out
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".npz", ".glb", ".png", ".json"}
    told = record(tmp_path / "out", "small")
    assert told["detail"]["status"] == "too_small"
    assert not told["detail"]["success"]
    read = faceinv.load_result(tmp_path / "out" / "small.npz")
    assert read.detail is not None
    assert not read.detail.status.success

    mask = np.zeros((512, 512), np.uint8)
    mask[:20, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    run = invoke("detail", copy / "sample.npz", "--mask", tmp_path / "mask.png")
    assert run.status == 0, run.text
    assert "all of it is masked" in run.out
    assert record(copy)["detail"]["status"] == "nothing_seen"
    assert not DETAIL & {path.name for path in copy.iterdir()}


def test_detail_goes_to_another_face(refined: Path, fitted: Path, tmp_path: Path) -> None:
    run = invoke(
        *("detail", "--from", refined / "sample.npz", "--onto", fitted / "sample.npz", "--photo", sample()),
        *("--bands", "wrinkles, folds=0.5", "--strength", 2, "--symmetric", "-o", tmp_path),
    )
    assert run.status == 0, run.text
    stem = "sample_detail_of_sample"
    assert str(tmp_path / f"{stem}.png") in run.out
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {f"{stem}{end}" for end in (".png", ".glb", "_normals.png", "_displacement.png", ".json")}
    told = record(tmp_path, stem)
    assert set(told["files"].values()) == names
    assert told["bands"] == {"wrinkles": 1.0, "folds": 0.5}
    assert told["strength"] == 2.0
    assert told["symmetric"]
    with Image.open(tmp_path / f"{stem}.png") as sheet:
        assert sheet.width > 6 * sheet.height  # seven panels: the photo is known
    assert any("normalTexture" in entry for entry in Glb.read(tmp_path / f"{stem}.glb").tree["materials"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no results are given"),
        (("--from", "{a}"), "--from and --onto belong together"),
        (("--from", "{a}", "--onto", "{b}", "{a}"), "no other results are given"),
        (("--from", "{a}", "--onto", "{b}", "--mask", "m.png"), "--mask is for finding detail"),
        (("--from", "{b}", "--onto", "{a}"), "sample.npz' has no detail"),
        (("--from", "{a}", "--onto", "{b}", "--bands", "dimples"), "'dimples'"),
        (("--from", "{a}", "--onto", "{b}", "--bands", "folds=much"), "'much'"),
        (("--from", "{a}", "--onto", "{b}", "--strength", "nan"), "finite"),
        (("{b}", "--strength", "2"), "--from and --onto"),
        (("{b}", "{a}", "--photo", "x.png"), "--photo belongs to one result"),
        (("gone.npz",), "'gone.npz' does not exist"),
        (("{empty}",), "holds no results"),
        (("{a}", "{b}", "-o", "{empty}"), "would replace each other"),
    ],
)
def test_words_that_do_not_go_together(
    refined: Path, fitted: Path, tmp_path: Path, words: tuple[str, ...], message: str
) -> None:
    places = {"a": refined / "sample.npz", "b": fitted / "sample.npz", "empty": tmp_path}
    run = invoke("detail", *(word.format(**places) for word in words))
    assert run.status == 2
    assert message in run.err
    assert not any(tmp_path.iterdir())


def test_one_result_that_fails_does_not_cost_the_others(copy: Path) -> None:
    (copy / "broken.npz").write_bytes(b"nothing")
    run = invoke("detail", copy / "broken.npz", copy / "sample.npz")
    assert run.status == 1
    assert "broken.npz" in run.err
    assert record(copy)["detail"]["success"]


def test_unfinished_files_of_detail_are_removed(tmp_path: Path) -> None:
    left = [".sample_normals.abcd1234.png", ".sample_dense.abcd1234.ply", ".sample.abcd1234.npz"]
    kept = [".other_normals.abcd1234.png", "sample_normals.png"]
    for name in (*left, *kept):
        (tmp_path / name).touch()
    clean_leftovers(tmp_path, "sample")
    assert {path.name for path in tmp_path.iterdir()} == set(kept)


def test_python_has_it_too(refined: Path, fitted: Path) -> None:
    from faceinv.detail.transfer import drape

    source, target = (faceinv.load_result(folder / "sample.npz") for folder in (refined, fitted))
    relief = source.relief(512, symmetric=True).mixed({"wrinkles": 1.0}).without_rims(target.model)
    draped = drape(relief, target.model, target.face, (512, 512))
    assert np.abs(draped.displacement).max() > 0.02
    with pytest.raises(InputError, match="no detail"):
        target.relief()
