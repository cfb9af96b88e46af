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
from faceinv.photo.face_mesh import MeshFace
from faceinv.photo.networks import Colours
from faceinv.photo.pts import Points
from faceinv.photo.square import Box, Square, area, box_around, covered, overlap

__all__ = ["Colours", "Detection", "detect_faces", "sees_face_at", "smallest_face"]

_TIMES: Final = (1, 2, 4)
"""A detector's own size at which a photo is looked at."""
_SAME_FACE: Final = 0.5
"""Of the smaller of two boxes: one that lies in another by more than this is the same face, or a part of it."""
_FILLS: Final = 0.3
"""Of the image's longer side: next to a face as large as this, nobody looks for small ones unless asked."""
_LOW_CONTRAST: Final = 0.7
_MIN_PRESENCE: Final = 10.0
_MAX_DISAGREEMENT: Final = 0.03
"""On portraits the mesh's presence is 14 to 26, its disagreement .005 to .016; .015 to .027 with covered eyes, a mask or
half a face. Past 60 degrees of yaw presence falls below 10, to -7 at 80 degrees, with a disagreement up to .042."""
_NO_FACE: Final = -8.0
_MAX_DISAGREEMENT_ALONE: Final = 0.045
"""Where there is no face presence is -20 to 4, and disagreement at least .048 when it is above -8."""
_MAX_GAP: Final = 0.075
"""Between the two networks' landmarks: .025 to .07 on faces, as their definitions differ."""
_MIN_SCORE_NEARBY: Final = 0.35
_MIN_OVERLAP_NEARBY: Final = 0.35
"""Of the detector's square and the landmarks' box; 0.55 to 0.7 on portraits."""
_NEARBY: Final = ((2.2, 0.0, 0.0), (1.6, 0.0, 0.0), (3.2, 0.0, 0.0))

_Look = Callable[[Colours, Square, int], Iterator[tuple[Square, float]]]
"""A detector: gives the squares of the faces that it sees in a square of so many px, and its scores."""


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
            about .01 where they are seen well.
    """

    box: Box
    score: float
    landmarks: Points
    source: SourceName
    disagreement: float


def smallest_face(size: tuple[int, int]) -> int:
    """Px from brows to chin of the smallest faces that are found in an image of a size (width, height), px.

    Measured with eight portraits: of this size all are found, of two thirds of it few.
    """
    looks = _sizes(max(size), blazeface.SIDE)
    return math.ceil(max(size) / (10 * looks[-1] / blazeface.SIDE))


def detect_faces(image: Colours, *, every: bool = False) -> tuple[Detection, ...]:
    """Find faces and their 68 landmarks.

    Faces are looked for in the whole image, seen at 128 px, 256 px and 512 px (as far as the image has them), since
    one look sees faces of a tenfold range of sizes; a face that several looks see is given once, as the first saw it.
    A portrait, whose face is 0.3 of the image's longer side or more, is looked at only once unless `every` face is
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
    faces = _found(image, _seen_by_blazeface, blazeface.SIDE, every)
    if not faces:
        faces = _found(image, _seen_by_small_network, small_network.SIDE, every)
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
        square = replace(square, roll=step * round(square.roll / step))
        for candidate, _ in small_network.candidates(image, square, small_network.SIDE, _MIN_SCORE_NEARBY):
            if overlap(candidate.box, box) > _MIN_OVERLAP_NEARBY:
                return True
    return False


def _found(image: Colours, look: _Look, smallest: int, every: bool) -> list[Detection]:
    """The faces that one detector sees, which looks at squares of `smallest` px or times that."""
    long = max(image.shape[:2])
    whole = Square((long - 1) / 2, (long - 1) / 2, long)
    faces: list[Detection] = []
    for size in _sizes(long, smallest):
        _add(faces, image, look(image, whole, size))
        if not every and any((face.box[2:] - face.box[:2]).max() >= _FILLS * long for face in faces):
            break
    for shown, square in () if faces else _hard_cases(image, whole):
        _add(faces, shown, look(shown, square, smallest))
        if faces:
            break
    return faces


def _sizes(long: int, smallest: int) -> list[int]:
    """At which sizes an image of this longer side is seen: those that do not enlarge it much."""
    return [smallest * times for times in _TIMES if times == 1 or long > smallest * times * 0.75]


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


def _seen_by_blazeface(image: Colours, square: Square, size: int) -> Iterator[tuple[Square, float]]:
    return ((found.square, found.score) for found in blazeface.face_boxes(image, square, size))


def _seen_by_small_network(image: Colours, square: Square, size: int) -> Iterator[tuple[Square, float]]:
    return small_network.candidates(image, square, size)


def _add(faces: list[Detection], image: Colours, seen: Iterator[tuple[Square, float]]) -> None:
    """Append the faces in squares that a detector gave and that are not among `faces` yet."""
    for square, score in seen:
        if not _is_new(square.box, faces):
            continue  # which saves locating it once more
        face = _located(image, square, score)
        if face is not None and _is_new(face.box, faces):
            faces.append(face)


def _is_new(box: Box, faces: list[Detection]) -> bool:
    return all(covered(box, face.box) <= _SAME_FACE for face in faces)


def _located(image: Colours, square: Square, score: float) -> Detection | None:
    """A face in a detector's square, by the network that can be trusted with it; None where none can."""
    seen = face_mesh.locate(image, square)
    if seen.presence < _NO_FACE:
        return None
    sure = seen.presence > _MIN_PRESENCE and seen.disagreement < _MAX_DISAGREEMENT
    contour = small_network.refine(image, seen.points)
    if contour is not None and _gap(contour, seen.points) < _MAX_GAP:
        points = np.concatenate([contour[JAW], seen.points[INNER]])
        return Detection(box_around(points), score, points, "face mesh", seen.disagreement)
    if not sure:
        located = small_network.locate(image, square)
        if located is not None:
            return Detection(box_around(located), score, located, "small network", seen.disagreement)
    if sure or seen.disagreement < _MAX_DISAGREEMENT_ALONE:
        return Detection(box_around(seen.points), score, seen.points, "face mesh outline", seen.disagreement)
    return None


def _gap(one: Points, other: Points) -> float:
    """Mean distance of the inner landmarks of two sets, over the distance of the eyes."""
    return float(np.linalg.norm((one - other)[INNER], axis=1).mean() / eye_distance(other))
