"""Files of 68 landmarks, and what is checked of landmarks from anywhere.

Landmarks are (68, 2) float64, (x, y) in pixels, 0-based, pixel centres at integers.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from faceinv.errors import InputError
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.files import write_whole

__all__ = ["Points", "read_pts", "validate_landmarks", "write_pts"]

Points = npt.NDArray[np.float64]


def read_pts(path: str | os.PathLike[str]) -> Points:
    """Read landmarks from a .pts file, whose pixels count from 1.

    Upper and lower case, blank lines, spaces, line ends of any system and comments (from `#` or `//`) do not matter.

    Returns:
        (68, 2) float64, 0-based px.

    Raises:
        InputError: a file that cannot be read or that is not as expected; names the file and the line.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder; a .pts file with {LANDMARK_COUNT} landmarks is expected.")
        text = path.read_bytes().decode("utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise InputError(f"no landmark file at '{path}'. Check the path.") from None
    except OSError as error:
        raise InputError(f"cannot read the landmark file '{path}': {error.strerror or error}.") from None
    return np.array(_parse_pts(text, path), dtype=np.float64) - 1


def write_pts(path: str | os.PathLike[str], landmarks: npt.ArrayLike) -> None:
    """Write landmarks to a .pts file, whose pixels count from 1, whole or not at all.

    Args:
        path: the file; missing folders are made.
        landmarks: (68, 2), 0-based px; written to a millionth of a pixel.

    Raises:
        InputError: another shape, NaN or infinite values, or a place that cannot be written.
    """
    points = _as_points(landmarks)
    lines = ["version: 1", f"n_points: {LANDMARK_COUNT}", "{", *(f"{x:.6f} {y:.6f}" for x, y in points + 1), "}"]
    with write_whole(Path(path)) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii", newline="\n")


def validate_landmarks(landmarks: npt.ArrayLike, image_size: tuple[int, int]) -> Points:
    """Check that landmarks can belong to a face in a photo.

    Some may lie outside of the photo, as they do for faces cut by its edge: fewer than half of them, and by no more
    than half of the face's size.

    Args:
        landmarks: (68, 2), 0-based px.
        image_size: (width, height) of the photo, px.

    Returns:
        (68, 2) float64, a copy.

    Raises:
        InputError: another shape or count, NaN or infinite values, all on one spot or line, or outside of the photo.
    """
    points = _as_points(landmarks)
    width, height = image_size
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    if extent < 4:
        advice = (
            "They look like fractions of the photo: multiply x by its width and y by its height."
            if low.min() >= 0 and high.max() <= 1 and extent > 0.01
            else "Give the landmarks of a face."
        )
        raise InputError(
            f"the landmarks span only {extent:.3g} px; points on a face, in pixels, are expected. {advice}"
        )
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if spread[1] < 0.05 * spread[0]:
        raise InputError(
            "the landmarks lie on one line; 68 points spread over a face are expected. "
            "Check that x and y are not the same numbers."
        )
    beyond = np.maximum(-0.5 - points, points - np.array([width - 0.5, height - 0.5])).max(1)
    outside = int((beyond > 0).sum())
    if outside > LANDMARK_COUNT // 2 or beyond.max() > extent / 2:
        raise InputError(
            f"{outside} of the {LANDMARK_COUNT} landmarks lie outside of the photo of {width} x {height} px: they "
            f"span x {low[0]:.1f} to {high[0]:.1f}, y {low[1]:.1f} to {high[1]:.1f}. Give 0-based (x, y) pixels of "
            "this photo, turned upright and at this size."
        )
    return points


def _as_points(landmarks: npt.ArrayLike) -> Points:
    expected = f"({LANDMARK_COUNT}, 2) pixels (x, y) in iBUG / 300-W order"
    try:
        points = np.array(landmarks, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"the landmarks, a {type(landmarks).__name__}, are not an array of numbers; {expected} are expected."
        ) from None
    if points.shape != (LANDMARK_COUNT, 2):
        advice = {
            (2, LANDMARK_COUNT): " Transpose them.",
            (1, LANDMARK_COUNT, 2): " Take the first entry.",
            (LANDMARK_COUNT, 3): " Leave out the third column.",
        }.get(points.shape, "")
        raise InputError(f"the landmarks have shape {points.shape}; {expected} are expected.{advice}")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if bad.size:
        raise InputError(
            f"{bad.size} of the landmarks are NaN or infinite, the first at index {bad[0]}; {expected} are expected."
        )
    return points


def _parse_pts(text: str, path: Path) -> list[tuple[float, float]]:
    points: list[tuple[float, float]] = []
    state = "header"
    number = 0
    for number, line, token in _pts_tokens(text):
        if state == "header" and token == "{":
            state = "points"
        elif state == "header":
            match = re.fullmatch(r"(version|n_points|image size x|image size y)\s*:?\s*(\S+)", token, re.IGNORECASE)
            if match is None:
                raise _pts_error(path, number, line, "'version: 1', 'n_points: 68' or '{'")
            if match[1].lower() == "n_points" and match[2] != str(LANDMARK_COUNT):
                raise _pts_error(path, number, line, f"'n_points: {LANDMARK_COUNT}' (iBUG / 300-W order)")
        elif state == "points" and token == "}":
            state = "end"
        elif state == "points":
            points.append(_pts_point(token, path, number, line))
        else:
            raise _pts_error(path, number, line, "nothing after '}'")
    if state != "end":
        missing = "'{'" if state == "header" else "'}'"
        raise InputError(f"'{path}' ends after line {number} without {missing}; it may be cut short.")
    if len(points) != LANDMARK_COUNT:
        raise InputError(
            f"'{path}', line {number}: {len(points)} points end here; {LANDMARK_COUNT} in iBUG / 300-W "
            "order are expected."
        )
    return points


def _pts_tokens(text: str) -> Iterator[tuple[int, str, str]]:
    """(line number, the line, a piece of it): braces are pieces of their own, comments are left out."""
    for number, line in enumerate(text.splitlines(), start=1):
        for token in re.split(r"([{}])", re.split(r"#|//", line, maxsplit=1)[0]):
            if token.strip():
                yield number, line.strip(), token.strip()


def _pts_point(token: str, path: Path, number: int, line: str) -> tuple[float, float]:
    try:
        x, y = map(float, token.split())
    except ValueError:
        raise _pts_error(path, number, line, "two numbers 'x y'") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise _pts_error(path, number, line, "two finite numbers 'x y'")
    return x, y


def _pts_error(path: Path, number: int, line: str, expected: str) -> InputError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return InputError(f"'{path}', line {number}: {shown!r}; {expected} is expected.")
