"""FLAME pickles: a known answer, and pickles that ask for more than arrays."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_head import embedding, write_flame

from faceinv.errors import ModelError
from faceinv.face.formats import load_model
from faceinv.face.formats._pickle import load_arrays


def add_embedding(folder: Path, count: int = 68, style: str = "deca") -> None:
    head, stored = write_flame(folder / "again.pkl")
    (folder / "again.pkl").unlink()
    faces, weights = embedding(head, stored["f"].astype(np.int64), count)
    if style == "deca":
        content: dict[str, Any] = {
            "full_lmk_faces_idx": faces[None],
            "full_lmk_bary_coords": weights[None],
            "dynamic_lmk_faces_idx": [np.zeros(17, np.int64)] * 3,
        }
        np.save(folder / "landmark_embedding.npy", content, allow_pickle=True)  # type: ignore[arg-type]
    else:
        content = {"lmk_face_idx": faces.astype(np.uint32), "lmk_b_coords": weights}
        (folder / "flame_static_embedding.pkl").write_bytes(pickle.dumps(content, 2))


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("chumpy", [False, True])
def test_known_answer(tmp_path: Path, protocol: int, chumpy: bool) -> None:
    head, stored = write_flame(tmp_path / "model.weights", chumpy, protocol)
    add_embedding(tmp_path)
    model = load_model(tmp_path / "model.weights")
    assert (model.identity_count, model.expression_count) == (300, 6)
    assert model.vertex_count == len(head.mean), "the eyeball is left out"
    assert np.abs(model.mean - head.mean).max() < 1e-4
    assert np.abs(model.identity_basis - stored["shapedirs"][4:, :, :300] * 1000).max() < 1e-4
    assert np.abs(model.expression_basis - stored["shapedirs"][4:, :, 300:] * 1000).max() < 1e-4
    assert np.abs(model.landmarks(model.mean) - head.mean[head.landmarks]).max() < 1e-4
    assert model.albedo_count == 3, "borrowed from the default model"
    assert model.albedo_space == "linear"


def test_51_landmarks_keep_their_place_and_the_jaw_is_carried_over(tmp_path: Path) -> None:
    head, _ = write_flame(tmp_path / "model.pkl")
    add_embedding(tmp_path, 51, "ringnet")
    model = load_model(tmp_path / "model.pkl", identity=10)
    distance = np.linalg.norm(model.landmarks(model.mean) - head.mean[head.landmarks], axis=1)
    assert distance[17:].max() < 1e-3
    assert distance[:17].mean() < 4


def test_landmarks_of_another_count_are_ignored_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    head, _ = write_flame(tmp_path / "model.pkl")
    add_embedding(tmp_path, 50, "ringnet")
    model = load_model(tmp_path / "model.pkl", identity=2)
    assert "'lmk_face_idx' has 50 landmarks, expected 68, 51 or 70" in caplog.text
    distance = np.linalg.norm(model.landmarks(model.mean) - head.mean[head.landmarks], axis=1)
    assert distance.mean() < 8, "carried over from the default model"


def test_a_folder_with_one_model(tmp_path: Path) -> None:
    write_flame(tmp_path / "flame2023.pkl")
    add_embedding(tmp_path, style="ringnet")
    assert load_model(tmp_path, identity=3).identity_count == 3
    write_flame(tmp_path / "female.pkl")
    with pytest.raises(ModelError, match=r"several face models \(female\.pkl, flame2023\.pkl\)"):
        load_model(tmp_path)


class Attack:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickle_that_imports_is_refused(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"v_template": Attack(marker)}, protocol))
    with pytest.raises(ModelError, match="which is no numeric array"):
        load_model(tmp_path / "model.pkl")
    assert not marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"cos\nsystem\n(S'true'\ntR.",
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nload\n(S'x'\ntR.",
        b"\x80\x04\x8c\x08builtins\x8c\x07getattr\x93.",
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct.x\n.",
        b"\x80\x02X\x01\x00\x00\x00aQ.",
    ],
)
def test_crafted_pickles_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pkl").write_bytes(content)
    with pytest.raises(ModelError, match=r"refused|not a complete pickle"):
        load_arrays(tmp_path / "model.pkl")


def test_truncated(tmp_path: Path) -> None:
    write_flame(tmp_path / "model.pkl")
    whole = (tmp_path / "model.pkl").read_bytes()
    (tmp_path / "model.pkl").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"not a complete pickle|refused"):
        load_model(tmp_path / "model.pkl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"f": np.array([[0, 1, 99999]])}, "field 'f' has indices 0..99999"),
        ({"v_template": np.full((1500, 3), np.inf)}, "'mean' holds NaN|shapedirs"),
        ({"shapedirs": np.zeros((3, 3, 5))}, r"field 'shapedirs' has shape \(3, 3, 5\)"),
        ({"shapedirs": "none"}, "field 'shapedirs' holds <U4"),
    ],
)
def test_wrong_fields_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    write_flame(tmp_path / "model.pkl", **changes)
    with pytest.raises(ModelError, match=message):
        load_model(tmp_path / "model.pkl")


def test_micrometres_instead_of_metres(tmp_path: Path) -> None:
    _, stored = write_flame(tmp_path / "model.pkl")
    write_flame(tmp_path / "model.pkl", v_template=stored["v_template"] * 1e6)
    add_embedding(tmp_path)
    with pytest.raises(ModelError, match=r"spans .* mm, which is no head"):
        load_model(tmp_path / "model.pkl")
