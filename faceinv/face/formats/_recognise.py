"""Telling a model's format by its content, in files and in folders that hold more than a model."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from pathlib import Path
from typing import Final

from faceinv.errors import ModelError
from faceinv.face.formats._damage import archive_kind, with_transfer_damage
from faceinv.face.formats._mat import mat_names
from faceinv.face.formats._npy import npz_names
from faceinv.face.formats._pickle import looks_like_pickle
from faceinv.face.formats._raw import ModeCounts
from faceinv.face.formats.basel2009 import load_basel2009
from faceinv.face.formats.basel_h5 import load_basel_h5
from faceinv.face.formats.flame import load_flame
from faceinv.face.formats.gnm import load_gnm
from faceinv.face.formats.ict import NEUTRAL, load_ict
from faceinv.face.formats.npz import load_npz_model
from faceinv.face.model import MorphableModel

__all__ = ["Loader", "load_own", "recognise"]

Loader = Callable[[Path, ModeCounts], MorphableModel]
_KINDS: Final = "its own .npz, Basel 2009 (.mat), 2017 and 2019 (.h5), FLAME (.pkl), ICT-FaceKit (folder) or GNM (.npz)"
_HDF5: Final = b"\x89HDF\r\n\x1a\n"
_HEAD: Final = 1024
"""Bytes that tell the format."""


def load_own(path: Path, _: ModeCounts) -> MorphableModel:
    """faceinv's own format, whole: its modes are counted after loading."""
    return load_npz_model(path)


def recognise(path: Path) -> tuple[Path, Loader]:
    """The file (or folder) of the one model that `path` names, and the loader for it.

    In a folder, what is no model does not matter; hidden files are not looked at.

    Raises:
        ModelError: when there is no model; it says what is there instead, and what to do.
    """
    if not path.is_dir():
        head = _head(path)
        loader = _loader(path, head)
        if loader is None:
            raise ModelError(_unknown(path, head))
        return path, loader
    for folder in (path, path / "FaceXModel"):
        if (folder / NEUTRAL).is_file():
            return folder, load_ict
    try:
        files = [other for other in sorted(path.iterdir()) if not other.name.startswith(".") and other.is_file()]
    except OSError as error:
        raise ModelError(f"folder '{path}' cannot be read: {error.strerror or error}.") from None
    models: list[tuple[Path, Loader]] = []
    others: list[Path] = []
    for file in files:
        try:
            loader = _loader(file, _head(file))
        except ModelError:  # a neighbour that this user may not read
            continue
        if loader is not None and _is_model(file, loader):
            models.append((file, loader))
        else:
            others.append(file)
    if len(models) > 1:
        names = ", ".join(file.name for file, _ in models)
        raise ModelError(f"folder '{path}' holds several face models ({names}); name one.")
    if not models:
        raise ModelError(f"folder '{path}' is no face model: {_nearest(others)}")
    return models[0]


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(_HEAD)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None


def _loader(path: Path, head: bytes) -> Loader | None:
    if archive_kind(path, head):
        return None
    if head.startswith(b"PK"):
        return load_gnm if "template_vertex_positions" in npz_names(path) else load_own
    if head.startswith(b"MATLAB") or head[512:520] == _HDF5:
        return load_basel2009
    if head.startswith(_HDF5):
        return load_basel_h5
    return load_flame if looks_like_pickle(head) else None


def _is_model(path: Path, loader: Loader) -> bool:
    """Whether a file that a loader takes is the model itself, not something beside it."""
    if loader is load_basel2009:
        return "shapeMU" in mat_names(path)
    if loader is load_own:
        return {"format", "triangles", "mean"} <= npz_names(path)
    if loader is load_flame:
        return _holds(path, b"v_template", b"shapedirs")
    return loader is not load_basel_h5 or _holds(path, b"pcaBasis")


def _holds(path: Path, *words: bytes) -> bool:
    """Whether all these bytes are somewhere in a file."""
    try:
        with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return all(content.find(word) >= 0 for word in words)
    except (OSError, ValueError):  # an empty file cannot be mapped
        return False


def _unknown(path: Path, head: bytes) -> str:
    kind = archive_kind(path, head)
    if kind:
        return f"'{path}' is an archive ({kind}): unpack it, and name the model's file or folder in it."
    return f"'{path}' is no face model that faceinv reads: {_KINDS}. A file may be truncated; fetch it again."


def _nearest(files: list[Path]) -> str:
    """What is wrong with the largest of a folder's files that is something like a model."""
    for path in sorted(files, key=lambda file: -file.stat().st_size):
        head = _head(path)
        loader = _loader(path, head)
        if archive_kind(path, head):
            return _unknown(path, head)
        if loader is not None:
            try:
                loader(path, ModeCounts())
            except ModelError as error:
                return with_transfer_damage(str(error), path)
    return f"it holds no file that faceinv reads: {_KINDS}."
