"""What covers the face, on the reference engine: the rule, read plainly, and what it does to painted occluders."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from small import few_modes, posed, some_problem

from faceinv.engine import evaluation as rule
from faceinv.engine.records import Problem
from faceinv.engine.registry import build_engine


def drawn(size: int, chi: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Radiance, the pixels of the face mask, and the 68 landmarks, px, of faces chi (B, P)."""
    renderer = build_engine("numpy:float64", few_modes()).renderer
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, (size, size))
    face = (visibility.triangle >= 0) & few_modes().face_mask[visibility.triangle]
    picture = rule.radiance(renderer, geometry, visibility, chi)
    return picture, face, np.stack([few_modes().landmarks(xy) for xy in geometry.image_xy])


def weights(problem: Problem, chi: NDArray[np.float64], share: float = 0.05) -> NDArray[np.float32]:
    engine = build_engine("numpy:float64", few_modes())
    return engine.differentiator(problem).without_occluders(chi, share).problem.weights


@pytest.mark.parametrize("size", [48, 72])
def test_weights_follow_the_rule(size: int) -> None:
    problem, chi = some_problem(size, batch=2), np.stack([posed(size), posed(size, yaw=0.4)])
    share = 0.1
    found = weights(problem, chi, share)
    picture, face, _ = drawn(size, chi)
    face &= problem.mask
    ratio = (np.maximum(picture, 0) + rule.DARK) / np.maximum(problem.image + rule.DARK, rule.DARK)
    off = np.abs(np.log(ratio)).mean(axis=-1)
    window = rule.occlusion_window(size)
    for item in range(2):
        means = np.zeros((size, size))
        for y in range(size):
            for x in range(size):
                rows = slice(max(0, y - window // 2), y - window // 2 + window)
                columns = slice(max(0, x - window // 2), x - window // 2 + window)
                seen = face[item, rows, columns]
                means[y, x] = off[item, rows, columns][seen].mean() if seen.any() else 0.0
        inside = means[face[item] & problem.hull[item]]
        spread, covered = np.median(inside) / np.log(2), share
        for _ in range(rule.EM_STEPS):
            on_face = (1 - covered) * (np.exp(-means / spread) / spread) ** rule.EVIDENCE
            within, beyond = on_face / (on_face + covered), on_face / (on_face + rule.OUTSIDE * covered)
            sure = within[face[item] & problem.hull[item]]
            spread = (sure * inside).sum() / sure.sum()
            covered = np.clip(1 - sure.mean(), rule.LEAST_COVERED, rule.MOST_COVERED)
        expected = np.where(problem.hull[item], within, beyond)
        assert np.allclose(found[item], expected, atol=1e-5)
    assert 0.02 < 1 - found.mean() < 0.9


@pytest.fixture(scope="module")
def clean() -> tuple[Problem, NDArray[np.float64], NDArray[np.bool_]]:
    """A photo of a face with some noise, the face, and where it shows."""
    size = 112
    chi = posed(size)[None]
    picture, face, marks = drawn(size, chi)
    noise = 0.01 * np.random.default_rng(0).normal(size=picture.shape)
    problem = replace(some_problem(size), image=(picture + noise).astype(np.float32), landmarks=marks)
    return problem, chi, face[0]


def test_a_face_that_is_met_counts_whole(clean: tuple[Problem, NDArray[np.float64], NDArray[np.bool_]]) -> None:
    problem, chi, face = clean
    assert weights(problem, chi)[0][face].min() > 0.9


@pytest.mark.parametrize("place", ["forehead", "mouth", "eyes"])
def test_a_dark_stripe_does_not_count(
    clean: tuple[Problem, NDArray[np.float64], NDArray[np.bool_]], place: str
) -> None:
    """Hair, a moustache, glasses: inside of the hull and outside of it."""
    problem, chi, face = clean
    marks = problem.landmarks[0]
    first = {"forehead": marks[17:27, 1].min() - 14, "mouth": marks[62, 1] - 4, "eyes": marks[36:48, 1].mean() - 4}
    stripe = slice(int(first[place]), int(first[place]) + 12)
    image = problem.image.copy()
    image[:, stripe] = 0.02
    found = weights(replace(problem, image=image), chi)[0]
    covered = np.zeros_like(face)
    covered[stripe] = True
    assert (face & covered).sum() > 100
    assert found[face & covered].max() < 0.1
    far = np.ones_like(face)
    window = rule.occlusion_window(len(face))
    far[max(0, stripe.start - window) : stripe.stop + window] = False
    assert found[face & far].mean() > 0.95
