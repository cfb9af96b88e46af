"""A browser without a window, for tests of pages."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["Watched", "browser", "watched"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync"),
)
DRAWING = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")
"""WebGL without a graphics card."""
REQUIRED = "FACEINV_BROWSER_TESTS"
"""Set to `required`, tests of pages fail where they would be skipped."""


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser; skips, by name, where there is none."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    lacking = [] if path else ["Chromium (Debian: apt install chromium)"]
    if importlib.util.find_spec("playwright") is None:
        lacking.append("playwright (pip install playwright)")
    if lacking:
        reason = f"pages are not tested in a browser: there is no {' and no '.join(lacking)}"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, headless=True, args=[*QUIET, *DRAWING])
        try:
            yield started
        finally:
            started.close()


class Watched:
    """A page and what it complained of or asked for."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url[:80]))


@contextmanager
def watched(started: Browser, path: Any, width: int = 1100, height: int = 900) -> Iterator[Watched]:
    """A page from a file, once it says that it is ready."""
    page = started.new_page(viewport={"width": width, "height": height})
    try:
        seen = Watched(page)
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready", timeout=60_000)
        yield seen
    finally:
        page.close()
