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
    # So few pixels of H would let the rounding of float32 grow.
    sample = 28 if dtype == "float64" else 56
    config = FitConfig(size=56, levels=2, iterations=6, coarse_iterations=4, normals=normals, hessian_size=sample)
    photo = resources.files("faceinv").joinpath("data", "sample.jpg")
    results = [faceinv.fit(str(photo), backend=f"{name}:{dtype}", config=config) for name in ("cuda-on-cpu:3", "numpy")]
    vertices = [result.vertices for result in results]
    rms = float(np.sqrt(np.mean(np.sum((vertices[0] - vertices[1]) ** 2, axis=1))))
    assert rms <= FIT_RMS_MM[dtype].bound, f"vertices are {rms:.4f} mm apart; allowed {FIT_RMS_MM[dtype].bound}"
