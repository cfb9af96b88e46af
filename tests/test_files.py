"""Files are written whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faceinv import InputError
from faceinv.files import read_arrays, write_arrays, write_whole
from faceinv.run.outputs import check_folder


def test_a_file_appears_under_its_name_with_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deeper" / "face.obj"
    with write_whole(path) as temporary:
        assert temporary.parent == path.parent
        assert temporary.suffix == ".obj"
        assert not path.exists()
        temporary.write_text("v 0 0 0")
    assert path.read_text() == "v 0 0 0"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError("in the middle"), KeyboardInterrupt()])
def test_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "face.npz"
    path.write_text("old")

    def write() -> None:
        with write_whole(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_input_error_and_leaves_nothing(tmp_path: Path) -> None:
    def write() -> None:
        with write_whole(tmp_path / "face.ply") as temporary:
            temporary.write_text("half")
            raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match=r"cannot write '.*face\.ply': No space left on device"):
        write()
    assert list(tmp_path.iterdir()) == []


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    with write_whole(tmp_path / "shared.npz") as temporary:
        temporary.write_text("x")
    (tmp_path / "plain").write_text("x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("shared.npz", "plain")]
    assert modes[0] == modes[1]
    mask = os.umask(0o022)
    os.umask(mask)
    assert modes[0] == 0o666 & ~mask


@pytest.mark.parametrize("bad", ["file/inside.npz", "folder"])
def test_places_that_cannot_be_written(tmp_path: Path, bad: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="cannot write"), write_whole(tmp_path / bad) as temporary:
        temporary.write_text("x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_arrays_are_read_back_as_they_were_written(tmp_path: Path) -> None:
    arrays: dict[str, Any] = {
        "floats": np.linspace(0, 1, 12).reshape(3, 4),
        "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "numbers": np.zeros((300, 3), np.int32),
        "one": 1.5,
        "yes": True,
        "text": "a name",
        "names": np.array(["a", "bc"]),
        "none": np.zeros((0, 3)),
    }
    for name in ("a.npz", "b.npz"):
        with (tmp_path / name).open("wb") as stream:
            write_arrays(stream, arrays)
    found = read_arrays(tmp_path / "a.npz", "file", InputError)
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        assert np.array_equal(found[name], value)
        assert found[name].dtype == np.asarray(value).dtype
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    assert (tmp_path / "a.npz").stat().st_size < 3600 + 2500  # whole numbers are compressed


def test_objects_are_not_written(tmp_path: Path) -> None:
    with (tmp_path / "a.npz").open("wb") as stream, pytest.raises(ValueError, match="allow_pickle"):
        write_arrays(stream, {"a": np.array([{}], object)})


def test_a_file_of_another_kind_is_no_reason_to_load_pickles(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{}")
    with pytest.raises(InputError, match="no archive of plain arrays") as caught:
        read_arrays(tmp_path / "a.json", "result", InputError)
    assert "pickle" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named_alone(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"cannot write in '.*taken': it is a file\. Choose a folder"):
        check_folder(tmp_path / "taken")
    with pytest.raises(InputError, match=r"cannot write in '.*deeper': "):
        check_folder(tmp_path / "taken" / "deeper")
    check_folder(tmp_path / "new" / "er")
    assert list((tmp_path / "new" / "er").iterdir()) == []
