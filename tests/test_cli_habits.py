"""How the commands go with pipes and programs, and what is done with results that were saved."""

from __future__ import annotations

import json
import os
import shutil
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import invoke
from PIL import Image
from quick import CONFIG_TOML, quick_fit, sample
from test_cli import instant  # noqa: F401
from test_folder import TINY, make_photos
from typer.testing import CliRunner

import faceinv
from faceinv.cli import app
from faceinv.errors import InputError
from faceinv.output.report import pictures
from faceinv.output.report.templating import is_own_page
from faceinv.photo.pts import read_landmarks
from faceinv.run.outputs import clean_leftovers
from faceinv.run.saved import find_saved, load_saved

VIDEO = b"\0\0\0\x18ftypmp42" + bytes(40)


@pytest.fixture(autouse=True)
def small_skin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_TEXTURE", 64)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A result as `faceinv fit` leaves it, without its photo beside it."""
    folder = tmp_path / "saved"
    quick_fit().save(folder / "face.npz")
    record = {"image": str(sample()), "status": "converged_cost", "seconds": {"light": 0.5, "total": 0.5}, "files": {}}
    (folder / "face.json").write_text(json.dumps(record))
    return folder / "face.npz"


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is opened in a browser."""
    seen: list[str] = []
    monkeypatch.setattr(webbrowser, "open", seen.append)
    return seen


def fed(content: bytes, *words: str | Path) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words], input=content, catch_exceptions=False)


@pytest.mark.usefixtures("instant")
def test_a_photo_from_standard_input(tmp_path: Path) -> None:
    run = fed(sample().read_bytes(), "fit", "-", "-o", tmp_path)
    assert run.exit_code == 0, run.output
    assert {path.suffix for path in tmp_path.glob("stdin*")} == {".npz", ".glb", ".png", ".json"}
    assert json.loads((tmp_path / "stdin.json").read_text())["image"] == "stdin"


def test_standard_input_must_hold_a_photo_and_come_alone(tmp_path: Path) -> None:
    empty = fed(b"", "fit", "-", "-o", tmp_path / "o")
    assert empty.exit_code == 2
    assert "standard input, which is empty" in empty.stderr
    both = fed(b"x", "fit", "-", sample(), "-o", tmp_path / "o")
    assert both.exit_code == 2
    assert "to be given alone" in both.stderr
    assert not (tmp_path / "o").exists()
    none = fed(b"no photo", "fit", "-", "-o", tmp_path / "o")
    assert none.exit_code == 2
    assert "not an image" in none.stderr


@pytest.mark.usefixtures("instant")
def test_lines_of_json_are_all_that_is_on_standard_output(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_text("no photo")
    for quiet in ((), ("-q",)):
        run = invoke("fit", sample(), tmp_path / "bad.jpg", "--json", "--report", "-o", tmp_path / "o", *quiet)
        assert run.status == 1
        good, bad = (json.loads(line) for line in run.out.splitlines())
        assert good["success"]
        assert good["files"]["npz"] == "sample.npz"
        assert good["folder"] == str(tmp_path / "o")
        assert "thumbnail" not in good
        assert (bad["status"], bad["success"], bad["files"]) == ("failed", False, {})
        assert "not an image" in bad["error"]
        assert ("photometric RMSE" in run.err) == (not quiet)


def test_lines_of_json_for_a_folder_come_again(tmp_path: Path) -> None:
    make_photos(tmp_path / "photos", ["a.png"])
    (tmp_path / "photos" / "bad.png").write_text("no photo")
    (tmp_path / "photos" / "clip.mp4").write_bytes(VIDEO)
    (tmp_path / "c.toml").write_text(TINY)
    words = ("fit", tmp_path / "photos", "-o", tmp_path / "o", "--config", tmp_path / "c.toml", "--workers", "1")
    first = invoke(*words, "--json")
    again = invoke(*words, "--json")
    lines = [{json.loads(line)["image"]: json.loads(line) for line in run.out.splitlines()} for run in (first, again)]
    assert lines[0] == lines[1]
    assert lines[0]["bad.png"]["status"] == "failed"
    assert lines[0]["a.png"]["success"]
    assert "1 .mp4. Videos are not fitted yet" in first.err
    assert "JPEG" not in first.err.split(".mp4")[1]

    more = invoke(*words, "--report", "--write-pts")
    assert more.status == 1
    assert is_own_page(tmp_path / "o" / "a.html")
    assert (tmp_path / "o" / "a.pts").is_file()
    index = (tmp_path / "o" / "index.html").read_text()
    assert index.index("bad.png") < index.index('href="a.html"')
    assert 'src="data:image/jpeg;base64,' in index
    assert str(tmp_path / "o" / "index.html") in more.err
    written = (tmp_path / "o" / "a.html").stat().st_mtime_ns
    assert invoke(*words, "--report").status == 1
    assert (tmp_path / "o" / "a.html").stat().st_mtime_ns == written


def test_a_url_is_refused_whole(tmp_path: Path) -> None:
    run = invoke("fit", "https://example.org/me.jpg", "-o", tmp_path / "o")
    assert run.status == 2
    assert "'https://example.org/me.jpg' is a URL" in run.err
    assert "download the file first" in run.err
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("me.mp4", VIDEO),
        ("named.jpg", VIDEO),
        ("me.avi", b"RIFF\1\2\3\4AVI LIST"),
        ("me.webm", b"\x1a\x45\xdf\xa3" * 4),
    ],
)
def test_videos_are_told_from_damaged_photos(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    run = invoke("fit", tmp_path / name, "-o", tmp_path / "o")
    assert run.status == 2
    assert "is a video. Videos are not fitted yet" in run.err
    assert "ffmpeg" in run.err


@pytest.mark.usefixtures("instant")
def test_fitted_landmarks_are_written_and_read_back(tmp_path: Path) -> None:
    run = invoke("fit", sample(), "-o", tmp_path, "--write-pts")
    assert run.status == 0, run.text
    points = read_landmarks(tmp_path / "sample.pts")
    assert np.abs(points - faceinv.load_result(tmp_path / "sample.npz").landmarks2d).max() < 1e-5
    first = (tmp_path / "sample.pts").read_text().splitlines()[3].split()
    assert float(first[0]) == pytest.approx(points[0, 0] + 1, abs=1e-5)
    assert json.loads((tmp_path / "sample.json").read_text())["files"]["landmarks"] == "sample.pts"
    assert invoke("fit", sample(), "-o", tmp_path, "--write-pts").status == 0  # its own file may be replaced


@pytest.mark.usefixtures("instant")
def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    shutil.copy(sample(), tmp_path / "me.jpg")
    for name, option in (("me.pts", "--write-pts"), ("me.html", "--report")):
        (tmp_path / name).write_text("mine")
        run = invoke("fit", tmp_path / "me.jpg", "-o", tmp_path, option)
        assert run.status == 2
        assert f"{name}' would replace a file that faceinv did not write" in run.err
        assert (tmp_path / name).read_text() == "mine"


def test_landmarks_are_not_written_where_the_next_run_would_take_them_for_given(tmp_path: Path) -> None:
    make_photos(tmp_path, ["a.png"], landmarks=False)
    run = invoke("fit", tmp_path, "-o", tmp_path, "--write-pts")
    assert run.status == 2
    assert "the next run would take them for given ones" in run.err


def test_what_a_killed_run_left_of_pages_is_removed(tmp_path: Path) -> None:
    for name in (".a.abcd1234.html", ".a.abcd1234.pts", ".b.abcd1234.html"):
        (tmp_path / name).touch()
    clean_leftovers(tmp_path, "a")
    assert [path.name for path in tmp_path.iterdir()] == [".b.abcd1234.html"]


def test_view_makes_a_page_once_and_opens_it(saved: Path, opened: list[str]) -> None:
    page = saved.with_suffix(".html")
    run = invoke("view", saved)
    assert run.status == 0, run.text
    assert run.out.strip() == str(page)
    assert opened == [page.as_uri()]
    text = page.read_text(encoding="utf-8")
    assert "<title>sample.jpg - faceinv</title>" in text
    assert 'id="picture-photo"' in text
    assert ">64 px</text>" in text  # the steps are in the file
    made = page.stat().st_mtime_ns
    for name in (saved.with_suffix(""), saved.with_suffix(".json"), page):
        assert invoke("view", name, "--no-browser").status == 0
    assert page.stat().st_mtime_ns == made
    assert len(opened) == 1
    os.utime(saved, ns=(made + 1, made + 1))  # fitted anew
    assert invoke("view", saved, "--no-browser").status == 0
    assert page.stat().st_mtime_ns != made


def test_view_without_the_photo_says_so(saved: Path, tmp_path: Path, opened: list[str]) -> None:
    saved.with_suffix(".json").unlink()
    run = invoke("view", saved, "-o", tmp_path / "x.html")
    assert "--photo IMAGE" in run.err
    assert "The photo was not at hand" in (tmp_path / "x.html").read_text(encoding="utf-8")
    assert opened == [(tmp_path / "x.html").as_uri()]
    shutil.copy(sample(), tmp_path / "elsewhere.jpg")
    run = invoke("view", saved, "-o", tmp_path / "x.html", "--photo", tmp_path / "elsewhere.jpg", "--no-browser")
    assert 'id="picture-photo"' in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_a_photo_of_another_size_is_not_taken_for_the_photo(saved: Path) -> None:
    saved.with_suffix(".json").unlink()
    Image.new("RGB", (40, 40)).save(saved.with_suffix(".jpg"))
    assert load_saved(find_saved(str(saved))).photo is None
    with pytest.raises(InputError, match="Give the same photo"):
        load_saved(find_saved(str(saved)), saved.with_suffix(".jpg"))
    shutil.copy(sample(), saved.with_suffix(".jpg"))
    assert load_saved(find_saved(str(saved))).photo is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("view", "missing"), "no result at"),
        (("view", "{folder}"), "has no index.html"),
        (("view", "{npz}", "-o", "x.pdf"), "should end in .html"),
        (("view", "{npz}", "-o", "{mine}"), "a page that faceinv did not write"),
        (("view", "https://example.org/a.npz"), "is a URL"),
        (("overlay", "missing"), "no result at"),
        (("overlay", "{npz}", "-o", "x.jpg"), "must end in .png"),
    ],
)
def test_what_cannot_be_shown(saved: Path, tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    (tmp_path / "mine.html").write_text("mine")
    names = {"folder": saved.parent, "npz": saved, "mine": tmp_path / "mine.html"}
    run = invoke(*(word.format(**names) for word in words))
    assert run.status == 2
    assert message in run.err
    assert (tmp_path / "mine.html").read_text() == "mine"


def test_an_overlay_of_a_saved_result(saved: Path, tmp_path: Path) -> None:
    assert invoke("overlay", saved, "-o", tmp_path / "x.png").out.strip() == str(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as shown:
        assert np.array_equal(np.asarray(shown), np.asarray(quick_fit().overlay()))
    saved.with_suffix(".json").unlink()
    run = invoke("overlay", saved)
    assert run.status == 2
    assert "--photo IMAGE" in run.err
    assert invoke("overlay", saved, "--photo", sample()).status == 0
    assert (saved.parent / "face_overlay.png").is_file()


def test_a_report_has_the_levels_of_the_fit_and_links_to_its_files(tmp_path: Path, kernels: None) -> None:
    (tmp_path / "c.toml").write_text(CONFIG_TOML)
    run = invoke("fit", sample(), "--config", tmp_path / "c.toml", "-o", tmp_path / "d", "--report")
    assert run.status == 0, run.text
    text = (tmp_path / "d" / "sample.html").read_text(encoding="utf-8")
    assert 'href="sample.glb"' in text
    assert ">64 px</text>" in text
