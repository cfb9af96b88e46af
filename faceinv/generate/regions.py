"""Which vertices of a head model are what, as far as pictures need to know: by landmarks, so for any model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import coo_array

from faceinv.face.landmarks68 import CHIN, EYES, INNER_LIPS, OUTER_EYES

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from faceinv.face.model import MorphableModel

__all__ = ["EYE_DISTANCE_MM", "Regions", "links_of", "ramp", "regions_of"]

EYE_DISTANCE_MM: Final = 91.0
"""Between the outer eye corners of a mean face: lengths below are of such a head, and go with it for other models."""
_JAW_ANGLE: Final = (3, 13)
"""Landmarks below the ears, where the jaw turns up."""
_NAPE: Final = (-95.0, -20.0)
"""(y, z) mm from the ear's landmark: the lower end of the head's back, where a neck begins."""
_SEAM: Final = (4.0, 24.0)
"""mm below the jaw's line where the head begins to fade into the picture of the neck, and where it has gone."""
_PIVOT_BELOW_EARS: Final = 26.0
_PIVOT_BEHIND_EARS: Final = 10.0
_LID_REACH: Final = 16.0
"""mm around the eyes' rims that lids may cover or uncover."""

_known: WeakKeyDictionary[MorphableModel, Regions] = WeakKeyDictionary()


def ramp(values: NDArray[np.floating], low: float, high: float) -> NDArray[np.float64]:
    """0 up to `low`, 1 from `high` on, smooth between."""
    t = np.clip((np.asarray(values, np.float64) - low) / (high - low), 0.0, 1.0)
    result: NDArray[np.float64] = t * t * (3 - 2 * t)
    return result


@dataclass(frozen=True, eq=False)
class Regions:
    """Masks (N,) bool or weights (N,) float64 of vertices, unless said otherwise."""

    unit: float
    """mm of the model for one of a head whose eyes are `EYE_DISTANCE_MM` apart."""
    pivot: NDArray[np.float64]
    """(3,) mm: between the ears and a little below, about which heads turn."""
    opacity: NDArray[np.float64]
    """1 on the head, 0 on the neck."""
    face: NDArray[np.bool_]
    """Of triangles of the face mask."""
    ear: NDArray[np.bool_]
    scalp: NDArray[np.bool_]
    """Where hair grows: behind face and ears, down to the nape."""
    hairy: NDArray[np.float64]
    """How far a vertex is inside of the scalp: 0 at its edge, 1 some 35 mm further in."""
    eyes: NDArray[np.bool_]
    """Eyeballs."""
    teeth: NDArray[np.bool_]
    mouth: NDArray[np.bool_]
    """The inside of the mouth, tongue and teeth included."""
    lids: NDArray[np.bool_]
    lips: NDArray[np.bool_]
    """Skin near the mouth's opening."""
    drawn: NDArray[np.bool_]
    """(T,) triangles that pictures show: no lashes, nothing below the head's seam with the neck."""


def regions_of(model: MorphableModel) -> Regions:
    """The regions of a model; found once for as long as the model lives."""
    if model not in _known:
        _known[model] = _regions(model)
    return _known[model]


def links_of(triangles: NDArray[np.int32], count: int) -> csr_array[Any, tuple[int, int]]:
    """(count, count) ones for every pair of vertices that an edge joins."""
    start, end = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    both = (np.concatenate([start, end]), np.concatenate([end, start]))
    links = coo_array((np.ones(2 * len(start)), both), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    return links


def _part(model: MorphableModel, *names: str) -> NDArray[np.bool_]:
    """Vertices of the parts that the model has."""
    found = np.zeros(model.vertex_count, np.bool_)
    present = [name for name in names if name in model.part_names]
    if present:
        found[model.triangles[model.part(*present)]] = True
    return found


def _regions(model: MorphableModel) -> Regions:
    surface = model.mean.astype(np.float64)
    landmarks = model.landmarks(surface)
    unit = float(np.linalg.norm(landmarks[OUTER_EYES[0]] - landmarks[OUTER_EYES[1]])) / EYE_DISTANCE_MM
    ear_point = (landmarks[0] + landmarks[16]) / 2
    width = abs(float(landmarks[16, 0] - landmarks[0, 0])) / 2
    face = np.zeros(model.vertex_count, np.bool_)
    face[model.triangles[model.face_mask]] = True
    inner = _part(model, "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue", "mouth_inside", "lashes")
    eyes, teeth = _part(model, "left_eye", "right_eye"), _part(model, "upper_teeth", "lower_teeth")
    mouth = _part(model, "upper_teeth", "lower_teeth", "tongue", "mouth_inside")
    outside = ~face & ~inner
    from_ear = (surface - ear_point) / unit
    ear = outside & (np.abs(from_ear[:, 0]) > width / unit - 9)
    ear &= (np.abs(from_ear[:, 1] + 8) < 46) & (from_ear[:, 2] > -42) & (from_ear[:, 2] < 22)
    scalp = outside & ~ear & (from_ear[:, 1] > -75)
    scalp &= ((from_ear[:, 1] > 44) & (from_ear[:, 2] < 75)) | (from_ear[:, 2] < np.where(from_ear[:, 1] > 0, 14, -22))
    links = links_of(model.triangles, model.vertex_count)
    below = _below(surface, landmarks, ear_point, unit)
    below[inner] = -20.0  # no neck cuts through a mouth
    opacity = 1 - ramp(below, *_SEAM)
    lashes = _part(model, "lashes")
    drawn = (opacity[model.triangles] > 0).any(axis=1) & ~lashes[model.triangles].all(axis=1)
    rims = np.concatenate([landmarks[part] for part in EYES])
    lids = ~inner & (_distance(surface, rims) < _LID_REACH * unit)
    lips = ~inner & (_distance(surface, landmarks[INNER_LIPS]) < 12 * unit)
    depth = _depth_inside(scalp, links, surface, unit)
    return Regions(
        unit=unit,
        pivot=ear_point - unit * np.array([0.0, _PIVOT_BELOW_EARS, _PIVOT_BEHIND_EARS]),
        opacity=opacity,
        face=face,
        ear=ear,
        scalp=scalp,
        hairy=ramp(depth, 0.0, 35.0),
        eyes=eyes,
        teeth=teeth,
        mouth=mouth,
        lids=lids,
        lips=lips,
        drawn=drawn,
    )


def _distance(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    distance: NDArray[np.float64] = cKDTree(others).query(points)[0]
    return distance


def _below(
    surface: NDArray[np.float64], landmarks: NDArray[np.float64], ear_point: NDArray[np.float64], unit: float
) -> NDArray[np.float64]:
    """(N,) mm of a mean head below a line from the chin over the jaw's angle to the nape, seen from the side."""
    angle = landmarks[list(_JAW_ANGLE)].mean(axis=0)
    nape = ear_point[1:] + unit * np.array(_NAPE)
    chin = landmarks[CHIN]
    # As heights over z, from back to front.
    line_z = np.array([nape[1] - 1, nape[1], angle[2], chin[2], chin[2] + 1])
    line_y = np.array([nape[0], nape[0], angle[1] - 14 * unit, chin[1], chin[1]])
    slope = np.gradient(np.interp(np.linspace(line_z[0], line_z[-1], 200), line_z, line_y))
    steep = np.interp(surface[:, 2], np.linspace(line_z[0], line_z[-1], 200), slope * 199 / (line_z[-1] - line_z[0]))
    height: NDArray[np.float64] = (np.interp(surface[:, 2], line_z, line_y) - surface[:, 1]) / np.sqrt(1 + steep**2)
    return height / unit


def _depth_inside(
    mask: NDArray[np.bool_], links: Any, surface: NDArray[np.float64], unit: float
) -> NDArray[np.float64]:
    """(N,) mm from the nearest vertex outside of a mask; 0 outside of it."""
    edge = ~mask & (links @ mask.astype(np.float64) > 0)
    if not edge.any():
        return np.where(mask, 1e3, 0.0)
    return np.where(mask, _distance(surface, surface[edge]) / unit, 0.0)
