"""Landmark and prior terms: values and derivatives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes, posed, some_problem

from faceinv.engine.host_terms import HostTerms, prior_diagonal
from faceinv.engine.records import Energy, Problem
from faceinv.engine.registry import build_engine
from faceinv.face.layout import ParameterLayout
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.solver import SolverSettings, gauss_newton

SIZE = 96
ONLY = np.array([0])
POSES = [(0.0, 0.0, 0.0), (0.1, 0.7, -0.2), (-0.2, -1.5, 0.3), (0.2, np.pi / 2, 0.0)]


@pytest.fixture
def terms() -> HostTerms:
    return HostTerms(few_modes())


@pytest.fixture
def layout() -> ParameterLayout:
    return ParameterLayout.of(few_modes())


@pytest.fixture
def problem() -> Problem:
    return some_problem(SIZE)


def project(chi: NDArray[np.float64], layout: ParameterLayout, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    return layout.cameras(chi).project(vertices)[:, :2]


def test_priors_are_weighted_sums_of_squares(terms: HostTerms, layout: ParameterLayout, problem: Problem) -> None:
    chi, energy = posed(SIZE), problem.energy
    _, prior = terms.cost(chi[None], terms.points(chi[None], problem), problem, ONLY)
    gamma = layout.gamma(chi)
    wanted = (
        energy.identity * (chi[layout.identity] ** 2).sum() + energy.expression * (chi[layout.expression] ** 2).sum()
    )
    wanted += energy.albedo * (chi[layout.albedo] ** 2).sum() + energy.lighting * (gamma[1:] ** 2).sum()
    assert prior == pytest.approx(wanted)


def test_pose_and_constant_light_have_no_prior(layout: ParameterLayout) -> None:
    diagonal = prior_diagonal(layout, Energy(1, 2, 3, 4, 5, 0.1))
    assert not diagonal[layout.pose].any()
    assert not layout.gamma(diagonal)[0].any()
    assert (layout.gamma(diagonal)[1:] == 5).all()
    assert (diagonal[layout.identity] == 2).all()
    assert (diagonal[layout.expression] == 3).all()
    assert (diagonal[layout.albedo] == 4).all()


def test_inner_landmarks_cost_their_squared_distance_in_standard_deviations(
    terms: HostTerms, layout: ParameterLayout, problem: Problem
) -> None:
    """Offsets in model space included; jaw landmarks, whose distance counts across the outline, are switched off."""
    chi, sigma = posed(SIZE, yaw=0.3), problem.landmark_sigma.copy()
    sigma[:, :17] = np.inf
    vertices = few_modes().vertices(chi[layout.identity], chi[layout.expression])
    marks = few_modes().landmarks(vertices) + problem.landmark_offsets[0]
    gap = (project(chi, layout, marks) - problem.landmarks[0]) / problem.eye_distance[0]
    problem = replace(problem, landmark_sigma=sigma)
    points = terms.points(chi[None], problem)
    wanted = (gap**2 / sigma[0][:, None] ** 2).sum()
    assert terms.cost(chi[None], points, problem, ONLY)[0] == pytest.approx(wanted)


def test_offsets_for_all_photos_are_those_of_each(terms: HostTerms, problem: Problem) -> None:
    chi = np.stack([posed(SIZE), posed(SIZE, yaw=0.4)])
    two = some_problem(SIZE, 2)
    shared = replace(two, landmark_offsets=problem.landmark_offsets)
    each = replace(two, landmark_offsets=np.repeat(problem.landmark_offsets, 2, axis=0))
    points, both = terms.points(chi, shared), np.arange(2)
    found = terms.linearize(chi, points, shared, both)
    for a, b in zip(found[1:], terms.linearize(chi, points, each, both)[1:], strict=True):
        assert np.array_equal(a, b)
    bare = replace(two, landmark_offsets=np.zeros((1, 68, 3)))
    assert (terms.cost(chi, points, bare, both)[0] != found[0][0]).all()


@pytest.mark.parametrize("mark", [4, 30])
def test_a_landmark_with_an_infinite_sigma_does_not_count(terms: HostTerms, problem: Problem, mark: int) -> None:
    chi, sigma = posed(SIZE)[None], problem.landmark_sigma.copy()
    sigma[0, mark] = np.inf
    without = replace(problem, landmark_sigma=sigma)
    moved = replace(without, landmarks=without.landmarks + 5.0 * (np.arange(68) == mark)[:, None])
    costs = [terms.cost(chi, terms.points(chi, p), p, ONLY)[0] for p in (problem, without, moved)]
    assert costs[0] > costs[1]
    assert costs[1] == costs[2]
    assert np.isfinite(terms.linearize(chi, terms.points(chi, without), without, ONLY)[2]).all()


@pytest.mark.parametrize("pose", POSES)
def test_landmark_rows_are_their_finite_differences(
    terms: HostTerms, layout: ParameterLayout, problem: Problem, pose: tuple[float, float, float]
) -> None:
    chi = posed(SIZE, *pose)
    points = terms.points(chi[None], problem)
    _, jacobian = terms.landmark_rows(chi[None], points, problem, ONLY)
    for k in np.flatnonzero(~layout.mask(layout.principal_point)):
        h = 1e-8 if k == layout.inverse_focal else 1e-6
        step = np.zeros((1, layout.count))
        step[0, k] = h
        ahead, behind = (
            terms.landmark_rows(layout.retract(chi[None], sign * step), points, problem, ONLY)[0][0] for sign in (1, -1)
        )
        assert (ahead - behind) / (2 * h) == pytest.approx(jacobian[0, :, k], rel=1e-6, abs=1e-7)
    assert not jacobian[0][:, layout.principal_point].any()


@pytest.mark.parametrize("pose", POSES)
def test_linearize_is_its_rows_plus_the_prior(
    terms: HostTerms, layout: ParameterLayout, problem: Problem, pose: tuple[float, float, float]
) -> None:
    chi = posed(SIZE, *pose)
    points = terms.points(chi[None], problem)
    residual, jacobian = terms.landmark_rows(chi[None], points, problem, ONLY)
    cost, gradient, hessian = terms.linearize(chi[None], points, problem, ONLY)
    diagonal = prior_diagonal(layout, problem.energy)
    assert cost == terms.cost(chi[None], points, problem, ONLY)
    assert cost[0] == pytest.approx(residual[0] @ residual[0])
    assert gradient[0] == pytest.approx(jacobian[0].T @ residual[0] + diagonal * chi)
    assert hessian[0] == pytest.approx(jacobian[0].T @ jacobian[0] + np.diag(diagonal))


def test_what_is_held_costs_no_landmarks_and_changes_no_other_entry(
    terms: HostTerms, layout: ParameterLayout, problem: Problem
) -> None:
    chi = posed(SIZE, 0.1, 0.4)[None]
    points = terms.points(chi, problem)
    cost, gradient, hessian = terms.linearize(chi, points, problem, ONLY)
    for free in (layout.mask(layout.pose), layout.mask(layout.lighting), layout.mask(layout.shape, layout.pose)):
        found = terms.linearize(chi, points, problem, ONLY, free[None])
        assert found[0] == cost
        assert found[1][0, free] == pytest.approx(gradient[0, free], rel=1e-12)
        assert found[2][0][np.ix_(free, free)] == pytest.approx(hessian[0][np.ix_(free, free)], rel=1e-12)
    light_alone = terms.linearize(chi, points, problem, ONLY, layout.mask(layout.lighting)[None])
    assert np.array_equal(light_alone[2][0], np.diag(prior_diagonal(layout, problem.energy)))


def test_what_was_computed_before_changes_no_bit(problem: Problem) -> None:
    """Shapes and outlines are remembered: other poses of a shape, other shapes in a pose, other targets."""
    one, other = posed(SIZE, 0.1, 0.4), posed(SIZE, 0.1, 0.4, seed=1)
    chis = [one, other, posed(SIZE, 0.1, 0.5), one, one]
    moved = replace(problem, landmarks=problem.landmarks + 1.5)
    used = HostTerms(few_modes())
    for chi, asked in zip(chis, [problem, problem, problem, moved, problem], strict=True):
        fresh, chi = HostTerms(few_modes()), chi[None]
        points, wanted = used.points(chi, asked), fresh.points(chi, asked)
        assert np.array_equal(points.metric, wanted.metric)
        assert np.array_equal(points.weights, wanted.weights)
        found = used.linearize(chi, points, asked, ONLY)
        assert np.array_equal(found[1], fresh.linearize(chi, wanted, asked, ONLY)[1])


def test_an_item_of_a_batch_gets_the_bits_it_gets_alone(terms: HostTerms, problem: Problem) -> None:
    chi = np.stack([posed(SIZE, *pose) for pose in POSES])
    rng = np.random.default_rng(3)
    batch = replace(
        problem,
        landmarks=problem.landmarks + rng.normal(size=(len(POSES), 68, 2)),
        landmark_sigma=rng.uniform(0.01, 0.1, (len(POSES), 68)),
        landmark_offsets=rng.normal(size=(len(POSES), 68, 3)),
        eye_distance=rng.uniform(20, 30, len(POSES)),
    )
    points, items = terms.points(chi, batch), np.array([1, 3])
    cost, gradient, hessian = terms.linearize(chi, points, batch, items)
    for place, item in enumerate(items):
        own = slice(item, item + 1)
        alone = replace(
            batch,
            landmarks=batch.landmarks[own],
            landmark_sigma=batch.landmark_sigma[own],
            landmark_offsets=batch.landmark_offsets[own],
            eye_distance=batch.eye_distance[own],
        )
        its = terms.points(chi[own], alone)
        assert np.array_equal(its.vertices, points.vertices[own])
        assert np.array_equal(its.weights, points.weights[own])
        assert np.array_equal(its.metric, points.metric[own])
        found = terms.linearize(chi[own], its, alone, ONLY)
        assert [part[place] for part in cost] == [part[0] for part in found[0]]
        assert np.array_equal(found[1][0], gradient[place])
        assert np.array_equal(found[2][0], hessian[place])


def test_resolution_does_not_change_the_cost(terms: HostTerms, layout: ParameterLayout, problem: Problem) -> None:
    """Photo, landmarks and eye distance three times as large: the same energy."""
    chi = posed(SIZE, yaw=0.2)
    larger = chi.copy()
    larger[layout.pose] = layout.cameras(chi).moved(3, (0, 0)).pack()
    scaled = replace(problem, landmarks=3 * problem.landmarks, eye_distance=3 * problem.eye_distance)
    found = terms.cost(larger[None], terms.points(larger[None], scaled), scaled, ONLY)
    wanted = terms.cost(chi[None], terms.points(chi[None], problem), problem, ONLY)
    assert np.concatenate(found) == pytest.approx(np.concatenate(wanted))


def test_inner_landmarks_stay_on_their_place(terms: HostTerms, problem: Problem) -> None:
    model = few_modes()
    for pose in POSES:
        points = terms.points(posed(SIZE, *pose)[None], problem)
        assert np.array_equal(points.vertices[0, 17:, :3], model.landmark_vertices[17:])
        assert np.array_equal(points.weights[0, 17:, :3], model.landmark_weights[17:])
        assert not points.weights[0, 17:, 3:].any()
        assert points.weights[0].sum(axis=1) == pytest.approx(np.ones(68))


def test_landmarks_alone_recover_a_known_pose(layout: ParameterLayout) -> None:
    """The pose stage: a camera fitted to the inner points is pulled to the truth, jaw included."""
    model, truth = few_modes(), posed(SIZE, 0.15, 0.5, -0.2)
    truth[layout.shape] = 0
    xy = project(truth, layout, model.landmarks(model.mean))
    base = some_problem(SIZE)
    problem = replace(base, landmarks=xy[None], landmark_sigma=np.full((1, 68), 0.03))
    problem.landmark_sigma[:, :17] = np.inf
    problem.landmark_offsets[:] = 0
    start = posed(SIZE, 0.0, 0.1, 0.0)
    start[layout.shape] = 0
    problem = replace(problem, energy=replace(problem.energy, photometric=0.0))
    objective = FaceObjective(build_engine("numpy", model).differentiator(problem), layout.mask(layout.pose))
    solution = gauss_newton(objective, start[None], SolverSettings(max_iterations=30, cost_tolerance=1e-12))
    assert solution.x[0, layout.pose] == pytest.approx(truth[layout.pose], abs=1e-3)
    held = ~layout.mask(layout.pose)
    assert np.array_equal(solution.x[0, held], start[held])
