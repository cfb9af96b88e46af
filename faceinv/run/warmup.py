"""Whether the numerical kernels have been compiled on this machine."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any, Final

__all__ = ["FIRST_RUN", "kernels_compiled"]

FIRST_RUN: Final = (
    "Compiling numerical kernels: the first fit after installation takes about half a minute longer. "
    "The next ones start at once."
)
"""What to tell people before the wait."""


def kernels_compiled() -> bool:
    """Whether the kernels of the `numpy` engine are in Numba's cache.

    A fit with another precision or setting may still compile a kernel or two.
    """
    package = importlib.import_module("faceinv.backends.numpy_numba")
    for name in (info.name for info in pkgutil.iter_modules(package.__path__)):
        module = importlib.import_module(f"{package.__name__}.{name}")
        kernels = [value for value in vars(module).values() if _is_kernel(value, module.__name__)]
        if kernels and not any(_cached(kernel) for kernel in kernels):
            return False
    return True


def _is_kernel(value: Any, module: str) -> bool:
    # Numba's dispatchers have these; those imported from other modules are looked at there.
    return hasattr(value, "py_func") and hasattr(value, "stats") and value.py_func.__module__ == module


def _cached(kernel: Any) -> bool:
    # Numba names an index by module, function and line, and keeps it while the source's content stays.
    code, folder = kernel.py_func.__code__, kernel.stats.cache_path
    name = f"{Path(code.co_filename).stem}.{kernel.py_func.__qualname__}-{code.co_firstlineno}.*.nbi"
    return folder is not None and any(Path(folder).glob(name))
