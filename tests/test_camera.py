"""Rotations, Euler angles and the weak-perspective camera."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.linalg import expm

from faceinv.face.camera import (
    Camera,
    axis_angle,
    euler_angles,
    fit_weak_perspective,
    rotation_from_euler,
    rotation_matrix,
)

quick = settings(max_examples=40, deadline=None, derandomize=True)
angles = st.floats(-np.pi, np.pi)
half = st.floats(-np.pi / 2, np.pi / 2)
vectors = st.tuples(*[st.floats(-2, 2)] * 3).map(np.array)


def skew(w: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.cross(np.eye(3), w)


@given(w=vectors, size=st.sampled_from([0.0, 1e-12, 1e-8, 0.99e-4, 1.01e-4, 1e-2, 1.0]))
@quick
def test_rotation_is_the_matrix_exponential(w: NDArray[np.float64], size: float) -> None:
    w = w * size
    assert np.abs(rotation_matrix(w) - expm(skew(w))).max() < 1e-13


@given(w=vectors)
@quick
def test_axis_angle_is_its_inverse(w: NDArray[np.float64]) -> None:
    turn = rotation_matrix(w)
    back = axis_angle(turn)
    assert np.linalg.norm(back) <= np.pi + 1e-12
    assert np.abs(rotation_matrix(back) - turn).max() < 1e-12
    if np.linalg.norm(w) < 3.1:
        assert back == pytest.approx(w, abs=1e-9)


@given(pitch=angles, yaw=half, roll=angles)
@quick
def test_euler_angles_round_trip(pitch: float, yaw: float, roll: float) -> None:
    turn = rotation_from_euler(pitch, yaw, roll)
    again = euler_angles(turn)
    assert np.abs(rotation_from_euler(*again) - turn).max() < 1e-9
    assert abs(again[1]) <= np.pi / 2
    if abs(yaw) < 1.5 and max(abs(pitch), abs(roll)) < 3.1:
        assert again == pytest.approx((pitch, yaw, roll), abs=1e-9)


@pytest.mark.parametrize("yaw", [np.pi / 2, -np.pi / 2, np.pi / 2 - 1e-7, -np.pi / 2 + 1e-7])
def test_euler_angles_of_a_full_profile(yaw: float) -> None:
    """Only pitch and roll together are defined there; the rotation must come back all the same."""
    turn = rotation_from_euler(0.3, yaw, -0.8)
    assert np.abs(rotation_from_euler(*euler_angles(turn)) - turn).max() < 1e-6


def test_what_positive_angles_mean() -> None:
    forward, right = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    assert rotation_from_euler(0, 0.5, 0) @ forward == pytest.approx([np.sin(0.5), 0, np.cos(0.5)])
    assert rotation_from_euler(0.5, 0, 0) @ forward == pytest.approx([0, -np.sin(0.5), np.cos(0.5)])
    assert rotation_from_euler(0, 0, 0.5) @ right == pytest.approx([np.cos(0.5), np.sin(0.5), 0])
    order = rotation_from_euler(0, 0, 0.3) @ rotation_from_euler(0, 0.4, 0) @ rotation_from_euler(0.5, 0, 0)
    assert rotation_from_euler(0.5, 0.4, 0.3) == pytest.approx(order)


def camera(seed: int) -> Camera:
    rng = np.random.default_rng(seed)
    turn = rotation_from_euler(*rng.uniform(-1.5, 1.5, 3))
    return Camera(float(rng.uniform(0.1, 9)), turn, rng.normal(0, 300, 2))


def test_projection_by_hand() -> None:
    made = Camera(2.0, np.eye(3), np.array([100.0, 50.0])).project(np.array([[3.0, 4.0, 5.0]]))
    assert made.tolist() == [[106.0, 42.0, 10.0]]


@given(seed=st.integers(0, 10**6), zoom=st.floats(0.01, 50))
@quick
def test_a_moved_camera_sees_moved_points(seed: int, zoom: float) -> None:
    points = np.random.default_rng(seed).normal(0, 80, (7, 3))
    offset = (13.0, -4.5)
    before, after = camera(seed).project(points), camera(seed).moved(zoom, offset).project(points)
    assert after[:, :2] == pytest.approx(zoom * before[:, :2] + offset)
    assert after[:, 2] == pytest.approx(zoom * before[:, 2])


@given(seed=st.integers(0, 10**6))
@quick
def test_a_known_camera_is_recovered(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, known = rng.normal(0, 60, (12, 3)), camera(seed)
    found = fit_weak_perspective(points, known.project(points)[:, :2], rng.uniform(0.1, 2, 12))
    assert found.scale == pytest.approx(known.scale)
    assert found.rotation == pytest.approx(known.rotation, abs=1e-8)
    assert found.translation == pytest.approx(known.translation, abs=1e-6)
    assert np.linalg.det(found.rotation) == pytest.approx(1.0)


def test_points_without_weight_do_not_matter() -> None:
    rng = np.random.default_rng(3)
    points, known = rng.normal(0, 60, (12, 3)), camera(3)
    seen, weights = known.project(points)[:, :2], np.ones(12)
    seen[4], weights[4] = 1e4, 0.0
    assert fit_weak_perspective(points, seen, weights).rotation == pytest.approx(known.rotation, abs=1e-8)


def test_noisy_points_give_a_nearby_camera() -> None:
    rng = np.random.default_rng(4)
    points, known = rng.normal(0, 60, (51, 3)), camera(4)
    seen = known.project(points)[:, :2] + rng.normal(0, 0.5 * known.scale, (51, 2))
    found = fit_weak_perspective(points, seen, np.ones(51))
    assert found.rotation @ found.rotation.T == pytest.approx(np.eye(3), abs=1e-12)
    assert np.linalg.norm(axis_angle(found.rotation @ known.rotation.T)) < 0.02
    assert found.scale == pytest.approx(known.scale, rel=0.01)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan])
def test_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(ValueError, match="positive number of pixels"):
        Camera(scale, np.eye(3), np.zeros(2))
