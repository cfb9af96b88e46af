"""Templates of pages. All that they are given is escaped unless it is marked as safe."""

from __future__ import annotations

import os
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from faceinv.errors import escaped

if TYPE_CHECKING:
    from jinja2 import Template

__all__ = ["as_file", "is_own_page", "link_to", "rendered", "text_of"]


@cache
def _template(name: str) -> Template:
    """A template of this package."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("faceinv.output.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


@cache
def text_of(name: str) -> str:
    """A style sheet or script of this package."""
    return (resources.files("faceinv.output.report") / "templates" / name).read_text(encoding="utf-8")


def link_to(name: str) -> str:
    """A relative path as a link, whatever its bytes are."""
    link = quote(os.fsencode(name))
    return link if "/" in link.partition(":")[0] or ":" not in link else f"./{link}"


def as_file(page: str) -> bytes:
    """A page as UTF-8; what stands for the bytes of a name that is no text is escaped."""
    return escaped(page).encode("utf-8")


def rendered(name: str, **values: Any) -> str:
    """A template with its values."""
    return _template(name).render(**values)


def is_own_page(path: Path) -> bool:
    """Whether a file is a page that faceinv wrote."""
    try:
        with path.open("rb") as stream:
            return b'<meta name="generator" content="faceinv' in stream.read(512)
    except OSError:
        return False
