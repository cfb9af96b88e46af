"""Showing a page in the browser of whoever sits here."""

from __future__ import annotations

import tempfile
import uuid
import webbrowser
from pathlib import Path

from faceinv.errors import InputError
from faceinv.files import private_temporary_folder

__all__ = ["open_page", "temporary_page"]


def open_page(path: Path) -> bool:
    """Open a page; whether a browser was found."""
    return webbrowser.open(path.absolute().as_uri())


def temporary_page() -> Path:
    """A path for a page that nobody keeps, which others cannot read.

    Raises:
        InputError: where there is no place for one.
    """
    folder = private_temporary_folder("faceinv-reports")
    if folder is None:
        raise InputError(
            f"no folder for a temporary page in '{tempfile.gettempdir()}'. Write it yourself: result.report(path)."
        )
    return folder / f"{uuid.uuid4().hex[:12]}.html"
