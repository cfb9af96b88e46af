"""FLAME 2020 and 2023: a head with identity and expression, from Li et al., "Learning a model of facial shape and
expression from 4D scans" (SIGGRAPH Asia 2017).

Files: `generic_model.pkl` (2020) or `flame2023.pkl`, or one of the male and female ones, from https://flame.is.tue.mpg.de
after accepting the Max Planck Society's licence (2020: non-commercial research; the 2023 "open" model: CC BY 4.0).
Beside it the landmark embedding, under any name: DECA's `landmark_embedding.npy` (68 points), one of 70 points (68 and
the pupils, which are left out), or RingNet's `flame_static_embedding.pkl` (51 points; the 17 of the jaw are then
carried over from the default model). Whatever else lies there is ignored, and a warning says so where it is an
embedding: the contour for turned heads (`flame_dynamic_embedding.npy`: the jaw slides by faceinv's own rule), one with
other points.

Layout: a pickle with `v_template` (5023, 3) in metres, `f` (9976, 3) from 0, and `shapedirs` (5023, 3, 400), of which
the first 300 are identity and the rest expression, already multiplied by their standard deviations. The jaw, neck and
eyes keep their neutral pose: joints, pose correctives and skinning weights are not read. FLAME has no albedo (it
borrows the default model's) and its pickle no texture coordinates. The eyeballs are left out.

The pickle is read without running it: only numeric arrays are admitted (see `_pickle`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import check_finite, check_indices, check_shape, count_modes, numeric
from faceinv.face.formats._damage import with_transfer_damage
from faceinv.face.formats._landmarks import Landmarks
from faceinv.face.formats._pickle import load_arrays
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.formats.basel2009 import PUBLISHED
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.face.model import MorphableModel
from faceinv.files import read_arrays

__all__ = ["load_flame"]

LICENCE: Final = "FLAME, Max Planck Society: the licence the file came with (non-commercial; 'open' models CC BY 4.0)."
_IDENTITY: Final = 300
_INNER: Final = 51
_WITH_PUPILS: Final = 70
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
        raise ModelError(f"'{path}' lacks {', '.join(missing)}; it is no FLAME model.{_what_else(stored)}")
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


@dataclass(frozen=True)
class _Points:
    """The landmarks of an embedding."""

    vertices: NDArray[np.int64]
    """(L, 3), L being 68 or 51."""
    weights: NDArray[np.float64]
    """(L, 3), each row summing to 1."""


def _what_else(stored: dict[str, Any]) -> str:
    """What a pickle that is no model is, where that is known."""
    if any(field in stored for pair in _EMBEDDINGS for field in pair):
        return " It is a landmark embedding; name the model beside it."
    if "w_shp" in stored:
        return f" It is derived from the Basel Face Model 2009. {PUBLISHED}"
    return ""


def _landmarks(
    path: Path, mean: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[Landmarks | None, dict[int, NDArray[np.float64]]]:
    """All 68 landmarks, or those of the inner 51 (mm), from the embeddings beside the model.

    Nothing that lies there is an error: a file that cannot be used is named in a warning.
    """
    embeddings: list[_Points] = []
    unused: list[str] = []
    for other in sorted(path.parent.iterdir()):
        if other == path or not _may_be_embedding(other):
            continue
        try:
            content = read_arrays(other, "file", ModelError) if other.suffix.lower() == ".npz" else load_arrays(other)
            pairs = [(faces, weights) for faces, weights in _EMBEDDINGS if faces in content and weights in content]
            if not pairs:
                _log.info("'%s': no landmark embedding, ignored", other)
            elif "landmark_indices" in content:
                raise ModelError(f"'{other}' places other points than the {LANDMARK_COUNT}.")
            for faces, weights in pairs:
                embeddings.append(_points(content[faces], content[weights], faces, other, triangles))
        except ModelError as error:
            unused.append(with_transfer_damage(str(error), other))
    if unused:
        _log.warning("model '%s': ignored what lies beside it. %s", path, " ".join(unused))
    for points in embeddings:
        if len(points.vertices) == LANDMARK_COUNT:
            return (points.vertices, points.weights), {}
    if not embeddings:
        return None, {}
    points = embeddings[0]
    positions = np.einsum("lk,lkd->ld", points.weights, mean[points.vertices]) * _MM_PER_UNIT
    return None, {LANDMARK_COUNT - _INNER + k: position for k, position in enumerate(positions)}


def _may_be_embedding(path: Path) -> bool:
    if path.name.startswith(".") or path.suffix.lower() not in (".npy", ".npz", ".pkl"):
        return False
    try:
        return path.is_file() and path.stat().st_size <= _EMBEDDING_BYTES
    except OSError:
        return False


def _points(faces: Any, weights: Any, field: str, path: Path, triangles: NDArray[np.int64]) -> _Points:
    """The 68 or 51 points of an embedding: triangles (L,) or (1, L), and weights (L, 3) or (1, L, 3).

    Raises:
        ModelError: when they are another contour's, of another mesh, or damaged.
    """
    faces, weights = numeric(faces, path, field), numeric(weights, path, field)
    if faces.ndim > 1 and min(faces.shape[:2]) > 1:
        raise ModelError(
            f"'{path}' holds a contour for {faces.shape[0]} turns of the head; faceinv slides the jaw itself."
        )
    faces, weights = faces.ravel(), weights.astype(np.float64)
    count = LANDMARK_COUNT if len(faces) == _WITH_PUPILS else len(faces)
    if count not in (LANDMARK_COUNT, _INNER):
        expected = f"{LANDMARK_COUNT}, {_INNER} or {_WITH_PUPILS}"
        raise ModelError(f"'{path}': field '{field}' has {len(faces)} landmarks, expected {expected}.")
    if weights.size != 3 * len(faces):
        raise ModelError(f"'{path}': field '{field}' has {len(faces)} landmarks, but their weights {weights.shape}.")
    faces, weights = faces[:count], weights.reshape(-1, 3)[:count]
    check_finite(weights, path, field)
    vertices = triangles[check_indices(faces, len(triangles), path, field)]
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-2):
        raise ModelError(f"'{path}': the weights of field '{field}' must sum to 1.")
    return _Points(vertices, weights / weights.sum(axis=1, keepdims=True))
