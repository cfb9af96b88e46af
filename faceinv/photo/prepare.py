"""One face of one photo, made ready to be fitted: read, located, cut out at every size."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.errors import NoFaceError
from faceinv.face.landmark_sources import SourceName
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.crop import FaceCrop, eye_distance
from faceinv.photo.detector import Detection, detect_faces, smallest_face
from faceinv.photo.lens import Lens, lens_of
from faceinv.photo.plausibility import Doubt, doubts, mask_doubts
from faceinv.photo.pts import LandmarksLike, load_landmarks
from faceinv.photo.read import ImageLike, LoadedImage, MaskLike, load_image, load_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CropSettings", "Prepared", "prepare", "prepare_faces"]

_OUTER_EYES_MM: Final = 90.0
_BELIEVED_MM: Final = (150.0, 30_000.0)
"""Where faces are photographed from."""


@dataclass(frozen=True)
class CropSettings:
    """How a photo is cut for a fit."""

    sizes: tuple[int, ...]
    """px across the crop, from coarse to fine, each twice the one before."""
    margin: float
    """Side of the square crop over the larger side of the landmarks' bounding box."""
    linear: bool
    """Whether crops hold linear light instead of sRGB values."""
    white: float
    """The value of white in crops."""
    focal_length: float | None = None
    """px of the photo, of its camera; None where it is not known."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """One face of one photo, ready to be fitted."""

    pixels: NDArray[np.float32]
    """(H, W, 3) the photo, sRGB-encoded in [0, 1]."""
    levels: tuple[tuple[NDArray[np.float32], NDArray[np.bool_]], ...]
    """From coarse to fine: (S, S, 3) the crop, (S, S) where it may be used."""
    landmarks: NDArray[np.float64]
    """(68, 2) photo px."""
    crop: FaceCrop
    """The finest."""
    lens: Lens
    """Of the photo's camera."""
    source: SourceName
    """Who marked the landmarks; `annotated` where they were given."""
    disagreement: float | None
    """Of the views in which they were found, as `Detection.disagreement` has it; None where they were given."""
    seconds: float
    """What it took, landmarks found included."""
    warnings: tuple[str, ...] = ()
    """What may be wrong with the photo's landmarks or mask, and how many faces were found beside this."""
    mask: NDArray[np.bool_] | None = None
    """(H, W): the photo's pixels that may be used; None for all."""


def prepare(
    image: ImageLike,
    landmarks: LandmarksLike | None,
    mask: MaskLike | None,
    settings: CropSettings,
    mean_points: NDArray[np.floating],
    intrinsics: Any | None = None,
) -> Prepared:
    """Read a photo, find or check the landmarks of one face, and cut it out.

    Args:
        image: anything `load_image` reads.
        landmarks: anything `load_landmarks` reads, or None to find the largest face.
        mask: anything `load_mask` reads, or None: pixels of the photo that may be used.
        settings: how it is cut.
        mean_points: (68, 3) mm, the landmarks of the model's mean face, which given ones are compared with.
        intrinsics: (3, 3) of the photo's camera, or None: see `lens_of`.

    Raises:
        InputError: when the photo, landmarks, mask or intrinsics cannot be used.
        NoFaceError: when no landmarks are given and no face is found.
    """
    began = time.perf_counter()
    loaded = load_image(image)
    chosen = None if mask is None else load_mask(mask, loaded.size)
    if landmarks is None:
        faces = _detected(loaded)
        points, found = faces[0].landmarks, faces[0]
        remarks = _several(len(faces)) + (() if chosen is None else mask_doubts(chosen, points))
    else:
        points, found = load_landmarks(landmarks, loaded.size), None
        remarks = doubts(points, mean_points, loaded.pixels, chosen)
    return _cut(loaded, points, chosen, settings, remarks, began, intrinsics, found)


def prepare_faces(image: ImageLike, mask: MaskLike | None, settings: CropSettings) -> list[Prepared]:
    """As `prepare`, for every face that is found in a photo, the largest first."""
    began = time.perf_counter()
    loaded = load_image(image)
    chosen = None if mask is None else load_mask(mask, loaded.size)
    every: list[Prepared] = []
    for found in _detected(loaded, every=True):
        remarks = () if chosen is None else mask_doubts(chosen, found.landmarks)
        every.append(_cut(loaded, found.landmarks, chosen, settings, remarks, began, found=found))
        began = time.perf_counter()
    return every


def _detected(loaded: LoadedImage, *, every: bool = False) -> Sequence[Detection]:
    faces = detect_faces(loaded.pixels, every=every)
    if not faces:
        width, height = loaded.size
        raise NoFaceError(
            f"no face was found in '{loaded.name}'. Give a photo in which the face is in view, upright, turned by "
            f"at most 60 degrees, and at least {smallest_face(loaded.size)} px from brows to chin in "
            f"a photo of {width} x {height} px; or give its 68 landmarks."
        )
    return faces


def _several(count: int) -> tuple[Doubt, ...]:
    if count == 1:
        return ()
    sentence = f"{count} faces were found; the largest is fitted. --face all, or fit_faces, fits every one."
    return (Doubt("several faces", sentence),)


def _cut(
    loaded: LoadedImage,
    landmarks: NDArray[np.float64],
    chosen: NDArray[np.bool_] | None,
    settings: CropSettings,
    remarks: tuple[Doubt, ...],
    began: float,
    intrinsics: Any | None = None,
    found: Detection | None = None,
) -> Prepared:
    lens = lens_of(loaded.size, intrinsics, settings.focal_length, loaded.focal_length)
    if lens.source == "exif" and (doubt := _lens_doubt(lens, landmarks)) is not None:
        lens, remarks = lens_of(loaded.size, None, None, None), (*remarks, doubt)
    crop = FaceCrop.around(landmarks, settings.margin, settings.sizes[-1])
    colours, usable = crop.cut(loaded.pixels)
    if chosen is not None:
        share, _ = crop.cut(chosen.astype(np.float32)[..., None])
        usable &= share[..., 0] > 0.5
    if settings.linear:
        colours = srgb_to_linear(colours)
    levels = [(colours * np.float32(settings.white), usable)]
    for _ in settings.sizes[1:]:
        levels.insert(0, _halved(*levels[0]))
    warnings = tuple(map(str, remarks))
    return Prepared(
        loaded.pixels,
        tuple(levels),
        landmarks,
        crop,
        lens,
        "annotated" if found is None else found.source,
        None if found is None else found.disagreement,
        time.perf_counter() - began,
        warnings,
        chosen,
    )


def _lens_doubt(lens: Lens, landmarks: NDArray[np.float64]) -> Doubt | None:
    """What speaks against a focal length: how far away the face would then be."""
    assert lens.focal_length is not None
    distance = lens.focal_length * _OUTER_EYES_MM / eye_distance(landmarks)
    if _BELIEVED_MM[0] <= distance <= _BELIEVED_MM[1]:
        return None
    sentence = (
        f"by the focal length in the photo's EXIF the face would be some {distance:.0f} mm away, so that is not used; "
        "the photo may have been cropped. Give its focal length in pixels (--focal-length) where it is known."
    )
    return Doubt("focal length", sentence)


def _halved(colours: NDArray[np.float32], usable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A photo (2n, 2n, 3) at half its size, by averages of four pixels; a pixel counts if all four do."""
    rows = colours[::2] + colours[1::2]
    averaged: NDArray[np.float32] = np.float32(0.25) * (rows[:, ::2] + rows[:, 1::2])
    whole = usable[::2] & usable[1::2]
    return averaged, whole[:, ::2] & whole[:, 1::2]
