"""Landmark files, checks and detection."""

from __future__ import annotations

import json
import pickle
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
from faceinv.photo import blazeface, networks
from faceinv.photo.detector import detect_faces, smallest_face
from faceinv.photo.pts import load_landmarks, read_landmarks, read_pts, validate_landmarks, write_pts
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
    real = blazeface.face_boxes

    def counted(image: NDArray[Any], square: Any, size: int) -> Any:
        sizes.append(size)
        return real(image, square, size)

    monkeypatch.setattr(blazeface, "face_boxes", counted)
    portrait, _ = crop_square(sample, 125, 30, 2.2 * FACE_SIZE, 1400)
    assert len(detect_faces(portrait)) == 1
    assert sizes == [128]
    assert len(detect_faces(portrait, every=True)) == 1
    assert sizes == [128, 128, 256, 512, 1024]


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
    networks._session.cache_clear()
    with pytest.raises(BackendError, match="pip install onnxruntime"):
        detect_faces(sample)


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_landmarks(path)
    assert path.name in str(caught.value)


@pytest.mark.parametrize("between", [",", ", ", " , ", ";", "\t,"])
def test_pts_numbers_may_be_divided_by_commas(tmp_path: Path, between: str) -> None:
    text = pts(POINTS).replace("{\n", "{").replace("}", "\n}").splitlines()
    body = [line.replace(" ", between) if line[:1].isdigit() else line for line in text]
    (tmp_path / "face.pts").write_text("\n".join(body).replace("{", "{\n"))
    np.testing.assert_allclose(read_landmarks(tmp_path / "face.pts"), POINTS - 1)


TABLES = {
    "blank.txt": "\n".join(f"{x} {y}" for x, y in POINTS),
    "comma.csv": "\n".join(f"{x},{y}" for x, y in POINTS) + "\n",
    "heading.csv": "x,y\r\n" + "\r\n".join(f"{x},{y}" for x, y in POINTS),
    "index.csv": ",x,y\n" + "\n".join(f"{i},{x},{y}" for i, (x, y) in enumerate(POINTS)),
    "from1.csv": "\ufeffn;x;y\n" + "\n".join(f"{i};{x};{y}" for i, (x, y) in enumerate(POINTS, 1)),
    "tab.TXT": "# by hand\n\n" + "\n".join(f"{x}\t{y}  # {i}" for i, (x, y) in enumerate(POINTS)),
    "pairs.json": json.dumps(POINTS.tolist()),
    "key.json": json.dumps({"version": 1, "landmarks": POINTS.tolist()}),
    "objects.json": json.dumps([{"x": x, "y": y} for x, y in POINTS]),
}


@pytest.mark.parametrize("name", TABLES)
def test_landmark_files_of_other_kinds_count_from_0(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(TABLES[name].encode())
    landmarks = read_landmarks(tmp_path / name)
    assert landmarks.dtype == np.float64
    np.testing.assert_allclose(landmarks, POINTS)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_npy_files_count_from_0(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "face.npy", POINTS.astype(dtype))
    np.testing.assert_array_equal(read_landmarks(tmp_path / "face.npy"), POINTS.astype(dtype))


def test_a_pts_file_of_another_name_still_counts_from_1(tmp_path: Path) -> None:
    for name in ("face.txt", "face.landmarks"):
        (tmp_path / name).write_text(pts(POINTS))
        np.testing.assert_allclose(read_landmarks(tmp_path / name), POINTS - 1)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("face.npy", b"", "cannot be read as an array"),
        ("face.npy", b"\x93NUMPY\x01\x00", "cannot be read as an array"),
        ("face.npy", pickle.dumps(POINTS), "cannot be read as an array"),
        ("face.csv", b"", r"shape \(0,\)"),
        ("face.csv", b"1,2\n3,4\n", r"shape \(2, 2\)"),
        ("face.csv", b"x,y\n1,2\nthree,4\n", "line 3: 'three,4'; two numbers"),
        ("face.csv", b"1,2\n3,4,5\n", "line 2: '3,4,5'; two numbers"),
        ("face.csv", b"1,2,3,4\n", "line 1"),
        ("face.csv", b"1,up\n", "line 1: '1,up'"),
        ("face.txt", b"nan 1\n" * 68, "NaN"),
        ("face.json", b"{", "is no JSON"),
        ("face.json", b"[" * 100_000, "is no JSON"),
        ("face.json", b"7", "no list of landmarks"),
        ("face.json", b'{"points": []}', "no list of landmarks"),
        ("face.json", b'[["a", 1]]', "entry 0 is"),
        ("face.json", b"[[true, 1]]", "entry 0 is"),
        ("face.json", b'[{"x": 1}]', "entry 0 is"),
        ("face.json", b"[[1, 2], [3]]", "not an array"),
        ("face.json", b"[[1" + b"0" * 400 + b", 2]]", "not an array"),
        ("face.json", b"[[1e999, 2]" + b", [1, 2]" * 67 + b"]", "NaN or infinite"),
        ("face.mat", b"MATLAB 5.0", r"no landmark file that is read; \.pts, \.npy, \.csv, \.txt, \.json"),
        ("face.pts", b" " * 1_000_001, "larger than 68 landmarks"),
    ],
)
def test_landmark_files_that_are_refused(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, message)


def test_npy_of_objects_and_of_another_shape_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.full((68, 2), None), allow_pickle=True)
    refused(tmp_path / "objects.npy", "cannot be read as an array of numbers")
    np.save(tmp_path / "words.npy", np.full((68, 2), "a"))
    refused(tmp_path / "words.npy", "numbers are expected")
    np.save(tmp_path / "three.npy", np.zeros((68, 3)))
    refused(tmp_path / "three.npy", "third column")


def test_landmarks_are_loaded_from_paths_and_numbers_but_no_streams_or_urls(tmp_path: Path, face: NDArray[Any]) -> None:
    write_pts(tmp_path / "face.pts", face)
    for source in (tmp_path / "face.pts", str(tmp_path / "face.pts"), face, face.tolist()):
        np.testing.assert_allclose(load_landmarks(source, (512, 512)), face, atol=1e-6)
    for bad in (b"version: 1", (tmp_path / "face.pts").open("rb")):
        with pytest.raises(InputError, match="their file's path"):
            load_landmarks(bad, (512, 512))  # type: ignore[arg-type]
        getattr(bad, "close", lambda: None)()
    with pytest.raises(InputError, match="is a URL; the landmarks must be a file"):
        load_landmarks("https://example.org/face.pts", (512, 512))


@pytest.mark.parametrize("mark", [(0, 0), (-1, -1), (-2, -2)])
def test_points_marked_as_missing_are_named(face: NDArray[Any], mark: tuple[int, int]) -> None:
    points = face.copy()
    points[[7, 30]] = mark
    with pytest.raises(InputError, match=r"2 of the landmarks are marked as missing, the first at index 7, \("):
        validate_landmarks(points, (512, 512))


@pytest.mark.parametrize("place", [(-40, -3), (-9, 120), (500, 500), (4000, 100), (220, 505)])
@pytest.mark.parametrize("index", [0, 30, 57])
def test_a_point_far_from_the_face_is_named(face: NDArray[Any], index: int, place: tuple[int, int]) -> None:
    points = face.copy()
    points[index] = place
    with pytest.raises(InputError, match=f"landmark at index {index}, .*lies far from all others"):
        validate_landmarks(points, (512, 512))


def test_fractions_are_told_for_files_too(tmp_path: Path, face: NDArray[Any]) -> None:
    write_pts(tmp_path / "norm.pts", face / 512 - 1)  # the numbers in the file are the fractions
    with pytest.raises(InputError, match="fractions of the photo: multiply x by its width"):
        load_landmarks(tmp_path / "norm.pts", (512, 512))
    np.save(tmp_path / "norm.npy", face / 512)
    with pytest.raises(InputError, match="fractions of the photo: multiply x by its width"):
        load_landmarks(tmp_path / "norm.npy", (512, 512))
