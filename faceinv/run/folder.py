"""`faceinv fit FOLDER`: many photos, by several processes, going on where an earlier run stopped.

The output folder mirrors the photo folder. A photo is finished when its JSON is there, which is written last and says
what failed where it did; `summary.csv` is made of the JSON files, so it can be made again at any time.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from faceinv.errors import DeviceLostError, FaceinvError, InputError
from faceinv.files import write_whole
from faceinv.run.outputs import (
    FitOptions,
    check_folder,
    clean_leftovers,
    describe,
    finite,
    output_paths,
    refuse_overwriting,
    unique_stems,
    write_json,
    write_result,
)
from faceinv.version import __version__

if TYPE_CHECKING:
    from faceinv.cli.console import Reporter
    from faceinv.fitting.fitter import Fitter

__all__ = ["IMAGE_SUFFIXES", "fit_folder"]

IMAGE_SUFFIXES: Final = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

_log = logging.getLogger(__name__)
_SETTINGS: Final = "faceinv-run.json"
_SUMMARY: Final = "summary.csv"
_COLUMNS: Final = (
    *("image", "status", "photometric_rmse", "landmark_error", "cost", "cost_photometric", "cost_landmarks"),
    *("cost_prior", "iterations", "seconds", "landmarks", "files", "error"),
)
_SUMMARY_EVERY: Final = 5.0
_THREADS: Final = (
    *("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"),
    *("VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
)


@dataclass(frozen=True)
class _Job:
    """One photo."""

    image: Path
    landmarks: Path | None
    name: str
    """The photo's path within its folder, with `/`."""
    folder: Path
    """Where its files go."""
    stem: str

    @property
    def record(self) -> Path:
        return output_paths(self.folder, self.stem)["json"]

    def source(self) -> dict[str, Any]:
        """What tells whether the photo or its landmarks have changed since."""
        return {
            path.name: [path.stat().st_size, path.stat().st_mtime_ns]
            for path in (self.image, self.landmarks)
            if path is not None
        }


def fit_folder(
    folder: Path,
    output: Path,
    options: FitOptions,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    retry: bool = False,
    quiet: bool = False,
) -> int:
    """Fit the largest face (or the one whose landmarks lie beside it) of every photo in a folder and its sub-folders.

    Returns:
        the exit status: 0 all photos are fitted, 1 some failed, 2 all failed.

    Raises:
        FaceinvError: when options cannot be used, no photo is there, or the output is of a run with other settings.
    """
    from faceinv.cli.console import reporter
    from faceinv.cli.fit import prepare

    jobs = _find_jobs(folder, output)
    refuse_overwriting([job.image for job in jobs], [p for j in jobs for p in output_paths(j.folder, j.stem).values()])
    with reporter(quiet) as report:
        prepare(options, report).engine.close()  # errors of model and engine show here, once
        check_folder(output)
        if overwrite:
            for job in jobs:
                job.record.unlink(missing_ok=True)
        _check_settings(output / _SETTINGS, options, overwrite)
        done = {job: record for job in jobs if (record := _finished(job)) is not None}
        if retry:
            done = {job: record for job, record in done.items() if record["status"] != "failed"}
        if done:
            report.note(f"{len(done)} of {len(jobs)} photos were finished by an earlier run.")
        pending = [job for job in jobs if job not in done]
        summary = _Summary(output / _SUMMARY, jobs, done)
        summary.write()
        try:
            _run_all(pending, options, workers or _default_workers(options), summary, report)
        except KeyboardInterrupt:
            summary.records.update({job: record for job in jobs if (record := _finished(job)) is not None})
            raise
        finally:
            summary.write()
        failed = sum(record["status"] == "failed" for record in summary.records.values())
        report.note(f"{len(jobs) - failed} of {len(jobs)} photos are fitted; {output / _SUMMARY} lists them all.")
        if failed:
            report.error(
                f"{failed} of {len(jobs)} photos failed; {output / _SUMMARY} says why. --retry tries them again."
            )
    return 0 if not failed else 1 if failed < len(jobs) else 2


def _find_jobs(folder: Path, output: Path) -> list[_Job]:
    """All photos in the order of their paths; hidden ones and the output folder are left out."""
    jobs = []
    for place, names, files in os.walk(folder):
        here = Path(place)
        names[:] = sorted(n for n in names if not n.startswith(".") and (here / n).absolute() != output.absolute())
        images = [here / n for n in sorted(files) if not n.startswith(".") and n.lower().endswith(IMAGE_SUFFIXES)]
        marked = {Path(n).stem.lower(): here / n for n in sorted(files) if n.lower().endswith(".pts")}
        for image, stem in zip(images, unique_stems(images), strict=True):
            inside = image.relative_to(folder)
            target = output / inside.parent
            jobs.append(_Job(image, marked.get(image.stem.lower()), inside.as_posix(), target, stem))
    if not jobs:
        raise InputError(f"folder '{folder}' holds no photos ({', '.join(IMAGE_SUFFIXES)}), nor do its sub-folders.")
    return jobs


def _check_settings(path: Path, options: FitOptions, overwrite: bool) -> None:
    """Refuse to mix results of different settings in one folder."""
    wanted = {
        "model": options.model,
        "backend": options.backend,
        "texture": options.texture,
        "version": __version__,
        **{f"config.{key}": value for key, value in asdict(options.config).items()},
    }
    wanted = finite(wanted)
    if not overwrite and path.exists():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            different = [key for key in {**wanted, **found} if wanted.get(key) != found.get(key)]
        except (OSError, ValueError, TypeError, AttributeError):
            raise InputError(f"'{path}' is damaged. Use --overwrite to start anew, or another --output.") from None
        if different:
            changes = ", ".join(f"{key} was {found.get(key)!r}, is {wanted.get(key)!r}" for key in different[:4])
            raise InputError(
                f"'{path.parent}' holds results of a run with other settings: {changes}. "
                "Choose another --output, or --overwrite to do all photos again."
            )
        return
    write_json(path, wanted)


def _finished(job: _Job) -> dict[str, Any] | None:
    """What an earlier run found for a photo that has not changed since and whose files are all there."""
    try:
        record = json.loads(job.record.read_text(encoding="utf-8"))
        if record["source"] != job.source() or not isinstance(record["status"], str):
            return None
        if not all((job.folder / name).is_file() for name in record["files"].values()):
            return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return dict(record)


def _default_workers(options: FitOptions) -> int:
    cores = _cores()
    # One process keeps a GPU busy; several would only share its memory.
    on_gpu = options.backend.startswith("cupy") or "cuda" in options.backend
    return 1 if on_gpu else cores


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Summary:
    """The table of all photos, written anew now and then; whole at any moment."""

    def __init__(self, path: Path, jobs: Sequence[_Job], records: dict[_Job, dict[str, Any]]) -> None:
        self.path = path
        self.jobs = jobs
        self.records = dict(records)
        self._written = 0.0

    def add(self, job: _Job, record: dict[str, Any]) -> None:
        """A photo is done."""
        self.records[job] = record
        if time.monotonic() - self._written > _SUMMARY_EVERY:
            self.write()

    def write(self) -> None:
        """Write the table, unless it says the same already."""
        stream = io.StringIO()
        table = csv.DictWriter(stream, _COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        for job in self.jobs:
            record = self.records.get(job, {"status": "pending"})
            files = (job.folder / job.stem).relative_to(self.path.parent).as_posix()
            row = {
                **record,
                "image": job.name,
                "files": files,
                "landmarks": job.landmarks.name if job.landmarks else "",
            }
            row["seconds"] = f"{record['seconds']['total']:.3f}" if "seconds" in record else ""
            table.writerow(row)
        content = stream.getvalue().encode("utf-8")
        if not self.path.is_file() or self.path.read_bytes() != content:
            with write_whole(self.path) as temporary:
                temporary.write_bytes(content)
        self._written = time.monotonic()


def _run_all(pending: Sequence[_Job], options: FitOptions, workers: int, summary: _Summary, report: Reporter) -> None:
    """Give photos to processes, no more at once than there are processes."""
    from faceinv.run.warmup import kernels_compiled

    total = len(summary.jobs)
    bar = None
    if report.progress is not None:
        bar = report.progress.add_task("photos", total=total, completed=total - len(pending))

    def finish(job: _Job, record: dict[str, Any]) -> None:
        summary.add(job, record)
        if bar is not None and report.progress is not None:
            report.progress.advance(bar)
        count = f"[{len(summary.records)}/{total}] "
        if record["status"] == "failed":
            report.error(f"{count}{job.name}: {record['error']}")
        else:
            report.result(count + describe(job.name, record, output_paths(job.folder, job.stem)["glb"]))

    if not pending:
        return
    workers = min(workers, len(pending))
    queue = deque(pending)
    if not kernels_compiled():  # one process compiles for all
        _run_pool(deque([queue.popleft()]), options, 1, _cores(), finish)
    suspects = _run_pool(queue, options, workers, max(1, _cores() // workers), finish)
    while suspects:
        # A process died, and any of these photos may be why: each gets a process of its own.
        job = suspects.pop(0)
        if _run_pool(deque([job]), options, 1, max(1, _cores() // workers), finish):
            finish(job, _fail(job, "the process died while fitting this photo; it may have run out of memory."))


def _run_pool(queue: deque[_Job], options: FitOptions, workers: int, threads: int, finish: Any) -> list[_Job]:
    """Run all jobs of a queue; those that were under way whenever a process died are returned."""
    suspects: list[_Job] = []
    while queue:
        context = multiprocessing.get_context("spawn")
        with _limited_threads(threads):
            pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(options,))
            flying: dict[Future[dict[str, Any]], _Job] = {}
            try:
                while queue or flying:
                    while queue and len(flying) < workers:
                        job = queue.popleft()
                        try:
                            flying[pool.submit(_work, job)] = job
                        except BrokenProcessPool:
                            queue.appendleft(job)
                            raise
                    for future in wait(flying, return_when=FIRST_COMPLETED).done:
                        record = future.result()
                        finish(flying.pop(future), record)
            except BrokenProcessPool:
                suspects += [job for job in flying.values() if _finished(job) is None]
                for job in flying.values():
                    if (kept := _finished(job)) is not None:
                        finish(job, kept)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    return suspects


@contextmanager
def _limited_threads(count: int) -> Iterator[None]:
    """Processes started within use so many threads each."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


# ---- in the worker processes

_options: FitOptions | None = None
_fitter: Fitter | None = None


def _start_worker(options: FitOptions) -> None:
    global _options
    _options = options
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process decides
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(job: _Job) -> dict[str, Any]:
    """Fit one photo and write its files; what fails is recorded, not raised."""
    global _fitter
    from faceinv.cli.fit import check_result
    from faceinv.fitting.fitter import Fitter

    assert _options is not None
    try:
        clean_leftovers(job.folder, job.stem)
        job.record.unlink(missing_ok=True)  # from here until all files are there, the photo is not finished
        if _fitter is None:
            _fitter = Fitter(_options.model, _options.backend, _options.config)
        result = check_result(_fitter.fit(job.image, job.landmarks))
        extra = {"image": job.name, "source": job.source()}
        return write_result(result, job.folder, job.stem, _options.texture, extra)
    except DeviceLostError as error:
        _log.error("'%s': %s", job.name, error)
        os._exit(1)  # this process is of no more use; a new one tries the photo again
    except FaceinvError as error:
        return _fail(job, str(error))
    except Exception as error:  # a fault of the program must not cost the results of other photos
        return _fail(job, f"unexpected {type(error).__name__}: {error}. Please report this.")


def _fail(job: _Job, message: str) -> dict[str, Any]:
    """Record that a photo cannot be fitted, so that the next run need not try again."""
    record: dict[str, Any] = {"image": job.name, "status": "failed", "success": False, "error": message, "files": {}}
    try:
        record["source"] = job.source()
        write_json(job.record, record)
    except (OSError, InputError):
        record["source"] = {}
    return record
