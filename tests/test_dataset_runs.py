"""Data sets by real processes: the same bytes whoever works, whoever is killed, and whatever a photo does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from calls import invoke
from deadly import DeadlyPool
from small_photos import SMALL_TOML, contents, make_photos

from faceinv.dataset import DatasetSettings, Watcher, make_dataset
from faceinv.errors import InputError
from faceinv.run.executors import ProcessPool
from faceinv.run.tasks import Crew, InlineExecutor

pq = pytest.importorskip("pyarrow.parquet", exc_type=ImportError)

SUPPORT = Path(__file__).parent / "support"
NAMES = ["a.png", "b.png", "c.png", "d.png"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos, settings, and the data set that one process made of them without being disturbed."""
    folder = tmp_path_factory.mktemp("runs")
    make_photos(folder / "photos", NAMES)
    (folder / "settings.toml").write_text(SMALL_TOML)
    make_dataset([folder / "photos"], folder / "expected", settings(folder), make=InlineExecutor)
    return folder


def settings(folder: Path) -> DatasetSettings:
    return DatasetSettings.read(folder / "settings.toml", variants=2, size=32)


def command(place: Path, out: Path, *words: str) -> list[str]:
    options = ["--config", str(place / "settings.toml"), "--variants", "2", "--size", "32"]
    return [sys.executable, "-m", "faceinv", "dataset", str(place / "photos"), "-o", str(out), *options, *words]


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """The first true thing that a condition gives."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.02)
    raise TimeoutError


def parts(out: Path) -> list[Path]:
    return [*out.glob(".work/parts/*/0*.tar"), *out.glob("shards/0*.tar")]


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_makes_the_same_bytes(workers: int, place: Path, tmp_path: Path) -> None:
    make_dataset([place / "photos"], tmp_path / "out", settings(place), workers=workers)
    assert contents(tmp_path / "out") == contents(place / "expected")


@pytest.mark.parametrize("step", ["fits", "parts"])
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_bytes(step: str, place: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run = subprocess.Popen(command(place, out, "--workers", "2"), stderr=subprocess.PIPE)
    wait_for(lambda: parts(out) if step == "parts" else list(out.glob(".work/fits/*/0*.npz")))
    run.send_signal(signal.SIGKILL)
    run.communicate()
    assert not (out / "index.parquet").exists()

    class Counting(Watcher):
        drawn = 0

        def step(self, name: str, done: int, failed: int, total: int) -> None:
            self.drawn += name == "drawing"

    counting = Counting()
    before = len(parts(out))
    (out / "shards").mkdir(exist_ok=True)
    (out / "shards" / ".000001.x0x0.tar").write_bytes(b"as of a process that was killed while it wrote")
    time.sleep(0.5)  # its workers end with it
    make_dataset([place / "photos"], out, settings(place), make=InlineExecutor, watcher=counting)
    assert contents(out) == contents(place / "expected")
    if step == "parts":
        assert before
        assert counting.drawn <= len(NAMES)


def test_a_photo_that_kills_its_worker_is_tried_twice_and_listed(place: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photos(photos, [*NAMES[:2], "killer.png"])
    outcome = make_dataset([photos], out, settings(place), workers=2, make=DeadlyPool)
    assert (outcome.failed, outcome.pictures) == (1, 4)
    rows = pq.read_table(out / "index.parquet").to_pylist()
    assert [(row["source"], row["status"]) for row in rows if row["index"] in (0, None)] == [
        ("a.png", "ok"),
        ("b.png", "ok"),
        ("killer.png", "failed"),
    ]
    assert "the process died while it worked on this photo, 2 times" in rows[-1]["reason"]


def test_workers_that_die_do_not_change_the_bytes(place: Path, tmp_path: Path) -> None:
    """As when another program, or the system, ends one."""
    out = tmp_path / "out"
    killed: list[int] = []

    class Killer(Watcher):
        pool: Any = None

        def step(self, name: str, done: int, failed: int, total: int) -> None:
            if name == "drawing" and done == 1 and not killed:
                killed.extend(list(self.pool._processes)[:1])
                os.kill(killed[0], signal.SIGKILL)

    killer = Killer()

    def make(workers: int, threads: int) -> ProcessPool:
        pool = killer.pool = ProcessPool(workers, threads)
        return pool

    make_dataset([place / "photos"], out, settings(place), workers=2, make=make, watcher=killer)
    assert killed
    assert contents(out) == contents(place / "expected")


def test_tasks_are_taken_as_they_are_needed() -> None:
    taken, ended = 0, 0

    def tasks() -> Iterator[int]:
        nonlocal taken
        for number in range(200):
            taken += 1
            assert taken - ended <= 2 * 3
            yield number

    with Crew(3, 1, InlineExecutor) as crew:
        for task, result in crew.run(tasks(), _twice, _twice):
            assert result == 2 * task
            ended += 1
    assert ended == 200


def _twice(number: int) -> int:
    return 2 * number


@contextmanager
def cluster(folder: Path, *options: str, workers: int = 2) -> Iterator[tuple[str, subprocess.Popen[bytes], Any]]:
    """A scheduler and workers of Dask, as processes of their own that only this machine reaches."""
    pytest.importorskip("distributed")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SUPPORT), os.environ.get("PYTHONPATH", "")])}
    found = folder / "scheduler.json"
    quiet: dict[str, Any] = {
        "env": environment,
        "cwd": folder,
        "stdout": subprocess.DEVNULL,
        "stderr": subprocess.DEVNULL,
        "start_new_session": True,
    }
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str, *words: str) -> subprocess.Popen[bytes]:
        name = f"distributed.cli.dask_{kind}"
        code = f"from {name} import main; main()"
        started.append(subprocess.Popen([sys.executable, "-W", "ignore", "-c", code, *words], **quiet))
        return started[-1]

    try:
        scheduler = start(
            *("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show"),
            *("--scheduler-file", str(found)),
        )
        text = wait_for(lambda: found.exists() and found.read_text())
        address = text.split('"address": "')[1].split('"')[0]
        hosts = ("--host", "127.0.0.1", "--nthreads", "1", "--no-dashboard", "--local-directory", str(folder))
        for _ in range(workers):
            start("worker", address, *hosts, *options)
        yield address, scheduler, start
    finally:
        for process in started:
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            finally:
                process.wait()


def test_a_cluster_makes_the_same_bytes_and_survives_its_workers(place: Path, tmp_path: Path) -> None:
    photos, out = tmp_path / "photos", tmp_path / "out"
    make_photos(photos, [*NAMES[:2], "killer.png"])
    with cluster(tmp_path, "--preload", str(SUPPORT / "deadly.py")) as (address, scheduler, _):
        plain = [word.replace(str(place / "photos"), str(photos)) for word in command(place, out)]
        run = subprocess.Popen([*plain, "--scheduler", address], stderr=subprocess.PIPE, text=True)
        assert run.communicate(timeout=300)[1].count("killer.png") == 1
        assert run.returncode == 1
        rows = pq.read_table(out / "index.parquet").to_pylist()
        assert rows[-1]["source"] == "killer.png"
        assert "2 times" in rows[-1]["reason"]
        # Another run, whose scheduler is lost.
        other = tmp_path / "other"
        run = subprocess.Popen([*command(place, other), "--scheduler", address], stderr=subprocess.PIPE, text=True)
        wait_for(lambda: parts(other))
        scheduler.kill()
        text = run.communicate(timeout=300)[1]
        if not (other / "index.parquet").exists():
            assert run.returncode == 2, text
            assert "was lost" in text
    make_dataset([place / "photos"], other, settings(place), make=InlineExecutor)
    assert contents(other) == contents(place / "expected")


def test_schedulers_that_cannot_be_used(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    from faceinv.run import cluster as module

    monkeypatch.setattr(module, "_SECONDS", 2)
    run = invoke(*command(place, tmp_path / "out")[3:], "--scheduler", "tcp://127.0.0.1:9")
    assert run.status == 2
    assert "no scheduler answers at 'tcp://127.0.0.1:9'" in run.err
    for wrong in ("nonsense", "http://127.0.0.1:9", "tcp://127.0.0.1:x", "tcp://127.0.0.1:99999"):
        with pytest.raises(InputError, match=f"no scheduler answers at '{wrong}'"):
            module.connect(wrong)
    with cluster(tmp_path, workers=0) as (address, _, start):
        with pytest.raises(InputError, match="has no workers"):
            module.connect(address)
        monkeypatch.setattr(module, "_SECONDS", 60)
        start("worker", address, "--host", "127.0.0.1", "--nthreads", "2", "--no-dashboard", "--no-nanny")
        with pytest.raises(InputError, match="--nthreads 1"):
            module.connect(address)
        monkeypatch.setattr(module, "__version__", "0.0.9")
        with pytest.raises(InputError, match=r"has faceinv .*; this is 0\.0\.9"):
            module.connect(address)
    assert not (tmp_path / "out").exists()


def test_a_folder_is_fitted_by_a_cluster_as_by_processes(place: Path, tmp_path: Path) -> None:
    photos = make_photos(tmp_path / "photos", NAMES[:2])
    (tmp_path / "fit.toml").write_text("size = 32\nlevels = 1\niterations = 1\n")
    words = ("fit", photos, "--config", tmp_path / "fit.toml")
    with cluster(tmp_path, workers=1) as (address, _, _):
        run = invoke(*words, "-o", tmp_path / "far", "--scheduler", address)
    assert run.status == 0, run.text
    assert invoke(*words, "-o", tmp_path / "near", "--workers", 1).status == 0
    for name in ("a", "b"):
        far, near = (dict(np.load(tmp_path / folder / f"{name}.npz")) for folder in ("far", "near"))
        assert far.keys() == near.keys()
        for key in far.keys() - {"history", "timings"}:  # which hold seconds
            assert np.array_equal(far[key], near[key], equal_nan=far[key].dtype.kind == "f"), key
    assert invoke("fit", photos / "a.png", "--scheduler", "tcp://127.0.0.1:9").status == 2
