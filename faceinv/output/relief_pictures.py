"""Detail as pictures: normals and depth in the frame of the photo, displacement in the texture layout.

| picture | kind | what a value means |
| --- | --- | --- |
| normals | 8-bit RGBA | `n = 2 v / 255 - 1`, camera frame: x right, y up, z to the viewer; alpha 0 outside the face |
| depth | 16-bit grey | mm towards the viewer from the model's origin, `mm_at_zero + v mm_per_unit`; 0 outside |
| displacement | 16-bit grey | mm along the surface's normal, `mm_at_zero + v mm_per_unit`; 32768 is none |

Grey values are linear and without gamma. The displacement's scale makes .5 the middle level, as displacement modifiers
of 3D programs expect, with a strength of `65535 mm_per_unit`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.detail.relief_map import ReliefMap

__all__ = ["GreyPicture", "depth_picture", "displacement_picture", "normals_picture", "vectors_picture"]

_TOP: Final = 65535
_MIDDLE: Final = 32768
_FINEST_MM: Final = 1e-5
"""Of a step of grey, so that a flat surface has a scale too."""


@dataclass(frozen=True, eq=False)
class GreyPicture:
    """Lengths as 16-bit grey values v: `mm_at_zero + v mm_per_unit`."""

    values: NDArray[np.uint16]
    mm_per_unit: float
    mm_at_zero: float

    def scale(self) -> dict[str, float]:
        """What the JSON says of it."""
        return {"mm_per_unit": self.mm_per_unit, "mm_at_zero": self.mm_at_zero}


def normals_picture(detail: Detail) -> NDArray[np.uint8]:
    """(H, W, 4) of the photo's size: normals with relief; towards the viewer outside the face."""
    return vectors_picture(detail.normals, detail.mask)


def vectors_picture(normals: NDArray[np.float32], shown: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W, 4) of unit normals (H, W, 3); towards the viewer, with alpha 0, where they are not shown (H, W)."""
    facing = np.where(shown[..., None], normals, np.float32([0, 0, 1]))
    picture = np.empty((*shown.shape, 4), np.uint8)
    picture[..., :3] = np.rint((facing + 1) * 127.5)
    picture[..., 3] = np.where(shown, 255, 0)
    return picture


def depth_picture(detail: Detail) -> GreyPicture:
    """(H, W) of the photo's size: with relief."""
    mask, depth = detail.mask, detail.depth.astype(np.float64)
    if not mask.any():
        return GreyPicture(np.zeros(mask.shape, np.uint16), _FINEST_MM, 0.0)
    inverse_focal = detail.kappa / detail.scale
    height = depth[mask] / (1 + inverse_focal * depth[mask]) / detail.scale
    low, high = float(height.min()), float(height.max())
    step = max((high - low) / (_TOP - 1), _FINEST_MM)
    values = np.zeros(mask.shape, np.uint16)
    values[mask] = np.clip(np.rint((height - low) / step) + 1, 1, _TOP)
    return GreyPicture(values, step, low - step)


def displacement_picture(relief: ReliefMap) -> GreyPicture:
    """(S, S), row 0 is v = 1: the offset along the normal."""
    offset = relief.picture()
    step = max(float(np.abs(offset).max(initial=0.0)) / (_MIDDLE - 1), _FINEST_MM)
    values = np.clip(np.rint(offset / step) + _MIDDLE, 0, _TOP).astype(np.uint16)
    return GreyPicture(values, step, -_MIDDLE * step)
