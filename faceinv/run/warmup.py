"""Whether the numerical kernels have been compiled on this machine, and compiling them before the first photo."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from faceinv.engine.compiling import FIRST_RUN, watched_compiling

if TYPE_CHECKING:
    from faceinv.fitting.fitter import Fitter

__all__ = ["FIRST_RUN", "compile_kernels", "counted_compiling", "kernels_compiled", "needs_compiling"]

_PACKAGE: Final = "faceinv.backends.numpy_numba"
_DRAWING: Final = ("pixels", "raster", "surface")
"""Modules whose kernels draw the overlay, whichever engine fits."""
_TEXTURES: Final = ("texels",)
"""Modules whose kernels make textures, which a fit does without."""
_SIDE: Final = 64
"""Pixels of the picture that kernels are compiled with."""


def kernels_compiled() -> bool:
    """Whether the kernels of the `numpy` engine are in Numba's cache, but for those of textures.

    A fit with another precision or setting may still compile a kernel or two.
    """
    return _compiled(tuple(_kernels().keys() - _TEXTURES))


def needs_compiling(fitter: Fitter) -> bool:
    """Whether a fit and its files must wait for kernels; overlays and textures are made by some of the `numpy`
    engine's, whatever engine fits."""
    fitting = kernels_compiled() if fitter.backend.split(":")[0] == "numpy" else _compiled(_DRAWING)
    return not (fitting and _compiled(_TEXTURES))


def compile_kernels(fitter: Fitter, progress: Callable[[int, int], None]) -> None:
    """Compile what fits by this fitter need, and what draws their overlays, by fitting a small grey picture.

    For who fits in several processes: one compiles for all. Others do without, as the first fit compiles what it needs.

    Args:
        fitter: its model, engine and settings are used.
        progress: told how many kernels are compiled, of how many there are.
    """
    from faceinv.fitting.fitter import Fitter
    from faceinv.render.atlas import atlas_of
    from faceinv.render.texture import Texture, texture_image

    model = fitter.model
    marks = model.landmarks(model.mean)[:, :2] * [1.0, -1.0]
    low, high = marks.min(axis=0), marks.max(axis=0)
    points = (marks - (low + high) / 2) * (0.6 * _SIDE / (high - low).max()) + _SIDE / 2
    config = replace(fitter.config, size=_SIDE, levels=1, iterations=1, coarse_iterations=0)
    with counted_compiling(progress):
        for assembly in ("rows", "vertices") if config.assembly == "auto" else (config.assembly,):
            small = Fitter(model, fitter.backend, replace(config, assembly=assembly))
            result = small.fit(np.full((_SIDE, _SIDE, 3), 0.5), points)
            small.engine.close()
        result.overlay()
        for texture in get_args(Texture):
            texture_image(result.model, result.face, texture, result.photo, _SIDE)
        assert atlas_of(result.model, _SIDE).neighbours.shape[1] == 4  # which compiles what finds them


@contextmanager
def counted_compiling(progress: Callable[[int, int], None]) -> Iterator[None]:
    """Within the block `progress` is told how many kernels are compiled, of how many there are."""
    total = sum(len(kernels) for kernels in _kernels().values())
    compiled: set[str] = set()  # one may be compiled for several kinds of arrays

    def count(kernel: str) -> None:
        compiled.add(kernel)
        progress(len(compiled), total)

    progress(0, total)
    with watched_compiling(count):
        yield
    progress(total, total)


def _compiled(modules: tuple[str, ...]) -> bool:
    return all(any(map(_cached, kernels)) for name, kernels in _kernels().items() if name in modules and kernels)


def _kernels() -> dict[str, list[Any]]:
    """The kernels of the `numpy` engine by module."""
    package = importlib.import_module(_PACKAGE)
    names = [info.name for info in pkgutil.iter_modules(package.__path__)]
    return {name: list(_kernels_of(f"{_PACKAGE}.{name}")) for name in names}


def _kernels_of(module: str) -> Iterator[Any]:
    for value in vars(importlib.import_module(module)).values():
        # Numba's dispatchers have these; those imported from other modules are looked at there.
        if hasattr(value, "py_func") and hasattr(value, "stats") and value.py_func.__module__ == module:
            yield value


def _cached(kernel: Any) -> bool:
    """Whether a kernel is compiled, in this process or on disk."""
    return bool(kernel.signatures) or _on_disk(kernel)


def _on_disk(kernel: Any) -> bool:
    # Numba names an index by module, function and line, and uses it while the source file stays as it was.
    code, folder = kernel.py_func.__code__, kernel.stats.cache_path
    if folder is None:
        return False
    source = Path(code.co_filename)
    name = f"{source.stem}.{kernel.py_func.__qualname__}-{code.co_firstlineno}.*.nbi"
    return any(_is_newer(path, source) for path in Path(folder).glob(name))


def _is_newer(index: Path, source: Path) -> bool:
    try:
        return index.stat().st_mtime >= source.stat().st_mtime
    except OSError:
        return False
