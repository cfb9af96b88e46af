"""Basel Face Model 2017 and 2019, and other Statismo models of the same layout.

Files: `model2017-1_bfm_nomouth.h5`, `model2017-1_face12_nomouth.h5`, `model2019_bfm.h5`, `model2019_face12.h5` or
`model2019_fullHead.h5`, from https://faces.dmi.unibas.ch/bfm after signing the University of Basel's licence (research
and teaching, no redistribution, no commercial use). Gerig et al., "Morphable Face Models: An Open Framework" (FG 2018).

Layout: groups `shape`, `color` and `expression`, each with `model/mean` (3N), `model/pcaBasis` (3N, K, orthonormal) and
`model/pcaVariance` (K), which are variances, not standard deviations; triangles `representer/cells` (3, T), from 0;
millimetres; colours 0..1 as displayed (sRGB). The mean expression is not zero and is added to the mean shape. Files of
early Statismo versions hold bases already multiplied by the deviations; the length of the modes tells.

`metadata/landmarks/json` names a few points (eye and lip corners, nose tip) but no 68: the rest are carried over from
the default model, laid on the mean surface by those points, or read from `landmarks.txt`.

Reading needs h5py: `pip install "faceinv[formats]"`.
"""

from __future__ import annotations

import json
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
from faceinv.face.formats._mat import MATLAB_7_3
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.model import MorphableModel

__all__ = ["load_basel_h5"]

LICENCE: Final = "Basel Face Model 2017/2019, University of Basel: research and teaching only, no redistribution."
_NAMED_LANDMARKS: Final = {
    "center.nose.tip": 30,
    "right.eye.corner_outer": 36,
    "right.eye.corner_inner": 39,
    "left.eye.corner_inner": 42,
    "left.eye.corner_outer": 45,
    "right.lips.corner": 48,
    "center.lips.upper.outer": 51,
    "left.lips.corner": 54,
    "center.lips.lower.outer": 57,
    "center.lips.upper.inner": 62,
    "center.lips.lower.inner": 66,
}
"""The file's names of points that are iBUG landmarks; its chin tip is not one."""


def load_basel_h5(path: Path, counts: ModeCounts) -> MorphableModel:
    """Read a Basel Face Model 2017 or 2019.

    Args:
        path: the `.h5` file.
        counts: modes to keep; by default all (199 identity, 100 expression, 199 albedo).

    Raises:
        ModelError: when h5py is not installed, or naming the group that is missing, of the wrong shape or damaged.
    """
    try:
        import h5py  # type: ignore[import-untyped]
    except ImportError:
        raise ModelError(f"'{path}' is an HDF5 file; reading it needs: pip install \"faceinv[formats]\".") from None
    try:
        with h5py.File(path, "r") as file:
            return _read(file, path, counts)
    except (OSError, RuntimeError, KeyError) as error:
        raise ModelError(f"'{path}' is damaged or truncated ({error}); fetch it again.") from None


def _read(file: Any, path: Path, counts: ModeCounts) -> MorphableModel:
    if "shapeMU" in file:  # Basel 2009 without MATLAB's header
        raise ModelError(f"'{path}' {MATLAB_7_3}")
    mean, identity = _model(file, "shape", path, counts.identity, "identity")
    colour, albedo = _model(file, "color", path, counts.albedo, "albedo")
    check_shape(colour, mean.shape, path, "color/model/mean")
    if "expression" in file:
        expression_mean, expression = _model(file, "expression", path, counts.expression, "expression")
        check_shape(expression_mean, mean.shape, path, "expression/model/mean")
    else:
        count_modes(counts.expression, 0, None, path, "expression")
        expression_mean, expression = np.zeros_like(mean), np.zeros((len(mean), 3, 0), np.float32)
    where = next((name for name in ("shape/representer/cells", "representer/cells") if name in file), None)
    if where is None:
        raise ModelError(f"'{path}' lacks the group 'shape/representer/cells'; it is not the published file.")
    cells = numeric(file[where][()], path, where)
    cells = cells.T if cells.shape[:1] == (3,) else cells
    check_shape(cells, (None, 3), path, where)
    scale = np.float32(1 / 255 if colour.max() > 2 else 1)
    return finish(
        RawModel(
            path=path,
            name=f"Basel Face Model ({path.stem})",
            licence=LICENCE,
            mean=mean + expression_mean,
            triangles=check_indices(cells, len(mean), path, where),
            identity=identity,
            expression=expression,
            known_landmarks={
                number: position + expression_mean[np.linalg.norm(mean - position, axis=1).argmin()]
                for number, position in _landmarks(file, path).items()
            },
            mean_albedo=colour * scale,
            albedo=albedo * scale,
        ),
        counts,
    )


def _model(
    file: Any, kind: str, path: Path, wanted: int | None, modes: str
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Mean (N, 3) and modes (N, 3, K) of one of the three models, whitened."""
    for name in ("mean", "pcaBasis", "pcaVariance"):
        if f"{kind}/model/{name}" not in file:
            raise ModelError(f"'{path}' lacks the group '{kind}/model/{name}'; it is not the published file.")
    mean = numeric(file[f"{kind}/model/mean"][()], path, f"{kind}/model/mean").astype(np.float64).ravel()
    if mean.size == 0 or mean.size % 3:
        raise ModelError(f"'{path}': field '{kind}/model/mean' has {mean.size} numbers, expected three per vertex.")
    check_finite(mean, path, f"{kind}/model/mean")
    field = f"{kind}/model/pcaBasis"
    stored = file[field]
    check_shape(stored, (len(mean), None), path, field)
    variance = numeric(file[f"{kind}/model/pcaVariance"][()], path, f"{kind}/model/pcaVariance").ravel()
    check_shape(variance, (stored.shape[1],), path, f"{kind}/model/pcaVariance")
    keep = count_modes(wanted, stored.shape[1], None, path, modes)
    basis = numeric(stored[:, :keep], path, field).astype(np.float32)
    deviation = np.sqrt(np.maximum(variance[:keep], 0).astype(np.float64))
    check_finite(basis, path, field)
    check_finite(deviation, path, f"{kind}/model/pcaVariance")
    check_orthogonal(basis, path, field)
    length = np.linalg.norm(basis.astype(np.float64), axis=0)
    if np.allclose(length, 1, atol=0.05):
        basis *= deviation.astype(np.float32)
    elif not np.allclose(length, deviation, rtol=0.05):
        raise ModelError(
            f"'{path}': the modes of field '{field}' are neither of length 1 nor of the standard deviations' length."
        )
    return mean.reshape(-1, 3), basis.reshape(len(mean) // 3, 3, keep)


def _landmarks(file: Any, path: Path) -> dict[int, NDArray[np.float64]]:
    """The iBUG landmarks that the file names, on the mean shape."""
    if "metadata/landmarks/json" not in file:
        return {}
    raw = file["metadata/landmarks/json"][()]
    raw = raw.ravel()[0] if isinstance(raw, np.ndarray) and raw.dtype.kind in "OS" else raw
    text = raw if isinstance(raw, bytes) else raw.encode() if isinstance(raw, str) else bytes(raw.tobytes())
    try:
        content = json.loads(text.rstrip(b"\0").decode("utf-8"))
        pairs = (
            [(str(name), position) for name, position in content.items()]
            if isinstance(content, dict)
            else [(str(entry["id"]), entry["coordinates"]) for entry in content]
        )
        known = {_NAMED_LANDMARKS[n]: np.array(p, np.float64) for n, p in pairs if n in _NAMED_LANDMARKS}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{path}': field 'metadata/landmarks/json' cannot be read ({error}).") from None
    if any(position.shape != (3,) or not np.isfinite(position).all() for position in known.values()):
        raise ModelError(f"'{path}': field 'metadata/landmarks/json' holds points without three coordinates.")
    return known
