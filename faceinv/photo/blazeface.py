"""BlazeFace: boxes of faces in squares of a photo.

Bazarevsky et al., BlazeFace: sub-millisecond neural face detection on mobile GPUs, 2019; the short-range network of
MediaPipe. It sees faces from about a tenth of its square's side to all of it, turned by up to 90 degrees, half
covered, and rolled by up to 90 degrees.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from faceinv.photo.networks import Colours, run_network
from faceinv.photo.pts import Points
from faceinv.photo.square import Square, overlap

__all__ = ["SIDE", "FaceBox", "face_boxes"]

SIDE: Final = 128
"""px of the square that the network takes."""
_LAYERS: Final = ((16, 2), (8, 6))
"""Cells across, and anchors in each cell."""
_MIN_SCORE: Final = 0.5
_SAME_FACE: Final = 0.3
"""Intersection over union from which boxes are of one face."""


@dataclass(frozen=True)
class FaceBox:
    """A face that the network reports: its square, level with the eyes, and how sure it is, 0 to 1."""

    square: Square
    score: float


def face_boxes(image: Colours, square: Square, size: int, min_score: float = _MIN_SCORE) -> list[FaceBox]:
    """The faces in a square of a photo, seen at `size` px, the surest first.

    Above 128 px the square is looked at in tiles of 128 px that overlap by half; so each look sees faces of a tenth
    of a tile to half of it.

    Args:
        image: (H, W, 3) float32, sRGB-encoded values in [0, 1].
        square: where to look; what is outside of the photo is black.
        size: 128 or a power of two times it.
        min_score: from which score faces are reported.
    """
    picture, on_photo = square.sample(image, size)
    picture[~on_photo] = 0
    boxes: list[npt.NDArray[np.float64]] = []
    for x, y in _tiles(size):
        if not on_photo[y : y + SIDE, x : x + SIDE].any():
            continue
        found = _in_tile(picture[y : y + SIDE, x : x + SIDE], min_score)
        found[:, 1:] += np.array([x, y] * (found.shape[1] // 2))
        # Faces near a tile's inner edge are seen whole by the next tile.
        centre = (found[:, 1:3] + found[:, 3:5]) / 2
        low = [0 if start == 0 else start + SIDE / 4 for start in (x, y)]
        high = [size if start + SIDE == size else start + SIDE * 3 / 4 for start in (x, y)]
        boxes.append(found[((centre >= low) & (centre < high)).all(axis=1)])
    merged = _merged(np.concatenate(boxes)) if boxes else ()
    return [_face_box(square, row / ([1.0] + [size] * (len(row) - 1))) for row in merged]


def _tiles(size: int) -> Iterator[tuple[int, int]]:
    starts = range(0, size - SIDE + 1, SIDE // 2)
    return ((x, y) for y in starts for x in starts)


def _in_tile(tile: Colours, min_score: float) -> npt.NDArray[np.float64]:
    """(faces, 9): score, box x0, y0, x1, y1, right eye x, y and left eye x, y, in px of the tile."""
    raw, logits = run_network("face_boxes.onnx", tile[None])
    scores = 1 / (1 + np.exp(-np.clip(logits[0, :, 0], -80, 80)))
    sure = scores >= min_score
    offsets = raw[0, sure]
    centre = _anchors()[sure] + offsets[:, :2]
    half = offsets[:, 2:4] / 2
    eyes = offsets[:, 4:8] + np.tile(_anchors()[sure], 2)
    return np.concatenate([scores[sure, None], centre - half, centre + half, eyes], axis=1)


@functools.cache
def _anchors() -> Points:
    """(896, 2) px of the tile."""
    rows = []
    for cells, count in _LAYERS:
        across = (np.arange(cells) + 0.5) * (SIDE / cells)
        rows.append(np.repeat(np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2), count, axis=0))
    return np.concatenate(rows)


def _merged(found: npt.NDArray[np.float64]) -> Iterator[npt.NDArray[np.float64]]:
    """One row for each face: the mean of the boxes that overlap the surest one, weighted by score."""
    left = found[np.argsort(-found[:, 0], kind="stable")]
    while len(left):
        same = np.array([overlap(left[0, 1:5], other) > _SAME_FACE for other in left[:, 1:5]])
        same[0] = True
        group = left[same]
        yield np.concatenate([left[0, :1], np.average(group[:, 1:], axis=0, weights=group[:, 0])])
        left = left[~same]


def _face_box(square: Square, row: npt.NDArray[np.float64]) -> FaceBox:
    low, high, right, left = square.to_photo(row[1:].reshape(4, 2))
    x, y = (low + high) / 2
    side = float((row[3:5] - row[1:3]).max()) * square.side
    return FaceBox(Square(float(x), float(y), side, math.atan2(left[1] - right[1], left[0] - right[0])), float(row[0]))
