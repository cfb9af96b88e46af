"""Rotations, Euler angles and the camera."""

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
    turned,
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


@given(turn=vectors, before=vectors, size=st.sampled_from([0.0, 1e-170, 1e-9, 1e-3, 1.0, 1.8]))
@quick
def test_turns_after_each_other(turn: NDArray[np.float64], before: NDArray[np.float64], size: float) -> None:
    for one, other in ((turn, size * before), (size * turn, before), (turn, -turn), (size * turn, 0 * before)):
        both = turned(one[None], other[None])[0]
        assert np.linalg.norm(both) <= np.pi + 1e-12
        assert np.abs(rotation_matrix(both) - rotation_matrix(one) @ rotation_matrix(other)).max() < 1e-12


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


def camera(seed: int, perspective: bool = False) -> Camera:
    rng = np.random.default_rng(seed)
    turn = rotation_from_euler(*rng.uniform(-1.5, 1.5, 3))
    weak = Camera(float(rng.uniform(0.1, 9)), turn, rng.normal(0, 300, 2))
    if not perspective:
        return weak
    return Camera(weak.scale, turn, weak.translation, 1 / rng.uniform(400, 2000), rng.normal(0, 300, 2))


def test_projection_by_hand() -> None:
    made = Camera(2.0, np.eye(3), np.array([100.0, 50.0])).project(np.array([[3.0, 4.0, 5.0]]))
    assert made.tolist() == [[106.0, 42.0, 10.0]]


def test_perspective_by_hand() -> None:
    """A point 100 mm nearer than the origin, which is 500 mm away, is seen 5/4 times as large."""
    made = Camera(2.0, np.eye(3), np.array([110.0, 50.0]), 1 / 500, np.array([100.0, 60.0]))
    assert made.distance == 500.0
    assert made.focal_length == 1000.0
    assert made.position == pytest.approx([-5.0, -5.0, 500.0])
    x, y, depth = made.project(np.array([[3.0, 4.0, 100.0]]))[0]
    assert x == pytest.approx(100 + (10 + 6) * 5 / 4)
    assert y == pytest.approx(60 + (-10 - 8) * 5 / 4)
    assert depth == pytest.approx(200 * 5 / 4)


@given(seed=st.integers(0, 10**6))
@quick
def test_a_pinhole_at_its_position_sees_the_same(seed: int) -> None:
    made, points = camera(seed, perspective=True), np.random.default_rng(seed).normal(0, 60, (7, 3))
    seen = (points - made.position) @ made.rotation.T  # x right, y up, z backwards
    shown = made.centre + np.asarray(made.focal_length) * seen[:, :2] * [1, -1] / -seen[:, 2:]
    assert made.project(points)[:, :2] == pytest.approx(shown, rel=1e-9, abs=1e-9)
    away = made.rotation @ made.position - points @ made.rotation.T
    assert made.to_viewer(points) == pytest.approx(away / np.linalg.norm(away, axis=1, keepdims=True), abs=1e-9)


@given(seed=st.integers(0, 10**6), shares=st.tuples(*[st.floats(0, 1)] * 2))
@quick
def test_depth_is_linear_in_the_image_over_a_plane(seed: int, shares: tuple[float, float]) -> None:
    """So that what a z buffer interpolates is the depth of what it shows."""
    made, corners = camera(seed, perspective=True), np.random.default_rng(seed).normal(0, 60, (3, 3))
    inside = np.array([1.0, *shares]) / (1 + sum(shares))
    point = made.project((inside @ corners)[None])[0]
    projected = made.project(corners)
    share = np.linalg.solve(np.vstack([projected[:, :2].T, np.ones(3)]), [*point[:2], 1.0])
    assert share @ projected[:, 2] == pytest.approx(point[2], rel=1e-6, abs=1e-6)


def test_without_perspective_the_principal_point_changes_no_bit() -> None:
    points = np.random.default_rng(0).normal(0, 80, (50, 3))
    weak = camera(5)
    aside = Camera(weak.scale, weak.rotation, weak.translation, 0.0, np.array([123.4, -5.6]))
    assert np.array_equal(aside.project(points), weak.project(points))
    by_formula = weak.turned(points) * [1, -1, 1] + [*weak.translation, 0]
    assert np.array_equal(weak.project(points), by_formula)


@pytest.mark.parametrize("perspective", [False, True])
def test_derivatives_are_finite_differences(perspective: bool) -> None:
    made, points = camera(7, perspective), np.random.default_rng(7).normal(0, 60, (5, 3))
    for axis in range(3):
        step = 1e-5 * np.eye(3)[axis]
        slope = (made.project(points + step) - made.project(points - step))[:, :2] / 2e-5
        assert made.screen_jacobian(points)[..., axis] == pytest.approx(slope, rel=1e-6, abs=1e-6)
    packed, columns = made.pack()[None], made.pose_columns(points)
    for k in range(Camera.PARAMETER_COUNT):
        if Camera.PRINCIPAL_POINT.start <= k < Camera.PRINCIPAL_POINT.stop:
            assert not columns[..., k].any()  # held always
            continue
        step = np.zeros((1, Camera.PARAMETER_COUNT))
        step[0, k] = 1e-8 if k == Camera.INVERSE_FOCAL else 1e-6
        ahead, behind = (Camera.unpack(Camera.retract(packed, s)[0]).project(points) for s in (step, -step))
        slope = (ahead - behind)[:, :2] / (2 * step[0, k])
        assert columns[..., k] == pytest.approx(slope, rel=1e-5, abs=1e-4)


def test_points_that_are_not_in_front_have_no_depth_and_stay_finite() -> None:
    made = Camera(1.0, np.eye(3), np.zeros(2), 1 / 300, np.zeros(2))
    shown = made.project(np.array([[10.0, 0.0, 250.0], [10.0, 0.0, 300.0], [10.0, 0.0, 1e5]]))
    assert np.isfinite(shown[:, :2]).all()
    assert np.isfinite(shown[:, 2]).tolist() == [True, False, False]


@given(seed=st.integers(0, 10**6), ratio=st.sampled_from([0.25, 2.0, 3.7]))
@quick
def test_the_same_view_in_a_larger_image(seed: int, ratio: float) -> None:
    made, points = camera(seed, perspective=True), np.random.default_rng(seed).normal(0, 60, (7, 3))
    larger = Camera.unpack(Camera.resized(made.pack(), ratio))
    assert larger.project(points)[:, :2] == pytest.approx((made.project(points)[:, :2] + 0.5) * ratio - 0.5, rel=1e-9)
    assert larger.distance == pytest.approx(made.distance)
    assert larger.focal_length == pytest.approx(ratio * np.asarray(made.focal_length))


def test_perspective_needs_a_principal_point() -> None:
    with pytest.raises(ValueError, match="no principal point is given"):
        Camera(1.0, np.eye(3), np.zeros(2), 1 / 500)


@given(seed=st.integers(0, 10**6), zoom=st.floats(0.01, 50), perspective=st.booleans())
@quick
def test_a_moved_camera_sees_moved_points(seed: int, zoom: float, perspective: bool) -> None:
    points = np.random.default_rng(seed).normal(0, 80, (7, 3))
    offset, made = (13.0, -4.5), camera(seed, perspective)
    before, after = made.project(points), made.moved(zoom, offset).project(points)
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


@given(seed=st.integers(0, 2**16), kappa=st.sampled_from([0.0, 1 / 2000, 1 / 400]))
@quick
def test_unprojecting_undoes_projecting(seed: int, kappa: float) -> None:
    rng = np.random.default_rng(seed)
    camera = Camera(
        rng.uniform(0.2, 3), rotation_matrix(rng.normal(size=3)), rng.normal(0, 99, 2), kappa, rng.normal(0, 99, 2)
    )
    points = rng.uniform(-120, 120, (20, 3))
    assert camera.unproject(camera.project(points)) == pytest.approx(points, abs=1e-8)
    several = Camera(
        np.array([camera.scale, 2.0]),
        np.stack([camera.rotation, np.eye(3)]),
        np.stack([camera.translation, np.zeros(2)]),
        np.array([kappa, 1 / 700]),
        np.stack([camera.centre, np.ones(2)]),
    )
    both = np.stack([points, points + 1])
    assert several.unproject(several.project(both)) == pytest.approx(both, abs=1e-8)
