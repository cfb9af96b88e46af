"""Basel Face Model 2009, with the expression basis of Guo et al.

Files, side by side in one folder:

- `01_MorphableModel.mat`: the model of Paysan et al. (AVSS 2009), from https://faces.dmi.unibas.ch/bfm after signing
  the University of Basel's licence (research and teaching, no redistribution, no commercial use).
- `model_info.mat`: which vertices the trimmed mesh keeps, its triangles and its 68 landmarks; part of the code release
  of 3DDFA (Zhu et al., CVPR 2016), for research only.
- `Exp_Pca.bin` and `std_exp.txt`: the expression basis and its standard deviations, released with "CNN-based Real-time
  Dense Face Reconstruction" (Guo et al., TPAMI 2018); the basis was made from FaceWarehouse, whose licence applies.

Only the first is needed. Without the others the model has 53,490 vertices, identity and albedo, and its landmarks are
carried over from the default model (or read from `landmarks.txt`). With them it is the 53,215-vertex mesh of the paper,
and by default 100 identity, 79 expression and 100 albedo modes, so that P = 312.

Layouts, and where reading goes wrong silently:

- `shapeMU`, `texMU` (3N, 1), `shapePC`, `texPC` (3N, 199), xyz or rgb of one vertex after another; micrometres and
  0..255. `shapeEV`, `texEV` (199, 1) are standard deviations, although their name says eigenvalues.
- `tl`, and `tri` and `trimIndex` of `model_info.mat`, count from 1. `keypoints` counts from 0; copies that count from 1
  are known by the bridge of the nose.
- `Exp_Pca.bin`: an int32 number of modes K, then float32 throughout: the mean expression (3N), which must be added to
  the mean shape, then one mode (3N) after another. N is the trimmed mesh's.
- `std_exp.txt`: K numbers, the standard deviations in micrometres.
- The triangles are wound inwards.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import (
    check_finite,
    check_indices,
    check_orthogonal,
    check_shape,
    count_modes,
    numeric,
)
from faceinv.face.formats._landmarks import Landmarks, vertex_landmarks
from faceinv.face.formats._mat import mat_names, read_mat
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.face.model import MorphableModel

__all__ = ["NAME", "PUBLISHED", "load_basel2009", "score_deviations"]

NAME: Final = "Basel Face Model 2009"
PUBLISHED: Final = (
    "faceinv reads the published '01_MorphableModel.mat' (https://faces.dmi.unibas.ch/bfm), from which other projects "
    "make their 'BFM_model_front.mat', 'BFM.mat' or 'bfm_noneck_v3.pkl'."
)
"""What to say about files that are derived from the model."""

IDENTITY_DEFAULT: Final = 100
ALBEDO_DEFAULT: Final = 100
LICENCE: Final = "Basel Face Model 2009, University of Basel: research and teaching only, no redistribution."
_MM_PER_UNIT: Final = 1e-3
_log = logging.getLogger(__name__)
_ROWS: Final = 1024
"""Rows that are transposed in one go, so that they stay in the processor's cache."""
_NOSE_BRIDGE: Final = (8161, 8177, 8187, 8192)
"""Landmarks 27 to 30 of the published trimmed mesh, counted from 0."""


def load_basel2009(path: Path, counts: ModeCounts) -> MorphableModel:
    """Read a Basel Face Model 2009 from its `.mat` file and what lies beside it.

    Args:
        path: `01_MorphableModel.mat`, under whatever name.
        counts: modes to keep; by default 100 identity, all (79) expression, 100 albedo.

    Raises:
        ModelError: names the file and the variable that is missing, truncated, out of range or not orthogonal.
    """
    names = ("shapeMU", "shapePC", "shapeEV", "texMU", "texPC", "texEV", "tl")
    present = mat_names(path)
    if present and "shapeMU" not in present:
        raise ModelError(
            f"'{path}' is a MATLAB file with {', '.join(sorted(present)[:6])}, not the published Basel Face Model 2009 "
            f"but something made from it, or something else. {PUBLISHED}"
        )
    mat = read_mat(path, names)
    mean = _mean(mat, "shape", path)
    mean_colour = _mean(mat, "tex", path)
    check_shape(mean_colour, mean.shape, path, "texMU")
    identity = _basis(mat, "shape", len(mean), counts.identity, IDENTITY_DEFAULT, path)
    albedo = _basis(mat, "tex", len(mean), counts.albedo, ALBEDO_DEFAULT, path)
    triangles = check_indices(numeric(mat["tl"], path, "tl"), len(mean), path, "tl", base=1)
    check_shape(triangles, (None, 3), path, "tl")
    del mat

    landmarks: Landmarks | None = None
    expression_file, info_file = _beside(path, "Exp_Pca.bin"), _beside(path, "model_info.mat")
    if info_file is not None:
        trim, triangles, landmarks = _read_info(info_file, len(mean))
        mean, mean_colour = mean[trim], mean_colour[trim]
        identity = identity[trim]
        albedo = albedo[trim]
    elif expression_file is not None:
        _log.warning(
            "'%s' needs 'model_info.mat' beside it, which says which vertices it moves (from the 3DDFA code release); "
            "the model is read without expressions",
            expression_file,
        )
        expression_file = None
    if expression_file is not None:
        expression_mean, expression = _read_expression(expression_file, len(mean), counts.expression)
        mean = mean + expression_mean
    else:
        count_modes(counts.expression, 0, None, path, "expression")
        expression = np.zeros((len(mean), 3, 0), np.float32)
    return finish(
        RawModel(
            path=path,
            name=NAME,
            licence=LICENCE,
            mean=mean * _MM_PER_UNIT,
            triangles=triangles,
            identity=np.multiply(identity, np.float32(_MM_PER_UNIT), out=identity),
            expression=np.multiply(expression, np.float32(_MM_PER_UNIT), out=expression),
            landmarks=landmarks,
            mean_albedo=mean_colour / 255,
            albedo=np.divide(albedo, np.float32(255), out=albedo),
        ),
        counts,
    )


def score_deviations(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The standard deviations of the files' own scores, in micrometres: what a coefficient is multiplied by to become
    the weight of a column of `shapePC` or of a mode of `Exp_Pca.bin`.

    Args:
        path: `01_MorphableModel.mat`, under whatever name, with the expression's files beside it.

    Returns:
        (199,) of identity and (79,) of expression, as the published files have them.

    Raises:
        ModelError: when a file is missing or damaged.
    """
    identity = numeric(read_mat(path, ("shapeEV",))["shapeEV"], path, "shapeEV").astype(np.float64).ravel()
    expression_file = _beside(path, "Exp_Pca.bin")
    if expression_file is None:
        raise ModelError(f"'{path}' has no 'Exp_Pca.bin' beside it, the expression basis of Guo et al.")
    with expression_file.open("rb") as stream:
        header = np.fromfile(stream, "<i4", 1)
    return identity, _expression_deviations(expression_file, int(header[0]) if len(header) else 0)


def _beside(path: Path, name: str) -> Path | None:
    """The file of this name, in any case, in the same folder."""
    siblings = [other for other in sorted(path.parent.iterdir()) if other.name.lower() == name.lower()]
    return siblings[0] if siblings else None


def _mean(mat: dict[str, Any], kind: str, path: Path) -> NDArray[np.float64]:
    field = f"{kind}MU"
    values = numeric(mat[field], path, field).astype(np.float64).ravel()
    if values.size == 0 or values.size % 3:
        raise ModelError(f"'{path}': field '{field}' has {values.size} numbers, expected three for each vertex.")
    check_finite(values, path, field)
    return values.reshape(-1, 3)


def _basis(
    mat: dict[str, Any], kind: str, vertices: int, wanted: int | None, default: int, path: Path
) -> NDArray[np.float32]:
    """(N, 3, K) in the file's units per standard deviation."""
    basis = numeric(mat.pop(f"{kind}PC"), path, f"{kind}PC")
    deviation = numeric(mat[f"{kind}EV"], path, f"{kind}EV").ravel()
    check_shape(basis, (3 * vertices, None), path, f"{kind}PC")
    check_shape(deviation, (basis.shape[1],), path, f"{kind}EV")
    keep = count_modes(wanted, basis.shape[1], default, path, "identity" if kind == "shape" else "albedo")
    if (deviation[:keep] <= 0).any():
        raise ModelError(f"'{path}': field '{kind}EV' holds standard deviations that are not positive.")
    columns = _transposed(basis, keep)
    check_finite(columns, path, f"{kind}PC")
    check_orthogonal(columns, path, f"{kind}PC")
    columns *= deviation[:keep].astype(np.float32)
    return columns.reshape(vertices, 3, keep)


def _transposed(basis: NDArray[Any], keep: int) -> NDArray[np.float32]:
    """The first columns of a basis (M, K) that lies one mode after another, as rows in memory."""
    columns = np.empty((len(basis), keep), np.float32)
    for first in range(0, len(basis), _ROWS):
        columns[first : first + _ROWS] = basis[first : first + _ROWS, :keep]
    return columns


def _read_info(path: Path, vertices: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Landmarks]:
    """The vertices to keep, the triangles and the landmarks on them."""
    mat = read_mat(path, ("trimIndex", "tri", "keypoints"))
    trim = check_indices(numeric(mat["trimIndex"], path, "trimIndex").ravel(), vertices, path, "trimIndex", base=1)
    triangles = numeric(mat["tri"], path, "tri")
    triangles = triangles.T if triangles.shape[:1] == (3,) else triangles
    check_shape(triangles, (None, 3), path, "tri")
    keypoints = numeric(mat["keypoints"], path, "keypoints").ravel()
    if len(keypoints) != LANDMARK_COUNT:
        raise ModelError(f"'{path}': field 'keypoints' has {len(keypoints)} landmarks, expected {LANDMARK_COUNT}.")
    from_one = np.array_equal(keypoints[27:31], np.array(_NOSE_BRIDGE) + 1)
    points = check_indices(keypoints, len(trim), path, "keypoints", base=int(from_one))
    return trim, check_indices(triangles, len(trim), path, "tri", base=1), vertex_landmarks(points)


def _read_expression(path: Path, vertices: int, wanted: int | None) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The mean expression (N, 3) and the modes (N, 3, K), in micrometres."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        header = np.fromfile(stream, "<i4", 1)
        modes = int(header[0]) if len(header) else 0
        expected = 4 + 4 * 3 * vertices * (1 + modes)
        if modes <= 0 or size != expected:
            raise ModelError(
                f"'{path}' has {size} bytes, but its header says {modes} modes, which on {vertices} vertices make "
                f"{expected} in float32. It is truncated, or of another mesh or number format; fetch it again."
            )
        keep = count_modes(wanted, modes, None, path, "expression")
        mean = np.fromfile(stream, "<f4", 3 * vertices)
        basis = np.fromfile(stream, "<f4", 3 * vertices * modes).reshape(modes, 3 * vertices).T
    check_finite(mean, path, "mean expression")
    check_finite(basis, path, "basis")
    check_orthogonal(basis, path, "basis")
    deviation = _expression_deviations(path, modes)
    columns = _transposed(basis, keep)
    columns *= deviation[:keep].astype(np.float32)
    return mean.astype(np.float64).reshape(-1, 3), columns.reshape(vertices, 3, keep)


def _expression_deviations(path: Path, modes: int) -> NDArray[np.float64]:
    """(K,) micrometres, from the file beside the expression basis at `path`."""
    deviation_file = _beside(path, "std_exp.txt")
    if deviation_file is None:
        raise ModelError(f"'{path}' needs its standard deviations in 'std_exp.txt' beside it ({modes} numbers).")
    try:
        deviation = np.array([float(word) for word in deviation_file.read_text(encoding="utf-8-sig").split()])
    except (OSError, ValueError) as error:
        raise ModelError(f"'{deviation_file}' should hold {modes} numbers ({error}).") from None
    if len(deviation) != modes or not np.isfinite(deviation).all() or (deviation <= 0).any():
        raise ModelError(f"'{deviation_file}' has {len(deviation)} numbers, expected {modes} positive ones.")
    return deviation
