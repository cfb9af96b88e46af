"""What is behind a head: the photo, continued where the head was and beyond the photo's edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import binary_fill_holes, distance_transform_edt, gaussian_filter1d, label, map_coordinates

from faceinv.generate.canvas import filled
from faceinv.generate.polar import at_directions, first_exit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.canvas import Canvas
    from faceinv.generate.surface import DepthMap

__all__ = ["GROUND_REACH", "Ground", "ground_of", "person_of"]

GROUND_REACH: Final = 330.0
"""mm from the pivot: the ground that moves with the head, and that is kept of a photo."""
_HOLE_RIM: Final = 2.5
"""mm around the head from which the ground takes nothing: edges of photos are soft."""
_TIPS: Final = 2.5
"""mm by which tips of hair reach beyond the matte."""
_RIM_OF_HEAD: Final = 18.0
"""mm: what reaches further beyond the head is no rim of it."""
_SHOULDERS: Final = 60.0
"""mm below the pivot: what reaches down there belongs to the body, or hangs down to it."""
_WISPS: Final = 12.0
"""mm from the head: what the photo shows there of the person, beside the ears or above, is the head's."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Surroundings of a head."""

    filled: NDArray[np.float32]
    """(S, S, 3) linear RGB: the photo, continued where the head was and beyond its edges."""
    photo: NDArray[np.float32]
    """(S, S, 3) the same with the head still in it."""
    place: NDArray[np.float64]
    """(2,) px of both: the pivot."""
    px_per_mm: float


def person_of(
    bald: DepthMap, triangles: NDArray[np.int32], around: Canvas, photo_px_per_mm: float
) -> NDArray[np.bool_]:
    """(H, W) where the photo shows the person, as far as this hangs together with the head; in the map's pixels."""
    size = bald.triangle.shape[0]
    y, x = np.mgrid[:size, :size]
    # The map and the photo show the pivot at its centre, at their own scales.
    middle = around.pixels.shape[0] / 2 - 0.5
    ratio = around.zoom * photo_px_per_mm / bald.px_per_mm
    places = [middle + (v - bald.centre[0]) * ratio for v in (y, x)]
    on_photo = map_coordinates(around.on_photo.astype(np.float32), places, order=1, mode="constant") > 0.5
    alpha = map_coordinates(around.pixels[..., 3], places, order=1, mode="nearest")
    solid = bald.triangle >= 0
    mask = binary_fill_holes(solid | ((alpha > 0.5) & on_photo))
    parts, _ = label(mask)
    names = np.unique(parts[solid])
    return np.isin(parts, names[names > 0])


def ground_of(
    around: Canvas,
    depths: DepthMap,
    solid: NDArray[np.bool_],
    person: NDArray[np.bool_],
    outline: NDArray[np.float64],
    at: NDArray[np.float64],
    photo_px_per_mm: float,
) -> Ground:
    """What is behind the head of a photo.

    Args:
        around: the canvas of the photo's surroundings.
        depths: of the head with its hair.
        solid: (H, W) where that is, in the map's pixels.
        person: (H, W) from `person_of`.
        outline: (ANGLES,) mm from the pivot: of the head with its hair.
        at: (2,) px of the photo: the pivot.
        photo_px_per_mm: at the pivot.
    """
    size = around.pixels.shape[0]
    px_per_mm = around.zoom * photo_px_per_mm
    # Wisps of hair and rims of ears that the head has not would stand there as a second outline.
    y, x = np.mgrid[: solid.shape[0], : solid.shape[1]]
    down, aside = (y - depths.centre[1]) / depths.px_per_mm, np.abs(x - depths.centre[0]) / depths.px_per_mm
    close = distance_transform_edt(~solid) < _WISPS * depths.px_per_mm
    other = person & _narrow(person, outline, depths) & ((down < -8) | (close & (down < 0.6 * aside)))
    # Locks that hang together with neither.
    pieces, _ = label(person & ~solid & ~other)
    body = np.unique(pieces[down > _SHOULDERS])
    other |= (pieces > 0) & ~np.isin(pieces, body)
    away = distance_transform_edt(~solid) / depths.px_per_mm
    away = np.minimum(away, distance_transform_edt(~other) / depths.px_per_mm - _TIPS)
    ratio = depths.px_per_mm / px_per_mm
    place = around.place(at)
    y, x = np.mgrid[:size, :size]
    places = [depths.centre[1] + (y - place[1]) * ratio, depths.centre[0] + (x - place[0]) * ratio]
    free = map_coordinates(away, places, order=1, mode="nearest") > _HOLE_RIM
    from_edge = distance_transform_edt(np.pad(around.on_photo, 1, mode="edge"))[1:-1, 1:-1]
    known = (free * np.clip((from_edge - 1) / 4, 0, 1)).astype(np.float32)
    ground = np.ascontiguousarray(filled(around.pixels[..., :3], known))
    outside = np.clip(from_edge / 4, 0, 1).astype(np.float32)[..., None]
    photo = outside * around.pixels[..., :3] + (1 - outside) * ground
    return Ground(ground, np.ascontiguousarray(photo), place, px_per_mm)


def _narrow(person: NDArray[np.bool_], outline: NDArray[np.float64], depths: DepthMap) -> NDArray[np.bool_]:
    """(H, W) directions from the pivot in which the person reaches little beyond the head: it is the head's own rim
    there, and not hair that falls on shoulders."""
    beyond = first_exit(person, depths.centre, depths.px_per_mm) - outline
    y, x = np.mgrid[: person.shape[0], : person.shape[1]]
    angle = np.arctan2(y - depths.centre[1], x - depths.centre[0])
    return np.asarray(at_directions(gaussian_filter1d(beyond, 3.0, mode="wrap"), angle) < _RIM_OF_HEAD)
