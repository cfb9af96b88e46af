"""The model class: what it refuses, what it computes."""

from __future__ import annotations

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small import few_modes

from faceinv import ModelError, MorphableModel


def changed(**fields: Any) -> MorphableModel:
    return dataclasses.replace(few_modes(), **fields)


def spoiled(name: str, value: float) -> np.ndarray:
    array = np.array(getattr(few_modes(), name))
    array.flat[5] = value
    return array


N, T = few_modes().vertex_count, len(few_modes().triangles)
BAD = [
    ({"mean": np.zeros((N, 2))}, "'mean' has shape"),
    ({"mean": np.zeros((N - 1, 3))}, "has shape"),
    ({"mean": np.zeros(())}, "a surface needs"),
    ({"mean": spoiled("mean", np.nan)}, "'mean' holds NaN"),
    ({"mean": few_modes().mean.astype(complex)}, "'mean' holds complex128"),
    ({"mean": few_modes().mean.astype("U8")}, "'mean' holds <U8"),
    ({"identity_basis": spoiled("identity_basis", np.inf)}, "'identity_basis' holds NaN or inf"),
    ({"identity_basis": np.zeros((N, 3))}, "'identity_basis' has shape"),
    ({"expression_basis": np.zeros((N, 2, 5))}, "'expression_basis' has shape"),
    ({"albedo_basis": np.zeros((N + 1, 3, 3))}, "'albedo_basis' has shape"),
    ({"triangles": np.zeros((0, 3), int)}, "a surface needs"),
    ({"triangles": spoiled("triangles", N)}, f"'triangles' has indices 0..{N}, expected 0..{N - 1}"),
    ({"triangles": spoiled("triangles", -1)}, "'triangles' has indices -1.."),
    ({"triangles": few_modes().triangles.astype(float)}, "'triangles' holds float64, expected int32"),
    ({"landmark_vertices": np.zeros((67, 3), int)}, "'landmark_vertices' has shape"),
    ({"landmark_vertices": spoiled("landmark_vertices", N)}, "'landmark_vertices' has indices"),
    ({"landmark_weights": 0.5 * few_modes().landmark_weights}, "must sum to 1"),
    ({"face_mask": np.zeros(T, bool)}, "leaves no triangle"),
    ({"face_mask": np.ones(T + 1, bool)}, "'face_mask' has shape"),
    ({"jaw_band": np.full((17, 1), T)}, f"'jaw_band' has indices {T}..{T}, expected -1..{T - 1}"),
    ({"jaw_band": np.zeros((16, 2), int)}, "'jaw_band' has shape"),
    ({"uv_triangles": spoiled("uv_triangles", len(few_modes().uv))}, "'uv_triangles' has indices"),
    ({"mirror": spoiled("mirror", N)}, "'mirror' has indices"),
    ({"albedo_space": "rgb"}, "albedo_space is 'rgb', expected 'linear' or 'srgb'"),
    ({"expression_names": ("a", "b")}, "2 expression names for 5 modes"),
]


@pytest.mark.parametrize(("fields", "message"), BAD, ids=[message for _, message in BAD])
def test_inconsistent_models_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError) as caught:
        changed(**fields)
    assert message in str(caught.value)


def test_a_model_cannot_be_changed_and_leaves_the_callers_arrays_alone() -> None:
    mean = np.array(few_modes().mean)
    model = changed(mean=mean)
    mean += 0.0  # still the caller's to write
    with pytest.raises(ValueError, match="read-only"):
        model.mean[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        model.name = "other"  # type: ignore[misc]


def test_vertices_are_mean_plus_modes() -> None:
    model = few_modes()
    rng = np.random.default_rng(0)
    a, e = rng.normal(size=6), rng.normal(size=5)
    wanted = (
        model.mean + np.einsum("ndk,k->nd", model.identity_basis, a) + np.einsum("ndk,k->nd", model.expression_basis, e)
    )
    assert model.vertices(a, e) == pytest.approx(wanted, abs=1e-4)
    assert model.vertices().dtype == np.float64
    assert np.array_equal(model.vertices(), model.mean)


def test_landmarks_of_any_field() -> None:
    model = few_modes()
    ramp = np.arange(N, dtype=np.float64)[:, None]
    wanted = [np.dot(w, ramp[v, 0]) for v, w in zip(model.landmark_vertices, model.landmark_weights, strict=True)]
    assert model.landmarks(ramp)[:, 0] == pytest.approx(wanted)


def test_truncated_keeps_the_first_modes_and_their_names() -> None:
    model = few_modes().truncated(2, 3, 0)
    assert (model.identity_count, model.expression_count, model.albedo_count) == (2, 3, 0)
    assert np.array_equal(model.expression_basis, few_modes().expression_basis[:, :, :3])
    assert model.expression_names == few_modes().expression_names[:3]
    assert few_modes().truncated().fingerprint == few_modes().fingerprint


@pytest.mark.parametrize("name", ["mean", "identity_basis", "expression_basis", "mean_albedo", "albedo_basis"])
def test_fingerprint_follows_geometry_and_bases(name: str) -> None:
    value = getattr(few_modes(), name).flat[5] + np.float32(0.01)
    assert changed(**{name: spoiled(name, value)}).fingerprint != few_modes().fingerprint


def test_fingerprint_tells_identity_from_expression() -> None:
    """The same numbers under another name are another model."""
    model, empty = few_modes(), np.zeros((N, 3, 0))
    nameless = {"expression_names": (), "expression_units": None}
    ours = changed(expression_basis=empty, **nameless)
    theirs = changed(identity_basis=empty, expression_basis=model.identity_basis, **nameless)
    assert ours.fingerprint != theirs.fingerprint


K = few_modes().identity_count


@st.composite
def priors(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A mean (K,) and a covariance (K, K), of any rank."""
    random = np.random.default_rng(draw(st.integers(0, 10**6)))
    root = random.normal(size=(K, draw(st.integers(0, K + 2)))) * draw(st.floats(0.01, 3))
    return random.normal(size=K), root @ root.T


@settings(max_examples=30, deadline=None)
@given(prior=priors())
def test_a_prior_gives_the_surfaces_its_distribution(prior: tuple[np.ndarray, np.ndarray]) -> None:
    mean, covariance = prior
    model = few_modes()
    new = model.with_prior(mean, covariance)
    assert new.identity_basis.shape == model.identity_basis.shape
    assert np.abs(new.mean - model.vertices(mean)).max() < 1e-4
    old_basis, new_basis = (m.identity_basis.astype(float).reshape(3 * N, K)[::29] for m in (model, new))
    expected = old_basis @ covariance @ old_basis.T
    assert np.abs(new_basis @ new_basis.T - expected).max() < 1e-5 * max(np.abs(expected).max(), 1e-9)
    strength = np.linalg.norm(new.identity_basis.astype(float), axis=(0, 1))
    assert (np.diff(strength) < 1e-4 * strength.max(initial=0) + 1e-9).all(), "the most important first"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_log_prior_of_a_face_stays(seed: int) -> None:
    model, random = few_modes(), np.random.default_rng(seed)
    root, mean, coefficients = random.normal(size=(K, K)) + 2 * np.eye(K), random.normal(size=K), random.normal(size=K)
    new = model.with_prior(mean, root @ root.T)
    face = model.vertices(coefficients)
    basis = new.identity_basis.astype(float).reshape(3 * N, K)
    again, *_ = np.linalg.lstsq(basis, (face - new.mean).ravel(), rcond=None)
    assert np.abs(new.vertices(again) - face).max() < 1e-3
    apart = coefficients - mean
    expected = float(apart @ np.linalg.solve(root @ root.T, apart))
    assert abs(again @ again - expected) < 1e-3 * max(expected, 1)


def test_truncating_after_a_prior_keeps_more_of_the_surface_than_any_other_choice() -> None:
    random = np.random.default_rng(3)
    root = random.normal(size=(K, K))
    new = few_modes().with_prior(np.zeros(K), root @ root.T)
    basis = new.identity_basis.astype(float).reshape(3 * N, K)
    values = np.linalg.svd(basis, compute_uv=False)
    kept = new.truncated(identity=2).identity_basis.astype(float)
    assert np.isclose((kept**2).sum(), (values[:2] ** 2).sum(), rtol=1e-5)


def test_the_standard_prior_changes_nothing_but_the_choice_of_modes() -> None:
    model = few_modes()
    new = model.with_prior(np.zeros(K), np.eye(K))
    assert np.array_equal(new.mean, model.mean)
    for field in ("expression_basis", "albedo_basis", "triangles", "landmark_vertices", "face_mask"):
        assert np.array_equal(getattr(new, field), getattr(model, field))


@pytest.mark.parametrize(
    ("mean", "covariance", "message"),
    [
        (np.zeros(K + 1), np.eye(K), rf"prior's mean is float64 of shape \({K + 1},\), expected numbers \({K},\)"),
        (np.zeros(K), np.eye(K)[:-1], "prior's covariance is float64 of shape"),
        (np.zeros(K), np.ones(K), "prior's covariance is float64 of shape"),
        (np.full(K, np.nan), np.eye(K), "prior's mean holds NaN"),
        (np.zeros(K), np.full((K, K), np.inf), "prior's covariance holds NaN"),
        (np.zeros(K), np.triu(np.ones((K, K))), "not symmetric; entries differ by up to 1"),
        (np.zeros(K), -np.eye(K), "negative variance -1"),
        (np.zeros(K), np.ones((K, K)) - np.eye(K), "must be positive semi-definite"),
        (["a"] * K, np.eye(K), "prior's mean is <U1"),
        ([[1], [1, 2]], np.eye(K), "prior's mean and covariance are no arrays"),
    ],
)
def test_what_is_no_prior_is_refused(mean: Any, covariance: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        few_modes().with_prior(mean, covariance)


def test_a_covariance_rounded_to_float32_is_one() -> None:
    root = np.random.default_rng(0).normal(size=(K, 2))
    few_modes().with_prior(np.zeros(K, np.float32), (root @ root.T).astype(np.float32))


def test_a_pickled_model_is_the_same_and_read_only() -> None:
    model = few_modes()
    again = pickle.loads(pickle.dumps(model))
    assert again.fingerprint == model.fingerprint
    assert again.expression_names == model.expression_names
    with pytest.raises(ValueError, match="read-only"):
        again.mean[0] = 0
