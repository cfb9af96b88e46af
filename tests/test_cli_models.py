"""`faceinv models`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from faceinv.cli.models import models_app
from faceinv.errors import FaceinvError, InputError, ModelError
from faceinv.face.formats import load_model


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(models_app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_info() -> None:
    text = run("info", "default", "--identity", "7")
    model = load_model("default")
    assert f"{model.vertex_count:,} vertices" in text
    assert "7 modes" in text
    assert "mm RMS per standard deviation" in text
    assert "MB" in text
    assert model.licence in text


def test_convert_round_trip(tmp_path: Path) -> None:
    text = run("convert", "default", tmp_path / "new" / "face.npz", "--face-only", "--expression", "5", "--albedo", "2")
    assert "5 modes" in text
    expected = load_model("default", expression=5, albedo=2, face_only=True)
    again = load_model(tmp_path / "new" / "face.npz")
    assert again.fingerprint == expected.fingerprint
    assert np.array_equal(again.jaw_band, expected.jaw_band)
    assert again.expression_names == expected.expression_names


def test_convert_to_half(tmp_path: Path) -> None:
    run("convert", "default", tmp_path / "a.npz", "--face-only")
    run("convert", "default", tmp_path / "b.npz", "--face-only", "--half")
    assert (tmp_path / "b.npz").stat().st_size < 0.7 * (tmp_path / "a.npz").stat().st_size
    whole, half = load_model(tmp_path / "a.npz"), load_model(tmp_path / "b.npz")
    assert np.abs(whole.identity_basis - half.identity_basis).max() < 1e-3 * np.abs(whole.identity_basis).max()


def test_render(tmp_path: Path) -> None:
    run("render", "default", "-o", tmp_path / "sheet.png", "--size", "64", "--face-only")
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.width == 4 * 64


@pytest.mark.parametrize("words", [("convert", "default", "{file}.npz"), ("render", "default", "-o", "{file}.png")])
def test_files_are_replaced_only_when_told(tmp_path: Path, words: tuple[str, ...]) -> None:
    words = tuple(word.format(file=tmp_path / "a") for word in words)
    path = Path(words[-1])
    path.write_text("mine")
    with pytest.raises(InputError, match=r"is there already\. Give --overwrite"):
        run(*words, "--face-only")
    assert path.read_text() == "mine"
    run(*words, "--face-only", "--overwrite")
    assert path.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("info", "missing.npz"), ModelError),
        (("info", "default", "--identity", "9999"), ModelError),
        (("convert", "default", "{tmp}"), InputError),
        (("convert", "missing.h5", "{tmp}/a.npz"), ModelError),
    ],
)
def test_errors_leave_nothing_half_written(tmp_path: Path, words: tuple[str, ...], kind: type[FaceinvError]) -> None:
    with pytest.raises(kind):
        run(*(word.format(tmp=tmp_path) for word in words))
    assert list(tmp_path.iterdir()) == []
