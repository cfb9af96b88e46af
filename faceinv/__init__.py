"""faceinv: one photo in, a 3D face out.

Identity, expression, albedo, pose and lighting of a face by optimisation: a 3D morphable model, a differentiable
renderer, spherical-harmonics light and Gauss-Newton, on an array engine of your choice.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceinv.errors import (
    BackendError,
    ConfigError,
    DeviceLostError,
    FaceinvError,
    InputError,
    ModelError,
    NoFaceError,
)
from faceinv.fitting.config import FitConfig
from faceinv.version import __version__

# In a checkout the engines' folder lies beside this one; installed, it lies inside. Python started in a checkout takes
# this folder for the package, whatever is installed, and must find the engines all the same.
_beside = Path(__file__).resolve().parent.parent
if not (Path(__file__).parent / "backends").is_dir() and (_beside / "backends" / "numpy_numba").is_dir():
    __path__.append(str(_beside))

if TYPE_CHECKING:
    from faceinv.detail.record import Detail
    from faceinv.engine.registry import available_engines
    from faceinv.face.camera import Camera
    from faceinv.face.formats import load_model
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.fitting.detail import refine_detail
    from faceinv.fitting.fitter import Fitter, fit, fit_faces
    from faceinv.fitting.result import FitResult, load_result
    from faceinv.fitting.solver import Status

__all__ = [
    "BackendError",
    "Camera",
    "ConfigError",
    "Detail",
    "DeviceLostError",
    "Face",
    "FaceinvError",
    "FitConfig",
    "FitResult",
    "Fitter",
    "InputError",
    "ModelError",
    "MorphableModel",
    "NoFaceError",
    "Status",
    "__version__",
    "available_engines",
    "fit",
    "fit_faces",
    "load_model",
    "load_result",
    "refine_detail",
]

# Loaded on first use, so that `import faceinv` stays quick.
_LAZY = {
    "Face": "faceinv.face.state",
    "Camera": "faceinv.face.camera",
    "Detail": "faceinv.detail.record",
    "refine_detail": "faceinv.fitting.detail",
    "Fitter": "faceinv.fitting.fitter",
    "fit": "faceinv.fitting.fitter",
    "fit_faces": "faceinv.fitting.fitter",
    "load_model": "faceinv.face.formats",
    "MorphableModel": "faceinv.face.model",
    "available_engines": "faceinv.engine.registry",
    "FitResult": "faceinv.fitting.result",
    "load_result": "faceinv.fitting.result",
    "Status": "faceinv.fitting.solver",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'faceinv' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
