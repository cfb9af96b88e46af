"""Faces found by the networks: where landmarks are, what is trusted, and what is fallen back upon."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import faceinv
from faceinv.errors import NoFaceError
from faceinv.face.landmark_sources import landmark_source
from faceinv.face.landmarks68 import INNER, JAW, MIRRORED, OUTER_EYES
from faceinv.photo import blazeface, detector, face_mesh, small_network
from faceinv.photo.detector import Detection, detect_faces
from faceinv.photo.networks import run_network
from faceinv.photo.prepare import CropSettings, prepare
from faceinv.photo.read import load_image
from faceinv.photo.resample import crop_square
from faceinv.photo.square import Square, covered, overlap

SAMPLE = Path(next(iter(faceinv.__path__))) / "data" / "sample.jpg"
GOLDEN = np.array(
    [
        *((177.9, 100.8), (178.0, 113.2), (179.1, 125.1), (180.6, 136.1), (184.1, 147.8)),
        *((190.0, 157.8), (197.4, 165.3), (207.1, 173.5), (221.5, 178.3), (236.4, 174.9)),
        *((246.7, 167.6), (254.8, 160.8), (261.6, 151.5), (266.3, 140.1), (268.8, 129.3)),
        *((271.1, 117.6), (272.4, 105.2), (186.8, 90.2), (190.4, 87.5), (196.4, 86.4)),
        *((204.6, 87.6), (214.4, 89.6), (236.5, 90.6), (246.6, 89.6), (255.1, 89.4)),
        *((261.1, 91.1), (264.6, 94.3), (224.7, 101.7), (224.1, 112.1), (223.6, 121.2)),
        *((223.3, 126.8), (211.1, 129.1), (217.3, 132.0), (223.2, 133.2), (229.3, 132.5)),
        *((236.0, 130.3), (195.2, 100.4), (199.0, 97.9), (205.9, 97.9), (213.3, 103.3)),
        *((207.3, 103.6), (200.5, 103.3), (236.4, 104.5), (244.4, 99.8), (251.5, 100.5)),
        *((255.2, 103.5), (249.5, 106.1), (242.5, 105.6), (202.5, 138.9), (211.5, 138.8)),
        *((216.9, 139.0), (223.0, 140.2), (229.2, 139.5), (234.8, 139.7), (244.2, 140.4)),
        *((233.8, 152.6), (228.4, 154.9), (222.0, 155.4), (215.9, 154.3), (210.9, 151.6)),
        *((204.0, 139.5), (217.4, 142.0), (222.9, 142.7), (228.5, 142.5), (242.6, 140.9)),
        *((227.7, 149.2), (222.4, 149.6), (217.1, 148.8)),
    ]
)
"""(68, 2) px of the sample, checked by eye."""


@pytest.fixture(scope="module")
def sample() -> NDArray[np.float32]:
    return load_image(SAMPLE).pixels


@pytest.fixture(scope="module")
def portrait(sample: NDArray[np.float32]) -> NDArray[np.float32]:
    """(256, 256, 3) the sample's face, 108 px from brows to chin, with its eyes level to 4 degrees."""
    return crop_square(sample, 125, 30, 200, 256)[0]


@pytest.fixture(scope="module")
def face(portrait: NDArray[np.float32]) -> Detection:
    (found,) = detect_faces(portrait)
    return found


def eyes_apart(points: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]]))


def gap(points: NDArray[np.float64], expected: NDArray[np.float64], marks: Any = INNER) -> float:
    """Mean distance as a share of the eye distance."""
    return float(np.linalg.norm((points - expected)[marks], axis=1).mean() / eyes_apart(expected))


def test_the_networks_take_and_give_what_is_written_of_them() -> None:
    grey = np.full((1, 128, 128, 3), 0.5, np.float32)
    boxes, scores = run_network("face_boxes.onnx", grey)
    assert boxes.shape == (1, 896, 16)
    assert scores.shape == (1, 896, 1)
    assert scores.max() < 0
    points, presence = run_network("face_mesh478.onnx", np.full((1, 256, 256, 3), 0.5, np.float32))
    assert points.shape == (1, 478, 3)
    assert presence.shape == (1, 1)
    assert presence[0, 0] < 0


def test_landmarks_of_the_sample(sample: NDArray[np.float32]) -> None:
    (found,) = detect_faces(sample)
    assert found.source == "face mesh"
    assert found.disagreement is not None
    assert found.disagreement < 0.02
    assert np.linalg.norm(found.landmarks - GOLDEN, axis=1).max() < 0.01 * eyes_apart(GOLDEN)


def test_the_mesh_sees_a_mirrored_face_mirrored(portrait: NDArray[np.float32], face: Detection) -> None:
    (other,) = detect_faces(np.ascontiguousarray(portrait[:, ::-1]))
    assert gap(other.landmarks[MIRRORED] * [-1, 1] + [255, 0], face.landmarks) < 0.01


def test_the_mesh_looks_again_only_where_its_square_has_not_settled(
    portrait: NDArray[np.float32], monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def counted(name: str, crops: NDArray[np.float32]) -> list[NDArray[np.float64]]:
        looked.append(name)
        return run_network(name, crops)

    monkeypatch.setattr(face_mesh, "run_network", counted)
    near = face_mesh.locate(portrait, Square(126, 120, 131, 0.04))
    assert len(looked) == 3  # the mirror among them
    looked.clear()
    far = face_mesh.locate(portrait, Square(153, 155, 160))
    assert len(looked) == 4
    assert near is not None
    assert far is not None
    assert gap(far.points, near.points) < 0.02


@pytest.mark.parametrize("degrees", [20, -45, 80])
def test_the_mesh_follows_a_rolled_face(portrait: NDArray[np.float32], face: Detection, degrees: float) -> None:
    square = Square(127.5, 127.5, 300, np.radians(degrees))
    rolled, _ = square.sample(portrait, 300)
    found = detect_faces(rolled)[0]
    assert gap(square.to_photo((found.landmarks + 0.5) / 300), face.landmarks) < 0.025


@pytest.mark.parametrize("side", [60, 130, 512])
def test_the_mesh_sees_the_same_at_any_size(portrait: NDArray[np.float32], face: Detection, side: int) -> None:
    resized, _ = crop_square(portrait, 0, 0, 256, side)
    (found,) = detect_faces(resized)
    points = (found.landmarks + 0.5) * 256 / side - 0.5
    assert gap(points, face.landmarks) < (0.04 if side < 100 else 0.015)


def masked(portrait: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """With a cloth over nose and mouth."""
    covered_photo = portrait.copy()
    top = round(points[29, 1])
    left, right = round(points[1, 0]), round(points[15, 0])
    covered_photo[top : round(points[8, 1]) + 2, left:right] = [0.55, 0.7, 0.75]
    return covered_photo


def half(portrait: NDArray[np.float32], points: NDArray[np.float64]) -> NDArray[np.float32]:
    """With all that is left of the nose grey."""
    covered_photo = portrait.copy()
    covered_photo[:, : round(points[30, 0])] = 0.5
    return covered_photo


@pytest.mark.parametrize(("cover", "seen"), [(masked, [*range(17, 27), *range(36, 48)]), (half, [*range(42, 48)])])
def test_a_covered_face_is_found_by_what_is_seen(
    portrait: NDArray[np.float32], face: Detection, cover: Any, seen: list[int]
) -> None:
    found = detect_faces(cover(portrait, face.landmarks))[0]
    assert found.source.startswith("face mesh")
    assert gap(found.landmarks, face.landmarks, seen) < 0.05


def test_disagreement_tells_covered_faces_and_widens_sigma(portrait: NDArray[np.float32], face: Detection) -> None:
    found = detect_faces(masked(portrait, face.landmarks))[0]
    assert face.disagreement is not None
    assert found.disagreement is not None
    assert found.disagreement > 1.3 * face.disagreement
    source = landmark_source(found.source)
    assert (source.sigma_at(0, 0.04)[INNER] > source.sigma_at(0, face.disagreement)[INNER]).all()


def test_the_jaw_is_the_small_networks_where_it_sees_the_face(
    portrait: NDArray[np.float32], face: Detection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small_network, "refine", lambda image, points: None)
    (found,) = detect_faces(portrait)
    assert found.source == "face mesh outline"
    np.testing.assert_array_equal(found.landmarks[INNER], face.landmarks[INNER])
    assert gap(found.landmarks, face.landmarks, JAW) > 0.01
    monkeypatch.setattr(small_network, "refine", lambda image, points: points + 0.5 * eyes_apart(points))
    assert detect_faces(portrait)[0].source == "face mesh outline"


@pytest.mark.parametrize("failing", ["no boxes", "no mesh", "views disagree"])
def test_without_the_mesh_the_small_networks_find_the_face(
    portrait: NDArray[np.float32], face: Detection, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    if failing == "no boxes":
        monkeypatch.setattr(blazeface, "face_boxes", lambda *args: [])
    if failing != "views disagree":
        monkeypatch.setattr(face_mesh, "locate", lambda *args: None)
    else:
        monkeypatch.setattr(face_mesh, "locate", lambda *args: face_mesh.MeshFace(face.landmarks, 20.0, 0.2))
    (found,) = detect_faces(portrait)
    assert found.source == "small network"
    assert found.disagreement is None
    assert gap(found.landmarks, face.landmarks) < 0.08  # definitions differ by some per cent


def test_boxes_are_where_the_face_is_and_tiles_agree(sample: NDArray[np.float32]) -> None:
    (detection,) = detect_faces(sample)
    whole = Square(255.5, 255.5, 512)
    seen = [blazeface.face_boxes(sample, whole, size)[0] for size in (128, 256)]
    for box in seen:
        assert box.score > 0.8
        assert covered(box.square.box, detection.box) > 0.8
        assert abs(np.degrees(box.square.roll)) < 12
    assert overlap(seen[0].square.box, seen[1].square.box) > 0.7


def test_what_is_no_face_is_not_located(sample: NDArray[np.float32]) -> None:
    looks = 0
    real = face_mesh._look

    def counted(crop: Any) -> Any:
        nonlocal looks
        looks += 1
        return real(crop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(face_mesh, "_look", counted)
        assert face_mesh.locate(sample, Square(60, 450, 80), -8.0) is None
    assert looks < 4


def test_no_face_is_said_with_the_size_that_would_do() -> None:
    grey = np.full((200, 300, 3), 0.5, np.float32)
    with pytest.raises(NoFaceError, match=r"no face was found .* at least 19 px from brows to chin"):
        prepare(grey, None, None, CropSettings((64,), 1.35, True, 1.0), np.zeros((68, 3)))


def test_smallest_face_follows_the_finest_look() -> None:
    assert detector.smallest_face((200, 100)) == 18
    assert detector.smallest_face((1000, 3000)) == 47
    assert detector.smallest_face((4000, 3000)) == 63
