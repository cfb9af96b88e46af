"""Reading face models: one function, one module for each format.

A format is told by a file's content, never by its name. Where to get the files, under what licence, and how they are
laid out, is said in each module: `npz` (faceinv's own), `basel2009`, `basel_h5` (2017, 2019), `flame`, `ict`, `gnm`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

from faceinv.errors import ModelError
from faceinv.face.formats._checks import count_modes
from faceinv.face.formats._default import default_model
from faceinv.face.formats._mat import mat_names
from faceinv.face.formats._npy import npz_names
from faceinv.face.formats._pickle import looks_like_pickle
from faceinv.face.formats._raw import ModeCounts
from faceinv.face.formats._trim import face_part
from faceinv.face.formats.basel2009 import load_basel2009
from faceinv.face.formats.basel_h5 import load_basel_h5
from faceinv.face.formats.flame import load_flame
from faceinv.face.formats.gnm import load_gnm
from faceinv.face.formats.ict import NEUTRAL, load_ict
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.model import MorphableModel

__all__ = ["DEFAULT", "load_model", "save_npz_model"]

DEFAULT: Final = "default"
"""The name of the model that comes with faceinv."""

Loader = Callable[[Path, ModeCounts], MorphableModel]


def load_model(
    source: str | Path,
    *,
    identity: int | None = None,
    expression: int | None = None,
    albedo: int | None = None,
    face_only: bool = False,
) -> MorphableModel:
    """Read a face model, whatever its format.

    Args:
        source: `"default"`, a model file, or a folder with one (as Basel 2009 and ICT-FaceKit are).
        identity: how many identity modes to keep, the most important first. None keeps the format's default: all, but
            100 for Basel 2009, as in Guo et al.
        expression: the same for expression; all by default.
        albedo: the same for albedo; all by default, but 100 for Basel 2009. A model without albedo borrows at most the
            default model's.
        face_only: keep only the face with a margin, without neck, ears and the back of the head; saves memory.

    Raises:
        ModelError: when there is no such file, its format is unknown, or it is damaged; the message names the file, the
            field and what to do.
    """
    counts = ModeCounts(identity, expression, albedo)
    if str(source) == DEFAULT:
        model = _counted(default_model(), counts, Path(DEFAULT))
    else:
        path = Path(source)
        if not path.exists():
            raise ModelError(f"face model '{path}' does not exist; '{DEFAULT}' names the one that comes with faceinv.")
        found, loader = _recognise_folder(path) if path.is_dir() else (path, _recognise(path))
        if loader is None:
            raise ModelError(
                f"'{path}' is no face model that faceinv reads: its own .npz, Basel 2009 (.mat), 2017 and 2019 (.h5), "
                "FLAME (.pkl), ICT-FaceKit (folder) or GNM (.npz). A file may be truncated; fetch it again."
            )
        with np.errstate(over="ignore", invalid="ignore"):  # numbers out of range are found by the checks
            model = loader(found, counts)
    return face_part(model) if face_only else model


def _counted(model: MorphableModel, counts: ModeCounts, path: Path) -> MorphableModel:
    if counts == ModeCounts():
        return model
    return model.truncated(
        count_modes(counts.identity, model.identity_count, None, path, "identity"),
        count_modes(counts.expression, model.expression_count, None, path, "expression"),
        count_modes(counts.albedo, model.albedo_count, None, path, "albedo"),
    )


def _load_own(path: Path, counts: ModeCounts) -> MorphableModel:
    return _counted(load_npz_model(path), counts, path)


def _recognise(path: Path) -> Loader | None:
    """The loader for a file, told by its content."""
    try:
        with path.open("rb") as stream:
            head = stream.read(1024)
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read: {error.strerror or error}.") from None
    if head.startswith(b"PK"):
        names = npz_names(path)
        return load_gnm if "template_vertex_positions" in names else _load_own
    if head.startswith(b"MATLAB") or head[512:520] == b"\x89HDF\r\n\x1a\n":
        return load_basel2009
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return load_basel_h5
    return load_flame if looks_like_pickle(head) else None


def _recognise_folder(folder: Path) -> tuple[Path, Loader | None]:
    """The one model in a folder, and its loader."""
    if (folder / NEUTRAL).is_file():
        return folder, load_ict
    if (folder / "FaceXModel" / NEUTRAL).is_file():
        return folder / "FaceXModel", load_ict
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    found = [(path, loader) for path in files if (loader := _recognise(path)) is not None and _is_model(path, loader)]
    if len(found) > 1:
        raise ModelError(
            f"folder '{folder}' holds several face models ({', '.join(path.name for path, _ in found)}); name one."
        )
    return found[0] if found else (folder, None)


def _is_model(path: Path, loader: Loader) -> bool:
    """Whether a file that a loader takes is the model itself, not something beside it."""
    if loader is load_basel2009:
        return "shapeMU" in mat_names(path)
    if loader is _load_own:
        return "triangles" in npz_names(path)
    if loader is load_flame:
        return path.stat().st_size > 1_000_000 and path.suffix.lower() == ".pkl"
    return True
