"""Light that the face keeps off itself, and pixels that count for less: every engine, against the reference and against
finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from derivative_checks import (
    assert_gradient_is_a_difference,
    assert_normal_equations_are_the_rows,
    assert_rows_are_differences,
)
from problems import Run, run, shadowed_model, toy_chi, weighted_problem
from tolerances import SAME, TOLERANCE, assert_agrees

from faceinv.engine.records import SHADED, DType, EngineSettings, Normals
from faceinv.engine.registry import build_engine
from faceinv.face.lighting import ambient, pack_lighting, sh_basis
from faceinv.face.self_shadow import shadows

BOTH = np.ones(2, np.bool_)


@pytest.fixture
def shadowed(engine_name: str, dtype: DType, normals: Normals) -> Run:
    """The weighted problem on a face with shadows, on the engine under test."""
    return run(f"{engine_name}:{dtype}", normals, shadowed=True)


@pytest.fixture
def wanted(normals: Normals) -> Run:
    """The same on the reference engine."""
    return run("numpy:float64", normals, shadowed=True)


def test_shadows_are_those_of_the_corners(shadowed: Run, wanted: Run) -> None:
    model, visibility = shadowed_model(), wanted.visibility
    for item, rotation in enumerate(wanted.geometry.camera.rotation):
        corners = shadows(model.occlusion, rotation)[model.triangles[visibility.triangle[item]]]  # type: ignore[arg-type]
        mixed = np.einsum("hwk,hwkd->hwd", visibility.barycentric[item], corners)
        assert_agrees(shadowed.host(shadowed.pixels.needed("shadow"))[item], mixed, SAME, "shadow")


def test_radiance_loses_what_the_shadow_takes(shadowed: Run, wanted: Run) -> None:
    pixels = wanted.pixels
    lit = sh_basis(pixels.needed("normal")) - pixels.needed("shadow")
    light = wanted.engine.renderer.layout.gamma(wanted.chi)
    expected = pixels.needed("albedo") * np.einsum("bhwk,bkc->bhwc", lit, light)
    assert_agrees(shadowed.radiance, expected * (pixels.triangle >= 0)[..., None], SAME, "radiance")


def test_shading_says_that_it_lacks_shadows(shadowed: Run) -> None:
    with pytest.raises(ValueError, match="not shadow; name 'shadow'"):
        shadowed.engine.renderer.shade(
            replace(shadowed.pixels, shadow=None), shadowed.engine.renderer.layout.gamma(shadowed.chi)
        )


def test_cost_gradient_and_hessian(shadowed: Run, wanted: Run, dtype: DType) -> None:
    ours, theirs = shadowed.linearization, wanted.linearization
    assert_agrees(ours.cost.total, theirs.cost.total, SAME, "cost")
    assert_agrees(
        shadowed.differentiator.cost(shadowed.chi, shadowed.frozen, BOTH).total, ours.cost.total, SAME, "cost alone"
    )
    assert_agrees(shadowed.host(ours.gradient), wanted.host(theirs.gradient), TOLERANCE[dtype], "g")
    hessian = shadowed.host(ours.hessian)
    assert_agrees(hessian, wanted.host(theirs.hessian), TOLERANCE[dtype], "H")
    assert np.array_equal(hessian, hessian.transpose(0, 2, 1))


def test_even_light(shadowed: Run, wanted: Run, dtype: DType) -> None:
    """As fits start with: no shadow but the ambient one, which does not turn with the head."""
    layout, made = shadowed.engine.renderer.layout, []
    chi = shadowed.chi.copy()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8))
    for each in (shadowed, wanted):
        at = each.differentiator.linearize(chi, each.frozen, BOTH)
        made.append((each.host(at.gradient), each.host(at.hessian)))
    for name, ours, theirs in zip(("g", "H"), *made, strict=True):
        assert_agrees(ours, theirs, TOLERANCE[dtype], name)


@pytest.mark.parametrize("item", [0, 1])
def test_residuals_and_jacobian(shadowed: Run, wanted: Run, dtype: DType, item: int) -> None:
    got = shadowed.differentiator.residual_jacobian(shadowed.chi, shadowed.frozen, item)
    want = wanted.differentiator.residual_jacobian(wanted.chi, wanted.frozen, item)
    for name, ours, theirs in zip(("residual", "J", "weight"), got, want, strict=True):
        assert_agrees(ours, theirs, TOLERANCE[dtype], name)


def test_hessian_is_that_of_the_rows(shadowed: Run, dtype: DType) -> None:
    assert_normal_equations_are_the_rows(shadowed, dtype)


def test_finite_differences(engine_name: str, normals: Normals) -> None:
    """Central differences of the residuals with visibility frozen, against J: the shadow slides and turns."""
    assert_rows_are_differences(run(f"{engine_name}:float64", normals, 1, shadowed=True))


def test_gradient_by_finite_differences(engine_name: str, normals: Normals) -> None:
    """Half the derivative of the cost, weights of pixels and Huber included, is g."""
    assert_gradient_is_a_difference(run(f"{engine_name}:float64", normals, 1, shadowed=True))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways_to_the_normal_equations_agree(normals: Normals, dtype: DType) -> None:
    made = []
    for assembly in ("rows", "vertices"):
        settings = EngineSettings(dtype=dtype, normals=normals, assembly=assembly)
        bound = build_engine(f"numpy:{dtype}", shadowed_model(), settings).differentiator(weighted_problem(2))
        chi = toy_chi(2)
        made.append(bound.linearize(chi, bound.freeze(chi), BOTH))
    assert_agrees(made[1].hessian, made[0].hessian, TOLERANCE[dtype], "H")
    assert_agrees(made[1].gradient, made[0].gradient, TOLERANCE[dtype], "g")


def test_a_pixel_of_weight_zero_says_nothing(engine_name: str) -> None:
    problem = weighted_problem(2)
    other = np.where(problem.weights[..., None] > 0, problem.image, 0.9).astype(np.float32)
    chi, results = toy_chi(2), []
    for image in (problem.image, other):
        bound = build_engine(engine_name, shadowed_model()).differentiator(replace(problem, image=image))
        made = bound.linearize(chi, bound.freeze(chi), BOTH)
        results.append((made.cost.total, bound.renderer.to_host(made.hessian)))
    assert (other != problem.image).any()
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], results[1][1])


def test_models_without_occlusion_have_no_shadow(engine_name: str, normals: Normals) -> None:
    plain = run(engine_name, normals)
    assert plain.pixels.shadow is None
    some = plain.engine.renderer.interpolate(plain.geometry, plain.visibility, SHADED)
    assert np.array_equal(plain.host(some.needed("albedo")), plain.host(plain.pixels.needed("albedo")))
