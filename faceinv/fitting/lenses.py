"""Where the photos' cameras get their principal points and focal lengths from, at every size of the crops.

What is held of a photo is its focal length in pixels of the crop. Where it is known, that is exact: the distance
follows from the face's size at every step. Where it is not, the focal length is set such that the camera is at a given
distance for the face's size at the time, at the start of every stage.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.records import Problem
    from faceinv.face.layout import ParameterLayout
    from faceinv.fitting.config import FitConfig
    from faceinv.photo.prepare import Prepared

__all__ = ["Lenses"]

_SPREAD: Final = 1.0
"""Standard deviation of one over the distance, over its expected value: from infinity to half the distance."""


class Lenses:
    """What is known of how the cameras of a batch of photos project."""

    def __init__(self, layout: ParameterLayout, config: FitConfig, photos: Sequence[Prepared]) -> None:
        self._layout, self._config, self._photos = layout, config, photos
        known = [photo.lens.focal_length is not None for photo in photos]
        self.estimated = np.logical_not(known) & (config.camera == "perspective" and config.estimate_distance)
        """(B,) whose distance is to be found by the fit."""

    def place(self, chi: NDArray[np.float64], size: int, keep_estimates: bool = False) -> NDArray[np.float64]:
        """chi (B, P) in crops of some size with principal points and focal lengths that are known, or that go with the
        distance; with `keep_estimates` those that are estimated stay."""
        layout, config, placed = self._layout, self._config, chi.copy()
        for item, photo in enumerate(self._photos):
            crop, lens = photo.crop.at(size), photo.lens
            placed[item, layout.principal_point] = crop.to_crop(lens.principal_point)
            if config.camera == "weak":
                placed[item, layout.inverse_focal] = 0.0
            elif lens.focal_length is not None:
                placed[item, layout.inverse_focal] = 1 / (lens.focal_length * crop.zoom)
            elif not (keep_estimates and self.estimated[item]):
                placed[item, layout.inverse_focal] = self._at_distance(chi[item])
        return placed

    def with_prior(self, problem: Problem, chi: NDArray[np.float64]) -> Problem:
        """The problem with a prior on the focal lengths that are estimated, around those of the expected distance."""
        if not self.estimated.any():
            return problem
        known = chi[:, self._layout.inverse_focal]
        expected = np.where(self.estimated, [self._at_distance(one) for one in chi], known)
        weight = np.where(self.estimated, 1.0 / (_SPREAD * expected) ** 2, 0.0)
        return replace(problem, focal_prior=np.stack([expected, weight], axis=1))

    def _at_distance(self, chi: NDArray[np.float64]) -> float:
        """1/px: one over the focal length that puts the camera at the configured distance."""
        return float(np.exp(-chi[self._layout.pose.start]) / self._config.distance)
