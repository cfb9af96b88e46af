"""GNM Head v3: Google's statistical head (2026).

Files: `gnm_head.npz` and `head_sparse_68.txt` from https://github.com/google/GNM (`gnm/shape/data/versions/v3_0` and
`gnm/shape/data/landmarks`, or the release they are fetched from). Apache 2.0. The landmark file is looked for beside
the model, in a folder `landmarks` there, and where the repository has it; without it the landmarks are carried over
from the default model.

Layout: `template_vertex_positions` (V, 3) in metres, `vertex_identity_basis` (I, V, 3) and `expression_basis` (E, V, 3)
in standard deviations, mode first; `triangles` (T, 3), or `quads` (Q, 4) where those are missing; `triangle_uvs`
(T, 3, 2), `mirror_indices` (V), `expression_names` (E). A landmark line is `index weight index weight index weight`;
the published table lists some jaw points out of turn, which is put right on loading. Joints, skinning and pose
correctives are not read: neck and eyes keep their neutral pose.

Kept is the skin; eyes, teeth, gums and tongue are left out with the modes that move nothing else. Identity modes keep
the file's order. Expressions come region after region there (left eye, right eye, lower face), so they are sorted by
how far they move the face: the first so many are then the most important. They are statistical modes, whose names are
no units of a rig: such a model has no named units. The model has no albedo and borrows the default model's.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import check_indices, check_shape, count_modes, numeric
from faceinv.face.formats._landmarks import Landmarks, read_landmark_table
from faceinv.face.formats._mesh import quads_to_triangles
from faceinv.face.formats._npy import npz_names
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.model import MorphableModel
from faceinv.files import read_arrays

__all__ = ["load_gnm"]

LICENCE: Final = "GNM Head, (c) Google LLC: Apache licence 2.0."
_MM_PER_UNIT: Final = 1000.0
_LANDMARKS: Final = "head_sparse_68.txt"
_NEEDED: Final = ("template_vertex_positions", "vertex_identity_basis", "expression_basis")
_OPTIONAL: Final = ("triangles", "quads", "triangle_uvs", "mirror_indices", "expression_names")


def load_gnm(path: Path, counts: ModeCounts) -> MorphableModel:
    """Read a GNM head.

    Args:
        path: the `.npz` file.
        counts: modes to keep, of those that move what is kept; by default all of them.

    Raises:
        ModelError: naming the field that is missing, of the wrong shape or out of range.
    """
    present = npz_names(path)
    stored = read_arrays(path, "model file", ModelError, (*_NEEDED, *(name for name in _OPTIONAL if name in present)))
    mean = numeric(stored["template_vertex_positions"], path, "template_vertex_positions").astype(np.float64)
    check_shape(mean, (None, 3), path, "template_vertex_positions")
    triangles = _triangles(stored, len(mean), path)
    uv, uv_triangles = _texture(stored, len(triangles), path)
    mirror = None
    if "mirror_indices" in stored:
        check_shape(stored["mirror_indices"], (len(mean),), path, "mirror_indices")
        mirror = check_indices(
            numeric(stored["mirror_indices"], path, "mirror_indices"), len(mean), path, "mirror_indices"
        )
    identity = _basis(stored, "vertex_identity_basis", len(mean), path)
    expression = _basis(stored, "expression_basis", len(mean), path)
    count_modes(counts.identity, identity.shape[2], None, path, "identity")
    count_modes(counts.expression, expression.shape[2], None, path, "expression")
    names = tuple(str(name) for name in np.atleast_1d(stored.get("expression_names", np.zeros(0, np.str_))))
    if names and len(names) != expression.shape[2]:
        raise ModelError(f"'{path}': {len(names)} 'expression_names' for {expression.shape[2]} modes.")
    return finish(
        RawModel(
            path=path,
            name="GNM Head",
            licence=LICENCE,
            mean=mean * _MM_PER_UNIT,
            triangles=triangles,
            identity=identity,
            expression=expression,
            expression_names=names,
            landmarks=_landmarks(path, len(mean)),
            uv=uv,
            uv_triangles=uv_triangles,
            mirror=mirror,
            unordered_expression=True,
        ),
        counts,
    )


def _basis(stored: dict[str, NDArray[Any]], field: str, vertices: int, path: Path) -> NDArray[np.float32]:
    basis = numeric(stored[field], path, field)
    check_shape(basis, (None, vertices, 3), path, field)
    return np.ascontiguousarray(basis.transpose(1, 2, 0), np.float32) * np.float32(_MM_PER_UNIT)


def _triangles(stored: dict[str, NDArray[Any]], vertices: int, path: Path) -> NDArray[np.int64]:
    field, width = ("triangles", 3) if "triangles" in stored else ("quads", 4)
    if field not in stored:
        raise ModelError(f"'{path}' lacks triangles and quads; it is not the published file.")
    faces = numeric(stored[field], path, field)
    check_shape(faces, (None, width), path, field)
    faces = check_indices(faces, vertices, path, field)
    return faces if width == 3 else quads_to_triangles(faces)


def _texture(
    stored: dict[str, NDArray[Any]], triangles: int, path: Path
) -> tuple[NDArray[np.float64] | None, NDArray[np.int64] | None]:
    if "triangle_uvs" not in stored or "triangles" not in stored:
        return None, None
    corners = numeric(stored["triangle_uvs"], path, "triangle_uvs").astype(np.float64)
    check_shape(corners, (triangles, 3, 2), path, "triangle_uvs")
    uv, index = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    return uv, index.reshape(-1, 3).astype(np.int64)


def _landmarks(path: Path, vertices: int) -> Landmarks | None:
    folder = path.parent
    for place in (folder, folder / "landmarks", folder.parent.parent / "landmarks"):
        if (place / _LANDMARKS).is_file():
            return read_landmark_table(place / _LANDMARKS, vertices)
    return None
