"""Saved results, with what lies beside them: their records, their photos, their pages."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from faceinv.errors import FaceinvError, InputError
from faceinv.files import refuse_url
from faceinv.photo.image_file import image_suffixes
from faceinv.run.outputs import is_record, output_paths, read_json, title_of

if TYPE_CHECKING:
    from faceinv.fitting.result import FitResult
    from faceinv.photo.read import ImageLike

__all__ = ["Saved", "find_saved", "load_saved", "write_saved_report"]


class Saved:
    """A result's file and what is known of it.

    Args:
        path: the `.npz`.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = read_json(path.with_suffix(".json"))
        self.record: dict[str, Any] = content if is_record(content) else {}
        """What its JSON holds; empty where there is none."""

    @property
    def page(self) -> Path:
        """Where its report is, or would be."""
        return self.path.with_suffix(".html")

    @property
    def page_is_fresh(self) -> bool:
        """Whether there is a report, of this result and no earlier one."""
        try:
            return self.page.stat().st_mtime_ns >= self.path.stat().st_mtime_ns
        except OSError:
            return False

    def photos(self) -> Iterator[Path]:
        """Where its photo may be: where it was, beside the result, or under the result's name."""
        if isinstance(self.record.get("photo"), str):
            yield Path(os.path.normpath(self.path.parent / self.record["photo"]))
        if "image" in self.record:
            given = Path(str(self.record["image"]))
            yield from (given, self.path.parent / given, self.path.parent / given.name)
        yield from (self.path.with_suffix(suffix) for suffix in sorted(image_suffixes()))


def find_saved(given: str) -> Saved:
    """The saved result that is meant by its `.npz`, its JSON, its page, or what their names have in common.

    Raises:
        InputError: where there is none.
    """
    path = Path(refuse_url(given, "result"))
    if path.suffix.lower() not in (".npz", ".json", ".html"):
        path = path.with_name(f"{path.name}.npz")
    result = path.with_suffix(".npz")
    if not result.is_file():
        raise InputError(f"no result at '{result}'. Give the STEM.npz that 'faceinv fit' wrote, or STEM alone.")
    return Saved(result)


def load_saved(saved: Saved, photo: ImageLike | None = None, model: str | None = None) -> FitResult:
    """The result, with the photo that is given, or the first that is found and has its size; without where none is.

    Raises:
        FaceinvError: when the result or its model cannot be read, or the photo that is given is another.
    """
    from faceinv.fitting.result import load_result

    result = load_result(saved.path, model)
    if photo is not None:
        return result.with_photo(photo)
    for path in saved.photos():
        if path.is_file():
            try:
                return result.with_photo(path)
            except FaceinvError:  # another file of that name
                continue
    return result


def write_saved_report(saved: Saved, result: FitResult, page: Path) -> None:
    """Write the page of a saved result; what the result itself does not hold is taken from its record.

    Raises:
        InputError: when it cannot be written.
    """
    from faceinv.fitting.reporting import report_content
    from faceinv.output.report.page import write_report

    stem, here = saved.path.stem, saved.path.parent
    known = {**saved.record.get("files", {})} or {k: p.name for k, p in output_paths(here, stem).items()}
    beside = page.absolute().parent == here.absolute()
    files = {kind: name for kind, name in known.items() if beside and kind != "report" and (here / name).is_file()}
    seconds = {name: value for name, value in saved.record.get("seconds", {}).items() if name != "total"}
    title = title_of({"image": stem, **saved.record})
    write_report(report_content(result, title, files, seconds, saved.record.get("versions")), page)
