"""faceinv's own file: nothing is lost on the way through it, and how it is stored."""

from __future__ import annotations

import dataclasses
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from toy_head import model_of, toy, write_basel

from faceinv.face.arrays import all_finite
from faceinv.face.formats import load_model, save_npz_model
from faceinv.face.model import MorphableModel


def assert_same(first: MorphableModel, second: MorphableModel) -> None:
    """Bit for bit."""
    for field in dataclasses.fields(MorphableModel):
        one, other = getattr(first, field.name), getattr(second, field.name)
        if isinstance(one, np.ndarray):
            assert (one.dtype, one.shape) == (other.dtype, other.shape), field.name
            assert one.tobytes() == other.tobytes(), field.name
        else:
            assert one == other, field.name


def methods(path: Path) -> set[int]:
    with zipfile.ZipFile(path) as archive:
        return {member.compress_type for member in archive.infolist()}


@pytest.mark.parametrize("compress", [None, False, True])
def test_a_converted_basel_model_equals_the_original(tmp_path: Path, compress: bool | None) -> None:
    original = load_model(write_basel(tmp_path / "basel").folder)
    path = tmp_path / "own.npz"
    save_npz_model(original, path, compress=compress)
    again = load_model(path)
    assert_same(original, again)
    assert again.fingerprint == original.fingerprint
    assert methods(path) == {zipfile.ZIP_DEFLATED if compress else zipfile.ZIP_STORED}


def test_models_of_whole_meshes_are_stored_as_they_are_and_coarse_ones_deflated(tmp_path: Path) -> None:
    model = model_of(toy())
    save_npz_model(model, tmp_path / "whole.npz")
    save_npz_model(model, tmp_path / "coarse.npz", coarse={"mean": model.mean})
    assert methods(tmp_path / "whole.npz") == {zipfile.ZIP_STORED}
    assert methods(tmp_path / "coarse.npz") == {zipfile.ZIP_DEFLATED}


def test_the_default_model_comes_deflated() -> None:
    with resources.as_file(resources.files("faceinv") / "data" / "default_model.npz") as path:
        assert methods(path) == {zipfile.ZIP_DEFLATED}


def test_large_variables_are_mapped_and_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceinv.face.formats import _mat

    folder = write_basel(tmp_path).folder
    read = load_model(folder)
    monkeypatch.setattr(_mat, "_MAPPED", 1)
    assert_same(load_model(folder), read)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_finite(dtype: type[np.floating]) -> None:
    large: NDArray[np.floating] = np.full((3, 400, 5), np.finfo(dtype).max, dtype)
    assert all_finite(large), "whose sum is not"
    assert all_finite(large[:, ::2, 1:4])
    assert all_finite(np.zeros((0, 3), dtype))
    for bad in (np.nan, np.inf, -np.inf):
        for place in (0, 2999, 5999):
            small: NDArray[np.floating] = np.ones(6000, dtype)
            small[place] = bad
            assert not all_finite(small)
            assert not all_finite(small.reshape(20, 300).T)
    assert not all_finite(np.array([np.inf, -np.inf], dtype))


def test_whole_numbers_are_finite() -> None:
    assert all_finite(np.arange(5))
    assert all_finite(np.ones(5, bool))
