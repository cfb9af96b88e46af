"""Fits of one head seen from 300, 600 and 1500 mm."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes

import faceinv
from faceinv import FitConfig, FitResult
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.photo.color import linear_to_srgb
from faceinv.render.scene import render_face

DISTANCES = (300.0, 600.0, 1500.0)
SIZE = (150, 130)
LIMITS = {"size": 64, "levels": 2, "iterations": 15, "coarse_iterations": 6, "jaw_factor": math.inf}
LIMITS |= {"albedo_field": 0.0}  # as it was drawn
NOISELESS = {"photometric_samples": 2.5e6, "landmark_sigma": 2e-5, "huber_delta": 0.2, "lighting_sigma": 1.0}
"""Beside what such data tell, priors are next to nothing."""


@cache
def head() -> Face:
    """As seen by no camera yet."""
    rng, light = np.random.default_rng(2), ambient(0.7)
    light[1:4] += [[0.1, 0.1, 0.08], [0.25, 0.22, 0.2], [0.2, 0.2, 0.2]]
    nowhere = Camera(1.0, np.eye(3), np.zeros(2))
    return Face(rng.normal(0, 0.8, 6), rng.normal(0, 0.8, 5), rng.normal(0, 0.8, 3), nowhere, light)


@cache
def seen_from(distance: float) -> tuple[NDArray[np.float32], NDArray[np.float64], Camera]:
    """The head in a photo (sRGB), its landmarks and the camera; the head is beside the middle."""
    centre = np.array([(SIZE[1] - 1) / 2, (SIZE[0] - 1) / 2])
    place = centre + np.array([8.0, -6.0])
    camera = Camera(0.5, rotation_from_euler(0.1, 0.3, 0.05), place, 1 / distance, centre)
    face = Face(head().identity, head().expression, head().albedo, camera, head().lighting)
    picture = render_face(few_modes(), face, SIZE)
    image = np.where(picture[..., 3:] > 0, picture[..., :3], 0.2)
    landmarks = camera.project(few_modes().landmarks(face.vertices(few_modes())))[:, :2]
    return linear_to_srgb(np.clip(image, 0, 1)).astype(np.float32), landmarks, camera


def fitted(seen_at: float, **settings: object) -> FitResult:
    image, landmarks, _ = seen_from(seen_at)
    return faceinv.fit(image, landmarks, model=few_modes(), config=FitConfig.from_dict(LIMITS | NOISELESS | settings))


def apart(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    """Root mean square over the skin, mm, after the similarity that brings them nearest to each other."""
    skin = np.unique(few_modes().triangles[few_modes().face_mask])
    a, b = (points[skin] - points[skin].mean(axis=0) for points in (first, second))
    u, s, vt = np.linalg.svd(a.T @ b)
    gap = s.sum() / (a**2).sum() * a @ (u @ vt) - b
    return float(np.sqrt((gap**2).sum(axis=1).mean()))


@cache
def with_focal_length(distance: float) -> FitResult:
    return fitted(distance, focal_length_px=float(seen_from(distance)[2].focal_length))


def test_a_known_focal_length_gives_the_same_head_from_everywhere() -> None:
    shapes = [with_focal_length(distance).vertices for distance in DISTANCES]
    truth = head().vertices(few_modes())
    assert apart(few_modes().vertices(), truth) > 1.0, "the mean face is far from it"
    for k in range(3):
        assert apart(shapes[k], shapes[k - 1]) < 0.15
        assert apart(shapes[k], truth) < 0.15


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_distance_follows(distance: float) -> None:
    found, known = with_focal_length(distance), seen_from(distance)[2]
    assert found.camera_source == "focal_length"
    assert found.camera.focal_length == pytest.approx(known.focal_length, rel=1e-9)
    assert found.camera.distance == pytest.approx(distance, rel=0.02)
    assert found.camera.centre == pytest.approx(known.centre, abs=1e-9)
    layout = ParameterLayout.of(few_modes())
    assert not found.hessian[layout.mask(layout.principal_point)].any(), "what is held has no part in the posterior"
    assert not found.hessian[layout.inverse_focal].any()


def test_intrinsics_are_used_to_the_letter() -> None:
    """The photo without its left and upper edges: the principal point is not in its middle then."""
    image, landmarks, camera = seen_from(300.0)
    f, (x, y) = float(camera.focal_length), camera.centre - [20, 10]
    matrix = [[f, 0, x], [0, f, y], [0, 0, 1]]
    cut, config = np.ascontiguousarray(image[10:, 20:]), FitConfig.from_dict(LIMITS | NOISELESS)
    found = faceinv.fit(cut, landmarks - [20, 10], model=few_modes(), config=config, intrinsics=matrix)
    assert found.camera_source == "intrinsics"
    assert found.camera.centre == pytest.approx([x, y], abs=1e-9)
    assert apart(found.vertices, with_focal_length(300.0).vertices) < 0.02


def test_without_perspective_a_near_head_is_another() -> None:
    weak = fitted(300.0, camera="weak")
    assert weak.camera_source == "weak"
    assert weak.camera.kappa == 0
    assert apart(weak.vertices, with_focal_length(300.0).vertices) > 1.0


def test_an_unknown_focal_length_puts_the_camera_at_the_distance() -> None:
    found = fitted(600.0, distance=600.0, estimate_distance=False)
    assert found.camera_source == "distance"
    assert found.camera.distance == pytest.approx(600.0, rel=0.01)
    assert apart(found.vertices, with_focal_length(600.0).vertices) < 0.15


@pytest.mark.parametrize("distance", [300.0, 600.0])
def test_the_distance_can_be_found(distance: float) -> None:
    found = fitted(distance, estimate_distance=True)
    assert found.camera_source == "estimated"
    assert found.camera.distance == pytest.approx(distance, rel=0.1)
    assert apart(found.vertices, with_focal_length(distance).vertices) < 0.5
