"""Files of 68 landmarks, and what is checked of landmarks from anywhere.

Landmarks are (68, 2) float64, (x, y) in pixels, 0-based, pixel centres at integers. The pixels of `.pts` files count
from 1, as 300-W has them; those of every other kind of file count from 0.
"""

from __future__ import annotations

import io
import json
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from faceinv.errors import InputError
from faceinv.face.landmarks68 import LANDMARK_COUNT
from faceinv.files import refuse_url, write_whole

__all__ = [
    "LANDMARK_SUFFIXES",
    "LandmarksLike",
    "Points",
    "load_landmarks",
    "read_landmarks",
    "read_pts",
    "validate_landmarks",
    "write_pts",
]

Points: TypeAlias = npt.NDArray[np.float64]
LandmarksLike: TypeAlias = str | os.PathLike[str] | npt.ArrayLike
"""A file of landmarks, or (68, 2) px in iBUG / 300-W order, 0-based."""
LANDMARK_SUFFIXES: Final = (".pts", ".npy", ".csv", ".txt", ".json")
"""Of landmark files that are read, in lower case."""
_MAX_BYTES: Final = 1_000_000
"""Two hundred times what 68 landmarks take."""
_LONE: Final = 1.5
"""Of the median distance to the middle: a landmark whose nearest neighbour is further away than this is none of a
face. On faces in any view, with strong expressions, it was up to 1.0."""
_MISSING: Final = ((0.0, 0.0), (-1.0, -1.0), (-2.0, -2.0))
"""What programs write for points they did not find; the last is -1, -1 of a file that counts from 1."""


def load_landmarks(landmarks: LandmarksLike, image_size: tuple[int, int]) -> Points:
    """Landmarks given by a file or as numbers, checked by `validate_landmarks`.

    Raises:
        InputError: landmarks that cannot be read, or not of a face in a photo of this size.
    """
    if isinstance(landmarks, str | os.PathLike):
        landmarks = read_landmarks(landmarks)
    elif isinstance(landmarks, bytes | bytearray) or hasattr(landmarks, "read"):
        raise InputError(
            f"the landmarks are given as a {type(landmarks).__name__}; their file's path, or {LANDMARK_COUNT} pairs "
            "(x, y) of numbers, are expected."
        )
    return validate_landmarks(landmarks, image_size)


def read_landmarks(path: str | os.PathLike[str]) -> Points:
    """Read 68 landmarks in iBUG / 300-W order from a file, of a kind that its suffix tells.

    - `.pts`: as `read_pts`, the only kind whose pixels count from 1. A file of another suffix that begins as a `.pts`
      file does is read as one.
    - `.npy`: an array (68, 2) of numbers. Pickled objects are refused.
    - `.csv`, `.txt`: a line `x y` for each, divided by commas, semicolons, tabs or blanks; a heading, a first column
      that counts the lines, blank lines and comments (from `#`) do not matter.
    - `.json`: 68 pairs `[x, y]` or objects `{"x": ..., "y": ...}`, alone or under the key `landmarks`.

    Returns:
        (68, 2) float64, 0-based px.

    Raises:
        InputError: a file that cannot be read or that is not as expected; names the file.
    """
    path = Path(refuse_url(path, "landmarks"))
    content, suffix = _content(path), path.suffix.lower()
    if suffix == ".npy":
        return _as_points(_parse_npy(content, path), f"'{path}': the landmarks")
    text = content.decode("utf-8-sig", errors="replace")
    if suffix == ".pts" or re.match(r"\s*(version|n_points)\b", text, re.IGNORECASE):
        return np.array(_parse_pts(text, path), dtype=np.float64) - 1
    if suffix == ".json":
        return _as_points(_parse_json(text, path), f"'{path}': the landmarks")
    if suffix in (".csv", ".txt"):
        return _as_points(_parse_table(text, path), f"'{path}': the landmarks")
    raise InputError(f"'{path}' is no landmark file that is read; {', '.join(LANDMARK_SUFFIXES)} are.")


def read_pts(path: str | os.PathLike[str]) -> Points:
    """Read landmarks from a .pts file, whose pixels count from 1.

    Upper and lower case, blank lines, spaces, commas between numbers, line ends of any system and comments (from `#`
    or `//`) do not matter.

    Returns:
        (68, 2) float64, 0-based px.

    Raises:
        InputError: a file that cannot be read or that is not as expected; names the file and the line.
    """
    path = Path(refuse_url(path, "landmarks"))
    text = _content(path).decode("utf-8-sig", errors="replace")
    return np.array(_parse_pts(text, path), dtype=np.float64) - 1


def _content(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError(f"'{path}' is a folder; a file with {LANDMARK_COUNT} landmarks is expected.")
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"no landmark file at '{path}'. Check the path.") from None
    except OSError as error:
        raise InputError(f"cannot read the landmark file '{path}': {error.strerror or error}.") from None
    if len(content) > _MAX_BYTES:
        raise InputError(f"'{path}' is larger than {LANDMARK_COUNT} landmarks can be. Give the file of one face.")
    return content


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
        InputError: another shape or count, NaN or infinite values, all on one spot or line, points marked as missing
            by (0, 0) or (-1, -1), one far from all others, or outside of the photo.
    """
    points = _as_points(landmarks)
    width, height = image_size
    low, high = points.min(0), points.max(0)
    extent = float((high - low).max())
    if extent < 4:
        raise InputError(
            f"the landmarks span only {extent:.3g} px; points on a face, in pixels, are expected. "
            + (
                "They look like fractions of the photo: multiply x by its width and y by its height."
                if extent > 0.01 and any(_are_fractions(points + first) for first in (0, 1))
                else "Give the landmarks of a face."
            )
        )
    spread = np.linalg.svd(points - points.mean(0), compute_uv=False)
    if spread[1] < 0.05 * spread[0]:
        raise InputError(
            "the landmarks lie on one line; 68 points spread over a face are expected. "
            "Check that x and y are not the same numbers."
        )
    missing = np.flatnonzero([(x, y) in _MISSING for x, y in points.tolist()])
    if missing.size:
        raise InputError(
            f"{missing.size} of the landmarks are marked as missing, the first at index {missing[0]}, "
            f"{_shown(points[missing[0]])}; all {LANDMARK_COUNT} of a face are expected. Locate it, or leave the "
            "landmarks away to have them found."
        )
    lone = _lone(points)
    if lone is not None:
        raise InputError(
            f"the landmark at index {lone}, {_shown(points[lone])}, lies far from all others; {LANDMARK_COUNT} points "
            "on one face are expected. Correct it, or leave the landmarks away to have them found."
        )
    beyond = np.maximum(-0.5 - points, points - np.array([width - 0.5, height - 0.5])).max(1)
    outside = int((beyond > 0).sum())
    if outside > LANDMARK_COUNT // 2 or beyond.max() > extent / 2:
        farthest = int(beyond.argmax())
        raise InputError(
            f"{outside} of the {LANDMARK_COUNT} landmarks lie outside of the photo of {width} x {height} px, the one "
            f"at index {farthest} by {beyond[farthest]:.0f} px: they span x {low[0]:.1f} to {high[0]:.1f}, y "
            f"{low[1]:.1f} to {high[1]:.1f}. Give 0-based (x, y) pixels of this photo, turned upright and at this size."
        )
    return points


def _are_fractions(points: Points) -> bool:
    return bool(points.min() >= 0 and points.max() <= 1)


def _lone(points: Points) -> int | None:
    """The landmark that is farthest from every other one, where that is far for a face."""
    distances = np.linalg.norm(points[:, None] - points, axis=-1)
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    usual = np.median(np.linalg.norm(points - np.median(points, axis=0), axis=1))
    index = int(nearest.argmax())
    return index if nearest[index] > _LONE * usual else None


def _shown(point: npt.NDArray[np.float64]) -> str:
    return f"({point[0]:.6g}, {point[1]:.6g})"


def _as_points(landmarks: npt.ArrayLike, name: str = "the landmarks") -> Points:
    expected = f"({LANDMARK_COUNT}, 2) pixels (x, y) in iBUG / 300-W order"
    try:
        points = np.array(landmarks, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            f"{name}, a {type(landmarks).__name__}, are not an array of numbers; {expected} are expected."
        ) from None
    if points.shape != (LANDMARK_COUNT, 2):
        advice = {
            (2, LANDMARK_COUNT): " Transpose them.",
            (1, LANDMARK_COUNT, 2): " Take the first entry.",
            (LANDMARK_COUNT, 3): " Leave out the third column.",
        }.get(points.shape, "")
        raise InputError(f"{name} have shape {points.shape}; {expected} are expected.{advice}")
    bad = np.flatnonzero(~np.isfinite(points).all(1))
    if bad.size:
        raise InputError(
            f"{name}: {bad.size} are NaN or infinite, the first at index {bad[0]}; {expected} are expected."
        )
    return points


def _parse_npy(content: bytes, path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
    except Exception as error:  # damaged headers end in many kinds of exception
        raise InputError(f"'{path}' cannot be read as an array of numbers: {error}.") from None
    if array.dtype.kind not in "iuf":
        raise InputError(f"'{path}' holds {array.dtype}; numbers are expected.")
    return array


def _parse_json(text: str, path: Path) -> list[list[Any]]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"'{path}' is no JSON: {error}.") from None
    if isinstance(content, dict):
        content = content.get("landmarks")
    if not isinstance(content, list):
        raise InputError(
            f"'{path}' holds no list of landmarks; {LANDMARK_COUNT} pairs [x, y], alone or under the key 'landmarks', "
            "are expected."
        )
    pairs = [[entry.get("x"), entry.get("y")] if isinstance(entry, dict) else entry for entry in content]
    for index, pair in enumerate(pairs):
        if not isinstance(pair, list) or not all(type(number) in (int, float) for number in pair):
            raise InputError(f"'{path}': entry {index} is {content[index]!r:.60}; a pair of numbers is expected.")
    return pairs


def _parse_table(text: str, path: Path) -> list[list[float]]:
    rows: list[list[float]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        pieces = _numbers(line.split("#", maxsplit=1)[0])
        if not pieces:
            continue
        try:
            rows.append([float(piece) for piece in pieces])
        except ValueError:
            if rows or any(piece[:1].isdigit() for piece in pieces):  # not a heading
                raise _line_error(path, number, line.strip(), "two numbers 'x y'") from None
            continue
        if len(rows[-1]) not in (2, 3) or len(rows[-1]) != len(rows[0]):
            raise _line_error(path, number, line.strip(), "two numbers 'x y'")
    first = [row[0] for row in rows]
    if rows and len(rows[0]) == 3 and any(first == list(range(k, k + len(rows))) for k in (0, 1)):
        return [row[1:] for row in rows]
    return rows


def _numbers(text: str) -> list[str]:
    """The pieces between blanks, commas and semicolons; an empty one where a comma has no number before it."""
    text = text.strip().removesuffix(",").removesuffix(";").strip()
    return re.split(r"\s*[,;]\s*|\s+", text) if text else []


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
                raise _line_error(path, number, line, "'version: 1', 'n_points: 68' or '{'")
            if match[1].lower() == "n_points" and match[2] != str(LANDMARK_COUNT):
                raise _line_error(path, number, line, f"'n_points: {LANDMARK_COUNT}' (iBUG / 300-W order)")
        elif state == "points" and token == "}":
            state = "end"
        elif state == "points":
            points.append(_pts_point(token, path, number, line))
        else:
            raise _line_error(path, number, line, "nothing after '}'")
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
        x, y = map(float, _numbers(token))
    except ValueError:
        raise _line_error(path, number, line, "two numbers 'x y'") from None
    if not (math.isfinite(x) and math.isfinite(y)):
        raise _line_error(path, number, line, "two finite numbers 'x y'")
    return x, y


def _line_error(path: Path, number: int, line: str, expected: str) -> InputError:
    shown = line if len(line) <= 60 else line[:57] + "..."
    return InputError(f"'{path}', line {number}: {shown!r}; {expected} is expected.")
