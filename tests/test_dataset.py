"""`faceinv dataset`: its files, what it says of input that cannot be used, and reading it."""

from __future__ import annotations

import errno
import io
import json
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import Run, invoke
from PIL import Image
from quick import CONFIG, quick_fit, sample
from small_photos import SMALL_TOML, contents, make_photos

import faceinv
from faceinv.dataset import DatasetSettings, Watcher, make_dataset, work
from faceinv.dataset.archive import members
from faceinv.dataset.files import Places
from faceinv.dataset.ledger import Source
from faceinv.dataset.samples import npz_bytes
from faceinv.dataset.settings import MAPS
from faceinv.errors import ConfigError, InputError
from faceinv.face.camera import Camera, euler_angles
from faceinv.face.state import Face
from faceinv.generate import VariantConfig, Variants
from faceinv.generate.draws import Donors, photo_key
from faceinv.generate.labels import paper_vector, pncc_colours
from faceinv.render.scene import draw_depth, draw_faces
from faceinv.run.tasks import InlineExecutor

pq = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)

SIZE = 48
DRAW = VariantConfig(samples=1)


def small(**changes: Any) -> DatasetSettings:
    return DatasetSettings(**{"variants": 2, "size": SIZE, "fit": CONFIG, "draw": DRAW, "shard": 4, **changes})


def save_result(folder: Path, name: str = "face", photo: bool = True, **changes: Any) -> Path:
    """A result as `faceinv fit` leaves it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.npz"
    quick_fit().save(path)
    if changes:
        with np.load(path) as stored:
            np.savez(path, **{**dict(stored), **changes})
    record = {"image": f"{name}.jpg", "status": "converged", "files": {"result": path.name}}
    path.with_suffix(".json").write_text(json.dumps(record))
    if photo:
        shutil.copy(sample(), folder / f"{name}.jpg")
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of three results, two pictures of each, in two shards, and a page for each."""
    folder = tmp_path_factory.mktemp("made")
    for name in "abc":
        save_result(folder / "results", name)
    out = folder / "out"
    outcome = make_dataset([folder / "results"], out, small(), make=InlineExecutor, sheets=True)
    assert (outcome.photos, outcome.failed, outcome.pictures) == (3, 0, 6)
    return out


def test_a_data_set_has_shards_an_index_and_a_card_and_nothing_else(made: Path) -> None:
    names = {"dataset.json", "index.parquet", *(f"{k}/00000{n}" for k in ("shards", "sheets") for n in "01")}
    assert {name.removesuffix(".tar").removesuffix(".html") for name in contents(made)} == names
    with tarfile.open(made / "shards" / "000000.tar") as tar:
        found = tar.getmembers()
    assert [one.name for one in found[:4]] == [
        "000000000_00000.jpg",
        "000000000_00000.json",
        "000000000_00000.npz",
        "000000000_00001.jpg",
    ]
    assert len(found) == 12
    assert {(one.mtime, one.uid, one.uname, one.mode) for one in found} == {(0, 0, "", 0o644)}


def test_the_card_says_what_was_made_and_who_may_use_it(made: Path) -> None:
    card = json.loads((made / "dataset.json").read_text())
    assert card["complete"] is True
    assert card["counts"] == {"pictures": 6, "photos": 3, "failed": 0, "shards": 2}
    assert card["settings"]["seed"] == 0
    assert card["settings"]["draw"]["yaw"] == 80
    assert card["face_model"]["licence"] == quick_fit().model.licence
    assert "consent" in card["terms"]["photos"]
    rows = pq.read_table(made / "index.parquet").to_pylist()
    yaw = [row["yaw"] for row in rows]
    assert card["ranges"]["yaw"] == pytest.approx({"least": min(yaw), "mean": np.mean(yaw), "most": max(yaw)})


def test_each_row_of_the_index_finds_its_picture(made: Path) -> None:
    rows = pq.read_table(made / "index.parquet").to_pylist()
    assert [row["key"] for row in rows] == [f"{photo:09d}_{index:05d}" for photo in range(3) for index in range(2)]
    for row in rows:
        data = (made / "shards" / row["shard"]).read_bytes()
        parts = {
            kind: data[row[f"{kind}_offset"] : row[f"{kind}_offset"] + row[f"{kind}_size"]]
            for kind in ("image", "json", "npz")
        }
        assert Image.open(io.BytesIO(parts["image"])).size == (SIZE, SIZE)
        record = json.loads(parts["json"])
        assert {name: row[name] for name in record} == record
        with np.load(io.BytesIO(parts["npz"])) as arrays:
            assert np.allclose(arrays["landmarks"].ravel(), row["landmarks"], atol=1e-4)


def test_labels_of_the_files_draw_the_face_again(made: Path) -> None:
    model = quick_fit().model
    files = dict(members(made / "shards" / "000000.tar"))
    for key in ("000000000_00000", "000000001_00001"):
        with np.load(io.BytesIO(files[f"{key}.npz"])) as stored:
            arrays = dict(stored)
        camera = Camera.of_arrays(arrays)
        face = Face(arrays["identity"], arrays["expression"], arrays["albedo"], camera, arrays["lighting"])
        assert np.array_equal(paper_vector(face), arrays["parameters"])
        again = draw_faces(model, [face], (SIZE, SIZE))[0]
        mask = arrays["face_mask"] & (again.triangle >= 0) & ~model.part("lashes")[again.triangle]
        assert mask.sum() > 80
        assert (again.triangle[mask] == arrays["triangle"][mask]).mean() > 0.99
        record = json.loads(files[f"{key}.json"])
        angles = np.degrees(euler_angles(camera.rotation))
        assert np.allclose(angles, [record["pitch"], record["yaw"], record["roll"]])
        on_model = arrays["vertices"][model.triangles[arrays["triangle"][mask]], :2]
        places = np.einsum("mk,mkd->md", arrays["barycentric"][mask].astype(float), on_model)
        # Weights are on the surface, so that with perspective they give the middle of the pixel but nearly.
        assert np.abs(places - np.argwhere(mask)[:, ::-1]).max() < 0.25


def test_all_that_the_files_say_of_a_picture_agrees(made: Path) -> None:
    model = quick_fit().model
    files = dict(members(made / "shards" / "000000.tar"))
    for key in ("000000000_00001", "000000001_00000"):
        with np.load(io.BytesIO(files[f"{key}.npz"])) as stored:
            arrays = dict(stored)
        record = json.loads(files[f"{key}.json"])
        assert set(arrays) == {
            *("landmarks", "landmarks3d", "landmark_visible", "identity", "expression", "albedo", "lighting", "scale"),
            *("rotation", "translation", "kappa", "principal_point", "parameters"),
            *(name for name in MAPS if name != "displacement"),
        }
        assert {"source", "photo", "seed", "index", "landmarks", "landmark_visible"} < set(record)
        camera = Camera.of_arrays(arrays)
        face = Face(arrays["identity"], arrays["expression"], arrays["albedo"], camera, arrays["lighting"])
        surface = face.vertices(model)
        assert np.abs(arrays["vertices"] - camera.project(surface)).max() < 1e-3
        marks = camera.project(arrays["landmarks3d"].astype(np.float64))[:, :2]
        assert np.abs(marks - arrays["landmarks"]).max() < 1e-3
        assert np.abs(arrays["landmarks3d"][17:] - model.landmarks(surface)[17:]).max() < 1e-3
        assert record["landmark_visible"] == arrays["landmark_visible"].tolist()
        inside = ((arrays["landmarks"] > -0.5) & (arrays["landmarks"] < SIZE - 0.5)).all(axis=1)
        assert not (arrays["landmark_visible"] & ~inside).any()
        face_mask, triangle = arrays["face_mask"], arrays["triangle"]
        assert (model.face_mask[triangle[face_mask]]).all()
        assert (arrays["skin_mask"] <= face_mask).all()
        assert arrays["skin_mask"].sum() > 0.3 * face_mask.sum()
        again = draw_faces(model, [face], (SIZE, SIZE))[0]
        same = face_mask & (again.triangle == triangle)
        assert np.abs(again.normal[same] - arrays["normal"][same]).max() < 2e-3
        assert np.abs(draw_depth(model, face, (SIZE, SIZE))[same] - arrays["depth"][same]).max() < 1e-3
        weights, corners = arrays["barycentric"][same].astype(np.float64), model.triangles[triangle[same]]
        colours = np.einsum("mk,mkd->md", weights, pncc_colours(model)[corners])
        assert np.abs(colours - arrays["pncc"][same]).max() < 2e-3
        assert model.uv is not None
        places = np.einsum("mk,mkd->md", weights, model.uv[model.uv_triangles[triangle[same]]])
        assert np.abs(places - arrays["uv"][same]).max() < 2e-3
        # And the picture is what they say: the face that they draw, where they say that it is.
        picture = np.asarray(Image.open(io.BytesIO(files[f"{key}.jpg"])), np.float64) / 255
        skin = arrays["skin_mask"]
        apart = np.abs(again.srgb - picture)[skin].mean()
        aside = replace(face, camera=camera.moved(1.0, (5.0, 0.0)))
        assert apart < 0.14
        assert np.abs(draw_faces(model, [aside], (SIZE, SIZE))[0].srgb - picture)[skin].mean() > 1.1 * apart


def test_any_picture_can_be_made_again_from_seed_photo_and_number(made: Path) -> None:
    results = [quick_fit() for _ in range(3)]
    one = results[0]
    variants = Variants([one], "coarse", 2, SIZE, 0, DRAW, donors=Donors.of(results))
    again = variants.sample(0, 1)
    files = dict(members(made / "shards" / "000001.tar"))
    record = json.loads(files["000000002_00001.json"])
    assert not isinstance(again, tuple)
    assert record["photo"] == photo_key(one)
    assert np.allclose(np.ravel(again.labels.landmarks), record["landmarks"])
    picture = np.asarray(Image.open(io.BytesIO(files["000000002_00001.jpg"])), np.float64)
    assert np.abs(picture - again.image).mean() < 3  # JPEG


def test_a_page_shows_each_picture(made: Path) -> None:
    page = (made / "sheets" / "000000.html").read_text()
    assert page.count('<img src="data:image/jpeg;base64,') == 4
    assert "http" not in page.replace("http://www.w3.org", "")


@pytest.mark.parametrize("kind", ["pairs", "fine"])
def test_other_kinds(kind: str, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "in", ["face.png"])
    fit = faceinv.fit(photos / "face.png", photos / "face.pts", config=replace(CONFIG, detail=kind == "fine"))
    save_result(photos, photo=False)
    fit.save(photos / "face.npz")
    settings = small(kind=kind, variants=1, image="png", maps=("depth", "normal", "displacement"))
    outcome = make_dataset([tmp_path / "in" / "face.npz"], tmp_path / "out", settings, make=InlineExecutor)
    assert outcome.pictures == (2 if kind == "pairs" else 1)
    files = dict(members(tmp_path / "out" / "shards" / "000000.tar"))
    names = ["000000000_00000_0", "000000000_00000_1"] if kind == "pairs" else ["000000000_00000"]
    assert [name for name in files if name.endswith(".png")] == [f"{name}.png" for name in names]
    with np.load(io.BytesIO(files[f"{names[-1]}.npz"])) as arrays:
        assert ("previous_pncc" in arrays.files) == (kind == "pairs")
        assert ("displacement" in arrays.files) == (kind == "fine")
        assert "vertices" not in arrays.files
    assert json.loads(files[f"{names[-1]}.json"])["relief_source"] == (photo_key(fit) if kind == "fine" else "")


def command(out: Path, *words: str | Path, config: str = SMALL_TOML) -> Run:
    settings = out.parent / "settings.toml"
    settings.write_text(config)
    return invoke("dataset", *words, "-o", out, "--config", settings, "--size", 32, "--variants", 1, "--workers", 1)


def test_photos_are_fitted_and_what_fails_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: None
) -> None:
    monkeypatch.setattr("faceinv.dataset.factory.ProcessPool", InlineExecutor)
    photos = make_photos(tmp_path / "photos", ["a.png", "b.png"])
    (photos / "bad.jpg").write_text("no photo")
    run = command(tmp_path / "out", photos, "--preview")
    assert run.status == 1, run.text
    assert "2 pictures of 2 photos" in run.out
    assert run.err.count("bad.jpg' is not an image") == 1
    rows = pq.read_table(tmp_path / "out" / "index.parquet").to_pylist()
    assert [(row["source"], row["status"]) for row in rows] == [("a.png", "ok"), ("b.png", "ok"), ("bad.jpg", "failed")]
    assert "is not an image" in rows[2]["reason"]
    with Image.open(tmp_path / "out" / "preview.png") as preview:
        assert preview.size == (2 * 36, 6 * 36)
    again = command(tmp_path / "out", photos)
    assert again.status == 0
    assert "complete since an earlier run" in again.err


def test_results_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceinv.dataset.factory.ProcessPool", InlineExecutor)
    save_result(tmp_path / "gone", photo=False)
    save_result(tmp_path / "model", model_fingerprint="another")
    save_result(tmp_path / "version", version="0.0.9")
    save_result(tmp_path / "changed")
    with Image.open(sample()) as photo:
        photo.rotate(180).save(tmp_path / "changed" / "face.jpg")
    for name, words in {
        "gone": "the photo 'face.jpg' of result",
        "model": "is of another model",
        "version": "was fitted by faceinv 0.0.9; this is",
        "changed": "has changed since it was fitted",
    }.items():
        run = command(tmp_path / f"out-{name}", tmp_path / name)
        assert run.status == 2, name
        assert run.err.count(words) == 1, name
        assert not (tmp_path / f"out-{name}" / "shards").exists()
    shutil.copy(sample(), tmp_path / "gone" / "face.jpg")  # mended, it goes on
    assert command(tmp_path / "out-gone", tmp_path / "gone").status == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "gone" / "face.jpg").rename(tmp_path / "elsewhere" / "face.jpg")
    moved = command(tmp_path / "out-moved", tmp_path / "gone", "--photos", tmp_path / "elsewhere")
    assert moved.status == 0, moved.text


def test_results_find_the_photos_that_were_fitted_in_another_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceinv.dataset.factory.ProcessPool", InlineExecutor)
    make_photos(tmp_path / "photos" / "more", ["a.png"])
    (tmp_path / "fit.toml").write_text("size = 32\nlevels = 1\niterations = 1\n")
    words = ("--config", tmp_path / "fit.toml", "--workers", 1)
    folder = invoke("fit", tmp_path / "photos", "-o", tmp_path / "of_folder", *words)
    assert folder.status == 0, folder.text
    photo, marks = (tmp_path / "photos" / "more" / f"a.{suffix}" for suffix in ("png", "pts"))
    single = invoke("fit", photo, "-o", tmp_path / "of_photo", "--landmarks", marks, *words[:2])
    assert single.status == 0, single.text
    for name in ("of_folder", "of_photo"):
        run = command(tmp_path / f"out-{name}", tmp_path / name)
        assert run.status == 0, run.text


def test_workers_of_another_version_end_the_run(tmp_path: Path) -> None:
    shared = work.Shared(Places(tmp_path), small(), quick_fit().model.fingerprint, version="0.0.9")
    source = Source(0, "a.jpg", sample(), None, False)
    with pytest.raises(InputError, match=r"a worker has faceinv .*, and the run was started by 0\.0\.9"):
        work.draw(shared, source)


def test_a_result_whose_photo_changes_later_is_listed(tmp_path: Path) -> None:
    results, out = tmp_path / "results", tmp_path / "out"
    for name in "abc":
        save_result(results, name)

    class Changing(Watcher):
        def step(self, name: str, done: int, failed: int, total: int) -> None:
            if (name, done) == ("drawing", 1):
                (results / "c.jpg").unlink()

    first = make_dataset([results], out, small(variants=1), workers=1, make=InlineExecutor, watcher=Changing())
    assert (first.failed, first.pictures) == (1, 2)
    rows = pq.read_table(out / "index.parquet").to_pylist()
    assert "the photo 'c.jpg' of result" in rows[2]["reason"]


def test_one_output_folder_holds_one_data_set(made: Path, tmp_path: Path) -> None:
    before = contents(made)
    run = command(made, made.parent / "results")
    assert run.status == 2
    assert "holds a data set of other settings" in run.err
    assert "variants was 2, is 1" in run.err
    assert {name: data for name, data in contents(made).items() if name != "settings.toml"} == before
    (tmp_path / "dataset.json").write_text("{}")
    assert command(tmp_path, made.parent / "results").status == 2


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("yaw = 200", "'yaw' is 200"),
        ("pitch = [1]", "'pitch' is"),
        ("distance = [900, 400]", "'distance' is"),
        ("[dataset]\nquality = 0", "'quality' is 0"),
        ("[dataset]\nshards = 3", "unknown key 'shards' in [dataset]"),
        ("[dataset]\nmaps = ['depht']", "'maps' is"),
        ("[fit]\nsize = -1", "size"),
        ("dataset = 3", "expected a table"),
        ("yaw = ", "not valid TOML"),
    ],
)
def test_settings_that_make_no_sense(config: str, words: str, tmp_path: Path) -> None:
    run = command(tmp_path / "out", sample(), config=config)
    assert run.status == 2
    assert words in run.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [("--variants", 0), ("--size", 8), ("--seed", -1), ("--kind", "finer")])
def test_options_that_make_no_sense(option: tuple[str, str | int], tmp_path: Path) -> None:
    run = invoke("dataset", sample(), "-o", tmp_path / "out", *option)
    assert run.status == 2
    assert option[0].strip("-") in run.err
    assert not (tmp_path / "out").exists()


def test_inputs_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no")
    for name, words in {"nowhere": "does not exist", "empty": "holds neither", "text.txt": "neither a photo"}.items():
        run = invoke("dataset", tmp_path / name, "-o", tmp_path / "out")
        assert run.status == 2
        assert words in run.err
    assert invoke("dataset", "https://example.org/a.jpg", "-o", tmp_path / "out").status == 2
    run = invoke("dataset", sample(), "-o", tmp_path / "text.txt")
    assert run.status == 2
    assert "text.txt' is a file; a data set needs a folder" in run.err
    with pytest.raises(InputError, match="no photos"):
        make_dataset([], tmp_path / "out")
    with pytest.raises(ConfigError, match="kind"):
        DatasetSettings(kind="other")  # type: ignore[arg-type]


def test_a_full_disk_ends_the_run_and_room_lets_it_go_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("faceinv.dataset.factory.ProcessPool", InlineExecutor)
    results, out = made.parent / "results", tmp_path / "out"
    left = 1_600_000

    class FullDisk(io.FileIO):
        """A file on a disk that has some room only."""

        def write(self, data: Any) -> int:
            nonlocal left
            left -= len(data)
            if left < 0:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(data)

    monkeypatch.setattr("faceinv.dataset.files._opened", lambda path: FullDisk(path, "w"))
    with pytest.raises(InputError, match="No space left on device"):
        make_dataset([results], out, small())
    monkeypatch.undo()
    assert not json.loads((out / "dataset.json").read_text())["complete"]
    assert not any(name.endswith(".tar") and "/." in name for name in contents(out))  # nothing half-written
    outcome = make_dataset([results], out, small(), make=InlineExecutor, sheets=True)
    assert outcome.failed == 0
    assert contents(out) == contents(made)


def test_two_runs_do_not_share_a_folder(made: Path, tmp_path: Path) -> None:
    from faceinv.dataset.ledger import Ledger

    results, out = made.parent / "results", tmp_path / "out"

    def before(*_: Any) -> None:
        raise InputError("stop here")

    with pytest.raises(InputError, match="stop here"):
        make_dataset([results], out, small(), make=InlineExecutor, before=before)
    holder = Ledger(out / ".work" / "ledger.sqlite")
    with pytest.raises(InputError, match="another run works on"):
        make_dataset([results], out, small(), make=InlineExecutor)
    holder.close()


def test_npz_bytes_are_read_as_numpy_reads_them() -> None:
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(True)}
    data = npz_bytes(arrays)
    assert data == npz_bytes(arrays)
    with np.load(io.BytesIO(data)) as read:
        assert read.files == ["a", "b"]
        assert all(np.array_equal(read[name], arrays[name]) for name in arrays)


def test_torch_reads_any_picture(made: Path) -> None:
    torch = pytest.importorskip("torch")
    from torch.utils.data import DataLoader

    from faceinv.generate.torch import Dataset

    data = Dataset(made, maps=["depth", "face_mask"])
    assert len(data) == 6
    rows = pq.read_table(made / "index.parquet").to_pylist()
    batches = list(DataLoader(data, batch_size=4, num_workers=2, multiprocessing_context="spawn"))
    assert [len(batch["image"]) for batch in batches] == [4, 2]
    keys = [key for batch in batches for key in batch["key"]]
    assert keys == [row["key"] for row in rows]
    landmarks = torch.cat([batch["landmarks"] for batch in batches]).reshape(6, -1)
    assert np.allclose(landmarks, [row["landmarks"] for row in rows], atol=1e-4)
    assert data[-1]["depth"].shape == (SIZE, SIZE)
    assert float(data[0]["image"].max()) <= 1
    with pytest.raises(InputError, match=r"have no depht"):
        Dataset(made, maps=["depht"])
    with pytest.raises(InputError, match="holds no data set"):
        Dataset(made.parent)
    with pytest.raises(IndexError):
        data[6]


def test_the_example_reads_a_data_set_in_two_ways(made: Path) -> None:
    for name in ("torch", "webdataset"):
        pytest.importorskip(name)
    example = Path(__file__).parents[1] / "examples" / "dataset_loaders.py"
    done = subprocess.run([sys.executable, str(example), str(made), "2"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    by_number, by_shard = done.stdout.splitlines()
    assert by_number == by_shard.replace("by shard", "by number")
    assert "6 pictures" in by_number


def test_webdataset_reads_the_shards(made: Path) -> None:
    tariterators = pytest.importorskip("webdataset.tariterators")
    samples: list[dict[str, Any]] = []
    for path in sorted((made / "shards").glob("*.tar")):
        with path.open("rb") as stream:  # it would leave the file open
            files = ({**one, "__url__": path.name} for one in tariterators.tar_file_iterator(stream))
            samples.extend(tariterators.group_by_keys(files))
    assert [one["__key__"] for one in samples] == [f"{p:09d}_{i:05d}" for p in range(3) for i in range(2)]
    assert all(len(json.loads(one["json"])["landmarks"]) == 136 for one in samples)
    assert all({"jpg", "json", "npz"} <= set(one) for one in samples)
