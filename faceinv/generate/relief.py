"""The fine detail of another face on a variant: the relief's light over that without, pixel by pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.detail.transfer import drape
from faceinv.generate.light import soft_light

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.relief_map import ReliefMap
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["Relief", "relief_on"]

_MOST: Final = 2.2
"""By which factor relief makes a pixel brighter or darker at most."""


@dataclass(frozen=True, eq=False)
class Relief:
    """What relief does to a picture of H x W px."""

    ratio: NDArray[np.float32]
    """(H, W, 3) of linear colours with it to those without; 1 beside the face's skin."""
    normal: NDArray[np.float32]
    """(H, W, 3) unit, camera frame, with relief."""
    displacement: NDArray[np.float32]
    """(H, W) mm towards the viewer; 0 where there is none."""


def relief_on(
    model: MorphableModel, face: Face, size: int, new: ReliefMap, old: ReliefMap | None, strength: float
) -> Relief:
    """The relief of another face on a face, instead of its own.

    A pixel is multiplied by light on the surface with the new relief over light on that with the old one (Liu, Shan and
    Zhang, "Expressive expression mapping with ratio images", SIGGRAPH 2001), so that what else the photo shows stays.

    Args:
        model: the model.
        face: the face, in the frame of the picture.
        size: px.
        new: the relief that is put on.
        old: the photo's own, whose shading is in its colours; None where it is not known, which leaves it there.
        strength: what the new relief is multiplied by.

    Raises:
        InputError: when a relief is of another model's texture layout.
    """
    fresh = drape(new, model, face, (size, size), strength)
    own = fresh.coarse_normals if old is None else drape(old, model, face, (size, size)).normals
    skin = fresh.skin
    ratio = np.ones((size, size, 3), np.float32)
    light, before = (soft_light(normals[skin], face.lighting) for normals in (fresh.normals, own))
    ratio[skin] = np.clip(light / before, 1 / _MOST, _MOST)
    return Relief(ratio, fresh.normals, fresh.displacement)
