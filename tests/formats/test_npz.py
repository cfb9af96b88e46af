"""faceinv's own model file: damage of any kind is a ModelError that names the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from small import few_modes
from toy_head import model_of, toy

from faceinv.errors import ModelError
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.jaw_band import jaw_band


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("npz") / "toy.npz"
    save_npz_model(model_of(toy()), path)
    return path


def fields_of(path: Path) -> dict[str, Any]:
    with np.load(path) as archive:
        return {key: archive[key] for key in archive.files}


def test_every_field_comes_back(whole: Path) -> None:
    model, again = model_of(toy()), load_npz_model(whole)
    for name in ("name", "licence", "albedo_space", "expression_names"):
        assert getattr(again, name) == getattr(model, name)
    for name in ("mean", "identity_basis", "triangles", "landmark_weights", "face_mask", "jaw_band", "uv", "mirror"):
        assert np.array_equal(getattr(again, name), getattr(model, name)), name
        assert getattr(again, name).dtype == getattr(model, name).dtype


def test_files_without_a_band_get_it_from_the_surface(tmp_path: Path) -> None:
    """As those of faceinv 0.1, which hold rows of vertices in its place."""
    model = few_modes()
    save_npz_model(model, tmp_path / "new.npz")
    stored = fields_of(tmp_path / "new.npz")
    del stored["jaw_band"]
    np.savez(tmp_path / "old.npz", jaw_contour=np.zeros((17, 3), np.int32), **stored)
    assert np.array_equal(
        load_npz_model(tmp_path / "old.npz").jaw_band,
        jaw_band(model.mean, model.triangles, model.landmark_vertices, model.landmark_weights),
    )


def test_half_precision_stores_bases_only(tmp_path: Path) -> None:
    model = model_of(toy())
    save_npz_model(model, tmp_path / "half.npz", dtype=np.float16)
    again = load_npz_model(tmp_path / "half.npz")
    assert np.array_equal(again.mean, model.mean)
    assert again.identity_basis == pytest.approx(model.identity_basis, rel=1e-3, abs=1e-6)


def test_coarse_fields_are_refined_on_loading(whole: Path, tmp_path: Path) -> None:
    """Here every fine vertex is the mean of its own coarse one and vertex 0, or a copy."""
    stored = fields_of(whole)
    count = len(stored["mean"])
    mean = sparse.eye_array(count, format="lil") * 0.5
    mean[:, 0] = mean[:, [0]].toarray().ravel() + 0.5
    matrix = mean.tocsr()
    stored |= {f"subdivision_{part}": getattr(matrix, part) for part in ("data", "indices", "indptr", "shape")}
    np.savez(tmp_path / "coarse.npz", **stored)
    refined = load_npz_model(tmp_path / "coarse.npz")
    assert refined.mean == pytest.approx((stored["mean"] + stored["mean"][0]) / 2, abs=1e-4)
    assert refined.identity_basis == pytest.approx((stored["identity"] + stored["identity"][0]) / 2, abs=1e-4)
    assert np.array_equal(refined.triangles, stored["triangles"])


REQUIRED = (
    *("name", "licence", "albedo_space", "mean", "identity", "expression", "mean_albedo", "albedo", "triangles"),
    *("landmark_vertices", "landmark_weights", "face_mask", "uv", "uv_triangles", "mirror"),
)


@pytest.mark.parametrize("name", [*REQUIRED, "expression_names", "format", "version"])
def test_a_missing_field_is_named(whole: Path, tmp_path: Path, name: str) -> None:
    stored = fields_of(whole)
    del stored[name]
    np.savez(tmp_path / "less.npz", **stored)
    with pytest.raises(ModelError, match=r"less\.npz.*" + name):
        load_npz_model(tmp_path / "less.npz")


ODD = [
    np.array("text"),
    np.zeros(3),
    np.zeros((2, 2, 2, 2), int),
    np.array(7),
    np.array([], np.float32),
    np.array(["a", "b"]),
    np.array([1 + 2j]),
    np.array(np.datetime64("2020-01-01")),
]


@pytest.mark.parametrize("odd", ODD, ids=[f"{o.dtype}{o.shape}" for o in ODD])
@pytest.mark.parametrize("name", [*REQUIRED[3:], "version", "format"])
def test_fields_of_another_kind_are_refused(whole: Path, tmp_path: Path, name: str, odd: np.ndarray) -> None:
    np.savez(tmp_path / "odd.npz", **(fields_of(whole) | {name: odd}))
    with pytest.raises(ModelError):
        load_npz_model(tmp_path / "odd.npz")


@pytest.mark.parametrize("odd", ODD, ids=[f"{o.dtype}{o.shape}" for o in ODD])
@pytest.mark.parametrize("part", ["data", "indices", "indptr", "shape"])
def test_subdivisions_of_another_kind_are_refused(whole: Path, tmp_path: Path, part: str, odd: np.ndarray) -> None:
    stored = fields_of(whole)
    matrix = sparse.eye_array(len(stored["mean"]), format="csr")
    stored |= {f"subdivision_{name}": getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    stored[f"subdivision_{part}"] = odd
    np.savez(tmp_path / "odd.npz", **stored)
    with pytest.raises(ModelError, match="subdivision matrix is inconsistent"):
        load_npz_model(tmp_path / "odd.npz")


def test_a_subdivision_of_text_is_refused(whole: Path, tmp_path: Path) -> None:
    stored = fields_of(whole)
    matrix = sparse.eye_array(len(stored["mean"]), format="csr")
    stored |= {f"subdivision_{name}": getattr(matrix, name) for name in ("data", "indices", "indptr", "shape")}
    stored["mean"] = np.full((len(stored["mean"]), 3), "x")
    np.savez(tmp_path / "odd.npz", **stored)
    with pytest.raises(ModelError):
        load_npz_model(tmp_path / "odd.npz")


def test_pickles_are_refused(whole: Path, tmp_path: Path) -> None:
    stored = fields_of(whole) | {"name": np.array([{"a": 1}], object)}
    np.savez(tmp_path / "pickle.npz", **stored)
    with pytest.raises(ModelError, match="cannot be read as"):
        load_npz_model(tmp_path / "pickle.npz")


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="does not exist"):
        load_npz_model(tmp_path / "none.npz")
    with pytest.raises(ModelError, match="cannot be read"):
        load_npz_model(tmp_path)
    np.save(tmp_path / "array.npy", np.zeros(4))
    with pytest.raises(ModelError, match="cannot be read as"):
        load_npz_model(tmp_path / "array.npy")


@given(share=st.floats(0, 0.999))
@settings(max_examples=15, deadline=None, derandomize=True)
def test_truncated_files(whole: Path, tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    content = whole.read_bytes()
    path = tmp_path_factory.mktemp("cut") / "cut.npz"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(ModelError, match=r"cut\.npz"):
        load_npz_model(path)


@given(place=st.floats(0, 0.9999), value=st.integers(1, 255))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_flipped_byte_is_refused_or_does_not_matter(
    whole: Path, tmp_path_factory: pytest.TempPathFactory, place: float, value: int
) -> None:
    content = bytearray(whole.read_bytes())
    content[int(place * len(content))] ^= value
    path = tmp_path_factory.mktemp("flip") / "flip.npz"
    path.write_bytes(content)
    try:
        model = load_npz_model(path)
    except ModelError:
        return
    assert model.fingerprint == model_of(toy()).fingerprint
