"""Hair: how far it stands off the head, and what it looks like where the photo does not show it.

A head model is bald. The outline of the person in the photo tells, direction by direction, how far the hair reaches
beyond the model's; the scalp is lifted by as much, so that hair has a volume that turns with the head and hides what is
behind. What the photo does not show of it continues the hair at the outline: a place as far behind the outline as s
shows the photo s inside of it, as in a mirror, to and fro within the band of hair that is seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from faceinv.generate.polar import ANGLES, angle_grid, first_exit, last_exit
from faceinv.generate.regions import ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.regions import Regions

__all__ = ["HairBand", "band_places", "hair_band", "lifted", "thickness"]

_THICKEST: Final = 75.0
"""mm: hair that stands off further is left in the picture behind the head."""
_EVEN: Final = 4.0
"""Degrees over which thickness is evened out."""
_INSIDE: Final = 3.5
"""mm inside of the outline at which the band begins: what is further out may be mixed with the ground."""
_WIDEST: Final = 55.0
_TURN_RADIUS: Final = 85.0
"""mm: of a head, to turn angles of its surface into ways along it."""
_MIRROR_FROM: Final = 0.3
"""The cosine between normal and view from which on the photo's own place is taken instead."""


def _below_ears(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for directions above the ears, 0 for those to the shoulders, where hair and clothes cannot be told apart."""
    downward = np.degrees(np.arcsin(np.clip(np.sin(angle), -1, 1)))
    return 1 - ramp(downward, 0.0, 25.0)


def thickness(
    bald: NDArray[np.float64], person: NDArray[np.float64], centre: NDArray[np.float64], px_per_mm: float
) -> NDArray[np.float64]:
    """(ANGLES,) mm by which a person's outline stands off that of the bald model, seen from the pivot.

    Args:
        bald: (ANGLES,) mm: the model's outline.
        person: (H, W) from 0 to 1, with holes of the model filled.
        centre: (2,) px of the pivot in it.
        px_per_mm: of it.
    """
    reached = first_exit(person, centre, px_per_mm)
    beyond = np.clip(reached - bald, 0.0, _THICKEST)
    even = median_filter(beyond, 9, mode="wrap")
    smooth = gaussian_filter1d(even, _EVEN * ANGLES / 360, mode="wrap")
    result: NDArray[np.float64] = smooth * _below_ears(angle_grid())
    return result


def lifted(
    vertices: NDArray[np.float64],
    regions: Regions,
    rotation: NDArray[np.float64],
    thick: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, 3) mm, model space: by how much the scalp's vertices move outward.

    Args:
        vertices: (N, 3) mm of the bald head.
        regions: of its model.
        rotation: (3, 3) model to camera, of the photo.
        thick: (ANGLES,) mm, from `thickness`.
    """
    middle = regions.pivot + regions.unit * np.array([0.0, 30.0, -5.0])
    outward = vertices - middle
    outward /= np.maximum(np.linalg.norm(outward, axis=1, keepdims=True), 1e-9)
    seen = (vertices - regions.pivot) @ rotation.T
    across = np.hypot(seen[:, 0], seen[:, 1])
    angle = np.arctan2(-seen[:, 1], seen[:, 0])
    upper = np.where(seen[:, 1] < 0, -angle, angle)  # the nape's hair is as thick as that at the sides above
    here = _at(thick, upper)
    # Where the head turns its back, no direction of the outline is the nearest.
    crown = thick[_upper()]
    back = float(np.median(crown))
    at_outline = ramp(across / (80 * regions.unit), 0.2, 0.8)
    amount = at_outline * here + (1 - at_outline) * back
    rises = ramp(regions.hairy, 0.0, 1.0)
    # At the nape hair lies close to the neck.
    falls = ramp((vertices - regions.pivot)[:, 1] / regions.unit, -75.0, 0.0)
    result: NDArray[np.float64] = outward * (amount * rises * falls)[:, None]
    return result


@dataclass(frozen=True, eq=False)
class HairBand:
    """Hair at the head's outline, by direction."""

    outline: NDArray[np.float64]
    """(ANGLES,) mm from the pivot: of the head with its hair."""
    width: NDArray[np.float64]
    """(ANGLES,) mm of hair that is seen inside of it."""
    sure: NDArray[np.float64]
    """(ANGLES,) from 0 to 1: whether there is any."""


def hair_band(
    outline: NDArray[np.float64],
    face: NDArray[np.floating],
    person: NDArray[np.floating],
    centre: NDArray[np.float64],
    px_per_mm: float,
) -> HairBand:
    """The band of hair between face and outline.

    Args:
        outline: (ANGLES,) mm: of the head with its hair.
        face: (H, W) 1 where the photo shows face or ears.
        person: (H, W) 1 where it shows a person, 0 for ground and beyond the photo.
        centre: (2,) px of the pivot.
        px_per_mm: of the images.
    """
    from scipy.ndimage import map_coordinates

    inner = np.maximum(last_exit(face, centre, px_per_mm) + 3.0, outline - _INSIDE - _WIDEST)
    width = outline - _INSIDE - inner
    angle = angle_grid()
    sure = np.zeros(ANGLES)
    for part in (0.0, 0.5, 1.0):
        radius = outline - _INSIDE - part * np.clip(width, 4.0, None)
        x, y = centre[0] + px_per_mm * radius * np.cos(angle), centre[1] + px_per_mm * radius * np.sin(angle)
        sure += map_coordinates(np.asarray(person, np.float32), [y, x], order=1, mode="constant") / 3
    sure = ramp(sure, 0.6, 0.95) * ramp(width, 2.0, 8.0)
    width = gaussian_filter1d(np.clip(width, 4.0, None), 3 * ANGLES / 360, mode="wrap")
    return HairBand(outline, width, gaussian_filter1d(sure, 3 * ANGLES / 360, mode="wrap"))


def band_places(
    band: HairBand, turned: NDArray[np.float64], facing: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where in the plane of the photo points that it does not show find their hair, and how sure that is.

    Args:
        band: of the photo.
        turned: (N, 2) mm from the pivot, x right and y down.
        facing: (N,) cosines between normals and view.

    Returns:
        (N, 2) mm from the pivot, x right and y down; (N,) from 0 to 1.
    """
    angle = np.arctan2(turned[:, 1], turned[:, 0])
    angle = np.where(turned[:, 1] > 0, -angle, angle)  # below the ears: as above them
    behind = _TURN_RADIUS * (np.arccos(np.clip(facing, -1, 1)) - np.arccos(_MIRROR_FROM))
    width = _at(band.width, angle)
    there_and_back = np.abs((np.maximum(behind, 0.0) + width) % (2 * width) - width)
    inward = np.where(behind < 0, 0.0, there_and_back)
    radius = _at(band.outline, angle) - _INSIDE - np.minimum(inward, width)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), _at(band.sure, angle)


def _upper() -> NDArray[np.bool_]:
    """(ANGLES,) directions upward."""
    upward: NDArray[np.bool_] = np.sin(angle_grid()) < -0.2
    return upward


def _at(values: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """Values (ANGLES,) at angles (N,) rad."""
    place = np.asarray(angle, np.float64) / (2 * np.pi) * ANGLES
    low = np.floor(place).astype(np.int64)
    part = place - low
    result: NDArray[np.float64] = (1 - part) * values[low % ANGLES] + part * values[(low + 1) % ANGLES]
    return result
