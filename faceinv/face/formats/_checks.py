"""Checks shared by the loaders. Every message names the file, the field, what is there and what to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.arrays import all_finite

__all__ = ["check_finite", "check_indices", "check_orthogonal", "check_shape", "count_modes", "numeric"]

ORTHOGONALITY_TOLERANCE: Final = 0.2
"""Largest cosine between two modes of a basis that a file holds as principal components. Real bases stay far below;
a basis read in the wrong order, or at the wrong width, does not."""


def numeric(value: Any, path: Path, field: str) -> NDArray[Any]:
    """`value` as an array of numbers.

    Raises:
        ModelError: when it holds anything else (text, objects, booleans, complex numbers).
    """
    array = np.asarray(value)
    if array.dtype.kind not in "iuf":
        raise ModelError(f"'{path}': field '{field}' holds {array.dtype}, expected numbers; is it the published file?")
    return array


def check_shape(array: NDArray[Any], shape: tuple[int | None, ...], path: Path, field: str) -> None:
    """Raise a `ModelError` unless `array` has this shape; None stands for any size."""
    if array.ndim != len(shape) or any(s is not None and s != n for s, n in zip(shape, array.shape, strict=True)):
        expected = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise ModelError(f"'{path}': field '{field}' has shape {array.shape}, expected {expected}.")


def check_finite(array: NDArray[Any], path: Path, field: str) -> None:
    """Raise a `ModelError` when `array` holds NaN or infinite values."""
    if not all_finite(array):
        raise ModelError(f"'{path}': field '{field}' holds NaN or infinite values; fetch the file again.")


def check_indices(array: NDArray[Any], limit: int, path: Path, field: str, base: int = 0) -> NDArray[np.int64]:
    """`array`, whose indices start at `base`, as 0-based indices below `limit`.

    Raises:
        ModelError: when one is fractional or out of range; an index base mistaken by one is usually found here.
    """
    values = np.asarray(array)
    whole = values.astype(np.int64)
    if values.dtype.kind == "f" and not np.array_equal(values, whole):
        raise ModelError(f"'{path}': field '{field}' should hold whole numbers.")
    if whole.size == 0 or whole.min() < base or whole.max() >= limit + base:
        span = f"{whole.min()}..{whole.max()}" if whole.size else "nothing"
        raise ModelError(f"'{path}': field '{field}' has indices {span}, expected {base}..{limit - 1 + base}.")
    return whole - base


def check_orthogonal(basis: NDArray[Any], path: Path, field: str) -> None:
    """Raise a `ModelError` unless the columns of `basis` (M, K) are orthogonal within `ORTHOGONALITY_TOLERANCE`."""
    if basis.shape[1] < 2:
        return
    gram = np.asarray(basis.T @ basis, np.float64)
    norm = np.sqrt(np.diagonal(gram))
    if (norm <= 0).any():
        raise ModelError(f"'{path}': field '{field}' has a mode that is zero everywhere.")
    gram /= norm[:, None] * norm[None, :]
    np.fill_diagonal(gram, 0)
    worst = float(np.abs(gram).max())
    if not worst <= ORTHOGONALITY_TOLERANCE:
        first, second = np.unravel_index(int(np.abs(gram).argmax()), gram.shape)
        raise ModelError(
            f"'{path}': modes {first} and {second} of field '{field}' have a cosine of {worst:.2f}, but principal "
            "components are orthogonal; the file is damaged or laid out in another way."
        )


def count_modes(wanted: int | None, present: int, default: int | None, path: Path, kind: str) -> int:
    """How many of `present` modes to read: `wanted`, or the first `default` of them, or all.

    Raises:
        ModelError: when `wanted` is negative or more than there are.
    """
    if wanted is None:
        return present if default is None else min(default, present)
    if not 0 <= wanted <= present:
        raise ModelError(f"'{path}' has {present} {kind} modes; {wanted} were asked for.")
    return wanted
