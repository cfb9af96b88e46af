"""Surfaces and colours agree with the reference engine."""

from __future__ import annotations

import numpy as np
import pytest
from problems import SIZE, Run, toy_chi, toy_model
from tolerances import SAME, assert_agrees

from faceinv.engine.evaluation import radiance
from faceinv.engine.records import EngineSettings, Normals
from faceinv.engine.registry import build_engine
from faceinv.face.layout import ParameterLayout


@pytest.mark.parametrize("field", ["vertices", "normals", "albedo", "image_xy", "depth"])
def test_geometry(found: Run, reference: Run, field: str) -> None:
    array = found.host(getattr(found.geometry, field))
    assert array.dtype == np.float64
    if field == "normals":
        # Float32 bases are the same numbers in float64, so nothing but the order of sums differs.
        assert np.abs(np.linalg.norm(array, axis=-1) - 1).max() < 1e-12
    assert_agrees(array, getattr(reference.geometry, field), SAME, field)


def test_projection_is_the_cameras(engine_name: str) -> None:
    chi = toy_chi(1)
    layout = ParameterLayout.of(toy_model())
    renderer = build_engine(engine_name, toy_model()).renderer
    geometry = renderer.geometry(chi)
    camera = layout.cameras(chi[0])
    vertices = toy_model().vertices(chi[0, layout.identity], chi[0, layout.expression])
    projected = camera.project(vertices)
    assert_agrees(renderer.to_host(geometry.vertices)[0], vertices, SAME, "vertices")
    assert_agrees(renderer.to_host(geometry.image_xy)[0], projected[:, :2], SAME, "image_xy")
    assert_agrees(renderer.to_host(geometry.depth)[0], projected[:, 2], SAME, "depth")


def test_shading(found: Run, reference: Run) -> None:
    got = found.radiance
    want = reference.radiance
    assert got.shape == (2, *SIZE, 3)
    assert got.dtype == np.float64
    assert_agrees(got, want, SAME, "radiance")
    assert not got[reference.visibility.triangle < 0].any()


def test_models_without_some_modes(engine_name: str, normals: Normals) -> None:
    """A model may have no expression or no albedo modes at all."""
    for counts in ((0, 0, 4), (6, 0, 0)):
        model = toy_model().truncated(*counts)
        chi = toy_chi(1, model)
        images = []
        for backend in (engine_name, "numpy"):
            renderer = build_engine(backend, model, EngineSettings(normals=normals)).renderer
            geometry = renderer.geometry(chi)
            images.append(radiance(renderer, geometry, renderer.rasterize(geometry, SIZE), chi))
        assert_agrees(images[0], images[1], SAME, f"radiance with {counts} modes")
