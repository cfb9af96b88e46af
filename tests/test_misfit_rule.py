"""What covers the face, on the reference engine, against a plain reading of the rule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from small import few_modes, posed, some_problem

from faceinv.engine.evaluation import occlusion_window, radiance
from faceinv.engine.registry import build_engine


@pytest.mark.parametrize("size", [72, 88])  # windows of 3 and 4 px
def test_explained_pixels_follow_the_rule(size: int) -> None:
    engine = build_engine("numpy:float64", few_modes())
    problem, chi = some_problem(size, batch=2), np.stack([posed(size), posed(size, yaw=0.4)])
    threshold = 1.1
    found = engine.differentiator(problem).without_occluders(chi, threshold).problem.mask
    geometry = engine.renderer.geometry(chi)
    visibility = engine.renderer.rasterize(geometry, problem.size)
    off = np.abs(radiance(engine.renderer, geometry, visibility, chi) - problem.image).mean(axis=-1)
    face = (visibility.triangle >= 0) & few_modes().face_mask[visibility.triangle] & problem.mask
    window = occlusion_window(size)
    for item in range(2):
        means = np.zeros((size, size))
        for y in range(size):
            for x in range(size):
                rows = slice(max(0, y - window // 2), y - window // 2 + window)
                columns = slice(max(0, x - window // 2), x - window // 2 + window)
                seen = face[item, rows, columns]
                means[y, x] = off[item, rows, columns][seen].mean() if seen.any() else 0.0
        limit = threshold * np.median(means[face[item] & problem.hull[item]])
        assert np.array_equal(found[item], problem.mask[item] & (problem.hull[item] | (means <= limit)))
    assert 0.02 < 1 - found.mean() < 0.5


def test_a_stripe_over_the_forehead_is_left_out() -> None:
    """Hair, as the energy sees it; a stripe of the same colour over the mouth stays."""
    size = 112
    engine = build_engine("numpy:float64", few_modes())
    chi, problem = posed(size)[None], some_problem(size)
    geometry = engine.renderer.geometry(chi)
    visibility = engine.renderer.rasterize(geometry, problem.size)
    rng = np.random.default_rng(0)
    image = radiance(engine.renderer, geometry, visibility, chi) + 0.02 * rng.normal(size=(1, size, size, 3))
    xy = few_modes().landmarks(geometry.image_xy[0])
    problem = replace(problem, landmarks=xy[None])
    top, mouth = int(xy[17:27, 1].min()), int(xy[62, 1])
    image[:, top - 14 : top - 6] = 0.0
    image[:, mouth - 4 : mouth + 4] = 0.0
    bound = engine.differentiator(replace(problem, image=image.astype(np.float32)))
    kept = bound.without_occluders(chi, 2.5).problem.mask[0]
    face = (visibility.triangle[0] >= 0) & few_modes().face_mask[visibility.triangle[0]]
    stripe = np.zeros((size, size), np.bool_)
    stripe[top - 14 : top - 6] = True
    assert (face & stripe).sum() > 100
    assert not kept[face & stripe].any()
    inside = problem.hull[0] & face
    assert kept[inside].all()
    assert kept[face & ~stripe & ~inside].mean() > 0.6
