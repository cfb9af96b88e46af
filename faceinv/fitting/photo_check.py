"""Whether a result's photo is the one that it was fitted to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.errors import InputError
from faceinv.photo.crop import FaceCrop
from faceinv.photo.hull import inside_hull
from faceinv.photo.recognise import SAME_PHOTO, photo_print, print_difference

if TYPE_CHECKING:
    from faceinv.fitting.result import FitResult

__all__ = ["check_photo"]

_SIDE: Final = 112
"""px at which a render is compared with the photo."""
_MARGIN: Final = 1.35
_WORSE: Final = 1.5
_WORSE_BY: Final = 0.04
"""Linear RGB. A render that is off by so much more than that of the fit does not show the photo."""


def check_photo(result: FitResult) -> None:
    """See that the photo is the one that was fitted.

    By the print of its face where the result has one; else by the render, which is to be as near to the photo as the fit
    was.

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
                f"the photo is not the one that was fitted: where the face is, colours differ by {difference:.0%} "
                f"(up to {SAME_PHOTO:.0%} are the same photo). Give the photo of this result."
            )
        return
    off = _render_error(result)
    if off > _WORSE * result.photometric_rmse + _WORSE_BY:
        raise InputError(
            f"the photo is not the one that was fitted: the fitted face differs from it by {off:.3f} (RMSE, linear RGB), "
            f"and did by {result.photometric_rmse:.3f} when it was fitted. Give the photo of this result."
        )


def _render_error(result: FitResult) -> float:
    """Root mean square difference of render and photo over the skin inside the landmarks' hull, linear RGB."""
    from dataclasses import replace

    from faceinv.photo.color import srgb_to_linear
    from faceinv.render.scene import draw_faces

    assert result.photo is not None
    crop = FaceCrop.around(result.landmarks_target, _MARGIN, _SIDE)
    pixels, on_photo = crop.cut(result.photo)
    face = replace(result.face, camera=crop.camera_to_crop(result.camera))
    scene = draw_faces(result.model, [face], (_SIDE, _SIDE), result.shading)[0]
    seen = scene.covered & result.model.face_mask[scene.triangle] & on_photo
    seen &= inside_hull(crop.to_crop(result.landmarks_target), (_SIDE, _SIDE))
    if not seen.any():
        return float("inf")
    difference = np.clip(scene.light[seen], 0.0, 1.0) - srgb_to_linear(pixels[seen].astype(np.float64))
    return float(np.sqrt(np.mean(difference**2)))
