"""Results: what they hold, the file they go to and come back from, uncertainty, and the render."""

from __future__ import annotations

import dataclasses
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from quick import quick_fit, sample
from small import few_modes

from faceinv import FitResult, InputError, ModelError, Status, load_result
from faceinv.face.camera import Camera
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.fitting.history import history_arrays, history_of, timings_of
from faceinv.fitting.uncertainty import surface_std
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.read import load_image

WIDTH, HEIGHT = 90, 70


@pytest.fixture(scope="module")
def face() -> FitResult:
    """A face by hand in a small photo."""
    model, rng = few_modes(), np.random.default_rng(1)
    layout = ParameterLayout.of(model)
    a, e = rng.normal(size=6), rng.normal(size=5)
    camera = Camera(0.25, np.eye(3), np.array([50.0, 40.0]), 1 / 700, np.array([44.5, 34.5]))
    landmarks3d = model.landmarks(model.vertices(a, e))
    rows = rng.normal(size=(200, layout.count))
    return FitResult(
        face=Face(a, e, rng.normal(size=3), camera, ambient(0.8) + rng.normal(0, 0.1, (9, 3))),
        landmarks_target=rng.uniform(10, 60, (68, 2)),
        landmarks2d=camera.project(landmarks3d)[:, :2],
        landmarks3d=landmarks3d,
        cost=0.6,
        cost_photometric=0.3,
        cost_landmarks=0.2,
        cost_prior=0.1,
        photometric_rmse=0.05,
        landmark_error=0.02,
        status=Status.CONVERGED_COST,
        model=model,
        model_source="default",
        shading="smooth",
        backend="numpy:float32",
        version="9.9",
        image_size=(WIDTH, HEIGHT),
        hessian=rows.T @ rows * 0.1,
        warnings=("The landmarks are drawn by lot.",),
        camera_source="exif",
        photo=rng.uniform(size=(HEIGHT, WIDTH, 3)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def saved(face: FitResult, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("result") / "face.npz"
    face.save(path)
    return path


def shapes(result: FitResult) -> dict[str, tuple[int, ...]]:
    n, t, model = result.model.vertex_count, len(result.model.triangles), result.model
    p = ParameterLayout.of(model).count
    return {
        "vertices": (n, 3),
        "triangles": (t, 3),
        "image_xy": (n, 2),
        "depth": (n,),
        "albedo": (n, 3),
        "identity": (model.identity_count,),
        "expression": (model.expression_count,),
        "albedo_coefficients": (model.albedo_count,),
        "scale": (),
        "rotation": (3, 3),
        "translation": (2,),
        "lighting": (9, 3),
        "landmarks2d": (68, 2),
        "landmarks3d": (68, 3),
        "landmarks_target": (68, 2),
        "cost": (),
        "cost_photometric": (),
        "cost_landmarks": (),
        "cost_prior": (),
        "status": (),
        "model": (),
        "backend": (),
        "version": (),
        "hessian": (p, p),
    }


def test_the_file_holds_every_key_of_the_contract(face: FitResult, saved: Path) -> None:
    with np.load(saved, allow_pickle=False) as stored:
        for key, shape in shapes(face).items():
            assert stored[key].shape == shape, key
        assert stored["triangles"].dtype.kind == "i"
        for key in ("vertices", "image_xy", "depth", "albedo", "rotation", "lighting"):
            assert np.isfinite(stored[key]).all()
        assert str(stored["status"]) == "CONVERGED_COST"
        assert str(stored["model"]) == "default"
        assert np.array_equal(stored["vertices"], face.vertices)
        assert float(stored["cost"]) == face.cost


def test_a_result_comes_back_bit_for_bit(face: FitResult, saved: Path) -> None:
    again = load_result(saved, model=few_modes())
    for field in dataclasses.fields(FitResult):
        ours, theirs = getattr(face, field.name), getattr(again, field.name)
        if field.name == "photo":
            assert not theirs
        elif field.name == "face_print":
            assert ours is None
            assert theirs is not None  # the photo's
        elif field.name == "face":
            for name in ("identity", "expression", "albedo", "lighting"):
                assert np.array_equal(getattr(ours, name), getattr(theirs, name))
            for part in dataclasses.fields(Camera):
                assert np.array_equal(getattr(ours.camera, part.name), getattr(theirs.camera, part.name))
        elif isinstance(ours, np.ndarray):
            assert np.array_equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name
    for name in ("vertices", "normals", "vertex_albedo", "image_xy", "depth"):
        assert np.array_equal(getattr(face, name), getattr(again, name)), name
    assert np.array_equal(face.render(), again.render())
    assert np.array_equal(face.vertex_std(), again.vertex_std())


def test_steps_and_times_come_back(tmp_path: Path) -> None:
    fitted = quick_fit()
    fitted.save(tmp_path / "a.npz")
    again = load_result(tmp_path / "a.npz")
    assert again.history == fitted.history
    assert again.timings == fitted.timings
    assert history_of(history_arrays((), {})) == ()


@pytest.mark.parametrize(
    "damage",
    [
        {"history": np.zeros((2, 3))},
        {"history": np.full((4, 10), np.nan)},
        {"history_terms": np.zeros(3)},
        {"history_term_names": np.zeros((), np.str_)},
        {"timings": np.zeros(99)},
        {"timings": np.zeros(0, np.int64), "timing_names": np.zeros(0, np.str_)},
    ],
)
def test_steps_that_cannot_be_are_left_out(damage: dict[str, NDArray[Any]]) -> None:
    stored = {**history_arrays(quick_fit().history, quick_fit().timings), **damage}
    if "timings" in damage:
        assert timings_of(stored) == {}
    else:
        assert history_of(stored) == ()


def test_a_fit_comes_back_with_its_model(sample_fit: FitResult, tmp_path: Path) -> None:
    sample_fit.save(str(tmp_path / "face.NPZ"))
    again = load_result(str(tmp_path / "face.NPZ"))
    assert np.array_equal(again.vertices, sample_fit.vertices)
    assert again.status is sample_fit.status
    assert again.image_size == sample_fit.image_size


def test_another_model_is_refused(saved: Path) -> None:
    with pytest.raises(InputError, match="was fitted with another state of model 'default'"):
        load_result(saved)
    with pytest.raises(InputError, match="Give the model it was fitted with"):
        load_result(saved, model=few_modes().truncated(5))


def rewritten(saved: Path, folder: Path, **changes: Any) -> Path:
    with np.load(saved) as archive:
        stored = {key: archive[key] for key in archive.files}
    np.savez(folder / "changed.npz", **{k: v for k, v in (stored | changes).items() if v is not None})
    return folder / "changed.npz"


def of_release_01(saved: Path, face: FitResult, folder: Path, weight: float) -> tuple[Path, NDArray[np.intp]]:
    """The file as faceinv 0.1 wrote it, with energies in units in which identity's prior has that weight; and the
    unknowns that it had."""
    gone = ("kappa", "principal_point", "focal_length", "distance", "camera_source", "albedo_field", "self_occlusion")
    layout = ParameterLayout.of(few_modes())
    kept = np.delete(np.arange(layout.count), np.r_[layout.principal_point, layout.inverse_focal])
    hessian = weight * face.hessian[np.ix_(kept, kept)]
    return rewritten(saved, folder, **dict.fromkeys(gone), hessian=hessian, prior_weight=np.array(weight)), kept


def test_a_result_of_release_01_has_a_weak_camera(saved: Path, face: FitResult, tmp_path: Path) -> None:
    old, kept = of_release_01(saved, face, tmp_path, 5e-5)
    again = load_result(old, model=few_modes())
    assert again.camera_source == "weak"
    assert again.camera.kappa == 0
    added = np.setdiff1d(np.arange(len(again.hessian)), kept)
    assert len(added) == 3
    assert not again.hessian[added].any()


def test_the_hessian_of_release_01_comes_in_todays_unit(saved: Path, face: FitResult, tmp_path: Path) -> None:
    old, kept = of_release_01(saved, face, tmp_path, 5e-5)
    again = load_result(old, model=few_modes())
    inner = np.ix_(kept, kept)
    assert again.hessian[inner] == pytest.approx(face.hessian[inner])
    held = np.zeros_like(face.hessian)
    held[inner] = face.hessian[inner]
    assert again.vertex_std() == pytest.approx(dataclasses.replace(face, hessian=held).vertex_std())
    again.save(tmp_path / "again.npz")
    assert np.array_equal(load_result(tmp_path / "again.npz", model=few_modes()).hessian, again.hessian), "once"


def test_a_fit_of_release_01_without_a_prior_has_no_uncertainty(saved: Path, face: FitResult, tmp_path: Path) -> None:
    old, _ = of_release_01(saved, face, tmp_path, 0.0)
    again = load_result(old, model=few_modes())
    assert np.array_equal(again.vertices, face.vertices)
    with pytest.raises(InputError, match=r"uncertainty of this result is not known: .* Fit the photo anew"):
        again.vertex_std()


@pytest.mark.parametrize("weight", [-1.0, np.inf, np.nan, np.ones(2), "much"])
def test_weights_that_cannot_be_are_refused(saved: Path, tmp_path: Path, weight: Any) -> None:
    with pytest.raises(InputError, match="'prior_weight' is not a number of at least 0"):
        load_result(rewritten(saved, tmp_path, prior_weight=np.array(weight)), model=few_modes())


def test_a_model_file_that_is_gone_is_named(saved: Path, tmp_path: Path) -> None:
    path = rewritten(saved, tmp_path, model="/no/such/model.npz")
    with pytest.raises(ModelError, match=r"/no/such/model\.npz"):
        load_result(path)
    assert load_result(path, model=few_modes()).model_source == "/no/such/model.npz"


NEEDED = (
    *("identity", "expression", "albedo_coefficients", "lighting", "landmarks_target", "landmarks2d", "landmarks3d"),
    *("hessian", "cost", "cost_photometric", "cost_landmarks", "cost_prior", "photometric_rmse", "landmark_error"),
    *("scale", "rotation", "translation", "status", "model", "model_fingerprint", "backend", "version"),
    "image_size",
)


@pytest.mark.parametrize("key", NEEDED)
def test_a_missing_key_is_named(saved: Path, tmp_path: Path, key: str) -> None:
    with pytest.raises(InputError, match=rf"changed\.npz' is not a saved result: it lacks .*{key}"):
        load_result(rewritten(saved, tmp_path, **{key: None}), model=few_modes())


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("status", np.array("FINE")),
        ("scale", np.array(-1.0)),
        ("scale", np.array("1")),
        ("scale", np.zeros(3)),
        ("cost", np.array([1.0, 2.0])),
        ("rotation", np.zeros((2, 2))),
        ("translation", np.zeros(3)),
        ("identity", np.zeros(5)),
        ("identity", np.array(["a"] * 6)),
        ("lighting", np.zeros((3, 9))),
        ("hessian", np.zeros((4, 4))),
        ("landmarks2d", np.zeros((67, 2))),
        ("image_size", np.array([1, 2, 3])),
        ("image_size", np.array([1.5, 2])),
        ("cost", np.array(None, object)),
    ],
)
def test_values_of_another_kind_are_refused(saved: Path, tmp_path: Path, key: str, value: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"changed\.npz"):
        load_result(rewritten(saved, tmp_path, **{key: value}), model=few_modes())


def test_pickles_are_refused(saved: Path, tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    path = rewritten(saved, tmp_path, identity=np.array([Trap()], object))
    with pytest.raises(InputError, match="cannot be read"):
        load_result(path, model=few_modes())
    assert not (tmp_path / "ran").exists()


def test_other_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.npz' does not exist"):
        load_result(tmp_path / "none.npz")
    with pytest.raises(InputError, match="cannot be read"):
        load_result(tmp_path)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(InputError, match="cannot be read"):
        load_result(tmp_path / "text.npz")
    np.save(tmp_path / "array.npy", np.zeros(4))
    with pytest.raises(InputError, match="cannot be read"):
        load_result(tmp_path / "array.npy")
    with zipfile.ZipFile(tmp_path / "zip.npz", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match="is not a saved result"):
        load_result(tmp_path / "zip.npz")


@given(place=st.floats(0, 0.9999), value=st.integers(1, 255), cut=st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_damaged_files_are_refused_or_unharmed(
    saved: Path, face: FitResult, tmp_path_factory: pytest.TempPathFactory, place: float, value: int, cut: bool
) -> None:
    content = bytearray(saved.read_bytes())
    at = int(place * len(content))
    content[at] ^= value
    path = tmp_path_factory.mktemp("damaged") / "face.npz"
    path.write_bytes(content[:at] if cut else content)
    try:
        again = load_result(path, model=few_modes())
    except InputError as error:
        assert "face.npz" in str(error)  # noqa: PT017 - either outcome is right
        return
    assert np.array_equal(again.identity, face.identity)


@pytest.mark.parametrize("name", ["face.obj", "face", "face.npz.gz"])
def test_results_are_saved_as_npz(face: FitResult, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"results are saved as '\.npz'"):
        face.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(face: FitResult, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write"):
        face.save(tmp_path / "file" / "face.npz")


# ---- what is computed from the fields


def test_positions_follow_the_documented_camera(face: FitResult) -> None:
    x, y, z = face.vertices.T
    larger = 1 / (1 - z / 700)
    seen = np.stack([44.5 + (0.25 * x + 50 - 44.5) * larger, 34.5 + (-0.25 * y + 40 - 34.5) * larger], axis=1)
    assert face.image_xy == pytest.approx(seen)
    assert face.depth == pytest.approx(0.25 * z * larger)
    assert face.vertex_albedo == pytest.approx(
        few_modes().mean_albedo + few_modes().albedo_basis @ face.albedo_coefficients, abs=1e-6
    )


def test_normals_are_unit_and_point_outwards(face: FitResult) -> None:
    assert np.linalg.norm(face.normals, axis=1) == pytest.approx(np.ones(len(face.normals)))
    front = np.argmax(face.vertices[:, 2])
    assert face.normals[front, 2] > 0.8


# ---- uncertainty


def with_hessian(face: FitResult, hessian: NDArray[np.float64]) -> FitResult:
    return dataclasses.replace(face, hessian=hessian)


def test_uncertainty_is_that_of_the_surface_modulo_a_similarity(face: FitResult) -> None:
    expected = surface_std(face.model, face.vertices, face.hessian)
    assert np.array_equal(face.vertex_std(), expected)


def test_uncertainty_of_a_real_fit(sample_fit: FitResult) -> None:
    hessian, spread = sample_fit.hessian, sample_fit.vertex_std()
    assert np.array_equal(hessian, hessian.T)
    assert np.linalg.eigvalsh(hessian).min() > -1e-6 * np.abs(hessian).max()
    assert spread.shape == (sample_fit.model.vertex_count,)
    layout = ParameterLayout.of(sample_fit.model)
    prior_alone = np.diag(np.where(layout.mask(layout.shape), 1.0, 1e-3))
    prior = surface_std(sample_fit.model, sample_fit.vertices, prior_alone)
    assert (spread <= 1.001 * prior).all()
    skin = np.unique(sample_fit.model.triangles[sample_fit.model.face_mask])
    assert (spread[skin] / prior[skin]).mean() < 0.9


# ---- render


def test_render_is_in_the_photos_frame(face: FitResult) -> None:
    picture = face.render()
    assert picture.shape == (HEIGHT, WIDTH, 4)
    assert picture.dtype == np.float32
    coverage = picture[..., 3]
    assert set(np.unique(coverage)) == {0.0, 1.0}
    assert not picture[coverage == 0].any()
    assert (picture >= 0).all()
    y, x = np.nonzero(coverage)
    low, high = face.image_xy.min(axis=0), face.image_xy.max(axis=0)
    assert (x.min(), y.min()) == pytest.approx(np.maximum(low, 0), abs=1.5)
    assert (x.max(), y.max()) == pytest.approx(np.minimum(high, [WIDTH - 1, HEIGHT - 1]), abs=1.5)


def test_render_of_a_face_outside_of_the_photo_is_empty(face: FitResult) -> None:
    away = dataclasses.replace(face, face=dataclasses.replace(face.face, camera=face.camera.moved(1.0, (500.0, 0.0))))
    assert not away.render().any()


def test_render_does_not_depend_on_where_the_window_lies(face: FitResult) -> None:
    """The same face 31 px further right and 4 lower in a larger photo: the same pixels there."""
    shifted = dataclasses.replace(face.face, camera=face.camera.moved(1.0, (31.0, 4.0)))
    larger = dataclasses.replace(face, face=shifted, image_size=(WIDTH + 31, HEIGHT + 4)).render()
    assert larger[4:, 31:] == pytest.approx(face.render(), abs=1e-5)


def test_albedo_stored_as_srgb_is_decoded_for_the_render(face: FitResult) -> None:
    plain = face.render()
    other = dataclasses.replace(face, model=dataclasses.replace(few_modes(), albedo_space="srgb")).render()
    assert other[..., :3] == pytest.approx(srgb_to_linear(np.clip(plain[..., :3], 0, 1)), abs=1e-5)


# ---- photo


def test_a_photo_can_be_attached_and_must_fit(sample_fit: FitResult, tmp_path: Path) -> None:
    sample_fit.save(tmp_path / "face.npz")
    bare = load_result(tmp_path / "face.npz")
    assert bare.photo is None
    assert bare.with_photo(None) is bare
    attached = bare.with_photo(sample()).photo
    assert attached is not None
    assert np.array_equal(attached, load_image(sample()).pixels)
    with pytest.raises(InputError, match=r"20 x 30 px; this result was fitted to one of 512 x 512 px"):
        bare.with_photo(np.zeros((30, 20, 3), np.uint8))
