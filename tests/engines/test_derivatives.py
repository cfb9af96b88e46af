"""Residuals, J, g, H and costs agree with the reference engine, with each other, and with finite differences."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from derivative_checks import (
    assert_gradient_is_a_difference,
    assert_normal_equations_are_the_rows,
    assert_rows_are_differences,
)
from problems import DISTANCE, Run, run, toy_chi, toy_model, toy_problem
from tolerances import SAME, TOLERANCE, assert_agrees

from faceinv.engine.records import DType, Normals, hessian_lattice
from faceinv.engine.registry import build_engine

BOTH = np.ones(2, np.bool_)


def test_costs(found: Run, reference: Run) -> None:
    ours, theirs = found.linearization.cost, reference.linearization.cost
    assert list(ours.terms) == ["photometric", "landmarks", "prior"]
    for got, want in ((ours.total, theirs.total), *((ours.terms[name], theirs.terms[name]) for name in ours.terms)):
        assert got.dtype == np.float64
        assert_agrees(got, want, SAME, "cost")
    assert np.array_equal(found.linearization.rows, reference.linearization.rows)


def test_cost_alone_equals_the_linearizations(found: Run) -> None:
    alone = found.differentiator.cost(found.chi, found.frozen, BOTH)
    assert_agrees(alone.total, found.linearization.cost.total, SAME, "cost")


def test_gradient(found: Run, reference: Run, dtype: DType) -> None:
    assert_agrees(
        found.host(found.linearization.gradient), found.host(reference.linearization.gradient), TOLERANCE[dtype], "g"
    )


def test_hessian(found: Run, reference: Run, dtype: DType) -> None:
    hessian = found.host(found.linearization.hessian)
    assert hessian.dtype == np.float64
    assert np.array_equal(hessian, hessian.transpose(0, 2, 1))
    assert_agrees(hessian, reference.host(reference.linearization.hessian), TOLERANCE[dtype], "H")


@pytest.mark.parametrize("item", [0, 1])
def test_residuals_and_jacobian(found: Run, reference: Run, dtype: DType, item: int) -> None:
    got = found.differentiator.residual_jacobian(found.chi, found.frozen, item)
    want = reference.differentiator.residual_jacobian(reference.chi, reference.frozen, item)
    assert_agrees(got.residual, want.residual, TOLERANCE[dtype], "residual")
    assert_agrees(got.weight, want.weight, TOLERANCE[dtype], "weight")
    assert_agrees(got.jacobian, want.jacobian, TOLERANCE[dtype], "J")
    assert 0.05 < np.mean(got.weight < 1) < 0.95, "the problem should exercise Huber's weights"
    layout = found.engine.renderer.layout
    for name in ("identity", "expression", "albedo", "pose", "lighting"):
        columns = getattr(layout, name)
        assert_agrees(got.jacobian[:, columns], want.jacobian[:, columns], TOLERANCE[dtype], f"J, {name}")


def test_chosen_rows(found: Run) -> None:
    rows = np.array([7, 0, 100, 101])
    every = found.differentiator.residual_jacobian(found.chi, found.frozen, 0)
    some = found.differentiator.residual_jacobian(found.chi, found.frozen, 0, rows)
    for part in range(3):
        assert np.array_equal(some[part], every[part][rows])


def test_photometric_part_is_the_rows(found: Run, dtype: DType) -> None:
    """H and g without landmarks and priors are J^T W J and J^T W r."""
    assert_normal_equations_are_the_rows(found, dtype)


def test_landmark_points_are_those_of_the_reference(engine_name: str, dtype: DType, normals: Normals) -> None:
    """Jaw marks on the occluding contour, and on the jaw's edge; inner ones fixed."""
    ways = [run(f"{name}:{dtype}", normals).frozen.points for name in (engine_name, "numpy")]
    edge = ways[1].weights[:, :17, 3:].any(axis=2)
    assert 0 < edge.sum() < edge.size, "the problem has jaw marks of one kind only"
    dense = np.zeros((2, 2, 68, toy_model().vertex_count))
    for points, out in zip(ways, dense, strict=True):
        for item, mark, corner in np.ndindex(points.vertices.shape):
            out[item, mark, points.vertices[item, mark, corner]] += points.weights[item, mark, corner]
    assert_agrees(dense[0], dense[1], TOLERANCE[dtype], "weights")
    # An outline's normal has no sign.
    squares = [np.einsum("blij,blik->bljk", points.metric, points.metric) for points in ways]
    assert_agrees(squares[0], squares[1], TOLERANCE[dtype], "metric")


def test_items_do_not_mix(found: Run, engine_name: str, dtype: DType, normals: Normals) -> None:
    """A batch gives what its items give alone, and held items are left at zero."""
    alone = run(f"{engine_name}:{dtype}", normals, 1)
    for part in ("gradient", "hessian"):
        batch_of_two = found.host(getattr(found.linearization, part))
        assert np.array_equal(batch_of_two[0], found.host(getattr(alone.linearization, part))[0])
    held = found.differentiator.linearize(found.chi, found.frozen, np.array([False, True]))
    assert not found.host(held.gradient)[0].any()
    assert not found.host(held.hessian)[0].any()
    assert held.cost.total[0] == 0
    assert np.array_equal(found.host(held.gradient)[1], found.host(found.linearization.gradient)[1])
    assert found.differentiator.cost(found.chi, found.frozen, np.array([True, False])).total[1] == 0


def test_same_bits_twice(found: Run) -> None:
    again = found.differentiator.linearize(found.chi, found.differentiator.freeze(found.chi), BOTH)
    assert np.array_equal(found.host(again.gradient), found.host(found.linearization.gradient))
    assert np.array_equal(found.host(again.hessian), found.host(found.linearization.hessian))
    assert np.array_equal(again.cost.total, found.linearization.cost.total)


def test_plain_squares(engine_name: str) -> None:
    problem = toy_problem(1)
    problem = replace(problem, energy=replace(problem.energy, huber_delta=float("inf")))
    chi, costs = toy_chi(1), []
    for backend in (engine_name, "numpy"):
        differentiator = build_engine(backend, toy_model()).differentiator(problem)
        frozen = differentiator.freeze(chi)
        costs.append(differentiator.linearize(chi, frozen, BOTH[:1]).cost.terms["photometric"])
        residual, _, weight = differentiator.residual_jacobian(chi, frozen, 0)
        assert (weight == 1).all()
        assert_agrees([residual @ residual], costs[-1], TOLERANCE["float32"], "sum of squares")
    assert_agrees(costs[0], costs[1], SAME, "cost")


def test_no_face_pixels(engine_name: str) -> None:
    """With everything masked, landmarks and priors remain."""
    problem = toy_problem(2)
    mask = problem.mask.copy()
    mask[0] = False
    chi = toy_chi(2)
    differentiator = build_engine(engine_name, toy_model()).differentiator(replace(problem, mask=mask))
    frozen = differentiator.freeze(chi)
    linearized = differentiator.linearize(chi, frozen, BOTH)
    assert frozen.pixels[0] == 0 < frozen.pixels[1]
    assert linearized.cost.terms["photometric"][0] == 0 < linearized.cost.terms["landmarks"][0]
    assert len(differentiator.residual_jacobian(chi, frozen, 0).residual) == 0


@pytest.mark.parametrize("kappa", [0.0, 1 / DISTANCE])
def test_finite_differences(engine_name: str, normals: Normals, kappa: float) -> None:
    assert_rows_are_differences(run(f"{engine_name}:float64", normals, 1, kappa))


@pytest.mark.parametrize("kappa", [0.0, 1 / DISTANCE])
def test_gradient_by_finite_differences(engine_name: str, normals: Normals, kappa: float) -> None:
    assert_gradient_is_a_difference(run(f"{engine_name}:float64", normals, 1, kappa))


@pytest.mark.parametrize("step", [4, 7])
def test_hessian_is_that_of_the_lattice(step: int, engine_name: str, dtype: DType, normals: Normals) -> None:
    """Cost and g are those of all pixels; H is the product of the rows on the lattice, times the ratio of counts."""
    whole = run(f"{engine_name}:{dtype}", normals, 1)
    problem = replace(whole.differentiator.problem, hessian_step=step)
    energy = replace(problem.energy, identity=0.0, expression=0.0, albedo=0.0, lighting=0.0)
    bare = replace(problem, energy=energy, landmark_sigma=np.full_like(problem.landmark_sigma, np.inf))
    differentiator = whole.engine.differentiator(replace(bare, focal_prior=None))
    frozen = differentiator.freeze(whole.chi)
    made = differentiator.linearize(whole.chi, frozen, BOTH[:1])
    residual, jacobian, weight = differentiator.residual_jacobian(whole.chi, frozen, 0)
    assert_agrees(whole.host(made.gradient)[0], jacobian.T @ (weight * residual), TOLERANCE[dtype], "J^T W r")
    # The pixels row by row, as the rows are.
    listed = run("numpy:float64", normals, 1).frozen.cache[0].seen.pixels
    y, x = np.divmod(np.sort(listed), problem.size[1])
    chosen = np.repeat(hessian_lattice(problem.size, step)[y, x], 3)
    assert 0 < chosen.sum() < len(chosen) == len(residual)
    hessian = jacobian[chosen].T @ (weight[chosen, None] * jacobian[chosen]) * (len(chosen) / chosen.sum())
    assert_agrees(whole.host(made.hessian)[0], hessian, TOLERANCE[dtype], "J^T W J")


def test_what_is_held_does_not_touch_what_is_free(found: Run, dtype: DType) -> None:
    """Where the light alone is free, its parts of g and H, and the cost, are as ever."""
    layout = found.engine.renderer.layout
    light = layout.mask(layout.lighting)
    differentiator = found.engine.differentiator(replace(found.differentiator.problem, hessian_step=4))
    frozen = differentiator.freeze(found.chi)
    made, whole = (differentiator.linearize(found.chi, frozen, BOTH, free) for free in (np.tile(light, (2, 1)), None))
    for part in ("gradient", "hessian"):
        got, want = (found.host(getattr(each, part)) for each in (made, whole))
        chosen = np.ix_(*[np.flatnonzero(light)] * (got.ndim - 1))
        for item in range(2):
            assert_agrees(got[item][chosen], want[item][chosen], TOLERANCE[dtype], part)
    assert np.array_equal(made.cost.total, whole.cost.total)
