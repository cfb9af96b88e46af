"""Faces of a photo and their 68 landmarks.

Landmarks are (68, 2) float64, (x, y) in pixels, 0-based, pixel centres at integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from faceinv.errors import InputError
from faceinv.face.landmark_sources import SourceName
from faceinv.face.landmarks68 import INNER, JAW
from faceinv.photo import blazeface, face_mesh, small_network
from faceinv.photo.crop import eye_distance
from faceinv.photo.networks import Colours
from faceinv.photo.pts import Points
from faceinv.photo.square import Box, Square, area, box_around, covered, overlap

__all__ = ["Colours", "Detection", "detect_faces", "sees_face_at", "smallest_face"]

_TIMES: Final = (1, 2, 4, 8)
"""Sizes at which a photo is looked at, over a detector's own."""
_LARGEST: Final = 1664
_LAST_RESORT: Final = 1000
"""px: larger looks are slow, and are left out where there are faces already and not every one is wanted."""
_SMALLEST: Final = 18
"""px from brows to chin."""
_SAME_FACE: Final = 0.5
"""Of the smaller of two boxes: one that lies in another by more than this is the same face, or a part of it."""
_FILLS: Final = 0.18
"""Of the image's longer side: next to a face as large as this, nobody looks for small ones unless asked."""
_LOW_CONTRAST: Final = 0.7
_NO_FACE: Final = -8.0
_MAX_DISAGREEMENT: Final = 0.045
"""Presence is 14 to 26 on portraits and falls to -7 towards a yaw of 80 degrees; where there is no face it is -20 to
4. Disagreement is .005 to .016 on portraits, .015 to .027 with covered eyes, a mask or half a face, up to .042 at 80
degrees; where there is no face at least .048 if presence is above -8, mostly .07 to .6."""
_MAX_DISAGREEMENT_CONFIRMED: Final = 0.06
"""Where another network sees the face as well."""
_MAX_GAP: Final = 0.075
"""Between the two networks' landmarks: .025 to .07 on faces, as their definitions differ."""
_MIN_SCORE_NEARBY: Final = 0.35
_MIN_BLAZEFACE_NEARBY: Final = 0.7
"""It takes 0.5 for things that are no faces, and gives those 0.8 to 1."""
_MIN_OVERLAP_NEARBY: Final = 0.35
"""Of the detector's square and the landmarks' box; 0.55 to 0.7 on portraits."""
_NEARBY: Final = ((2.2, 0.0, 0.0), (1.6, 0.0, 0.0), (3.2, 0.0, 0.0))


@dataclass(frozen=True, eq=False)
class Detection:
    """A face that was found in an image.

    Attributes:
        box: (4,) float64, x0, y0, x1, y1, px: the box around the landmarks, from the brows to the chin.
        score: the detector's confidence, 0.5 to 1.
        landmarks: (68, 2) float64, px of the image.
        source: which network's definition of the landmarks they follow, for
            `faceinv.face.landmark_sources.landmark_source`.
        disagreement: mean distance of the inner landmarks in two views of the face, as a share of the eye distance;
            about .01 where they are seen well. None where it is not known.
    """

    box: Box
    score: float
    landmarks: Points
    source: SourceName
    disagreement: float | None


def smallest_face(size: tuple[int, int]) -> int:
    """Px from brows to chin of the smallest faces that are found in an image of a size (width, height), px.

    Measured with eight portraits: of this size all are found, of two thirds of it few.
    """
    finest = _sizes(max(size), blazeface.SIDE)[-1]
    return max(_SMALLEST, math.ceil(max(size) / (8 * finest / blazeface.SIDE)))


def detect_faces(image: Colours, *, every: bool = False) -> tuple[Detection, ...]:
    """Find faces and their 68 landmarks.

    Faces are looked for in the whole image, seen at 128 to 1024 px (as far as the image has them), since one look sees
    faces of an eightfold range of sizes; a face that several looks see is given once, as the first saw it.
    A portrait, whose face is 0.18 of the image's longer side or more, is looked at only once unless `every` face is
    wanted. When there is none, looks follow in a frame around the image (a face that fills it), with the image rolled
    either way, and with its contrast raised; and all of these again with another detector.

    Found are faces from frontal to profile, half covered or masked too, the right way up or rolled by up to 90
    degrees, and as large as `smallest_face` says.

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
    faces = _found(image, _BY_BLAZEFACE, every) or _found(image, _BY_SMALL_NETWORK, every)
    return tuple(sorted(faces, key=lambda face: -area(face.box)))


def sees_face_at(image: Colours, landmarks: Points) -> bool:
    """Whether a detector sees a face where landmarks (68, 2) px are, about as large and the same way up.

    It looks at squares around them, level with their eyes to 15 degrees (which the detectors do not mind), and is more
    easily content than `detect_faces`.

    Raises:
        BackendError: the package onnxruntime is missing.
    """
    box = box_around(landmarks)
    for square in small_network.around(landmarks, _NEARBY):
        step = math.radians(30)
        level = replace(square, roll=step * round(square.roll / step))
        for found in blazeface.face_boxes(image, level, blazeface.SIDE, _MIN_BLAZEFACE_NEARBY):
            if overlap(found.square.box, box) > _MIN_OVERLAP_NEARBY and _turn(found.square, square) < math.pi / 4:
                return True
        for candidate, _ in small_network.candidates(image, level, small_network.SIDE, _MIN_SCORE_NEARBY):
            if overlap(candidate.box, box) > _MIN_OVERLAP_NEARBY:
                return True
    return False


def _turn(one: Square, other: Square) -> float:
    """The angle between two squares, radians from 0 to pi."""
    return abs(math.remainder(one.roll - other.roll, 2 * math.pi))


@dataclass(frozen=True)
class _Search:
    """A detector, and how a face that it reports is located."""

    side: int
    """px of its own size."""
    squares: Callable[[Colours, Square, int], Iterator[tuple[Square, float]]]
    """Of the faces it sees in a square of an image, seen at so many px; and its scores."""
    locate: Callable[[Colours, Square, float], Detection | None]


def _found(image: Colours, search: _Search, every: bool) -> list[Detection]:
    """The faces that one search finds."""
    long = max(image.shape[:2])
    whole = Square((long - 1) / 2, (long - 1) / 2, long)
    faces: list[Detection] = []
    for size in _sizes(long, search.side):
        if faces and size > _LAST_RESORT and not every:
            break
        _look(faces, search, image, whole, size)
        if not every and any((face.box[2:] - face.box[:2]).max() >= _FILLS * long for face in faces):
            break
    for shown, square in () if faces else _hard_cases(image, whole):
        _look(faces, search, shown, square, search.side)
        if faces:
            break
    return faces


def _look(faces: list[Detection], search: _Search, image: Colours, square: Square, size: int) -> None:
    """Append the faces that one look finds and that are not among `faces` yet."""

    def is_new(box: Box) -> bool:
        return all(covered(box, face.box) <= _SAME_FACE for face in faces)

    for candidate, score in search.squares(image, square, size):
        if is_new(candidate.box):  # which saves locating it once more
            face = search.locate(image, candidate, score)
            if face is not None and is_new(face.box):
                faces.append(face)


def _sizes(long: int, smallest: int) -> list[int]:
    """At which sizes an image of this longer side is seen: those that do not enlarge it much."""
    sizes = [smallest * times for times in _TIMES if times == 1 or long > smallest * times * 0.75]
    return [size for size in sizes if size <= _LARGEST]


def _hard_cases(image: Colours, whole: Square) -> Iterator[tuple[Colours, Square]]:
    """Where to look when the whole image shows no face: in which image, and which square of it."""
    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    framed = Square(x, y, 2 * whole.side)
    yield image, framed
    for degrees in (35, -35, 70, -70):
        yield image, Square(x, y, 1.25 * whole.side, math.radians(degrees))
    every = max(1, max(height, width) // 500)
    low, high = np.percentile(image[::every, ::every], (1, 99))
    if 0 < high - low < _LOW_CONTRAST:
        raised = np.clip((image - np.float32(low)) / np.float32(high - low), 0, 1)
        yield raised, whole
        yield raised, framed


def _blazeface_squares(image: Colours, square: Square, size: int) -> Iterator[tuple[Square, float]]:
    return ((found.square, found.score) for found in blazeface.face_boxes(image, square, size))


def _small_squares(image: Colours, square: Square, size: int) -> Iterator[tuple[Square, float]]:
    return small_network.candidates(image, square, size)


def _by_mesh(image: Colours, square: Square, score: float) -> Detection | None:
    """A face in a detector's square by the mesh's inner landmarks and, where it sees the face, the small network's jaw.

    None where the mesh is not to be trusted.
    """
    seen = face_mesh.locate(image, square, _NO_FACE)
    if seen is None or seen.disagreement > _MAX_DISAGREEMENT_CONFIRMED:
        return None
    points: Points = seen.points
    source: SourceName = "face mesh outline"
    contour = small_network.refine(image, points)
    if contour is not None and _gap(contour, points) < _MAX_GAP:
        points, source = np.concatenate([contour[JAW], points[INNER]]), "face mesh"
    elif seen.disagreement > _MAX_DISAGREEMENT:
        return None
    return Detection(box_around(points), score, points, source, seen.disagreement)


def _by_either(image: Colours, square: Square, score: float) -> Detection | None:
    """As `_by_mesh`, or else by the small network alone; None where its views disagree."""
    face = _by_mesh(image, square, score)
    if face is None and (points := small_network.locate(image, square)) is not None:
        face = Detection(box_around(points), score, points, "small network", None)
    return face


def _gap(one: Points, other: Points) -> float:
    """Mean distance of the inner landmarks of two sets, over the distance of the eyes."""
    return float(np.linalg.norm((one - other)[INNER], axis=1).mean() / eye_distance(other))


_BY_BLAZEFACE: Final = _Search(blazeface.SIDE, _blazeface_squares, _by_mesh)
_BY_SMALL_NETWORK: Final = _Search(small_network.SIDE, _small_squares, _by_either)
