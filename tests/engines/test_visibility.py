"""Every engine shows the same triangle at every pixel."""

from __future__ import annotations

import numpy as np
import pytest
from problems import Run, flat_scene, toy_chi
from tolerances import SAME, assert_agrees

from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.model import MorphableModel


def draw(backend: str, model: MorphableModel, chi: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    renderer = build_engine(backend, model, EngineSettings()).renderer
    seen = renderer.rasterize(renderer.geometry(chi), size)
    return renderer.to_host(seen.triangle), renderer.to_host(seen.barycentric)


def test_triangles_and_weights(found: Run, reference: Run) -> None:
    triangle = found.host(found.visibility.triangle)
    assert triangle.dtype == np.int32
    assert np.array_equal(triangle, reference.visibility.triangle)
    weights = found.host(found.visibility.barycentric)
    assert_agrees(weights, reference.visibility.barycentric, SAME, "barycentric")
    assert np.abs(weights[triangle >= 0].sum(axis=-1) - 1).max() < 1e-12
    assert not weights[triangle < 0].any()
    assert np.array_equal(found.frozen.pixels, reference.frozen.pixels)


def test_rasterize_equals_freeze(found: Run) -> None:
    seen = found.engine.renderer.rasterize(found.geometry, found.differentiator.problem.size)
    assert np.array_equal(found.host(seen.triangle), found.host(found.visibility.triangle))


@pytest.mark.parametrize("yaw", [0.0, 0.9, -1.5, 3.0])
def test_default_model(engine_name: str, yaw: float) -> None:
    model = load_model("default", identity=2, expression=2, albedo=1)
    layout = ParameterLayout.of(model)
    chi = toy_chi(1, model, (120, 96))
    chi[:, layout.rotation] = 0.0, yaw, 0.0
    got, want = draw(engine_name, model, chi, (120, 96)), draw("numpy", model, chi, (120, 96))
    assert np.array_equal(got[0], want[0])
    assert_agrees(got[1], want[1], SAME, "barycentric")


SQUARE = [(2.0, 2.0, 0.0), (10.0, 2.0, 0.0), (10.0, 10.0, 0.0), (2.0, 10.0, 0.0)]
SCENES = {
    # Corners on pixel centres: the top-left rule gives each pixel to one triangle, none to both, none to neither.
    "shared edge": (SQUARE, [(0, 1, 2), (0, 2, 3)]),
    # The same surface twice: the lowest triangle wins.
    "tie": (SQUARE, [(0, 1, 2), (0, 2, 3), (0, 1, 2), (0, 2, 3)]),
    "back face": (SQUARE, [(0, 2, 1), (0, 2, 3)]),
    "nothing": (SQUARE, [(0, 2, 1)]),
    "outside": ([(-50.0, -50.0, 0.0), (-40.0, -50.0, 0.0), (-40.0, -40.0, 0.0)], [(0, 1, 2)]),
    "no area": ([(2.0, 2.0, 0.0), (8.0, 8.0, 0.0), (5.0, 5.0, 0.0)], [(0, 1, 2)]),
    # Seen almost from the side: an area after snapping only.
    "edge-on": ([(3.0, 2.0, 0.0), (3.002, 2.0, 1.0), (3.0, 12.0, 0.0), (5.0, 2.0, 0.0)], [(0, 1, 2), (0, 3, 2)]),
    "larger than the image": ([(-900.0, -900.0, 1.0), (5000.0, -900.0, 2.0), (-900.0, 5000.0, 3.0)], [(0, 1, 2)]),
    # Beyond what 2^24 can count and beyond 32 bits in the edge functions.
    "far corners": ([(-1.0e6, -1.0e6, 0.0), (1.0e6, -9.0e5, 5.0), (3.0, 1.0e6, 9.0)], [(0, 1, 2)]),
    "beyond the limit": ([*SQUARE, (2.0**21, 2.0, 50.0)], [(0, 4, 3), (0, 1, 2)]),
    "in front": ([*SQUARE, (1.0, 1.0, 5.0), (9.0, 4.0, 5.0), (4.0, 9.0, -5.0)], [(0, 1, 2), (0, 2, 3), (4, 5, 6)]),
}


@pytest.mark.parametrize("scene", SCENES)
def test_scenes(engine_name: str, scene: str) -> None:
    model = flat_scene(*SCENES[scene])
    chi = np.zeros((1, ParameterLayout.of(model).count))
    got, want = draw(engine_name, model, chi, (14, 17)), draw("numpy", model, chi, (14, 17))
    assert np.array_equal(got[0], want[0])
    assert_agrees(got[1], want[1], SAME, "barycentric")
    count = int((got[0] >= 0).sum())
    expected = {
        "shared edge": 64,
        "tie": 64,
        "nothing": 0,
        "outside": 0,
        "no area": 0,
        "larger than the image": 14 * 17,
    }
    assert count == expected.get(scene, count)
    if scene == "tie":
        assert set(np.unique(got[0])) == {-1, 0, 1}


def test_large_image(engine_name: str) -> None:
    """More pairs of triangle and pixel than are worked on at once."""
    model = flat_scene([(-5.0, -5.0, 0.0), (2000.0, -5.0, 9.0), (-5.0, 2000.0, 5.0)], [(0, 1, 2), (0, 1, 2)])
    chi = np.zeros((1, ParameterLayout.of(model).count))
    got, want = draw(engine_name, model, chi, (700, 600)), draw("numpy", model, chi, (700, 600))
    assert np.array_equal(got[0], want[0])
    assert (got[0] == 0).all()


def test_values_that_are_not_finite(engine_name: str) -> None:
    model = flat_scene(SQUARE, [(0, 1, 2), (0, 2, 3)])
    layout = ParameterLayout.of(model)
    chi = np.zeros((1, layout.count))
    chi[0, layout.pose.stop - 2 : layout.pose.stop] = np.nan
    assert (draw(engine_name, model, chi, (14, 17))[0] == -1).all()
