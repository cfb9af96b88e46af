"""Whether the numerical kernels have been compiled on this machine, and compiling them before the first photo."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, get_args

import numpy as np

from faceinv.engine.compiling import FIRST_RUN, watched_compiling

if TYPE_CHECKING:
    from faceinv.fitting.fitter import Fitter
    from faceinv.fitting.result import FitResult

__all__ = ["FIRST_RUN", "compile_kernels", "counted_compiling", "kernels_compiled", "needs_compiling"]

_PACKAGE: Final = "faceinv.backends.numpy_numba"
_SHARED: Final = ("raster",)
"""Modules whose kernels fits by the `numpy` engine and files of every fit need."""
_FILES: Final = ("averages", "texels")
"""Modules whose kernels make overlays and textures, which a fit does without."""
_DETAIL: Final = ("detail", "detail_kernels", "relief")
"""Modules whose kernels find and draw fine detail, which a fit does without unless it is asked for."""
_SIDE: Final = 64
"""Pixels of the picture that kernels are compiled with."""
_DETAIL_SIDE: Final = 4 * _SIDE
"""The same of those of detail, which smaller faces do not show."""


def kernels_compiled() -> bool:
    """Whether the kernels of the `numpy` engine are in Numba's cache, but for those of overlays, textures and
    detail.

    A fit with another precision or setting may still compile a kernel or two.
    """
    return _compiled(tuple(_kernels().keys() - {*_FILES, *_DETAIL}))


def needs_compiling(fitter: Fitter) -> bool:
    """Whether a fit and its files must wait for kernels; overlays and textures are made by some of the `numpy`
    engine's, whatever engine fits."""
    fitting = kernels_compiled() if fitter.backend.split(":")[0] == "numpy" else _compiled(_SHARED)
    return not (fitting and _compiled(_FILES) and (not fitter.config.detail or _compiled(_detail_of(fitter))))


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
    config = replace(fitter.config, size=_SIDE, levels=1, iterations=1, coarse_iterations=0, detail=False)
    with counted_compiling(progress):
        for assembly in ("rows", "vertices") if config.assembly == "auto" else (config.assembly,):
            small = Fitter(model, fitter.backend, replace(config, assembly=assembly))
            result = small.fit(np.full((_SIDE, _SIDE, 3), 0.5), points)
            small.engine.close()
        result.overlay()
        for texture in get_args(Texture):
            texture_image(result.model, result.face, texture, result.photo, _SIDE)
        assert atlas_of(result.model, _SIDE).neighbours.shape[1] == 4  # which compiles what finds them
        if fitter.config.detail:
            _compile_detail(fitter, result)


def _compile_detail(fitter: Fitter, result: FitResult) -> None:
    """Compile what finds detail on the fitter's engine, and what its files need."""
    from faceinv.detail.transfer import drape
    from faceinv.fitting.detail import refine_detail

    assert result.photo is not None
    larger = _DETAIL_SIDE // _SIDE
    # Of some colour, as photos are.
    photo = np.tile(np.array([0.6, 0.5, 0.45], np.float32), (_DETAIL_SIDE, _DETAIL_SIDE, 1))
    face = replace(result.face, camera=result.camera.moved(larger, (0.0, 0.0)))
    shown = replace(result, face=face, photo=photo, image_size=(_DETAIL_SIDE, _DETAIL_SIDE))
    refined = refine_detail(shown, formulation=fitter.config.formulation or "robust", backend=fitter.backend)
    drape(refined.relief(), refined.model, refined.face, (_SIDE, _SIDE))


def _detail_of(fitter: Fitter) -> tuple[str, ...]:
    """The modules whose kernels a fit with detail needs: the engine's own, and those that draw it in any case."""
    return _DETAIL if fitter.backend.split(":")[0] == "numpy" else ("relief",)


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
    # Kernels that are not kept have a cache of another kind.
    return bool(kernel.signatures) or getattr(kernel._cache, "holds_some", lambda: False)()
