"""Basel Face Model 2017 and 2019 in Statismo's layout."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from toy_head import write_statismo

from faceinv.errors import ModelError
from faceinv.face.formats import load_model

h5py = pytest.importorskip("h5py", reason="h5py is not installed; pip install 'faceinv[formats]'")


@pytest.mark.parametrize("layout", [{}, {"scaled": True}, {"dictionary": True}, {"opaque": True}])
def test_known_answer(tmp_path: Path, layout: dict[str, bool]) -> None:
    """Variances are rooted, the mean expression is added, and already scaled bases are not scaled twice."""
    files = write_statismo(tmp_path / "face.data", **layout)  # type: ignore[arg-type]
    model = load_model(files.path)
    assert np.abs(model.mean - files.mean).max() < 1e-4
    assert np.abs(model.identity_basis - files.identity).max() < 1e-4
    assert np.abs(model.expression_basis - files.expression).max() < 1e-4
    assert np.abs(model.mean_albedo - files.mean_albedo).max() < 1e-6
    assert np.abs(model.albedo_basis - files.albedo).max() < 1e-6
    assert np.array_equal(model.triangles, files.head.triangles)
    found = model.landmarks(model.mean)
    named = [30, 36, 45, 54]
    assert np.abs(found[named] - files.mean[files.head.landmarks[named]]).max() < 0.1
    assert np.linalg.norm(found - files.mean[files.head.landmarks], axis=1).mean() < 3


def test_fewer_modes(tmp_path: Path) -> None:
    files = write_statismo(tmp_path / "face.h5")
    model = load_model(files.path, identity=2, expression=0, albedo=1)
    assert (model.identity_count, model.expression_count, model.albedo_count) == (2, 0, 1)
    assert np.abs(model.identity_basis - files.identity[:, :, :2]).max() < 1e-4


@pytest.mark.parametrize("group", ["shape/model/pcaVariance", "color/model", "shape/representer/cells"])
def test_a_missing_group_is_named(tmp_path: Path, group: str) -> None:
    path = write_statismo(tmp_path / "face.h5", without=group).path
    with pytest.raises(ModelError, match=f"lacks the group '{group}"):
        load_model(path)


def test_a_model_without_expressions(tmp_path: Path) -> None:
    files = write_statismo(tmp_path / "face.h5", without="expression")
    model = load_model(files.path)
    assert model.expression_count == 0
    assert np.abs(model.mean - files.head.mean).max() < 1e-4


def test_truncated(tmp_path: Path) -> None:
    path = write_statismo(tmp_path / "face.h5").path
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(ModelError, match="damaged or truncated"):
        load_model(path)


def test_variances_taken_for_deviations_are_noticed(tmp_path: Path) -> None:
    path = write_statismo(tmp_path / "face.h5").path
    with h5py.File(path, "r+") as file:
        file["shape/model/pcaBasis"][...] *= 7
    with pytest.raises(ModelError, match="neither of length 1"):
        load_model(path)


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_statismo(tmp_path / "face.h5").path
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ModelError, match=r"pip install \"faceinv\[formats\]\""):
        load_model(path)
