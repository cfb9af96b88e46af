"""What stands in pages, without a browser."""

from __future__ import annotations

import base64
import dataclasses
import gzip
import html
import json
import re
import webbrowser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import quick_fit
from toy_head import model_of, toy

from faceinv.errors import FaceinvError, InputError
from faceinv.face.camera import Camera
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.fitting.reporting import report_content
from faceinv.output.report import three_js as library
from faceinv.output.report.contact import Entry, contact_page
from faceinv.output.report.content import ReportContent, Step
from faceinv.output.report.mesh import MOVE_STEP
from faceinv.output.report.page import report_page
from faceinv.output.report.plot import convergence
from faceinv.output.report.templating import is_own_page, link_to
from faceinv.output.report.three_js import NOTICE, three_js

NASTY = '<script>alert("1")</script> & co.jpg'
ENTRIES = [
    Entry("b/better.jpg", "converged cost", False, "Done.", "../b/better.jpg", landmark_error=0.01, seconds=0.5),
    Entry("worse.jpg", "converged cost", False, "Done.", "../worse.jpg", landmark_error=0.02, links={"npz": "w.npz"}),
    Entry("warned.jpg", "converged step", False, "Done.", "", ("Mind it.",), landmark_error=0.03),
    Entry("<script>.jpg", "failed", True, "no <face> there", ""),
]


@pytest.fixture(scope="module")
def page() -> str:
    return report_page(report_content(quick_fit(), NASTY, files={"glb": "a b#1.glb"}))


def script(page: str, name: str) -> str:
    found = re.search(rf'<script type="[^"]+" id="{name}">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return found[1]


def unpacked(data: str, index: list[list[Any]]) -> dict[str, NDArray[Any]]:
    """What the browser makes of packed arrays, written anew."""
    content, offset, arrays = gzip.decompress(base64.b64decode(data)), 0, {}
    for name, kind, count, run in index:
        array = np.frombuffer(content, f"<{kind}", count, offset)
        offset += -(-array.nbytes // 4) * 4
        arrays[name] = np.cumsum(array.reshape(-1, run), axis=1, dtype=array.dtype) if run else array
    assert offset == len(content)
    return arrays


def test_names_are_shown_and_never_run(page: str) -> None:
    assert "<script>alert" not in page
    assert page.count(html.escape(NASTY, quote=True).replace("&quot;", "&#34;")) >= 2
    assert 'href="a%20b%231.glb"' in page
    assert json.loads(script(page, "page"))["explain"]["albedo"]


def test_a_page_loads_nothing_and_is_small(page: str) -> None:
    assert len(page.encode()) < 4e6
    outside = re.sub(r'<script type="text/plain".*?</script>', "", page, flags=re.DOTALL)
    targets = re.findall(r'(?:src|href|poster|action|data)="([^"]*)"', outside)
    assert all(target.startswith("data:") or re.fullmatch(r"[\w%.#-]*", target) for target in targets)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest|https?://", outside)


def test_the_same_result_gives_the_same_page(page: str) -> None:
    assert report_page(report_content(quick_fit(), NASTY, files={"glb": "a b#1.glb"})) == page


def test_the_arrays_of_a_page_are_the_surface(page: str) -> None:
    """Rest plus units is where the fit has every vertex; colours are the albedo."""
    result, told = quick_fit(), json.loads(script(page, "page"))
    shared = unpacked(script(page, "model-arrays"), told["modelArrays"])
    own = unpacked(script(page, "face-arrays"), told["faceArrays"])
    mesh = told["mesh"]
    moved = np.array(mesh["low"]) + own["place"].T / 65535 * np.array(mesh["size"])
    ends = np.cumsum(shared["moved"])
    for unit, count, end in zip(told["units"], shared["moved"], ends, strict=True):
        some = slice(end - count, end)
        moved[shared["which"][0, some]] += unit["value"] * MOVE_STEP * shared["moves"][:, some].T
    assert np.abs(moved - result.vertices).max() < 0.15
    assert [unit["name"] for unit in told["units"]] == list(result.expression_units)
    assert np.array_equal(shared["vertex"][0][shared["index"][0]].reshape(-1, 3), result.triangles)
    assert own["deviation"].shape == (1, len(result.vertices))


def test_all_is_said(page: str) -> None:
    result = quick_fit()
    for text in (result.status.value, f"{result.photometric_rmse:.4f}", "jawOpen", result.model.licence, NOTICE[:40]):
        assert html.escape(text).replace("&#x27;", "&#39;") in page
    assert page.count("<tr><td>") == len(result.history)
    assert all(f">{name}</th>" in page for name in result.timings)


def test_warnings_stand_in_a_page() -> None:
    warned = dataclasses.replace(quick_fit(), warnings=("The <landmarks> are mirrored.",))
    assert "The &lt;landmarks&gt; are mirrored." in report_page(report_content(warned, "x"))


def test_a_page_without_photo_steps_or_uncertainty() -> None:
    """A result from a file of an older release."""
    known = quick_fit()
    unknown = np.full_like(known.hessian, np.nan)
    bare = dataclasses.replace(known, photo=None, history=(), timings={}, hessian=unknown)
    page = report_page(report_content(bare, "bare"))
    assert "The photo was not at hand" in page
    assert "steps of this fit were not kept" in page
    assert 'value="photo"' not in page
    assert 'value="uncertainty"' not in page
    assert 'value="albedo"' in page


def test_a_model_without_named_units_is_moved_by_its_modes() -> None:
    model = model_of(toy())
    camera = Camera(0.5, np.eye(3), np.array([60.0, 60.0]))
    face = dataclasses.replace(Face.mean(model, camera, ambient()), expression=np.full(model.expression_count, -4.0))
    marks = camera.project(model.landmarks(model.mean))[:, :2]
    page = report_page(ReportContent("toy", model, face, "smooth", None, marks, marks, None, "Done.", True))
    told = json.loads(script(page, "page"))
    assert [unit["value"] for unit in told["units"]] == [-4.0] * min(model.expression_count, 10)
    assert f'min="{-4:.3f}" max="{3:.3f}"' in page
    assert list(told["presets"]) == ["As fitted", "Neutral"]


def test_reports_are_written_whole_and_by_name(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.html"
    quick_fit().report(path, name="a.jpg")
    assert is_own_page(path)
    assert "<title>a.jpg - faceinv</title>" in path.read_text(encoding="utf-8")
    with pytest.raises(InputError, match=r"written as '\.html'"):
        quick_fit().report(tmp_path / "a.pdf")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write"):
        quick_fit().report(tmp_path / "file" / "a.html")
    other = tmp_path / "other.html"
    other.write_text("<!doctype html><title>mine</title>")
    assert not is_own_page(other)
    assert not is_own_page(tmp_path / "missing.html")


def test_show_opens_a_page_that_others_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    path = quick_fit().show()
    try:
        assert opened == [path.as_uri()]
        assert is_own_page(path)
        assert path.parent.stat().st_mode & 0o077 == 0
    finally:
        path.unlink()


def test_a_notebook_shows_the_report_in_a_frame() -> None:
    shown = quick_fit()._repr_html_()
    frame = re.fullmatch(r'<iframe title="[^"]+" srcdoc="([^"]*)" height="\d+" style="[^"]*"></iframe>', shown)
    assert frame is not None
    assert html.unescape(frame[1]).startswith("<!doctype html>")


def test_three_js_comes_alone_with_its_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    text = three_js()
    assert "WebGLRenderer" in text
    assert "</script" not in text
    assert "TrackballControls" not in text
    assert "Permission is hereby granted" in NOTICE
    monkeypatch.setattr(library, "_ARCHIVE", "resources/none.zip")
    with pytest.raises(FaceinvError, match="Install trimesh"):
        three_js.__wrapped__()


def steps(*costs: float) -> list[Step]:
    names = ["56 px"] * 2 + ["112 px"] * (len(costs) - 2)
    return [
        Step(stage, cost, {"photometric": cost - 1, "none": 0.0}, 0.1, True, 0.1)
        for stage, cost in zip(names, costs, strict=True)
    ]


def test_the_plot_is_logarithmic_and_breaks_between_stages() -> None:
    plot = convergence(steps(1000.0, 100.0, 10.0, 5.0))
    assert plot is not None
    assert [series.name for series in plot.series] == ["cost", "photometric", "none"]
    heights = [y for _, y, _ in plot.series[0].points]
    assert heights[1] - heights[0] == pytest.approx(heights[2] - heights[1], abs=0.2)
    assert [line.count(" ") for line in plot.series[0].lines] == [1, 1]
    assert plot.series[2].lines == []  # zeros have no place
    assert [name for *_, name in plot.stages] == ["56 px", "112 px"]
    assert [value for _, value in plot.ticks] == ["10", "100", "1000"]
    for series in plot.series:
        assert all(plot.left <= x <= plot.right and plot.top <= y <= plot.bottom for x, y, _ in series.points)


@pytest.mark.parametrize("costs", [(), (0.0, 0.0), (float("nan"), float("inf"))])
def test_nothing_is_plotted_of_nothing(costs: tuple[float, ...]) -> None:
    made = [Step("a", cost, {}, 0.1, True, 0.1) for cost in costs]
    assert convergence(made) is None


def test_one_flat_step_is_plotted() -> None:
    plot = convergence([Step("a", 5.0, {}, 0.1, True, 0.1)])
    assert plot is not None
    assert plot.ticks


def test_a_folder_page_has_failed_ones_first() -> None:
    page = contact_page(NASTY, ENTRIES, "summary.csv")
    names = re.findall(r'<tr data-name="([^"]*)"', page)
    assert names == ["&lt;script&gt;.jpg", "warned.jpg", "worse.jpg", "b/better.jpg"]
    assert "no &lt;face&gt; there" in page
    assert "<script>alert" not in page
    assert '<a href="../worse.jpg"' not in page  # its name leads to its files
    assert 'href="w.npz"' in page
    assert "4 photos" in page
    assert "1 failed" in page


def test_links_lead_to_files_of_any_name() -> None:
    assert link_to("a b#?.html") == "a%20b%23%3F.html"
    assert link_to("../x/ü.jpg") == "../x/%C3%BC.jpg"
    assert link_to("c:d.jpg") == "c%3Ad.jpg"
    assert link_to("caf\udce9.jpg") == "caf%E9.jpg"


def test_a_name_that_is_no_text_is_escaped(tmp_path: Path) -> None:
    quick_fit().report(tmp_path / "a.html", name="caf\udce9.jpg")
    assert r"<title>caf\udce9.jpg" in (tmp_path / "a.html").read_text(encoding="utf-8")
