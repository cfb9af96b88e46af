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

from faceinv.generate.fill import Spread
from faceinv.generate.polar import ANGLES, angle_grid, at_directions, first_exit, last_exit
from faceinv.generate.regions import EARS_ABOVE_PIVOT, depth_inside, ramp, regions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.generate.regions import Regions

__all__ = ["HairBand", "band_places", "hair_band", "hair_region", "lifted", "thickness", "without_ears"]

_THICKEST: Final = 75.0
"""mm: hair that stands off further is left in the picture behind the head."""
_EVEN: Final = 4.0
"""Degrees over which thickness is evened out."""
_ABOVE_EARS: Final = (18.0, 35.0)
"""Degrees above the horizontal where hair is surely above the ears."""
_MORE_AT_EARS: Final = 4.0
_ROOTS: Final = 28.0
"""mm from the hairline over which hair rises to its full thickness."""
_WIDEST_EAR: Final = (10.0, 18.0)
"""mm by which ears may stand off further than the model's, and from which on it is something else that does."""
_FLATTENING: Final = 60
_ENOUGH: Final = 20
"""Vertices that must be seen of skin and of hair to tell them apart."""
_STANDS_OFF: Final = 8.0
"""mm that hair over ears stands off at least."""
_INSIDE: Final = 3.5
"""mm inside of the outline at which the band begins: what is further out may be mixed with the ground."""
_WIDEST: Final = 55.0
_NARROWEST: Final = 16.0
"""mm: a narrower band would show as contour lines when it is used again and again."""
_TURN_RADIUS: Final = 85.0
"""mm: of a head, to turn angles of its surface into ways along it."""
_FADES: Final = 60.0
"""mm behind the outline over which the pattern of hair gets weaker: used again and again it would be seen as such."""
_MIRROR_FROM: Final = 0.3
"""The cosine between normal and view from which on the photo's own place is taken instead."""


def _below_ears(angle: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for directions above the ears, 0 for those to the shoulders, where hair and clothes cannot be told apart."""
    downward = np.degrees(np.arcsin(np.clip(np.sin(angle), -1, 1)))
    return 1 - ramp(downward, 10.0, 40.0)


def thickness(
    outline: NDArray[np.float64],
    person: NDArray[np.bool_],
    centre: NDArray[np.float64],
    px_per_mm: float,
    signed: bool = False,
) -> NDArray[np.float64]:
    """(ANGLES,) mm by which a person's outline stands off that of the model, seen from the pivot.

    Args:
        outline: (ANGLES,) mm: the model's.
        person: (H, W) where the photo shows the person.
        centre: (2,) px of the pivot in it.
        px_per_mm: of it.
        signed: below zero where the model reaches further.
    """
    reached = first_exit(person, centre, px_per_mm)
    beyond = np.clip(reached - outline, -_THICKEST if signed else 0.0, _THICKEST)
    even = median_filter(beyond, 9, mode="wrap")
    smooth = gaussian_filter1d(even, _EVEN * ANGLES / 360, mode="wrap")
    result: NDArray[np.float64] = smooth * _below_ears(angle_grid())
    return result


def without_ears(thick: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ANGLES,) mm of hair, out of `thickness` (ANGLES,): beside the ears and below no more than above them, as what
    stands off there may be the ears' own rims."""
    angle = angle_grid()
    height = -np.degrees(np.arcsin(np.clip(np.sin(angle), -1, 1)))
    result = thick.copy()
    for side in (np.cos(angle) > 0, np.cos(angle) <= 0):
        above = side & (height > _ABOVE_EARS[0]) & (height < _ABOVE_EARS[1])
        low = side & (height <= _ABOVE_EARS[0])
        result[low] = np.minimum(result[low], float(np.median(thick[above])) + _MORE_AT_EARS)
    return result


def hair_region(
    model: MorphableModel,
    regions: Regions,
    colour: NDArray[np.float64],
    light: NDArray[np.float64],
    shown: NDArray[np.bool_],
    thick: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) how far vertices are inside of the hair: 0 outside and at its edge, 1 from `_ROOTS` mm inside on; and (N,)
    how far they are from what hair does not lift.

    Hair grows on the scalp. Where the person reaches beyond the model at an ear, hair also covers the ear and what is
    around it as far as the photo's colour is nearer to that of the hair than to that of the face's skin.

    Args:
        model: the model.
        regions: of it.
        colour: (N, 3) linear, of the photo at the vertices of the bald head.
        light: (N, 3) on them.
        shown: (N,) which of them the photo shows.
        thick: (ANGLES,) mm, from `thickness`.
    """
    own = np.log(np.maximum(colour / light, 1e-3))
    on_skin, on_hair = shown & regions.face, shown & regions.scalp
    if min(on_skin.sum(), on_hair.sum()) < _ENOUGH:
        mask = regions.scalp & regions.lifts
        depth = ramp(depth_inside(model, mask), 0.0, _ROOTS)
        return depth, depth
    skin, hair = (np.median(own[part], axis=0) for part in (on_skin, on_hair))
    unlike = (np.linalg.norm(own - hair, axis=1) < np.linalg.norm(own - skin, axis=1)).astype(np.float64)
    # What the photo does not show is covered as what is next to it.
    covered = Spread.of(model)(unlike[:, None], shown.astype(np.float64), 0.1)[:, 0]
    mask = regions.scalp.copy()
    from_ears = (model.mean[:, 1] - regions.pivot[1]) / regions.unit - EARS_ABOVE_PIVOT
    level = np.degrees(angle_grid())
    for side, middle in zip(regions.sides, (180.0, 0.0), strict=True):
        near = np.abs((level - middle + 180) % 360 - 180) < 15
        if np.median(thick[near]) < _STANDS_OFF:
            continue
        ear = side & regions.ear
        # An ear as a whole or not at all; by what is around where nothing of it can be seen.
        known = ear & shown if (ear & shown).sum() >= 8 else side & shown
        hidden = known.any() and unlike[known].mean() > 0.5
        # In front of an ear that is seen, what is dark below the temple is shade on a cheek.
        mask |= side & ~ear & (covered > 0.5) & (hidden | (from_ears > 5.0))
        if hidden:
            mask |= ear
    rooted = depth_inside(model, mask & regions.lifts)
    return ramp(depth_inside(model, mask), 0.0, _ROOTS), ramp(rooted, 0.0, _ROOTS)


def lifted(
    vertices: NDArray[np.float64],
    model: MorphableModel,
    hairy: NDArray[np.float64],
    rooted: NDArray[np.float64],
    rotation: NDArray[np.float64],
    thick: NDArray[np.float64],
    beyond: NDArray[np.float64],
) -> NDArray[np.float64]:
    """(N, 3) mm, model space: by how much hair lifts the scalp, and ears are wider than the model's.

    Args:
        vertices: (N, 3) mm of the bald head.
        model: the model.
        hairy, rooted: (N,) from `hair_region`.
        rotation: (3, 3) model to camera, of the photo.
        thick: (ANGLES,) mm of hair.
        beyond: (ANGLES,) mm, from `thickness` of the bald head: what ears are wider.
    """
    regions = regions_of(model)
    outward = _outward(vertices, regions)
    seen = (vertices - regions.pivot) @ rotation.T
    across = np.hypot(seen[:, 0], seen[:, 1])
    angle = np.arctan2(-seen[:, 1], seen[:, 0])
    upper = np.where(seen[:, 1] < 0, -angle, angle)  # the nape's hair is as thick as that at the sides above
    # Where the head turns its back, no direction of the outline is the nearest.
    back = float(np.median(thick[_upper()]))
    at_outline = ramp(across / (80 * regions.unit), 0.2, 0.8)
    amount = at_outline * at_directions(thick, upper) + (1 - at_outline) * back
    # At the nape hair lies close to the neck.
    falls = ramp((vertices - regions.pivot)[:, 1] / regions.unit, -50.0, 5.0)
    # Hair in front stands up from its roots, not out.
    falls *= 1 - 0.85 * ramp((vertices - regions.pivot)[:, 2] / regions.unit, 25.0, 70.0)
    bare = (hairy == 0) & regions.ear
    ears = np.zeros(len(vertices))
    for side in regions.sides:
        ear = side & bare
        rim = ear & (regions.pinna > 0.5)
        if rim.any():
            wider = float(np.median(at_directions(beyond, angle[rim])))
            # Further out it is hair behind the ear.
            ears[ear] = wider * float(1 - ramp(np.array(wider), *_WIDEST_EAR)) * regions.pinna[ear]
    lift = outward * (np.where(regions.lifts, amount * rooted * falls, 0.0) + ears)[:, None]
    covered = regions.ear & (hairy > 0)
    return lift + _flattened(vertices + lift, model, covered) if covered.any() else lift


def _flattened(vertices: NDArray[np.float64], model: MorphableModel, covered: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N, 3) mm: what takes the relief from vertices under hair, where ears would show through."""
    result, weight = vertices.copy(), covered.astype(np.float64)[:, None]
    mean = Spread.of(model).mean
    weight = np.maximum(weight, 0.5 * (mean @ weight)) * regions_of(model).lifts[:, None]
    for _ in range(_FLATTENING):
        result += weight * (mean @ result - result)
    return result - vertices


def _outward(vertices: NDArray[np.float64], regions: Regions) -> NDArray[np.float64]:
    """(N, 3) unit, model space: from the middle of the skull."""
    middle = regions.pivot + regions.unit * np.array([0.0, 30.0, -5.0])
    outward = vertices - middle
    length: NDArray[np.float64] = np.linalg.norm(outward, axis=1, keepdims=True)
    return outward / np.maximum(length, 1e-9)


@dataclass(frozen=True, eq=False)
class HairBand:
    """Hair at the head's outline, by direction."""

    outline: NDArray[np.float64]
    """(ANGLES,) mm from the pivot: of the head with its hair."""
    width: NDArray[np.float64]
    """(ANGLES,) mm of hair that is seen inside of it."""
    sure: NDArray[np.float64]
    """(ANGLES,) from 0 to 1: whether there is any, there or nearby."""
    taken_from: NDArray[np.float64]
    """(ANGLES,) rad: the direction whose hair stands for that of a direction without."""


def hair_band(
    outline: NDArray[np.float64],
    face: NDArray[np.bool_],
    person: NDArray[np.bool_],
    centre: NDArray[np.float64],
    px_per_mm: float,
) -> HairBand:
    """The band of hair between face and outline.

    Args:
        outline: (ANGLES,) mm: of the head with its hair.
        face: (H, W) where the photo shows face or ears.
        person: (H, W) where it shows a person.
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
    width = gaussian_filter1d(np.clip(width, _NARROWEST, None), 3 * ANGLES / 360, mode="wrap")
    even = gaussian_filter1d(median_filter(outline, 7, mode="wrap"), 3 * ANGLES / 360, mode="wrap")
    return HairBand(even, width, *_continued(sure))


def _continued(sure: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How sure hair is when directions without any take that of others, and which: as in a mirror at the nearest
    direction that has some."""
    index = np.arange(ANGLES)
    have = np.flatnonzero(sure > 0.7)
    if len(have) == 0:
        return sure, angle_grid()
    apart = (index[:, None] - have + ANGLES // 2) % ANGLES - ANGLES // 2
    nearest = np.abs(apart).argmin(axis=1)
    way = apart[index, nearest]
    mirrored = (have[nearest] - way) % ANGLES
    taken = np.where(sure[mirrored] > 0.7, mirrored, have[nearest])
    taken = np.where(sure > 0.7, index, taken)
    return np.where(np.abs(way) < ANGLES / 3, 1.0, sure), taken * (2 * np.pi / ANGLES)


def band_places(
    band: HairBand, vertices: NDArray[np.float64], regions: Regions, rotation: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where in the plane of the photo points that it does not show find their hair, and how sure that is.

    Args:
        band: of the photo.
        vertices: (N, 3) mm, with the hair's volume.
        regions: of the model.
        rotation: (3, 3) model to camera.

    Returns:
        (N, 2) mm from the pivot, x right and y down; (N,) from 0 to 1.
    """
    turned = (vertices - regions.pivot) @ rotation.T
    angle = np.arctan2(-turned[:, 1], turned[:, 0])
    angle = np.where(turned[:, 1] < 0, -angle, angle)  # below the ears: as above them
    # Directions from the skull's middle vary more smoothly than normals.
    facing = (_outward(vertices, regions) @ rotation.T)[:, 2]
    behind = _TURN_RADIUS * (np.arccos(np.clip(facing, -1, 1)) - np.arccos(_MIRROR_FROM))
    angle = np.angle(at_directions(np.exp(1j * band.taken_from), angle))
    width = at_directions(band.width, angle)
    inward = np.abs((np.abs(behind) + width) % (2 * width) - width)
    radius = at_directions(band.outline, angle) - _INSIDE - inward
    fades = 0.3 + 0.7 * np.exp(-np.maximum(behind, 0.0) / _FADES)
    return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1), at_directions(band.sure, angle) * fades


def _upper() -> NDArray[np.bool_]:
    """(ANGLES,) directions upward."""
    upward: NDArray[np.bool_] = np.sin(angle_grid()) < -0.2
    return upward
