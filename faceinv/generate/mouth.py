"""The inside of a mouth: how lit it is, and where the photo's own teeth are used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.landmarks68 import INNER_LIPS
from faceinv.generate.light import soft_light
from faceinv.generate.regions import ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.generate.regions import Regions

__all__ = ["gap", "mouth_depth", "mouth_light", "teeth_of_photo"]

_LIT: Final = 0.6
"""Light on front teeth over that on the lips."""
_BRIGHTEST: Final = 1.1
"""Light on them at most, as teeth are never white in a photo."""
_DARK: Final = 0.1
_DEPTHS: Final = (-55.0, -9.0)
"""mm behind the lips where hardly any light arrives, and where front teeth stand."""
_WHITE: Final = (0.55, 0.8)
"""Blue over red of teeth, over that of the lips' skin: what is redder is lip or tongue."""


def gap(landmarks: NDArray[np.float64]) -> float:
    """mm between the inner lips of landmarks (68, 3)."""
    return float(np.linalg.norm(landmarks[62] - landmarks[66]))


def mouth_depth(model: MorphableModel, regions: Regions) -> NDArray[np.float64]:
    """(N,) the share of the light before the mouth that reaches vertices in it; 0 for all others."""
    surface = model.mean.astype(np.float64)
    lips = model.landmarks(surface)[INNER_LIPS, 2].max()
    inside = _DARK + (_LIT - _DARK) * ramp((surface[:, 2] - lips) / regions.unit, *_DEPTHS) ** 2
    return np.where(regions.mouth, inside, 0.0)


def mouth_light(gamma: NDArray[np.float64]) -> NDArray[np.float64]:
    """(3,) light on the lips of a face that looks at the viewer, for what is between them."""
    light = soft_light(np.array([[0.0, 0.1, 0.995]]), gamma)[0]
    brightest: NDArray[np.float64] = light * min(1.0, _BRIGHTEST / float(light.max()))
    return brightest


def teeth_of_photo(
    regions: Regions, colour: NDArray[np.float64], visible: NDArray[np.float64], facing: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(N,) from 0 to 1: teeth that the photo shows, told from lips by their colour; 0 for all that is no tooth.

    Args:
        regions: of the model.
        colour: (N, 3) linear, of the photo.
        visible: (N,) where nothing hides a vertex.
        facing: (N,) cosine between normal and view.
    """
    blue = colour[:, 2] / np.maximum(colour[:, 0], 1e-4)
    return visible * ramp(facing, 0.2, 0.5) * ramp(blue, *_WHITE) * regions.teeth
