"""Whole fits of the sample photo: the same face as on the reference engine."""

from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from tolerances import FIT_RMS_MM

import faceinv
from faceinv.engine.records import DType, Normals
from faceinv.fitting.config import FitConfig


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_small_fit(compiler: None, dtype: DType, normals: Normals) -> None:
    # A fixed number of steps, and few: rounding of float32 grows with them, as pixels come and go at edges.
    config = FitConfig(size=56, levels=2, iterations=2, coarse_iterations=4, cost_tolerance=0.0, normals=normals)
    photo = resources.files("faceinv").joinpath("data", "sample.jpg")
    results = [faceinv.fit(str(photo), backend=f"{name}:{dtype}", config=config) for name in ("cuda-on-cpu:3", "numpy")]
    vertices = [result.vertices for result in results]
    rms = float(np.sqrt(np.mean(np.sum((vertices[0] - vertices[1]) ** 2, axis=1))))
    assert rms <= FIT_RMS_MM[dtype].bound, f"vertices are {rms:.4f} mm apart; allowed {FIT_RMS_MM[dtype].bound}"
