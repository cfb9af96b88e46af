"""The paper's setting on the Basel layout: pixels and colours from 0 to 255, flat normals, albedo in sRGB values."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest
from toy_head import write_basel

from faceinv.engine.evaluation import radiance
from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.formats import load_model
from faceinv.face.formats.basel2009 import ALBEDO_DEFAULT, IDENTITY_DEFAULT
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.face.model import MorphableModel
from faceinv.fitting.config import FitConfig
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.result import FitResult
from faceinv.photo.color import srgb_to_linear

SIZE = 160
CONFIG = replace(FitConfig.paper(pixel_units=True), size=96, levels=2, iterations=15)


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture of a known face."""

    model: MorphableModel
    photo: np.ndarray
    """(H, W, 3) sRGB values."""
    landmarks: np.ndarray
    """(68, 2) px."""
    chi: np.ndarray
    """(P,)."""


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    model = load_model(write_basel(tmp_path_factory.mktemp("basel")).folder)
    layout, random = ParameterLayout.of(model), np.random.default_rng(2)
    chi = np.zeros((1, layout.count))
    chi[:, layout.shape] = random.normal(0, 0.15, layout.shape_count)
    chi[:, layout.albedo] = random.normal(0, 0.15, layout.albedo_count)
    turn = rotation_from_euler(0.05, 0.1, -0.04)
    chi[:, layout.pose] = Camera(0.75, turn, np.full(2, SIZE / 2)).pack()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8) + random.normal(0, 0.1, (9, 3)))
    renderer = build_engine("numpy:float64", model, EngineSettings(normals="flat")).renderer
    geometry = renderer.geometry(chi)
    colours = radiance(renderer, geometry, renderer.rasterize(geometry, (SIZE, SIZE)), chi)[0]
    points = model.landmarks(renderer.to_host(geometry.image_xy)[0])
    return Scene(model, np.clip(colours, 0, 1).astype(np.float32), points, chi[0])


@cache
def fitted(scene: Scene, backend: str) -> FitResult:
    return Fitter(scene.model, backend, CONFIG).fit(scene.photo, scene.landmarks)


def distance(scene: Scene, result: FitResult) -> float:
    """mm RMS over the vertices between a result and the truth."""
    layout = ParameterLayout.of(scene.model)
    true = scene.model.vertices(scene.chi[layout.identity], scene.chi[layout.expression])
    return float(np.sqrt(((result.vertices - true) ** 2).sum(axis=1).mean()))


def test_the_setting() -> None:
    config = FitConfig.paper(pixel_units=True)
    assert config.units == "pixels"
    assert config.normals == "flat"
    assert np.isinf(config.huber_delta)
    layout = ParameterLayout(IDENTITY_DEFAULT, 79, ALBEDO_DEFAULT)
    free = layout.unknowns & ~layout.mask(slice(layout.inverse_focal, layout.inverse_focal + 1))
    assert config.camera == "weak"  # which has no focal length
    assert free.sum() == 312


@pytest.mark.parametrize("backend", ["numpy:float64", "numpy:float32", "torch:float64", "torch:float32"])
def test_a_picture_of_the_model_gives_the_face_back(scene: Scene, backend: str) -> None:
    if backend.startswith("torch") and importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    assert scene.model.albedo_space == "srgb"
    result = fitted(scene, backend)
    layout = ParameterLayout.of(scene.model)
    start = scene.model.vertices(scene.chi[layout.identity], scene.chi[layout.expression]) - scene.model.mean
    assert np.sqrt((start**2).sum(axis=1).mean()) > 3, "there is something to find"
    assert distance(scene, result) < 0.3
    assert np.abs(result.identity - scene.chi[layout.identity]).max() < 0.03
    assert np.abs(result.expression - scene.chi[layout.expression]).max() < 0.03
    assert np.abs(result.albedo_coefficients - scene.chi[layout.albedo]).max() < 0.15
    assert result.landmark_error < 0.002
    assert result.photometric_rmse < 0.03, "in sRGB values from 0 to 1, whatever the units of the fit"
    # Light and albedo share their scale; the light alone shows that colours went back from 0..255 to 0..1.
    assert np.abs(pack_lighting(result.lighting) - scene.chi[layout.lighting]).max() < 0.5
    assert np.isfinite(result.vertices).all()


def test_the_result_draws_the_photo(scene: Scene) -> None:
    drawn = fitted(scene, "numpy:float32").render()
    inside = drawn[..., 3] > 0
    assert inside.mean() > 0.3
    gap = drawn[..., :3][inside] - srgb_to_linear(scene.photo)[inside]
    assert np.median(np.abs(gap)) < 0.02


def test_engines_agree(scene: Scene) -> None:
    pytest.importorskip("torch")
    one, other = fitted(scene, "numpy:float64"), fitted(scene, "torch:float64")
    assert np.abs(one.vertices - other.vertices).max() < 1e-3
    assert len(one.history) == len(other.history)
