"""The 68 landmarks of a foreign model: reading them from a text file, checking and ordering them.

Any model may have a file `landmarks.txt` beside it, which then overrides what the model's own files say. It has 68
lines in iBUG/300-W order, 0-based on the vertices as the model's files number them; a line is either one vertex, or
`vertex weight vertex weight vertex weight` for a point on a triangle. `#` starts a comment.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._checks import check_indices
from faceinv.face.landmarks68 import LANDMARK_COUNT

__all__ = [
    "LANDMARK_FILE",
    "Landmarks",
    "check_axes",
    "dominant_vertices",
    "jaw_order",
    "read_landmark_table",
    "vertex_landmarks",
]

LANDMARK_FILE: Final = "landmarks.txt"
Landmarks = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Vertices (68, 3) and weights (68, 3)."""


def vertex_landmarks(vertices: NDArray[np.integer]) -> Landmarks:
    """Landmarks that are vertices, (68,), as points on triangles."""
    weights = np.zeros((len(vertices), 3))
    weights[:, 0] = 1
    return np.repeat(np.asarray(vertices, np.int64)[:, None], 3, axis=1), weights


def dominant_vertices(vertices: NDArray[np.integer], weights: NDArray[np.floating]) -> NDArray[np.int64]:
    """(68,) of each landmark's three vertices the one with the largest weight."""
    chosen: NDArray[np.int64] = np.asarray(vertices, np.int64)[np.arange(len(vertices)), weights.argmax(axis=1)]
    return chosen


def read_landmark_table(path: Path, vertex_count: int) -> Landmarks:
    """Read a landmark file; see this module's description.

    Raises:
        ModelError: when there are not 68 lines of 1 or 6 numbers, an index is out of range, or weights do not sum to 1.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"landmark file '{path}' cannot be read ({error}).") from None
    lines = [line.split("#")[0].replace(",", " ").split() for line in text.splitlines()]
    rows = [line for line in lines if line]
    if len(rows) != LANDMARK_COUNT:
        raise ModelError(f"landmark file '{path}' has {len(rows)} landmarks, expected {LANDMARK_COUNT} (iBUG order).")
    if any(len(row) not in (1, 6) for row in rows):
        raise ModelError(f"landmark file '{path}': a line is 'vertex' or 'vertex weight vertex weight vertex weight'.")
    try:
        table = np.array([[float(word) for word in (row if len(row) == 6 else _corner(row[0]))] for row in rows])
    except ValueError as error:
        raise ModelError(f"landmark file '{path}': {error}.") from None
    vertices = check_indices(table[:, 0::2], vertex_count, path, "vertex")
    weights = table[:, 1::2]
    if not np.allclose(weights.sum(axis=1), 1, atol=1e-2):
        raise ModelError(f"landmark file '{path}': the weights of a line must sum to 1.")
    return vertices, weights / weights.sum(axis=1, keepdims=True)


def _corner(vertex: str) -> list[str]:
    return [vertex, "1", vertex, "0", vertex, "0"]


def jaw_order(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """(68,) an order of the landmarks (68, 3) in which the jaw runs from the image's left over the chin to its right.

    Some published tables list a few jaw points out of turn. Only points 0 to 16 can move, by their angle about the
    point between the eyes and the mouth.
    """
    centre = positions[17:, :2].mean(axis=0)
    offset = positions[:17, :2] - centre
    angle = np.arctan2(offset[:, 0], -offset[:, 1])
    return np.concatenate([np.argsort(angle, kind="stable"), np.arange(17, LANDMARK_COUNT)])


def check_axes(positions: NDArray[np.float64], path: Path) -> None:
    """Check on the landmarks (68, 3) that x runs to the image's right, y up, and z towards the viewer.

    Raises:
        ModelError: when an axis is reversed, or the landmarks are those of another mesh.
    """
    eyes, brows, chin = positions[36:48].mean(axis=0), positions[17:27].mean(axis=0), positions[8]
    wrong = [
        what
        for what, holds in (
            ("x to the image's right (the subject's right eye is landmark 36)", positions[36, 0] < positions[45, 0]),
            ("y up (the brows are above the chin)", chin[1] < eyes[1] < brows[1]),
            ("z towards the viewer (the nose is in front of the ears)", positions[30, 2] > positions[[0, 16], 2].max()),
        )
        if not holds
    ]
    if wrong:
        raise ModelError(
            f"'{path}': the landmarks contradict {' and '.join(wrong)}. The landmarks are of another mesh, or the "
            f"vertices are mirrored; a right table may be given in '{LANDMARK_FILE}' beside the model."
        )
