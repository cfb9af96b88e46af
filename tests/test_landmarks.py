"""Landmark files, checks and detection."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

import faceinv
from faceinv.errors import BackendError, InputError
from faceinv.face.landmarks68 import MIRRORED
from faceinv.photo import detector as landmarks_module
from faceinv.photo.detector import detect_faces, smallest_face
from faceinv.photo.pts import read_pts, validate_landmarks, write_pts
from faceinv.photo.read import load_image
from faceinv.photo.resample import crop_square

SAMPLE = Path(next(iter(faceinv.__path__))) / "data" / "sample.jpg"
FACE_SIZE = 95  # px, ear to ear in the sample


@pytest.fixture(scope="module")
def sample() -> NDArray[Any]:
    return load_image(SAMPLE).pixels


@pytest.fixture(scope="module")
def face(sample: NDArray[Any]) -> NDArray[Any]:
    """(68, 2) landmarks of the sample."""
    (detection,) = detect_faces(sample)
    return detection.landmarks


def pts(points: NDArray[Any], head: str = "version: 1\nn_points: 68\n{\n", tail: str = "}\n") -> str:
    return head + "".join(f"{x} {y}\n" for x, y in points) + tail


POINTS = np.random.default_rng(1).uniform(10, 90, (68, 2)).round(3)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(points=arrays(np.float64, (68, 2), elements=st.floats(-1e5, 1e5)))
def test_pts_round_trip(tmp_path: Path, points: NDArray[Any]) -> None:
    write_pts(tmp_path / "face.pts", points)
    read = read_pts(tmp_path / "face.pts")
    assert read.dtype == np.float64
    np.testing.assert_allclose(read, points, atol=1e-6)


def test_pts_files_count_from_1(tmp_path: Path) -> None:
    write_pts(tmp_path / "new" / "face.pts", np.zeros((68, 2)))
    lines = (tmp_path / "new" / "face.pts").read_text().splitlines()
    assert lines[:4] == ["version: 1", "n_points: 68", "{", "1.000000 1.000000"]
    assert len(lines) == 72
    assert lines[-1] == "}"
    assert (read_pts(str(tmp_path / "new" / "face.pts")) == 0).all()


@pytest.mark.parametrize(
    "text",
    [
        pts(POINTS),
        pts(POINTS).replace("\n", "\r\n"),
        "\ufeff" + pts(POINTS),
        pts(POINTS, head="VERSION:1\n\n  N_Points :  68 \n{\n"),
        pts(POINTS, head="version: 1 // made by hand\n# a note\nn_points: 68\n{ # here\n", tail="}  # done\n\n\n"),
        pts(POINTS, head="n_points: 68 {\n", tail="}"),
        pts(POINTS).replace(" ", " \t  "),
    ],
)
def test_pts_variants(tmp_path: Path, text: str) -> None:
    (tmp_path / "face.pts").write_bytes(text.encode())
    np.testing.assert_allclose(read_pts(tmp_path / "face.pts"), POINTS - 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"ends after line 0 without '\{'"),
        ("hello\n", r"line 1: 'hello'; 'version: 1'"),
        ("version: 1\nn_points: 5\n{\n", "line 2: 'n_points: 5'; 'n_points: 68'"),
        (pts(POINTS, tail=""), r"ends after line 71 without '\}'"),
        (pts(POINTS[:60]), "line 64: 60 points end here; 68"),
        (pts(np.vstack([POINTS, POINTS])), "136 points end here; 68"),
        (pts(POINTS, tail="1 2 3\n}\n"), "line 72: '1 2 3'; two numbers"),
        (pts(POINTS, tail="1 up\n}\n"), "line 72: '1 up'; two numbers"),
        (pts(POINTS, tail="nan 1\n}\n"), "line 72: 'nan 1'; two finite numbers"),
        (pts(POINTS, tail="}\nmore\n"), r"line 73: 'more'; nothing after '\}'"),
        (pts(POINTS, head="version: 1\nn_points: 68\n{{\n"), "line 3"),
        ("\x00\xff" * 200, r"line 1: .{,200}\.\.\."),
    ],
)
def test_pts_errors_name_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "face.pts").write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as caught:
        read_pts(tmp_path / "face.pts")
    assert "face.pts" in str(caught.value)


def test_pts_missing_folder_and_bad_points(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no landmark file at"):
        read_pts(tmp_path / "none.pts")
    with pytest.raises(InputError, match="is a folder"):
        read_pts(tmp_path)
    for bad in (np.zeros((67, 2)), np.full((68, 2), np.nan)):
        with pytest.raises(InputError, match="are expected"):
            write_pts(tmp_path / "face.pts", bad)
    assert list(tmp_path.iterdir()) == []


def test_valid_landmarks_are_copied(face: NDArray[Any]) -> None:
    result = validate_landmarks(face.tolist(), (512, 512))
    assert result.shape == (68, 2)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, face)
    assert validate_landmarks(face, (512, 512)) is not face


def test_landmarks_may_leave_the_photo_a_little(face: NDArray[Any]) -> None:
    shift = np.array([face[:, 0].min() + 0.3 * FACE_SIZE, 0])
    validate_landmarks(face - shift, (512, 512))
    for far in (face - [face[:, 0].min() + 0.7 * FACE_SIZE, 0], face + 1000, face * 4):
        with pytest.raises(InputError, match="outside of the photo of 512 x 512 px"):
            validate_landmarks(far, (512, 512))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:67], r"shape \(67, 2\)"),
        (lambda p: p.T, "Transpose"),
        (lambda p: p[None], "first entry"),
        (lambda p: np.hstack([p, p[:, :1]]), "third column"),
        (lambda p: np.where(np.arange(68)[:, None] == 7, np.nan, p), "first at index 7"),
        (lambda p: p * 0 + 100, "span only 0 px"),
        (lambda p: p / 512, "fractions of the photo"),
        (lambda p: np.repeat(p[:, :1], 2, axis=1), "on one line"),
        (lambda p: "face", "str"),
        (lambda p: [[1, 2], [3]], "list"),
    ],
)
def test_invalid_landmarks(face: NDArray[Any], change, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        validate_landmarks(change(face), (512, 512))


def test_mirror_order_is_its_own_inverse() -> None:
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(68))
    assert [MIRRORED[i] for i in (0, 8, 17, 30, 36, 39, 48, 51, 60, 62)] == [16, 8, 26, 30, 45, 42, 54, 51, 64, 62]


def test_sample_face(sample: NDArray[Any]) -> None:
    (detection,) = detect_faces(sample)
    assert 0.9 < detection.score <= 1
    assert detection.landmarks.dtype == np.float64
    np.testing.assert_array_equal(detection.box[:2], detection.landmarks.min(0))
    np.testing.assert_array_equal(detection.box[2:], detection.landmarks.max(0))
    points = detection.landmarks
    places = {  # measured by eye in the photo, px
        "right eye": (points[36:42].mean(0), (203.0, 100.3)),
        "left eye": (points[42:48].mean(0), (246.0, 102.7)),
        "nose tip": (points[30], (225.0, 126.5)),
        "mouth": (points[48:60].mean(0), (223.2, 146.0)),
        "chin": (points[8], (223.5, 177.0)),
    }
    for name, (found, expected) in places.items():
        assert np.linalg.norm(found - expected) < 0.04 * FACE_SIZE, name
    assert validate_landmarks(points, (512, 512)).shape == (68, 2)


def test_same_photo_same_landmarks(sample: NDArray[Any], face: NDArray[Any]) -> None:
    np.testing.assert_array_equal(detect_faces(sample)[0].landmarks, face)


@pytest.mark.parametrize("shift", [(13, 40), (-60, 22)])
def test_landmarks_shift_with_the_image(sample: NDArray[Any], face: NDArray[Any], shift: tuple[int, int]) -> None:
    moved, _ = crop_square(sample, -shift[0], -shift[1], 512, 512)
    (detection,) = detect_faces(moved)
    assert np.linalg.norm(detection.landmarks - face - shift, axis=1).mean() < 0.01 * FACE_SIZE


def test_mirrored_photo_gives_mirrored_landmarks(sample: NDArray[Any], face: NDArray[Any]) -> None:
    (detection,) = detect_faces(np.ascontiguousarray(sample[:, ::-1]))
    expected = (face * [-1, 1] + [511, 0])[MIRRORED]
    assert np.linalg.norm(detection.landmarks - expected, axis=1).mean() < 0.01 * FACE_SIZE


@pytest.mark.parametrize(
    ("x0", "y0", "side", "size"),
    [(170, 78, 110, 256), (-700, -400, 1400, 1000), (0, 0, 512, 224)],
    ids=["fills the image", "small", "shrunk"],
)
def test_scales(sample: NDArray[Any], face: NDArray[Any], x0: float, y0: float, side: float, size: int) -> None:
    crop, _ = crop_square(sample, x0, y0, side, size)
    (detection,) = detect_faces(crop)
    points = np.array([x0, y0]) + (detection.landmarks + 0.5) * side / size - 0.5
    assert np.linalg.norm(points - face, axis=1).mean() < 0.03 * FACE_SIZE


def test_rolled_and_dim_photos(sample: NDArray[Any], face: NDArray[Any]) -> None:
    turned = np.ascontiguousarray(sample.transpose(1, 0, 2)[:, ::-1])  # a quarter turn clockwise
    (detection,) = detect_faces(turned)
    expected = np.stack([511 - face[:, 1], face[:, 0]], axis=1)
    assert np.linalg.norm(detection.landmarks - expected, axis=1).mean() < 0.02 * FACE_SIZE
    (detection,) = detect_faces((0.4 + 0.15 * sample).astype(np.float32))
    assert np.linalg.norm(detection.landmarks - face, axis=1).mean() < 0.02 * FACE_SIZE


def test_largest_face_first(sample: NDArray[Any]) -> None:
    small, _ = crop_square(sample, 130, 30, 200, 160)
    large, _ = crop_square(sample, 130, 30, 200, 320)
    both = np.full((320, 500, 3), 0.5, dtype=np.float32)
    both[60:220, :160] = small
    both[:, 170:490] = large
    first, second = detect_faces(both)
    assert first.box[0] > 170 > second.box[2]
    assert 1.9 < (first.box[2] - first.box[0]) / (second.box[2] - second.box[0]) < 2.1


def crowd(sample: NDArray[Any], large: int) -> NDArray[Any]:
    """(900, 1400, 3) the sample's face `large` px high from brows to chin, under a row of four of 50 px."""
    image = np.full((900, 1400, 3), 0.5, dtype=np.float32)

    def paste(x: int, y: int, height: int) -> None:
        side = round(2.2 * height)
        image[y : y + side, x : x + side] = crop_square(sample, 125, 30, 2.2 * FACE_SIZE, side)[0]

    paste(300, 200, large)
    for column in range(4):
        paste(40 + 340 * column, 20, 50)
    return image


def test_small_faces_beside_a_large_one_are_found(sample: NDArray[Any]) -> None:
    image = crowd(sample, 240)
    faces = detect_faces(image, every=True)
    assert len(faces) == 5
    heights = [face.box[3] - face.box[1] for face in faces]
    assert heights[0] > 200
    assert all(35 < height < 60 for height in heights[1:])
    for face, other in zip(faces, detect_faces(image), strict=True):  # a face that large leaves room for others
        np.testing.assert_array_equal(face.landmarks, other.landmarks)


def test_a_portrait_is_looked_at_once_unless_every_face_is_wanted(
    sample: NDArray[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = landmarks_module._candidates

    def counted(image: NDArray[Any], square: Any, size: int) -> Any:
        sizes.append(size)
        return real(image, square, size)

    monkeypatch.setattr(landmarks_module, "_candidates", counted)
    portrait, _ = crop_square(sample, 125, 30, 2.2 * FACE_SIZE, 1400)
    assert len(detect_faces(portrait)) == 1
    assert sizes == [416]
    assert len(detect_faces(portrait, every=True)) == 1
    assert sizes == [416, 416, 832, 1664]


@pytest.mark.parametrize("side", [500, 1000, 1400])
def test_faces_of_the_smallest_size_are_found(sample: NDArray[Any], side: int) -> None:
    height = smallest_face((side, side // 2))
    small = round(2.2 * height)
    image = np.full((side // 2, side, 3), 0.5, dtype=np.float32)
    image[20 : 20 + small, 60 : 60 + small] = crop_square(sample, 125, 30, 2.2 * FACE_SIZE, small)[0]
    (detection,) = detect_faces(image)
    assert 0.7 * height < detection.box[3] - detection.box[1] < 1.1 * height


def test_no_face() -> None:
    noise = np.random.default_rng(0).random((120, 160, 3), dtype=np.float32)
    assert detect_faces(noise) == ()
    assert detect_faces(np.zeros((40, 60, 3), dtype=np.float32)) == ()


@pytest.mark.parametrize(
    "image", [np.zeros((40, 40)), np.zeros((40, 40, 4)), np.zeros((40, 40, 3), np.uint8), np.full((40, 40, 3), np.nan)]
)
def test_detect_refuses_other_arrays(image: NDArray[Any]) -> None:
    with pytest.raises(InputError, match="image"):
        detect_faces(image)


def test_without_onnxruntime(sample: NDArray[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    landmarks_module._session.cache_clear()
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        detect_faces(sample)
