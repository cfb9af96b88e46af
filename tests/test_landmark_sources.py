"""What is known of each source of landmarks."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib import resources
from typing import get_args

import numpy as np
import pytest

from faceinv.face.formats import load_model
from faceinv.face.landmark_sources import LandmarkSource, SourceName, landmark_source
from faceinv.face.landmarks68 import BROWS, INNER, JAW, MIRRORED, OUTER_EYES


@pytest.fixture(params=get_args(SourceName))
def source(request: pytest.FixtureRequest) -> LandmarkSource:
    return landmark_source(request.param)


def test_numbers_are_of_a_face(source: LandmarkSource) -> None:
    assert source.offsets.shape == (68, 3)
    assert source.sigma.shape == (68,)
    assert np.linalg.norm(source.offsets, axis=1).max() < 0.12
    assert (source.offsets[JAW] == 0).all()
    assert (source.sigma > 0.005).all()
    assert (source.sigma < 0.2).all()
    assert (source.sigma[BROWS] > source.sigma[36]).all()


def test_both_sides_of_the_face_are_alike(source: LandmarkSource) -> None:
    np.testing.assert_allclose(source.offsets[MIRRORED] * [-1, 1, 1], source.offsets, atol=2e-4)
    np.testing.assert_allclose(source.sigma[MIRRORED], source.sigma, atol=2e-4)


def test_the_mesh_is_surer_than_the_small_network() -> None:
    mesh, small = landmark_source("face mesh"), landmark_source("small network")
    assert (mesh.sigma[INNER] < small.sigma[INNER]).all()
    np.testing.assert_array_equal(mesh.offsets, landmark_source("face mesh outline").offsets)


def test_sigma_grows_with_yaw_and_doubles_at_its_scale(source: LandmarkSource) -> None:
    np.testing.assert_array_equal(source.sigma_at(0), source.sigma)
    np.testing.assert_array_equal(source.sigma_at(-30), source.sigma_at(30))
    np.testing.assert_allclose(source.sigma_at(source.yaw_scale), 2 * source.sigma)


def test_sigma_grows_with_unusual_disagreement_only(source: LandmarkSource) -> None:
    np.testing.assert_array_equal(source.sigma_at(0, 0.01), source.sigma)
    np.testing.assert_allclose(source.sigma_at(0, 0.056), np.hypot(source.sigma, 0.04), atol=1e-12)


def test_offsets_are_shares_of_the_models_eye_distance(source: LandmarkSource) -> None:
    model = load_model("default", identity=1, expression=1, albedo=1)
    points = model.landmarks(model.mean)
    eyes = float(np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]]))
    np.testing.assert_allclose(source.offsets_on(model), eyes * source.offsets)
    larger = replace(model, mean=2 * model.mean)
    np.testing.assert_allclose(source.offsets_on(larger), 2 * eyes * source.offsets, rtol=1e-5)


def test_the_mesh_marks_other_places_than_the_scans() -> None:
    model = load_model("default", identity=1, expression=1, albedo=1)
    away = np.linalg.norm(landmark_source("face mesh").offsets_on(model), axis=1)
    assert 2.0 < away[INNER].mean() < 5.0
    assert away[BROWS].mean() > away[36:48].mean()


def test_given_landmarks_are_the_models_own() -> None:
    model = load_model("default", identity=1, expression=1, albedo=1)
    assert (landmark_source("annotated").offsets_on(model) == 0).all()


def test_the_table_holds_sources_alone() -> None:
    """What is known of single models' landmarks is in the models."""
    content = json.loads((resources.files("faceinv") / "data" / "landmark_sources.json").read_text(encoding="utf-8"))
    assert list(content) == ["sources"]
    assert set(content["sources"]) == set(get_args(SourceName))


def test_a_source_that_is_not_known_is_refused() -> None:
    with pytest.raises(ValueError, match="'dlib' is no source of landmarks; annotated, face mesh"):
        landmark_source("dlib")


def test_numbers_cannot_be_changed(source: LandmarkSource) -> None:
    with pytest.raises(ValueError, match="read-only"):
        source.sigma[0] = 1
