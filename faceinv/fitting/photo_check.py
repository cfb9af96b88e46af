"""Whether a result's photo is the one that it was fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceinv.errors import InputError
from faceinv.photo.recognise import SAME_PHOTO, photo_print, print_difference

if TYPE_CHECKING:
    from faceinv.fitting.result import FitResult

__all__ = ["check_photo"]

_STRANGE: Final = 0.25
"""RMS difference of sRGB values between render and photo, of 1, beyond which a photo is taken for another's: those of a
fit are about .06, and .15 with a beard and glasses."""


def check_photo(result: FitResult) -> None:
    """See that the photo is the one that was fitted.

    By the print of its face; where the result has none, by the render, which catches only what differs much.

    Raises:
        InputError: when it is another, or there is none.
    """
    if result.photo is None:
        raise InputError(
            "this needs the photo, and the result was read from a file. Give the photo: result.with_photo(photo)."
        )
    if result.face_print is not None:
        difference = print_difference(photo_print(result.photo, result.landmarks_target), result.face_print)
        if difference > SAME_PHOTO:
            raise InputError(
                f"the photo is not the one that was fitted: where the face is, colours differ by {difference:.0%} of "
                f"white, and copies of one photo by less than {SAME_PHOTO:.0%}. Give the photo of this result."
            )
        return
    from faceinv.detail.stage import DetailJob, photo_misfit

    misfit = photo_misfit(DetailJob(result.model, result.face, result.photo))
    if misfit > _STRANGE:
        raise InputError(
            f"the photo does not show the face of this result: colours differ by {misfit:.0%} of white from the "
            "render. Give the photo that was fitted."
        )
