"""From a config string to an engine: `engine[:device][:dtype]`, such as `numpy`, `torch:cuda:0`, `cupy:0:float32`.

Built-in engines come first, then entry points of the group `faceinv.backends`, each naming a function
`build(model, settings) -> Engine`. Nothing is imported but what is named.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from faceinv.engine.interface import Engine
from faceinv.engine.records import DType, EngineSettings
from faceinv.errors import BackendError, FaceinvError
from faceinv.face.model import MorphableModel

__all__ = ["EngineSpec", "EngineStatus", "available_engines", "build_engine", "parse_engine"]

_GROUP: Final = "faceinv.backends"
_DTYPES: Final[tuple[DType, ...]] = ("float32", "float64")


@dataclass(frozen=True)
class _Known:
    target: str
    """`module:function`."""
    requires: tuple[str, ...]
    """Distributions of which one must be installed."""
    install: str
    """The command that installs what is missing."""


_BUILT_IN: Final = {
    "numpy": _Known("faceinv.backends.numpy_numba:build", ("numba",), 'pip install "faceinv"'),
    "torch": _Known("faceinv.backends.torch_autodiff:build", ("torch",), 'pip install "faceinv[torch]"'),
    "mxnet": _Known("faceinv.backends.mxnet_autodiff:build", ("mxnet",), 'pip install "faceinv[mxnet]"'),
    "cupy": _Known(
        "faceinv.backends.cupy_cuda:build", ("cupy-cuda13x", "cupy-cuda12x", "cupy"), 'pip install "faceinv[cuda]"'
    ),
}


@dataclass(frozen=True)
class EngineSpec:
    """A parsed config string."""

    engine: str
    device: str
    """Empty for the engine's default."""
    dtype: DType

    def __str__(self) -> str:
        return ":".join(part for part in (self.engine, self.device, self.dtype) if part)


@dataclass(frozen=True)
class EngineStatus:
    """What `faceinv engines` shows of one engine."""

    name: str
    installed: bool
    """Whether its library is there; it may still fail to load."""
    version: str
    """The library's distribution and version, or empty."""
    install: str
    """The command that installs it."""
    source: str
    """`built-in`, or the distribution that provides the entry point."""


def parse_engine(text: str) -> EngineSpec:
    """Split `engine[:device][:dtype]`; a device may hold a colon itself, as in `torch:cuda:0:float64`.

    Raises:
        BackendError: for an unknown engine or a malformed string.
    """
    if not isinstance(text, str):
        kind = type(text).__name__
        raise BackendError(f"backend is {kind} {text!r}; expected a string such as 'numpy' or 'torch:cpu'.")
    engine, *rest = text.strip().split(":")
    if any(not part.strip() or part != part.strip() for part in rest):
        raise BackendError(
            f"backend '{text}' is malformed; expected 'engine[:device][:dtype]', such as 'torch:cuda:0'."
        )
    known = {**_BUILT_IN, **{point.name: point for point in _entry_points()}}
    if engine not in known:
        raise BackendError(f"unknown engine '{engine}'; known are {_listing()}.")
    dtype: DType = "float32"
    named = [part for part in rest if part.startswith(("float", "int", "bfloat"))]
    if named:
        if named != rest[-1:] or named[0] not in _DTYPES:
            raise BackendError(f"backend '{text}': dtype '{named[0]}' is not one of {', '.join(_DTYPES)}, given last.")
        dtype = "float64" if named[0] == "float64" else "float32"
        rest = rest[:-1]
    return EngineSpec(engine, ":".join(rest), dtype)


def build_engine(backend: str | EngineSpec, model: MorphableModel, settings: EngineSettings | None = None) -> Engine:
    """Build the engine that a config string names; its device and dtype replace those of `settings`.

    Raises:
        BackendError: when the engine is unknown, not installed, broken, or lacks the device.
    """
    spec = backend if isinstance(backend, EngineSpec) else parse_engine(backend)
    build = _load(spec.engine)
    try:
        return build(model, replace(settings or EngineSettings(), device=spec.device, dtype=spec.dtype))
    except FaceinvError:
        raise
    except Exception as error:
        raise BackendError(f"engine '{spec}' failed to start: {type(error).__name__}: {error}") from error


def available_engines() -> tuple[EngineStatus, ...]:
    """Every known engine, installed or not, without importing any."""
    statuses = []
    for name, known in _BUILT_IN.items():
        version = _version(known.requires)
        statuses.append(EngineStatus(name, bool(version), version, known.install, "built-in"))
    for point in _entry_points():
        if point.name not in _BUILT_IN:
            source = point.dist.name if point.dist else "entry point"
            version = f"{source} {point.dist.version}" if point.dist else ""
            statuses.append(EngineStatus(point.name, True, version, f"pip install {source}", source))
    return tuple(statuses)


def _load(name: str) -> Callable[[MorphableModel, EngineSettings], Engine]:
    if name in _BUILT_IN:
        known = _BUILT_IN[name]
        if not _version(known.requires):
            raise BackendError(
                f"engine '{name}' needs {' or '.join(known.requires)}, which is not installed. "
                f"Install it with: {known.install}. Installed now: {_listing(installed=True)}."
            )
        module, function = known.target.split(":")
        try:
            build: Any = getattr(importlib.import_module(module), function)
        except FaceinvError:
            raise
        except Exception as error:  # a library that is there but broken can raise anything
            raise BackendError(
                f"engine '{name}' is installed ({_version(known.requires)}) but cannot be loaded: "
                f"{type(error).__name__}: {error}. Reinstall it with: {known.install}."
            ) from error
    else:
        point = next(p for p in _entry_points() if p.name == name)
        try:
            build = point.load()
        except Exception as error:
            raise BackendError(
                f"engine '{name}' (entry point {point.value}) cannot be loaded: {type(error).__name__}: {error}."
            ) from error
    result: Callable[[MorphableModel, EngineSettings], Engine] = build
    return result


def _entry_points() -> tuple[importlib.metadata.EntryPoint, ...]:
    return tuple(importlib.metadata.entry_points(group=_GROUP))


def _version(distributions: tuple[str, ...]) -> str:
    for name in distributions:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def _listing(installed: bool = False) -> str:
    statuses = [s for s in available_engines() if s.installed or not installed]
    return ", ".join(s.name if s.installed else f"{s.name} (not installed: {s.install})" for s in statuses)
