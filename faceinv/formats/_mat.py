"""MATLAB files, level 5 (what MATLAB writes with `-v6` and `-v7`), read with SciPy."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any, Final, cast

from scipy import io
from scipy.io.matlab import MatReadError

from faceinv.errors import ModelError

__all__ = ["mat_names", "read_mat"]

_LEVEL5: Final = b"MATLAB 5.0 MAT-file"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_FAULTS: Final = (
    *(MatReadError, OSError, ValueError, TypeError, KeyError, IndexError, NotImplementedError),
    *(zlib.error, EOFError, MemoryError, OverflowError),
)


def mat_names(path: Path) -> frozenset[str]:
    """The names of the variables in a MATLAB file; none when it is something else or damaged."""
    try:
        with path.open("rb") as stream:
            if stream.read(len(_LEVEL5)) != _LEVEL5:
                return frozenset()
            stream.seek(0)
            return frozenset(name for name, _, _ in io.whosmat(cast(Any, stream)))
    except _FAULTS:
        return frozenset()


def read_mat(path: Path, names: tuple[str, ...]) -> dict[str, Any]:
    """Some variables of a MATLAB file.

    Raises:
        ModelError: when the file is missing, of another MATLAB version, truncated, or lacks a variable.
    """
    try:
        with path.open("rb") as stream:
            head = stream.read(128)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    if head.startswith((b"MATLAB 7.3", _HDF5)):
        raise ModelError(
            f"'{path}' is a MATLAB 7.3 file, which is not read. Take the file as its owner publishes it, or write it "
            "again in MATLAB with: save(file, '-v7')."
        )
    if not head.startswith(_LEVEL5):
        raise ModelError(f"'{path}' is no MATLAB 5 file (it does not begin with '{_LEVEL5.decode()}').")
    try:
        with path.open("rb") as stream:
            content: dict[str, Any] = io.loadmat(cast(Any, stream), variable_names=list(names))
    except _FAULTS as error:
        raise ModelError(f"'{path}' is damaged or truncated ({error}); fetch it again.") from None
    missing = [name for name in names if name not in content]
    if missing:
        raise ModelError(f"'{path}' lacks the variable {', '.join(missing)}; it is not the published file.")
    return content
