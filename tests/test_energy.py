"""Landmark and prior terms: values, derivatives, and jaw points that slide on the contour."""

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
    _, prior = terms.cost(chi[None], terms.points(chi[None], problem.landmarks), problem, ONLY)
    gamma = layout.gamma(chi)
    wanted = (
        energy.identity * (chi[layout.identity] ** 2).sum() + energy.expression * (chi[layout.expression] ** 2).sum()
    )
    wanted += energy.albedo * (chi[layout.albedo] ** 2).sum() + energy.lighting * (gamma[1:] ** 2).sum()
    assert prior == pytest.approx(wanted)


def test_pose_and_constant_light_have_no_prior(layout: ParameterLayout) -> None:
    diagonal = prior_diagonal(layout, Energy(1, 1, 2, 3, 4, 5, 0.1))
    assert not diagonal[layout.pose].any()
    assert not layout.gamma(diagonal)[0].any()
    assert (layout.gamma(diagonal)[1:] == 5).all()
    assert (diagonal[layout.identity] == 2).all()
    assert (diagonal[layout.expression] == 3).all()
    assert (diagonal[layout.albedo] == 4).all()


def test_landmark_term_is_the_documented_mean(terms: HostTerms, layout: ParameterLayout, problem: Problem) -> None:
    chi = posed(SIZE, yaw=0.3)
    points = terms.points(chi[None], problem.landmarks)
    vertices = few_modes().vertices(chi[layout.identity], chi[layout.expression])
    on_mesh = np.einsum("lk,lkd->ld", points.weights[0], vertices[points.vertices[0]])
    gap = project(chi, layout, on_mesh) - problem.landmarks[0]
    share = (problem.landmark_weights[0] * (gap**2).sum(axis=1)).sum() / problem.eye_distance[0] ** 2
    assert terms.cost(chi[None], points, problem, ONLY)[0] == pytest.approx(problem.energy.landmarks / 68 * share)


@pytest.mark.parametrize("pose", POSES)
def test_landmark_rows_are_their_finite_differences(
    terms: HostTerms, layout: ParameterLayout, problem: Problem, pose: tuple[float, float, float]
) -> None:
    chi = posed(SIZE, *pose)
    points = terms.points(chi[None], problem.landmarks)
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
    points = terms.points(chi[None], problem.landmarks)
    residual, jacobian = terms.landmark_rows(chi[None], points, problem, ONLY)
    cost, gradient, hessian = terms.linearize(chi[None], points, problem, ONLY)
    diagonal = prior_diagonal(layout, problem.energy)
    assert cost == terms.cost(chi[None], points, problem, ONLY)
    assert cost[0] == pytest.approx(residual[0] @ residual[0])
    assert gradient[0] == pytest.approx(jacobian[0].T @ residual[0] + diagonal * chi)
    assert hessian[0] == pytest.approx(jacobian[0].T @ jacobian[0] + np.diag(diagonal))


def test_an_item_of_a_batch_gets_the_bits_it_gets_alone(terms: HostTerms, problem: Problem) -> None:
    chi = np.stack([posed(SIZE, *pose) for pose in POSES])
    rng = np.random.default_rng(3)
    batch = replace(
        problem,
        landmarks=problem.landmarks + rng.normal(size=(len(POSES), 68, 2)),
        landmark_weights=rng.uniform(size=(len(POSES), 68)),
        eye_distance=rng.uniform(20, 30, len(POSES)),
    )
    points, items = terms.points(chi, batch.landmarks), np.array([1, 3])
    cost, gradient, hessian = terms.linearize(chi, points, batch, items)
    for place, item in enumerate(items):
        own = slice(item, item + 1)
        alone = replace(
            batch,
            landmarks=batch.landmarks[own],
            landmark_weights=batch.landmark_weights[own],
            eye_distance=batch.eye_distance[own],
        )
        its = terms.points(chi[own], alone.landmarks)
        assert np.array_equal(its.vertices, points.vertices[own])
        assert np.array_equal(its.weights, points.weights[own])
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
    points = terms.points(chi[None], problem.landmarks)
    found = np.concatenate(terms.cost(larger[None], points, scaled, ONLY))
    assert found == pytest.approx(np.concatenate(terms.cost(chi[None], points, problem, ONLY)))


def test_inner_landmarks_stay_on_their_place(terms: HostTerms, problem: Problem) -> None:
    model = few_modes()
    for pose in POSES:
        points = terms.points(posed(SIZE, *pose)[None], problem.landmarks)
        assert np.array_equal(points.vertices[0, 17:], model.landmark_vertices[17:])
        assert np.array_equal(points.weights[0, 17:], model.landmark_weights[17:])
        assert points.weights[0].sum(axis=1) == pytest.approx(np.ones(68))


def test_jaw_points_lie_on_the_contour_and_meet_a_target_there(terms: HostTerms, layout: ParameterLayout) -> None:
    """A target somewhere on the line through the outermost vertices costs nothing."""
    model, chi = few_modes(), posed(SIZE, yaw=0.6)
    vertices = model.vertices(chi[layout.identity], chi[layout.expression])
    xy = project(chi, layout, vertices)
    target = np.zeros((68, 2))
    target[:17] = xy[model.jaw_contour[:, 0]]
    first = terms.points(chi[None], target[None])
    contour = first.vertices[0, :17, 0]
    assert all(vertex in model.jaw_contour for vertex in contour)
    for mark in (2, 8, 13):
        a, b = first.vertices[0, mark, :2]
        target[mark] = 0.3 * xy[a] + 0.7 * xy[b]
    again = terms.points(chi[None], target[None])
    placed = np.einsum("lk,lkd->ld", again.weights[0], xy[again.vertices[0]])
    for mark in (2, 8, 13):
        assert placed[mark] == pytest.approx(target[mark], abs=1e-9)


@pytest.mark.parametrize("yaw", [-0.8, 0.8])
def test_jaw_points_slide_to_the_silhouette_of_a_turned_head(
    terms: HostTerms, layout: ParameterLayout, yaw: float
) -> None:
    """On the far side the drawn outline has moved over the cheek; landmarks fixed to the skin would lie inside."""
    model, chi = few_modes(), posed(SIZE, yaw=yaw)
    chi[layout.shape] = 0
    xy = project(chi, layout, model.mean.astype(np.float64))
    far = slice(12, 16) if yaw > 0 else slice(1, 5)
    side = 1.0 if yaw > 0 else -1.0
    targets = np.zeros((68, 2))
    targets[:17] = xy[model.jaw_contour[:, 0]] + [side * 30.0, 0.0]  # outside of the face, level with the landmarks
    points = terms.points(chi[None], targets[None])
    slid = np.einsum("lk,lkd->ld", points.weights[0], xy[points.vertices[0]])[far]
    fixed = model.landmarks(xy)[:17][far]
    assert (side * (slid - fixed)[:, 0]).mean() > 1.0
    frontal = posed(SIZE)
    frontal[layout.shape] = 0
    level = project(frontal, layout, model.mean.astype(np.float64))
    at_rest = terms.points(frontal[None], model.landmarks(level)[None])
    placed = np.einsum("lk,lkd->ld", at_rest.weights[0], level[at_rest.vertices[0]])
    assert np.abs(placed - model.landmarks(level))[:17].max() < 0.02 * SIZE


def test_a_model_without_rows_keeps_its_jaw_landmarks(problem: Problem) -> None:
    model = replace(few_modes(), jaw_contour=few_modes().jaw_contour[:, :1])
    points = HostTerms(model).points(posed(SIZE, yaw=0.7)[None], problem.landmarks)
    assert np.array_equal(points.vertices[0], model.landmark_vertices)


def test_landmarks_alone_recover_a_known_pose(layout: ParameterLayout) -> None:
    """The pose stage: a camera fitted to the inner points is pulled to the truth, jaw included."""
    model, truth = few_modes(), posed(SIZE, 0.15, 0.5, -0.2)
    truth[layout.shape] = 0
    xy = project(truth, layout, model.mean.astype(np.float64))
    base = some_problem(SIZE)
    problem = replace(base, landmarks=model.landmarks(xy)[None], landmark_weights=np.ones((1, 68)))
    problem.landmark_weights[:, :17] = 0
    start = posed(SIZE, 0.0, 0.1, 0.0)
    start[layout.shape] = 0
    problem = replace(problem, energy=replace(problem.energy, photometric=0.0))
    objective = FaceObjective(build_engine("numpy", model).differentiator(problem), layout.mask(layout.pose))
    solution = gauss_newton(objective, start[None], SolverSettings(max_iterations=30, cost_tolerance=1e-12))
    assert solution.x[0, layout.pose] == pytest.approx(truth[layout.pose], abs=1e-3)
    held = ~layout.mask(layout.pose)
    assert np.array_equal(solution.x[0, held], start[held])
