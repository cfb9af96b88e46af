"""The picture people judge a fit by."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from PIL import Image
from quick import quick_fit, sample

from faceinv import FitResult
from faceinv.errors import InputError
from faceinv.output.overlay import draw_overlay
from faceinv.photo.read import load_image

PANEL = 160
GAP = 10


def panels(picture: Image.Image) -> list[np.ndarray]:
    pixels = np.asarray(picture).astype(float) / 255
    return [pixels[GAP : GAP + PANEL, GAP + k * (PANEL + GAP) :][:, :PANEL] for k in range(5)]


def overlay_of(result: FitResult, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Image.Image:
    """The overlay of a result whose face lies elsewhere in its photo."""
    assert result.photo is not None
    face = dataclasses.replace(result.face, camera=result.camera.moved(zoom, shift))
    given, fitted = result.landmarks_target * zoom + shift, result.landmarks2d * zoom + shift
    return draw_overlay(result.model, face, result.photo, given, fitted, panel=PANEL)


@pytest.fixture(scope="module")
def drawn() -> list[np.ndarray]:
    return panels(overlay_of(quick_fit()))


def test_five_panels_and_captions() -> None:
    picture = quick_fit().overlay()
    assert picture.mode == "RGB"
    assert picture.width > 5 * 384
    assert picture.width > 4 * picture.height
    captions = np.asarray(picture.convert("L"))[-36:]
    assert (captions < 100).sum() > 200


def test_the_render_covers_the_face_and_leaves_the_rest(drawn: list[np.ndarray]) -> None:
    photo, _, over, _, _ = drawn
    changed = np.abs(over - photo).max(axis=2) > 0.02
    assert changed[PANEL // 2 - 20 : PANEL // 2 + 20, PANEL // 2 - 20 : PANEL // 2 + 20].mean() > 0.5
    assert not changed[:8].any()
    assert np.abs(over - photo).mean() < 0.1


def test_landmarks_are_drawn_where_they_are(drawn: list[np.ndarray]) -> None:
    photo, marked, *_ = drawn
    green = (marked[..., 1] > 0.6) & (marked[..., 1] - marked[..., 0] > 0.25) & (marked[..., 1] - marked[..., 2] > 0.25)
    red = (marked[..., 0] - marked[..., 1] > 0.4) & (marked[..., 0] - photo[..., 0] > 0.1)
    assert green.sum() > 68
    assert red.sum() > 68


def test_geometry_is_grey(drawn: list[np.ndarray]) -> None:
    geometry = drawn[3]
    assert np.ptp(geometry, axis=2).max() < 0.06
    middle = geometry[60:110, 60:100]
    assert middle.std() > 0.03
    assert middle.mean() < geometry[:10].mean()


def test_the_residual_is_small_where_render_and_photo_agree(drawn: list[np.ndarray]) -> None:
    photo, _, over, _, residual = drawn
    error = np.sqrt(((over - photo) ** 2).mean(axis=2))
    face = slice(60, 110)
    low, high = error[face, face] < 0.03, error[face, face] > 0.15
    brightness = residual[face, face].mean(axis=2)
    assert brightness[low].mean() < 0.3
    assert not high.any() or brightness[high].mean() > brightness[low].mean() + 0.2


def test_faces_at_the_edge_and_tiny_ones_can_be_drawn() -> None:
    result = quick_fit()
    for zoom, shift in ((1.0, (-200.0, -60.0)), (0.15, (0.0, 0.0)), (1.0, (5000.0, 0.0))):
        assert overlay_of(result, zoom, shift).size == overlay_of(result).size


def test_a_result_without_a_photo_asks_for_it() -> None:
    bare = dataclasses.replace(quick_fit(), photo=None)
    with pytest.raises(InputError, match="Give the photo"):
        bare.overlay()
    assert np.array_equal(np.asarray(bare.overlay(sample())), np.asarray(quick_fit().overlay()))
    with pytest.raises(InputError, match="Give the same photo"):
        bare.overlay(load_image(sample()).pixels[:300])
