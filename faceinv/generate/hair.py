"""Hair: how far it stands off the head, and what it looks like where the photo does not show it.

A head model is bald. The outline of the person in the photo tells, direction by direction, how far the hair reaches
beyond the model's; the scalp is lifted by as much, so that hair has a volume that turns with the head and hides what is
behind. What the photo does not show of it has the colours of the hair around and strands like those that it shows
(`faceinv.generate.strands`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import gaussian_filter1d, median_filter

from faceinv.generate.fill import Spread
from faceinv.generate.polar import ANGLES, angle_grid, at_directions, first_exit
from faceinv.generate.regions import EARS_ABOVE_PIVOT, depth_inside, ramp, regions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.generate.regions import Regions

__all__ = ["Hair", "hair_region", "lifted", "nearer", "thickness", "without_ears"]

_THICKEST: Final = 75.0
"""mm: hair that stands off further is left in the picture behind the head."""
_EVEN: Final = 4.0
"""Degrees over which thickness is evened out."""
_ABOVE_EARS: Final = (18.0, 35.0)
"""Degrees above the horizontal where hair is surely above the ears."""
_MORE_AT_EARS: Final = 4.0
_RISES: Final = (3.0, 28.0)
"""mm from the hairline over which hair rises to its full thickness: the hairline itself lies on the skin, so that what
rises is hair from its foot on."""
_LONG: Final = 12.0
"""mm that hair which may hang down stands off at the ears."""
_BRIGHTNESS: Final = 0.25
"""Weight of brightness against colour where hair is told from skin."""
_LEAST_UNLIKE: Final = 0.15
"""Distance of hair's colour from skin's below which no hair is seen."""
_EAR_SEEN: Final = 100
"""Vertices of an ear that must be seen to tell whether hair is over it."""
_WIDEST_EAR: Final = (10.0, 18.0)
"""mm by which ears may stand off further than the model's, and from which on it is something else that does."""
_FLATTENING: Final = 60
_ENOUGH: Final = 20
"""Vertices that must be seen of skin to know its colour."""
_NO_GROUND: Final = 0.98
"""The matte from which on a pixel is nothing but the person."""
_EVENED: Final = 3
"""Rounds of averaging over neighbours before vertices are taken for hair or skin: hair shines."""
_CLOSED: Final = 4
"""Rounds in which holes in the hair are closed."""
_MAJORITY: Final = 0.4
"""Share of hair around a vertex that makes it hair: skin shines through a fringe."""
_ABOVE_BROWS: Final = 26.0
"""mm from the eyes' rims beyond which what is dark on a forehead is hair and no brow."""
_STANDS_OFF: Final = 8.0
"""mm that hair over ears stands off at least."""


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


@dataclass(frozen=True, eq=False)
class Hair:
    """Which vertices of a head are hair."""

    depth: NDArray[np.float64]
    """(N,) how far inside of the hair: 0 outside and at its edge, 1 from 28 mm inside on. All 0 for the bald."""
    rooted: NDArray[np.float64]
    """(N,) how much of its thickness hair, or a skull that is higher than the model's, has there."""
    like: NDArray[np.float64]
    """(N,) 1 where the photo shows hair."""
    colour: NDArray[np.float64] | None
    """(3,) linear, without its light; None where no hair is seen."""
    skin: NDArray[np.float64]
    """(3,) of the face, the same."""
    long: tuple[bool, bool] = (False, False)
    """Whether it stands off beside the ears, in the image's left half and in its right: only then it may hang down."""


def hair_region(
    model: MorphableModel,
    regions: Regions,
    colour: NDArray[np.float64],
    light: NDArray[np.float64],
    shown: NDArray[np.bool_],
    thick: NDArray[np.float64],
    edge: NDArray[np.float64],
) -> Hair:
    """Where hair is.

    Hair grows on the scalp, but not where the photo shows skin there. Where the person reaches beyond the model at an
    ear, hair also covers the ear and what is around it as far as the photo's colour is nearer to that of the hair than
    to that of the face's skin.

    Args:
        model: the model.
        regions: of it.
        colour: (N, 3) linear, of the photo at the vertices of the bald head.
        light: (N, 3) on them.
        shown: (N,) which of them the photo shows.
        thick: (ANGLES,) mm, from `thickness`.
        edge: (ANGLES, 4) linear, of the photo close inside of the person's outline, and the matte there.
    """
    own = np.log(np.maximum(colour / light, 1e-3))
    on_skin = shown & regions.face
    depth = ramp(depth_inside(model, regions.scalp & regions.lifts), *_RISES)
    if on_skin.sum() < _ENOUGH:
        return Hair(depth, depth, np.zeros(len(own)), None, np.ones(3))
    skin = np.median(own[on_skin], axis=0)
    edge_own = np.log(np.maximum(edge[:, :3] / light[on_skin].mean(axis=0), 1e-3))
    hair = _hair_colour(edge_own, edge[:, 3], skin)
    if np.linalg.norm(_signs(hair - skin)) < _LEAST_UNLIKE:
        return Hair(np.zeros(len(own)), depth, np.zeros(len(own)), None, np.exp(skin))
    unlike = nearer(own, hair, skin).astype(np.float64)
    # What the photo does not show is covered as its other side is, or as what is next to it.
    spread, sure = Spread.of(model), shown.astype(np.float64)
    for _ in range(_EVENED):
        unlike = np.where(shown, (spread.mean @ (sure * unlike)) / np.maximum(spread.mean @ sure, 1e-9), 0.0)
    unlike = np.where(unlike > _MAJORITY, 1.0, 0.0)
    other = ~shown & shown[model.mirror]
    known = np.where(other, unlike[model.mirror], unlike)
    covered = spread(known[:, None], np.where(other, 0.5, sure), 0.1)[:, 0]
    high, ahead = ((model.mean[:, 1:] - regions.pivot[1:]) / regions.unit - [EARS_ABOVE_PIVOT, 0.0]).T
    # A high forehead is bare, and a fringe hangs over a low one.
    face = regions.face & ~((covered > 0.5) & (high > 10.0) & (regions.from_eyes > _ABOVE_BROWS))
    bare = shown & (unlike == 0) & (high > 40.0) & (ahead > 10.0)
    joined = _joined(spread, face | (bare & regions.scalp), regions.from_eyes < _ABOVE_BROWS)
    mask = _joined(spread, (regions.scalp | regions.face) & ~joined, regions.scalp & (ahead < 10.0))
    skin_seen = nearer(edge_own, skin, hair)
    angle = np.degrees(angle_grid())
    long = []
    for side, middle, towards in zip(regions.sides, (180.0, 0.0), (1.0, -1.0), strict=True):
        upward = (towards * (angle - middle) + 180) % 360 - 180
        near = np.abs(upward) < 15
        long.append(bool(np.median(thick[near]) > _LONG and skin_seen[near].mean() < 0.4))
        if np.median(thick[near]) < _STANDS_OFF:
            continue
        ear = side & regions.ear
        seen = ear & shown if (ear & shown).sum() >= 8 else side & shown
        hidden = bool(seen.any() and unlike[seen].mean() > 0.5)
        # An ear as a whole or not at all. One that stands off lies beside the model's, at whose place is hair.
        rims = (upward > 2) & (upward < 20)
        if (ear & shown).sum() < _EAR_SEEN:
            hidden = bool(skin_seen[rims].mean() < 0.5)
        # In front of an ear that is seen, what is dark below the temple is shade on a cheek.
        mask |= side & ~ear & (covered > 0.5) & (hidden | (high > 5.0))
        if hidden:
            mask |= ear
            # Hair over an ear hangs down behind it.
            half = model.mean[:, 0] * towards < 0
            mask |= half & regions.lifts & (regions.opacity > 0) & (high > -70.0) & (ahead < 15.0)
    for _ in range(_CLOSED):
        mask |= (spread.mean @ mask.astype(np.float64) > 0.6) & (regions.face | regions.lifts)
    rooted = depth_inside(model, mask & regions.lifts)
    inside = ramp(depth_inside(model, mask), 0.0, _RISES[1])
    return Hair(inside, ramp(rooted, *_RISES), sure * mask, np.exp(hair), np.exp(skin), (long[0], long[1]))


def _signs(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) of differences (..., 3) of logarithms of colours: brightness, which light and shine change, red over
    green, green over blue."""
    bright = _BRIGHTNESS * logs.mean(axis=-1)
    return np.stack([bright, logs[..., 0] - logs[..., 1], logs[..., 1] - logs[..., 2]], axis=-1)


def nearer(own: NDArray[np.float64], one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(N,) whether logarithms of colours (N, 3), without light, are more like one (3,) than like another (3,)."""
    to_one, to_other = (np.linalg.norm(_signs(own - centre), axis=1) for centre in (one, other))
    return np.asarray(to_one < to_other)


def _joined(spread: Spread, mask: NDArray[np.bool_], seed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) the part of a mask (N,) that hangs together with the part of it in another (N,): no islands."""
    from scipy.sparse.csgraph import connected_components

    chosen = np.flatnonzero(mask)
    _, names = connected_components(spread.mean[chosen][:, chosen], directed=False)
    found = np.zeros(len(mask), np.bool_)
    found[chosen] = np.isin(names, np.unique(names[seed[chosen]]))
    return found


def _hair_colour(
    edge: NDArray[np.float64], matte: NDArray[np.float64], skin: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(3,) logarithm, of those `edge` (ANGLES, 3) above the ears: of the half that is least like skin (3,), as not all
    of a head need have hair, and not mixed with the ground, as the matte (ANGLES,) tells."""
    above = np.sin(angle_grid()) < -np.sin(np.radians(_ABOVE_EARS[0]))
    colours = edge[above & (matte >= min(_NO_GROUND, float(np.median(matte[above]))))]
    unlike = np.linalg.norm(_signs(colours - skin), axis=1)
    return np.asarray(np.median(colours[unlike >= np.median(unlike)], axis=0), np.float64)


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
    moved = np.flatnonzero(weight > 0)
    around, weight = mean[moved], weight[moved]
    for _ in range(_FLATTENING):
        result[moved] += weight * (around @ result - result[moved])
    return result - vertices


def _outward(vertices: NDArray[np.float64], regions: Regions) -> NDArray[np.float64]:
    """(N, 3) unit, model space: from the middle of the skull."""
    middle = regions.pivot + regions.unit * np.array([0.0, 30.0, -5.0])
    outward = vertices - middle
    length: NDArray[np.float64] = np.linalg.norm(outward, axis=1, keepdims=True)
    return outward / np.maximum(length, 1e-9)


def _upper() -> NDArray[np.bool_]:
    """(ANGLES,) directions upward."""
    upward: NDArray[np.bool_] = np.sin(angle_grid()) < -0.2
    return upward
