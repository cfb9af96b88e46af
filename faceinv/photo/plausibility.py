"""What makes one doubt that landmarks and mask belong to the face in the photo.

Numbers that cannot be a face at all are errors of `validate_landmarks`. Here is what can be fitted, but should be
looked at: landmarks in another order, the wrong way up, out of place, or beside the face that the photo shows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

import numpy as np

from faceinv.errors import BackendError
from faceinv.face.camera import Camera, fit_weak_perspective
from faceinv.face.landmarks68 import MIRRORED
from faceinv.photo.detector import detect_faces, sees_face_at
from faceinv.photo.hull import inside_hull

if TYPE_CHECKING:
    import numpy.typing as npt

    from faceinv.photo.detector import Colours, Detection
    from faceinv.photo.pts import Points

__all__ = ["Doubt", "DoubtKind", "doubts", "landmark_doubts", "mask_doubts", "mask_share", "place_doubts"]

DoubtKind = Literal[
    "mirrored landmarks",
    "upside-down landmarks",
    "unordered landmarks",
    "misplaced landmark",
    "landmarks of another size",
    "landmarks of another place",
    "turned landmarks",
    "mask beside the face",
    "focal length",
    "several faces",
]
_INNER: Final = slice(17, 68)
"""All but the jaw, whose landmarks slide along the outline as the head turns."""
_GROUPS: Final = {
    "jaw (0 to 16)": slice(0, 17),
    "brows (17 to 26)": slice(17, 27),
    "nose (31 to 35)": slice(31, 36),
    "eyes (36 to 47)": slice(36, 48),
    "mouth (48 to 67)": slice(48, 68),
}
# Measured with 6000 random faces and expressions of the packaged model at yaws to 90, pitches to 40 and rolls to 180
# degrees, points off by up to 3 mm (one sigma): against the mean face under its best pose the inner landmarks were off
# by up to 20 mm on average (root mean square), one of them by up to 45, one of the jaw by up to 72.
_MAX_DEVIATION: Final = 25.0
_MAX_INNER: Final = 60.0
_MAX_JAW: Final = 90.0
_MIN_WRONG_ORDER: Final = 12.0
"""mm: below, a group whose mirrored order fits better is chance."""
_MIRROR_GAIN: Final = 0.6
_AWAY: Final = -0.3
"""Cosine of the angle to the viewer; profiles came out at -0.05 or more."""
_SEEN: Final = 0.75
"""Cosine of the angle to the viewer above which the detector is sure to see a face."""
_MIN_MASK_SHARE: Final = 0.3


@dataclass(frozen=True)
class Doubt:
    """Something about the input that may be wrong; as text, `kind: sentence`."""

    kind: DoubtKind
    sentence: str
    """What was seen, and what to do about it."""

    def __str__(self) -> str:
        return f"{self.kind}: {self.sentence}"


def doubts(
    landmarks: Points, mean_points: npt.NDArray[np.floating], image: Colours, mask: npt.NDArray[np.bool_] | None = None
) -> tuple[Doubt, ...]:
    """All that speaks against landmarks that were given (not found) for a photo, and against its mask.

    Args:
        landmarks: (68, 2) px, checked by `validate_landmarks`.
        mean_points: (68, 3) mm, the landmarks of the model's mean face.
        image: (H, W, 3) float32, sRGB-encoded.
        mask: (H, W) the pixels that may be used.
    """
    order = landmark_doubts(landmarks, mean_points)
    place = () if order else place_doubts(landmarks, mean_points, image)
    return (*order, *place, *(() if mask is None else mask_doubts(mask, landmarks)))


def landmark_doubts(landmarks: Points, mean_points: npt.NDArray[np.floating]) -> tuple[Doubt, ...]:
    """What speaks against landmarks (68, 2) px by themselves: compared with the model's mean points (68, 3) mm."""
    camera, off = _deviations(landmarks, mean_points)
    if _rms(off[_INNER]) > _MAX_DEVIATION:
        return (
            Doubt(
                "unordered landmarks",
                f"against a mean face in its best pose the landmarks are off by {_rms(off[_INNER]):.0f} mm on average; "
                "real faces are by up to 20. Check that they are the 68 of iBUG / 300-W in that order.",
            ),
        )
    if camera.rotation[2, 2] < _AWAY:
        if camera.rotation[1, 1] < 0:
            return (
                Doubt(
                    "upside-down landmarks",
                    "the landmarks are those of a face flipped upside down. Check that x comes before y, and that y "
                    "counts downwards from the photo's upper edge.",
                ),
            )
        return (
            Doubt(
                "mirrored landmarks",
                "left and right of the landmarks are exchanged. iBUG / 300-W order begins at the side of the face "
                "that is left in the photo; for a mirrored photo the order must be mirrored too.",
            ),
        )
    reordered = [name for name, group in _GROUPS.items() if _better_mirrored(landmarks, mean_points, group, off)]
    if reordered:
        return (
            Doubt(
                "unordered landmarks",
                f"the landmarks of the {' and '.join(reordered)} run from right to left; in iBUG / 300-W order they "
                "begin at the side of the face that is left in the photo.",
            ),
        )
    limits = np.where(np.arange(len(landmarks)) < _INNER.start, _MAX_JAW, _MAX_INNER)
    return tuple(
        Doubt(
            "misplaced landmark",
            f"the landmark at index {index}, ({landmarks[index, 0]:.6g}, {landmarks[index, 1]:.6g}), is "
            f"{off[index]:.0f} mm from where it is on a mean face. Correct it.",
        )
        for index in np.flatnonzero(off > limits)[:3]
    )


def place_doubts(landmarks: Points, mean_points: npt.NDArray[np.floating], image: Colours) -> tuple[Doubt, ...]:
    """Whether the photo shows a face where the landmarks (68, 2) are, as large and the same way up.

    Only for faces turned by up to 40 degrees, which the detector is sure to see. It says nothing where the detector
    sees no face in the whole photo, or is not installed.
    """
    camera, _ = _deviations(landmarks, mean_points)
    if camera.rotation[2, 2] < _SEEN:
        return ()
    try:
        if sees_face_at(image, landmarks):
            return ()
        faces = detect_faces(image)
    except BackendError:
        return ()
    return _compared(landmarks, faces)


def mask_doubts(mask: npt.NDArray[np.bool_], landmarks: Points) -> tuple[Doubt, ...]:
    """Whether a mask (H, W) leaves too little of the face to be compared."""
    share = mask_share(mask, landmarks)
    if share >= _MIN_MASK_SHARE:
        return ()
    what = "nothing" if share == 0 else f"{share:.0%}"
    return (
        Doubt(
            "mask beside the face",
            f"the mask leaves {what} of the face to be used, so its colours and light are hardly known. Check that it "
            "is white where the photo may be used, and belongs to this photo.",
        ),
    )


def mask_share(mask: npt.NDArray[np.bool_], landmarks: Points) -> float:
    """The share of the landmarks' hull, as far as it lies in the photo, that a mask (H, W) leaves; 1 without a hull."""
    hull = inside_hull(landmarks, (mask.shape[0], mask.shape[1]))
    return float(mask[hull].mean()) if hull.any() else 1.0


def _deviations(landmarks: Points, mean_points: npt.NDArray[np.floating]) -> tuple[Camera, npt.NDArray[np.float64]]:
    """The pose that the inner landmarks tell, and (68,) mm: how far each is from the mean face in it."""
    camera = fit_weak_perspective(mean_points[_INNER], landmarks[_INNER], np.ones(len(landmarks[_INNER])))
    return camera, np.linalg.norm(camera.project(mean_points)[:, :2] - landmarks, axis=1) / camera.scale


def _rms(values: npt.NDArray[np.float64]) -> float:
    return math.sqrt(float((values**2).mean()))


def _better_mirrored(
    landmarks: Points, mean_points: npt.NDArray[np.floating], group: slice, off: npt.NDArray[np.float64]
) -> bool:
    """Whether the landmarks fit much better when a group of them is taken from the other side."""
    changed = landmarks.copy()
    changed[group] = landmarks[MIRRORED[group]]
    _, then = _deviations(changed, mean_points)
    return _rms(off) > _MIN_WRONG_ORDER and _rms(then) < _MIRROR_GAIN * _rms(off)


def _compared(landmarks: Points, faces: tuple[Detection, ...]) -> tuple[Doubt, ...]:
    """Landmarks against the faces of the photo, the largest first; none of these was seen in their place."""
    low, high = landmarks.min(0), landmarks.max(0)
    middle, extent = (low + high) / 2, float((high - low).max())
    elsewhere: list[Doubt] = []
    for face in faces:
        centre, size = (face.box[:2] + face.box[2:]) / 2, float((face.box[2:] - face.box[:2]).max())
        times, turn = _similarity(landmarks, face.landmarks)
        if abs(turn) > 45:
            doubt = Doubt(
                "turned landmarks",
                f"the face in the photo is turned by {abs(turn):.0f} degrees against the landmarks. Give the landmarks "
                "of the upright photo (a file is turned by its EXIF orientation).",
            )
        elif np.linalg.norm(centre - middle) < 0.5 * max(size, extent) and 2 / 3 < times < 1.5:
            return ()  # the detector did see it, in the whole photo
        elif np.linalg.norm(centre - times * middle) < 0.25 * size:
            return (
                Doubt(
                    "landmarks of another size",
                    f"the face in the photo is {times:.3g} times as large as the landmarks, and lies where they would, "
                    f"multiplied by {times:.3g}. Give the landmarks of the photo at this size.",
                ),
            )
        else:
            doubt = Doubt(
                "landmarks of another place",
                f"no face is seen where the landmarks are; the photo shows one around ({centre[0]:.0f}, "
                f"{centre[1]:.0f}), {size:.0f} px large. Check that the landmarks belong to this photo.",
            )
        elsewhere.append(doubt)
    return tuple(elsewhere[:1])


def _similarity(given: Points, seen: Points) -> tuple[float, float]:
    """Scale and turn (degrees) that take one landmark set to another."""
    a, b = ((points - points.mean(0)) @ [1, 1j] for points in (given[_INNER], seen[_INNER]))
    ratio = complex(np.vdot(a, b) / np.vdot(a, a))
    return abs(ratio), math.degrees(math.atan2(ratio.imag, ratio.real))
