"""From what a file says to a checked `MorphableModel`: the one path that all foreign formats take."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.formats._albedo import borrowed_albedo
from faceinv.face.formats._checks import check_finite, check_indices, check_shape
from faceinv.face.formats._default import default_model
from faceinv.face.formats._landmarks import (
    LANDMARK_FILE,
    Landmarks,
    check_axes,
    dominant_vertices,
    jaw_order,
    read_landmark_table,
)
from faceinv.face.formats._mesh import cylindrical_uv, mirror_vertices, vertex_parts, winding_conflicts
from faceinv.face.formats._regions import face_mask
from faceinv.face.formats._register import find_landmarks
from faceinv.face.jaw_band import jaw_band
from faceinv.face.mesh import triangle_normals
from faceinv.face.model import MorphableModel

__all__ = ["ModeCounts", "RawModel", "finish"]

_REGISTERED_MM: Final = 6.0
_CONFLICTS: Final = 0.05
_ROWS: Final = 4096
"""How many rows of a basis are looked at in one go."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModeCounts:
    """How many modes of each kind to read. None reads what the format's loader documents."""

    identity: int | None = None
    expression: int | None = None
    albedo: int | None = None


@dataclass(frozen=True)
class RawModel:
    """A model as a file says it, in model space and mm, bases whitened; every other field still to be derived."""

    path: Path
    name: str
    licence: str
    mean: NDArray[Any]
    """(N, 3) mm."""
    triangles: NDArray[np.int64]
    """(T, 3), either winding."""
    identity: NDArray[Any]
    """(N, 3, Ki)."""
    expression: NDArray[Any]
    """(N, 3, Ke)."""
    expression_names: tuple[str, ...] = ()
    expression_units: ExpressionUnits | None = None
    landmarks: Landmarks | None = None
    """Vertices and weights, or None where the file has no full set."""
    known_landmarks: Mapping[int, NDArray[np.float64]] = field(default_factory=dict)
    """Some landmarks (3,) mm by iBUG number, which help to find the rest."""
    albedo_space: str = "srgb"
    mean_albedo: NDArray[Any] | None = None
    """(N, 3), or None to borrow the default model's."""
    albedo: NDArray[Any] | None = None
    """(N, 3, Ka)."""
    uv: NDArray[Any] | None = None
    """(U, 2)."""
    uv_triangles: NDArray[np.int64] | None = None
    """(T, 3)."""
    mirror: NDArray[np.int64] | None = None
    """(N,)."""
    unordered_expression: bool = False
    """The file's expressions come in no order of importance: they are sorted by how far they move the face."""


def finish(raw: RawModel, counts: ModeCounts) -> MorphableModel:
    """Check a raw model, derive what its file lacks, and hand it over.

    - Landmarks come from `landmarks.txt` beside the model, else from its own files, else from the default model laid on
      its surface; the jaw's are put in order.
    - Parts of the mesh without a landmark (eyeballs, teeth, tongue) are left out, and modes that move nothing of the
      rest with them.
    - The winding is turned outwards.
    - The face mask, the jaw's band, the left-right pairs and texture coordinates are derived from the mean surface.

    Raises:
        ModelError: when a field is not finite, out of range or of the wrong shape, or when the axes are reversed.
    """
    _check(raw)
    if (beside := _folder(raw.path) / LANDMARK_FILE).is_file():
        raw = replace(raw, landmarks=read_landmark_table(beside, len(raw.mean)))
    if raw.landmarks is None:
        raw = replace(raw, landmarks=_search_landmarks(raw))
    assert raw.landmarks is not None
    order = jaw_order(_positions(raw))
    raw = replace(raw, landmarks=(raw.landmarks[0][order], raw.landmarks[1][order]))
    check_axes(_positions(raw), raw.path)
    raw = _keep(raw, _parts_with_landmarks(raw))
    raw = _drop_still_modes(_outward(raw))

    mean, positions = _mean(raw), _positions(raw)
    mask = face_mask(mean, raw.triangles, positions)
    raw = _keep_modes(raw, np.unique(raw.triangles[mask]), counts)
    albedo_space, mean_albedo, albedo = raw.albedo_space, raw.mean_albedo, raw.albedo
    if mean_albedo is None or albedo is None:
        albedo_space, mean_albedo, albedo = borrowed_albedo(mean, raw.triangles, positions, counts.albedo, raw.name)
    assert raw.landmarks is not None
    landmarks, weights = raw.landmarks
    uv, uv_triangles = raw.uv, raw.uv_triangles
    if uv is None or uv_triangles is None:
        uv, uv_triangles = cylindrical_uv(mean), raw.triangles
    return MorphableModel(
        name=raw.name,
        licence=raw.licence,
        albedo_space=albedo_space,
        mean=mean.astype(np.float32),
        identity_basis=np.asarray(raw.identity, np.float32),
        expression_basis=np.asarray(raw.expression, np.float32),
        mean_albedo=np.asarray(mean_albedo, np.float32),
        albedo_basis=np.asarray(albedo, np.float32),
        triangles=raw.triangles.astype(np.int32),
        landmark_vertices=landmarks.astype(np.int32),
        landmark_weights=weights.astype(np.float32),
        face_mask=mask,
        jaw_band=jaw_band(mean, raw.triangles, landmarks, weights),
        uv=np.asarray(uv, np.float32),
        uv_triangles=uv_triangles.astype(np.int32),
        mirror=mirror_vertices(mean, positions) if raw.mirror is None else raw.mirror.astype(np.int32),
        expression_names=raw.expression_names,
        expression_units=raw.expression_units,
    )


def _folder(path: Path) -> Path:
    return path if path.is_dir() else path.parent


def _mean(raw: RawModel) -> NDArray[np.float64]:
    return np.asarray(raw.mean, np.float64)


def _positions(raw: RawModel) -> NDArray[np.float64]:
    assert raw.landmarks is not None
    positions: NDArray[np.float64] = np.einsum("lk,lkd->ld", raw.landmarks[1], _mean(raw)[raw.landmarks[0]])
    return positions


def _check(raw: RawModel) -> None:
    count = len(raw.mean)
    fields: dict[str, tuple[int | None, ...]] = {
        "mean": (count, 3),
        "identity": (count, 3, None),
        "expression": (count, 3, None),
        "mean_albedo": (count, 3),
        "albedo": (count, 3, None),
        "uv": (None, 2),
    }
    for name, shape in fields.items():
        value = getattr(raw, name)
        if value is not None:
            check_shape(value, shape, raw.path, name)
            check_finite(value, raw.path, name)
    check_shape(raw.triangles, (None, 3), raw.path, "triangles")
    check_indices(raw.triangles, count, raw.path, "triangles")
    conflicts = winding_conflicts(raw.triangles)
    if conflicts > _CONFLICTS:
        raise ModelError(
            f"'{raw.path}': {conflicts:.0%} of the edges of field 'triangles' are wound against their neighbours; "
            "the index base or the order of the corners is wrong."
        )
    size = float(np.ptp(np.asarray(raw.mean), axis=0).max())
    if not 50 < size < 1500:
        raise ModelError(
            f"'{raw.path}': field 'mean' spans {size:.4g} mm, which is no head. The file is in other units than its "
            "format says; fetch it from its owner."
        )


def _search_landmarks(raw: RawModel) -> Landmarks:
    remedy = f"Put a '{LANDMARK_FILE}' with 68 lines beside it (vertex numbers, 0-based, iBUG order)"
    try:
        default = default_model()
    except ModelError as error:
        raise ModelError(f"'{raw.path}' names no 68 landmarks and {error} {remedy}.") from None
    found, distance = find_landmarks(default, _mean(raw), raw.triangles, raw.known_landmarks)
    if distance > _REGISTERED_MM:
        raise ModelError(
            f"'{raw.path}' names no 68 landmarks, and the default model lies {distance:.1f} mm off it. {remedy}."
        )
    _log.info("model '%s': landmarks carried over from the default model, which lies %.1f mm off", raw.name, distance)
    return found


def _parts_with_landmarks(raw: RawModel) -> NDArray[np.bool_]:
    """(T,) triangles of the connected parts that hold a landmark."""
    assert raw.landmarks is not None
    parts = vertex_parts(len(raw.mean), raw.triangles)
    kept = np.unique(parts[raw.landmarks[0][raw.landmarks[1] > 0]])
    return np.isin(parts[raw.triangles[:, 0]], kept)


def _outward(raw: RawModel) -> RawModel:
    """The model with its triangles turned if those at the nose, brows and lips face away from the viewer."""
    assert raw.landmarks is not None
    near = np.isin(raw.triangles, raw.landmarks[0][17:36]).any(axis=1)
    near |= np.isin(raw.triangles, raw.landmarks[0][48:60]).any(axis=1)
    if triangle_normals(_mean(raw), raw.triangles[near])[:, 2].sum() >= 0:
        return raw
    flat = raw.uv_triangles
    return replace(
        raw, triangles=raw.triangles[:, ::-1].copy(), uv_triangles=None if flat is None else flat[:, ::-1].copy()
    )


def _keep(raw: RawModel, triangles: NDArray[np.bool_]) -> RawModel:
    """The model on some of its triangles (T,), without the vertices that no triangle uses any more."""
    assert raw.landmarks is not None
    in_use = np.zeros(len(raw.mean), bool)
    in_use[raw.triangles[triangles]] = True
    if triangles.all() and in_use.all():
        return raw
    used = np.flatnonzero(in_use)
    place = np.full(len(raw.mean), -1, np.int64)
    place[used] = np.arange(len(used))
    vertices, weights = raw.landmarks
    if (place[vertices[weights > 0]] < 0).any():
        raise ModelError(f"'{raw.path}': a landmark is on a vertex that no triangle uses.")
    vertices = np.where(weights > 0, vertices, dominant_vertices(vertices, weights)[:, None])

    def rows(value: NDArray[Any] | None) -> NDArray[Any] | None:
        return None if value is None else value[used]

    mirror = raw.mirror
    if mirror is not None:
        mirror = place[mirror[used]]
        mirror = np.where(mirror < 0, np.arange(len(used)), mirror)
    uv_triangles, uv = raw.uv_triangles, raw.uv
    if uv is not None and uv_triangles is not None:
        corners, flat = np.unique(uv_triangles[triangles], return_inverse=True)
        uv, uv_triangles = uv[corners], flat.reshape(-1, 3)
    return replace(
        raw,
        mean=raw.mean[used],
        identity=raw.identity[used],
        expression=raw.expression[used],
        mean_albedo=rows(raw.mean_albedo),
        albedo=rows(raw.albedo),
        triangles=place[raw.triangles[triangles]],
        landmarks=(place[vertices], weights),
        uv=uv,
        uv_triangles=uv_triangles,
        mirror=mirror,
    )


def _drop_still_modes(raw: RawModel) -> RawModel:
    moves_identity, moves_expression = _moves(raw.identity), _moves(raw.expression)
    if moves_identity.all() and moves_expression.all():
        return raw
    names = tuple(name for name, moves in zip(raw.expression_names, moves_expression, strict=False) if moves)
    return replace(
        raw,
        identity=raw.identity[:, :, moves_identity],
        expression=raw.expression[:, :, moves_expression],
        expression_names=names,
        expression_units=_some_units(raw, moves_expression),
    )


def _moves(basis: NDArray[Any]) -> NDArray[np.bool_]:
    """(K,) which modes of a basis (N, 3, K) move anything by more than a nanometre."""
    flat = basis.reshape(basis.shape[0] * basis.shape[1], basis.shape[2])
    moves: NDArray[np.bool_] = np.zeros(flat.shape[1], bool)
    for first in range(0, len(flat), _ROWS):
        moves |= (np.abs(flat[first : first + _ROWS]) > 1e-6).any(axis=0)
        if moves.all():
            break
    return moves


def _keep_modes(raw: RawModel, face: NDArray[np.int64], counts: ModeCounts) -> RawModel:
    """The model with its first modes only; expressions without an order first sorted by how far they move the face."""
    raw = replace(raw, identity=raw.identity[:, :, : counts.identity])
    if not raw.unordered_expression:
        return replace(
            raw,
            expression=raw.expression[:, :, : counts.expression],
            expression_names=raw.expression_names[: counts.expression],
            expression_units=_some_units(raw, slice(counts.expression)),
        )
    strength = (np.asarray(raw.expression[face], np.float64) ** 2).sum(axis=(0, 1))
    expression = np.argsort(-strength, kind="stable")[: counts.expression]
    return replace(
        raw,
        expression=raw.expression[:, :, expression],
        expression_names=tuple(raw.expression_names[k] for k in expression) if raw.expression_names else (),
        expression_units=_some_units(raw, expression),
    )


def _some_units(raw: RawModel, kept: NDArray[Any] | slice) -> ExpressionUnits | None:
    """The units when only some expression modes are kept."""
    return None if raw.expression_units is None else raw.expression_units.columns(kept)
