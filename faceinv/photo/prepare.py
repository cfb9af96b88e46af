"""One face of one photo, made ready to be fitted: read, located, cut out at every size."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceinv.errors import NoFaceError
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.crop import FaceCrop
from faceinv.photo.detector import detect_faces
from faceinv.photo.pts import read_pts, validate_landmarks
from faceinv.photo.read import LoadedImage, load_image, load_mask

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["CropSettings", "Prepared", "prepare", "prepare_faces"]


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
    seconds: float
    """What it took, landmarks found included."""
    warnings: tuple[str, ...] = ()
    """Sentences on what may be wrong with the input."""


def prepare(image: object, landmarks: object, mask: object, settings: CropSettings) -> Prepared:
    """Read a photo, find or check the landmarks of one face, and cut it out.

    Args:
        image: anything `load_image` reads.
        landmarks: (68, 2) px, the path of a `.pts` file, or None to find the largest face.
        mask: anything `load_mask` reads, or None: pixels of the photo that may be used.
        settings: how it is cut.

    Raises:
        InputError: when the photo, landmarks or mask cannot be used.
        NoFaceError: when no landmarks are given and no face is found.
    """
    began = time.perf_counter()
    loaded = load_image(image)
    warnings: tuple[str, ...] = ()
    if landmarks is None:
        points, *others = _detected(loaded)
        if others:
            warnings = (f"{1 + len(others)} faces were found; this is the largest.",)
    else:
        given = read_pts(landmarks) if isinstance(landmarks, str | Path) else landmarks
        points = validate_landmarks(given, loaded.size)  # type: ignore[arg-type]
    return replace(_cut(loaded, points, mask, settings, began), warnings=warnings)


def prepare_faces(image: object, mask: object, settings: CropSettings) -> list[Prepared]:
    """As `prepare`, for every face that is found in a photo, the largest first."""
    began = time.perf_counter()
    loaded = load_image(image)
    every: list[Prepared] = []
    for points in _detected(loaded):
        every.append(_cut(loaded, points, mask, settings, began))
        began = time.perf_counter()
    return every


def _detected(loaded: LoadedImage) -> Sequence[NDArray[np.float64]]:
    faces = detect_faces(loaded.pixels)
    if not faces:
        raise NoFaceError(
            f"no face was found in '{loaded.name}'. Give a photo in which the face is upright, in view and at least "
            "40 px wide, or give its 68 landmarks."
        )
    return [face.landmarks for face in faces]


def _cut(
    loaded: LoadedImage, landmarks: NDArray[np.float64], mask: object, settings: CropSettings, began: float
) -> Prepared:
    crop = FaceCrop.around(landmarks, settings.margin, settings.sizes[-1])
    colours, usable = crop.cut(loaded.pixels)
    if mask is not None:
        chosen = load_mask(mask, loaded.size)
        share, _ = crop.cut(chosen.astype(np.float32)[..., None])
        usable &= share[..., 0] > 0.5
    if settings.linear:
        colours = srgb_to_linear(colours)
    levels = [(colours * np.float32(settings.white), usable)]
    for _ in settings.sizes[1:]:
        levels.insert(0, _halved(*levels[0]))
    return Prepared(loaded.pixels, tuple(levels), landmarks, crop, time.perf_counter() - began)


def _halved(colours: NDArray[np.float32], usable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A photo (2n, 2n, 3) at half its size, by averages of four pixels; a pixel counts if all four do."""
    rows = colours[::2] + colours[1::2]
    averaged: NDArray[np.float32] = np.float32(0.25) * (rows[:, ::2] + rows[:, 1::2])
    whole = usable[::2] & usable[1::2]
    return averaged, whole[:, ::2] & whole[:, 1::2]
