"""What one public call takes, its neighbours take, too; and what is refused says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from quick import quick_fit, sample

import faceinv
from faceinv.errors import ConfigError, InputError, ModelError, NoFaceError
from faceinv.face.formats import save_npz_model

TINY = {"size": 32, "levels": 1, "iterations": 1}


@pytest.fixture(scope="module")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in a file of its own."""
    path = tmp_path_factory.mktemp("model") / "small.npz"
    save_npz_model(faceinv.load_model("default", identity=4, expression=3, albedo=2, face_only=True), path)
    return path


def test_a_mapping_is_a_configuration() -> None:
    assert faceinv.Fitter(config=TINY).config == faceinv.FitConfig(size=32, levels=1, iterations=1)
    result = faceinv.fit(sample(), quick_fit().landmarks_target, config=TINY)
    assert len(result.history) == 1


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"sise": 32}, "unknown configuration key 'sise'; did you mean 'size'"),
        ({"size": "big"}, "'size' is 'big'"),
        ("fast.toml", "expected a FitConfig, a mapping of its fields, or None"),
        (7, "config is int 7"),
    ],
)
def test_other_configurations_are_refused(config: Any, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        faceinv.Fitter(config=config)
    assert words in str(refused.value)


def test_generators_make_a_batch() -> None:
    landmarks = quick_fit().landmarks_target

    def photos() -> Iterator[Any]:
        yield sample()
        yield np.zeros((64, 64, 3), np.uint8)

    fitter = faceinv.Fitter(config=TINY)
    first, second = fitter.fit_batch(photos())
    assert isinstance(first, faceinv.FitResult)
    assert isinstance(second, NoFaceError)
    assert str(second).startswith("item 1: ")
    for result in fitter.fit_batch((sample() for _ in range(2)), iter([landmarks, landmarks])):
        assert isinstance(result, faceinv.FitResult)


@pytest.mark.parametrize("landmarks", [[], [None, None]])
def test_batches_of_unequal_lengths_are_refused(landmarks: list[None]) -> None:
    with pytest.raises(InputError, match=r"1 images, \d landmark sets and 1 masks"):
        faceinv.Fitter(config=TINY).fit_batch([sample()], landmarks)


def test_an_item_that_is_no_photo_is_named() -> None:
    (error,) = faceinv.Fitter(config=TINY).fit_batch([3])  # type: ignore[list-item]
    assert isinstance(error, InputError)
    assert str(error).startswith("item 0: ")


def test_a_model_is_found_from_anywhere(tmp_path: Path, model_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(model_file.parent)
    result = faceinv.fit(sample(), quick_fit().landmarks_target, model=model_file.name, config=TINY)
    result.save(tmp_path / "r.npz")
    monkeypatch.chdir(tmp_path)
    again = faceinv.load_result("r.npz")
    assert os.path.isabs(again.model_source)
    assert again.model.fingerprint == result.model.fingerprint


def test_a_model_that_moved_is_given_by_path_or_loaded(tmp_path: Path, model_file: Path) -> None:
    moved = tmp_path / "before.npz"
    shutil.copy(model_file, moved)
    faceinv.fit(sample(), quick_fit().landmarks_target, model=moved, config=TINY).save(tmp_path / "r.npz")
    moved.unlink()
    with pytest.raises(ModelError, match="model="):
        faceinv.load_result(tmp_path / "r.npz")
    for model in (model_file, str(model_file), faceinv.load_model(model_file)):
        assert faceinv.load_result(tmp_path / "r.npz", model).model.name
    with pytest.raises(InputError, match="another"):
        faceinv.load_result(tmp_path / "r.npz", "default")
