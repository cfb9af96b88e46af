"""The script that writes a full-size stand-in for Basel 2009, at a smaller size."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from toy_head import toy

from faceinv.face.formats import load_model
from faceinv.face.formats._mesh import winding_conflicts


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "make_basel_standin.py"
    spec = importlib.util.spec_from_file_location("make_basel_standin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_refining_reaches_the_counts_and_keeps_the_surface(script: ModuleType) -> None:
    head = toy()
    rim = 2 * len(head.mean) - len(head.triangles)
    count, faces = 2500, 2 * 2500 - rim - 20
    take, triangles = script.refine(head.mean, head.triangles, count, faces)
    assert take.shape == (count, len(head.mean))
    assert triangles.shape == (faces, 3)
    assert winding_conflicts(triangles) == 0
    fine = take @ head.mean
    assert np.array_equal(fine[: len(head.mean)], head.mean)

    def area(vertices: np.ndarray, corners: np.ndarray) -> float:
        a, b, c = (vertices[corners[:, k]] for k in range(3))
        return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)

    assert area(fine, triangles) == pytest.approx(area(head.mean, head.triangles), rel=1e-9)


def test_counts_out_of_reach_are_refused(script: ModuleType) -> None:
    with pytest.raises(ValueError, match="cannot be reached"):
        script.refine(toy().mean, toy().triangles, 1000, 1900)


def test_it_loads_as_the_default_face(script: ModuleType, tmp_path: Path) -> None:
    count = 12_000
    script.write_standin(tmp_path, count, 2 * count - 590, identity=63, expression=54, albedo=10)
    model, default = load_model(tmp_path), load_model("default")
    assert (model.vertex_count, len(model.triangles)) == (count, 2 * count - 590)
    assert (model.identity_count, model.expression_count, model.albedo_count) == (63, 54, 10)
    away = np.linalg.norm(model.landmarks(model.mean) - default.landmarks(default.mean), axis=1)
    assert away.max() < 12, "the mean expression, and the nearest vertex"
    assert np.median(away) < 3
    outward = np.linalg.norm(model.identity_basis, axis=(0, 1))
    assert (np.diff(outward[:60]) <= 1e-3).all(), "principal components"
