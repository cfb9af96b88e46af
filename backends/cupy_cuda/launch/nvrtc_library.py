"""NVIDIA's runtime compiler, NVRTC: found where the package index puts it, for CuPy, which compiles with it."""

from __future__ import annotations

import ctypes
import importlib.metadata
from functools import cache
from types import ModuleType
from typing import Final

from faceinv.errors import BackendError, first_line

__all__ = ["INSTALL", "load_nvrtc"]

INSTALL: Final = 'pip install "faceinv[cuda]"'
_LIBRARIES: Final = ("libnvrtc-builtins.so", "libnvrtc.so")


@cache
def load_nvrtc() -> ModuleType:
    """CuPy's binding of NVRTC, which needs no GPU.

    CuPy 13 opens the library by its bare name, which is found where it has been opened before; CuPy 14 finds it itself.

    Raises:
        BackendError: when CuPy, the library or a symbol of it is missing.
    """
    try:
        for pattern in _LIBRARIES:
            for file in _distributed():
                if file.name.startswith(pattern) and ".alt." not in file.name:
                    ctypes.CDLL(str(file.locate()), mode=ctypes.RTLD_GLOBAL)
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()
    except Exception as error:  # a missing distribution, library or symbol raises many things
        raise BackendError(
            f"engine 'cupy' cannot compile its kernels: NVRTC cannot be loaded ({type(error).__name__}: "
            f"{first_line(error)}). Install it with: {INSTALL}."
        ) from error
    module: ModuleType = nvrtc
    return module


def _distributed() -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files("nvidia-cuda-nvrtc") or []
    except importlib.metadata.PackageNotFoundError:
        return []  # a CUDA toolkit may have it
