"""`import faceinv` is quick and pulls in no engine; the public names are there."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

import faceinv

HEAVY = (
    "numba",
    "torch",
    "mxnet",
    "cupy",
    "onnxruntime",
    "pygltflib",
    "trimesh",
    "scipy.optimize",
    "PIL",
    "typer",
    "rich",
    "h5py",
    "jinja2",
    "pyarrow",
    "distributed",
)


def loaded_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has after running some code."""
    script = f"import json, sys\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


@pytest.fixture(scope="module")
def plain() -> set[str]:
    return loaded_after("import faceinv")


@pytest.mark.parametrize("name", HEAVY)
def test_import_loads_no_engine_and_no_heavy_library(plain: set[str], name: str) -> None:
    assert name not in plain


def test_import_loads_no_backend(plain: set[str]) -> None:
    assert not {name for name in plain if name.startswith("faceinv.backends.")}


def test_help_loads_nothing_that_only_commands_need() -> None:
    names = loaded_after("import faceinv.cli")
    assert not {name for name in names if name.split(".")[0] in ("numba", "scipy", "onnxruntime", "pyarrow")}


def test_the_parts_of_a_fit_load_no_engine() -> None:
    names = loaded_after(
        "import faceinv.fitting, faceinv.engine.registry, faceinv.fitting.result, faceinv.output.export\n"
        "faceinv.available_engines(); faceinv.engine.registry.parse_engine('torch:cuda:0')"
    )
    assert not names & {"numba", "torch", "mxnet", "cupy"}


def test_an_engine_loads_its_own_library_alone() -> None:
    names = loaded_after(
        "import faceinv\nfrom faceinv.engine.registry import build_engine\n"
        "build_engine('numpy', faceinv.load_model('default', identity=1, expression=1, albedo=1))"
    )
    assert "numba" in names
    assert not names & {"torch", "mxnet", "cupy"}


def test_every_public_name_is_there() -> None:
    for name in faceinv.__all__:
        assert getattr(faceinv, name) is not None
    assert set(faceinv.__all__) <= set(dir(faceinv))
    assert faceinv.__all__ == sorted(faceinv.__all__)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        faceinv.nothing  # noqa: B018
