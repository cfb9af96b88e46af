"""The packaged face model, read once per process."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from faceinv.errors import ModelError
from faceinv.face.formats.npz import load_npz_model
from faceinv.face.model import MorphableModel

__all__ = ["default_model"]


@cache
def default_model() -> MorphableModel:
    """The model that comes with faceinv (`faceinv/data/default_model.npz`).

    Raises:
        ModelError: when the installation lacks the file.
    """
    resource = files("faceinv") / "data" / "default_model.npz"
    if not resource.is_file():
        raise ModelError("this installation lacks faceinv/data/default_model.npz; install faceinv again.")
    with as_file(resource) as path:
        return load_npz_model(path)
