"""Photometric derivatives of the default face in poses up to profile: finite differences, H and g, cost alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small import few_modes, posed, some_problem

from faceinv.engine.evaluation import radiance
from faceinv.engine.host_terms import HostTerms
from faceinv.engine.interface import AbstractDifferentiator, Engine
from faceinv.engine.records import Assembly, DType, EngineSettings, Normals
from faceinv.engine.registry import build_engine
from faceinv.face.layout import ParameterLayout

SIZE = 96
ALL = np.ones(1, np.bool_)
LAYOUT = ParameterLayout(6, 5, 3)
BLOCKS = {
    "identity": LAYOUT.identity,
    "expression": LAYOUT.expression,
    "albedo": LAYOUT.albedo,
    "scale": slice(LAYOUT.pose.start, LAYOUT.pose.start + 1),
    "rotation": LAYOUT.rotation,
    "translation": slice(LAYOUT.pose.start + 4, LAYOUT.pose.start + 6),
    "focal length": slice(LAYOUT.inverse_focal, LAYOUT.inverse_focal + 1),
    "lighting": LAYOUT.lighting,
}
PROFILE = (0.1, -np.pi / 2, 0.2)


@cache
def engine(normals: Normals, dtype: DType = "float64", assembly: Assembly = "auto") -> Engine:
    return build_engine(f"numpy:{dtype}", few_modes(), EngineSettings(normals=normals, assembly=assembly))


def bound(normals: Normals, huber_delta: float = 0.1, **how: Any) -> AbstractDifferentiator:
    return engine(normals, **how).differentiator(some_problem(SIZE, huber_delta=huber_delta))


def difference(d: AbstractDifferentiator, chi: NDArray[np.float64], direction: NDArray[np.float64]) -> np.ndarray:
    """Along a tangent direction with the visibility of chi, correct to the fourth order of the step."""
    frozen, h = d.freeze(chi), 2e-5

    def residual(length: float) -> NDArray[np.float64]:
        return d.residual_jacobian(LAYOUT.retract(chi, length * direction), frozen, 0).residual

    return (8 * (residual(h) - residual(-h)) - (residual(2 * h) - residual(-2 * h))) / (12 * h)


@given(
    pitch=st.floats(-0.5, 0.5),
    yaw=st.floats(-1.5, 1.5),
    roll=st.floats(-3, 3),
    seed=st.integers(0, 99),
    normals=st.sampled_from(["smooth", "flat"]),
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_every_block_is_its_finite_difference(
    pitch: float, yaw: float, roll: float, seed: int, normals: Normals
) -> None:
    check(normals, posed(SIZE, pitch, yaw, roll, seed)[None], seed)


@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_every_block_at_a_full_profile(normals: Normals) -> None:
    check(normals, posed(SIZE, *PROFILE)[None], 3)


def check(normals: Normals, chi: NDArray[np.float64], seed: int) -> None:
    d = bound(normals)
    jacobian = d.residual_jacobian(chi, d.freeze(chi), 0).jacobian
    rng = np.random.default_rng(seed)
    for name, block in BLOCKS.items():
        direction = np.zeros_like(chi)
        direction[0, block] = rng.normal(size=direction[0, block].shape)
        direction[0, LAYOUT.principal_point] = 0.0  # held always
        direction[0, LAYOUT.inverse_focal] *= 0.01  # 1/px
        wanted = jacobian @ direction[0]
        assert np.abs(wanted).max() > 0, name
        # Each pixel by itself: relative to its own size, but for those that hardly change.
        error = np.abs(difference(d, chi, direction) - wanted)
        scale = np.abs(wanted) + 0.05 * np.abs(wanted).max()
        assert (error / scale).max() < 1e-4, f"{name}: {(error / scale).max():.2e}"


@pytest.mark.parametrize("normals", ["smooth", "flat"])
@pytest.mark.parametrize("assembly", ["rows", "vertices"])
@pytest.mark.parametrize("pose", [(0.2, 0.9, -0.4), PROFILE])
def test_linearize_is_all_rows_of_all_terms(
    normals: Normals, assembly: Assembly, pose: tuple[float, float, float]
) -> None:
    d, chi = bound(normals, assembly=assembly), posed(SIZE, *pose)[None]
    frozen = d.freeze(chi)
    found = d.linearize(chi, frozen, ALL)
    residual, jacobian, weight = d.residual_jacobian(chi, frozen, 0)
    (landmarks, prior), gradient, hessian = HostTerms(few_modes()).linearize(
        chi, frozen.points, d.problem, np.array([0])
    )
    gradient = gradient + jacobian.T @ (weight * residual)
    hessian = hessian + jacobian.T @ (weight[:, None] * jacobian)
    assert np.abs(found.gradient[0] - gradient).max() < 1e-10 * np.abs(gradient).max()
    assert np.abs(found.hessian[0] - hessian).max() < 1e-10 * np.abs(hessian).max()
    assert found.cost.terms["landmarks"][0] == pytest.approx(landmarks, rel=1e-12)
    assert found.cost.terms["prior"][0] == pytest.approx(prior, rel=1e-12)
    assert found.rows[0] == len(residual) == 3 * frozen.pixels[0] > 3000


@given(
    pitch=st.floats(-0.5, 0.5), yaw=st.floats(-1.6, 1.6), seed=st.integers(0, 99), delta=st.sampled_from([0.05, 1e9])
)
@settings(max_examples=8, deadline=None, derandomize=True)
def test_cost_alone_is_the_linearizations_and_the_documented_sum(
    pitch: float, yaw: float, seed: int, delta: float
) -> None:
    d, chi = bound("smooth", delta), posed(SIZE, pitch, yaw, 0.0, seed)[None]
    frozen = d.freeze(chi)
    step = np.random.default_rng(seed).normal(0, 1e-3, chi.shape)
    step[:, LAYOUT.inverse_focal] *= 0.1
    trial = LAYOUT.retract(chi, step)
    for x in (chi, trial):
        found = d.linearize(x, frozen, ALL).cost
        alone = d.cost(x, frozen, ALL)
        assert alone.terms["photometric"] == pytest.approx(found.terms["photometric"], rel=1e-12)
        assert alone.terms["landmarks"] == found.terms["landmarks"]
        assert alone.terms["prior"] == found.terms["prior"]
        residual = d.residual_jacobian(x, frozen, 0).residual
        unit = np.sqrt(d.problem.energy.photometric / frozen.pixels[0])
        size = np.abs(residual / unit)
        wanted = np.where(size <= delta, size**2, delta * (2 * size - delta)).sum() * unit**2
        assert alone.terms["photometric"][0] == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_residuals_are_the_render_minus_the_photo(normals: Normals) -> None:
    d, chi = bound(normals), posed(SIZE, 0.1, 0.6)[None]
    frozen = d.freeze(chi)
    assert frozen.visibility is not None
    renderer = d.renderer
    image = radiance(renderer, renderer.geometry(chi), frozen.visibility, chi)[0]
    residual = d.residual_jacobian(chi, frozen, 0).residual.reshape(-1, 3)
    unit = np.sqrt(d.problem.energy.photometric / frozen.pixels[0])
    triangle = renderer.to_host(frozen.visibility.triangle)[0]
    shown = (triangle >= 0) & few_modes().face_mask[triangle]
    # Edge-on triangles are left out; the rest come row by row.
    every = (image - d.problem.image[0])[shown] * unit
    kept = [k for k in range(len(every)) if (np.abs(residual - every[k]).max(axis=1) < 1e-9).any()]
    assert len(kept) >= len(residual) > 0.99 * len(every)
    assert residual == pytest.approx(every[kept], abs=1e-9)


def test_only_the_face_and_the_mask_are_compared() -> None:
    problem = some_problem(SIZE)
    problem.mask[0, :, : SIZE // 2] = False
    d, chi = engine("smooth").differentiator(problem), posed(SIZE)[None]
    frozen = d.freeze(chi)
    assert frozen.visibility is not None
    triangle = d.renderer.to_host(frozen.visibility.triangle)[0]
    allowed = (triangle >= 0) & few_modes().face_mask[triangle] & problem.mask[0]
    assert 0.98 * allowed.sum() < frozen.pixels[0] <= allowed.sum()
    other = replace(problem, image=np.where(allowed[..., None], problem.image, np.float32(7.0)).astype(np.float32))
    again = engine("smooth").differentiator(other)
    assert np.array_equal(again.cost(chi, frozen, ALL).total, d.cost(chi, frozen, ALL).total)


@pytest.mark.parametrize("assembly", ["rows", "vertices"])
def test_single_precision_rows_agree_with_double(assembly: Assembly) -> None:
    chi = posed(SIZE, 0.1, 0.5, 0.1)[None]
    found = []
    for dtype in ("float32", "float64"):
        d = bound("smooth", dtype=dtype, assembly=assembly)
        found.append(d.linearize(chi, d.freeze(chi), ALL))
    assert found[0].cost.total == pytest.approx(found[1].cost.total, rel=1e-10)
    for part in ("gradient", "hessian"):
        single, double = (np.asarray(getattr(f, part)) for f in found)
        assert np.abs(single - double).max() < 1e-5 * np.abs(double).max()
