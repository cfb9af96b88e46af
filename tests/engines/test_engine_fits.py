"""Whole fits end at the same face on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import resources

import numpy as np
import pytest
from problems import toy_chi, toy_model
from tolerances import FIT_RMS_MM

from faceinv.engine.evaluation import radiance
from faceinv.engine.records import DType, EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.face.layout import ParameterLayout
from faceinv.fitting.config import FitConfig
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.result import FitResult
from faceinv.photo.color import linear_to_srgb

SIZE = (120, 132)
CONFIG = FitConfig(size=64, levels=2, iterations=12, coarse_iterations=6)


@cache
def synthetic_fit(backend: str) -> FitResult:
    """The toy model fitted to a picture of itself."""
    model = toy_model()
    layout = ParameterLayout.of(model)
    chi = toy_chi(1, model, SIZE)
    renderer = build_engine("numpy:float64", model, EngineSettings()).renderer
    geometry = renderer.geometry(chi)
    picture = radiance(renderer, geometry, renderer.rasterize(geometry, SIZE), chi)[0]
    photo = linear_to_srgb(np.clip(picture, 0, 1).astype(np.float32))
    points = model.landmarks(renderer.to_host(geometry.image_xy)[0])
    assert layout.count == chi.shape[1]
    return Fitter(model, backend, CONFIG).fit(photo, points)


@cache
def photo_fit(backend: str) -> FitResult:
    """The sample photo, coarsely."""
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as path:
        return Fitter("default", backend, replace(CONFIG, size=56, iterations=6)).fit(path)


def rms(a: FitResult, b: FitResult) -> float:
    """mm over the vertices."""
    gap = a.model.vertices(a.identity, a.expression) - b.model.vertices(b.identity, b.expression)
    return float(np.sqrt((gap**2).sum(axis=1).mean()))


@pytest.mark.parametrize("fit", [synthetic_fit, photo_fit])
def test_fits_agree(engine_name: str, dtype: DType, fit: Callable[[str], FitResult]) -> None:
    found, reference = fit(f"{engine_name}:{dtype}"), fit("numpy:float64")
    tolerance = FIT_RMS_MM[dtype]
    error = rms(found, reference)
    assert error <= tolerance.bound, f"{error:.4f} mm apart, allowed {tolerance.bound}: {tolerance.reason}"
    assert found.cost == pytest.approx(reference.cost, rel=1e-3)
    assert found.photometric_rmse == pytest.approx(reference.photometric_rmse, rel=1e-2)
    print(f"{fit} {engine_name}:{dtype}: {error:.2e} mm from the reference")
