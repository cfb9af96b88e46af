"""Arrays as text in a page: small, and quick to make and to read.

Numbers that lie on a curve or a surface differ little from their neighbours, so columns are written as differences,
which compress well; `unpack` in `templates/arrays.js` adds them up. Everything wraps around, so nothing is lost.
"""

from __future__ import annotations

import base64
import gzip
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Packed", "differences", "embed", "pack"]

_KINDS: Final = ("u1", "u2", "u4", "i2", "f4")


@dataclass(frozen=True)
class Packed:
    """Arrays in a page."""

    index: list[list[Any]]
    """Of each array: name, type, how many numbers, and of how many numbers each column is a running sum (0: none)."""
    data: str
    """All of them, one after the other, each at a multiple of four bytes; gzip, base64."""


def differences(columns: NDArray[Any]) -> NDArray[Any]:
    """(C, N) whole numbers, each row less the number before it, in their own type and its arithmetic."""
    steps: NDArray[Any] = np.diff(columns, axis=1, prepend=np.zeros((len(columns), 1), columns.dtype))
    return steps


def pack(arrays: Mapping[str, NDArray[Any]], level: int = 6) -> Packed:
    """Arrays by name, of 8, 16 or 32 bits; those of shape (C, N) are written as `differences`, others as they are.

    Args:
        arrays: little-endian or native.
        level: of the compression, from 1 (quick) to 9.
    """
    index: list[list[Any]] = []
    parts: list[bytes] = []
    for name, array in arrays.items():
        kind = array.dtype.str[1:]
        if kind not in _KINDS:
            raise TypeError(f"{name} is of {array.dtype}, which pages do not read")
        content = (differences(array) if array.ndim == 2 else array).astype(f"<{kind}", copy=False).tobytes()
        parts += [content, bytes(-len(content) % 4)]
        index.append([name, kind, int(array.size), int(array.shape[1]) if array.ndim == 2 else 0])
    return Packed(index, embed(b"".join(parts), level))


def embed(content: bytes, level: int = 6) -> str:
    """Bytes as text: gzip (without a time in it, so that the same is the same), base64."""
    return base64.b64encode(gzip.compress(content, level, mtime=0)).decode("ascii")
