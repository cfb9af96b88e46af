"""Names and texts of any kind in every sink: screen, table, JSON, errors; and pipes whose reader has gone."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from quick import quick_fit
from test_folder import TINY, make_photos

import faceinv
from faceinv.errors import InputError

BYTES = os.fsdecode(b"caf\xe9")
"""A name that is not UTF-8, as old archives and cameras leave."""
LETTERS = "лицо"
"""A name that many encodings do not have."""
ENCODINGS = {
    "cp1252": {"PYTHONIOENCODING": "cp1252"},
    "ascii": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "utf-8": {"PYTHONUTF8": "1"},
}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos of which two have names of those kinds, and `c.toml` beside their folder."""
    (tmp_path / "c.toml").write_text(TINY)
    make_photos(tmp_path / "photos", ["a.png"])
    try:
        for name in (BYTES, LETTERS):
            for suffix in (".png", ".pts"):
                shutil.copy(tmp_path / "photos" / f"a{suffix}", tmp_path / "photos" / f"{name}{suffix}")
    except OSError:
        pytest.skip("this file system has no such names")
    return tmp_path / "photos"


def command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "faceinv", *map(str, words)]


def environment(encoding: str) -> dict[str, str]:
    return {**{k: v for k, v in os.environ.items() if not k.startswith("PYTHONIO")}, **ENCODINGS[encoding]}


def run(encoding: str, *words: str | Path) -> tuple[int, str, str]:
    """Status, standard output and standard error of a process; both are valid in the encoding."""
    done = subprocess.run(command(*words), capture_output=True, timeout=120, check=False, env=environment(encoding))
    return done.returncode, done.stdout.decode(encoding), done.stderr.decode(encoding)


@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_a_folder_of_names(photos: Path, tmp_path: Path, encoding: str) -> None:
    words = ("fit", photos, "-o", tmp_path / "o", "--config", tmp_path / "c.toml", "--workers", "1")
    (photos / f"bad{BYTES}.png").write_text("no photo")
    status, out, err = run(encoding, *words)
    assert status == 1, err
    assert out.count("photometric RMSE") == 3
    assert "caf\\udce9.png: photometric RMSE" in out
    shown = LETTERS if encoding == "utf-8" else LETTERS.encode("ascii", "backslashreplace").decode()
    assert f"{shown}.png: photometric RMSE" in out
    assert "badcaf\\udce9.png" in err
    assert "Traceback" not in err
    with (tmp_path / "o" / "summary.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["image"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"a.png", "badcaf\\udce9.png", "caf\\udce9.png", f"{LETTERS}.png"}
    assert "badcaf\\udce9.png" in rows["badcaf\\udce9.png"]["error"]
    record = json.loads((tmp_path / "o" / f"{BYTES}.json").read_text(encoding="utf-8"))
    assert record["image"] == f"{BYTES}.png"  # JSON has escapes of its own, so the name comes back whole
    assert faceinv.load_result(tmp_path / "o" / f"{BYTES}.npz").image_size == (200, 200)
    status, out, err = run(encoding, *words)
    assert (status, out) == (1, "")
    assert "4 of 4 photos were finished" in err


def test_photos_by_name_where_only_ascii_can_be_shown(photos: Path, tmp_path: Path) -> None:
    given = [photos / f"{BYTES}.png", photos / f"missing{BYTES}.png", photos / f"{LETTERS}.png"]
    status, out, err = run("ascii", "fit", *given, "-o", tmp_path / "o", "--config", tmp_path / "c.toml")
    assert status == 1, err
    assert out.count("photometric RMSE") == 2
    assert err.count("missingcaf\\udce9.png") == 1  # the name is said once
    assert (tmp_path / "o" / f"{LETTERS}_overlay.png").is_file()


def test_a_reader_who_goes_ends_the_run_quietly(photos: Path, tmp_path: Path) -> None:
    """As `faceinv fit ... | head -1`: by name, and as a folder."""
    for given in (sorted(photos.glob("*.png")), [photos]):
        out = tmp_path / f"out of {len(given)}"
        words = command("fit", *given, "-o", out, "--config", tmp_path / "c.toml")
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert "a.png: photometric RMSE" in process.stdout.readline() or given == [photos]
            process.stdout.close()
            err = process.stderr.read()
        assert process.returncode == 141  # what a shell shows of any program that ends so
        assert "error" not in err
        assert "Traceback" not in err
        records = [json.loads(path.read_text()) for path in out.glob("*.json") if path.name != "faceinv-run.json"]
        assert records
        assert all(record["success"] for record in records)


def test_a_reader_who_goes_before_the_first_error(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command("fit", "missing.jpg", "also.jpg", "-o", tmp_path), stderr=write, check=False)
    os.close(write)
    assert done.returncode == 141


def test_a_closed_standard_output(tmp_path: Path) -> None:
    words = "import sys, os; os.close(1); sys.stdout = None; from faceinv.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", words, "engines"], stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0


def test_errors_can_be_written_anywhere() -> None:
    error = InputError(f"no photo at '{BYTES}.png'.")
    assert str(error) == "no photo at 'caf\\udce9.png'."
    assert str(error).encode("utf-8")
    assert str(InputError()) == ""


def test_exports_name_their_files_by_their_bytes(tmp_path: Path) -> None:
    path = tmp_path / f"{BYTES}.obj"
    try:
        quick_fit().export(path)
    except OSError:
        pytest.skip("this file system has no such names")
    assert b"mtllib caf\xe9.mtl" in path.read_bytes()
    assert b"map_Kd caf\xe9_texture.png" in (tmp_path / f"{BYTES}.mtl").read_bytes()


def test_a_model_whose_name_is_not_unicode(tmp_path: Path) -> None:
    from faceinv.face.formats import save_npz_model

    model: Any = tmp_path / f"{BYTES}.npz"
    save_npz_model(faceinv.load_model("default", face_only=True), model)
    config = faceinv.FitConfig(size=32, levels=1, iterations=1)
    photo: Any = quick_fit().photo
    result = faceinv.fit(photo, quick_fit().landmarks_target, model=model, config=config)
    result.save(tmp_path / "r.npz")
    assert faceinv.load_result(tmp_path / "r.npz").model_source == str(model)
