"""Whatever cannot be fitted is refused with a message that says what was given; nothing else escapes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quick import sample
from small import few_modes

import faceinv
from faceinv import BackendError, ConfigError, FaceinvError, FitConfig, Fitter, InputError, ModelError, NoFaceError
from faceinv.photo.read import load_image

TINY = FitConfig(size=32, levels=1, iterations=1)


@pytest.fixture(scope="module")
def fitter() -> Fitter:
    return Fitter(few_modes(), config=TINY)


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return load_image(sample()).pixels


@pytest.fixture(scope="module")
def landmarks(fitter: Fitter, photo: np.ndarray) -> np.ndarray:
    return fitter.fit(photo).landmarks_target


GREY = np.full((80, 80, 3), 128, np.uint8)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nowhere.jpg", "nowhere.jpg"),
        (Path(__file__), "test_fit_bad_input.py"),
        (Path(__file__).parent, "is a folder"),
        (None, "NoneType"),
        (3, "int"),
        (np.zeros((0, 0, 3), np.uint8), "image array"),
        (np.zeros((100, 100, 7), np.uint8), "shape (100, 100, 7)"),
        (np.full((64, 64, 3), np.nan), "NaN"),
        (np.full((64, 64, 3), 255.0), "255"),
        (np.zeros((3, 3, 3), np.uint8), "3 x 3 px"),
        (np.zeros((64, 64, 3), complex), "complex128"),
        (np.full((64, 64, 3), None), "image array"),
    ],
)
def test_images(fitter: Fitter, image: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        fitter.fit(image)
    assert message in str(caught.value)


def test_a_photo_without_a_face(fitter: Fitter) -> None:
    for call in (fitter.fit, fitter.fit_faces):
        with pytest.raises(
            NoFaceError,
            match=r"no face was found in 'image'.*60 degrees.*18 px from brows to chin.*80 x 80 px.*68 landmarks",
        ):
            call(GREY)


def face(n: int = 68) -> np.ndarray:
    return np.random.default_rng(0).uniform(20, 60, (n, 2))


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (face(67), "67"),
        (face(5), "5"),
        (np.zeros((68, 3)), "(68, 3)"),
        (np.zeros((68, 2)), "span only 0"),
        (face() / 100, "fractions"),
        (face() + 1000, "outside of the photo"),
        (np.repeat(np.linspace(20, 60, 68)[:, None], 2, axis=1), "on one line"),
        (np.where(np.arange(136).reshape(68, 2) == 7, np.nan, face()), "NaN"),
        (np.full((68, 2), np.inf), "inf"),
        ("nowhere.pts", "nowhere.pts"),
        ([["a", "b"]] * 68, "landmarks"),
        (7, "landmarks"),
    ],
)
def test_landmarks(fitter: Fitter, points: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        fitter.fit(GREY, points)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((10, 10), bool), "10 x 10"),
        (np.zeros((80, 80), bool), "leaves out every pixel"),
        (np.full((80, 80), np.nan), "NaN"),
        (np.ones((80, 80, 3, 2)), "shape"),
        ("nowhere.png", "nowhere.png"),
        (5, "int"),
    ],
)
def test_masks(fitter: Fitter, mask: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        fitter.fit(GREY, face(), mask=mask)
    assert message in str(caught.value)


def test_a_mask_without_the_face_still_gives_a_face(fitter: Fitter, photo: np.ndarray, landmarks: np.ndarray) -> None:
    """Landmarks and priors remain; no colour is compared."""
    mask = np.zeros(photo.shape[:2], np.bool_)
    mask[-5:, -5:] = True
    found = fitter.fit(photo, landmarks, mask=mask)
    assert found.cost_photometric == 0
    assert np.isfinite(found.vertices).all()
    assert np.isnan(found.photometric_rmse)
    assert np.isfinite(found.vertex_std()).all()
    assert [warning.split(":")[0] for warning in found.warnings] == ["mask beside the face"]


def test_landmarks_that_cannot_be_this_face_leave_a_warning(
    fitter: Fitter, photo: np.ndarray, landmarks: np.ndarray
) -> None:
    assert fitter.fit(photo, landmarks).warnings == ()
    assert fitter.fit(photo).warnings == ()
    with_a_warning = fitter.fit(photo, landmarks / 2)
    assert [warning.split(":")[0] for warning in with_a_warning.warnings] == ["landmarks of another size"]


def test_other_faces_than_the_largest_are_counted(fitter: Fitter, photo: np.ndarray) -> None:
    two = np.concatenate([photo, photo[:, ::-1]], axis=1)
    (warning,) = fitter.fit(two).warnings
    assert warning.startswith("several faces: 2 faces were found; the largest is fitted.")
    results = fitter.fit_faces(two)
    assert len(results) == 2
    assert all(result.warnings == () for result in results)


@pytest.mark.parametrize("value", [0, 255])
def test_a_photo_of_one_colour_with_landmarks_can_be_fitted(fitter: Fitter, landmarks: np.ndarray, value: int) -> None:
    found = fitter.fit(np.full((512, 512, 3), value, np.uint8), landmarks)
    assert found.status.success
    assert np.isfinite(found.vertices).all()
    assert np.isfinite(found.lighting).all()


@given(seed=st.integers(0, 10**6), spread=st.sampled_from([3.0, 40.0, 400.0]))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_any_68_points_are_refused_or_fitted(fitter: Fitter, seed: int, spread: float) -> None:
    points = 40 + spread * np.random.default_rng(seed).normal(size=(68, 2))
    image = np.random.default_rng(seed).integers(0, 255, (80, 80, 3), np.uint8)
    try:
        found = fitter.fit(image, points)
    except InputError:
        return
    assert np.isfinite(found.vertices).all()
    assert np.isfinite(found.image_xy).all()


def test_lists_of_different_lengths(fitter: Fitter) -> None:
    for images, points, masks in (([], None, None), ([GREY], [None, None], None), ([GREY] * 2, None, [None])):
        with pytest.raises(InputError, match="expected as many of each"):
            fitter.fit_batch(images, points, masks=masks)


def test_one_bad_photo_of_a_batch_is_named_and_costs_no_other(fitter: Fitter, photo: np.ndarray) -> None:
    first, second, third = fitter.fit_batch(iter((photo, "nowhere.jpg", photo)), iter([face(), None, face()]))
    assert isinstance(second, InputError)
    assert str(second).startswith("item 1: ")
    assert "nowhere.jpg" in str(second)
    alone = fitter.fit(photo, face())
    for result in (first, third):
        assert isinstance(result, faceinv.FitResult)
        assert np.array_equal(result.vertices, alone.vertices)


@pytest.mark.parametrize("backend", ["", "nympy", "numpy:", "numpy:float16", "numpy:float32:cpu", 3, None])
def test_backends(backend: Any) -> None:
    with pytest.raises(BackendError):
        faceinv.fit(GREY, face(), model=few_modes(), backend=backend, config=TINY)


def test_a_device_the_engine_does_not_have() -> None:
    with pytest.raises(BackendError, match="cuda"):
        faceinv.fit(GREY, face(), model=few_modes(), backend="numpy:cuda:0", config=TINY)


@pytest.mark.parametrize("model", ["nowhere.npz", Path(__file__), Path(__file__).parent])
def test_models(model: Any) -> None:
    with pytest.raises(ModelError):
        faceinv.fit(GREY, face(), model=model, config=TINY)


def test_settings_are_checked_before_the_photo() -> None:
    with pytest.raises(ConfigError, match="'size' is 8"):
        faceinv.fit("nowhere.jpg", config=FitConfig(size=8))


def test_every_error_is_one_of_ours() -> None:
    for kind in (BackendError, ConfigError, InputError, ModelError, NoFaceError):
        assert issubclass(kind, FaceinvError)
    assert issubclass(NoFaceError, InputError)
    assert issubclass(InputError, ValueError)
