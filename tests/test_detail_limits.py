"""Fine detail of photos that are badly exposed, show next to nothing of the face, or are very large."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest
from problems import toy_model

from faceinv.backends.numpy_numba.detail import NumbaDetailSolver
from faceinv.detail import coarse, stage
from faceinv.detail.exposure import well_exposed
from faceinv.detail.record import DetailStatus
from faceinv.detail.stage import DetailJob, find_detail
from faceinv.face.camera import Camera
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem

SIZE = 180


def engine(problem: DetailProblem) -> AbstractDetailSolver:
    return NumbaDetailSolver(problem, "float32")


@cache
def job() -> DetailJob:
    """The toy face, with blotches of several colours."""
    model = toy_model()
    light = ambient(0.45)
    light[3] = 0.3
    face = Face.mean(model, Camera(SIZE / 220, np.eye(3), np.full(2, SIZE / 2)), light)
    scene = draw_faces(model, [face], (SIZE, SIZE))[0]
    phases = np.arange(SIZE)[:, None, None] * [0.5, 0.42, 0.7] + np.arange(SIZE)[None, :, None] * [0.4, 0.55, 0.3]
    linear = np.clip(scene.light * np.exp(0.08 * np.sin(phases)), 0, 1)
    return DetailJob(model, face, linear_to_srgb(linear).astype(np.float32))


def relief_of(photo: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> Detail:
    return find_detail(engine, [replace(job(), photo=photo, mask=mask)], "robust")[0]


def deepest(detail: Detail) -> float:
    return float(np.abs(detail.maps.displacement[detail.maps.mask]).max())


def test_the_picture_has_something_to_find() -> None:
    assert deepest(relief_of(job().photo)) > 0.02


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_a_channel_at_its_limit_tells_nothing(channel: int) -> None:
    """It is even where the others vary, and would turn relief inside out."""
    photo = job().photo.copy()
    photo[..., channel] = 1.0
    assert deepest(relief_of(photo)) == 0.0


def test_what_is_black_tells_nothing() -> None:
    """Its steps of one level are large shares of the light."""
    levels = np.rint(255 * linear_to_srgb(srgb_to_linear(job().photo) * np.float32(0.004))) / 255
    assert deepest(relief_of(levels.astype(np.float32))) == 0.0


def test_exposure_by_light() -> None:
    grey = np.array([0, 0.004, 0.0095, 0.015, 0.5, 0.985, 0.995], np.float32)
    shares = well_exposed(np.repeat(grey[:, None], 3, axis=1))
    np.testing.assert_allclose(shares, [0, 0, 0.5, 1, 1, 1, 0], atol=1e-5)
    assert well_exposed(np.array([[1.0, 0.5, 0.4]], np.float32))[0] == 0


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (3, 5)])
def test_a_few_pixels_are_nothing_seen(rows: int, columns: int) -> None:
    mask = np.zeros((SIZE, SIZE), np.bool_)
    mask[80 : 80 + rows, 70 : 70 + columns] = True
    detail = relief_of(job().photo, mask)
    assert detail.status is DetailStatus.NOTHING_SEEN
    assert not detail.mask.any()


def test_a_photo_of_one_pixel() -> None:
    one = replace(job(), face=replace(job().face, camera=job().face.camera.moved(1.0, (-90, -80))))
    detail = find_detail(engine, [replace(one, photo=job().photo[80:81, 90:91])], "robust")[0]
    assert detail.status is DetailStatus.NOTHING_SEEN
    assert detail.displacement.shape == (1, 1)


def test_large_faces_are_drawn_in_tiles_without_seams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "face_window", lambda low, high: coarse.face_window(low, high, 110))
    whole = relief_of(job().photo)
    assert whole.pixel > 1.3
    monkeypatch.setattr(stage, "_TILE", 37)
    monkeypatch.setattr(stage, "_ROWS", 7)
    tiled = relief_of(job().photo)
    assert tiled.window == whole.window
    np.testing.assert_array_equal(tiled.maps.mask, whole.maps.mask)
    assert deepest(whole) > 0.02
    for name in ("displacement", "normals", "coarse_normals"):
        np.testing.assert_allclose(getattr(tiled.maps, name), getattr(whole.maps, name), atol=2e-6, err_msg=name)
    np.testing.assert_allclose(tiled.maps.coarse_depth, whole.maps.coarse_depth, atol=1e-4)
