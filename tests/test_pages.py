"""Pages in a browser: they load by themselves, and what is moved there moves."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from pages import Watched, browser, watched
from PIL import Image
from quick import quick_fit
from test_report import ENTRIES

from faceinv.output.report.contact import contact_page
from faceinv.output.report.templating import as_file

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator

MOVED = "Array.from(window.faceinv.geometry.attributes.position.array)"
DRAWN = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def started() -> Iterator[Browser]:
    with browser() as chromium:
        yield chromium


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("pages") / "a face & <b>.html"
    quick_fit().report(page, name="a face & <b>.jpg")
    return page


@pytest.fixture(scope="module")
def report(started: Browser, path: Path) -> Iterator[Watched]:
    with watched(started, path) as seen:
        yield seen


def picture(part: Locator) -> NDArray[np.float64]:
    """(H, W, 3) what is seen of a part of a page once all is drawn."""
    part.page.evaluate(DRAWN)
    return np.asarray(Image.open(io.BytesIO(part.screenshot())).convert("RGB"), np.float64) / 255


def drag_to(slider: Locator, value: float) -> None:
    slider.evaluate("(s, v) => { s.value = v; s.dispatchEvent(new Event('input', {bubbles: true})); }", value)
    slider.page.evaluate(DRAWN)


def test_a_report_loads_by_itself_without_complaints(report: Watched, path: Path) -> None:
    assert report.page.title() == "a face & <b>.jpg - faceinv"
    assert report.page.locator("html").get_attribute("data-ready") == "yes"
    assert report.complaints == []
    assert [url for url in report.requests if not url.startswith(("data:", "blob:"))] == [path.as_uri()[:80]]


def test_the_head_is_drawn_in_every_manner(report: Watched) -> None:
    view = report.page.locator("#view")
    seen: list[NDArray[np.float64]] = []
    for mode in ("photo", "albedo", "light", "shape", "normals", "uncertainty"):
        report.page.locator(f"input[name=mode][value={mode}]").check(force=True)
        seen.append(picture(view))
        inside = np.abs(seen[-1] - seen[-1][4, 4]).max(axis=2) > 0.1
        assert 0.15 < inside.mean() < 0.8, mode
        assert seen[-1][inside].std() > 0.05, mode
    for number, one in enumerate(seen):
        assert all(np.abs(one - other).max(axis=2).mean() > 0.01 for other in seen[:number])
    assert report.page.locator("#scale").is_visible()
    report.page.locator("#mesh").check()
    assert np.abs(picture(view) - seen[-1]).max() > 0.1
    report.page.locator("#mesh").uncheck()
    report.page.locator("input[name=mode][value=photo]").check(force=True)
    assert not report.page.locator("#scale").is_visible()


def test_the_head_turns_by_mouse_and_by_keys(report: Watched) -> None:
    view, canvas = report.page.locator("#view"), report.page.locator("canvas")
    before = picture(view)
    box = canvas.bounding_box()
    assert box is not None
    report.page.mouse.move(box["x"] + 200, box["y"] + 200)
    report.page.mouse.down()
    report.page.mouse.move(box["x"] + 260, box["y"] + 200)
    report.page.mouse.up()
    turned = picture(view)
    assert np.abs(turned - before).max(axis=2).mean() > 0.01
    canvas.focus()
    canvas.press("ArrowLeft")
    assert np.abs(picture(view) - turned).max(axis=2).mean() > 0.005
    report.page.locator("[data-turn=photo]").click()
    assert np.abs(picture(view) - before).max() < 0.05


def test_the_border_between_photo_and_render_moves_pixels(report: Watched) -> None:
    stage, border = report.page.locator("#compare"), report.page.locator("#compare input")
    drag_to(border, 0)
    fit = picture(stage)
    drag_to(border, 100)
    photo = picture(stage)
    away = np.s_[60:-20, 40:-40]  # from tags and handle
    assert np.abs(fit - photo)[away].mean() > 0.005
    drag_to(border, 50)
    both, half = picture(stage), len(fit) // 2
    assert np.abs(both - photo)[60:-20, 40 : half - 40].max() < 0.02
    assert np.abs(both - fit)[60:-20, half + 40 : -40].max() < 0.02
    border.focus()
    border.press("ArrowRight")
    assert float(border.input_value()) > 50
    report.page.locator("input[name=beside][value=residual]").check(force=True)
    assert np.abs(picture(stage) - both)[60:-20, half + 40 : -40].mean() > 0.1


def test_landmarks_are_shown_when_asked_for(report: Watched) -> None:
    marks = report.page.locator("#compare .marks")
    assert not marks.is_visible()
    report.page.locator("#landmarks").check()
    assert marks.is_visible()
    assert marks.locator(".given").count() == 68
    report.page.locator("#landmarks").uncheck()


def test_sliders_move_the_surface_as_the_model_does(report: Watched) -> None:
    """Posed in the browser, it is where the model has it."""
    result, page = quick_fit(), report.page
    corners = np.stack([result.model.triangles.ravel(), result.model.uv_triangles.ravel()], axis=1)
    vertex = np.unique(corners, axis=0)[:, 0]

    def gap(vertices: NDArray[np.float64]) -> float:
        page.evaluate(DRAWN)
        shown = np.array(page.evaluate(MOVED)).reshape(-1, 3)
        expected = vertices[vertex]
        return float(np.abs((shown - shown[0]) - (expected - expected[0])).max())

    pictured = picture(page.locator("#view"))
    assert gap(result.vertices) < 0.15
    names = list(result.expression_units)
    slider = page.locator(f"[data-unit='{names.index('jawOpen')}']")
    drag_to(slider, 0.9)
    opened = {**result.expression_units, "jawOpen": 0.9}
    assert gap(result.face.with_units(result.model, **opened).vertices(result.model)) < 0.15
    assert gap(result.vertices) > 5
    assert np.abs(picture(page.locator("#view")) - pictured).max(axis=2).mean() > 0.003
    slider.focus()
    slider.press("ArrowLeft")
    assert float(slider.input_value()) < 0.9
    page.locator("[data-preset='Neutral']").click()
    assert gap(result.face.with_units(result.model).vertices(result.model)) < 0.15
    page.locator("[data-preset='As fitted']").click()
    assert gap(result.vertices) < 0.15


def test_sliders_are_found_by_name(report: Watched) -> None:
    search = report.page.locator("#filter")
    search.fill("smile")
    assert report.page.locator(".sliders label:visible span").all_inner_texts() == ["mouthSmileLeft", "mouthSmileRight"]
    search.fill("")


@pytest.mark.parametrize("width", [390, 820])
def test_a_report_fits_a_phone(report: Watched, width: int) -> None:
    page = report.page
    page.set_viewport_size({"width": width, "height": 844})
    try:
        assert page.evaluate("document.documentElement.scrollWidth") == width
    finally:
        page.set_viewport_size({"width": 1100, "height": 900})


def test_everything_that_is_moved_has_a_name(report: Watched) -> None:
    unnamed = report.page.evaluate(
        "[...document.querySelectorAll('input, button, canvas, img, svg')].filter((e) => "
        "!(e.labels?.length || e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.alt || "
        "e.textContent.trim())).map((e) => e.outerHTML.slice(0, 90))"
    )
    assert unnamed == []


def test_a_folder_page_is_sorted_by_its_headings(started: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    entries = [replace(entry, photo="") for entry in ENTRIES]  # there are none here
    path.write_bytes(as_file(contact_page("Faces", entries, "summary.csv")))
    with watched(started, path, width=800) as seen:
        rows = seen.page.locator("tbody tr")

        def order() -> list[str | None]:
            return [row.get_attribute("data-name") for row in rows.all()]

        assert order() == ["<script>.jpg", "warned.jpg", "worse.jpg", "b/better.jpg"]
        landmarks = seen.page.get_by_role("button", name="Landmarks")
        landmarks.click()
        assert order() == ["b/better.jpg", "worse.jpg", "warned.jpg", "<script>.jpg"]
        assert seen.page.locator("th[aria-sort=ascending]").count() == 1
        landmarks.click()
        assert order() == ["warned.jpg", "worse.jpg", "b/better.jpg", "<script>.jpg"]
        seen.page.get_by_role("button", name="Photo", exact=True).click()
        assert order() == ["<script>.jpg", "b/better.jpg", "warned.jpg", "worse.jpg"]
        seen.page.locator("#filter").fill("bett")
        assert seen.page.locator("tbody tr:visible").count() == 1
        assert seen.complaints == []


def test_names_have_room_beside_many_links(started: Browser, tmp_path: Path) -> None:
    path = tmp_path / "index.html"
    links = dict.fromkeys(("report", "overlay", "glb", "npz", "json", "normals", "depth", "displacement"), "x")
    links |= {"dense_mesh": "x", "landmarks": "x"}
    entries = [replace(ENTRIES[1], photo="", links=links, warnings=("A longer warning of what to mind. " * 3,))]
    path.write_bytes(as_file(contact_page("Faces", entries, "summary.csv")))
    with watched(started, path, width=1280) as seen:
        name = seen.page.locator("tbody .name a")
        assert name.evaluate("(a) => a.getClientRects().length") == 1  # on one line
        assert seen.page.locator("tbody .status").evaluate("(cell) => cell.clientWidth") > 180
        assert seen.page.get_by_role("link", name="dense mesh").is_visible()
        assert seen.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
