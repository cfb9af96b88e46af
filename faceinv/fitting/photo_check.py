"""Whether a photo is the one that a face was fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceinv.detail.stage import DetailJob, photo_misfit
from faceinv.errors import InputError
from faceinv.photo.recognise import SAME_PHOTO, photo_print, print_difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["check_print", "check_render"]

_STRANGE: Final = 0.25
"""RMS difference of sRGB values between render and photo, of 1, beyond which a photo is taken for another's: those of a
fit are about .06, and .15 with a beard and glasses."""


def check_print(photo: NDArray[np.float32], landmarks: NDArray[np.float64], known: NDArray[np.uint8]) -> None:
    """See that the print of a photo's face is the known one.

    Raises:
        InputError: when the photo is another.
    """
    difference = print_difference(photo_print(photo, landmarks), known)
    if difference > SAME_PHOTO:
        raise InputError(
            f"the photo does not show the face of this result: colours there differ by {difference:.0%} of white, and "
            f"those of copies of one photo by less than {SAME_PHOTO:.0%}. Give the photo that was fitted."
        )


def check_render(model: MorphableModel, face: Face, photo: NDArray[np.float32]) -> None:
    """See that a photo looks like the render of a face, for results whose photo's print is not known. It catches only
    what differs much.

    Raises:
        InputError: when it does not.
    """
    misfit = photo_misfit(DetailJob(model, face, photo))
    if misfit > _STRANGE:
        raise InputError(
            f"the photo does not show the face of this result: colours differ by {misfit:.0%} of white from the "
            "render. Give the photo that was fitted."
        )
