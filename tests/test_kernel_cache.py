"""Where compiled kernels are kept: whatever cannot be written or read, computations go on, with one note."""

from __future__ import annotations

import errno
import importlib.util
import logging
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import pytest
from numba.core.caching import IndexDataCacheFile

import faceinv
from faceinv.backends import numpy_numba
from faceinv.backends.numpy_numba import kernel_cache
from faceinv.files import private_temporary_folder

COMPUTE = """
import logging, sys, tempfile
logging.basicConfig(format="%(message)s")
from pathlib import Path
installation, temporary = map(Path, sys.argv[1:3])
for folder in (installation / "faceinv", Path.home()):
    try:
        (folder / "probe").touch()
    except OSError:
        continue
    sys.exit("this system lets the child write everything")
tempfile.tempdir = str(temporary)
import faceinv
from faceinv.backends.numpy_numba.camera import pixel_place
from faceinv.backends.numpy_numba import shading
assert Path(faceinv.__file__).is_relative_to(installation), faceinv.__file__
faceinv.Fitter()
print(shading.harmonics(0.0, 0.0, 1.0)[0] > 0, shading.harmonics.stats.cache_hits)
"""


def _as_anyone() -> None:
    """In the child: root may write everywhere by a capability, which this drops for the program that follows."""
    if hasattr(os, "getuid") and os.getuid() == 0:
        import ctypes

        drop_from_bounding_set, override_permissions = 24, 1
        ctypes.CDLL(None).prctl(drop_from_bounding_set, override_permissions, 0, 0, 0)


@pytest.fixture
def installation() -> Iterator[Path]:
    """A copy of the packages that cannot be written, and beside it a home that cannot be written."""
    place = Path(tempfile.mkdtemp())
    site, home = place / "site", place / "home"
    packages = Path(faceinv.__file__).parent
    no_cache = shutil.ignore_patterns("__pycache__", "data", "backends")
    shutil.copytree(packages, site / "faceinv", ignore=no_cache)
    shutil.copytree(Path(numpy_numba.__file__).parents[1], site / "faceinv" / "backends", ignore=no_cache)
    (site / "faceinv" / "data").symlink_to(packages / "data")
    home.mkdir()
    folders = [place, home, *(path for path in site.rglob("*") if path.is_dir() and not path.is_symlink()), site]
    for folder in folders:
        folder.chmod(0o555)
    yield site
    for folder in folders:
        folder.chmod(0o755)
    shutil.rmtree(place)


BUILD_CUPY = (
    COMPUTE.partition("from faceinv.backends")[0]
    + """
from faceinv.backends.cupy_cuda import build
from faceinv.engine.records import EngineSettings
try:
    build(faceinv.load_model("default"), EngineSettings())
except faceinv.BackendError as error:
    print(error)
import cupy
print("cupy", cupy.__version__)
"""
)


def computed(site: Path, temporary: Path, program: str = COMPUTE) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "CUPY_", "XDG_", "COV"))}
    done = subprocess.run(
        [sys.executable, "-c", program, str(site), str(temporary)],
        env=env | {"PYTHONPATH": str(site), "HOME": str(site.parent / "home")},
        cwd=temporary.parent,
        capture_output=True,
        text=True,
        timeout=240,
        preexec_fn=_as_anyone,
    )
    if "lets the child write" in done.stderr:
        pytest.skip("permissions do not hold here")
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(os.name == "nt", reason="a read-only folder is another thing there")
def test_a_read_only_installation_without_a_home_keeps_kernels_in_a_temporary_folder(
    installation: Path, tmp_path: Path
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    first = computed(installation, temporary)
    assert first.stdout.split()[0] == "True"
    (folder,) = temporary.iterdir()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.rglob("*.nbi"))
    assert first.stderr.count("NUMBA_CACHE_DIR") == 1
    assert str(folder) in first.stderr
    assert "Counter({" in computed(installation, temporary).stdout, "the second process reads what the first kept"


@pytest.mark.skipif(os.name == "nt", reason="a read-only folder is another thing there")
def test_without_any_folder_kernels_are_compiled_in_each_process(installation: Path, tmp_path: Path) -> None:
    done = computed(installation, installation)
    assert done.stdout.split()[0] == "True"
    assert done.stderr.count("NUMBA_CACHE_DIR") == 1
    assert "compiled in each process" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="a read-only folder is another thing there")
@pytest.mark.skipif(not importlib.util.find_spec("cupy"), reason="CuPy is not installed")
@pytest.mark.parametrize("somewhere", [False, True])
def test_cupy_is_loaded_where_its_cache_cannot_be_made(installation: Path, tmp_path: Path, somewhere: bool) -> None:
    done = computed(installation, tmp_path if somewhere else installation, BUILD_CUPY)
    assert done.stdout.splitlines()[-1].startswith("cupy ")
    assert done.stderr.count("CUPY_CACHE_DIR") == 1
    assert ("faceinv-cupy" in done.stderr) == somewhere


def test_a_temporary_folder_that_others_prepared_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = private_temporary_folder("kernels")
    assert folder is not None
    folder.chmod(0o777)
    assert private_temporary_folder("kernels") is None
    folder.rmdir()
    folder.symlink_to(tmp_path)
    assert private_temporary_folder("kernels") is None


@pytest.fixture
def double(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compiles a kernel anew, as the next process does."""
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    kernel_cache._note_once.cache_clear()
    return lambda **options: kernel_cache.compiled(_double, **options)


def _double(x):  # type: ignore[no-untyped-def]
    return 2 * x


def test_a_full_disk_does_not_stop_a_computation(
    double: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(IndexDataCacheFile, "save", full)
    with caplog.at_level(logging.WARNING, "faceinv"):
        assert double()(3) == 6
        assert double()(3.5) == 7
    notes = [record.getMessage() for record in caplog.records]
    assert len(notes) == 1
    assert "No space left on device" in notes[0]
    assert "NUMBA_CACHE_DIR" in notes[0]


@pytest.mark.parametrize("suffix", ["nbi", "nbc"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"\x80\x04."])
def test_a_damaged_cache_is_compiled_anew(
    double: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, suffix: str, content: bytes
) -> None:
    assert double()(3) == 6
    (damaged,) = tmp_path.rglob(f"*.{suffix}")
    damaged.write_bytes(content)
    assert double()(3) == 6
    assert "cannot be read" in caplog.text
    assert damaged.stat().st_size > 20, "it is repaired"
    again = double()
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1


def test_what_was_compiled_with_other_options_is_compiled_anew(double: Any) -> None:
    first = double(nogil=True, fastmath={"nsz", "contract", "reassoc"})
    assert not first._cache.holds_some()
    assert first(3) == 6
    other = double(fastmath={"nsz", "contract", "reassoc"})
    assert not other._cache.holds_some()
    assert other(3) == 6
    again = double(nogil=True, fastmath={"reassoc", "nsz", "contract"})
    assert again._cache.holds_some()
    assert again(3) == 6
    hits = [sum(one.stats.cache_hits.values()) for one in (first, other, again)]
    assert hits == [0, 0, 1]
