"""The pictures of README.md and docs/GALLERY.md: fits as their reports show them, photographed in a browser.

    python tools/gallery.py [--people PHOTO...]

Without photos of people the sample photo alone is shown, and the sheet of people stays as it is. Needs Chromium and
playwright (`pip install playwright`). Only pictures that may be shown to anybody belong there: the sample photo, and
people who were rendered (`benchmarks/render_strangers.py`).
"""

from __future__ import annotations

import argparse
import base64
import io
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Final

from PIL import Image, ImageDraw, ImageFont

import faceinv

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

DOCS: Final = Path(__file__).parent.parent / "docs"
CELL: Final = 300
"""px, the side of a picture on a sheet."""
_GAP: Final = 8
_CAPTION: Final = 34
_INK: Final = (60, 64, 70)
_QUALITY: Final = 87
_NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
_ARGUMENTS: Final = (
    *("--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"),
    *("--disable-component-update", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"),
)
_SMILE: Final = {"mouthSmileLeft": 0.75, "mouthSmileRight": 0.75, "cheekSquintLeft": 0.5, "cheekSquintRight": 0.5}
_SURPRISE: Final = {
    **{"jawOpen": 0.45, "browInnerUp": 0.8, "mouthFunnel": 0.2, "eyeWideLeft": 0.7, "eyeWideRight": 0.7},
    **{"browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
}
_EXPRESSIONS: Final[Mapping[str, Mapping[str, float]]] = {
    "at rest": {},
    "smile": _SMILE,
    "surprise": _SURPRISE,
    "frown": {
        **{"mouthFrownLeft": 0.8, "mouthFrownRight": 0.8, "browDownLeft": 0.8, "browDownRight": 0.8},
        **{"noseSneerLeft": 0.35, "noseSneerRight": 0.35},
    },
    "eyes and jaw aside": {"eyeLookOutLeft": 0.8, "eyeLookInRight": 0.8, "jawLeft": 0.9, "mouthLeft": 0.6},
}
_MODES: Final = {
    "photo": "photo's colours",
    "albedo": "albedo",
    "light": "under the photo's light",
    "shape": "shape",
    "uncertainty": "uncertainty",
}


class Report:
    """A fit's report in a browser.

    Args:
        page: where it is open.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        page.add_style_tag(content="#view { width: 600px; border-radius: 0; background: #fff } .card { padding: 0 }")

    def head(
        self, mode: str = "photo", yaw: float = 0.0, pitch: float = 0.0, units: Mapping[str, float] | None = None
    ) -> Image.Image:
        """The head: what it shows, how it is turned (radians), and its expression; None for the fitted one."""
        page = self._page
        page.locator("[data-turn=front]").click()
        page.locator(f"input[name=mode][value={mode}]").check(force=True)
        page.locator(f"[data-preset='{'As fitted' if units is None else 'Neutral'}']").click()
        page.evaluate(
            """([yaw, pitch, units]) => {
                const names = JSON.parse(document.getElementById("page").textContent).units.map((unit) => unit.name);
                for (const [name, value] of Object.entries(units)) {
                    const slider = document.querySelector(`[data-unit="${names.indexOf(name)}"]`);
                    slider.value = value;
                    slider.dispatchEvent(new Event("input"));
                }
                Object.assign(window.faceinv.state, { yaw, pitch, zoom: 1.0 });
                window.faceinv.redraw();
                return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            }""",
            [yaw, pitch, dict(units or {})],
        )
        taken = Image.open(io.BytesIO(page.locator("#view canvas").screenshot())).convert("RGB")
        return taken.resize((CELL, CELL), Image.Resampling.LANCZOS)

    def picture(self, key: str) -> Image.Image:
        """One of those that lie side by side: `photo`, `render`, `geometry`, `residual`."""
        url = self._page.locator(f"#picture-{key}").get_attribute("src")
        assert url is not None
        content = base64.b64decode(url.partition(",")[2])
        return Image.open(io.BytesIO(content)).resize((CELL, CELL), Image.Resampling.LANCZOS)


@contextmanager
def opened(browser: Browser, result: faceinv.FitResult, name: str) -> Iterator[Report]:
    """The report of a result, open."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.html"
        result.report(path, name=name)
        page = _page(browser, path, 1400, 1000)
        try:
            yield Report(page)
        finally:
            page.close()


def _page(browser: Browser, path: Path, width: int, height: int) -> Page:
    page = browser.new_page(viewport={"width": width, "height": height})
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready=yes]", state="attached", timeout=60_000)
    return page


def sheet(rows: list[list[tuple[str, Image.Image]]]) -> Image.Image:
    """Pictures in rows, each with its caption under it, where it has one."""
    font = ImageFont.load_default(17)
    heights = [CELL + (_CAPTION if any(caption for caption, _ in row) else _GAP) for row in rows]
    width = max(len(row) for row in rows) * (CELL + _GAP) - _GAP
    paper = Image.new("RGB", (width, sum(heights)), (255, 255, 255))
    pen = ImageDraw.Draw(paper)
    for number, row in enumerate(rows):
        top = sum(heights[:number])
        for column, (caption, picture) in enumerate(row):
            left = column * (CELL + _GAP)
            paper.paste(picture, (left, top))
            pen.text((left + CELL / 2, top + CELL + _CAPTION / 2), caption, font=font, fill=_INK, anchor="mm")
    return paper


def save(picture: Image.Image, name: str) -> None:
    """Write a picture of the documents."""
    path = DOCS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path, quality=_QUALITY, optimize=True, progressive=True)
    print(f"{path.relative_to(DOCS.parent)}: {picture.width} x {picture.height}, {path.stat().st_size // 1000} kB")


def row_of(report: Report) -> list[tuple[str, Image.Image]]:
    """What a fit gives, at a glance."""
    return [
        ("photo", report.picture("photo")),
        ("fitted face over it", report.picture("render")),
        ("the head, turned", report.head(yaw=-0.75, pitch=0.05)),
        ("another expression", report.head(yaw=0.45, units=_SURPRISE)),
        ("uncertainty", report.head("uncertainty", yaw=-0.35)),
    ]


def show_sample(browser: Browser) -> None:
    """All about the sample photo."""
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
        result = faceinv.fit(photo)
    with opened(browser, result, "sample.jpg") as report:
        save(sheet([row_of(report)]), "row.jpg")
        aside = [("", report.head("shape", -0.6, units=units)) for units in _EXPRESSIONS.values()]
        front = [(name, report.head(units=units)) for name, units in _EXPRESSIONS.items()]
        save(sheet([aside, front]), "gallery/expressions.jpg")
        turns = (-1.3, -0.65, 0.0, 0.65, 1.3)
        rows = [[("", report.head(mode, yaw)) for yaw in turns] for mode in ("photo", "shape")]
        save(sheet(rows), "gallery/turns.jpg")
        save(sheet([[(name, report.head(mode, -0.5)) for mode, name in _MODES.items()]]), "gallery/manners.jpg")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sample.html"
        result.report(path, name="sample.jpg")
        for width, height, name in ((1200, 1320, "gallery/report.jpg"), (390, 1000, "gallery/report_phone.jpg")):
            page = _page(browser, path, width, height)
            page.evaluate("new Promise((done) => setTimeout(done, 300))")
            save(Image.open(io.BytesIO(page.screenshot())).convert("RGB"), name)
            page.close()


def show_people(browser: Browser, photos: list[Path]) -> None:
    """A row for each person: from the photo to the head from aside."""
    rows = []
    for photo in photos:
        with opened(browser, faceinv.fit(photo), photo.name) as report:
            rows.append(
                [
                    ("", report.picture("photo")),
                    ("", report.picture("render")),
                    ("", report.head("shape", yaw=-0.5)),
                    ("", report.head(yaw=-0.5)),
                    ("", report.head(yaw=0.5, units=_SMILE)),
                ]
            )
    captions = ("photo", "fitted face over it", "shape", "photo's colours", "smiling")
    rows[-1] = [(caption, picture) for caption, (_, picture) in zip(captions, rows[-1], strict=True)]
    save(sheet(rows), "gallery/people.jpg")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=Path, nargs="+", default=[], metavar="PHOTO", help="rendered people")
    options = parser.parse_args()
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        sys.exit("no Chromium is installed here (Debian: apt install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(_ARGUMENTS))
        show_sample(browser)
        if options.people:
            show_people(browser, options.people)
        browser.close()


if __name__ == "__main__":
    main()
