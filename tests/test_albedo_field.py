"""The smooth albedo field: what it is, on a sheet whose Laplacian is known and on a face, and how results keep it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import sample
from small import few_modes, flat_scene

import faceinv
from faceinv.errors import InputError, ModelError
from faceinv.face.albedo_field import TINT_MODES, TONE_MODES, laplacian_modes, with_albedo_field
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.model import MorphableModel
from faceinv.fitting.extension import extended, field_amplitude


def sheet() -> MorphableModel:
    """A flat rectangle of 90 by 60 mm."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 90, 46), np.linspace(0, 60, 31)))
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(45), np.arange(30)))
    a = j * 46 + i
    both = np.concatenate([np.stack([a, a + 1, a + 47], axis=1), np.stack([a, a + 47, a + 46], axis=1)])
    return flat_scene(np.stack([x, y, np.zeros_like(x)], axis=1), both)


def face_vertices(model: MorphableModel) -> NDArray[np.int32]:
    return np.unique(model.triangles[model.face_mask])


def test_modes_of_a_rectangle_are_cosines() -> None:
    eigenvalues, modes = laplacian_modes(sheet(), 8)
    expected = sorted((np.pi * m / 90) ** 2 + (np.pi * n / 60) ** 2 for m in range(5) for n in range(5))[1:9]
    assert eigenvalues == pytest.approx(expected, rel=0.01)
    first = np.sqrt(2) * np.cos(np.pi * sheet().mean[:, 0] / 90)
    assert np.abs(modes[:, 0]) == pytest.approx(np.abs(first), abs=0.01)
    assert (modes**2).mean(axis=0) == pytest.approx(np.ones(8), abs=0.1)


def test_signs_follow_the_largest_value() -> None:
    _, modes = laplacian_modes(few_modes(), 12)
    assert (modes[np.abs(modes).argmax(axis=0), np.arange(12)] > 0).all()


def test_the_field_is_that_strong_and_in_those_colours() -> None:
    model = with_albedo_field(few_modes())
    assert model.field_count == TONE_MODES + TINT_MODES
    assert model.own_albedo_count == few_modes().albedo_count
    chosen = face_vertices(model)
    field = model.albedo_basis[chosen][:, :, model.own_albedo_count :] / model.mean_albedo[chosen][:, :, None]
    tone, tint = field[:, :, :TONE_MODES], field[:, :, TONE_MODES:]
    assert np.sqrt((tone**2).sum(axis=2)).mean() == pytest.approx(0.19, abs=0.03)
    assert np.sqrt((tint**2).sum(axis=2)).mean() == pytest.approx(0.042, abs=0.01)
    assert np.allclose(tone[:, 2], tone[:, 0] * 1.36 / 0.45, rtol=1e-4, atol=1e-6)  # blue varies the most
    assert np.allclose(tint[:, 2], tint[:, 0] * -0.73 / 1.5, rtol=1e-4, atol=1e-6)  # red against blue


def test_the_field_is_the_same_at_every_call_and_can_be_taken_away() -> None:
    once, twice = with_albedo_field(few_modes()), with_albedo_field(few_modes())
    assert np.array_equal(once.albedo_basis, twice.albedo_basis)
    assert np.array_equal(with_albedo_field(once).albedo_basis, once.albedo_basis)
    bare = with_albedo_field(once, 0.0)
    assert np.array_equal(bare.albedo_basis, few_modes().albedo_basis)
    assert bare.field_count == 0
    assert with_albedo_field(few_modes(), 0.0) is few_modes()


def test_amplitude_multiplies_the_field() -> None:
    own = few_modes().albedo_count
    once, half = (with_albedo_field(few_modes(), amplitude).albedo_basis[:, :, own:] for amplitude in (1.0, 0.5))
    assert np.allclose(half, once / 2, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("amplitude", [-1.0, float("nan"), float("inf")])
def test_an_amplitude_that_cannot_be_is_an_error(amplitude: float) -> None:
    with pytest.raises(ModelError, match="amplitude"):
        with_albedo_field(few_modes(), amplitude)


def test_a_face_of_few_vertices_cannot_have_a_field() -> None:
    scene = flat_scene(np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(ModelError, match="3 vertices of the face mask are too few"):
        with_albedo_field(scene)


def test_fewer_albedo_modes_cut_the_field_first() -> None:
    model = with_albedo_field(few_modes())
    own = few_modes().albedo_count
    assert model.truncated(albedo=own + 5).field_count == 5
    assert model.truncated(albedo=own - 1).field_count == 0
    assert model.fingerprint == few_modes().fingerprint


def test_files_hold_the_own_albedo_only(tmp_path: Path) -> None:
    save_npz_model(with_albedo_field(few_modes()), tmp_path / "model.npz")
    assert np.array_equal(load_npz_model(tmp_path / "model.npz").albedo_basis, few_modes().albedo_basis)


def test_models_with_a_rich_albedo_get_none_unless_asked() -> None:
    rich = replace(few_modes(), albedo_basis=np.zeros((few_modes().vertex_count, 3, 40), np.float32))
    assert field_amplitude(few_modes(), "auto") == 1.0
    assert field_amplitude(rich, "auto") == 0.0
    assert field_amplitude(rich, 0.7) == 0.7


def test_a_model_is_extended_once() -> None:
    model = extended(few_modes(), 1.0, True)
    assert extended(few_modes(), 1.0, True) is model
    assert model.occlusion is not None
    bare = replace(few_modes(), occlusion=None)
    assert extended(bare, 0.0, False) is bare
    assert extended(model, 0.0, False).occlusion is None


@pytest.fixture(scope="module")
def result() -> faceinv.FitResult:
    """The packaged photo with a field of half the strength."""
    config = faceinv.FitConfig(size=64, levels=1, iterations=3, albedo_field=0.5)
    return faceinv.Fitter(few_modes(), config=config).fit(sample())


def test_results_tell_own_albedo_and_field_apart(result: faceinv.FitResult) -> None:
    assert result.albedo_field == 0.5
    assert result.albedo_coefficients.shape == (few_modes().albedo_count,)
    assert result.albedo_field_coefficients.shape == (TONE_MODES + TINT_MODES,)
    assert np.abs(result.albedo_field_coefficients).max() > 0.1


def test_a_saved_result_is_the_same_face_again(result: faceinv.FitResult, tmp_path: Path) -> None:
    path = tmp_path / "face.npz"
    result.save(path)
    again = faceinv.load_result(path, model=few_modes())
    assert again.albedo_field == 0.5
    assert np.array_equal(again.vertex_albedo, result.vertex_albedo)
    assert np.array_equal(again.render(), result.render())


def test_a_result_without_its_field_is_damaged(result: faceinv.FitResult, tmp_path: Path) -> None:
    path = tmp_path / "face.npz"
    result.save(path)
    with np.load(path) as stored:
        fields = {key: stored[key] for key in stored.files if key != "albedo_field_coefficients"}
    np.savez(path, **fields)
    with pytest.raises(InputError, match="albedo_field_coefficients"):
        faceinv.load_result(path, model=few_modes())
