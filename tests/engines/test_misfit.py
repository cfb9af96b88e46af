"""Every engine finds the same occluders and the same RMSE, and leaves the image alone where it plays no part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from problems import Run, toy_chi, toy_model, toy_problem
from tolerances import SAME, TOLERANCE, assert_agrees

from faceinv.engine.records import EngineSettings, Problem
from faceinv.engine.registry import build_engine


def weights(run: Run, share: float, problem: Problem | None = None) -> NDArray[np.float32]:
    """(B, H, W) of a problem, or of the run's own."""
    bound = run.engine.differentiator(problem or run.differentiator.problem)
    return bound.without_occluders(run.chi, share).problem.weights


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3])
def test_occluders_are_those_of_the_reference(found: Run, reference: Run, share: float) -> None:
    got, want = (weights(run, share) for run in (found, reference))
    assert got.dtype == np.float32
    assert_agrees(got, want, TOLERANCE["float32"], "weights of pixels")
    shown = reference.visibility.triangle
    face = (shown >= 0) & toy_model().face_mask[shown] & reference.differentiator.problem.mask
    assert ((want[face] > 0.1) & (want[face] < 0.9)).mean() > 0.01, "the problem should have doubtful pixels"


def test_occluders_with_odd_and_even_numbers_of_pixels(found: Run, reference: Run) -> None:
    """The median of an even number is the mean of two."""
    problem = found.differentiator.problem
    rows, columns = np.nonzero(problem.hull[0] & problem.mask[0])
    for fewer in range(3):
        mask = problem.mask.copy()
        mask[:, rows[:fewer], columns[:fewer]] = False
        got, want = (weights(run, 0.1, replace(problem, mask=mask)) for run in (found, reference))
        assert_agrees(got, want, TOLERANCE["float32"], "weights of pixels")


def test_occluders_do_not_depend_on_the_unit_of_colours(found: Run) -> None:
    layout, chi = found.engine.renderer.layout, found.chi.copy()
    chi[:, layout.lighting] *= 255
    problem = found.differentiator.problem
    bright = found.engine.differentiator(replace(problem, image=255 * problem.image, white=255.0))
    assert_agrees(
        bright.without_occluders(chi, 0.1).problem.weights, weights(found, 0.1), TOLERANCE["float32"], "weights"
    )


def test_weights_are_those_of_the_problem(found: Run) -> None:
    """A differentiator without occluders is that of a weighted problem, and the one it came from is as before."""
    every, chi = np.ones(2, np.bool_), found.chi
    less = found.differentiator.without_occluders(chi, 0.3)
    again = found.engine.differentiator(less.problem)
    frozen, same = less.freeze(chi), again.freeze(chi)
    assert np.array_equal(frozen.pixels, found.frozen.pixels)
    got, want = less.linearize(chi, frozen, every), again.linearize(chi, same, every)
    assert np.array_equal(got.cost.total, want.cost.total)
    assert np.array_equal(found.host(got.hessian), found.host(want.hessian))
    assert (got.cost.terms["photometric"] < found.linearization.cost.terms["photometric"]).all()
    as_before = found.differentiator.linearize(chi, found.differentiator.freeze(chi), every)
    assert np.array_equal(as_before.cost.total, found.linearization.cost.total)


def test_a_photo_that_shows_no_face_loses_nothing(found: Run) -> None:
    problem = found.differentiator.problem
    mask = problem.mask.copy()
    mask[1] &= ~problem.hull[1]
    bound = found.engine.differentiator(replace(problem, mask=mask))
    made = bound.without_occluders(found.chi, 0.3).problem.weights
    assert (made[1] == 1).all()
    assert (made[0] < 0.5).any()
    rmse = bound.photometric_rmse(found.chi)
    assert np.isnan(rmse[1])
    assert np.isfinite(rmse[0])


def test_rmse_is_that_of_the_reference(found: Run, reference: Run) -> None:
    got, want = (run.differentiator.photometric_rmse(run.chi) for run in (found, reference))
    assert_agrees(got, want, SAME, "RMSE")
    assert (got > 0.01).all()


def test_rmse_is_in_linear_rgb(engine_name: str) -> None:
    """Whatever the model's colours and the photo's unit."""
    model, problem, chi = replace(toy_model(), albedo_space="srgb"), toy_problem(2), toy_chi(2)
    problem = replace(problem, image=255 * problem.image, white=255.0)
    bound = [build_engine(name, model, EngineSettings()).differentiator(problem) for name in (engine_name, "numpy")]
    layout = bound[0].renderer.layout
    chi[:, layout.lighting] *= 255
    assert_agrees(bound[0].photometric_rmse(chi), bound[1].photometric_rmse(chi), SAME, "RMSE")


def test_without_a_photometric_term_nothing_is_drawn(found: Run, reference: Run) -> None:
    """Landmarks and priors alone: the same cost, g and H as on the reference engine."""
    problem = toy_problem(2)
    bare = replace(problem, energy=replace(problem.energy, photometric=0.0))
    results = []
    for run in (found, reference):
        bound = run.engine.differentiator(bare)
        frozen = bound.freeze(run.chi)
        assert frozen.visibility is None
        assert not frozen.pixels.any()
        assert [part.shape for part in bound.residual_jacobian(run.chi, frozen, 0)] == [
            (0,),
            (0, run.chi.shape[1]),
            (0,),
        ]
        made = bound.linearize(run.chi, frozen, np.array([True, False]))
        alone = bound.cost(run.chi, frozen, np.array([True, False]))
        assert np.array_equal(alone.total, made.cost.total)
        assert not made.rows.any()
        assert not made.cost.terms["photometric"].any()
        assert made.cost.terms["landmarks"][0] == pytest.approx(run.linearization.cost.terms["landmarks"][0], rel=1e-12)
        step = bound.solve(made, np.full(2, 1e-3), run.engine.renderer.layout.mask(run.engine.renderer.layout.shape))
        results.append((alone.total, run.host(made.gradient), run.host(made.hessian), step.delta[:1]))
    for name, got, want in zip(("cost", "gradient", "hessian", "step"), *results, strict=True):
        assert_agrees(got, want, SAME, name)
