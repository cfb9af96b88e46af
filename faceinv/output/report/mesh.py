"""A face for the browser: what all faces of a model share, made once, and what is a face's own.

The browser moves the surface itself: it adds up the moves of the expression's units, each a list of the vertices that
it moves at all, so that a rig of fifty units takes half a megabyte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.output.report.packing import Packed, pack
from faceinv.photo.color import linear_to_srgb
from faceinv.render.uv import texture_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["MOVE_STEP", "FaceArrays", "ModelArrays", "Unit", "face_arrays", "model_arrays"]

MOVE_STEP: Final = 1 / 128
"""mm: moves are whole multiples of this."""
_STILL: Final = 0.02
"""mm: a vertex that a unit moves by less is left where it is."""
_UNNAMED_MODES: Final = 10
"""So many of a model's expression modes can be moved where it has no named units; Basel's have every vertex move."""
_UNNAMED_RANGE: Final = 3.0
"""Standard deviations."""
_HIGHEST: Final = 65535
_known: WeakKeyDictionary[MorphableModel, ModelArrays] = WeakKeyDictionary()


@dataclass(frozen=True)
class Unit:
    """Something that a slider moves."""

    name: str
    value: float
    """As fitted."""
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ModelArrays:
    """What all faces of a model share."""

    packed: Packed
    """`index` (3T,) corners of triangles; `vertex` (M,) the vertex of each corner that has texture coordinates of its
    own, `uv` (2, M) those, of 65535; `moved` (U,) how many vertices each unit moves, `which` (1, S) those,
    `moves` (3, S) how far, in `MOVE_STEP`."""
    directions: NDArray[np.float64]
    """(Ke, U): the expression of each unit at 1."""
    named: bool


@dataclass(frozen=True, eq=False)
class FaceArrays:
    """What is a face's own."""

    packed: Packed
    """`place` (3, N) of 65535 within the box, of the face at rest; `albedo` (3, N) sRGB of 255; `deviation` (1, N) of
    255 within its range, where it is known."""
    low: list[float]
    """(3,) mm: the box's lower corner."""
    size: list[float]
    """(3,) mm."""
    units: tuple[Unit, ...]
    deviation_range: tuple[float, float] | None
    """mm: of the middle 96 % of the face."""
    pivot: list[float]
    """(3,) mm: the middle of the box, around which the head turns."""


def model_arrays(model: MorphableModel) -> ModelArrays:
    """The model's part of a page; made once for as long as the model lives."""
    if model not in _known:
        _known[model] = _model_arrays(model)
    return _known[model]


def _model_arrays(model: MorphableModel) -> ModelArrays:
    named = model.expression_units is not None
    if model.expression_units is not None:
        directions = np.linalg.pinv(model.expression_units.matrix)
    else:
        directions = np.eye(model.expression_count)[:, :_UNNAMED_MODES]
    basis = model.expression_basis.astype(np.float64)
    moved: list[int] = []
    which: list[NDArray[np.integer[Any]]] = []
    moves: list[NDArray[np.int16]] = []
    for direction in directions.T:
        move = basis @ direction
        vertices = np.flatnonzero(np.einsum("nd,nd->n", move, move) > _STILL**2)
        moved.append(len(vertices))
        which.append(vertices)
        moves.append(np.clip(np.rint(move[vertices] / MOVE_STEP), -32768, 32767).astype(np.int16))
    pairs, index = np.unique(
        np.stack([model.triangles.ravel(), model.uv_triangles.ravel()], axis=1), axis=0, return_inverse=True
    )
    number = np.uint16 if len(pairs) <= _HIGHEST else np.uint32
    uv = texture_layout(model)[pairs[:, 1]]
    packed = pack(
        {
            "index": index.reshape(1, -1).astype(number),
            "vertex": pairs[:, 0][None].astype(number),
            "uv": _steps(uv.T, np.zeros((2, 1)), np.ones((2, 1))),
            "moved": np.array(moved, np.uint32),
            "which": np.concatenate([*which, np.zeros(0, np.intp)])[None].astype(number),
            "moves": np.concatenate([*moves, np.zeros((0, 3), np.int16)]).T,
        }
    )
    return ModelArrays(packed, directions, named)


def face_arrays(model: MorphableModel, face: Face, deviation: NDArray[np.float64] | None) -> FaceArrays:
    """A face's own part of a page.

    Args:
        model: the model.
        face: the face.
        deviation: (N,) mm, or None where it is not known.
    """
    shared = model_arrays(model)
    values, units = _units(model, face, shared)
    # What units do not say of the expression, and the fit does, is part of the face at rest.
    rest = face.vertices(model) - model.expression_basis @ (shared.directions @ values)
    low, high = rest.min(axis=0), rest.max(axis=0)
    size = np.maximum(high - low, 1e-6)
    albedo = np.clip(face.vertex_albedo(model), 0.0, 1.0)
    if model.albedo_space == "linear":
        albedo = linear_to_srgb(albedo)
    skin = np.unique(model.triangles[model.face_mask])
    arrays = {
        "place": _steps(rest.T, low[:, None], size[:, None]),
        "albedo": np.rint(255 * albedo.T).astype(np.uint8),
    }
    span = None
    if deviation is not None:
        least, most = (float(value) for value in np.percentile(deviation[skin], [2, 98]))
        most = max(most, least + 1e-3)
        share = np.clip((deviation - least) / (most - least), 0.0, 1.0)
        arrays["deviation"] = np.rint(255 * share).astype(np.uint8)[None]
        span = least, most
    return FaceArrays(pack(arrays, level=1), low.tolist(), size.tolist(), units, span, ((low + high) / 2).tolist())


def _units(model: MorphableModel, face: Face, shared: ModelArrays) -> tuple[NDArray[np.float64], tuple[Unit, ...]]:
    """Values (U,), and what the sliders are told; fits may go beyond a unit's range."""
    if shared.named:
        fitted = list(face.expression_units(model).items())
        low, high = 0.0, 1.0
    else:
        names = model.expression_names or tuple(f"expression {k + 1}" for k in range(model.expression_count))
        fitted = list(zip(names, face.expression.tolist(), strict=True))[: shared.directions.shape[1]]
        low, high = -_UNNAMED_RANGE, _UNNAMED_RANGE
    units = tuple(Unit(name, value, min(low, value), max(high, value)) for name, value in fitted)
    return np.array([unit.value for unit in units], np.float64), units


def _steps(columns: NDArray[np.float64], low: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.uint16]:
    return np.rint(_HIGHEST * np.clip((columns - low) / size, 0.0, 1.0)).astype(np.uint16)
