"""The uncertainty of a fitted surface: gauge, posterior, what bases do not express."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes

from faceinv.face.camera import rotation_matrix
from faceinv.face.layout import ParameterLayout
from faceinv.face.mesh import triangle_normals, vertex_normals
from faceinv.face.model import MorphableModel
from faceinv.fitting import uncertainty
from faceinv.fitting.uncertainty import along_normals, posterior_std, surface_std

Array = NDArray[np.float64]


def prior_alone(model: MorphableModel) -> Array:
    layout = ParameterLayout.of(model)
    return np.diag(np.where(layout.mask(layout.pose, layout.lighting), 0.0, 1.0))


def informed(model: MorphableModel, rows: int) -> Array:
    drawn = np.random.default_rng(0).normal(size=(40, ParameterLayout.of(model).count))[:rows]
    return prior_alone(model) + drawn.T @ drawn


def surface(model: MorphableModel) -> Array:
    rng = np.random.default_rng(1)
    return model.vertices(rng.normal(size=model.identity_count), rng.normal(size=model.expression_count))


def mask_weights(model: MorphableModel, vertices: Array) -> Array:
    triangles = model.triangles[model.face_mask]
    area = np.linalg.norm(triangle_normals(vertices, triangles), axis=1)
    return np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices)).astype(np.float64)


def laid_on(moved: Array, still: Array, weights: Array) -> Array:
    """`moved` under the similarity that takes it nearest to `still` (Umeyama, TPAMI 1991)."""
    share = weights / weights.sum()
    a, b = moved - share @ moved, still - share @ still
    u, values, vt = np.linalg.svd(b.T @ (share[:, None] * a))
    scale = values.sum() / (share @ (a**2).sum(axis=1))
    return np.asarray(scale * a @ (u @ vt).T + share @ still)


def test_a_motion_that_is_a_similarity_is_no_motion() -> None:
    model = few_modes()
    mean = model.mean.astype(np.float64)
    turned = np.cross([0.3, -0.2, 0.9], mean)
    basis = np.stack([0.1 * mean, turned, np.ones_like(mean)], axis=2).astype(np.float32)
    rigid = dataclasses.replace(model, identity_basis=basis)
    spread = posterior_std(rigid, mean, prior_alone(rigid))
    expression_alone = dataclasses.replace(model, identity_basis=basis[:, :, :0])
    assert spread == pytest.approx(posterior_std(expression_alone, mean, prior_alone(expression_alone)), abs=1e-3)


def test_motions_are_those_of_faces_laid_on_each_other() -> None:
    model = few_modes()
    still, split = surface(model), model.identity_count
    step = 1e-3 * np.random.default_rng(2).normal(size=(split + model.expression_count, 5))
    moved = along_normals(model, still, step)
    normals, weights = vertex_normals(still, model.triangles), mask_weights(model, still)
    for k in range(5):
        other = still + model.identity_basis @ step[:split, k] + model.expression_basis @ step[split:, k]
        expected = ((laid_on(other, still, weights) - still) * normals).sum(axis=1)
        assert moved[:, k] == pytest.approx(expected, abs=2e-3 * np.abs(expected).max())


def test_spread_is_that_of_samples_of_the_posterior() -> None:
    model = few_modes()
    layout, vertices, hessian = ParameterLayout.of(model), surface(model), informed(model, 40)
    covariance = np.linalg.inv(hessian)[layout.shape, layout.shape]
    draws = np.random.default_rng(0).multivariate_normal(np.zeros(layout.shape_count), covariance, 4000)
    moved = along_normals(model, vertices, draws.T)
    assert posterior_std(model, vertices, hessian) == pytest.approx(moved.std(axis=1), rel=0.08)


def test_what_the_photo_says_makes_it_smaller() -> None:
    model = few_modes()
    vertices = surface(model)
    none, some, more = (posterior_std(model, vertices, informed(model, rows)) for rows in (0, 20, 40))
    assert (some <= none + 1e-9).all()
    assert (more <= some + 1e-9).all()
    assert more.mean() < 0.9 * some.mean() < 0.9 * none.mean()


def test_entries_that_were_held_have_no_part() -> None:
    model = few_modes()
    layout, vertices, hessian = ParameterLayout.of(model), surface(model), informed(model, 40)
    held = np.where(layout.mask(layout.lighting), 0.0, 1.0)
    without = posterior_std(model, vertices, hessian * np.outer(held, held))
    assert np.isfinite(without).all()
    assert (without <= posterior_std(model, vertices, hessian) + 1e-9).all()


def test_what_pose_and_light_are_sure_of_does_not_matter_alone() -> None:
    """Columns that do not touch the shape change nothing."""
    model = few_modes()
    layout, hessian = ParameterLayout.of(model), informed(model, 0)
    sure = hessian.copy()
    sure[layout.pose, layout.pose] += 50 * np.eye(layout.pose.stop - layout.pose.start)
    vertices = surface(model)
    assert posterior_std(model, vertices, sure) == pytest.approx(posterior_std(model, vertices, hessian))


def test_where_the_head_is_in_model_space_does_not_matter() -> None:
    model = few_modes()
    turn, shift = rotation_matrix(np.array([0.4, -0.7, 0.2])), np.array([100.0, -50.0, 30.0])
    elsewhere = dataclasses.replace(
        model,
        identity_basis=np.einsum("ij,njk->nik", turn, model.identity_basis).astype(np.float32),
        expression_basis=np.einsum("ij,njk->nik", turn, model.expression_basis).astype(np.float32),
    )
    vertices, hessian = surface(model), informed(model, 40)
    there = posterior_std(elsewhere, vertices @ turn.T + shift, hessian)
    assert there == pytest.approx(posterior_std(model, vertices, hessian), rel=1e-4)


def test_what_bases_do_not_express_comes_on_top() -> None:
    model = few_modes()
    vertices, hessian = surface(model), informed(model, 40)
    posterior = uncertainty.POSTERIOR_FACTOR * posterior_std(model, vertices, hessian)
    rest = np.linspace(0.0, 3.0, model.vertex_count)
    assert surface_std(model, vertices, hessian, rest) == pytest.approx(np.sqrt(posterior**2 + rest**2))
    assert surface_std(model, vertices, hessian).min() >= uncertainty.RESIDUAL_MM
