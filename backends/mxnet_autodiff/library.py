"""Importing MXNet where it still can be.

MXNet 1.9.1 reads `numpy.bool`, which NumPy 1.24 removed and 2.0 brought back with another meaning. The name is put back
for the import alone. With NumPy 2 the import fails for more than that name, so it is refused.
"""

from __future__ import annotations

import importlib
import warnings
from typing import Any, Final

import numpy as np

from faceinv.errors import BackendError
from faceinv.process import refuse_late_load

__all__ = ["REMEDY", "load_mxnet"]

REMEDY: Final = 'pip install "faceinv[mxnet]" in an environment of its own (it needs NumPy below 2)'


def load_mxnet() -> Any:
    """The `mxnet` module; NumPy is left as it was found.

    Raises:
        BackendError: when MXNet cannot work with the NumPy that is installed, is broken, or would hang after a fork.
    """
    if int(np.__version__.split(".")[0]) >= 2:
        raise BackendError(f"engine 'mxnet' cannot work with NumPy {np.__version__}. Remedy: {REMEDY}.")
    refuse_late_load("mxnet", "Engine 'mxnet' (MXNet)")
    # Looked up without getattr, which warns about the name or raises.
    lent = "bool" not in vars(np)
    if lent:
        vars(np)["bool"] = bool
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package is as old as its warnings
            mxnet = importlib.import_module("mxnet")
    except Exception as error:  # whatever a broken library raises
        raise BackendError(
            f"engine 'mxnet': MXNet is installed but cannot be imported ({type(error).__name__}: {error}). "
            f"Remedy: {REMEDY}."
        ) from error
    finally:
        if lent:
            del vars(np)["bool"]
    return mxnet
