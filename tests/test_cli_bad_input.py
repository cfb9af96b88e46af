"""Every bad input: a message that says what was given and what to do, the exit status, and no traceback."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from calls import Run, invoke
from PIL import Image
from quick import quick_fit, sample

from faceinv.photo.pts import write_pts

pytestmark = pytest.mark.usefixtures("kernels")


def refused(run: Run, *words: str) -> None:
    assert run.status == 2, run.text
    assert run.out == ""
    assert run.err.startswith("error: ")
    assert "Traceback" not in run.err
    for word in words:
        assert word in run.err, run.err


def huge_png(path: Path) -> Path:
    """A few bytes that claim to be 60,000 x 60,000 px."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def missing(folder: Path) -> Path:
    return folder / "missing.jpg"


def not_an_image(folder: Path) -> Path:
    (folder / "text.jpg").write_text("no photo at all")
    return folder / "text.jpg"


def truncated(folder: Path) -> Path:
    (folder / "cut.jpg").write_bytes(sample().read_bytes()[:20_000])
    return folder / "cut.jpg"


def bomb(folder: Path) -> Path:
    return huge_png(folder / "bomb.png")


def tiny(folder: Path) -> Path:
    Image.new("RGB", (1, 1)).save(folder / "tiny.png")
    return folder / "tiny.png"


def faceless(folder: Path) -> Path:
    Image.new("RGB", (200, 200), (90, 140, 90)).save(folder / "lawn.png")
    return folder / "lawn.png"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ("no photo at", "Check the path")),
        (not_an_image, ("is not an image", "Give a JPEG")),
        (truncated, ("damaged or cut short", "download it again")),
        (bomb, ("pixels", "Shrink it first")),
        (tiny, ("1 x 1 px", "at least 16 px")),
        (faceless, ("no face was found", "68 landmarks")),
    ],
)
def test_photos(tmp_path: Path, make: Callable[[Path], Path], words: tuple[str, ...]) -> None:
    photo = make(tmp_path)
    refused(invoke("fit", photo, "-o", tmp_path / "o"), photo.name, *words)
    assert not list((tmp_path / "o").iterdir())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, ("no landmark file", "Check the path")),
        ("version: 1\nn_points: 5\n{\n1 2\n}\n", ("68",)),
        ("hello", ("a.pts",)),
        ("far", ("landmark",)),
    ],
)
def test_landmarks(tmp_path: Path, text: str | None, words: tuple[str, ...]) -> None:
    path = tmp_path / "a.pts"
    if text == "far":
        write_pts(path, quick_fit().landmarks_target + 5000)
    elif text is not None:
        path.write_text(text)
    refused(invoke("fit", sample(), "--landmarks", path, "-o", tmp_path / "o"), *words)
    assert not list(tmp_path.glob("o/*"))


def test_a_mask_of_another_size(tmp_path: Path) -> None:
    Image.new("L", (100, 80), 255).save(tmp_path / "m.png")
    run = invoke("fit", sample(), "--mask", tmp_path / "m.png", "-o", tmp_path / "o")
    refused(run, "100 x 80 px", "512 x 512 px", "Give a mask")


@pytest.mark.parametrize("content", [None, b"not a model", b"PK\x03\x04 cut"])
def test_models(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.npz"
    if content is not None:
        path.write_bytes(content)
    refused(invoke("fit", sample(), "--model", path, "-o", tmp_path / "o"), "model.npz")
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--backend", "jax"), ("unknown engine 'jax'", "numpy")),
        (("--backend", "numpy:gpu"), ("numpy", "gpu")),
        (("--backend", "numpy:float16"), ("float16", "float32")),
        (("--backend", "numpy::"), ("malformed",)),
        (("--size", "7"), ("'size' is 7", "32")),
        (("--config", "{tmp}/no.toml"), ("no.toml",)),
        (("--config", "{tmp}/key.toml"), ("'sise'", "did you mean 'size'")),
        (("--config", "{tmp}/syntax.toml"), ("not valid TOML",)),
        (("--config", "{tmp}/range.toml"), ("'levels' is 99",)),
        (("{tmp}",), ("is a folder", "given alone")),
        (("other.jpg", "--landmarks", "a.pts"), ("--landmarks belongs to one photo",)),
        (("other.jpg", "--mask", "m.png"), ("--mask belongs to one photo",)),
        (("--landmarks", "a.pts", "--face", "all"), ("--face all",)),
    ],
)
def test_options(tmp_path: Path, words: tuple[str, ...], expected: tuple[str, ...]) -> None:
    (tmp_path / "key.toml").write_text("sise = 100\n")
    (tmp_path / "syntax.toml").write_text("size = = 1\n")
    (tmp_path / "range.toml").write_text("levels = 99\n")
    out = tmp_path / "o"
    refused(invoke("fit", sample(), "-o", out, *(word.format(tmp=tmp_path) for word in words)), *expected)
    assert not out.exists()


@pytest.mark.parametrize("words", [("--texture", "skin"), ("--face", "some"), ("--size", "wide"), ("--colour", "x")])
def test_options_that_typer_refuses(tmp_path: Path, words: tuple[str, ...]) -> None:
    run = invoke("fit", sample(), "-o", tmp_path / "o", *words)
    assert run.status == 2
    assert words[0] in run.err
    assert invoke("fit").status == 2
    assert not (tmp_path / "o").exists()


def test_an_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "o").write_text("mine")
    refused(invoke("fit", sample(), "-o", tmp_path / "o"), "cannot write", "Choose a folder")
    refused(invoke("demo", "-o", tmp_path / "o" / "deeper"), "cannot write", "Choose a folder")
    assert (tmp_path / "o").read_text() == "mine"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_an_output_folder_without_permission(tmp_path: Path) -> None:
    (tmp_path / "o").mkdir(mode=0o500)
    refused(invoke("fit", sample(), "-o", tmp_path / "o"), "Permission denied", "Choose a folder")


def test_outputs_do_not_replace_inputs(tmp_path: Path) -> None:
    pixels = np.asarray(Image.open(sample()))
    for name in ("x.png", "x_overlay.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    before = (tmp_path / "x_overlay.png").read_bytes()
    refused(invoke("fit", tmp_path / "x.png", tmp_path / "x_overlay.png", "-o", tmp_path), "would replace an input")
    assert (tmp_path / "x_overlay.png").read_bytes() == before


def test_several_photos_of_which_none_can_be_used(tmp_path: Path) -> None:
    run = invoke("fit", missing(tmp_path), tiny(tmp_path), "-o", tmp_path / "o")
    assert run.status == 2
    assert "2 of 2 photos failed" in run.err


@pytest.mark.parametrize("words", [("--landmarks", "a.pts"), ("--mask", "m.png"), ("--face", "all")])
def test_folders_take_no_landmarks_or_masks(tmp_path: Path, words: tuple[str, ...]) -> None:
    refused(invoke("fit", tmp_path, "-o", tmp_path / "o", *words), "beside its photos")


def test_a_folder_without_photos(tmp_path: Path) -> None:
    refused(invoke("fit", tmp_path, "-o", tmp_path / "o"), "holds no photos", ".jpg")


def test_no_traceback_in_a_real_process(tmp_path: Path) -> None:
    program = "from faceinv.cli import main; main()"
    command = [sys.executable, "-c", program, "fit", str(truncated(tmp_path)), "-o", str(tmp_path / "o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr
