"""MediaPipe's Face Mesh V2: where the points of a face are, in a square of a photo around it.

The network gives 478 points; those that lie where iBUG / 300-W has its 68 are used. Its outline does not follow the
visible contour of the jaw.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from faceinv.face.landmarks68 import INNER, MIRRORED, OUTER_EYES
from faceinv.photo.networks import Colours, run_network
from faceinv.photo.pts import Points
from faceinv.photo.square import Square

__all__ = ["MeshFace", "locate"]

_SIDE: Final = 256
_MARGIN: Final = 1.5
"""Side of the square over that of the points' box."""
_LOOKS: Final = 3
"""At most, before the mirror's."""
_SETTLED: Final = 0.05
"""Squares that differ by less, in place and size over the side and in roll (radians), need no further look: with it
landmarks move by .3 % of the eye distance, and are no nearer to the truth (89 rendered heads, 2.1 % off each way)."""
_IBUG: Final = np.array(
    [
        *(162, 234, 93, 58, 172, 136, 149, 148, 152, 377, 378, 365, 397, 288, 323, 454, 389),  # jaw
        *(70, 63, 105, 66, 107, 336, 296, 334, 293, 300),  # brows
        *(168, 197, 5, 4, 98, 97, 2, 326, 327),  # nose
        *(33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380),  # eyes
        *(61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181),  # lips, outside
        *(78, 82, 13, 312, 308, 317, 14, 87),  # lips, inside
    ]
)
"""Which of the network's points are those of iBUG."""


@dataclass(frozen=True, eq=False)
class MeshFace:
    """What the network says of one face."""

    points: Points
    """(68, 2) px of the photo."""
    presence: float
    """A logit: 14 to 26 on faces that are seen well, about -20 to 1 where there is none."""
    disagreement: float
    """Mean distance of the inner points from those of the mirrored crop, over the distance of the outer eye corners."""


def locate(image: Colours, square: Square, min_presence: float = -math.inf) -> MeshFace | None:
    """Look at a face two or three times, each time in a square around what was seen before, and last in a mirror too.

    Args:
        image: (H, W, 3) float32, sRGB-encoded values in [0, 1].
        square: the detector's, as large as the face and level with its eyes.
        min_presence: logit below which a look is the last, and the answer None.
    """
    square = _enlarged(square)
    crop, _ = square.sample(image, _SIDE)
    seen, presence = _look(crop)
    for looks in range(1, _LOOKS):
        if presence < min_presence:
            return None
        following = _around(square, seen)
        if looks > 1 and _alike(square, following):
            break
        square = following
        crop, _ = square.sample(image, _SIDE)
        seen, presence = _look(crop)
    mirrored, presence_mirrored = _look(np.ascontiguousarray(crop[:, ::-1]))
    plain, other = seen[_IBUG], mirrored[_IBUG][MIRRORED] * [-1, 1, 1] + [1, 0, 0]
    mean = (plain + other) / 2
    gap = np.linalg.norm((plain - other)[INNER, :2], axis=1).mean()
    eyes = np.linalg.norm(mean[OUTER_EYES[0]] - mean[OUTER_EYES[1]])
    presence = max(presence, presence_mirrored)
    if presence < min_presence:
        return None
    points: Points = square.to_photo(mean[:, :2])
    return MeshFace(points, presence, float(gap / eyes) if eyes > 0 else math.inf)


def _look(crop: Colours) -> tuple[npt.NDArray[np.float64], float]:
    """(478, 3) fractions of the crop from its corner (depth: of its side), and the presence logit."""
    points, presence = run_network("face_mesh478.onnx", crop[None])
    return points[0] / _SIDE, float(presence[0, 0])


def _around(square: Square, seen: npt.NDArray[np.float64]) -> Square:
    """The square to look at next: level with the eyes, around all points."""
    right, left = seen[_IBUG[OUTER_EYES[0]], :2], seen[_IBUG[OUTER_EYES[1]], :2]
    roll = math.atan2(left[1] - right[1], left[0] - right[0])
    c, s = math.cos(roll), math.sin(roll)
    turned = seen[:, :2] @ np.array([[c, -s], [s, c]])
    low, high = turned.min(axis=0), turned.max(axis=0)
    centre = (low + high) / 2 @ np.array([[c, s], [-s, c]])
    x, y = square.to_photo(centre)
    return _enlarged(Square(float(x), float(y), float((high - low).max()) * square.side, square.roll + roll))


def _alike(one: Square, other: Square) -> bool:
    away = math.hypot(one.x - other.x, one.y - other.y) / one.side
    return max(away, abs(other.side / one.side - 1), abs(other.roll - one.roll)) < _SETTLED


def _enlarged(square: Square) -> Square:
    return Square(square.x, square.y, square.side * _MARGIN, square.roll)
