"""MATLAB files, level 5 (what MATLAB writes with `-v6` and `-v7`): their numeric arrays.

Damaged files can crash SciPy's reader, and with it the process. This one checks every length it reads, and reads
nothing but the variables asked for. The layout is MathWorks' "MAT-File Format": a header of 128 bytes, then elements of
a type, a length and content, padded to 8 bytes; a matrix is an element of elements (flags, dimensions, name, numbers),
and may be deflated.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError

__all__ = ["MATLAB_7_3", "mat_names", "read_mat"]

MATLAB_7_3: Final = (
    "is a MATLAB 7.3 file, which is not read. Take the file as its owner publishes it, or write it again in MATLAB "
    "with: save(file, '-v7')."
)
"""What to say about such a file, after its name."""

_LEVEL5: Final = b"MATLAB 5.0 MAT-file"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_HEADER: Final = 128
_MATRIX: Final = 14
_DEFLATED: Final = 15
_NUMERIC_CLASSES: Final = range(6, 16)
_COMPLEX: Final = 0x0800
_DTYPES: Final = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_PREFIX: Final = 512
"""Bytes of a matrix that hold its flags, dimensions and name."""

_MAPPED: Final = 1 << 20
"""Variables of so many bytes are mapped into memory, not read."""


class _DamagedError(Exception):
    """What is wrong with the bytes of a file."""


@dataclass(frozen=True)
class _Variable:
    name: str
    kind: int
    """MATLAB's class number and flags."""
    shape: tuple[int, ...]
    start: int
    """Where the element with the numbers begins, from the beginning of the matrix's content."""
    offset: int
    """Where the matrix's element begins in the file."""
    size: int
    """Bytes of the matrix's element."""
    deflated: bool
    order: str


def mat_names(path: Path) -> frozenset[str]:
    """The names of the variables in a MATLAB file; none when it is something else or damaged."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(_LEVEL5)) != _LEVEL5:
                return frozenset()
            return frozenset(variable.name for variable in _variables(stream))
    except (OSError, _DamagedError):
        return frozenset()


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Some variables of a MATLAB file.

    Raises:
        ModelError: when the file is missing, of another MATLAB version, truncated, or lacks a variable, or when one
            holds something else than real numbers.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEADER)
            if head.startswith((b"MATLAB 7.3", _HDF5)):
                raise ModelError(f"'{path}' {MATLAB_7_3}")
            if not head.startswith(_LEVEL5):
                raise ModelError(f"'{path}' is no MATLAB 5 file (it does not begin with '{_LEVEL5.decode()}').")
            variables = {variable.name: variable for variable in _variables(stream) if variable.name in names}
            missing = [name for name in names if name not in variables]
            if missing:
                raise ModelError(f"'{path}' lacks the variable {', '.join(missing)}; it is not the published file.")
            for variable in variables.values():
                if variable.kind & 0xFF not in _NUMERIC_CLASSES or variable.kind & _COMPLEX:
                    raise ModelError(f"'{path}': field '{variable.name}' holds no real numbers; fetch it again.")
            return {name: _content(stream, variables[name]) for name in names}
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except _DamagedError as error:
        raise ModelError(f"'{path}' is damaged or truncated ({error}); fetch it again.") from None


def _variables(stream: BinaryIO) -> Iterator[_Variable]:
    """The matrices in a file, without their numbers."""
    end = stream.seek(0, 2)
    stream.seek(_HEADER - 2)
    order = {b"IM": "<", b"MI": ">"}.get(stream.read(2))
    if order is None:
        raise _DamagedError("its header is incomplete")
    offset = _HEADER
    while offset < end:
        stream.seek(offset)
        kind, size, _ = _tag(stream.read(8), order)
        if offset + 8 + size > end:
            raise _DamagedError("it ends within a variable")
        if kind in (_MATRIX, _DEFLATED):
            prefix = stream.read(min(size, _PREFIX))
            if kind == _DEFLATED:
                prefix = _inflate(prefix, _PREFIX)[8:]
            yield _describe(prefix, order, offset + 8, size, kind == _DEFLATED)
        offset += 8 + size + (-size % 8 if kind != _DEFLATED else 0)


def _tag(head: bytes, order: str) -> tuple[int, int, bool]:
    """Type and length of an element, and whether its content is in the tag itself."""
    if len(head) < 8:
        raise _DamagedError("it ends within a variable")
    first, second = (int(value) for value in np.frombuffer(head, f"{order}u4", 2))
    return (first & 0xFFFF, first >> 16, True) if first >> 16 else (first, second, False)


def _element(content: bytes, start: int, order: str) -> tuple[int, bytes, int]:
    """Type and content of an element within a matrix, and where the next one begins."""
    kind, size, short = _tag(content[start : start + 8], order)
    begin = start + (4 if short else 8)
    if size > (4 if short else _PREFIX) or begin + size > len(content):
        raise _DamagedError("the description of a variable is broken")
    return kind, content[begin : begin + size], start + 8 if short else begin + size + (-size % 8)


def _describe(prefix: bytes, order: str, offset: int, size: int, deflated: bool) -> _Variable:
    _, flags, start = _element(prefix, 0, order)
    _, dimensions, start = _element(prefix, start, order)
    _, name, start = _element(prefix, start, order)
    if len(flags) < 4 or len(dimensions) % 4 or not 4 <= len(dimensions) <= 32:
        raise _DamagedError("the description of a variable is broken")
    shape = tuple(int(value) for value in np.frombuffer(dimensions, f"{order}i4"))
    if min(shape) < 0:
        raise _DamagedError("a variable has a negative size")
    kind = int(np.frombuffer(flags, f"{order}u4", 1)[0])
    return _Variable(name.decode("latin1"), kind, shape, start, offset, size, deflated, order)


def _content(stream: BinaryIO, variable: _Variable) -> NDArray[Any]:
    """The numbers of a variable, in the type they are stored in."""
    count = math.prod(variable.shape)
    if variable.deflated:
        stream.seek(variable.offset)
        whole = _inflate(stream.read(variable.size), 8 + variable.start + 16 + 8 * count)[8 + variable.start :]
        kind, size, short = _tag(whole[:8], variable.order)
    else:
        stream.seek(variable.offset + variable.start)
        whole = b""
        kind, size, short = _tag(stream.read(8), variable.order)
    if kind not in _DTYPES:
        raise _DamagedError(f"variable '{variable.name}' is of an unknown number type")
    dtype = np.dtype(variable.order + _DTYPES[kind])
    if size != count * dtype.itemsize or (not variable.deflated and variable.start + size > variable.size):
        raise _DamagedError(f"variable '{variable.name}' has another size than it says")
    skip = 4 if short else 8
    if variable.deflated:
        if skip + size > len(whole):
            raise _DamagedError(f"variable '{variable.name}' is incomplete")
        flat = np.frombuffer(whole, dtype, count, skip)
    elif size >= _MAPPED:
        # What lies within the file, as checked, is read only where it is used: the first modes of a basis.
        start = variable.offset + variable.start + skip
        flat = np.asarray(np.memmap(stream, dtype, "r", start, (count,)))
    else:
        stream.seek(variable.offset + variable.start + skip)
        flat = np.fromfile(stream, dtype, count)
        if len(flat) != count:
            raise _DamagedError(f"variable '{variable.name}' is incomplete")
    return flat.reshape(variable.shape, order="F")


def _inflate(content: bytes, most: int) -> bytes:
    try:
        return zlib.decompressobj().decompress(content, most)
    except zlib.error as error:
        raise _DamagedError(str(error)) from None
