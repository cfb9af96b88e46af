"""What moves a face in other programs: its named units of expression, and its eyes.

A unit's target is what the unit adds to the surface at full strength (the model is linear in expression), and to its
normals. Units that a fit finds are the weights, so that base and targets make the fitted face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.errors import InputError
from faceinv.face.mesh import triangle_normals, vertex_normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.expression_units import ExpressionUnits
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["Motion", "Rig", "units_of"]

_STILL_MM: Final = 0.002
"""A vertex that a unit moves by less is not listed: nobody sees a five-hundredth of a millimetre."""


@dataclass(frozen=True, eq=False)
class Motion:
    """What one unit moves."""

    name: str
    vertices: NDArray[np.intp]
    """(M,) ascending."""
    displacement: NDArray[np.float64]
    """(M, 3) mm at full strength."""
    triangles: NDArray[np.intp]
    """Those that have one of the vertices."""


_cache: WeakKeyDictionary[MorphableModel, tuple[Motion, ...]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class Rig:
    """A face at rest, and what moves it."""

    base: NDArray[np.float64]
    """(N, 3) mm: the face without expression."""
    base_normals: NDArray[np.float64]
    """(N, 3) unit."""
    motions: tuple[Motion, ...]
    normals: tuple[NDArray[np.float32], ...]
    """For each motion (M, 3): what it adds to the unit normals of its vertices."""
    weights: NDArray[np.float64]
    """(U,) of the face that was fitted; 0 at rest, 1 at full strength, not clipped."""

    @classmethod
    def of(cls, model: MorphableModel, face: Face) -> Rig:
        """The rig of a face.

        Raises:
            InputError: when the model has no named units.
        """
        units = units_of(model)
        weights = units.matrix @ face.expression
        # What the units do not span, where modes were left out, stays in the base.
        rest = face.expression - np.linalg.lstsq(units.matrix, weights, rcond=None)[0]
        base = model.vertices(face.identity, rest if np.abs(rest).max(initial=0.0) > 1e-9 else None)
        motions = _motions(model)
        base_normals = vertex_normals(base, model.triangles)
        normals = tuple(_normal_changes(base, model.triangles, base_normals, motion) for motion in motions)
        return cls(base, base_normals, motions, normals, weights)


def units_of(model: MorphableModel) -> ExpressionUnits:
    """The units that rig a model's faces.

    Raises:
        InputError: when it has none. Statistical modes have no names that another program knows, and each moves the
            whole face.
    """
    if model.expression_units is None:
        raise InputError(
            f"the model '{model.name}' has no named expression units to rig a face with; the default model has. "
            "Fit with it, or leave the rig out."
        )
    return model.expression_units


def _motions(model: MorphableModel) -> tuple[Motion, ...]:
    if model not in _cache:
        units = units_of(model)
        modes = np.linalg.pinv(units.matrix).astype(np.float32)
        moved = np.einsum("ndk,ku->und", model.expression_basis, modes, optimize=True).astype(np.float64)
        motions = []
        for name, displacement in zip(units.names, moved, strict=True):
            moves = np.linalg.norm(displacement, axis=1) > _STILL_MM
            vertices = np.flatnonzero(moves)
            triangles = np.flatnonzero(moves[model.triangles].any(axis=1))
            motions.append(Motion(name, vertices, displacement[vertices], triangles))
        _cache[model] = tuple(motions)
    return _cache[model]


def _normal_changes(
    base: NDArray[np.float64], triangles: NDArray[np.int32], normals: NDArray[np.float64], motion: Motion
) -> NDArray[np.float32]:
    """(M, 3) how the normals of a motion's vertices change."""
    corners = triangles[motion.triangles]
    moved = base.copy()
    moved[motion.vertices] += motion.displacement
    faces = triangle_normals(moved, corners)
    total = np.stack([np.bincount(corners.ravel(), np.repeat(faces[:, k], 3), minlength=len(base)) for k in range(3)])
    here = total.T[motion.vertices]
    length = np.linalg.norm(here, axis=1, keepdims=True)
    rest = normals[motion.vertices]
    changed = np.where(length > 1e-12, here / np.maximum(length, 1e-12), rest)
    change: NDArray[np.float32] = (changed - rest).astype(np.float32)
    return change
