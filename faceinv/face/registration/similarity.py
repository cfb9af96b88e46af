"""Similarities between spaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Similarity", "similarity_of_points"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Similarity:
    """x -> scale * rotation x + translation."""

    scale: float
    rotation: Points
    """(3, 3)"""
    translation: Points
    """(3,)"""

    def __call__(self, points: Points) -> Points:
        """Points (M, 3) moved."""
        moved: Points = self.scale * points @ self.rotation.T + self.translation
        return moved

    def inverse(self) -> Similarity:
        """The way back."""
        return Similarity(1 / self.scale, self.rotation.T, -(self.rotation.T @ self.translation) / self.scale)


def similarity_of_points(source: Points, target: Points, weights: Points | None = None) -> Similarity:
    """The similarity that takes points (M, 3) nearest to their counterparts (M, 3), by weighted least squares.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns" (TPAMI 1991).
    """
    share = np.ones(len(source)) if weights is None else weights
    share = share / share.sum()
    middle, goal = share @ source, share @ target
    a, b = source - middle, target - goal
    left, values, right = np.linalg.svd((share[:, None] * b).T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    rotation = (left * sign) @ right
    scale = float((values * sign).sum() / (share @ (a**2).sum(axis=1)))
    return Similarity(scale, rotation, goal - scale * rotation @ middle)
