"""faceinv's own model file: one `.npz`, version 1.

Fields are those of `MorphableModel`, under the same names, plus

- optionally `occlusion`, as float16 or float32,
- `format` ("faceinv-model") and `version` (1),
- optionally `expression_unit_names` (U,) and `expression_units` (U, Ke): the named units and the matrix from
  coefficients to their values,
- optionally `subdivision_data`, `subdivision_indices`, `subdivision_indptr`, `subdivision_shape`: a sparse matrix
  (compressed rows) that takes a coarse mesh to the full one. Per-vertex fields with as many rows as the matrix has
  columns are multiplied by it on loading, which keeps smooth models small; indices always mean the full mesh.
- optionally `part_names` and `triangle_parts`.

`jaw_band` may be missing: it is derived from the mean surface then. A `jaw_contour`, which files of faceinv 0.1 hold
in its place, is not read.

Bases may be stored as float16. Members may be deflated; stored as they are, they load ten times as fast. Nothing in
the file is pickled, and pickles are refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from faceinv.errors import ModelError
from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.formats._checks import numeric
from faceinv.face.jaw_band import jaw_band
from faceinv.face.model import MorphableModel
from faceinv.files import read_arrays, write_whole

__all__ = ["load_npz_model", "save_npz_model"]

FORMAT: Final = "faceinv-model"
VERSION: Final = 1
_VERTEX_FIELDS: Final = ("mean", "identity", "expression", "mean_albedo", "albedo")
_FIELDS: Final = (
    *("name", "licence", "albedo_space", *_VERTEX_FIELDS, "triangles", "landmark_vertices", "landmark_weights"),
    *("face_mask", "jaw_band", "uv", "uv_triangles", "mirror", "expression_names"),
)
_BASES: Final = ("identity", "expression", "albedo")
"""Keys of the file that `MorphableModel` calls by the same name and `_basis`."""
_TEXT_FIELDS: Final = ("name", "licence", "albedo_space")


def load_npz_model(path: str | Path) -> MorphableModel:
    """Read a model from faceinv's own `.npz`.

    Raises:
        ModelError: names the file, and the field that is missing, of another version or inconsistent.
    """
    path = Path(path)
    stored: dict[str, Any] = read_arrays(path, "model file", ModelError)
    if str(stored.get("format", "")) != FORMAT:
        raise ModelError(f"'{path}' is an .npz but not a faceinv model: its field 'format' should be '{FORMAT}'.")
    if str(stored.get("version")) != str(VERSION):
        raise ModelError(
            f"model file '{path}' is version {stored.get('version')}; this release reads version {VERSION}."
        )
    missing = [key for key in _FIELDS if key not in stored and key != "jaw_band"]
    if missing:
        raise ModelError(f"model file '{path}' lacks {', '.join(missing)}.")
    if "subdivision_data" in stored:
        _subdivide(stored, path)
    if "jaw_band" not in stored:
        stored["jaw_band"] = _jaw_band(stored, path)
    if "occlusion" in stored:
        stored["occlusion"] = numeric(stored["occlusion"], path, "occlusion").astype(np.float32)
    texts: dict[str, Any] = {key: str(stored[key]) for key in _TEXT_FIELDS}
    names = tuple(str(name) for name in np.atleast_1d(stored["expression_names"]))
    parts = tuple(str(name) for name in np.atleast_1d(stored.get("part_names", ())))
    arrays: dict[str, Any] = {
        _attribute(key): stored[key] for key in _FIELDS if key not in (*_TEXT_FIELDS, "expression_names")
    }
    return MorphableModel(
        **arrays,
        **texts,
        expression_names=names,
        expression_units=_units(stored, path),
        occlusion=stored.get("occlusion"),
        part_names=parts,
        triangle_parts=stored.get("triangle_parts") if parts else None,
    )


def save_npz_model(
    model: MorphableModel,
    path: str | Path,
    coarse: dict[str, Any] | None = None,
    dtype: type = np.float32,
    compress: bool | None = None,
) -> None:
    """Write a model.

    Args:
        model: the model.
        path: the file to write.
        coarse: replaces per-vertex fields by coarse ones and adds the `subdivision_*` fields.
        dtype: of the bases, `np.float32` or `np.float16`.
        compress: whether to deflate. Bases hardly shrink by it, and take ten times as long to load; None deflates only
            what has a coarse mesh, which is meant to be small.
    """
    fields: dict[str, Any] = {key: getattr(model, _attribute(key)) for key in _FIELDS} | (coarse or {})
    fields["expression_names"] = np.array(model.expression_names, dtype=np.str_)
    if model.field_count:
        fields["albedo"] = model.albedo_basis[:, :, : model.own_albedo_count]
    if model.occlusion is not None:
        fields["occlusion"] = model.occlusion.astype(np.float16)
    if model.expression_units is not None:
        fields["expression_unit_names"] = np.array(model.expression_units.names, np.str_)
        fields["expression_units"] = model.expression_units.matrix
    if model.triangle_parts is not None:
        fields |= {"part_names": np.array(model.part_names, np.str_), "triangle_parts": model.triangle_parts}
    for key in _VERTEX_FIELDS:
        fields[key] = np.asarray(fields[key], dtype if np.ndim(fields[key]) == 3 else np.float32)
    with write_whole(Path(path)) as temporary, temporary.open("wb") as stream:
        write = np.savez_compressed if (coarse is not None if compress is None else compress) else np.savez
        write(stream, format=FORMAT, version=VERSION, **fields)


def _jaw_band(stored: dict[str, Any], path: Path) -> NDArray[np.int32]:
    """What files from before there was a band lack."""
    names = ("mean", "triangles", "landmark_vertices", "landmark_weights")
    mean, triangles, vertices, weights = (numeric(stored[name], path, name) for name in names)
    try:
        return jaw_band(mean, triangles, vertices, weights)
    except (ValueError, IndexError) as error:
        raise ModelError(f"model file '{path}': mesh and landmarks are inconsistent ({error}).") from None


def _units(stored: dict[str, Any], path: Path) -> ExpressionUnits | None:
    """The named units, which files of models without any lack."""
    if "expression_units" not in stored:
        return None
    if "expression_unit_names" not in stored:
        raise ModelError(f"model file '{path}' lacks expression_unit_names.")
    names = tuple(str(name) for name in np.atleast_1d(stored["expression_unit_names"]))
    try:
        return ExpressionUnits(names, stored["expression_units"])
    except ModelError as error:
        raise ModelError(f"model file '{path}': {error}") from None


def _attribute(key: str) -> str:
    """What `MorphableModel` calls a key of the file."""
    return f"{key}_basis" if key in _BASES else key


def _subdivide(stored: dict[str, Any], path: Path) -> None:
    try:
        data, indices, indptr, shape = (
            stored[f"subdivision_{part}"] for part in ("data", "indices", "indptr", "shape")
        )
        kinds = [array.dtype.kind for array in (data, indices, indptr, shape)]
        if kinds[0] != "f" or any(kind not in "iu" for kind in kinds[1:]):
            raise ValueError("its fields should be floats and whole numbers")
        matrix = sparse.csr_array((data.astype(np.float64), indices, indptr), shape=(int(shape[0]), int(shape[1])))
        matrix.check_format()
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise ModelError(f"model file '{path}': the subdivision matrix is inconsistent ({error}).") from None
    for key in _VERTEX_FIELDS:
        value = stored[key]
        if value.ndim >= 2 and value.shape[0] == matrix.shape[1]:
            flat = numeric(value, path, key).astype(np.float64).reshape(value.shape[0], -1)
            stored[key] = (matrix @ flat).astype(np.float32).reshape(matrix.shape[0], *value.shape[1:])
