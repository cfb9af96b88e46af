"""FLAME 2020 and 2023: a head with identity and expression, from Li et al., "Learning a model of facial shape and
expression from 4D scans" (SIGGRAPH Asia 2017).

Files: `generic_model.pkl` (2020) or `flame2023.pkl`, or one of the male and female ones, from https://flame.is.tue.mpg.de
after accepting the Max Planck Society's licence (2020: non-commercial research; the 2023 "open" model: CC BY 4.0).
Beside it the landmark embedding, under any name: DECA's `landmark_embedding.npy` (68 points), or RingNet's
`flame_static_embedding.pkl` (51 points; the 17 of the jaw are then carried over from the default model).

Layout: a pickle with `v_template` (5023, 3) in metres, `f` (9976, 3) from 0, and `shapedirs` (5023, 3, 400), of which
the first 300 are identity and the rest expression, already multiplied by their standard deviations. The jaw, neck and
eyes keep their neutral pose: joints, pose correctives and skinning weights are not read. FLAME has no albedo (it
borrows the default model's) and its pickle no texture coordinates. The eyeballs are left out.

The pickle is read without running it: only numeric arrays are admitted (see `_pickle`).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import check_finite, check_indices, check_shape, count_modes, numeric
from faceinv.face.formats._landmarks import Landmarks
from faceinv.face.formats._pickle import load_arrays
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.face.model import MorphableModel
from faceinv.files import read_arrays

__all__ = ["load_flame"]

LICENCE: Final = "FLAME, Max Planck Society: the licence the file came with (non-commercial; 'open' models CC BY 4.0)."
_IDENTITY: Final = 300
_INNER: Final = 51
_MM_PER_UNIT: Final = 1000.0
_EMBEDDING_BYTES: Final = 20_000_000
_EMBEDDINGS: Final = (
    ("full_lmk_faces_idx", "full_lmk_bary_coords"),
    ("lmk_face_idx", "lmk_b_coords"),
    ("static_lmk_faces_idx", "static_lmk_bary_coords"),
)
_log = logging.getLogger(__name__)


def load_flame(path: Path, counts: ModeCounts) -> MorphableModel:
    """Read a FLAME model from its pickle, and the landmark embedding beside it.

    Args:
        path: the `.pkl` file.
        counts: modes to keep; by default all (300 identity, 100 expression).

    Raises:
        ModelError: when the pickle asks for anything but arrays, or naming the field that is missing or wrong.
    """
    stored = load_arrays(path)
    missing = [name for name in ("v_template", "shapedirs", "f") if name not in stored]
    if missing:
        raise ModelError(f"'{path}' lacks {', '.join(missing)}; it is no FLAME model.")
    mean = numeric(stored["v_template"], path, "v_template").astype(np.float64)
    check_shape(mean, (None, 3), path, "v_template")
    basis = numeric(stored["shapedirs"], path, "shapedirs")
    check_shape(basis, (len(mean), 3, None), path, "shapedirs")
    triangles = numeric(stored["f"], path, "f")
    check_shape(triangles, (None, 3), path, "f")
    triangles = check_indices(triangles, len(mean), path, "f")
    present = min(_IDENTITY, basis.shape[2])
    identity = count_modes(counts.identity, present, None, path, "identity")
    expression = count_modes(counts.expression, basis.shape[2] - present, None, path, "expression")
    landmarks, known = _landmarks(path, mean, triangles)
    return finish(
        RawModel(
            path=path,
            name=f"FLAME ({path.stem})",
            licence=LICENCE,
            mean=mean * _MM_PER_UNIT,
            triangles=triangles,
            identity=(basis[:, :, :identity] * _MM_PER_UNIT).astype(np.float32),
            expression=(basis[:, :, present : present + expression] * _MM_PER_UNIT).astype(np.float32),
            landmarks=landmarks,
            known_landmarks=known,
        ),
        counts,
    )


def _landmarks(
    path: Path, mean: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[Landmarks | None, dict[int, NDArray[np.float64]]]:
    """All 68 landmarks, or those of the inner 51 (mm), from the embeddings beside the model."""
    inner: dict[int, NDArray[np.float64]] = {}
    for other in sorted(path.parent.iterdir()):
        if other == path or other.suffix.lower() not in (".npy", ".npz", ".pkl"):
            continue
        if other.stat().st_size > _EMBEDDING_BYTES:
            continue
        content = read_arrays(other, "model file", ModelError) if other.suffix.lower() == ".npz" else _embedding(other)
        for faces_field, weights_field in _EMBEDDINGS:
            if faces_field not in content or weights_field not in content or "landmark_indices" in content:
                continue
            faces = numeric(content[faces_field], other, faces_field).ravel()
            weights = numeric(content[weights_field], other, weights_field).astype(np.float64).reshape(-1, 3)
            if len(faces) not in (LANDMARK_COUNT, _INNER):
                raise ModelError(
                    f"'{other}': field '{faces_field}' has {len(faces)} landmarks, "
                    f"expected {LANDMARK_COUNT} or {_INNER}."
                )
            check_shape(weights, (len(faces), 3), other, weights_field)
            check_finite(weights, other, weights_field)
            vertices = triangles[check_indices(faces, len(triangles), other, faces_field)]
            if not np.allclose(weights.sum(axis=1), 1, atol=1e-2):
                raise ModelError(f"'{other}': the rows of field '{weights_field}' must sum to 1.")
            weights = weights / weights.sum(axis=1, keepdims=True)
            if len(faces) == LANDMARK_COUNT:
                return (vertices, weights), {}
            positions = np.einsum("lk,lkd->ld", weights, mean[vertices]) * _MM_PER_UNIT
            inner = {LANDMARK_COUNT - _INNER + k: position for k, position in enumerate(positions)}
    return None, inner


def _embedding(path: Path) -> dict[str, Any]:
    """The arrays of a small pickle beside the model; nothing when it is none."""
    try:
        return load_arrays(path)
    except ModelError as error:
        _log.warning("no landmarks from this file: %s", error)
        return {}
