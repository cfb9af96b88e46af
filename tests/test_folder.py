"""`faceinv fit FOLDER`: processes, resuming, the table, and being killed."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import invoke
from PIL import Image, features
from quick import quick_fit, sample

import faceinv
from faceinv.errors import DeviceLostError
from faceinv.photo.pts import write_pts
from faceinv.photo.read import load_image
from faceinv.run import executors, work
from faceinv.run.folder import Listener, fit_folder
from faceinv.run.jobs import Job, Record, find_jobs
from faceinv.run.outputs import FitOptions, clean_leftovers, write_json

TINY = "size = 32\nlevels = 1\niterations = 1\n"


def make_photos(folder: Path, names: list[str], landmarks: bool = True) -> None:
    """Small copies of the sample photo, with landmarks beside them."""
    small = Image.open(sample()).crop((130, 20, 330, 220))
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        small.save(path)
        if landmarks:
            write_pts(path.with_suffix(".pts"), quick_fit().landmarks_target - [130.0, 20.0])


def state(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_folder_with_a_bad_photo_and_a_second_run(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photos(photos, ["01_Indoor/a.png", "02_Outdoor/a.png"])
    (photos / "bad.jpg").write_text("no photo")
    (photos / "notes.txt").write_text("not a photo either")
    (tmp_path / "c.toml").write_text(TINY)
    words = ("fit", photos, "-o", out, "--config", tmp_path / "c.toml", "--workers", 2)
    run = invoke(*words)
    assert run.status == 1, run.text
    assert run.out.count("photometric RMSE") == 2
    rows = table(out)
    assert [row["image"] for row in rows] == ["bad.jpg", "01_Indoor/a.png", "02_Outdoor/a.png"]
    assert rows[0]["status"] == "failed"
    assert "is not an image" in rows[0]["error"]
    assert all(float(row["photometric_rmse"]) > 0 for row in rows[1:])
    assert rows[1]["landmarks"] == "a.pts"
    assert rows[1]["landmark_error"] == rows[2]["landmark_error"]  # the same photo
    assert (out / rows[1]["files"]).with_suffix(".glb").is_file()
    assert faceinv.load_result(out / "02_Outdoor" / "a.npz").image_size == (200, 200)

    before = state(out)
    again = invoke(*words)
    assert again.status == 1
    assert state(out) == before
    assert "3 of 3 photos were finished by an earlier run" in again.err
    assert again.out == ""

    shutil.copy(photos / "01_Indoor" / "a.png", photos / "bad.jpg")  # a photo that has changed is done again
    (out / "01_Indoor" / "a.glb").unlink()  # and one whose files are gone
    shutil.copy(photos / "01_Indoor" / "a.pts", photos / "bad.pts")
    third = invoke(*words)
    assert third.status == 0, third.text
    assert third.out.count("photometric RMSE") == 2
    assert all(row["status"] != "failed" for row in table(out))
    assert state(out)["02_Outdoor/a.npz"] == before["02_Outdoor/a.npz"]

    other = invoke("fit", photos, "-o", out, "--size", 40)
    assert other.status == 2
    assert "config.size was 32, is 40" in other.err
    assert "--overwrite" in other.err


def test_killed_in_the_middle(tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photos(photos, [f"{n}.png" for n in range(3)])
    (tmp_path / "c.toml").write_text(TINY)
    words = ["fit", str(photos), "-o", str(out), "--config", str(tmp_path / "c.toml"), "--workers", "1"]
    command = [sys.executable, "-c", "from faceinv.cli import main; main()", *words]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not (out / "0.json").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    assert (out / "0.json").exists()
    time.sleep(1.0)  # the worker notices that it is alone
    finished = [path for path in out.glob("?.json")]
    assert len(finished) < 3
    for path in finished:
        for name in json.loads(path.read_text())["files"].values():
            assert (out / name).is_file()
    before = state(out)
    (out / ".2.abcdefgh.npz").write_bytes(b"unfinished")
    (out / ".2_overlay.abc_def1.png").write_bytes(b"unfinished")
    run = invoke(*words)
    assert run.status == 0, run.text
    after = state(out)
    assert {name for name in after if name.startswith(".")} == set()
    assert all(after[path.with_suffix(".npz").name] == before[path.with_suffix(".npz").name] for path in finished)
    assert [row["image"] for row in table(out)] == ["0.png", "1.png", "2.png"]
    assert all(float(row["cost"]) > 0 for row in table(out))


class Here(Executor):
    """Does its work at once, in this process and without a fit; a stand-in for executors of any kind."""

    done: list[str]
    batches: list[list[str]]

    def __init__(self, workers: int, threads: int) -> None:
        pass

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        assert fn is work.fit_jobs
        try:
            future.set_result(self.fit_jobs(*args))
        except BrokenExecutor as error:
            future.set_exception(error)
        return future

    def fit_jobs(self, options: FitOptions, jobs: Sequence[Job]) -> list[Record]:
        """Each photo leaves a record, but for those whose names say otherwise."""
        self.batches.append([job.name for job in jobs])
        records = []
        for job in jobs:
            self.done.append(job.name)
            if job.name.startswith("stop"):
                raise KeyboardInterrupt
            if job.name.startswith("dies"):
                raise BrokenExecutor
            record = {
                **{"image": job.name, "source": job.source(), "status": "converged_cost", "files": {}},
                **{"seconds": {"total": 1.0}, "photometric_rmse": 0.1, "landmark_error": 0.02},
            }
            write_json(job.record, record)
            records.append(record)
        return records


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Jobs run here, without a fit. Gives the photos that were done."""
    Here.done, Here.batches = [], []
    monkeypatch.setattr(executors, "ProcessPool", Here)
    return Here.done


def blank_photos(folder: Path, *names: str) -> None:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(folder / name)


def test_interrupting(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path / "p", "a.png", "stop.png", "z.png")
    run = invoke("fit", tmp_path / "p", "-o", tmp_path / "o")
    assert run.status == 130
    assert [row["status"] for row in table(tmp_path / "o")] == ["converged_cost", "pending", "pending"]
    (tmp_path / "p" / "stop.png").unlink()
    assert invoke("fit", tmp_path / "p", "-o", tmp_path / "o").status == 0
    assert in_process == ["a.png", "stop.png", "z.png"]
    assert [row["status"] for row in table(tmp_path / "o")] == ["converged_cost"] * 2


def test_a_photo_that_kills_its_process(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path / "p", "dies.png")
    run = invoke("fit", tmp_path / "p", "-o", tmp_path / "o")
    assert run.status == 2
    assert in_process == ["dies.png", "dies.png"]  # once with others, once alone
    assert "the process died" in table(tmp_path / "o")[0]["error"]
    assert invoke("fit", tmp_path / "p", "-o", tmp_path / "o").status == 2
    assert len(in_process) == 2  # not tried again, until told
    invoke("fit", tmp_path / "p", "-o", tmp_path / "o", "--retry")
    assert len(in_process) == 4


def test_overwriting_does_all_again(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path / "p", "a.png", "b.png")
    words = ("fit", tmp_path / "p", "-o", tmp_path / "o")
    assert invoke(*words).status == 0
    assert invoke(*words, "--texture", "photo").status == 2
    assert invoke(*words, "--texture", "photo", "--overwrite").status == 0
    assert in_process == ["a.png", "b.png"] * 2
    assert invoke(*words, "--texture", "photo").status == 0
    assert len(in_process) == 4


def test_damaged_records_are_made_again(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path / "p", "a.png")
    words = ("fit", tmp_path / "p", "-o", tmp_path / "o")
    invoke(*words)
    (tmp_path / "o" / "a.json").write_text("[1")
    assert invoke(*words).status == 0
    assert len(in_process) == 2
    (tmp_path / "o" / "faceinv-run.json").write_text("[]")
    damaged = invoke(*words)
    assert damaged.status == 2
    assert "is damaged" in damaged.err


def test_finding_photos(tmp_path: Path) -> None:
    names = ["b.JPG", "a.png", "a.bmp", "sub/a.png", ".hidden/c.png", ".d.png", "out/e.png"]
    blank_photos(tmp_path, *(name.replace("JPG", "png") for name in names))
    (tmp_path / "b.png").rename(tmp_path / "b.JPG")
    (tmp_path / "B.PTS").write_text("")
    jobs = find_jobs(tmp_path, tmp_path / "out").jobs
    assert [(job.name, job.stem) for job in jobs] == [
        ("a.bmp", "a_bmp"),
        ("a.png", "a_png"),
        ("b.JPG", "b"),
        ("sub/a.png", "a"),
    ]
    assert jobs[2].landmarks == tmp_path / "B.PTS"
    assert jobs[0].landmarks is None
    assert jobs[3].folder == tmp_path / "out" / "sub"


def test_results_among_the_photos(tmp_path: Path) -> None:
    """Overlays are no photos, in the first run and in later ones, and neither are other pictures of ours."""
    make_photos(tmp_path, ["a.png", "sub/b.png"])
    (tmp_path / "c.toml").write_text(TINY)
    words = ("fit", tmp_path, "-o", tmp_path, "--config", tmp_path / "c.toml", "--workers", 1)
    assert invoke(*words).status == 0
    quick_fit().export(tmp_path / "sub" / "b.obj")  # with a texture beside it
    before = state(tmp_path)
    again = invoke(*words)
    assert again.status == 0, again.text
    assert "2 of 2 photos were finished" in again.err
    assert "3 pictures are left out: faceinv made them." in again.err
    assert state(tmp_path) == before
    elsewhere = find_jobs(tmp_path, tmp_path / "elsewhere")
    assert [job.name for job in elsewhere.jobs] == ["a.png", "sub/b.png"]
    Image.open(tmp_path / "a_overlay.png").copy().save(tmp_path / "a_overlay.png")  # without the mark in the file
    assert find_jobs(tmp_path, tmp_path / "elsewhere").own == 3  # known by the record beside it
    (tmp_path / "a.json").unlink()
    assert [job.name for job in find_jobs(tmp_path, tmp_path).jobs] == ["a.png", "a_overlay.png", "sub/b.png"]
    mine = invoke(*words)
    assert mine.status == 2
    assert "'" + str(tmp_path / "a_overlay.png") + "' would replace an input" in mine.err


def test_somebody_elses_json_beside_the_photos(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path, "a.png")
    (tmp_path / "a.json").write_text('{"label": "smiling"}')
    run = invoke("fit", tmp_path, "-o", tmp_path)
    assert run.status == 2
    assert "would replace a file that faceinv did not write" in run.err
    assert (tmp_path / "a.json").read_text() == '{"label": "smiling"}'
    assert invoke("fit", tmp_path, "-o", tmp_path / "o").status == 0


def test_photos_of_every_kind_that_is_read(tmp_path: Path, in_process: list[str]) -> None:
    small = Image.open(sample()).resize((64, 64))
    kinds = ["a.jfif", "b.gif", "c.webp", "d.BMP", "e.tif", "f.jpe"]
    formats = {"jfif": "JPEG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tif": "TIFF", "jpe": "JPEG"}
    for name in kinds:
        small.save(tmp_path / name, format=formats[name.split(".")[1].lower()])
    if features.check("avif"):
        small.save(tmp_path / "g.avif")
        kinds.append("g.avif")
    run = invoke("fit", tmp_path, "-o", tmp_path / "o")
    assert run.status == 0, run.text
    assert in_process == kinds
    assert "skipped" not in run.err
    assert load_image(tmp_path / "b.gif").size == (64, 64)


def test_pictures_that_are_not_read_are_counted(tmp_path: Path, in_process: list[str]) -> None:
    for name in ("1.HEIC", "sub/2.heic", "3.dng", ".4.heic", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"picture")
    none = invoke("fit", tmp_path, "-o", tmp_path / "o")
    assert none.status == 2
    assert "holds no photos" in none.err
    assert "3 files were skipped, of kinds that are not read: 1 .dng, 2 .heic." in none.err
    blank_photos(tmp_path, "a.png")
    run = invoke("fit", tmp_path, "-o", tmp_path / "o")
    assert run.status == 0, run.text
    assert "1 of 1 photos are fitted" in run.err
    assert "3 files were skipped, of kinds that are not read: 1 .dng, 2 .heic. Save them as JPEG or PNG" in run.err


def test_only_leftovers_of_the_stem_are_removed(tmp_path: Path) -> None:
    names = [".a.12345678.npz", ".a_overlay.abc_ef12.png", ".ab.12345678.npz", ".a.npz", "a.npz", ".a.1234567.npz"]
    for name in names:
        (tmp_path / name).touch()
    clean_leftovers(tmp_path, "a")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(names[2:])
    clean_leftovers(tmp_path / "missing", "a")


def test_threads_of_processes_are_limited_and_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with executors._limited_threads(2):
        assert os.environ["OMP_NUM_THREADS"] == "2"
        assert os.environ["NUMBA_NUM_THREADS"] == "2"
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "NUMBA_NUM_THREADS" not in os.environ


def test_gpus_get_one_process_and_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(executors, "_cores", lambda: 8)
    config = faceinv.FitConfig()
    for backend, expected in (
        ("numpy", executors.Plan(8, 1, 1)),
        ("torch:cpu", executors.Plan(8, 1, 1)),
        ("torch:cuda:0", executors.Plan(1, 8, 32)),
        ("cupy", executors.Plan(1, 8, 32)),
    ):
        options = FitOptions("default", backend, config, "albedo")
        assert executors.plan(options, 100) == expected
    assert executors.plan(FitOptions("default", "numpy", config, "albedo"), 3) == executors.Plan(3, 2, 1)
    assert executors.plan(FitOptions("default", "cupy", config, "albedo"), 100, workers=9).workers == 4  # 4 batches


def test_a_queue_fills_batches(tmp_path: Path, in_process: list[str]) -> None:
    blank_photos(tmp_path / "p", *(f"{n}.png" for n in range(7)), "4_dies.png")
    (tmp_path / "p" / "4_dies.png").rename(tmp_path / "p" / "dies.png")
    jobs = find_jobs(tmp_path / "p", tmp_path / "o").jobs
    records: dict[str, str] = {}
    options = FitOptions("default", "numpy", faceinv.FitConfig(), "albedo")
    executors.run_jobs(
        jobs, options, executors.Plan(1, 1, 3), lambda job, record: records.update({job.name: record["status"]})
    )
    batches = [["0.png", "1.png", "2.png"], ["3.png", "4.png", "5.png"], ["6.png", "dies.png"], ["dies.png"]]
    assert Here.batches == batches  # what was finished when the process died is not done again
    assert records == {**{f"{n}.png": "converged_cost" for n in range(7)}, "dies.png": "failed"}


def test_a_run_without_a_command_line(tmp_path: Path) -> None:
    """By an executor of the caller's, who is told of every step."""
    blank_photos(tmp_path / "p", "a.png", "b.png")
    steps: list[object] = []

    class Told(Listener):
        def found(self, inventory: Any, done: int) -> None:
            steps.append((len(inventory.jobs), done))

        def finished(self, job: Job, record: Record, done: int) -> None:
            steps.append((job.name, record["status"], done))

    Here.done, Here.batches = [], []
    options = FitOptions("default", "numpy", faceinv.FitConfig(), "albedo")
    outcome = fit_folder(tmp_path / "p", tmp_path / "o", options, workers=1, listener=Told(), make=Here)
    assert steps == [(2, 0), ("a.png", "converged_cost", 1), ("b.png", "converged_cost", 2)]
    assert outcome.failed == 0
    assert outcome.summary.is_file()


def test_a_lost_gpu_ends_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No later photo must fail because an earlier one made the GPU unusable for this process."""

    class Left(BaseException):
        pass

    class Lost:
        def prepare(self, *_: object) -> str:
            return "prepared"

        def solve(self, *_: object) -> None:
            raise DeviceLostError("gone")

    def leave(status: int) -> None:
        raise Left(status)

    blank_photos(tmp_path / "p", "a.png")
    monkeypatch.setattr("faceinv.run.work.os._exit", leave)
    monkeypatch.setattr(work, "_fitter", lambda options: Lost())
    (job,) = find_jobs(tmp_path / "p", tmp_path / "o").jobs
    with pytest.raises(Left, match="1"):
        work.fit_jobs(FitOptions("default", "numpy", faceinv.FitConfig(), "albedo"), [job])
    assert not job.record.exists()
