"""Parameters in the layout of 3DFace, which make the same surface from the published files."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from calls import invoke
from numpy.typing import NDArray
from PIL import Image
from quick import quick_fit, sample
from scipy import io
from toy_head import model_of, toy, write_basel

from faceinv.errors import InputError
from faceinv.face.camera import Camera
from faceinv.face.formats import load_model
from faceinv.face.state import Face
from faceinv.fitting.config import FitConfig
from faceinv.fitting.result import FitResult
from faceinv.output.parameters_3dface import write_3dface
from faceinv.run.outputs import FitOptions, clean_leftovers, write_result


@pytest.fixture(scope="module")
def basel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("basel")
    write_basel(folder, identity=103, expression=79, albedo=5)
    return folder


def face_of(folder: Path) -> tuple[Face, NDArray[np.float64]]:
    """A face of the model in a folder, and its vertices."""
    model = load_model(folder)
    random = np.random.default_rng(1)
    camera = Camera(1.0, np.eye(3), np.zeros(2))
    face = dataclasses.replace(
        Face.mean(model, camera, np.zeros((9, 3))), identity=random.normal(size=100), expression=random.normal(size=79)
    )
    return face, face.vertices(model)


def test_the_files_own_bases_make_the_surface(basel: Path, tmp_path: Path) -> None:
    face, vertices = face_of(basel)
    write_3dface(load_model(basel), str(basel), face, tmp_path / "new" / "a.txt")
    numbers = np.loadtxt(tmp_path / "new" / "a.txt")
    assert numbers.shape == (179,)
    mat, info = io.loadmat(basel / "01_MorphableModel.mat"), io.loadmat(basel / "model_info.mat")
    count = len(vertices)
    raw = np.fromfile(basel / "Exp_Pca.bin", "<f4", offset=4).reshape(80, 3 * count)
    trim = info["trimIndex"].ravel().astype(int) - 1
    shape = mat["shapeMU"].ravel() + mat["shapePC"][:, :100] @ numbers[:100]
    surface = shape.reshape(-1, 3)[trim] + (raw[0] + numbers[100:] @ raw[1:]).reshape(-1, 3)
    assert np.abs(surface / 1000 - vertices).max() < 2e-3


def test_another_model_has_no_such_parameters(basel: Path, tmp_path: Path) -> None:
    face, _ = face_of(basel)
    with pytest.raises(InputError, match="of the model 'toy'"):
        write_3dface(model_of(toy()), "toy", face, tmp_path / "a.txt")
    with pytest.raises(InputError, match="read with 103 and 79"):
        write_3dface(load_model(basel, identity=103), str(basel), face, tmp_path / "a.txt")
    with pytest.raises(InputError, match="Give the model by its path"):
        write_3dface(load_model(basel), "Basel Face Model 2009", face, tmp_path / "a.txt")
    assert not list(tmp_path.iterdir())


def test_the_command_line_refuses_it_before_fitting(tmp_path: Path) -> None:
    run = invoke("fit", sample(), "--export", "3dface", "-o", tmp_path / "out")
    assert run.status == 2
    assert "--model FOLDER" in run.err
    assert not (tmp_path / "out").exists()


def test_files_on_request_stand_in_the_record(basel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(basel)
    face, _ = face_of(basel)
    result = dataclasses.replace(quick_fit(), model=model, model_source=str(basel), face=face)
    for slow in ("save", "export", "overlay"):
        monkeypatch.setattr(FitResult, slow, lambda *_, **__: Image.new("RGB", (4, 4)))
    options = FitOptions(str(basel), "numpy", FitConfig(), "albedo", exports=("3dface",))
    record = write_result(result, tmp_path, "a", options, {})
    assert list(record["files"]) == ["npz", "glb", "overlay", "3dface", "json"]
    assert (tmp_path / record["files"]["3dface"]).read_text().count("\n") == 179
    with pytest.raises(InputError, match="expected '3dface'"):
        result.export_parameters(tmp_path / "b.txt", "2dface")  # type: ignore[arg-type]
    killed = tmp_path / ".a_3dface.abcdefgh.txt"
    killed.touch()
    clean_leftovers(tmp_path, "a")
    assert not killed.exists()
