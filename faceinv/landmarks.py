"""The 68 landmarks of iBUG / 300-W: found by a network, read from .pts files, checked.

Landmarks are (68, 2) float64, (x, y) in pixels, 0-based, pixel centres at integers.
"""

from __future__ import annotations

import functools
import importlib
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from faceinv.errors import BackendError, InputError
from faceinv.files import write_whole
from faceinv.images import crop_square

__all__ = [
    "LANDMARK_COUNT",
    "Detection",
    "detect_faces",
    "inside_hull",
    "read_pts",
    "validate_landmarks",
    "write_pts",
]

LANDMARK_COUNT = 68

Points = npt.NDArray[np.float64]
Colours = npt.NDArray[np.float32]

MIRRORED = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),  # jaw, brows, nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)),  # lips
    ]
)
"""Landmark i of a photo is landmark MIRRORED[i] of the photo seen in a mirror."""

_DETECTOR_SIDE = 416
_CROP_SIDE = 112
_ANCHORS = np.array(
    [(1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857), (9.041765, 10.66308)]
)
_HALF_PIXEL = 0.5 / _CROP_SIDE
"""The resizing that the network was made for lays pixel 0 on pixel 0; the one here lays edges on each other. Without
this, eyes and mouth come out about 1 % of the eye distance too high on portraits."""
_MIN_SCORE = 0.5
_MAX_OVERLAP = 0.4
_LOW_CONTRAST = 0.7
_MAX_SPREAD = 0.022
"""Views of a face that was located well differ by 0.005 to 0.01 of its size; where it was missed, by 0.03 to 0.06."""

# Squares around a face's landmarks, relative to their box: side, how far the centre lies below the box's (in sides),
# and roll in radians. The mean over several squares, each also mirrored, is steadier than any one of them.
_SECOND_PASS = ((1.2, 0.05, 0.0),)
_LAST_PASS = tuple((side, below, roll) for side in (1.1, 1.3) for below in (0.0, 0.1) for roll in (-0.1, 0.1))


@dataclass(frozen=True, eq=False)
class Detection:
    """A face that was found in an image.

    Attributes:
        box: (4,) float64, x0, y0, x1, y1, px: the box around the landmarks, from the brows to the chin.
        score: the detector's confidence, 0.5 to 1.
        landmarks: (68, 2) float64, px of the image.
    """

    box: npt.NDArray[np.float64]
    score: float
    landmarks: npt.NDArray[np.float64]


def detect_faces(image: Colours) -> tuple[Detection, ...]:
    """Find faces and their 68 landmarks.

    Faces are looked for in the whole image; when there is none, once more at larger scales (small faces), in a frame
    around the image (a face that fills it), with the image rolled either way, and with its contrast raised.
    Upside-down faces are not found, nor faces under 40 px or a fortieth of the image's longer side.

    Args:
        image: (H, W, 3) float32, sRGB-encoded values in [0, 1].

    Returns:
        The faces, the one with the largest box first; empty when none was found.

    Raises:
        InputError: an array of another shape, or with NaN.
        BackendError: the package onnxruntime is missing.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"faces are looked for in a float image (height, width, 3); this is {image.dtype} of shape {image.shape}. "
            "Read it with faceinv.images.load_image."
        )
    if not np.isfinite(image).all():
        raise InputError("the image holds NaN or infinite values. Replace them first.")
    for shown, square, size in _searches(image):
        faces: list[Detection] = []
        for candidate, score in _candidates(shown, square, size):
            face = _locate(shown, candidate, score)
            if face is not None and all(_overlap(face.box, other.box) < _MAX_OVERLAP for other in faces):
                faces.append(face)
        if faces:
            return tuple(sorted(faces, key=lambda face: -_area(face.box)))
    return ()


def read_pts(path: str | os.PathLike[str]) -> Points:
    """Read landmarks from a .pts file, whose pixels count from 1.

    Upper and lower case, blank lines, spaces, line ends of any system and comments (from `#` or `//`) do not matter.

    Returns:
        (68, 2) float64, 0-based px.

    Raises:
        InputError: a file that cannot be read or that is not as expected; names the file and the line.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder; a .pts file with {LANDMARK_COUNT} landmarks is expected.")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise InputError(f"no landmark file at '{path}'. Check the path.") from None
    except OSError as error:
        raise InputError(f"cannot read the landmark file '{path}': {error.strerror or error}.") from None
    return np.array(_parse_pts(text, path), dtype=np.float64) - 1


def inside_hull(landmarks: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) the pixels inside the convex hull of landmarks (68, 2) px, for an image of size (H, W)."""
    picture = Image.new("1", (size[1], size[0]))
    outline = landmarks[ConvexHull(landmarks).vertices]
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.asarray(picture)


def write_pts(path: str | os.PathLike[str], landmarks: npt.ArrayLike) -> None:
    """Write landmarks to a .pts file, whose pixels count from 1, whole or not at all.

    Args:
        path: the file; missing folders are made.
        landmarks: (68, 2), 0-based px; written to a millionth of a pixel.

    Raises:
        InputError: another shape, NaN or infinite values, or a place that cannot be written.
    """
    points = _as_points(landmarks)
    lines = ["version: 1", f"n_points: {LANDMARK_COUNT}", "{", *(f"{x:.6f} {y:.6f}" for x, y in points + 1), "}"]
    with write_whole(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def validate_landmarks(landmarks: npt.ArrayLike, image_size: tuple[int, int]) -> Points:
    """Check that landmarks can belong to a face in a photo.

    Some may lie outside of the photo, as they do for faces cut by its edge: fewer than half of them, and by no more
    than half of the face's size.

    Args:
        landmarks: (68, 2), 0-based px.
        image_size: (width, height) of the photo, px.

    Returns:
        (68, 2) float64, a copy.

    Raises:
        InputError: another shape or count, NaN or infinite values, all on one spot or line, or outside of the photo.
    """
    points = _as_points(landmarks)
    width, height = image_size
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    if extent < 4:
        advice = (
            "They look like fractions of the photo: multiply x by its width and y by its height."
            if low.min() >= 0 and high.max() <= 1 and extent > 0.01
            else "Give the landmarks of a face."
        )
        raise InputError(
            f"the landmarks span only {extent:.3g} px; points on a face, in pixels, are expected. {advice}"
        )
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if spread[1] < 0.05 * spread[0]:
        raise InputError(
            "the landmarks lie on one line; 68 points spread over a face are expected. "
            "Check that x and y are not the same numbers."
        )
    beyond = np.maximum(-0.5 - points, points - np.array([width - 0.5, height - 0.5])).max(1)
    outside = int((beyond > 0).sum())
    if outside > LANDMARK_COUNT // 2 or beyond.max() > extent / 2:
        raise InputError(
            f"{outside} of the {LANDMARK_COUNT} landmarks lie outside of the photo of {width} x {height} px: they "
            f"span x {low[0]:.1f} to {high[0]:.1f}, y {low[1]:.1f} to {high[1]:.1f}. Give 0-based (x, y) pixels of "
            "this photo, turned upright and at this size."
        )
    return points


def _as_points(landmarks: npt.ArrayLike) -> Points:
    expected = f"({LANDMARK_COUNT}, 2) pixels (x, y) in iBUG / 300-W order"
    try:
        points = np.array(landmarks, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"the landmarks, a {type(landmarks).__name__}, are not an array of numbers; {expected} are expected."
        ) from None
    if points.shape != (LANDMARK_COUNT, 2):
        advice = {
            (2, LANDMARK_COUNT): " Transpose them.",
            (1, LANDMARK_COUNT, 2): " Take the first entry.",
            (LANDMARK_COUNT, 3): " Leave out the third column.",
        }.get(points.shape, "")
        raise InputError(f"the landmarks have shape {points.shape}; {expected} are expected.{advice}")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if bad.size:
        raise InputError(
            f"{bad.size} of the landmarks are NaN or infinite, the first at index {bad[0]}; {expected} are expected."
        )
    return points


def _parse_pts(text: str, path: Path) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    state = "header"
    number = 0
    for number, line, token in _pts_tokens(text):
        if state == "header" and token == "{":
            state = "points"
        elif state == "header":
            match = re.fullmatch(r"(version|n_points|image size x|image size y)\s*:?\s*(\S+)", token, re.IGNORECASE)
            if match is None:
                raise _pts_error(path, number, line, "'version: 1', 'n_points: 68' or '{'")
            if match[1].lower() == "n_points" and match[2] != str(LANDMARK_COUNT):
                raise _pts_error(path, number, line, f"'n_points: {LANDMARK_COUNT}' (iBUG / 300-W order)")
        elif state == "points" and token == "}":
            state = "end"
        elif state == "points":
            points.append(_pts_point(token, path, number, line))
        else:
            raise _pts_error(path, number, line, "nothing after '}'")
    if state != "end":
        missing = "'{'" if state == "header" else "'}'"
        raise InputError(f"'{path}' ends after line {number} without {missing}; it may be cut short.")
    if len(points) != LANDMARK_COUNT:
        raise InputError(
            f"'{path}', line {number}: {len(points)} points end here; {LANDMARK_COUNT} in iBUG / 300-W "
            "order are expected."
        )
    return points


def _pts_tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """(line number, the line, a piece of it): braces are pieces of their own, comments are left out."""
    for number, line in enumerate(text.splitlines(), start=1):
        for token in re.split(r"([{}])", re.split(r"#|//", line, maxsplit=1)[0]):
            if token.strip():
                yield number, line.strip(), token.strip()


def _pts_point(token: str, path: Path, number: int, line: str) -> tuple[float, float]:
    try:
        x, y = map(float, token.split())
    except ValueError:
        raise _pts_error(path, number, line, "two numbers 'x y'") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise _pts_error(path, number, line, "two finite numbers 'x y'")
    return x, y


def _pts_error(path: Path, number: int, line: str, expected: str) -> InputError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return InputError(f"'{path}', line {number}: {shown!r}; {expected} is expected.")


@dataclass(frozen=True)
class _Square:
    """A square of the photo: centre, px; side, px; roll, radians, clockwise as seen."""

    x: float
    y: float
    side: float
    roll: float = 0.0

    def to_photo(self, fractions: Points) -> Points:
        """(..., 2) fractions of the square's side, from its corner -> photo px."""
        c, s = math.cos(self.roll), math.sin(self.roll)
        points: Points = (fractions - 0.5) * self.side @ np.array([[c, s], [-s, c]]) + np.array([self.x, self.y])
        return points

    def sample(self, image: Colours, size: int) -> tuple[Colours, npt.NDArray[np.bool_]]:
        """The square as (size, size, 3), and which of its pixels lie on the photo."""
        if self.roll == 0:
            return crop_square(image, self.x + 0.5 - self.side / 2, self.y + 0.5 - self.side / 2, self.side, size)
        from scipy.ndimage import map_coordinates

        wide = math.ceil(size * (abs(math.cos(self.roll)) + abs(math.sin(self.roll)))) + 2
        upright = _Square(self.x, self.y, self.side * wide / size)
        patch, inside = upright.sample(image, wide)
        across = (np.arange(size) + 0.5) / size
        grid = np.stack(np.meshgrid(across, across), axis=-1)
        turned = _Square((wide - 1) / 2, (wide - 1) / 2, size, self.roll).to_photo(grid)
        places = [turned[..., 1], turned[..., 0]]
        crop = np.empty((size, size, 3), dtype=np.float32)
        for channel in range(3):
            map_coordinates(patch[..., channel], places, output=crop[..., channel], order=1, mode="nearest")
        return crop, map_coordinates(inside.astype(np.uint8), places, order=0, mode="nearest") > 0


@functools.cache
def _session(name: str) -> Any:
    """A network of this package, opened once a process; one thread, so its numbers repeat."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise BackendError(
            f"finding faces needs the package onnxruntime ({error}). Install it (pip install onnxruntime), or give "
            "landmarks of your own."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    content = (resources.files("faceinv") / "data" / name).read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def _run(name: str, crops: Colours) -> npt.NDArray[np.float64]:
    """Give (B, side, side, 3) crops in [0, 1] to a network."""
    images = np.ascontiguousarray(crops.transpose(0, 3, 1, 2) * np.float32(255))
    (result,) = _session(name).run(None, {"image": images})
    return np.asarray(result, dtype=np.float64)


def _searches(image: Colours) -> Iterator[tuple[Colours, _Square, int]]:
    """Where to look for faces: in which image, in which square of it, and at which size the detector sees that."""
    height, width = image.shape[:2]
    long = max(height, width)
    whole = _Square((long - 1) / 2, (long - 1) / 2, long)
    x, y = (width - 1) / 2, (height - 1) / 2
    framed = _Square(x, y, 2 * long)
    yield image, whole, _DETECTOR_SIDE
    for times in (2, 4):
        if long > _DETECTOR_SIDE * times * 0.75:
            yield image, whole, _DETECTOR_SIDE * times
    yield image, framed, _DETECTOR_SIDE
    for degrees in (35, -35, 70, -70):
        yield image, _Square(x, y, 1.25 * long, math.radians(degrees)), _DETECTOR_SIDE
    every = max(1, long // 500)
    low, high = np.percentile(image[::every, ::every], (1, 99))
    if 0 < high - low < _LOW_CONTRAST:
        raised = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
        yield raised, whole, _DETECTOR_SIDE
        yield raised, framed, _DETECTOR_SIDE


def _candidates(image: Colours, square: _Square, size: int) -> Iterator[tuple[_Square, float]]:
    """A square around every face that the detector reports, and its score; the best first."""
    crop, inside = square.sample(image, size)
    crop[~inside] = 0
    cells = _run("face_detector.onnx", crop[None])[0]
    n = cells.shape[1]
    cells = cells.reshape(len(_ANCHORS), 5, n, n).transpose(0, 2, 3, 1)
    scores = _sigmoid(cells[..., 4])
    found = scores > _MIN_SCORE
    rows, columns = np.mgrid[:n, :n]
    centres = (_sigmoid(cells[..., :2]) + np.stack([columns, rows], axis=-1))[found] / n
    extents = (np.exp(cells[..., 2:4]) * _ANCHORS[:, None, None])[found] / n
    scores = scores[found]
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], axis=1)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(_overlap(boxes[index], boxes[other]) < _MAX_OVERLAP for other in kept):
            kept.append(int(index))
    for index in kept:
        x, y = square.to_photo(centres[index])
        yield _Square(float(x), float(y), float(extents[index].max()) * square.side, square.roll), float(scores[index])


def _locate(image: Colours, candidate: _Square, score: float) -> Detection | None:
    """Landmarks of a face that the detector reported; None where the views of it disagree."""
    points = _look(image, [candidate]).mean(0)
    points = _look(image, list(_around(points, _SECOND_PASS))).mean(0)
    views = _look(image, list(_around(points, _LAST_PASS)))
    points = views.mean(0)
    box = np.concatenate([points.min(0), points.max(0)])
    spread = np.linalg.norm(views - points, axis=-1).mean() / (box[2:] - box[:2]).max()
    return Detection(box=box, score=score, landmarks=points) if spread < _MAX_SPREAD else None


def _look(image: Colours, squares: list[_Square]) -> Points:
    """(squares, 68, 2) photo px: the landmarks the network sees in each square, averaged with those in its mirror."""
    crops = np.stack([square.sample(image, _CROP_SIDE)[0] for square in squares])
    seen = _run("face_landmarks68.onnx", np.concatenate([crops, crops[:, :, ::-1]])) + _HALF_PIXEL
    plain, mirrored = np.split(seen, 2)
    mirrored = mirrored[:, MIRRORED] * [-1, 1] + [1, 0]
    both = (plain + mirrored) / 2
    return np.stack([square.to_photo(points) for square, points in zip(squares, both, strict=True)])


def _around(points: Points, views: tuple[tuple[float, float, float], ...]) -> Iterator[_Square]:
    """Squares around landmarks, level with the eyes."""
    right_eye, left_eye = points[36:42].mean(0), points[42:48].mean(0)
    roll = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    c, s = math.cos(roll), math.sin(roll)
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2
    extent = float((high - low).max())
    for side, below, extra in views:
        down = below * side * extent
        yield _Square(x - down * s, y + down * c, side * extent, roll + extra)


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))


def _area(box: npt.NDArray[np.float64]) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))


def _overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Intersection over union of two boxes x0, y0, x1, y1."""
    size: npt.NDArray[Any] = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    if (size <= 0).any():
        return 0.0
    common = float(size[0] * size[1])
    return common / (_area(a) + _area(b) - common)
