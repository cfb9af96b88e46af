"""The page of a folder of fits: a table that can be sorted, with thumbnails and links to each fit's own files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from faceinv.output.report.templating import link_to, rendered, text_of
from faceinv.version import __version__

__all__ = ["Entry", "contact_page"]

_SHOWN: Final = {"report": "report", "overlay": "overlay", "glb": "3D", "npz": "numbers", "json": "summary"}
"""What links to files are called, by kind."""


@dataclass(frozen=True)
class Entry:
    """One photo."""

    name: str
    status: str
    failed: bool
    message: str
    """Why it failed, or why the fit stopped."""
    photo: str
    """A relative path from the page; empty for none."""
    warnings: tuple[str, ...] = ()
    thumbnail: str = ""
    """A URL with the picture inside; empty for none."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Relative paths of files, by kind."""
    photometric_rmse: float | None = None
    landmark_error: float | None = None
    seconds: float | None = None


def contact_page(title: str, entries: Sequence[Entry], table: str) -> str:
    """The page, HTML: what failed first, then what was warned of, then the worst explained.

    Args:
        title: of the page.
        entries: the photos.
        table: the name of the file with the same as text, beside the page.
    """
    ordered = sorted(entries, key=_urgency)
    rows = [
        (
            entry,
            link_to(entry.photo) if entry.photo else "",
            [(_SHOWN.get(kind, kind.replace("_", " ")), link_to(path)) for kind, path in _in_order(entry.links)],
        )
        for entry in ordered
    ]
    failed = sum(entry.failed for entry in entries)
    return rendered(
        "contact.html.j2",
        title=title,
        rows=rows,
        total=len(entries),
        failed=failed,
        warned=sum(bool(entry.warnings) for entry in entries if not entry.failed),
        table=(table, link_to(table)),
        css=text_of("page.css") + text_of("contact.css"),
        js=text_of("contact.js"),
        version=__version__,
    )


def _urgency(entry: Entry) -> tuple[bool, bool, float]:
    return not entry.failed, not entry.warnings, -(entry.landmark_error or 0.0)


def _in_order(links: Mapping[str, str]) -> list[tuple[str, str]]:
    known = [kind for kind in _SHOWN if kind in links]
    return [(kind, links[kind]) for kind in [*known, *(kind for kind in links if kind not in _SHOWN)] if links[kind]]
