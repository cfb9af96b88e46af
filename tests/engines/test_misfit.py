"""Every engine finds the same occluders and the same RMSE, and leaves the image alone where it plays no part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from problems import Run, toy_chi, toy_model, toy_problem
from tolerances import SAME, assert_agrees

from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine


@pytest.mark.parametrize("threshold", [0.5, 1.0, 1.3])
def test_occluders_are_those_of_the_reference(found: Run, reference: Run, threshold: float) -> None:
    got, want = (run.differentiator.without_occluders(run.chi, threshold).problem.mask for run in (found, reference))
    problem = reference.differentiator.problem
    assert np.array_equal(got, want)
    assert not (got & ~problem.mask).any()
    assert (problem.mask & ~got).any(axis=(1, 2)).all(), "something is left out of each photo"
    assert np.array_equal(got & problem.hull, problem.mask & problem.hull), "what is inside the hull stays"


def test_occluders_with_odd_and_even_numbers_of_pixels(found: Run, reference: Run) -> None:
    """The median of an even number is the mean of two."""
    problem = found.differentiator.problem
    rows, columns = np.nonzero(problem.hull[0] & problem.mask[0])
    for fewer in range(3):
        mask = problem.mask.copy()
        mask[:, rows[:fewer], columns[:fewer]] = False
        masks = []
        for run in (found, reference):
            bound = run.engine.differentiator(replace(problem, mask=mask))
            masks.append(bound.without_occluders(run.chi, 1.0).problem.mask)
        assert np.array_equal(masks[0], masks[1])


def test_what_is_left_out_stays_out(found: Run) -> None:
    """A differentiator without occluders is that of a smaller mask, and the one it came from is as before."""
    every, chi = np.ones(2, np.bool_), found.chi
    less = found.differentiator.without_occluders(chi, 0.8)
    again = found.engine.differentiator(less.problem)
    frozen, same = less.freeze(chi), again.freeze(chi)
    assert np.array_equal(frozen.pixels, same.pixels)
    assert (frozen.pixels < found.frozen.pixels).all()
    got, want = less.linearize(chi, frozen, every), again.linearize(chi, same, every)
    assert np.array_equal(got.cost.total, want.cost.total)
    assert np.array_equal(found.host(got.hessian), found.host(want.hessian))
    assert np.array_equal(found.differentiator.freeze(chi).pixels, found.frozen.pixels)


def test_a_photo_that_shows_no_face_loses_nothing(found: Run) -> None:
    problem = found.differentiator.problem
    mask = problem.mask.copy()
    mask[1] &= ~problem.hull[1]
    bound = found.engine.differentiator(replace(problem, mask=mask))
    kept = bound.without_occluders(found.chi, 0.5).problem.mask
    assert np.array_equal(kept[1], mask[1])
    assert not np.array_equal(kept[0], mask[0])
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
