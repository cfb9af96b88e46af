"""NumPy archives of other projects."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError

__all__ = ["npz_names", "read_npz"]


def npz_names(path: Path) -> frozenset[str]:
    """The names of the arrays in an `.npz` file; none when it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return frozenset()


def read_npz(path: Path, names: tuple[str, ...] | None = None) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file, or some of them; pickled ones are refused.

    Raises:
        ModelError: when the file is missing, truncated, holds Python objects, or lacks a name.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in names or () if name not in archive.files]
            if missing:
                raise ModelError(f"'{path}' lacks {', '.join(missing)}; it is not the published file.")
            return {name: archive[name] for name in names or archive.files}
    except (OSError, ValueError, TypeError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"'{path}' cannot be read as .npz ({error}); is it complete?") from None
