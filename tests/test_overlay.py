"""The picture people judge a fit by."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import assert_pictured
from PIL import Image
from quick import quick_fit, sample
from small import few_modes

from faceinv import FitResult
from faceinv.engine.registry import build_engine
from faceinv.errors import InputError
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.output.overlay import draw_overlay
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.crop import FaceCrop
from faceinv.photo.read import load_image
from faceinv.render import scene as scene_module
from faceinv.render.scene import render_face

PANEL = 160
GAP = 10


@dataclass(frozen=True)
class Scene:
    """A known face in a photo that it was drawn into, with landmarks beside the model's."""

    face: Face
    photo: NDArray[np.float32]
    given: NDArray[np.float64]
    fitted: NDArray[np.float64]

    def overlay(self) -> Image.Image:
        return draw_overlay(few_modes(), self.face, self.photo, self.given, self.fitted, panel=PANEL)


@pytest.fixture(scope="module")
def scene() -> Scene:
    camera = Camera(0.9, rotation_from_euler(0.05, 0.3, -0.1), np.array([130.0, 120.0]))
    light = ambient(0.7)
    light[2], light[3] = 0.5, 0.3
    face = Face.mean(few_modes(), camera, light)
    render = render_face(few_modes(), face, (240, 260))
    photo = np.where(render[..., 3:] > 0, linear_to_srgb(np.clip(render[..., :3], 0, 1)), np.float32(0.35))
    photo[150:170, 110:130] += np.float32(0.2)  # a pale spot that the render does not explain
    fitted = camera.project(few_modes().landmarks(few_modes().mean))[:, :2]
    return Scene(face, np.clip(photo, 0, 1), fitted + np.array([3.0, -4.0]), fitted)


def panels(picture: Image.Image) -> list[np.ndarray]:
    pixels = np.asarray(picture).astype(float) / 255
    return [pixels[GAP : GAP + PANEL, GAP + k * (PANEL + GAP) :][:, :PANEL] for k in range(5)]


def test_the_overlay_looks_as_it_did(scene: Scene, pytestconfig: pytest.Config) -> None:
    assert_pictured(pytestconfig, "overlay", scene.overlay())


def test_landmarks_are_drawn_where_they_are(scene: Scene) -> None:
    photo, marked, *_ = panels(scene.overlay())
    crop = FaceCrop.around(scene.given, 1.6, PANEL)
    for points, colour in ((scene.given, (70, 230, 110)), (scene.fitted, (255, 60, 70))):
        near = 0
        for x, y in crop.to_crop(points):
            part = marked[max(0, round(y) - 4) : round(y) + 5, max(0, round(x) - 4) : round(x) + 5]
            near += bool((np.abs(part - np.array(colour) / 255).max(axis=2) < 0.25).any())
        assert near >= 50  # the legend covers some, and marks cover marks
    # Above them nothing is drawn; making the picture larger and smaller again changes the head's edge a little.
    assert np.abs(marked - photo).max(axis=2)[:6].max() < 0.02


def test_render_and_residual_follow_the_photo(scene: Scene) -> None:
    photo, _, over, _, residual = panels(scene.overlay())
    crop = FaceCrop.around(scene.given, 1.6, PANEL)
    (left, top), (right, bottom) = crop.to_crop(np.array([[113.0, 153.0], [127.0, 167.0]])).round().astype(int)
    spot = np.zeros((PANEL, PANEL), np.bool_)
    spot[top:bottom, left:right] = True
    assert np.abs(over - photo)[spot].mean() == pytest.approx(0.2, abs=0.03)
    assert residual[spot].mean() > residual[~spot].mean() + 0.2
    middle = ~spot
    middle[:40], middle[-40:], middle[:, :40], middle[:, -40:] = False, False, False, False
    assert np.median(np.abs(over - photo)[middle]) < 0.01


def overlay_of(result: FitResult, zoom: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> Image.Image:
    """The overlay of a result whose face lies elsewhere in its photo."""
    assert result.photo is not None
    face = dataclasses.replace(result.face, camera=result.camera.moved(zoom, shift))
    given, fitted = result.landmarks_target * zoom + shift, result.landmarks2d * zoom + shift
    return draw_overlay(result.model, face, result.photo, given, fitted, panel=PANEL)


def test_drawing_builds_one_engine_for_a_model(monkeypatch: pytest.MonkeyPatch) -> None:
    model, built = few_modes().truncated(2, 2, 1), []

    def counted(*given: Any) -> Any:
        built.append(given)
        return build_engine(*given)

    monkeypatch.setattr(scene_module, "build_engine", counted)
    face = Face.mean(model, Camera(0.3, np.eye(3), np.array([32.0, 32.0])), ambient())
    pictures = [render_face(model, face, (64, 64)) for _ in range(3)]
    assert len(built) == 1
    assert np.array_equal(pictures[0], pictures[2])
    render_face(model, face, (64, 64), "flat")
    assert len(built) == 2


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
