"""faceinv: one photo in, a 3D face out.

Identity, expression, albedo, pose and lighting of a face by optimisation: a 3D morphable model, a differentiable
renderer, spherical-harmonics light and Gauss-Newton, on an array engine of your choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from faceinv.config import FitConfig
from faceinv.errors import BackendError, ConfigError, FaceinvError, InputError, ModelError, NoFaceError
from faceinv.version import __version__

if TYPE_CHECKING:
    from faceinv.fitting import Fitter, fit, fit_faces
    from faceinv.formats import load_model
    from faceinv.model import MorphableModel
    from faceinv.registry import available_engines
    from faceinv.result import FitResult, load_result
    from faceinv.solver import Status

__all__ = [
    "BackendError",
    "ConfigError",
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
]

# Loaded on first use, so that `import faceinv` stays quick.
_LAZY = {
    "Fitter": "faceinv.fitting",
    "fit": "faceinv.fitting",
    "fit_faces": "faceinv.fitting",
    "load_model": "faceinv.formats",
    "MorphableModel": "faceinv.model",
    "available_engines": "faceinv.registry",
    "FitResult": "faceinv.result",
    "load_result": "faceinv.result",
    "Status": "faceinv.solver",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'faceinv' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
