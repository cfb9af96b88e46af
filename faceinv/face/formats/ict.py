"""ICT-FaceKit (light): the morphable face of USC's Institute for Creative Technologies.

Files: the folder `FaceXModel` of https://github.com/ICT-VGL/ICT-FaceKit, as cloned. MIT licence, (c) 2020 USC Institute
for Creative Technologies. Li et al., "Learning Formation of Physically-Based Face Attributes" (CVPR 2020).

Layout: one Wavefront OBJ for each shape, all with the vertices of `generic_neutral_mesh.obj` in the same order, in
centimetres: `identity000.obj` and on (the mean plus one standard deviation of a mode), and every other OBJ an
expression at full strength under its own name. Published expressions carry no statistics: modes are the expressions, of
left and right their sum and difference, with the standard deviations of what faces do (`_units.py`); the expressions
themselves are the model's named units. Modes are ordered by how far they move the face. Whatever identity and
expression files are there are taken; the log says how many. `vertex_indices.json` holds the 68 landmarks.

Kept are the face, head, neck and the sockets behind eyes and lips (14,062 vertices); eyeballs, teeth, tongue and lashes
are left out. The model has no albedo and borrows the default model's.
"""

from __future__ import annotations

import codecs
import json
import logging
import re
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import check_indices, count_modes
from faceinv.face.formats._landmarks import Landmarks, vertex_landmarks
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.formats._units import expression_modes
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.face.model import MorphableModel

__all__ = ["NEUTRAL", "load_ict"]

NEUTRAL: Final = "generic_neutral_mesh.obj"
_TABLE: Final = "vertex_indices.json"
LICENCE: Final = "ICT-FaceKit (light), (c) 2020 USC Institute for Creative Technologies: MIT licence."
_MM_PER_UNIT: Final = 10.0
_IDENTITY: Final = re.compile(r"identity\d+", re.IGNORECASE)
_VERTEX: Final = re.compile(rb"^v[ \t]+(.*)$", re.MULTILINE)
_TEXTURE: Final = re.compile(rb"^vt[ \t]+(\S+)[ \t]+(\S+)", re.MULTILINE)
_FACE: Final = re.compile(rb"^f[ \t]+(.*)$", re.MULTILINE)
_log = logging.getLogger(__name__)


def load_ict(path: Path, counts: ModeCounts) -> MorphableModel:
    """Read an ICT-FaceKit folder.

    Args:
        path: the folder with `generic_neutral_mesh.obj`.
        counts: modes to keep; by default all there are files for.

    Raises:
        ModelError: naming the OBJ file that is damaged or has other vertices than the neutral one.
    """
    neutral_file = path / NEUTRAL
    neutral, uv, triangles, uv_triangles = _read_mesh(neutral_file)
    files = sorted(other for other in path.iterdir() if _is_shape(other) and other != neutral_file)
    identities = [other for other in files if _IDENTITY.fullmatch(other.stem)]
    expressions = _expressions([other for other in files if other not in identities], path, len(neutral))
    _log.info("'%s': %d identity and %d expression files", path, len(identities), len(expressions))
    count_modes(counts.expression, len(expressions), None, path, "expression")
    identities = identities[: count_modes(counts.identity, len(identities), None, path, "identity")]
    modes, names, units = expression_modes(_offsets(expressions, neutral), [other.stem for other in expressions])
    return finish(
        RawModel(
            path=path,
            name="ICT-FaceKit",
            licence=LICENCE,
            mean=neutral * _MM_PER_UNIT,
            triangles=triangles,
            identity=_offsets(identities, neutral),
            expression=modes,
            expression_names=names,
            expression_units=units,
            landmarks=_landmarks(path / _TABLE, len(neutral)),
            uv=uv,
            uv_triangles=uv_triangles,
            unordered_expression=True,
        ),
        counts,
    )


def _is_shape(path: Path) -> bool:
    return path.suffix.lower() == ".obj" and not path.name.startswith(".") and path.is_file()


def _expressions(files: list[Path], folder: Path, vertices: int) -> list[Path]:
    """Those of the files that are expressions: a mesh that is not on the model's list may lie there by chance."""
    listed = _table(folder / _TABLE).get("expressions")
    names = {str(name) for name in listed} if isinstance(listed, list) else {file.stem for file in files}
    return [file for file in files if file.stem in names or _has_vertices(file, vertices)]


def _has_vertices(path: Path, count: int) -> bool:
    try:
        present = len(_read_vertices(_bytes(path), path))
        reason = f"'{path}' has {present} vertices, not {count}"
    except ModelError as error:
        present, reason = 0, str(error)
    if present != count:
        _log.warning("ignored beside '%s': %s", NEUTRAL, reason)
    return present == count


def _offsets(files: list[Path], neutral: NDArray[np.float64]) -> NDArray[np.float32]:
    """(N, 3, K) mm from the neutral shape to each file's."""
    offsets = np.zeros((*neutral.shape, len(files)), np.float32)
    for k, file in enumerate(files):
        shape = _read_vertices(_bytes(file), file)
        if shape.shape != neutral.shape:
            raise ModelError(f"'{file}' has {len(shape)} vertices, but '{NEUTRAL}' has {len(neutral)}.")
        offsets[:, :, k] = (shape - neutral) * _MM_PER_UNIT
    return offsets


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(codecs.BOM_UTF8)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _numbers(rows: list[bytes], width: int, path: Path, field: str) -> NDArray[np.float64]:
    try:
        values = np.array(b" ".join(rows).split(), np.float64)
    except ValueError as error:
        raise ModelError(f"'{path}': a '{field}' line holds no numbers ({error}).") from None
    if values.size != width * len(rows) or not len(rows):
        raise ModelError(f"'{path}': {len(rows)} '{field}' lines hold {values.size} numbers, expected {width} on each.")
    if not np.isfinite(values).all():
        raise ModelError(f"'{path}': the '{field}' lines hold NaN or infinite values.")
    return values.reshape(-1, width)


def _read_vertices(content: bytes, path: Path) -> NDArray[np.float64]:
    return _numbers(_VERTEX.findall(content), 3, path, "v")


def _read_mesh(
    path: Path,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.int64], NDArray[np.int64] | None]:
    """Vertices, texture coordinates, triangles and texture triangles of an OBJ of triangles and quads."""
    content = _bytes(path)
    vertices = _read_vertices(content, path)
    texture = [b" ".join(pair) for pair in _TEXTURE.findall(content)]
    corners: list[list[list[bytes]]] = [
        [corner.split(b"/") for corner in row.split()] for row in _FACE.findall(content)
    ]
    if not corners or any(len(face) < 3 for face in corners):
        raise ModelError(f"'{path}' has no faces, or faces with fewer than three corners; is it complete?")
    fans = [[(face[0], face[k], face[k + 1]) for k in range(1, len(face) - 1)] for face in corners]
    flat = [corner for fan in fans for triangle in fan for corner in triangle]
    try:
        index = np.array([int(corner[0]) for corner in flat], np.int64).reshape(-1, 3)
        textured = bool(texture) and all(len(corner) > 1 and corner[1] for corner in flat)
        uv_index = np.array([int(corner[1]) for corner in flat], np.int64).reshape(-1, 3) if textured else None
    except (ValueError, OverflowError) as error:
        raise ModelError(f"'{path}': an 'f' line holds no indices ({error}).") from None
    triangles = check_indices(index, len(vertices), path, "f", base=1)
    if uv_index is None:
        return vertices, None, triangles, None
    uv = _numbers(texture, 2, path, "vt")
    return vertices, uv, triangles, check_indices(uv_index, len(uv), path, "f", base=1)


def _table(path: Path) -> dict[str, Any]:
    """What `vertex_indices.json` says; nothing where there is none."""
    if not path.is_file():
        return {}
    try:
        table = json.loads(_bytes(path))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"'{path}' cannot be read as JSON ({error}); fetch it again.") from None
    if not isinstance(table, dict):
        raise ModelError(f"'{path}' holds no table of vertices; fetch it again.")
    return table


def _landmarks(path: Path, vertices: int) -> Landmarks | None:
    if not path.is_file():
        return None
    try:
        table = np.asarray(_table(path)["idx_to_landmark_verts"])
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{path}': field 'idx_to_landmark_verts' cannot be read ({error}).") from None
    if table.shape != (LANDMARK_COUNT,) or table.dtype.kind not in "iu":
        raise ModelError(f"'{path}': 'idx_to_landmark_verts' has {table.size} landmarks, expected {LANDMARK_COUNT}.")
    return vertex_landmarks(check_indices(table, vertices, path, "idx_to_landmark_verts"))
