"""What other projects keep beside a model, what users name instead of one, and files that a transfer altered."""

from __future__ import annotations

import io as bytes_io
import json
import logging
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest
from scipy import io
from toy_head import embedding, model_of, toy, write_basel, write_flame, write_gnm, write_ict, write_statismo

from faceinv.errors import ModelError
from faceinv.face.formats import load_model, save_npz_model


def pickled(content: object) -> bytes:
    return pickle.dumps(content, 2)


def flame_points(folder: Path, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """A toy FLAME model and its first-named embedding of `count` points."""
    head, stored = write_flame(folder / "generic_model.pkl")
    faces, weights = embedding(head, stored["f"].astype(np.int64), min(count, 68))
    more = count - len(faces)
    faces, weights = np.concatenate([faces, faces[:more]]), np.concatenate([weights, weights[:more]])
    return {"lmk_face_idx": faces.astype(np.uint32), "lmk_b_coords": weights}, stored


def dynamic_contour() -> dict[str, Any]:
    return {"lmk_face_idx": np.zeros((79, 17), np.uint32), "lmk_b_coords": np.full((79, 17, 3), 1 / 3)}


FLAME_NEIGHBOURS: dict[str, Callable[[Path], object]] = {
    "flame_dynamic_embedding.npy": lambda path: np.save(path, dynamic_contour(), allow_pickle=True),  # type: ignore[arg-type]
    "FLAME_masks.pkl": lambda path: path.write_bytes(pickled({"face": np.arange(5), "lips": np.arange(3)})),
    "mediapipe_landmark_embedding.npz": lambda path: np.savez(
        path, lmk_face_idx=np.zeros(105, int), lmk_b_coords=np.zeros((105, 3)), landmark_indices=np.arange(105)
    ),
    "l_eyelid.npy": lambda path: np.save(path, np.ones((5023, 3))),
    "empty.pkl": lambda path: path.write_bytes(b""),
    "wrong_mesh.pkl": lambda path: path.write_bytes(
        pickled({"lmk_face_idx": np.full(68, 10**6), "lmk_b_coords": np.full((68, 3), 1 / 3)})
    ),
    "nan.pkl": lambda path: path.write_bytes(
        pickled({"lmk_face_idx": np.zeros(51, int), "lmk_b_coords": np.full((51, 3), np.nan)})
    ),
    "text.npz": lambda path: path.write_bytes(b"not an archive"),
    "._generic_model.pkl": lambda path: path.write_bytes(b"\x00\x05\x16\x07" + bytes(200)),
    "folder.pkl": lambda path: path.mkdir(),
    "dangling.npy": lambda path: path.symlink_to("nowhere"),
    "big.pkl": lambda path: path.write_bytes(pickled({"masks": np.zeros(300_000)})),
    "weights.h5": lambda path: h5py.File(path, "w").close(),
    "mesh.npz": lambda path: np.savez(path, triangles=np.zeros((3, 3)), vertices=np.zeros((3, 3))),
    "info.mat": lambda path: io.savemat(path, {"trimIndex": np.arange(4.0)}),
    "release.zip": lambda path: zipfile.ZipFile(path, "w").close(),
    "readme.pdf": lambda path: path.write_bytes(b"%PDF-1.4"),
}


@pytest.mark.parametrize("name", FLAME_NEIGHBOURS)
@pytest.mark.parametrize("named", ["folder", "file"])
def test_flame_is_read_whatever_lies_beside_it(tmp_path: Path, name: str, named: str) -> None:
    points, stored = flame_points(tmp_path, 51)
    (tmp_path / "flame_static_embedding.pkl").write_bytes(pickled(points))
    FLAME_NEIGHBOURS[name](tmp_path / name)
    head = toy(identity=300, expression=6)
    model = load_model(tmp_path if named == "folder" else tmp_path / "generic_model.pkl", identity=4, expression=2)
    distance = np.linalg.norm(model.landmarks(model.mean) - head.mean[head.landmarks], axis=1)
    assert distance[17:].max() < 1e-3, "the static 51 are the file's"
    assert distance[:17].mean() < 4
    assert np.abs(model.mean - 1000 * stored["v_template"][4:]).max() < 1e-4


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("flame_dynamic_embedding.npy", "79 turns of the head"),
        ("mediapipe_landmark_embedding.npz", "other points than the 68"),
        ("wrong_mesh.pkl", "indices 1000000"),
        ("nan.pkl", "NaN"),
        ("empty.pkl", "not a complete pickle"),
        ("FLAME_masks.pkl", "no landmark embedding"),
    ],
)
def test_what_is_ignored_beside_flame_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, reason: str
) -> None:
    points, _ = flame_points(tmp_path, 68)
    (tmp_path / "static.pkl").write_bytes(pickled(points))
    FLAME_NEIGHBOURS[name](tmp_path / name)
    with caplog.at_level(logging.INFO, "faceinv"):
        load_model(tmp_path, identity=2, expression=2)
    said = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert len(said) == 1
    assert reason in said[0]


def test_of_70_flame_points_the_first_68_are_the_landmarks(tmp_path: Path) -> None:
    points, _ = flame_points(tmp_path, 70)
    np.save(tmp_path / "landmark_embedding_with_eyes.npy", points, allow_pickle=True)  # type: ignore[arg-type]
    head = toy(identity=300, expression=6)
    model = load_model(tmp_path, identity=2, expression=2)
    assert np.abs(model.landmarks(model.mean) - head.mean[head.landmarks]).max() < 1e-4


def test_a_named_embedding_points_to_the_model(tmp_path: Path) -> None:
    points, _ = flame_points(tmp_path, 51)
    (tmp_path / "static.pkl").write_bytes(pickled(points))
    with pytest.raises(ModelError, match="It is a landmark embedding; name the model beside it"):
        load_model(tmp_path / "static.pkl")


# Every format in a folder with all of it ----------------------------------------------------------------------------


MODELS: dict[str, Callable[[Path], object]] = {
    "own": lambda folder: save_npz_model(model_of(toy()), folder / "own.npz"),
    "basel2009": write_basel,
    "basel_h5": lambda folder: write_statismo(folder / "model2019.h5"),
    "ict": write_ict,
    "gnm": lambda folder: write_gnm(folder / "gnm_head.npz"),
}
NEIGHBOURS: dict[str, Callable[[Path], object]] = {
    **FLAME_NEIGHBOURS,
    "._x.obj": lambda path: path.write_bytes(b"\x00\x05\x16\x07" + bytes(200)),
    "result.obj": lambda path: path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"),
    "coloured.obj": lambda path: path.write_text("v 0 0 0 1 1 1\n"),
    "BFM_model_front.mat": lambda path: io.savemat(path, {"meanshape": np.ones((1, 9)), "idBase": np.ones((9, 2))}),
    "old.mat": lambda path: path.write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + b"\x89HDF\r\n\x1a\n"),
}


@pytest.mark.parametrize("kind", MODELS)
def test_no_neighbour_changes_a_model(tmp_path: Path, kind: str) -> None:
    for folder in (tmp_path / "alone", tmp_path / "crowd"):
        folder.mkdir()
        MODELS[kind](folder)
    for name, write in NEIGHBOURS.items():
        write(tmp_path / "crowd" / name)
    assert load_model(tmp_path / "crowd").fingerprint == load_model(tmp_path / "alone").fingerprint


def test_a_listed_expression_of_other_vertices_is_no_neighbour(tmp_path: Path) -> None:
    write_ict(tmp_path)
    (tmp_path / "jawOpen.obj").write_text("v 0 0 0\n")
    with pytest.raises(ModelError, match=r"jawOpen\.obj' has 1 vertices"):
        load_model(tmp_path)


def test_expressions_without_their_vertices_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder of Deep3D-like projects: the expression basis, but another file that says which vertices it moves."""
    write_basel(tmp_path)
    (tmp_path / "model_info.mat").rename(tmp_path / "facemodel_info.mat")
    model = load_model(tmp_path, identity=2)
    assert (model.identity_count, model.expression_count) == (2, 0)
    assert "needs 'model_info.mat' beside it" in caplog.text


# What is named instead of a model -----------------------------------------------------------------------------------


def packed(path: Path, kind: str) -> None:
    if kind == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("FLAME2020/generic_model.pkl", pickled({"v_template": 1}))
    else:
        mode: Any = f"w:{kind}"
        with tarfile.open(path, mode) as archive:
            content = tarfile.TarInfo("BaselFaceModel/01_MorphableModel.mat")
            content.size = 3000
            archive.addfile(content, bytes_io.BytesIO(bytes(3000)))


@pytest.mark.parametrize("kind", ["zip", "gz", "bz2", "xz", ""])
@pytest.mark.parametrize("inside", [False, True])
def test_an_archive_is_to_be_unpacked(tmp_path: Path, kind: str, inside: bool) -> None:
    packed(tmp_path / "BaselFaceModel", kind)
    with pytest.raises(ModelError, match=r"BaselFaceModel' is an archive .*: unpack it"):
        load_model(tmp_path if inside else tmp_path / "BaselFaceModel")


DERIVED: dict[str, Callable[[Path], object]] = {
    "BFM_model_front.mat": NEIGHBOURS["BFM_model_front.mat"],
    "BFM.mat": lambda path: io.savemat(path, {"model": {"shapeMU": np.ones((9, 1)), "shapePC": np.ones((9, 2))}}),
    "bfm_noneck_v3.pkl": lambda path: path.write_bytes(pickled({"u": np.ones(9), "w_shp": np.ones((9, 2))})),
}


@pytest.mark.parametrize("name", DERIVED)
@pytest.mark.parametrize("inside", [False, True])
def test_a_derived_basel_file_names_the_published_one(tmp_path: Path, name: str, inside: bool) -> None:
    DERIVED[name](tmp_path / name)
    with pytest.raises(ModelError, match=r"01_MorphableModel\.mat.*faces\.dmi\.unibas\.ch"):
        load_model(tmp_path if inside else tmp_path / name)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("headed", [False, True])
def test_matlab_7_3_gets_the_same_advice_in_a_folder(tmp_path: Path, inside: bool, headed: bool) -> None:
    path = tmp_path / "01_MorphableModel.mat"
    with h5py.File(path, "w", userblock_size=512 if headed else 0) as file:
        file["shapeMU"] = np.zeros(9)
    if headed:
        with path.open("r+b") as stream:
            stream.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64")
    with pytest.raises(ModelError, match=r"MATLAB 7\.3.*-v7"):
        load_model(tmp_path if inside else path)


def test_a_truncated_file_alone_in_a_folder_is_named(tmp_path: Path) -> None:
    write_basel(tmp_path, only_first=True)
    path = tmp_path / "01_MorphableModel.mat"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ModelError, match=r"01_MorphableModel\.mat' is damaged or truncated"):
        load_model(tmp_path)


# Transfers in text mode ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("inside", [False, True])
def test_a_pickle_with_other_line_ends_says_so(tmp_path: Path, protocol: int, inside: bool) -> None:
    path = tmp_path / "generic_model.pkl"
    write_flame(path, protocol=protocol)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(ModelError, match=r"generic_model\.pkl.*transfer in text mode"):
        load_model(tmp_path if inside else path)


def test_a_pickle_that_was_text_says_so(tmp_path: Path) -> None:
    path = tmp_path / "generic_model.pkl"
    write_flame(path)
    path.write_text(path.read_bytes().decode("utf-8", "replace"), encoding="utf-8")
    with pytest.raises(ModelError, match="read and written as text"):
        load_model(path)


def test_an_embedding_with_other_line_ends_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    points, _ = flame_points(tmp_path, 68)
    (tmp_path / "static.pkl").write_bytes(pickle.dumps(points, 0).replace(b"\n", b"\r\n"))
    load_model(tmp_path, identity=2, expression=2)
    assert "transfer in text mode" in caplog.text


@pytest.mark.parametrize("kind", ["basel2009", "basel_h5", "own", "gnm"])
def test_other_files_with_other_line_ends_say_so(tmp_path: Path, kind: str) -> None:
    MODELS[kind](tmp_path)
    path = max(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    with pytest.raises(ModelError, match="transfer in text mode"):
        load_model(path)


def test_damage_of_another_kind_is_not_blamed_on_a_transfer(tmp_path: Path) -> None:
    path = tmp_path / "generic_model.pkl"
    write_flame(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "text" not in str(caught.value)


def test_ict_without_a_list_takes_what_fits(tmp_path: Path) -> None:
    write_ict(tmp_path)
    table = json.loads((tmp_path / "vertex_indices.json").read_text())
    del table["expressions"]
    (tmp_path / "vertex_indices.json").write_text(json.dumps(table))
    assert load_model(tmp_path).expression_count == 2
