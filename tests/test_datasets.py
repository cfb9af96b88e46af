"""The 300-W reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from faceinv.errors import InputError
from faceinv.photo.datasets import Dataset300W


def put(folder: Path, image: str | None, landmarks: str | None, count: int = 68) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if image:
        (folder / image).write_bytes(b"never opened")
    if landmarks:
        rows = "\n".join(f"{10 + k}.5 {20 + 2 * k}" for k in range(count))
        (folder / landmarks).write_text(f"version: 1\nn_points: {count}\n{{\n{rows}\n}}\n")


def test_competition_layout(tmp_path: Path) -> None:
    put(tmp_path / "300W" / "02_Outdoor", "outdoor_001.PNG", "outdoor_001.PTS")
    put(tmp_path / "300W" / "01_Indoor", "indoor_002.png", "indoor_002.pts")
    put(tmp_path / "300W" / "01_Indoor", "indoor_001.png", "indoor_001.pts")
    data = Dataset300W(tmp_path)
    photos = list(data)
    assert [(p.subset, p.image.name) for p in photos] == [
        ("indoor", "indoor_001.png"),
        ("indoor", "indoor_002.png"),
        ("outdoor", "outdoor_001.PNG"),
    ]
    assert photos[0].landmarks.shape == (68, 2)
    assert photos[0].landmarks[0] == pytest.approx([9.5, 19]), "files count from 1"
    assert data.skipped == ()
    assert "nothing was skipped" in data.report()
    assert [p.subset for p in Dataset300W(tmp_path, ["outdoor"])] == ["outdoor"]


def test_older_layout_and_subsets(tmp_path: Path) -> None:
    for folder in ("afw", "helen/trainset", "helen/testset", "lfpw/testset", "ibug"):
        put(tmp_path / folder, "a.jpg", "a.pts")
    data = Dataset300W(tmp_path)
    assert data.subsets == ("afw", "helen/testset", "helen/trainset", "ibug", "lfpw/testset")
    assert [p.subset for p in Dataset300W(tmp_path, ["Helen", "ibug"])] == ["helen/testset", "helen/trainset", "ibug"]
    with pytest.raises(InputError, match=r"no subset 'cofw'; it has afw, helen/testset"):
        Dataset300W(tmp_path, ["cofw"])


def test_what_cannot_be_used_is_skipped_and_said(tmp_path: Path) -> None:
    put(tmp_path / "afw", "good.JPG", "GOOD.Pts")
    put(tmp_path / "afw", "good.png", None)
    put(tmp_path / "afw", "alone.jpg", None)
    put(tmp_path / "afw", None, "orphan.pts")
    put(tmp_path / "afw", "short.jpg", "short.pts", count=51)
    put(tmp_path / "afw", "._good.jpg", None)
    (tmp_path / "afw" / "readme.txt").write_text("hello")
    data = Dataset300W(tmp_path)
    assert [p.image.name for p in data] == ["good.JPG"]
    assert {(s.path.name, s.kind) for s in data.skipped} == {
        ("good.png", "second photo of the same name"),
        ("alone.jpg", "no .pts file"),
        ("orphan.pts", "no photo"),
        ("short.pts", "unusable landmarks"),
    }
    assert any("51" in s.detail for s in data.skipped)
    report = data.report()
    assert "4 files skipped" in report
    assert "1 x no .pts file, such as" in report
    assert len(list(data)) == 1
    assert len(data.skipped) == 4, "not added up over iterations"


def test_landmarks_are_read_while_iterating(tmp_path: Path) -> None:
    put(tmp_path, "a.png", "a.pts")
    put(tmp_path, "b.png", "b.pts")
    photos = iter(Dataset300W(tmp_path))
    first = next(photos)
    assert first.subset == ""
    put(tmp_path, None, "b.pts", count=3)
    assert list(photos) == []
    assert np.isfinite(first.landmarks).all()


def test_folders_without_photos(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no photos"):
        Dataset300W(tmp_path)
    put(tmp_path, None, "a.pts")
    with pytest.raises(InputError, match="holds no photos"):
        Dataset300W(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        Dataset300W(tmp_path / "none")
    with pytest.raises(InputError, match="is no folder"):
        Dataset300W(tmp_path / "a.pts")
