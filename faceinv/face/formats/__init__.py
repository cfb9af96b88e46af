"""Reading face models: one function, one module for each format.

A format is told by a file's content, never by its name. Where to get the files, under what licence, and how they are
laid out, is said in each module: `npz` (faceinv's own), `basel2009`, `basel_h5` (2017, 2019), `flame`, `ict`, `gnm`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from faceinv.errors import ModelError
from faceinv.face.formats._checks import count_modes
from faceinv.face.formats._damage import with_transfer_damage
from faceinv.face.formats._default import default_model
from faceinv.face.formats._raw import ModeCounts
from faceinv.face.formats._recognise import load_own, recognise
from faceinv.face.formats._trim import face_part
from faceinv.face.formats.npz import save_npz_model
from faceinv.face.model import MorphableModel

__all__ = ["DEFAULT", "load_model", "model_file", "save_npz_model"]

DEFAULT: Final = "default"
"""The name of the model that comes with faceinv."""


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
        source: `"default"`, a model file, or a folder with one (as Basel 2009 and ICT-FaceKit are). What else is
            in the folder does not matter.
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
        try:
            exists = path.exists()
        except OSError as error:  # a name too long, a folder that may not be searched
            raise ModelError(f"face model '{path}' cannot be looked for: {error.strerror or error}.") from None
        if not exists:
            raise ModelError(f"face model '{path}' does not exist; '{DEFAULT}' names the one that comes with faceinv.")
        model = _read(path, counts)
    return face_part(model) if face_only else model


def model_file(source: str | Path) -> Path:
    """The file that a model is read from where a folder is named.

    Raises:
        ModelError: when there is no model.
    """
    return recognise(Path(source))[0]


def _counted(model: MorphableModel, counts: ModeCounts, path: Path) -> MorphableModel:
    if counts == ModeCounts():
        return model
    return model.truncated(
        count_modes(counts.identity, model.identity_count, None, path, "identity"),
        count_modes(counts.expression, model.expression_count, None, path, "expression"),
        count_modes(counts.albedo, model.albedo_count, None, path, "albedo"),
    )


def _read(path: Path, counts: ModeCounts) -> MorphableModel:
    file = path
    try:
        file, loader = recognise(path)
        with np.errstate(over="ignore", invalid="ignore"):  # numbers out of range are found by the checks
            model = loader(file, counts)
    except ModelError as error:
        raise ModelError(with_transfer_damage(str(error), file)) from None
    return _counted(model, counts, file) if loader is load_own else model
