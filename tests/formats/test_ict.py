"""ICT-FaceKit: toy folders, and the published files where they are at hand."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from toy_head import toy, write_ict

from faceinv.errors import ModelError
from faceinv.face.formats import load_model

PUBLISHED = Path(__file__).parents[3] / "shared" / "data" / "ict" / "FaceXModel"
published = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="the ICT-FaceKit files are not at hand")


def test_known_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        write_ict(tmp_path)
        model = load_model(tmp_path)
    head = toy(identity=3, expression=2)
    assert "3 identity and 2 expression files" in caplog.text
    assert np.abs(model.mean - head.mean).max() < 1e-4
    assert sorted(model.expression_names) == ["aSmall", "jawOpen"]
    assert model.expression_names[0] == "jawOpen", "it moves the face further"
    jaw = head.expression[:, 1].reshape(-1, 3) * 60
    assert np.abs(model.expression_basis[:, :, 0] - 0.25 * jaw).max() < 1e-3, "full strength is four deviations"
    assert model.expression_units is not None
    assert model.expression_units.values(np.array([2.0, 0.0])) == {"aSmall": 0.0, "jawOpen": 0.5}
    assert np.abs(model.identity_basis - (head.identity * 60).reshape(-1, 3, 3)).max() < 1e-3, (
        "in the order of their numbers"
    )
    assert np.abs(model.landmarks(model.mean) - head.mean[head.landmarks]).max() < 1e-4
    corner = model.uv[model.uv_triangles].reshape(-1, 2)
    assert np.abs(corner - 0.5 - model.mean[model.triangles].reshape(-1, 3)[:, :2] / 300).max() < 1e-4


def test_pairs_become_their_sum_and_their_difference(tmp_path: Path) -> None:
    names = ("blink_L", "blink_R", "jawLeft", "jawRight", "open")
    write_ict(tmp_path, expressions=names)
    model, head = load_model(tmp_path), toy(identity=3, expression=5)
    full = [head.expression[:, k].reshape(-1, 3) * (30 + 30 * k) for k in range(5)]
    wanted = {
        "blink_L + blink_R": 0.25 * (full[0] + full[1]),
        "blink_L - blink_R": 0.06 * (full[0] - full[1]),
        "jawLeft": 0.15 * full[2],
        "jawRight": 0.15 * full[3],
        "open": 0.25 * full[4],
    }
    assert set(model.expression_names) == set(wanted)
    for name, basis in zip(model.expression_names, np.moveaxis(model.expression_basis, 2, 0), strict=True):
        assert np.abs(basis - wanted[name]).max() < 1e-3
    units = model.expression_units
    assert units is not None
    some = {"blink_L": 0.7, "blink_R": 0.1, "jawLeft": 0.0, "jawRight": 0.3, "open": -0.2}
    moved = model.vertices(expression=units.coefficients(some)) - model.mean
    assert np.abs(moved - sum(v * f for v, f in zip(some.values(), full, strict=True))).max() < 1e-3
    assert units.values(units.coefficients(some)) == pytest.approx(some)


def test_quads_become_two_triangles(tmp_path: Path) -> None:
    write_ict(tmp_path)
    assert len(load_model(tmp_path).triangles) == len(toy().triangles)


def test_the_clone_itself_may_be_named(tmp_path: Path) -> None:
    write_ict(tmp_path / "FaceXModel", identities=1, expressions=("jawOpen",))
    model = load_model(tmp_path)
    assert (model.identity_count, model.expression_names) == (1, ("jawOpen",))


def test_fewer_modes(tmp_path: Path) -> None:
    write_ict(tmp_path)
    with pytest.raises(ModelError, match="has 2 expression modes; 3 were asked for"):
        load_model(tmp_path, expression=3)
    model = load_model(tmp_path, identity=1, expression=1, albedo=2)
    assert (model.identity_count, model.expression_names, model.albedo_count) == (1, ("jawOpen",), 2)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("identity001.obj", lambda text: text.replace("v ", "# ", 5), "has 1495 vertices, but"),
        ("jawOpen.obj", lambda text: text.replace("v ", "v x", 1), "'v' line holds no numbers"),
        ("generic_neutral_mesh.obj", lambda text: text[: text.index("usemtl")], "no faces"),
        ("generic_neutral_mesh.obj", lambda text: text[: len(text) // 4], "'v' lines hold"),
        ("generic_neutral_mesh.obj", lambda text: text + "f 1 2 99999\n", "field 'f' has indices"),
        ("generic_neutral_mesh.obj", lambda text: text + f"f 1 2 {10**30}\n", "'f' line holds no indices"),
        ("vertex_indices.json", lambda text: "{}", "'idx_to_landmark_verts' cannot be read"),
        ("vertex_indices.json", lambda text: '{"idx_to_landmark_verts": [1, 2]}', "has 2 landmarks, expected 68"),
    ],
)
def test_wrong_files_are_named(tmp_path: Path, file: str, change: object, message: str) -> None:
    write_ict(tmp_path)
    assert callable(change)
    (tmp_path / file).write_text(change((tmp_path / file).read_text()))
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path)


@published
def test_published_files() -> None:
    model = load_model(PUBLISHED)
    assert (model.vertex_count, model.identity_count, model.expression_count) == (14062, 3, 3)
    assert set(model.expression_names) == {"browInnerUp_L", "jawOpen", "mouthSmile_L"}
    assert model.expression_units is not None
    assert set(model.expression_units.names) == set(model.expression_names)
    marks = model.landmarks(model.mean)
    assert 80 < marks[45, 0] - marks[36, 0] < 100, "outer eye corners, mm"
    jaw_open = model.expression_basis[:, :, model.expression_names.index("jawOpen")]
    assert model.landmarks(4 * jaw_open)[8, 1] < -20, "the chin goes down"
    assert np.array_equal(model.mirror[model.mirror], np.arange(model.vertex_count)), "a symmetric mesh"
    centres = model.mean[model.triangles].mean(axis=1)
    cheeks = (marks[2] + marks[31]) / 2, (marks[14] + marks[35]) / 2, marks[27] + (0, 30, 0)
    for place in cheeks:
        near = np.flatnonzero(np.linalg.norm(centres[:, :2] - place[:2], axis=1) < 4)
        assert model.face_mask[near[centres[near, 2].argmax()]], "cheeks and forehead are in the mask"
    assert not model.face_mask[centres[:, 1] < marks[8, 1] - 5].any(), "no neck"
    face = load_model(PUBLISHED, face_only=True)
    assert face.vertex_count < 0.8 * model.vertex_count
    assert face.face_mask.sum() == model.face_mask.sum()
    assert np.abs(face.landmarks(face.mean) - marks).max() < 1e-4
