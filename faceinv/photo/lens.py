"""How a photo's camera projects, as far as it is known: from its intrinsics, from a focal length, or from EXIF."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import numpy as np

from faceinv.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

__all__ = ["FocalSource", "Lens", "exif_focal_length", "lens_of"]

FocalSource: TypeAlias = Literal["intrinsics", "focal_length", "exif", "unknown"]

_FILM_DIAGONAL_MM: Final = math.hypot(36.0, 24.0)
_EXIF_IFD: Final = 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM = 0x920A, 0xA405
_PIXELS_ACROSS, _PIXELS_DOWN = 0xA002, 0xA003
_PLANE_RESOLUTION, _PLANE_UNIT = 0xA20E, 0xA210
_UNIT_MM: Final = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
_FILM_RANGE_MM: Final = (5.0, 2500.0)
"""Focal lengths on 35 mm film that lenses have; others are slips."""
_SAME_SHAPE: Final = 0.02
"""How far, of 1, the ratio of a photo's sides may be from that of the camera's picture; else it was cropped."""
_SQUARE: Final = 0.02
"""How far, of 1, the two focal lengths of an intrinsic matrix may be apart."""


@dataclass(frozen=True, eq=False)
class Lens:
    """How a photo's camera projects, in pixels of the (upright) photo: 0-based, centres at integers."""

    principal_point: NDArray[np.float64]
    """(2,) px."""
    focal_length: float | None
    """px; None where it is not known."""
    source: FocalSource
    """What the focal length is known from."""


def lens_of(
    size: tuple[int, int], intrinsics: Any | None, focal_length: float | None, exif_focal: float | None
) -> Lens:
    """The lens of a photo: by its intrinsics, else by a focal length that is given, else by EXIF's.

    Args:
        size: (width, height) px.
        intrinsics: (3, 3) `K`, or None: `[[f, 0, c_x], [0, f, c_y], [0, 0, 1]]` px.
        focal_length: px, or None.
        exif_focal: px, or None.

    Raises:
        InputError: when the intrinsics are none, or those of pixels that are not square.
    """
    middle = np.array([(size[0] - 1) / 2, (size[1] - 1) / 2])
    if intrinsics is not None:
        matrix = _checked(intrinsics)
        return Lens(matrix[:2, 2].copy(), float(matrix[0, 0] + matrix[1, 1]) / 2, "intrinsics")
    if focal_length is not None:
        return Lens(middle, focal_length, "focal_length")
    return Lens(middle, exif_focal, "unknown" if exif_focal is None else "exif")


def _checked(intrinsics: Any) -> NDArray[np.float64]:
    expected = "expected (3, 3) numbers, [[f, 0, c_x], [0, f, c_y], [0, 0, 1]] in pixels of the photo"
    try:
        matrix = np.asarray(intrinsics, np.float64)
    except (TypeError, ValueError):
        raise InputError(f"intrinsics are {type(intrinsics).__name__}; {expected}.") from None
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all():
        raise InputError(f"intrinsics have shape {matrix.shape}, or are not finite; {expected}.")
    across, down = matrix[0, 0], matrix[1, 1]
    if not (across > 0 and down > 0) or matrix[2].tolist() != [0.0, 0.0, 1.0] or matrix[1, 0]:
        raise InputError(f"intrinsics are {matrix.tolist()}; {expected}.")
    if abs(across - down) > _SQUARE * down or abs(matrix[0, 1]) > _SQUARE * down:
        raise InputError(
            f"intrinsics are {matrix.tolist()}, of pixels that are not square. Resample the photo so that both focal "
            "lengths are equal and nothing is skewed."
        )
    return matrix


def exif_focal_length(image: Image.Image) -> float | None:
    """px: the focal length that a photo's EXIF tells, or None where it tells none that can be believed.

    `FocalLengthIn35mmFilm` is that of the same diagonal angle of view on a frame of 36 x 24 mm (CIPA DCG-001); without
    it, `FocalLength` is taken with the sensor's pixels (`FocalPlaneXResolution`). A photo whose sides have another
    ratio than the picture that its camera took was cropped: it then tells nothing.
    """
    try:
        tags = image.getexif().get_ifd(_EXIF_IFD)
        taken = _number(tags.get(_PIXELS_ACROSS)), _number(tags.get(_PIXELS_DOWN))
        film, length = _number(tags.get(_FOCAL_LENGTH_35MM)), _number(tags.get(_FOCAL_LENGTH))
        resolution, unit = _number(tags.get(_PLANE_RESOLUTION)), _UNIT_MM.get(int(_number(tags.get(_PLANE_UNIT)) or 2))
    except Exception:  # damaged EXIF, which decoders meet with almost any exception, tells nothing
        return None
    long, short = max(image.size), min(image.size)
    if taken[0] and taken[1] and abs(max(taken) / min(taken) * short / long - 1) > _SAME_SHAPE:
        return None
    diagonal = math.hypot(long, short)
    if not film and length and resolution and unit and taken[0] and taken[1]:
        film = length * resolution / unit / math.hypot(taken[0], taken[1]) * _FILM_DIAGONAL_MM
    if not film or not _FILM_RANGE_MM[0] <= film <= _FILM_RANGE_MM[1]:
        return None
    return film * diagonal / _FILM_DIAGONAL_MM


def _number(value: Any) -> float:
    """A tag's value; 0 where there is none or it is no positive number."""
    number = 0.0 if value is None else float(value)
    return number if math.isfinite(number) and number > 0 else 0.0
