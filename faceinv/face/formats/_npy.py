"""NumPy archives of other projects."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

__all__ = ["npz_names"]


def npz_names(path: Path) -> frozenset[str]:
    """The names of the arrays in an `.npz` file; none when it is no archive."""
    try:
        with zipfile.ZipFile(path) as archive:
            return frozenset(name.removesuffix(".npy") for name in archive.namelist())
    except (OSError, ValueError, NotImplementedError, struct.error, zipfile.BadZipFile):  # a damaged directory
        return frozenset()
