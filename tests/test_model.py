"""The model class: what it refuses, what it computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
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
    ({"jaw_contour": np.zeros((17, 0), int)}, "'jaw_contour' has indices nothing"),
    ({"jaw_contour": np.zeros((16, 2), int)}, "'jaw_contour' has shape"),
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
    ours = changed(expression_basis=empty, expression_names=())
    theirs = changed(identity_basis=empty, expression_basis=model.identity_basis, expression_names=())
    assert ours.fingerprint != theirs.fingerprint
