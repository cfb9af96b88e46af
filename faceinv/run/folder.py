"""A run over all photos of a folder, going on where an earlier run stopped.

The output folder mirrors the photo folder. Nothing here knows of a command line: who calls is told of every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from faceinv.errors import InputError
from faceinv.run.executors import MakeExecutor, plan, run_jobs
from faceinv.run.index import INDEX, write_index
from faceinv.run.jobs import Inventory, Job, Record, check_settings, find_jobs, finished
from faceinv.run.outputs import FitOptions, check_folder, check_model, output_paths, refuse_overwriting
from faceinv.run.summary import SUMMARY, Summary
from faceinv.run.warmup import compile_kernels, needs_compiling

__all__ = ["FolderOutcome", "Listener", "fit_folder"]

_SETTINGS: Final = "faceinv-run.json"


@dataclass(frozen=True)
class FolderOutcome:
    """How a run over a folder ended."""

    inventory: Inventory
    failed: int
    """How many photos could not be fitted, now or earlier."""
    summary: Path
    """The table of all photos."""
    index: Path | None = None
    """The page of all photos, where reports were asked for."""


class Listener:
    """Told how a run goes; each of these does nothing here."""

    def found(self, inventory: Inventory, done: int) -> None:
        """Photos were found, and so many of them finished by an earlier run."""

    def earlier(self, job: Job, record: Record) -> None:
        """A photo was finished by an earlier run; comes after `found`."""

    def compiling(self, done: int, total: int) -> None:
        """So many of all kernels are compiled; comes before the first photo, and only where it is needed."""

    def finished(self, job: Job, record: Record, done: int) -> None:
        """A photo is finished, which makes so many."""


def fit_folder(
    folder: Path,
    output: Path,
    options: FitOptions,
    *,
    workers: int | None = None,
    overwrite: bool = False,
    retry: bool = False,
    listener: Listener | None = None,
    make: MakeExecutor | None = None,
) -> FolderOutcome:
    """Fit the largest face (or the one whose landmarks lie beside it) of every photo in a folder and its sub-folders.

    Args:
        folder: where the photos are.
        output: where the files go; may be the same.
        options: what the photos share.
        workers: processes; by default one for each core, or one for a GPU.
        overwrite: do finished photos again, with whatever settings.
        retry: try again what failed.
        listener: told how it goes.
        make: makes the executor; by default processes on this machine.

    Raises:
        FaceinvError: when options cannot be used, no photo is there, or the output is of a run with other settings.
    """
    from faceinv.fitting.fitter import Fitter

    listener = listener or Listener()
    inventory = find_jobs(folder, output)
    jobs = inventory.jobs
    _check_files(jobs, output, options)
    fitter = Fitter(options.model, options.backend, options.config)  # errors of model and engine show here, once
    check_model(fitter.model, options)
    options = replace(options, model=fitter.model_source)
    check_folder(output)
    if overwrite:
        for job in jobs:
            job.record.unlink(missing_ok=True)
    check_settings(output / _SETTINGS, options, overwrite)
    done = {job: record for job in jobs if (record := finished(job, options.extras)) is not None}
    if retry:
        done = {job: record for job, record in done.items() if record["status"] != "failed"}
    listener.found(inventory, len(done))
    for job, record in done.items():
        listener.earlier(job, record)
    pending = [job for job in jobs if job not in done]
    summary = Summary(output / SUMMARY, jobs, done)
    summary.write()

    def finish(job: Job, record: Record) -> None:
        summary.add(job, record)
        listener.finished(job, record, len(summary.records))

    try:
        if pending and needs_compiling(fitter):  # once, for all processes
            compile_kernels(fitter, listener.compiling)
        fitter.engine.close()
        run_jobs(pending, options, plan(len(pending), fitter.engine.batch_size, workers), finish, make)
    except BaseException:  # interrupted: photos that were under way have been finished meanwhile
        summary.records.update({job: record for job in jobs if (record := finished(job)) is not None})
        raise
    finally:
        summary.write()
        if options.report:
            write_index(output / INDEX, folder, summary)
    return FolderOutcome(inventory, summary.failed, summary.path, output / INDEX if options.report else None)


def _check_files(jobs: Sequence[Job], output: Path, options: FitOptions) -> None:
    """See that no file that somebody needs would be replaced, or mistaken later.

    Raises:
        InputError: naming the file.
    """
    inputs = [path for job in jobs for path in (job.image, job.landmarks) if path is not None]
    outputs = [path for job in jobs for path in output_paths(job.folder, job.stem, options.kinds).values()]
    refuse_overwriting(inputs, [*outputs, *([output / INDEX] if options.report else [])])
    if options.write_pts and any(job.folder.absolute() == job.image.parent.absolute() for job in jobs):
        raise InputError(
            f"the landmarks of a fit would be written to '{output}' beside the photos themselves, where the next run "
            "would take them for given ones. Choose another folder for the output."
        )
