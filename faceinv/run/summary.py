"""`summary.csv`: a line for each photo of a folder. It is made of the records, so it can be made again at any time."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from faceinv.files import write_whole
from faceinv.run.jobs import Job, Record

__all__ = ["SUMMARY", "Summary"]

SUMMARY: Final = "summary.csv"
_COLUMNS: Final = (
    *("image", "status", "photometric_rmse", "landmark_error", "cost", "cost_photometric", "cost_landmarks"),
    *("cost_prior", "iterations", "seconds", "landmarks", "files", "error", "warnings"),
)
_EVERY: Final = 5.0
"""Seconds between two writings of the table while photos come in."""


class Summary:
    """The table of all photos, written anew now and then; whole at any moment.

    Args:
        path: the file.
        jobs: the photos, in the order of the lines.
        records: of those that are finished.
    """

    def __init__(self, path: Path, jobs: Sequence[Job], records: Mapping[Job, Record]) -> None:
        self.path = path
        self.jobs = jobs
        self.records = dict(records)
        self._written = 0.0

    @property
    def failed(self) -> int:
        """How many photos could not be fitted."""
        return sum(record["status"] == "failed" for record in self.records.values())

    def add(self, job: Job, record: Record) -> None:
        """A photo is finished."""
        self.records[job] = record
        if time.monotonic() - self._written > _EVERY:
            self.write()

    def write(self) -> None:
        """Write the table, unless it says the same already.

        Raises:
            InputError: when it cannot be written.
        """
        stream = io.StringIO()
        table = csv.DictWriter(stream, _COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
        table.writeheader()
        table.writerows(self._row(job) for job in self.jobs)
        # Names that are not Unicode hold lone surrogates, which UTF-8 does not have.
        content = stream.getvalue().encode("utf-8", "backslashreplace")
        if not self.path.is_file() or self.path.read_bytes() != content:
            with write_whole(self.path) as temporary:
                temporary.write_bytes(content)
        self._written = time.monotonic()

    def _row(self, job: Job) -> Record:
        record = self.records.get(job, {"status": "pending"})
        return {
            **record,
            "image": job.name,
            "files": (job.folder / job.stem).relative_to(self.path.parent).as_posix(),
            "landmarks": job.landmarks.name if job.landmarks else "",
            "seconds": f"{record['seconds']['total']:.3f}" if "seconds" in record else "",
            "warnings": " ".join(record.get("warnings", ())),
        }
