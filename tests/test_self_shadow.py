"""Light that a surface keeps off itself: moments of known scenes, and what they take from the basis."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes, flat_scene

from faceinv.errors import ModelError
from faceinv.face.camera import rotation_from_euler
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.lighting import SH_CONSTANTS, sh_basis
from faceinv.face.self_shadow import COSINE_BANDS, INTERREFLECTION, shadows
from faceinv.render.occlusion import blocked_light, with_occlusion


def directions(count: int = 20000) -> NDArray[np.float64]:
    """Unit vectors evenly over the sphere."""
    n = np.random.default_rng(0).normal(size=(count, 3))
    unit: NDArray[np.float64] = n / np.linalg.norm(n, axis=1, keepdims=True)
    return unit


def moments(normal: NDArray[np.float64], blocked: NDArray[np.bool_], w: NDArray[np.float64]) -> NDArray[np.float64]:
    """(10,) of the directions w that are blocked."""
    cosine = np.maximum(w @ normal, 0) * blocked * 4 * np.pi / len(w)
    rows, columns = np.triu_indices(3)
    powers = np.concatenate([np.ones((len(w), 1)), w, w[:, rows] * w[:, columns]], axis=1)
    total: NDArray[np.float64] = cosine @ powers
    return total


def test_the_shadow_is_the_light_that_does_not_arrive() -> None:
    """In an environment of harmonics, by plain integration in the camera's frame."""
    w, normal = directions(), np.array([0.2, -0.5, 0.8])
    normal /= np.linalg.norm(normal)
    blocked = w @ np.array([0.9, 0.1, 0.3]) > 0.2
    turn = rotation_from_euler(0.3, -0.7, 0.2)
    light = np.random.default_rng(1).normal(size=9)
    weakened = np.repeat(COSINE_BANDS, [1, 3, 5]) / np.pi
    arriving = sh_basis(w @ turn.T) @ light
    cosine = np.maximum(w @ normal, 0) * blocked * 4 * np.pi / len(w)
    missing = float(cosine @ arriving) / np.pi
    # What is in the way is lit itself, by the constant light.
    returned = INTERREFLECTION * float(cosine.sum()) / np.pi * light[0] * SH_CONSTANTS[0]
    shadow = shadows(moments(normal, blocked, w)[None], turn)[0]
    assert (light * weakened) @ shadow == pytest.approx(missing - returned, abs=1e-12)


def test_everything_blocked_leaves_what_is_given_back() -> None:
    w, normal = directions(), np.array([0.0, 0.6, 0.8])
    shadow = shadows(moments(normal, np.ones(len(w), np.bool_), w)[None], np.eye(3))[0]
    left = sh_basis(normal) - shadow
    assert left[0] == pytest.approx(INTERREFLECTION * SH_CONSTANTS[0], abs=0.01)
    assert left[1:] == pytest.approx(np.zeros(8), abs=0.02)


def test_turned_moments_are_moments_of_what_is_turned() -> None:
    w, normal = directions(2000), np.array([0.0, 0.6, 0.8])
    blocked, turn = w[:, 0] > 0.1, rotation_from_euler(0.5, 0.4, -0.3)
    turned = moments(turn @ normal, blocked, w @ turn.T)
    assert shadows(moments(normal, blocked, w)[None], turn) == pytest.approx(
        shadows(turned[None], np.eye(3)), abs=1e-12
    )


Vector = tuple[float, float, float]


def sheet(across: Vector, up: Vector, y: float = 0.0) -> NDArray[np.float64]:
    """(1600, 3) points of a parallelogram."""
    s, t = (axis.ravel()[:, None] for axis in np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 40)))
    points: NDArray[np.float64] = np.array([0.0, y, 0.0]) + s * np.array(across) + t * np.array(up)
    return points


def grid(n: int = 40, first: int = 0) -> NDArray[np.int32]:
    """(2 (n - 1)^2, 3) triangles of a sheet, counter-clockwise from the side across x up."""
    i, j = (axis.ravel() for axis in np.meshgrid(np.arange(n - 1), np.arange(n - 1)))
    a = first + j * n + i
    both = np.concatenate([np.stack([a, a + 1, a + n + 1], axis=1), np.stack([a, a + n + 1, a + n], axis=1)])
    return both.astype(np.int32)


def test_a_wall_blocks_half_the_light_at_its_foot_and_none_far_off() -> None:
    """A floor that looks along z, and a wall as wide and high beside it."""
    floor, wall = sheet((200, 0, 0), (0, 200, 0), -100), sheet((0, 200, 0), (0, 0, 200), -100)
    found = blocked_light(np.concatenate([floor, wall]), np.concatenate([grid(), grid(first=len(floor))]))
    share = found[: len(floor), 0].reshape(40, 40)[20] / np.pi
    assert 0.37 < share[1] < 0.52, "half, less what grazes the floor"
    # Of a wall without end on either side: (1 - x / sqrt(x^2 + height^2)) / 2.
    x = 200 * 5 / 39
    assert share[5] == pytest.approx((1 - x / np.hypot(x, 200)) / 2, abs=0.06)
    assert share[-1] < 0.2
    assert (np.diff(share[2:]) < 0.01).all()
    foot = found[: len(floor)].reshape(40, 40, 10)[20, 1]
    assert foot[1] < -0.45, "the wall is on the left"
    assert abs(foot[2]) < 0.1
    assert foot[4] + foot[7] + foot[9] == pytest.approx(foot[0])


def test_a_plane_and_a_ball_block_nothing_of_their_own() -> None:
    flat = blocked_light(sheet((100, 0, 0), (0, 100, 0)), grid())
    assert np.abs(flat).max() < 1e-12
    turn, height = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 2 * np.pi, 60), np.linspace(-1.5, 1.5, 60)))
    ball = 90 * np.stack([np.cos(height) * np.cos(turn), np.cos(height) * np.sin(turn), np.sin(height)], axis=1)
    middle = np.abs(height) < 1.2
    assert blocked_light(ball, grid(60))[middle, 0].max() / np.pi < 0.05


def test_a_face_blocks_light_beside_the_nose_and_in_the_mouth_and_little_on_the_forehead() -> None:
    model = with_occlusion(few_modes())
    assert model.occlusion is not None
    share = model.occlusion[model.landmark_vertices[:, 0], 0] / np.pi
    assert share[[39, 42]].min() > 0.15, "inner corners of the eyes"
    assert share[27:31].max() < 0.1, "the bridge of the nose"
    assert share[60:68].mean() > 0.3, "inside of the lips"


def test_occlusion_is_found_once_and_kept() -> None:
    model = with_occlusion(few_modes())
    assert with_occlusion(few_modes()) is model
    assert with_occlusion(model) is model
    assert model.fingerprint == few_modes().fingerprint


def test_files_hold_the_occlusion(tmp_path: Path) -> None:
    model = with_occlusion(few_modes())
    save_npz_model(model, tmp_path / "model.npz")
    again = load_npz_model(tmp_path / "model.npz")
    assert np.array_equal(again.occlusion, model.occlusion)  # type: ignore[arg-type]


def test_a_wrong_shape_is_an_error() -> None:
    scene = flat_scene(np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(ModelError, match=r"'occlusion' has shape \(3, 9\), expected \(3, 10\)"):
        replace(scene, occlusion=np.zeros((3, 9), np.float32))
