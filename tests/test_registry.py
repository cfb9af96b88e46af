"""From config strings to engines, those of other packages included."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from faceinv.engine.registry import EngineSpec, available_engines, parse_engine
from faceinv.errors import BackendError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("numpy", EngineSpec("numpy", "", "float32")),
        ("numpy:float64", EngineSpec("numpy", "", "float64")),
        ("torch:cuda:0", EngineSpec("torch", "cuda:0", "float32")),
        ("torch:cuda:0:float64", EngineSpec("torch", "cuda:0", "float64")),
        ("cupy:0:float32", EngineSpec("cupy", "0", "float32")),
        (" mxnet ", EngineSpec("mxnet", "", "float32")),
    ],
)
def test_parsing(text: str, spec: EngineSpec) -> None:
    assert parse_engine(text) == spec
    assert parse_engine(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tensorflow", "unknown engine 'tensorflow'; known are numpy"),
        ("", "unknown engine ''"),
        ("numpy:", "malformed"),
        ("numpy::float32", "malformed"),
        ("torch: cuda", "malformed"),
        ("numpy:float16", "dtype 'float16' is not one of float32, float64"),
        ("torch:float64:cuda", "dtype 'float64' is not one of .* given last"),
    ],
)
def test_malformed_strings(text: str, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        parse_engine(text)


def test_not_a_string() -> None:
    with pytest.raises(BackendError, match="backend is int 3; expected a string"):
        parse_engine(3)  # type: ignore[arg-type]


def test_built_in_engines_come_first() -> None:
    names = [status.name for status in available_engines()]
    assert names[:4] == ["numpy", "torch", "mxnet", "cupy"]
    assert all(status.install.startswith("pip install") for status in available_engines())


def run(script: str, *folders: Path) -> str:
    """What a script prints in a fresh interpreter with folders on its path."""
    start = f"import sys; sys.path[:0] = {[str(f) for f in folders]!r}\n"
    done = subprocess.run(
        [sys.executable, "-c", start + textwrap.dedent(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_only_what_is_named_is_imported() -> None:
    run(
        """
        from faceinv.engine.registry import available_engines, parse_engine
        available_engines(); parse_engine("torch:cpu"); parse_engine("mxnet")
        loaded = {"torch", "mxnet", "cupy", "numba"} & set(sys.modules)
        assert not loaded, loaded
        """
    )


def test_missing_engine_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from faceinv.engine import registry

    real = registry._version
    monkeypatch.setattr(registry, "_version", lambda names: "" if "torch" in names else real(names))
    with pytest.raises(BackendError, match=r'needs torch.*pip install "faceinv\[torch\]".*Installed now: numpy'):
        registry._load("torch")


PACKAGE = '''
"""A tiny engine: the NumPy one under another name."""
from faceinv.backends.numpy_numba import build as build_numpy

def build(model, settings):
    engine = build_numpy(model, settings)
    engine.name = "tiny"
    return engine

def fails(model, settings):
    raise OSError("no licence server")
'''


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A folder with another project's package, as an installer leaves it."""
    (tmp_path / "tiny_engine.py").write_text(PACKAGE)
    info = tmp_path / "tiny_engine-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-engine\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(
        "[faceinv.backends]\n"
        "tiny = tiny_engine:build\n"
        "failing = tiny_engine:fails\n"
        "absent = tiny_engine:nothing\n"
        "numpy = tiny_engine:fails\n"
    )
    return tmp_path


def test_engine_of_another_package(tiny: Path) -> None:
    """It is listed, built with its settings, and cannot take a built-in name; its failures are explained."""
    support = Path(__file__).parent / "support"
    printed = run(
        """
        from problems import toy_model
        from faceinv.errors import BackendError
        from faceinv.engine.registry import available_engines, build_engine
        listed = {s.name: s for s in available_engines()}
        print(listed["tiny"].version, listed["tiny"].source, listed["tiny"].install)
        print(listed["numpy"].source, sum(s.name == "numpy" for s in available_engines()))
        assert "tiny_engine" not in sys.modules
        engine = build_engine("tiny:float64", toy_model())
        print(engine.name, engine.renderer.settings.dtype)
        print(build_engine("numpy", toy_model()).name)
        for name in ("failing", "absent"):
            try:
                build_engine(name, toy_model())
            except BackendError as error:
                print(error)
        """,
        tiny,
        support,
    ).splitlines()
    assert printed[0] == "tiny-engine 1.2 tiny-engine pip install tiny-engine"
    assert printed[1] == "built-in 1"
    assert printed[2] == "tiny float64"
    assert printed[3] == "numpy"
    assert "'failing:float32' failed to start: OSError: no licence server" in printed[4]
    assert "'absent' (entry point tiny_engine:nothing) cannot be loaded" in printed[5]
