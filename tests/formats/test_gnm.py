"""GNM heads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_head import write_gnm

from faceinv.errors import ModelError
from faceinv.face.formats import load_model


def test_known_answer(tmp_path: Path) -> None:
    head = write_gnm(tmp_path / "gnm_head.npz")
    model = load_model(tmp_path / "gnm_head.npz")
    assert np.abs(model.mean - head.mean).max() < 1e-4
    assert model.identity_count == 4, "the eyes' own mode moves nothing that is kept"
    assert np.abs(model.identity_basis - (head.identity * 50).reshape(-1, 3, 4)).max() < 1e-4
    assert model.expression_names == ("e1", "e3", "e4", "e2", "e0"), "by how far they move the face"
    assert np.abs(model.expression_basis[:, :, 0] - head.expression[:, 1].reshape(-1, 3) * 50).max() < 1e-4
    assert np.abs(model.landmarks(model.mean) - head.mean[head.landmarks]).max() < 1e-2
    assert np.abs(model.mean[model.mirror] * (-1, 1, 1) - model.mean).max() < 1e-3
    corner = model.uv[model.uv_triangles].reshape(-1, 2)
    assert np.abs(corner - 0.5 - model.mean[model.triangles].reshape(-1, 3)[:, :2] / 300).max() < 1e-4


def test_quads_alone(tmp_path: Path) -> None:
    whole = write_gnm(tmp_path / "a.npz")
    write_gnm(tmp_path / "b.npz", quads_only=True)
    assert len(load_model(tmp_path / "b.npz").triangles) == len(whole.triangles)


def test_jaw_out_of_turn_is_put_in_order(tmp_path: Path) -> None:
    head = write_gnm(tmp_path / "gnm_head.npz", jaw_out_of_turn=True)
    model = load_model(tmp_path / "gnm_head.npz")
    assert np.abs(model.landmarks(model.mean) - head.mean[head.landmarks]).max() < 1e-2


def test_fewer_modes_are_the_most_important(tmp_path: Path) -> None:
    write_gnm(tmp_path / "gnm_head.npz")
    model = load_model(tmp_path / "gnm_head.npz", identity=2, expression=2)
    assert model.expression_names == ("e1", "e3")
    assert model.identity_count == 2
    with pytest.raises(ModelError, match="has 5 identity modes; 6 were asked for"):
        load_model(tmp_path / "gnm_head.npz", identity=6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"triangles": np.array([[0, 1, 99999]])}, "'triangles' has indices 0..99999"),
        ({"expression_basis": np.zeros((2, 7, 3))}, r"'expression_basis' has shape \(2, 7, 3\)"),
        ({"expression_names": np.array(["one"])}, "1 'expression_names' for 5 modes"),
        ({"mirror_indices": np.zeros(3, int)}, "'mirror_indices' has shape"),
        ({"template_vertex_positions": np.array([{}], object)}, "cannot be read"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_gnm(tmp_path / "gnm_head.npz", **changes)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "gnm_head.npz")


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "gnm.npz", template_vertex_positions=np.zeros((4, 3)))
    with pytest.raises(ModelError, match="lacks vertex_identity_basis, expression_basis"):
        load_model(tmp_path / "gnm.npz")
