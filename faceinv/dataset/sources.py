"""The photos or results that are given, one after the other, however many there are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from faceinv.dataset.ledger import Found
from faceinv.errors import InputError
from faceinv.output.picture import is_own_picture
from faceinv.photo.image_file import is_image_file
from faceinv.run.saved import Saved

__all__ = ["find_sources"]


def find_sources(inputs: Sequence[Path], output: Path) -> Iterator[Found]:
    """What is in files and folders; a folder that holds results (`.npz` with a record beside them), in itself or in a
    sub-folder, is one of results, another one of photos.

    Args:
        inputs: photos, results, and folders of them.
        output: a folder to leave out.

    Raises:
        InputError: when something is not there, or neither photo nor result.
    """
    for origin, path in enumerate(inputs):
        if path.is_dir():
            kind = next((True for found in _walk(path, output) if _is_result(found)), False)
            empty = True
            for found in _walk(path, output):
                if _is_result(found) if kind else _is_photo(found):
                    empty = False
                    yield _found(origin, found.relative_to(path).as_posix(), found, kind)
            if empty:
                raise InputError(f"folder '{path}' holds neither results of 'faceinv fit' nor photos.")
        elif not path.exists():
            raise InputError(f"'{path}' does not exist. Give photos, results (.npz) of 'faceinv fit', or folders.")
        elif path.suffix.lower() == ".npz" or is_image_file(path):
            yield _found(origin, path.name, path, path.suffix.lower() == ".npz")
        else:
            raise InputError(f"'{path}' is neither a photo nor a result (.npz) of 'faceinv fit'.")


def _walk(folder: Path, output: Path) -> Iterator[Path]:
    """All files, in any order, but for hidden ones and those of the output folder; symbolic links to folders are not
    followed."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                if Path(entry.path).absolute() != output.absolute():
                    yield from _walk(Path(entry.path), output)
            elif entry.is_file():
                yield Path(entry.path)


def _is_result(path: Path) -> bool:
    return path.suffix.lower() == ".npz" and bool(Saved(path).record)


def _is_photo(path: Path) -> bool:
    return is_image_file(path) and not is_own_picture(path) and not path.name.endswith("_overlay.png")


def _found(origin: int, name: str, path: Path, result: bool) -> Found:
    landmarks = None if result else next((p for p in map(path.with_suffix, (".pts", ".PTS")) if p.is_file()), None)
    return Found(origin, name, path, landmarks, result)
