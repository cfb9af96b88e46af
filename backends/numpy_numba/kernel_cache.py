# mypy: allow-untyped-calls
"""Where compiled kernels are kept, so that this never stops work.

Numba keeps them beside the source, or in the user's cache folder, and refuses to compile for keeping where it may write
neither: a system-wide installation used by a service without a home. It also fails a computation when a file of the
cache is damaged or its disk is full. Here kernels are then kept in a temporary folder, or not at all, and a note says
so once.
"""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import cache
from typing import Any, Final

import numba
from numba.core.caching import FunctionCache

from faceinv.errors import first_line
from faceinv.files import private_temporary_folder

__all__ = ["ForgivingCache", "compiled"]

_REMEDY: Final = "Set the environment variable NUMBA_CACHE_DIR to a folder that can be written."
_log = logging.getLogger("faceinv")


def compiled(function: Any, **options: Any) -> Any:
    """A kernel of a function, by Numba's options, kept on disk where that is possible."""
    dispatcher = numba.njit(**options)(function)
    if _can_keep():
        # What `cache=True` does, with a cache that never raises.
        dispatcher._cache = ForgivingCache(function, options)
    return dispatcher


class ForgivingCache(FunctionCache):  # type: ignore[misc]
    """Numba's cache of one kernel; what cannot be read or written, or has other options, is compiled anew."""

    def __init__(self, function: Any, options: dict[str, Any]) -> None:
        super().__init__(function)
        # Sets as lists: their order differs between processes.
        listed = {name: sorted(value) if isinstance(value, set) else value for name, value in options.items()}
        self._options = repr(sorted(listed.items()))

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        # Numba's has the source alone, and what was compiled before an option changed would go on being used.
        return (*super()._index_key(sig, codegen), self._options)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See Numba: a compiled kernel, or None."""
        try:
            return super().load_overload(sig, target_context)
        except Exception as error:  # a damaged pickle raises anything
            _note_once(f"Compiled kernels in '{self.cache_path}' cannot be read ({type(error).__name__}: {error}).")
        with suppress(OSError):
            self.flush()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """See Numba: keep a compiled kernel."""
        try:
            super().save_overload(sig, data)
        except Exception as error:  # a full disk; a damaged index that could not be put right
            _note_once(
                f"Compiled kernels cannot be kept in '{self.cache_path}' ({first_line(error)}) and are compiled in "
                f"each process. {_REMEDY}"
            )

    def holds_some(self) -> bool:
        """Whether the kernel is kept, of the source and with the options of now, for some types."""
        with suppress(Exception):  # as above
            return any(key[-1] == self._options for key in self._cache_file._load_index())
        return False


@cache
def _can_keep() -> bool:
    """Whether there is a folder for compiled kernels; where Numba knows none, it is told of a temporary one."""
    if _numba_can_keep():
        return True
    folder = private_temporary_folder("faceinv-kernels")
    if folder is not None:
        numba.config.CACHE_DIR = str(folder)
        if _numba_can_keep():
            _note_once(
                f"Compiled kernels are kept in '{folder}' for now: neither the installation nor the user's cache "
                f"folder can be written. {_REMEDY}"
            )
            return True
    _note_once(
        "Compiled kernels cannot be kept and are compiled in each process: neither the installation nor the user's "
        f"cache folder nor a temporary one can be written. {_REMEDY}"
    )
    return False


def _numba_can_keep() -> bool:
    try:
        ForgivingCache(_can_keep.__wrapped__, {})
    except (RuntimeError, OSError):  # Numba's "no locator available"; no home at all
        return False
    return True


@cache
def _note_once(message: str) -> None:
    _log.warning(message)
