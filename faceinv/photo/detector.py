"""Faces and their 68 landmarks, found by two small networks.

Landmarks are (68, 2) float64, (x, y) in pixels, 0-based, pixel centres at integers.
"""

from __future__ import annotations

import functools
import importlib
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from faceinv.errors import BackendError, InputError
from faceinv.face.landmarks68 import MIRRORED
from faceinv.photo.pts import Points
from faceinv.photo.resample import crop_square
from faceinv.process import alone

__all__ = ["Colours", "Detection", "detect_faces", "sees_face_at", "smallest_face"]

Colours = npt.NDArray[np.float32]
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
_SAME_FACE = 0.5
"""Of the smaller of two boxes: one that lies in another by more than this is the same face, or a part of it."""
_FILLS = 0.3
"""Of the image's longer side: next to a face as large as this, nobody looks for small ones unless asked."""
_LOW_CONTRAST = 0.7
_MAX_SPREAD = 0.022
"""Views of a face that was located well differ by 0.005 to 0.01 of its size; where it was missed, by 0.03 to 0.06."""
_MIN_SCORE_NEARBY = 0.35
_MIN_OVERLAP_NEARBY = 0.35
"""Of the detector's square and the landmarks' box; 0.55 to 0.7 on portraits."""
# Squares around a face's landmarks, relative to their box: side, how far the centre lies below the box's (in sides),
# and roll in radians. The mean over several squares, each also mirrored, is steadier than any one of them.
_SECOND_PASS = ((1.2, 0.05, 0.0),)
_NEARBY = ((2.2, 0.0, 0.0), (1.6, 0.0, 0.0), (3.2, 0.0, 0.0))
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


def smallest_face(size: tuple[int, int]) -> int:
    """Px from brows to chin of the smallest faces that are found in an image of a size (width, height), px.

    Measured with eight portraits: of this size all are found, of two thirds of it few.
    """
    looks = _sizes(max(size))
    return math.ceil(max(size) / (10 * looks[-1] / _DETECTOR_SIDE))


def detect_faces(image: Colours, *, every: bool = False) -> tuple[Detection, ...]:
    """Find faces and their 68 landmarks.

    Faces are looked for in the whole image, seen at 416 px, 832 px and 1664 px (as far as the image has them), since
    one look sees faces of a tenfold range of sizes; a face that several looks see is given once, as the first saw it.
    A portrait, whose face is 0.3 of the image's longer side or more, is looked at only once unless `every` face is
    wanted. When there is none, looks follow in a frame around the image (a face that fills it), with the image rolled
    either way, and with its contrast raised.

    Found are faces from frontal to half profile (of 16 drawn heads all at a yaw of 30 degrees, 13 at 45, 5 at 60),
    the right way up or rolled by up to 90 degrees, and as large as `smallest_face` says.

    Args:
        image: (H, W, 3) float32, sRGB-encoded values in [0, 1].
        every: whether small faces are looked for beside a large one.

    Returns:
        The faces, the one with the largest box first; empty when none was found.

    Raises:
        InputError: an array of another shape, or with NaN.
        BackendError: the package onnxruntime is missing.
    """
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape or not np.issubdtype(image.dtype, np.floating):
        raise InputError(
            f"faces are looked for in a float image (height, width, 3); this is {image.dtype} of shape {image.shape}. "
            "Read it with faceinv.photo.read.load_image."
        )
    if not np.isfinite(image).all():
        raise InputError("the image holds NaN or infinite values. Replace them first.")
    long = max(image.shape[:2])
    faces: list[Detection] = []
    for shown, square, size in _whole(image):
        _look_for_more(faces, shown, square, size)
        if not every and any((face.box[2:] - face.box[:2]).max() >= _FILLS * long for face in faces):
            break
    for shown, square, size in () if faces else _hard_cases(image):
        _look_for_more(faces, shown, square, size)
        if faces:
            break
    return tuple(sorted(faces, key=lambda face: -_area(face.box)))


def sees_face_at(image: Colours, landmarks: Points) -> bool:
    """Whether the detector sees a face where landmarks (68, 2) px are, about as large and the same way up.

    It looks at squares around them, level with their eyes to 15 degrees (which the detector does not mind), and is more
    easily content than `detect_faces`.

    Raises:
        BackendError: the package onnxruntime is missing.
    """
    box = np.concatenate([landmarks.min(0), landmarks.max(0)])
    for square in _around(landmarks, _NEARBY):
        step = math.radians(30)
        square = replace(square, roll=step * round(square.roll / step))
        for candidate, _ in _candidates(image, square, _DETECTOR_SIDE, _MIN_SCORE_NEARBY):
            half = candidate.side / 2
            centre = np.array([candidate.x, candidate.y])
            if _overlap(np.concatenate([centre - half, centre + half]), box) > _MIN_OVERLAP_NEARBY:
                return True
    return False


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
        patch, on_photo = upright.sample(image, wide)
        across = (np.arange(size) + 0.5) / size
        grid = np.stack(np.meshgrid(across, across), axis=-1)
        turned = _Square((wide - 1) / 2, (wide - 1) / 2, size, self.roll).to_photo(grid)
        places = [turned[..., 1], turned[..., 0]]
        crop = np.empty((size, size, 3), dtype=np.float32)
        for channel in range(3):
            map_coordinates(patch[..., channel], places, output=crop[..., channel], order=1, mode="nearest")
        return crop, map_coordinates(on_photo.astype(np.uint8), places, order=0, mode="nearest") > 0


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
    with alone("Landmark detection"):
        (result,) = _session(name).run(None, {"image": images})
    return np.asarray(result, dtype=np.float64)


def _whole(image: Colours) -> Iterator[tuple[Colours, _Square, int]]:
    """The image, the square around it, and the sizes, from small to large, at which the detector sees that."""
    long = max(image.shape[:2])
    for size in _sizes(long):
        yield image, _Square((long - 1) / 2, (long - 1) / 2, long), size


def _sizes(long: int) -> list[int]:
    """At which sizes the detector sees an image of this longer side: those that do not enlarge it much."""
    return [_DETECTOR_SIDE * times for times in (1, 2, 4) if times == 1 or long > _DETECTOR_SIDE * times * 0.75]


def _hard_cases(image: Colours) -> Iterator[tuple[Colours, _Square, int]]:
    """Where to look when the whole image shows no face: in which image, which square of it, and at which size."""
    height, width = image.shape[:2]
    long = max(height, width)
    whole = _Square((long - 1) / 2, (long - 1) / 2, long)
    x, y = (width - 1) / 2, (height - 1) / 2
    framed = _Square(x, y, 2 * long)
    yield image, framed, _DETECTOR_SIDE
    for degrees in (35, -35, 70, -70):
        yield image, _Square(x, y, 1.25 * long, math.radians(degrees)), _DETECTOR_SIDE
    every = max(1, long // 500)
    low, high = np.percentile(image[::every, ::every], (1, 99))
    if 0 < high - low < _LOW_CONTRAST:
        raised = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
        yield raised, whole, _DETECTOR_SIDE
        yield raised, framed, _DETECTOR_SIDE


def _look_for_more(faces: list[Detection], image: Colours, square: _Square, size: int) -> None:
    """Append the faces that one look sees and that are not among `faces` yet."""
    for candidate, score in _candidates(image, square, size):
        half = candidate.side / 2
        centre = np.array([candidate.x, candidate.y])
        if any(_covered(np.concatenate([centre - half, centre + half]), face.box) > _SAME_FACE for face in faces):
            continue  # which saves locating it once more
        face = _locate(image, candidate, score)
        if face is not None and all(_covered(face.box, other.box) <= _SAME_FACE for other in faces):
            faces.append(face)


def _candidates(
    image: Colours, square: _Square, size: int, min_score: float = _MIN_SCORE
) -> Iterator[tuple[_Square, float]]:
    """A square around every face that the detector reports, and its score; the best first."""
    crop, on_photo = square.sample(image, size)
    crop[~on_photo] = 0
    cells = _run("face_detector.onnx", crop[None])[0]
    n = cells.shape[1]
    cells = cells.reshape(len(_ANCHORS), 5, n, n).transpose(0, 2, 3, 1)
    scores = _sigmoid(cells[..., 4])
    sure = scores > min_score
    rows, columns = np.mgrid[:n, :n]
    centres = (_sigmoid(cells[..., :2]) + np.stack([columns, rows], axis=-1))[sure] / n
    extents = (np.exp(cells[..., 2:4]) * _ANCHORS[:, None, None])[sure] / n
    scores = scores[sure]
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


def _common(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """The area that two boxes x0, y0, x1, y1 share."""
    size: npt.NDArray[Any] = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    return float(size[0] * size[1]) if (size > 0).all() else 0.0


def _overlap(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """Intersection over union of two boxes."""
    common = _common(a, b)
    return common / (_area(a) + _area(b) - common)


def _covered(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    """The share of the smaller of two boxes that lies in the other."""
    return _common(a, b) / min(_area(a), _area(b))
