"""Eye colours from photos: of rendered people, whose eyes are known."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import quick_fit
from toy_head import model_of, toy

from faceinv.face.eyes import eyeballs_of
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face
from faceinv.photo.color import linear_to_srgb
from faceinv.render.atlas import atlas_of
from faceinv.render.eye_colour import EyeColours, albedo_with_eyes, eye_colours, with_eye_colours
from faceinv.render.inner_parts import with_painted_parts
from faceinv.render.scene import render_face
from faceinv.render.texture import vertex_colours

SIZE = (150, 420)
LIGHT = ambient(0.9)
LIGHT[2] += 0.35  # from the camera
LIGHT[3] -= 0.12  # and a little from one side
LIGHT[:, 2] *= 0.8  # yellowish


@cache
def model() -> MorphableModel:
    return quick_fit().model


def person(zoom: float = 1.0, **units: float) -> Face:
    """The mean face in front of the eyes' picture."""
    face = Face.mean(model(), quick_fit().camera, LIGHT).with_units(model(), **units)
    marks = face.camera.project(model().landmarks(model().mean))[36:48, :2]
    scale = zoom * 300 / np.ptp(marks[:, 0])
    return dataclasses.replace(face, camera=face.camera.moved(scale, [210, 75] - scale * marks.mean(axis=0)))


def photo(face: Face, iris: NDArray[np.float64], sclera: float = 0.6) -> NDArray[np.float32]:
    """What a camera sees of a face with such eyes."""
    painted = EyeColours(iris, np.full(3, sclera), (0.0, 0.0), 1.0, 1)
    albedo = with_eye_colours(model(), model().mean_albedo.astype(np.float64), painted)
    coloured = dataclasses.replace(model(), mean_albedo=albedo.astype(np.float32))
    return linear_to_srgb(np.clip(render_face(coloured, face, SIZE)[..., :3], 0, 1)).astype(np.float32)


BLUE, GREEN, DARK = np.array([0.10, 0.15, 0.24]), np.array([0.12, 0.15, 0.06]), np.array([0.045, 0.022, 0.012])


def test_the_models_own_eyes_are_found() -> None:
    left, right = eyeballs_of(model())
    assert (left.part, right.part) == ("left_eye", "right_eye")
    for eye in (left, right):
        assert eye.gaze[2] > 0.99
        assert 5 < eye.pupil < 9 < 19 < eye.iris < 24
        assert eye.own.sum() == model().part(eye.part).sum()
    assert np.allclose(left.gaze, right.gaze * [-1, 1, 1], atol=1e-3)


@pytest.mark.parametrize("iris", [BLUE, GREEN, DARK], ids=["blue", "green", "dark"])
def test_the_colour_of_an_iris_is_found(iris: NDArray[np.float64]) -> None:
    face = person()
    found = eye_colours(model(), face, photo(face, iris))
    assert found is not None
    assert np.abs(np.log(found.iris / iris)).max() < 0.25
    assert found.pixels > 200
    assert np.abs(np.degrees(found.gaze)).max() <= 8


def test_eyes_that_look_aside_have_the_same_colour() -> None:
    looking = person(eyeLookOutLeft=0.7, eyeLookInRight=0.7)
    found = eye_colours(model(), person(), photo(looking, BLUE))
    assert found is not None
    assert np.abs(np.log(found.iris / BLUE)).max() < 0.3
    assert 12 <= np.degrees(found.gaze[0]) <= 24  # towards the subject's left, the image's right


def test_glints_and_shade_do_not_change_it() -> None:
    face = person()
    seen = photo(face, GREEN)
    for eye in eyeballs_of(model()):
        x, y = face.camera.project(model().mean[eye.vertices])[:, :2][np.argmin(eye.angle)].round().astype(int)
        seen[y - 6 : y - 1, x - 6 : x - 1] = 1.0
    found = eye_colours(model(), face, np.clip(seen * 0.8, 0, 1).astype(np.float32))  # .6 of the light, too
    assert found is not None
    assert np.abs(np.log(found.iris / GREEN)).max() < 0.4


def test_a_darker_sclera_is_followed_in_part() -> None:
    face = person()
    bright, dull = (eye_colours(model(), face, photo(face, BLUE, sclera)) for sclera in (0.6, 0.35))
    assert bright is not None
    assert dull is not None
    assert 0.6 < dull.sclera.mean() / bright.sclera.mean() < 0.9


def test_closed_eyes_say_nothing() -> None:
    closed = person(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    assert eye_colours(model(), closed, photo(closed, BLUE)) is None
    assert eye_colours(model(), person(), photo(closed, BLUE)) is None  # the fit thinks they are open


def test_photos_that_do_not_show_eyes_say_nothing() -> None:
    assert eye_colours(model(), person(zoom=0.08), photo(person(zoom=0.08), BLUE)) is None  # a few pixels
    aside = person()
    aside = dataclasses.replace(aside, camera=aside.camera.moved(1.0, (1000.0, 0.0)))
    assert eye_colours(model(), aside, photo(person(), BLUE)) is None  # out of the picture
    assert eye_colours(model(), person(), np.full((*SIZE, 3), 0.5, np.float32)) is None
    assert eye_colours(model_of(toy()), person(), photo(person(), BLUE)) is None  # a model without eyes


def test_only_eyes_get_other_colours() -> None:
    face = person()
    albedo = albedo_with_eyes(model(), face, photo(face, BLUE))
    own = face.vertex_albedo(model())
    eyes = np.unique(model().triangles[model().part("left_eye", "right_eye")])
    changed = np.flatnonzero(np.abs(albedo - own).max(axis=1) > 1e-6)
    assert np.isin(changed, eyes).all()
    for eye in eyeballs_of(model()):
        iris = eye.vertices[(eye.angle > 1.2 * eye.pupil) & (eye.angle < 0.8 * eye.iris)]
        assert (albedo[iris, 2] > albedo[iris, 0]).all()
        pupil = eye.vertices[eye.angle <= eye.pupil]
        assert np.array_equal(albedo[pupil], own[pupil])
    assert np.array_equal(albedo_with_eyes(model(), face, None), own)


def test_exported_colours_have_the_eyes_of_the_photo() -> None:
    face = person()
    colours = vertex_colours(model(), face, "albedo", photo(face, BLUE))
    eye = eyeballs_of(model())[0]
    iris = eye.vertices[(eye.angle > 1.2 * eye.pupil) & (eye.angle < 0.8 * eye.iris)]
    assert (colours[iris, 2] > colours[iris, 0] + 0.05).all()


def test_parts_that_move_are_painted_in_a_texture_as_photographed() -> None:
    face = person()
    atlas = atlas_of(model(), 128)
    image = np.full((128, 128, 3), 90, np.uint8)
    painted = with_painted_parts(model(), face, photo(face, BLUE), image)

    def texels(*parts: str) -> NDArray[np.float64]:
        shown = np.zeros((128, 128), np.bool_)
        shown.ravel()[atlas.texels[model().part(*parts)[atlas.shown]]] = True
        return painted[shown].astype(np.float64)

    assert (texels("skin", "upper_teeth", "lower_teeth", "lashes") == 90).all()
    tongue, eyes = texels("tongue"), texels("left_eye", "right_eye")
    assert tongue[:, 0].mean() > tongue[:, 2].mean() + 15
    blue = eyes[:, 2] > eyes[:, 0] + 10
    assert 0.02 < blue.mean() < 0.4
    assert np.quantile(eyes.mean(axis=1), 0.9) > 110
    plain = model_of(toy())
    without = Face.mean(plain, face.camera, LIGHT)
    assert with_painted_parts(plain, without, photo(face, BLUE), image) is image
