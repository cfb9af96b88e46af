"""Where the neck leaves the head, so that the picture of the neck can follow it sideways."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.camera import axis_angle, rotation_matrix
from faceinv.generate.polar import ANGLES, angle_grid

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["neck_shift"]

_TWIST: Final = 0.7
"""The share of the head's turn that the upper end of the neck takes part in."""
_WIDEST: Final = np.radians(72.0)
"""From straight down: a neck is within."""


def neck_shift(ring: NDArray[np.float64], turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(ANGLES,) radians by which the direction from the pivot of what is seen below the head was another in the photo.

    Args:
        ring: (M, 3) mm from the pivot, in the photo's camera frame: around the neck.
        turn: (3, 3) of the head against its pose in the photo.
    """
    grid = angle_grid()
    if len(ring) < 3:
        return np.zeros(ANGLES)
    twisted = ring @ rotation_matrix(_TWIST * axis_angle(turn)).T
    # From straight down, positive to the right.
    before, after = (np.arctan2(points[:, 0], -points[:, 1]) for points in (ring, twisted))
    old = np.clip([before.min(), before.max()], -_WIDEST, _WIDEST)
    new = np.clip([after.min(), after.max()], -_WIDEST, _WIDEST)
    if new[1] - new[0] < 0.2 or old[1] - old[0] < 0.2:
        return np.zeros(ANGLES)
    from_down = (np.pi / 2 - grid + np.pi) % (2 * np.pi) - np.pi
    edge = np.pi * 0.55
    source = np.interp(from_down, [-edge, *new, edge], [-edge, *old, edge])
    shift: NDArray[np.float64] = -(source - from_down)
    return np.where(np.abs(from_down) < edge, shift, 0.0)
