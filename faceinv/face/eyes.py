"""Eyeballs of a model that has them: where they turn, where they look, and where iris and pupil end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["EYE_PARTS", "Eyeball", "eye_centre", "eyeballs_of"]

EYE_PARTS: Final = ("left_eye", "right_eye")
"""The parts of a model that are eyeballs; left is the subject's own."""
_AROUND_MM: Final = 45.0
"""How far from an eye's centre lids, nose and brow can hide it from."""
_WHITE: Final = (30.0, 45.0)
"""Degrees from the gaze at which a human eye, whose iris ends at 28 at most, is white."""


@dataclass(frozen=True, eq=False)
class Eyeball:
    """One eye of a model at rest."""

    part: str
    vertices: NDArray[np.intp]
    """(M,) of the model, ascending."""
    gaze: NDArray[np.float64]
    """(3,) unit, model space: from the eye's centre through the pupil."""
    angle: NDArray[np.float64]
    """(M,) degrees between the gaze and each vertex, seen from the centre."""
    pupil: float
    """Degrees at which the pupil ends; 0 where the model paints none."""
    iris: float
    """Degrees at which the iris ends."""
    around: NDArray[np.intp]
    """(A,) ascending: the vertices of all triangles that can hide the eye or show it."""
    triangles: NDArray[np.int32]
    """(B, 3) these triangles, as indices into `around`."""
    own: NDArray[np.bool_]
    """(B,) which of them are the eye's."""


_cache: WeakKeyDictionary[MorphableModel, tuple[Eyeball, ...]] = WeakKeyDictionary()


def eyeballs_of(model: MorphableModel) -> tuple[Eyeball, ...]:
    """The eyes of a model, left first; none where it has no such parts, or they are not painted as eyes."""
    if model not in _cache:
        found = (_eyeball(model, part) for part in EYE_PARTS if part in model.part_names)
        _cache[model] = tuple(eye for eye in found if eye is not None)
    return _cache[model]


def eye_centre(surface: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) the point about which an eyeball turns: the centre of the sphere that most of its vertices (M, 3) lie on.

    The cornea stands out, so that the vertices that are farthest off a first sphere are left out of the next.
    """
    middle: NDArray[np.float64] = surface.mean(axis=0)
    local = surface - middle
    # |p|^2 = 2 p.c + (r^2 - |c|^2), linear in the unknowns.
    design, square = np.column_stack([2 * local, np.ones(len(local))]), (local**2).sum(axis=1)
    kept = np.ones(len(surface), np.bool_)
    centre = np.zeros(3)
    for _ in range(8):
        centre = np.linalg.lstsq(design[kept], square[kept], rcond=None)[0][:3]
        distance = np.linalg.norm(local - centre, axis=1)
        off = np.abs(distance - np.median(distance))
        kept = off <= max(float(np.quantile(off, 0.75)), 1e-6)
    return middle + centre


def _eyeball(model: MorphableModel, part: str) -> Eyeball | None:
    vertices = np.unique(model.triangles[model.part(part)]).astype(np.intp)
    if len(vertices) < 12:
        return None
    surface = model.mean[vertices].astype(np.float64)
    centre = eye_centre(surface)
    outwards = surface - centre
    distance = np.linalg.norm(outwards, axis=1)
    # The bulge of the cornea is about the gaze.
    bulge = np.maximum(distance - np.median(distance), 0.0) ** 2
    directions = outwards / np.maximum(distance, 1e-9)[:, None]
    gaze = (bulge[:, None] * directions).sum(axis=0)
    size = float(np.linalg.norm(gaze))
    if size <= 1e-9:
        return None
    gaze /= size
    angle = np.degrees(np.arccos(np.clip(directions @ gaze, -1, 1)))
    order = np.argsort(angle, kind="stable")
    sorted_angle, bright = angle[order], model.mean_albedo[vertices[order]].mean(axis=1)
    white = (sorted_angle > _WHITE[0]) & (sorted_angle < _WHITE[1])
    if not white.any():
        return None
    level = float(np.median(bright[white]))
    coloured = (bright < level / 2) & (sorted_angle < _WHITE[0])
    if not coloured.any():
        return None
    iris = float(sorted_angle[coloured].max())
    darkest = float(bright[0])
    inside = bright[sorted_angle < 0.6 * iris]
    black = (bright < (darkest + float(inside.max())) / 2) & (sorted_angle < 0.6 * iris)
    pupil = float(sorted_angle[np.flatnonzero(~black)[0] - 1]) if darkest < float(inside.max()) / 2 else 0.0
    near = np.linalg.norm(model.mean - centre, axis=1) < _AROUND_MM
    chosen = near[model.triangles].any(axis=1)
    around, index = np.unique(model.triangles[chosen], return_inverse=True)
    triangles: NDArray[np.int32] = index.reshape(-1, 3).astype(np.int32)
    return Eyeball(
        part=part,
        vertices=vertices,
        gaze=gaze,
        angle=angle,
        pupil=pupil,
        iris=iris,
        around=around.astype(np.intp),
        triangles=triangles,
        own=model.part(part)[chosen],
    )
