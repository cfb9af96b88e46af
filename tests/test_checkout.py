"""Python started in a checkout finds the engines, installed or not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SCRIPT = """
import sys
sys.meta_path = [finder for finder in sys.meta_path if "Editable" not in getattr(finder, "__name__", "")]
import faceinv
engine = faceinv.Fitter(faceinv.load_model("default", identity=1, expression=1, albedo=1)).engine
import faceinv.backends.numpy_numba
print(faceinv.__file__, faceinv.backends.numpy_numba.__file__, engine.name)
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the checkout has of the package."""
    root = tmp_path / "checkout"
    for folder in ("faceinv", "backends"):
        shutil.copytree(CHECKOUT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return root


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """What `pip install .` makes: the engines inside the package."""
    site = tmp_path / "site-packages"
    shutil.copytree(CHECKOUT / "faceinv", site / "faceinv", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(CHECKOUT / "backends", site / "faceinv" / "backends", ignore=shutil.ignore_patterns("__pycache__"))
    return site


def said(folder: Path, site: Path | None) -> list[str]:
    """What a child process started in `folder` prints, with `site` behind it on the path."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    if site is not None:
        environment["PYTHONPATH"] = str(site)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(maxsplit=2)


def test_the_checkout_works_alone(checkout: Path) -> None:
    package, engine, name = said(checkout, None)
    assert Path(package) == checkout / "faceinv" / "__init__.py"
    assert Path(engine) == checkout / "backends" / "numpy_numba" / "__init__.py"
    assert name.strip() == "numpy"


def test_the_checkout_works_before_an_installed_package(checkout: Path, installed: Path) -> None:
    package, engine, _ = said(checkout, installed)
    assert Path(package).is_relative_to(checkout)
    assert Path(engine).is_relative_to(checkout)


def test_an_installed_package_needs_no_checkout(tmp_path: Path, installed: Path) -> None:
    package, engine, _ = said(tmp_path, installed)
    assert Path(package).is_relative_to(installed)
    assert Path(engine) == installed / "faceinv" / "backends" / "numpy_numba" / "__init__.py"


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    found = []
    for top, name in (("faceinv", "faceinv"), ("backends", "faceinv.backends")):
        for file in (CHECKOUT / top).rglob("__init__.py"):
            found.append(".".join((name, *file.parent.relative_to(CHECKOUT / top).parts)))
    assert sorted(listed) == sorted(found)
