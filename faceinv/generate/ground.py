"""What is behind a head: the photo, continued where the head was and beyond the photo's edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import (
    binary_fill_holes,
    distance_transform_edt,
    gaussian_filter,
    gaussian_filter1d,
    label,
    map_coordinates,
)

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
_HANGING_RIM: Final = (4.0, 10.0)
"""mm around hanging hair where there is no body, and where there is no ground that is free of its tips."""
_BODY: Final = 0.95
_GROUND: Final = 0.2
"""The matte below which a pixel is ground."""
_EARLOBES: Final = 25.0
_NECK: Final = 30.0
"""mm beside the pivot: what is nearer is neck in the shade of the chin."""
_COLLAR: Final = 55.0
_CHEST: Final = 125.0
"""mm below the pivot: what hair must pass to be hanging from the head, above which it must begin beside the head, and
where it is no longer told from clothes."""
_FRAME: Final = 2
_EVEN_PX: Final = (3.0, 10.0, 30.0)
_EVEN_AFTER: Final = 16.0
"""px beyond a photo's edge after which what goes on is evened out along it by the first of these, and so on."""


@dataclass(frozen=True, eq=False)
class Ground:
    """Surroundings of a head."""

    filled: NDArray[np.float32]
    """(S, S, 3) linear RGB: the photo, continued where the head was and beyond its edges."""
    photo: NDArray[np.float32]
    """(S, S, 3) the same with the head still in it."""
    shorn: NDArray[np.float32]
    """(S, S, 3) as `filled`, but without the hair that hangs down beside the head either; `filled` itself where none
    does."""
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
    hair: NDArray[np.bool_],
    long: tuple[bool, bool],
    worn: NDArray[np.bool_],
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
        hair: (H, W) what of it is hair by its colour.
        long: whether it may hang down, in the image's left half and in its right.
        worn: (H, W) frames of glasses, which reach beyond the face where it is turned.
        outline: (ANGLES,) mm from the pivot: of the head with its hair.
        at: (2,) px of the photo: the pivot.
        photo_px_per_mm: at the pivot.
    """
    size = around.pixels.shape[0]
    px_per_mm = around.zoom * photo_px_per_mm
    # Wisps of hair and rims of ears that the head has not would stand there as a second outline.
    y, x = np.mgrid[: solid.shape[0], : solid.shape[1]]
    down, aside = (y - depths.centre[1]) / depths.px_per_mm, np.abs(x - depths.centre[0]) / depths.px_per_mm
    may_hang = np.where(x < depths.centre[0], *long) & (aside > _NECK)
    from_head = distance_transform_edt(~solid) / depths.px_per_mm
    close = from_head < _WISPS
    other = person & _narrow(person, outline, depths) & ((down < -8) | (close & (down < 1.5 * aside)))
    # Locks that hang together with neither.
    other |= _loose(person & ~solid & ~other, down)
    other |= worn & (down < 0)
    away = np.minimum(from_head, distance_transform_edt(~other) / depths.px_per_mm - _TIPS)
    ratio = depths.px_per_mm / px_per_mm
    place = around.place(at)
    y, x = np.mgrid[:size, :size]
    places = [depths.centre[1] + (y - place[1]) * ratio, depths.centre[0] + (x - place[0]) * ratio]
    free = map_coordinates(away, places, order=1, mode="nearest") - _HOLE_RIM
    ground = _continued(around, free)
    hanging = _hanging(hair & ~solid & may_hang, down, close)
    shorn = ground
    if hanging.any():
        hanging |= _loose(person & ~solid & ~hanging, down)
        from_hair = distance_transform_edt(~hanging) / depths.px_per_mm
        beside = map_coordinates(from_hair, places, order=1, mode="nearest")
        # Behind hair is no cloth and no neck, as far as the photo shows what is.
        matte, wide = around.pixels[..., 3], beside < _HANGING_RIM[1]
        seen = np.where((matte < _GROUND) & ~wide, free, -1.0)
        if ((seen > 0) & around.on_photo).any():
            gone = (beside < _HANGING_RIM[0]) | (wide & (matte < _BODY))
            share = gaussian_filter(gone.astype(np.float32), 0.5 * _HANGING_RIM[0] * px_per_mm)[..., None]
            shorn = ground + share * (_continued(around, seen) - ground)
    photo = np.where(around.on_photo[..., None], around.pixels[..., :3], ground)
    return Ground(ground, np.ascontiguousarray(photo), shorn, place, px_per_mm)


def _hanging(hair: NDArray[np.bool_], down: NDArray[np.float64], close: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(H, W) hair that begins at the head, above collars, and hangs down, as far as the chest.

    Args:
        hair: (H, W) beside the head.
        down: (H, W) mm below the pivot.
        close: (H, W) near the head.
    """
    parts, _ = label(hair & (down < _CHEST))
    names = np.unique(parts[close & (down < _COLLAR)])
    low = np.unique(parts[down > _EARLOBES])
    return np.isin(parts, np.intersect1d(names[names > 0], low))


def _loose(person: NDArray[np.bool_], down: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(H, W) pieces of a person beside the head that do not hang together with the body."""
    pieces, _ = label(person)
    body = np.unique(pieces[down > _SHOULDERS])
    return (pieces > 0) & ~np.isin(pieces, body)


def _continued(around: Canvas, free: NDArray[np.float64]) -> NDArray[np.float32]:
    """(S, S, 3) a photo that goes on where it is not free (S, S) of what is to be left out (mm), and beyond its edges:
    as at the edge, ever more evenly along it."""
    rows, columns = (np.flatnonzero(around.on_photo.any(axis=axis)) for axis in (1, 0))
    if len(rows) == 0:
        return np.ascontiguousarray(around.pixels[..., :3])
    size, (top, bottom), (left, right) = len(around.pixels), rows[[0, -1]], columns[[0, -1]]
    # A photo's outermost pixels are often those of a frame.
    top, left = (n + _FRAME * (n > 0) for n in (top, left))
    bottom, right = (n + 1 - _FRAME * (n < size - 1) for n in (bottom, right))
    inside = slice(top, max(bottom, top + 1)), slice(left, max(right, left + 1))
    inner = filled(around.pixels[inside][..., :3], (free[inside] > 0).astype(np.float32))
    for axis, before, after in ((0, top, size - inside[0].stop), (1, left, size - inside[1].stop)):
        first, last = inner.take([0], axis), inner.take([-1], axis)
        parts = [_beyond(first, before, axis, True), inner, _beyond(last, after, axis, False)]
        inner = np.concatenate([part for part in parts if part is not None], axis=axis)
    return np.ascontiguousarray(inner, np.float32)


def _beyond(edge: NDArray[np.float32], count: int, axis: int, backwards: bool) -> NDArray[np.float32] | None:
    """What goes on over `count` pixels along an axis from an edge, (1, S, 3) or (S, 1, 3); None for no pixels."""
    if count == 0:
        return None
    along = 1 - axis
    levels = [edge, *(gaussian_filter1d(edge, sigma, axis=along, mode="nearest") for sigma in _EVEN_PX)]
    distance = np.arange(count)[::-1] if backwards else np.arange(count)
    place = np.clip(distance / _EVEN_AFTER, 0, len(levels) - 1 - 1e-6)
    low = place.astype(np.int64)
    stacked = np.concatenate(levels, axis=axis)
    share = (place - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
    result: NDArray[np.float32] = (1 - share) * stacked.take(low, axis) + share * stacked.take(low + 1, axis)
    return result


def _narrow(person: NDArray[np.bool_], outline: NDArray[np.float64], depths: DepthMap) -> NDArray[np.bool_]:
    """(H, W) directions from the pivot in which the person reaches little beyond the head: it is the head's own rim
    there, and not hair that falls on shoulders."""
    beyond = first_exit(person, depths.centre, depths.px_per_mm) - outline
    y, x = np.mgrid[: person.shape[0], : person.shape[1]]
    angle = np.arctan2(y - depths.centre[1], x - depths.centre[0])
    return np.asarray(at_directions(gaussian_filter1d(beyond, 3.0, mode="wrap"), angle) < _RIM_OF_HEAD)
