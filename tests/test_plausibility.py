"""What makes one doubt that landmarks and masks belong to the face in the photo, and what does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import faceinv
from faceinv.errors import BackendError
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.formats import load_model
from faceinv.face.landmarks68 import MIRRORED
from faceinv.face.model import MorphableModel
from faceinv.photo import plausibility
from faceinv.photo.detector import detect_faces, sees_face_at
from faceinv.photo.plausibility import doubts, landmark_doubts, mask_doubts, mask_share, place_doubts
from faceinv.photo.read import load_image

SAMPLE = Path(next(iter(faceinv.__path__))) / "data" / "sample.jpg"
SIZE = 512


@pytest.fixture(scope="module")
def photo() -> NDArray[np.float32]:
    return load_image(SAMPLE).pixels


@pytest.fixture(scope="module")
def right(photo: NDArray[np.float32]) -> NDArray[np.float64]:
    """(68, 2) the sample's landmarks."""
    return detect_faces(photo)[0].landmarks


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@pytest.fixture(scope="module")
def mean(model: MorphableModel) -> NDArray[np.float64]:
    """(68, 3) mm."""
    return model.landmarks(model.mean)


def kinds(raised: tuple[plausibility.Doubt, ...]) -> list[str]:
    assert all(str(doubt).startswith(f"{doubt.kind}: ") for doubt in raised)
    return [doubt.kind for doubt in raised]


def with_jaw_reversed(points: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([points[:17][::-1], points[17:]])


def with_eyes_exchanged(points: NDArray[Any]) -> NDArray[Any]:
    changed = points.copy()
    changed[36:48] = points[MIRRORED[36:48]]
    return changed


def moved(points: NDArray[Any], index: int, by: tuple[float, float]) -> NDArray[Any]:
    changed = points.copy()
    changed[index] += by
    return changed


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda p: p[MIRRORED], "mirrored landmarks"),
        (lambda p: p * [-1, 1] + [SIZE - 1, 0], "mirrored landmarks"),
        (lambda p: p * [1, -1] + [0, SIZE - 1], "upside-down landmarks"),
        (lambda p: p[:, ::-1], "upside-down landmarks"),
        (with_jaw_reversed, "unordered landmarks"),
        (with_eyes_exchanged, "unordered landmarks"),
        (lambda p: p[np.random.default_rng(0).permutation(68)], "unordered landmarks"),
        (lambda p: p[::-1], "unordered landmarks"),
        (lambda p: moved(p, 30, (0, 60)), "misplaced landmark"),
        (lambda p: moved(p, 3, (-85, 0)), "misplaced landmark"),
        (lambda p: p / 2, "landmarks of another size"),
        (lambda p: p * 1.7, "landmarks of another size"),
        (lambda p: p + np.array([150, 100]), "landmarks of another place"),
        (lambda p: SIZE - 1 - p, "turned landmarks"),
        (lambda p: np.stack([SIZE - 1 - p[:, 1], p[:, 0]], axis=1), "turned landmarks"),
    ],
)
def test_what_is_wrong_is_named(
    photo: NDArray[np.float32],
    right: NDArray[np.float64],
    mean: NDArray[np.float64],
    change: Any,
    kind: str,
) -> None:
    assert kinds(doubts(change(right), mean, photo)) == [kind]


def test_the_misplaced_landmark_and_the_size_are_said(
    photo: NDArray[np.float32], right: NDArray[np.float64], mean: NDArray[np.float64]
) -> None:
    assert "at index 30" in doubts(moved(right, 30, (0, 60)), mean, photo)[0].sentence
    assert "is 2 times as large" in doubts(right / 2, mean, photo)[0].sentence


def test_right_landmarks_raise_no_doubt(
    photo: NDArray[np.float32], right: NDArray[np.float64], mean: NDArray[np.float64]
) -> None:
    eyes = np.linalg.norm(right[36] - right[45])
    assert doubts(right, mean, photo) == ()
    for seed in range(5):
        noise = np.random.default_rng(seed).normal(size=right.shape)
        assert doubts(right + 0.05 * eyes * noise, mean, photo) == ()


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_a_photo_that_is_turned_with_its_landmarks_raises_no_doubt(
    photo: NDArray[np.float32], right: NDArray[np.float64], mean: NDArray[np.float64], quarters: int
) -> None:
    points = right
    for _ in range(quarters):
        points = np.stack([points[:, 1], SIZE - 1 - points[:, 0]], axis=1)
    turned = np.ascontiguousarray(np.rot90(photo, quarters))
    assert sees_face_at(turned, points)
    assert doubts(points, mean, turned) == ()


def test_heads_of_any_shape_and_pose_raise_no_doubt(model: MorphableModel, mean: NDArray[np.float64]) -> None:
    """Yaw to 90 degrees, pitch to 40, any roll, strong expressions, and 3 mm of error in half of them."""
    rng = np.random.default_rng(3)
    bases = [
        model.landmarks(basis.reshape(len(basis), -1)).reshape(68, 3, -1)
        for basis in (model.identity_basis, model.expression_basis)
    ]
    for number in range(600):
        head = mean + sum(basis @ rng.normal(size=basis.shape[2]) for basis in bases)
        yaw = rng.uniform(-90, 90) if number % 3 else rng.choice([-90, 90])
        rotation = rotation_from_euler(*np.radians([rng.uniform(-40, 40), yaw, rng.uniform(-180, 180)]))
        view = Camera(2.0, rotation, np.array([300.0, 300.0])).project(head)[:, :2]
        view += 6.0 * (number % 2) * rng.normal(size=view.shape)
        assert landmark_doubts(view, mean) == (), (number, yaw)


def test_profiles_are_not_held_against_faces_elsewhere(photo: NDArray[np.float32], mean: NDArray[np.float64]) -> None:
    """The detector does not see them, so it has no say."""
    beside = np.concatenate([photo, np.full_like(photo, 0.5)], axis=1)
    for yaw, expected in ((75, []), (10, ["landmarks of another place"])):
        rotation = rotation_from_euler(0, np.radians(yaw), 0)
        points = Camera(0.7, rotation, np.array([800.0, 250.0])).project(mean)[:, :2]
        assert not sees_face_at(beside, points)
        assert kinds(doubts(points, mean, beside)) == expected


def test_photos_in_which_no_face_is_seen_raise_no_doubt(right: NDArray[np.float64], mean: NDArray[np.float64]) -> None:
    assert place_doubts(right, mean, np.full((SIZE, SIZE, 3), 0.5, np.float32)) == ()


def test_without_a_detector_the_place_is_not_checked(
    photo: NDArray[np.float32],
    right: NDArray[np.float64],
    mean: NDArray[np.float64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(*args: Any) -> bool:
        raise BackendError("onnxruntime is missing")

    monkeypatch.setattr(plausibility, "sees_face_at", missing)
    assert doubts(right / 2, mean, photo) == ()


def test_share_of_the_face_that_a_mask_leaves(right: NDArray[np.float64]) -> None:
    whole = np.ones((SIZE, SIZE), np.bool_)
    assert mask_share(whole, right) == 1
    half = whole.copy()
    half[:, : int(right[:, 0].min() + np.ptp(right[:, 0]) / 2)] = False
    assert mask_share(half, right) == pytest.approx(0.5, abs=0.06)
    assert mask_doubts(half, right) == ()
    beside = np.zeros((SIZE, SIZE), np.bool_)
    beside[400:, :100] = True
    assert mask_share(beside, right) == 0
    assert kinds(mask_doubts(beside, right)) == ["mask beside the face"]
    assert "leaves nothing" in mask_doubts(beside, right)[0].sentence
    assert "leaves 2" in mask_doubts(half & (np.arange(SIZE) % 2 == 0), right)[0].sentence
    assert mask_share(beside, right + 5000) == 1
