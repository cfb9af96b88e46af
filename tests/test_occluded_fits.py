"""A painted beard bends the fitted face by much less than it would, and a clean face is as before."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes, posed

import faceinv
from faceinv.face.layout import ParameterLayout
from faceinv.face.state import Face
from faceinv.photo.color import linear_to_srgb
from faceinv.render.scene import draw_faces

SIZE = 120


def photo(beard: bool) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64]]:
    """(H, W, 3) sRGB, landmarks and the true surface."""
    model = few_modes()
    face = Face.unpack(ParameterLayout.of(model), posed(SIZE, yaw=0.15, seed=3))
    scene = draw_faces(model, [face], (SIZE, SIZE))[0]
    vertices = face.vertices(model)
    marks = face.camera.project(model.landmarks(vertices))[:, :2]
    light = np.where(scene.covered[..., None], scene.light, 0.2)
    if beard:
        y = np.arange(SIZE)[:, None]
        light = np.where((scene.covered & (y > marks[33, 1] + 3))[..., None], 0.15 * light, light)
    noise = 0.01 * np.random.default_rng(0).normal(size=light.shape)
    return (linear_to_srgb(np.clip(light, 0, 1)) + noise).clip(0, 1).astype(np.float32), marks, vertices


@cache
def fitted(beard: bool, share: float) -> NDArray[np.float64]:
    config = {"size": 64, "levels": 2, "albedo_field": 0.0, "self_occlusion": False, "occluder_share": share}
    image, marks, _ = photo(beard)
    return faceinv.Fitter(few_modes(), config=config).fit(image, marks).vertices


def apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """mm RMS over the face mask."""
    chosen = np.unique(few_modes().triangles[few_modes().face_mask])
    return float(np.sqrt(((first - second)[chosen] ** 2).sum(axis=1).mean()))


def test_a_beard_bends_the_face_by_much_less() -> None:
    clean = fitted(False, 0.05)
    assert apart(fitted(True, 0.05), clean) < 0.4 * apart(fitted(True, 0.0), clean)


def test_a_clean_face_loses_nothing() -> None:
    truth = photo(False)[2]
    assert apart(fitted(False, 0.05), truth) == pytest.approx(apart(fitted(False, 0.0), truth), abs=0.05)
