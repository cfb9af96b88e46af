"""Identity and expression as the data set 3DFace has them, for programs that were made for it.

3DFace goes with Guo et al. 2018 (arXiv 1708.00980). A text file of it begins with 100 parameters of identity and 79 of
expression, in the order of the Basel Face Model's columns and of `Exp_Pca.bin` (its authors, in issues 7 and 8 of
github.com/Juyong/3DFace). These 179 are what is written here, a number a line. What follows there is another
program's: lighting, albedo and pose are meant for its renderer, whose conventions are not published.

Numbers are the scores of the files as they are published, in micrometres, which the paper's prior divides by their
standard deviations; so the surface is

    shapeMU + mean of Exp_Pca.bin + shapePC[:, :100] @ identity + modes of Exp_Pca.bin @ expression

faceinv's own coefficients are these scores over the standard deviations (`shapeEV`, `std_exp.txt`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.errors import FaceinvError, InputError
from faceinv.face.formats import model_file
from faceinv.face.formats.basel2009 import NAME, score_deviations
from faceinv.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["SUFFIX", "deviations_3dface", "write_3dface"]

SUFFIX: Final = "_3dface.txt"
"""What names of such files end with."""
_IDENTITY, _EXPRESSION = 100, 79


def write_3dface(model: MorphableModel, model_source: str, face: Face, path: Path) -> None:
    """Write a face's parameters, whole or not at all.

    Args:
        model: the model, read from the Basel Face Model 2009.
        model_source: its file or folder, which says by what standard deviations coefficients were divided.
        face: the face.
        path: a text file.

    Raises:
        InputError: for another model, other numbers of modes, files that cannot be read, or a place that cannot be
            written.
    """
    identity, expression = deviations_3dface(model, model_source)
    scores = np.concatenate([face.identity * identity, face.expression * expression])
    text = "".join(f"{score:.9g}\n" for score in scores.tolist())
    with write_whole(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def deviations_3dface(model: MorphableModel, model_source: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(100,) and (79,): by what coefficients are multiplied.

    Raises:
        InputError: when the model's faces have no such parameters.
    """
    if model.name != NAME:
        raise InputError(
            f"3DFace's parameters are those of the {NAME}; this face is of the model '{model.name}'. Fit with the "
            "Basel model (faceinv fit --model FOLDER) to export them."
        )
    if (model.identity_count, model.expression_count) != (_IDENTITY, _EXPRESSION):
        raise InputError(
            f"3DFace has {_IDENTITY} parameters of identity and {_EXPRESSION} of expression; this model was read with "
            f"{model.identity_count} and {model.expression_count}. The published files give them, with the expression "
            "basis of Guo et al. beside the model."
        )
    try:
        identity, expression = score_deviations(model_file(model_source))
    except (FaceinvError, OSError) as error:
        raise InputError(
            f"3DFace's parameters need the standard deviations in the model's files, which cannot be read: {error} "
            "Give the model by its path."
        ) from None
    return identity[:_IDENTITY], expression
