"""The examples and the code in the documents run as they stand, in processes of their own."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import sample
from small import few_modes, posed, some_problem

import faceinv
from faceinv.engine.records import PIXEL_QUANTITIES, EngineSettings, Normals
from faceinv.engine.registry import build_engine
from faceinv.render.occlusion import with_occlusion

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in DOCUMENTS
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", path.read_text(encoding="utf-8"), re.M | re.S))
]


def run(*words: str | Path, folder: Path, site: Path | None = None) -> str:
    """What `python WORDS` prints when started in a folder, with `site` on its path."""
    paths = [str(site)] if site else []
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*paths, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def plain_installed(tmp_path: Path) -> Path:
    """What `pip install ./examples` leaves."""
    project = tomllib.loads((EXAMPLES / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    site = tmp_path / "site"
    information = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    groups = project["entry-points"].items()
    (information / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in points.items()) for group, points in groups)
    )
    shutil.copy(EXAMPLES / "own_engine.py", site)
    return site


@pytest.fixture(scope="module")
def own_engine() -> ModuleType:
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("own_engine", EXAMPLES / "own_engine.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_engine"] = module
    spec.loader.exec_module(module)
    return module


def test_one_photo(tmp_path: Path) -> None:
    printed = run(EXAMPLES / "one_photo.py", sample(), tmp_path / "out", folder=tmp_path)
    assert "nose tip" in printed
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"face.npz", "face.glb", "overlay.png", "as_seen.png", "calm.png", "turned.png"}
    assert faceinv.load_result(tmp_path / "out" / "face.npz").status.success


def test_folder_with_a_bad_photo(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    shutil.copy(sample(), photos / "good.jpg")
    (photos / "bad.png").write_bytes(b"no picture")
    run(EXAMPLES / "folder.py", photos, folder=tmp_path)
    with (tmp_path / "faces.csv").open(newline="", encoding="utf-8") as stream:
        rows = {row["photo"]: row for row in csv.DictReader(stream)}
    assert "bad.png" in rows["bad.png"]["status"]
    assert not rows["bad.png"]["yaw"]
    assert 0 < float(rows["good.jpg"]["landmark_error"]) < 0.05
    assert abs(float(rows["good.jpg"]["yaw"])) < 45


def test_differentiable_rendering(tmp_path: Path) -> None:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("engine 'torch' is not installed")
    printed = run(EXAMPLES / "differentiable_rendering.py", folder=tmp_path)
    numbers = re.search(r"difference from ([\d.]+) to ([\d.]+)", printed)
    assert numbers is not None
    first, last = (float(number) for number in numbers.groups())
    assert 0 < last < 0.1 * first


def test_a_fit_with_the_engine_of_ones_own(tmp_path: Path, plain_installed: Path) -> None:
    """Installed as another package's engine, it finds the packaged engine's face."""
    printed = run(EXAMPLES / "own_engine.py", folder=tmp_path, site=plain_installed)
    apart = re.search(r"faces are ([\d.]+) mm apart", printed)
    assert apart is not None
    assert float(apart[1]) < 0.05


@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_derivatives_of_the_engine_of_ones_own(own_engine: ModuleType, normals: Normals) -> None:
    problem = some_problem(40, batch=2)
    chi = np.stack([posed(40, yaw=0.3), posed(40, pitch=-0.2, seed=1)])
    settings = EngineSettings(dtype="float64", normals=normals)
    engines = own_engine.build(few_modes(), settings), build_engine("numpy:float64", few_modes(), settings)
    own, reference = (engine.differentiator(problem) for engine in engines)
    frozen, expected = own.freeze(chi), reference.freeze(chi)
    assert frozen.visibility is not None
    assert expected.visibility is not None
    assert np.array_equal(frozen.visibility.triangle, expected.visibility.triangle)
    assert np.array_equal(frozen.pixels, expected.pixels)
    both = np.ones(2, np.bool_)
    got, want = own.linearize(chi, frozen, both), reference.linearize(chi, expected, both)
    assert got.cost.total == pytest.approx(want.cost.total, rel=1e-10)
    assert own.cost(chi, frozen, both).total == pytest.approx(got.cost.total, rel=1e-14)
    for name in ("gradient", "hessian"):
        close = np.abs(getattr(got, name) - getattr(want, name)).max() / np.abs(getattr(want, name)).max()
        assert close < 1e-6, name
    rows = np.array([5, 0, 77])
    one, other = (each.residual_jacobian(chi, state, 1, rows) for each, state in ((own, frozen), (reference, expected)))
    for ours, theirs in zip(one, other, strict=True):
        assert np.allclose(ours, theirs, atol=1e-6 * np.abs(theirs).max())


@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_pixels_of_the_engine_of_ones_own(own_engine: ModuleType, normals: Normals) -> None:
    settings = EngineSettings(dtype="float64", normals=normals)
    model = with_occlusion(few_modes())
    engines = own_engine.build(model, settings), build_engine("numpy:float64", model, settings)
    chi, pictures = posed(48, yaw=0.5)[None], []
    for renderer in (engine.renderer for engine in engines):
        geometry = renderer.geometry(chi)
        pixels = renderer.interpolate(geometry, renderer.rasterize(geometry, (48, 44)))
        pictures.append([*(pixels.needed(name) for name in PIXEL_QUANTITIES), renderer.shade(pixels, _light(chi))])
    for name, ours, theirs in zip((*PIXEL_QUANTITIES, "radiance"), *pictures, strict=True):
        assert np.abs(ours - theirs).max() < 1e-9 * np.abs(theirs).max(), name


def _light(chi: NDArray[np.float64]) -> NDArray[np.float64]:
    light: NDArray[np.float64] = np.linspace(-1, 1, 27).reshape(1, 9, 3) + chi[:, :1, None]
    return light


@pytest.mark.parametrize("block", BLOCKS)
def test_code_in_documents_runs(block: str, tmp_path: Path) -> None:
    run("-c", block, folder=tmp_path)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_documents_name_files_that_exist(path: Path) -> None:
    """Links, and paths in code spans that begin with one of the top folders."""
    text = path.read_text(encoding="utf-8")
    links = [path.parent / link for link in re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text)]
    tops = "backends|benchmarks|docs|examples|faceinv|tests|tools|.ci|.github".replace(".", r"\.")
    spans = [ROOT / span for span in re.findall(rf"`((?:{tops})/[\w./*-]+)`", text)]
    absent = [str(named) for named in (*links, *spans) if not list(named.parent.glob(named.name))]
    assert not absent
