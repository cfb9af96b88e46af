"""Which vertices of a head model are what, as far as pictures need to know: by landmarks, so for any model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import coo_array

from faceinv.face.landmarks68 import CHIN, EYES, OUTER_EYES

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from faceinv.face.model import MorphableModel

__all__ = ["EARS_ABOVE_PIVOT", "EYE_DISTANCE_MM", "Regions", "depth_inside", "links_of", "ramp", "regions_of"]

EYE_DISTANCE_MM: Final = 91.0
"""Between the outer eye corners of a mean face: lengths below are of such a head, and go with it for other models."""
_JAW_ANGLE: Final = (3, 13)
"""Landmarks below the ears, where the jaw turns up."""
_UNDER_JAW: Final = 14.0
"""mm from there to where the jaw meets the neck."""
_NAPE: Final = (-86.0, -80.0)
"""(y, z) mm from the ear's landmark: the lower end of the head's back, where a neck begins."""
_SEAM: Final = (2.0, 16.0)
"""mm below the jaw's line where the head begins to fade into the picture of the neck, and where it has gone."""
_THROAT: Final = -16.0
"""mm below the jaw's line from which on the mouth's inside would show under a chin."""
EARS_ABOVE_PIVOT: Final = 26.0
_PIVOT_BEHIND_EARS: Final = 10.0
_RING_BELOW_CHIN: Final = 14.0
_NAPE_ABOVE_CHIN: Final = 12.0
"""mm: a neck that is seen from the side begins higher behind than in front."""
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
    pinna: NDArray[np.float64]
    """How far an ear stands off the head: 0 where it joins it, 1 at its rim."""
    scalp: NDArray[np.bool_]
    """Where hair grows: behind face and ears, down to the nape."""
    sides: tuple[NDArray[np.bool_], NDArray[np.bool_]]
    """What hair may cover beside the face: ears and the skin around them, in the image's left half and in its right."""
    neck_ring: NDArray[np.int64]
    """Vertices (M,) around the neck, or none where the model has no neck."""
    eyes: NDArray[np.bool_]
    """Eyeballs."""
    teeth: NDArray[np.bool_]
    mouth: NDArray[np.bool_]
    """The inside of the mouth, tongue and teeth included."""
    throat: NDArray[np.float64]
    """(N, 3) mm, model space: what lifts the throat's lower end, so that it does not show under a chin."""
    from_eyes: NDArray[np.float64]
    """mm from the rims of the eyes."""
    lids: NDArray[np.bool_]
    lifts: NDArray[np.bool_]
    """What hair or ears of a photo may move: neither face nor anything inside."""
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
    ear &= (from_ear[:, 1] > -54) & (from_ear[:, 1] < 26) & (from_ear[:, 2] > -42) & (from_ear[:, 2] < 22)
    pinna = ramp(_depth(model, ear) / unit, 0.0, 14.0)
    ear &= (from_ear[:, 1] < 12) & (from_ear[:, 2] > -38)
    # Hair begins close above the ear, with a sideburn before it, and close behind it.
    scalp = outside & ~ear & (from_ear[:, 1] > -75)
    scalp &= ((from_ear[:, 1] > 44) & (from_ear[:, 2] < 75)) | (from_ear[:, 2] < np.where(from_ear[:, 1] > 4, 24, -22))
    below, upward = _below(surface, landmarks, ear_point, unit)
    opacity = np.where(inner, 1.0, 1 - ramp(below, *_SEAM))
    lashes = _part(model, "lashes")
    drawn = (opacity[model.triangles] > 0).any(axis=1) & ~lashes[model.triangles].any(axis=1)
    deep = np.where(inner & ~eyes, np.maximum(below - _THROAT, 0.0), 0.0) * unit
    rims = np.concatenate([_outline(landmarks[part]) for part in EYES])
    from_eyes = _distance(surface, rims) / unit
    lids = ~inner & (from_eyes < _LID_REACH)
    beside = outside & (np.abs(from_ear[:, 0]) > width / unit - 26)
    beside &= (from_ear[:, 1] > -48) & (from_ear[:, 1] < 60) & (from_ear[:, 2] > -45) & (from_ear[:, 2] < 45)
    temple = face & (np.abs(from_ear[:, 0]) > width / unit - 24) & (from_ear[:, 1] > -28)
    beside |= ear | temple
    level = (surface[:, 1] - landmarks[CHIN, 1]) / unit + _RING_BELOW_CHIN
    ring = np.abs(level) < 6
    ring |= (np.abs(level - _RING_BELOW_CHIN - _NAPE_ABOVE_CHIN) < 6) & (from_ear[:, 2] < -_PIVOT_BEHIND_EARS)
    return Regions(
        unit=unit,
        pivot=ear_point - unit * np.array([0.0, EARS_ABOVE_PIVOT, _PIVOT_BEHIND_EARS]),
        opacity=opacity,
        face=face,
        ear=ear,
        pinna=pinna,
        scalp=scalp,
        sides=(beside & (surface[:, 0] < 0), beside & (surface[:, 0] > 0)),
        neck_ring=np.flatnonzero(outside & ring),
        eyes=eyes,
        teeth=teeth,
        mouth=mouth,
        throat=deep[:, None] * upward,
        from_eyes=from_eyes,
        lids=lids,
        lifts=outside,
        drawn=np.asarray(drawn),
    )


def _distance(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    from scipy.spatial import cKDTree

    return np.asarray(cKDTree(others).query(points)[0], np.float64)


def _outline(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (L, 3) around a hole and three more between each two."""
    share = np.arange(4)[:, None, None] / 4
    between: NDArray[np.float64] = ((1 - share) * points + share * np.roll(points, -1, axis=0)).reshape(-1, 3)
    return between


def _below(
    surface: NDArray[np.float64], landmarks: NDArray[np.float64], ear_point: NDArray[np.float64], unit: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N,) mm of a mean head below the planes from the chin over the jaw's angle to the nape, and (N, 3) unit normals
    of the nearer plane, upward."""
    angle = landmarks[list(_JAW_ANGLE)].mean(axis=0)[1:] - unit * np.array([_UNDER_JAW, 0.0])
    nape = ear_point[1:] + unit * np.array(_NAPE)
    chin = landmarks[CHIN, 1:]
    distance, normals = [], []
    for first, second in ((angle, chin), (nape, angle)):
        along = second - first
        normal = np.array([along[1], -along[0]]) / np.linalg.norm(along)
        normal *= np.sign(normal[0])
        distance.append((first - surface[:, 1:]) @ normal / unit)
        normals.append([0.0, *normal])
    nearer = np.argmin(distance, axis=0)
    return np.min(distance, axis=0), np.array(normals)[nearer]


def depth_inside(model: MorphableModel, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(N,) mm of the mean surface from a vertex of a mask (N,) to the mask's nearest neighbour; 0 outside of it."""
    return _depth(model, mask) / regions_of(model).unit


def _depth(model: MorphableModel, mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    surface = model.mean.astype(np.float64)
    touched = np.zeros(model.vertex_count, np.bool_)
    touched[model.triangles[mask[model.triangles].any(axis=1)]] = True
    edge = touched & ~mask
    if not edge.any():
        return np.where(mask, 1e3, 0.0)
    return np.where(mask, _distance(surface, surface[edge]), 0.0)
