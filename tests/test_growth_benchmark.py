"""Benchmarks of growth and of a fit's stages: the models they make, and how they count."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from problems import toy_model

_BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def growth() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_BENCHMARKS)
        return importlib.import_module("growth")


@pytest.fixture(scope="module")
def fit_profile() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(_BENCHMARKS)
        return importlib.import_module("fit_profile")


def area(vertices: np.ndarray[Any, Any], triangles: np.ndarray[Any, Any]) -> float:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def test_more_vertices_are_the_same_surface(growth: ModuleType) -> None:
    model = toy_model()
    finer = growth.with_vertices(model, 2)
    assert finer.vertex_count == 2 * model.vertex_count
    coefficients = np.full(model.identity_count, 0.7), np.full(model.expression_count, -0.4)
    old, new = model.vertices(*coefficients), finer.vertices(*coefficients)
    assert np.allclose(new[: len(old)], old, atol=1e-4)
    assert area(new, finer.triangles) == pytest.approx(area(old, model.triangles), rel=1e-5)
    masked = area(old, model.triangles[model.face_mask])
    assert area(new, finer.triangles[finer.face_mask]) == pytest.approx(masked, rel=1e-5)
    for row, band in zip(finer.jaw_band, model.jaw_band, strict=True):
        kept, known = finer.triangles[row[row >= 0]], model.triangles[band[band >= 0]]
        assert area(new, kept) == pytest.approx(area(old, known), rel=1e-5)


def test_twice_the_modes_are_the_same_statistics(growth: ModuleType) -> None:
    model = toy_model()
    wider = growth.with_modes(model, 2)
    for name in ("identity_basis", "expression_basis", "albedo_basis"):
        old, new = (getattr(each, name).reshape(3 * each.vertex_count, -1)[:60] for each in (model, wider))
        assert new.shape[1] == 2 * old.shape[1]
        assert np.allclose(new @ new.T, old @ old.T, atol=1e-4)
    assert growth.with_modes(model, 0.5).identity_count == round(model.identity_count / 2)


def test_exponents_are_slopes_in_logarithms(growth: ModuleType) -> None:
    rows = [{"size": size, "cpu_s": 3e-4 * size**1.5} for size in (56, 112, 448)]
    found = growth.exponents(rows, "size", "cpu_s")
    assert found["exponent"] == pytest.approx(1.5)
    assert found["at the end"] == pytest.approx(1.5)
    assert (found["from"], found["to"]) == (56, 448)


def test_a_function_s_time_is_its_own(fit_profile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Less that of what it calls, and stages add up to all that passed."""
    now = 0.0

    def passes(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(fit_profile, "_clock", lambda: (now, 2 * now))
    profile = fit_profile.Profile()
    inner = profile._watched(lambda: passes(3.0), "inner")

    def calls() -> None:
        passes(1.0)
        inner()
        inner()

    outer = profile._watched(calls, "outer")
    profile.start()
    outer()
    passes(0.5)
    profile.end_stage("first")
    inner()
    profile.end_stage("second")
    assert profile.seconds["first"]["outer"] == [1.0, 2.0, 1.0]
    assert profile.seconds["first"]["inner"] == [6.0, 12.0, 2.0]
    assert profile.seconds["first"][fit_profile.REST][:2] == [0.5, 1.0]
    assert profile.seconds["second"]["inner"][0] == 3.0
    assert profile.total == 10.5
