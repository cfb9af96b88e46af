"""`index.html`: a page on all photos of a folder, those first that need somebody to look at them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from faceinv.files import write_whole
from faceinv.output.report.contact import Entry, contact_page
from faceinv.output.report.templating import as_file
from faceinv.run.jobs import Job, Record
from faceinv.run.summary import SUMMARY, Summary

__all__ = ["INDEX", "write_index"]

INDEX: Final = "index.html"


def write_index(path: Path, folder: Path, summary: Summary) -> None:
    """Write the page, whole or not at all.

    Args:
        path: the page.
        folder: the photos'.
        summary: what is known of them.

    Raises:
        InputError: when it cannot be written.
    """
    entries = [_entry(job, summary.records.get(job), path.parent) for job in summary.jobs]
    page = contact_page(f"Faces of {folder.absolute().name}", entries, SUMMARY)
    with write_whole(path) as temporary:
        temporary.write_bytes(as_file(page))


def _entry(job: Job, record: Record | None, root: Path) -> Entry:
    record = record or {"status": "pending", "files": {}}
    status = str(record["status"])
    files = {kind: job.folder / name for kind, name in record["files"].items()}
    links = {kind: _link(path, root) for kind, path in files.items() if kind != "landmarks"}
    numbers = {key: record.get(key) for key in ("photometric_rmse", "landmark_error")}
    seconds = record.get("seconds")
    return Entry(
        name=job.name,
        status=status.replace("_", " "),
        failed=status == "failed",
        message=str(record.get("error", record.get("message", ""))),
        warnings=tuple(record.get("warnings", ())),
        thumbnail=str(record.get("thumbnail", "")),
        photo=_link(job.image, root),
        links=links,
        photometric_rmse=numbers["photometric_rmse"],
        landmark_error=numbers["landmark_error"],
        seconds=seconds.get("total") if isinstance(seconds, dict) else None,
    )


def _link(path: Path, root: Path) -> str:
    """The way from the page to a file; empty where there is none, as to another drive."""
    try:
        return Path(os.path.relpath(path.absolute(), root.absolute())).as_posix()
    except ValueError:
        return ""
