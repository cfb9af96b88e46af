"""The small networks of face-api: a face detector, and 68 landmarks, seen in crops of 112 px.

They see faces from frontal to half profile, and the jaw's points follow its visible contour.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from faceinv.face.landmarks68 import EYES, MIRRORED
from faceinv.photo.networks import Colours, run_network
from faceinv.photo.pts import Points
from faceinv.photo.square import Square, box_around, overlap

__all__ = ["SIDE", "around", "candidates", "locate", "refine"]

SIDE: Final = 416
"""px at which the detector was trained."""
_CROP_SIDE: Final = 112
_ANCHORS: Final = np.array(
    [(1.603231, 2.094468), (6.041143, 7.080126), (2.882459, 3.518061), (4.266906, 5.178857), (9.041765, 10.66308)]
)
_HALF_PIXEL: Final = 0.5 / _CROP_SIDE
"""The resizing that the network was made for lays pixel 0 on pixel 0; the one here lays edges on each other. Without
this, eyes and mouth come out about 1 % of the eye distance too high on portraits."""
_MIN_SCORE: Final = 0.5
_MAX_OVERLAP: Final = 0.4
_MAX_SPREAD: Final = 0.022
"""Views of a face that was located well differ by 0.005 to 0.01 of its size; where it was missed, by 0.03 to 0.06."""
# Squares around a face's landmarks, relative to their box: side, how far the centre lies below the box's (in sides),
# and roll in radians. The mean over several squares, each also mirrored, is steadier than any one of them.
_SECOND_PASS: Final = ((1.2, 0.05, 0.0),)
_LAST_PASS: Final = tuple((side, below, roll) for side in (1.1, 1.3) for below in (0.0, 0.1) for roll in (-0.1, 0.1))

_CONTOUR_PASS: Final = ((1.1, 0.0, -0.1), (1.3, 0.1, -0.1), (1.1, 0.1, 0.1), (1.3, 0.0, 0.1))


def candidates(
    image: Colours, square: Square, size: int, min_score: float = _MIN_SCORE
) -> Iterator[tuple[Square, float]]:
    """A square around every face that the detector sees in a square of `size` px, and its score; the best first."""
    crop, on_photo = square.sample(image, size)
    crop[~on_photo] = 0
    (cells,) = run_network("face_detector.onnx", crop[None])
    n = cells.shape[2]
    cells = cells[0].reshape(len(_ANCHORS), 5, n, n).transpose(0, 2, 3, 1)
    scores = _sigmoid(cells[..., 4])
    sure = scores > min_score
    rows, columns = np.mgrid[:n, :n]
    centres = (_sigmoid(cells[..., :2]) + np.stack([columns, rows], axis=-1))[sure] / n
    extents = (np.exp(cells[..., 2:4]) * _ANCHORS[:, None, None])[sure] / n
    scores = scores[sure]
    boxes = np.concatenate([centres - extents / 2, centres + extents / 2], axis=1)
    kept: list[int] = []
    for index in np.argsort(-scores, kind="stable"):
        if all(overlap(boxes[index], boxes[other]) < _MAX_OVERLAP for other in kept):
            kept.append(int(index))
    for index in kept:
        x, y = square.to_photo(centres[index])
        yield Square(float(x), float(y), float(extents[index].max()) * square.side, square.roll), float(scores[index])


def locate(image: Colours, square: Square) -> Points | None:
    """(68, 2) photo px of a face in the detector's square; None where the views of it disagree."""
    points = _look(image, [square]).mean(0)
    points = _look(image, list(around(points, _SECOND_PASS))).mean(0)
    return _agreed(image, points, _LAST_PASS)


def refine(image: Colours, points: Points) -> Points | None:
    """(68, 2) photo px, seen in squares around points (68, 2) px of a face; None where the views disagree."""
    return _agreed(image, points, _CONTOUR_PASS)


def _agreed(image: Colours, points: Points, squares: tuple[tuple[float, float, float], ...]) -> Points | None:
    views = _look(image, list(around(points, squares)))
    points = views.mean(0)
    box = box_around(points)
    spread = np.linalg.norm(views - points, axis=-1).mean() / (box[2:] - box[:2]).max()
    return points if spread < _MAX_SPREAD else None


def around(points: Points, views: tuple[tuple[float, float, float], ...]) -> Iterator[Square]:
    """Squares around landmarks (68, 2), level with the eyes, for views (side over the box's, below, roll)."""
    right_eye, left_eye = (points[eye].mean(0) for eye in EYES)
    roll = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    c, s = math.cos(roll), math.sin(roll)
    low, high = points.min(0), points.max(0)
    x, y = (low + high) / 2
    extent = float((high - low).max())
    for side, below, extra in views:
        down = below * side * extent
        yield Square(x - down * s, y + down * c, side * extent, roll + extra)


def _look(image: Colours, squares: list[Square]) -> Points:
    """(squares, 68, 2) photo px: the landmarks the network sees in each square, averaged with those in its mirror."""
    crops = np.stack([square.sample(image, _CROP_SIDE)[0] for square in squares])
    (seen,) = run_network("face_landmarks68.onnx", np.concatenate([crops, crops[:, :, ::-1]]))
    plain, mirrored = np.split(seen + _HALF_PIXEL, 2)
    mirrored = mirrored[:, MIRRORED] * [-1, 1] + [1, 0]
    both = (plain + mirrored) / 2
    return np.stack([square.to_photo(points) for square, points in zip(squares, both, strict=True)])


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 1 / (1 + np.exp(-x))
