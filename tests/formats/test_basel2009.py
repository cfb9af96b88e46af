"""Basel Face Model 2009: a known answer, and one test for each way of reading it wrongly without noticing."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import io
from toy_head import BaselFiles, write_basel

from faceinv.errors import ModelError
from faceinv.face.formats import load_model
from faceinv.face.formats._mat import mat_names, read_mat


@pytest.fixture
def files(tmp_path: Path) -> BaselFiles:
    return write_basel(tmp_path / "basel")


def rewrite(path: Path, **changes: object) -> None:
    content = {name: value for name, value in io.loadmat(path).items() if not name.startswith("__")}
    io.savemat(path, content | changes)


def test_known_answer(files: BaselFiles) -> None:
    model = load_model(files.folder)
    # float32 files; the bases' largest entries are about 40 mm and 0.3.
    assert np.abs(model.mean - files.mean).max() < 1e-4
    assert np.abs(model.identity_basis - files.identity).max() < 1e-4
    assert np.abs(model.expression_basis - files.expression).max() < 1e-4
    assert np.abs(model.mean_albedo - files.mean_albedo).max() < 1e-6
    assert np.abs(model.albedo_basis - files.albedo).max() < 1e-6
    assert model.albedo_space == "srgb"
    coefficients = np.array([1.0, -2, 0.5, 0, 1]), np.array([0.3, -1, 2, 0])
    expected = files.mean + files.identity @ coefficients[0] + files.expression @ coefficients[1]
    assert np.abs(model.vertices(*coefficients) - expected).max() < 1e-3


def test_the_file_names_the_folder(files: BaselFiles) -> None:
    assert load_model(files.folder / "01_MorphableModel.mat").fingerprint == load_model(files.folder).fingerprint


def test_the_name_does_not_matter(files: BaselFiles) -> None:
    (files.folder / "01_MorphableModel.mat").rename(files.folder / "face.bin")
    assert load_model(files.folder).vertex_count == len(files.mean)


def test_default_counts_cut_identity_and_albedo(tmp_path: Path) -> None:
    files = write_basel(tmp_path, identity=103, expression=7, albedo=102)
    model = load_model(files.folder)
    assert (model.identity_count, model.expression_count, model.albedo_count) == (100, 7, 100)
    assert load_model(files.folder, identity=103).identity_count == 103


def test_trap_reading_order(files: BaselFiles) -> None:
    """One mode after another: the first 3N numbers are mode 0, not the first components of all modes."""
    first = np.fromfile(files.folder / "Exp_Pca.bin", "<f4", offset=4)[files.mean.size :][: files.mean.size]
    stored = load_model(files.folder).expression_basis[:, :, 0].ravel()
    assert np.corrcoef(first, stored)[0, 1] > 0.9999
    path = files.folder / "Exp_Pca.bin"
    head = path.read_bytes()[: 4 + 4 * files.mean.size]
    modes = np.fromfile(path, "<f4", offset=len(head)).reshape(-1, files.mean.size)
    path.write_bytes(head + np.ascontiguousarray(modes.T).tobytes())
    with pytest.raises(ModelError, match="cosine"):
        load_model(files.folder)


def test_trap_float_width(files: BaselFiles) -> None:
    path = files.folder / "Exp_Pca.bin"
    content = np.fromfile(path, "<f4", offset=4)
    path.write_bytes(path.read_bytes()[:4] + content.astype("<f8").tobytes())
    with pytest.raises(ModelError, match="float32"):
        load_model(files.folder)


def test_trap_index_base(files: BaselFiles) -> None:
    """tri and trimIndex count from 1, keypoints from 0."""
    model = load_model(files.folder)
    assert np.array_equal(model.landmark_vertices[:, 0], files.head.landmarks)
    assert {tuple(sorted(t)) for t in model.triangles.tolist()} == {
        tuple(sorted(t)) for t in files.head.triangles.tolist()
    }
    info = files.folder / "model_info.mat"
    rewrite(info, tri=io.loadmat(info)["tri"] - 1)
    with pytest.raises(ModelError, match=r"'tri' has indices 0\.\."):
        load_model(files.folder)


def test_keypoints_from_one_are_known_by_the_nose(files: BaselFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    from faceinv.face.formats import basel2009

    monkeypatch.setattr(basel2009, "_NOSE_BRIDGE", tuple(files.head.landmarks[27:31].tolist()))
    info = files.folder / "model_info.mat"
    rewrite(info, keypoints=io.loadmat(info)["keypoints"] + 1)
    assert np.array_equal(load_model(files.folder).landmark_vertices[:, 0], files.head.landmarks)


def test_trap_mean_expression(files: BaselFiles) -> None:
    path = files.folder / "Exp_Pca.bin"
    content = bytearray(path.read_bytes())
    with_expression = load_model(files.folder).mean
    content[4 : 4 + 4 * files.mean.size] = bytes(4 * files.mean.size)
    path.write_bytes(content)
    without = load_model(files.folder).mean
    assert np.abs(with_expression - without).max() > 1
    assert np.abs(without - files.head.mean).max() < 1e-4


def test_trap_standard_deviations(files: BaselFiles) -> None:
    """The deviations multiply the modes, once, and are neither squared nor rooted."""
    model = load_model(files.folder)
    raw = io.loadmat(files.folder / "01_MorphableModel.mat")
    deviation = np.loadtxt(files.folder / "std_exp.txt")
    assert np.linalg.norm(model.expression_basis, axis=(0, 1)) == pytest.approx(deviation / 1000, rel=1e-4)
    assert np.linalg.norm(model.identity_basis, axis=(0, 1)) == pytest.approx(raw["shapeEV"].ravel() / 1000, rel=1e-4)
    assert np.linalg.norm(model.albedo_basis, axis=(0, 1)) == pytest.approx(raw["texEV"].ravel() / 255, rel=1e-4)


def test_triangles_are_turned_outwards(files: BaselFiles) -> None:
    model = load_model(files.folder)
    a, b, c = (model.mean[model.triangles[:, k]].astype(float) for k in range(3))
    assert np.cross(b - a, c - a)[model.face_mask][:, 2].min() > 0


def test_only_the_first_file(tmp_path: Path) -> None:
    files = write_basel(tmp_path, only_first=True)
    model = load_model(tmp_path / "01_MorphableModel.mat")
    assert (model.identity_count, model.expression_count, model.albedo_count) == (5, 0, 3)
    found = model.landmarks(model.mean)
    # Carried over from the default model: another smooth head, so a few millimetres.
    assert np.linalg.norm(found - files.head.mean[files.head.landmarks], axis=1).mean() < 4


def test_landmark_file_beside_overrides(files: BaselFiles) -> None:
    shifted = files.head.landmarks + 1
    (files.folder / "landmarks.txt").write_text("# mine\n" + "\n".join(map(str, shifted)))
    assert np.array_equal(load_model(files.folder).landmark_vertices[:, 0], shifted)
    (files.folder / "landmarks.txt").write_text("\n".join(map(str, shifted[:60])))
    with pytest.raises(ModelError, match="60 landmarks, expected 68"):
        load_model(files.folder)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("model_info.mat", {"keypoints": np.zeros((1, 66))}, "'keypoints' has 66 landmarks, expected 68"),
        ("model_info.mat", {"keypoints": np.full((1, 68), 9e6)}, "'keypoints' has indices 9000000"),
        ("model_info.mat", {"trimIndex": np.arange(20.0)}, "'trimIndex' has indices 0"),
        ("01_MorphableModel.mat", {"shapeEV": np.zeros((5, 1))}, "'shapeEV' holds standard deviations"),
        ("01_MorphableModel.mat", {"texEV": np.ones((2, 1))}, r"'texEV' has shape \(2,\), expected \(3\)"),
        ("01_MorphableModel.mat", {"shapeMU": np.ones((7, 1))}, "'shapeMU' has 7 numbers"),
        ("01_MorphableModel.mat", {"shapeMU": np.full((9, 1), np.nan)}, "'shapeMU' holds NaN"),
        ("01_MorphableModel.mat", {"shapeMU": "text"}, "'shapeMU' holds no real numbers"),
    ],
)
def test_wrong_fields_are_named(files: BaselFiles, name: str, changes: dict[str, object], message: str) -> None:
    rewrite(files.folder / name, **changes)
    with pytest.raises(ModelError, match=message):
        load_model(files.folder)


def test_missing_files_are_named(files: BaselFiles, caplog: pytest.LogCaptureFixture) -> None:
    (files.folder / "std_exp.txt").unlink()
    with pytest.raises(ModelError, match=r"std_exp\.txt"):
        load_model(files.folder)
    (files.folder / "model_info.mat").unlink()
    with pytest.raises(ModelError, match=r"has 0 expression modes; 4 were asked for"):
        load_model(files.folder, expression=4)
    assert "needs 'model_info.mat'" in caplog.text


def test_deviations_of_another_count(files: BaselFiles) -> None:
    (files.folder / "std_exp.txt").write_text("1 2 3")
    with pytest.raises(ModelError, match="has 3 numbers, expected 4"):
        load_model(files.folder)


def test_matlab_7_3_is_refused_with_the_remedy(tmp_path: Path) -> None:
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + b"\x89HDF\r\n\x1a\n"
    (tmp_path / "01_MorphableModel.mat").write_bytes(head)
    with pytest.raises(ModelError, match=r"MATLAB 7\.3.*-v7"):
        load_model(tmp_path / "01_MorphableModel.mat")


def test_too_many_modes_are_refused(files: BaselFiles) -> None:
    for kind in ("identity", "expression", "albedo"):
        with pytest.raises(ModelError, match=f"{kind} modes; 50 were asked for"):
            load_model(files.folder, **{kind: 50})  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), name=st.sampled_from(["01_MorphableModel.mat", "model_info.mat", "Exp_Pca.bin"]))
def test_truncated_files_say_so(tmp_path_factory: pytest.TempPathFactory, share: float, name: str) -> None:
    folder = tmp_path_factory.mktemp("cut")
    write_basel(folder, identity=2, expression=2, albedo=2)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(ModelError):
        load_model(folder / "01_MorphableModel.mat")


@settings(max_examples=20, deadline=None)
@given(modes=st.integers(-5, 2**31 - 1).filter(lambda k: k != 2))
def test_expression_header_must_match_the_size(tmp_path_factory: pytest.TempPathFactory, modes: int) -> None:
    folder = tmp_path_factory.mktemp("header")
    write_basel(folder, identity=2, expression=2, albedo=2)
    path = folder / "Exp_Pca.bin"
    path.write_bytes(struct.pack("<i", modes) + path.read_bytes()[4:])
    with pytest.raises(ModelError, match=f"header says {modes} modes"):
        load_model(folder)


@pytest.mark.parametrize("deflated", [False, True])
def test_matlab_reader_agrees_with_scipy(tmp_path: Path, deflated: bool) -> None:
    random = np.random.default_rng(0)
    content: dict[str, NDArray[Any]] = {
        "a": random.normal(size=(5, 7)),
        "single": random.normal(size=(3, 1)).astype(np.float32),
        "tiny": np.array([[3]], np.uint8),
        "whole": random.integers(-9, 9, (2, 3, 4)).astype(np.int32),
        "empty": np.zeros((0, 3)),
        "a_name_of_thirty_one_characters": random.normal(size=(900, 40)),
    }
    path = tmp_path / "x.mat"
    io.savemat(path, content | {"text": "hello", "cell": np.array([1, "x"], object)}, do_compression=deflated)
    assert mat_names(path) == {*content, "text", "cell"}
    read = read_mat(path, tuple(content))
    for name, value in content.items():
        assert np.array_equal(read[name], value)
    for name in ("text", "cell"):
        with pytest.raises(ModelError, match=f"'{name}' holds no real numbers"):
            read_mat(path, (name,))


@settings(max_examples=100, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    deflated=st.booleans(),
)
def test_damaged_matlab_files_are_refused_or_read(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], deflated: bool
) -> None:
    """Nothing but a ModelError, whatever byte is wrong."""
    path = tmp_path_factory.mktemp("damaged") / "x.mat"
    io.savemat(path, {"a": np.arange(60.0), "b": np.ones((4, 5), np.float32)}, do_compression=deflated)
    content = bytearray(path.read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    path.write_bytes(content)
    mat_names(path)
    try:
        assert read_mat(path, ("a", "b"))["a"].size == 60
    except ModelError:
        return
