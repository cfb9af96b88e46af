"""Where CuPy keeps compiled kernels: a folder that can be written, or none, so that this never stops work."""

from __future__ import annotations

import logging
import os
import tempfile
from functools import cache
from pathlib import Path

from faceinv.files import private_temporary_folder

__all__ = ["choose_cupy_cache"]

_log = logging.getLogger("faceinv")


@cache
def choose_cupy_cache() -> None:
    """To be called before CuPy is imported, which fails where its cache folder cannot be made."""
    try:
        folder = Path(os.environ.get("CUPY_CACHE_DIR", "~/.cupy/kernel_cache")).expanduser()
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
        return
    except (OSError, RuntimeError) as error:  # RuntimeError: no home at all
        reason = error
    own = private_temporary_folder("faceinv-cupy")
    if own is None:
        os.environ["CUPY_CACHE_IN_MEMORY"] = "1"
    # With the cache in memory nothing is written, but CuPy wants the folder to be there.
    os.environ["CUPY_CACHE_DIR"] = str(own or Path(__file__).parent)
    kept = f"kept in '{own}' for now" if own else "compiled in each process"
    _log.warning(
        "CuPy's folder for compiled kernels cannot be written (%s); they are %s. Set the environment variable "
        "CUPY_CACHE_DIR to a folder that can be written.",
        reason,
        kept,
    )
