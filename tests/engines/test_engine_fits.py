"""Whole fits end at the same face on every engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from importlib import resources

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import toy_chi, toy_model
from tolerances import FIT_COST, FIT_RMS_MM

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
def synthetic_photo() -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """A picture (H, W, 3) of the toy model, and its landmarks (68, 2) px."""
    model = toy_model()
    layout = ParameterLayout.of(model)
    chi = toy_chi(1, model, SIZE)
    renderer = build_engine("numpy:float64", model, EngineSettings()).renderer
    geometry = renderer.geometry(chi)
    picture = radiance(renderer, geometry, renderer.rasterize(geometry, SIZE), chi)[0]
    photo = linear_to_srgb(np.clip(picture, 0, 1).astype(np.float32))
    points = model.landmarks(renderer.to_host(geometry.image_xy)[0])
    assert layout.count == chi.shape[1]
    return photo, points


@cache
def synthetic_fit(backend: str) -> FitResult:
    """The toy model fitted to a picture of itself."""
    return Fitter(toy_model(), backend, CONFIG).fit(*synthetic_photo())


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
    assert found.cost == pytest.approx(reference.cost, rel=FIT_COST[dtype].bound), FIT_COST[dtype].reason
    assert found.photometric_rmse == pytest.approx(reference.photometric_rmse, rel=1e-2)
    print(f"{fit} {engine_name}:{dtype}: {error:.2e} mm from the reference")


def test_photos_with_and_without_a_known_lens_are_fitted_as_alone(engine_name: str) -> None:
    """Bit for bit: the focal length is an unknown of one of the two, and held in the other."""
    fitter = Fitter(toy_model(), engine_name, replace(CONFIG, levels=1, size=48, iterations=4))
    photo, points = synthetic_photo()
    lens = np.array([[200.0, 0.0, 60.0], [0.0, 200.0, 66.0], [0.0, 0.0, 1.0]])
    both = [fitter.prepare(photo, points, intrinsics=matrix) for matrix in (lens, None)]
    together, alone = fitter.solve(both), [fitter.solve([one])[0] for one in both]
    assert [one.camera_source for one in together] == ["intrinsics", "estimated"]
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(one.face.pack(fitter.layout), other.face.pack(fitter.layout))
        assert one.cost == other.cost
        assert np.array_equal(one.hessian, other.hessian)
        assert [record.gain for record in one.history] == [record.gain for record in other.history]
    focal = fitter.layout.inverse_focal
    assert not together[0].hessian[focal].any()
    assert together[1].hessian[focal, focal] > 0
