"""Telling formats apart, the default model, cutting down, and what is derived for foreign models."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation
from toy_head import model_of, toy, write_basel, write_gnm

from faceinv.errors import ModelError
from faceinv.face.formats import _default, load_model, save_npz_model
from faceinv.face.formats._mesh import Surface, mirror_vertices, quads_to_triangles, winding_conflicts
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.formats._register import find_landmarks, register


def test_the_default_model_is_read_once() -> None:
    model = load_model("default")
    assert model is load_model("default")
    assert model.face_mask.any()


def test_a_missing_default_model_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    _default.default_model.cache_clear()
    monkeypatch.setattr(_default, "files", lambda _: tmp_path)
    try:
        with pytest.raises(ModelError, match=r"lacks faceinv/data/default_model\.npz"):
            load_model("default")
    finally:
        _default.default_model.cache_clear()


def test_own_format_round_trip_and_cuts(tmp_path: Path) -> None:
    model = model_of(toy())
    save_npz_model(model, tmp_path / "own.anything")
    again = load_model(tmp_path / "own.anything")
    assert again.fingerprint == model.fingerprint
    fewer = load_model(tmp_path / "own.anything", identity=2, expression=0, albedo=1)
    assert (fewer.identity_count, fewer.expression_count, fewer.albedo_count) == (2, 0, 1)
    assert np.array_equal(fewer.identity_basis, model.identity_basis[:, :, :2])
    with pytest.raises(ModelError, match="has 5 identity modes; 6 were asked for"):
        load_model(tmp_path / "own.anything", identity=6)
    with pytest.raises(ModelError, match="-1 were asked for"):
        load_model(tmp_path / "own.anything", albedo=-1)


def test_face_only_keeps_every_index_right() -> None:
    whole, face = load_model("default"), load_model("default", face_only=True)
    assert face.vertex_count < whole.vertex_count
    assert face.face_mask.sum() == whole.face_mask.sum()
    assert np.array_equal(face.landmarks(face.mean), whole.landmarks(whole.mean))
    for one, other in zip(face.jaw_band, whole.jaw_band, strict=True):
        kept, wanted = (model.triangles[row[row >= 0]] for model, row in ((face, one), (whole, other)))
        assert np.array_equal(face.mean[kept], whole.mean[wanted])
    used = whole.landmark_weights > 0
    assert np.array_equal(face.landmark_weights, whole.landmark_weights)
    ours, theirs = face.landmark_vertices[used], whole.landmark_vertices[used]
    assert np.array_equal(face.identity_basis[ours], whole.identity_basis[theirs])
    corners = {tuple(t) for t in whole.uv[whole.uv_triangles[whole.face_mask]].reshape(-1, 6).tolist()}
    assert {tuple(t) for t in face.uv[face.uv_triangles[face.face_mask]].reshape(-1, 6).tolist()} == corners


def test_unknown_sources(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_model(tmp_path / "none.npz")
    with pytest.raises(ModelError, match="is no face model"):
        load_model(tmp_path)
    np.savez(tmp_path / "other.npz", a=1)
    with pytest.raises(ModelError, match="not a faceinv model"):
        load_model(tmp_path / "other.npz")


@settings(max_examples=60, deadline=None)
@given(
    content=st.binary(max_size=600), start=st.sampled_from([b"", b"PK\x03\x04", b"MATLAB 5.0 MAT-file", b"\x80\x04"])
)
def test_any_other_bytes_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes, start: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "file"
    path.write_bytes(start + content)
    with pytest.raises(ModelError):
        load_model(path)


def test_a_folder_with_two_models(tmp_path: Path) -> None:
    write_basel(tmp_path)
    write_gnm(tmp_path / "gnm.npz")
    with pytest.raises(ModelError, match="several face models"):
        load_model(tmp_path)


def raw(**changes: object) -> RawModel:
    head = toy()
    weights = np.zeros((68, 3))
    weights[:, 0] = 1
    empty = np.zeros((len(head.mean), 3, 0), np.float32)
    fields: dict[str, object] = {
        "path": Path("toy"),
        "name": "toy",
        "licence": "none",
        "mean": head.mean,
        "triangles": head.triangles,
        "identity": empty,
        "expression": empty,
        "landmarks": (np.repeat(head.landmarks[:, None], 3, axis=1), weights),
        "mean_albedo": np.full(head.mean.shape, 0.5),
        "albedo": empty,
    }
    return RawModel(**(fields | changes))  # type: ignore[arg-type]


def test_the_derived_mask_leaves_eyes_and_mouth_out() -> None:
    model = finish(raw(), ModeCounts())
    centres = model.mean[model.triangles].mean(axis=1)
    marks = model.landmarks(model.mean)

    def masked(place: np.ndarray) -> bool:
        return bool(model.face_mask[np.linalg.norm(centres[:, :2] - place[:2], axis=1).argmin()])

    assert masked(marks[[2, 31]].mean(axis=0)), "cheek"
    assert masked(marks[27] + (0, 25, 0)), "forehead"
    assert masked(marks[33]), "nose"
    assert not masked(marks[36:42].mean(axis=0)), "eye"
    assert not masked(marks[62:67].mean(axis=0)), "mouth"
    assert not masked(marks[8] - (0, 12, 0)), "neck"


def test_what_lies_behind_the_skin_is_not_in_the_mask() -> None:
    head = toy()
    behind = head.mean - (0, 0, 5)
    bridge = np.array([[0, 1, len(behind)]])
    triangles = np.concatenate([head.triangles, head.triangles + len(behind), bridge])
    double = raw(mean=np.concatenate([head.mean, behind]), triangles=triangles, mean_albedo=None, albedo=None)
    double = RawModel(
        **{
            **vars(double),
            "identity": np.zeros((2 * len(behind), 3, 0), np.float32),
            "expression": np.zeros((2 * len(behind), 3, 0), np.float32),
        }
    )
    mask = finish(double, ModeCounts()).face_mask
    count = len(head.triangles)
    assert mask[:count].sum() > 1000
    assert mask[count : 2 * count].mean() < 0.05


def test_winding_is_turned_with_the_texture() -> None:
    head = toy()
    flat = np.arange(head.triangles.size).reshape(-1, 3)
    uv = head.mean[head.triangles.ravel(), :2]
    inward = raw(triangles=head.triangles[:, ::-1].copy(), uv=uv, uv_triangles=flat[:, ::-1].copy())
    model = finish(inward, ModeCounts())
    assert np.array_equal(model.triangles, head.triangles)
    assert np.array_equal(model.uv[model.uv_triangles], uv.astype(np.float32)[flat])


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (np.diag([-1.0, 1, 1]), "x to the image's right"),
        (np.diag([1.0, -1, 1]), "y up"),
        (np.diag([1.0, 1, -1]), "z towards the viewer"),
        (np.eye(3) * 1000, "which is no head"),
        (np.eye(3) / 1000, "which is no head"),
    ],
)
def test_reversed_axes_and_wrong_units_are_refused(matrix: np.ndarray, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        finish(raw(mean=toy().mean @ matrix), ModeCounts())


def test_triangles_against_their_neighbours_are_refused() -> None:
    triangles = toy().triangles.copy()
    triangles[::2] = triangles[::2, ::-1]
    assert winding_conflicts(triangles) > 0.05
    with pytest.raises(ModelError, match="wound against their neighbours"):
        finish(raw(triangles=triangles), ModeCounts())


def test_albedo_that_cannot_be_borrowed_is_a_skin_tone(caplog: pytest.LogCaptureFixture) -> None:
    head = toy()
    bent = head.mean * (1, 1, 0.2) + np.stack([0 * head.mean[:, 0]] * 2 + [30 * np.sin(head.mean[:, 0] / 9)], axis=1)
    bent[:, 2] += 60 * np.exp(-(((head.mean[:, :2] - (0, 3)) / 14) ** 2).sum(axis=1))
    model = finish(raw(mean=bent, mean_albedo=None, albedo=None), ModeCounts(albedo=5))
    assert "plain skin tone" in caplog.text
    assert model.albedo_count == 1
    assert np.ptp(model.mean_albedo, axis=0).max() == 0


def test_borrowed_albedo_is_that_of_the_same_place() -> None:
    model = finish(raw(mean_albedo=None, albedo=None), ModeCounts())
    # The toy default's colours are its coordinates; both toys have one mean surface.
    assert np.abs((model.mean_albedo - 0.5) * 1000 - model.mean).max() < 0.5


def test_landmarks_carried_over_to_another_head() -> None:
    """The default model itself, as another person, moved, turned a little and grown: a known answer."""
    default = load_model("default")
    random = np.random.default_rng(1)
    person = default.vertices(random.normal(size=default.identity_count) * 0.7)
    turned = 1.05 * person @ Rotation.from_euler("xyz", [4, -5, 3], degrees=True).as_matrix().T + (10, 20, -30)
    triangles = default.triangles.astype(np.int64)
    (vertices, weights), distance = find_landmarks(default, turned, triangles, {})
    found = np.einsum("lk,lkd->ld", weights, turned[vertices])
    assert distance < 1.5
    error = np.linalg.norm(found - default.landmarks(turned), axis=1)
    assert error[17:].mean() < 3
    marks = dict(enumerate(default.landmarks(turned)))
    laid = register(default, turned, triangles, marks)
    face = np.unique(default.triangles[default.face_mask])
    assert np.linalg.norm(laid.vertices - turned, axis=1)[face].mean() < 1.5


def test_mirror_of_a_symmetric_mesh() -> None:
    head = toy()
    mirror = mirror_vertices(head.mean, head.mean[head.landmarks])
    assert np.array_equal(mirror[mirror], np.arange(len(mirror)))
    assert np.abs(head.mean[mirror] * (-1, 1, 1) - head.mean).max() < 1e-9


def test_quads_keep_their_winding() -> None:
    assert quads_to_triangles(np.array([[5, 6, 7, 8]])).tolist() == [[5, 6, 7], [5, 7, 8]]


@settings(max_examples=50, deadline=None)
@given(
    corners=st.lists(st.lists(st.floats(-3, 3), min_size=3, max_size=3), min_size=3, max_size=3),
    query=st.lists(st.floats(-5, 5), min_size=3, max_size=3),
)
def test_nearest_point_of_a_triangle(corners: list[list[float]], query: list[float]) -> None:
    vertices, point = np.array(corners), np.array([query])
    found = Surface(vertices, np.array([[0, 1, 2]])).closest(point)
    grid = np.array([(a, b, 20 - a - b) for a in range(21) for b in range(21 - a)]) / 20
    best = np.linalg.norm(grid @ vertices - point, axis=1).min()
    assert found.distance[0] <= best + 1e-6
    assert found.weights.min() >= -1e-9
    assert np.allclose(found.weights @ vertices, found.position)
