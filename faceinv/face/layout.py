"""The unknowns: how chi is laid out, and how a step moves it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["LIGHTING_COUNT", "POSE_COUNT", "ParameterLayout"]

POSE_COUNT: Final = 6
"""log s, axis-angle (3), translation (2)."""
LIGHTING_COUNT: Final = 27
"""Nine spherical-harmonics coefficients for red, then green, then blue."""


@dataclass(frozen=True)
class ParameterLayout:
    """chi = [identity | expression | albedo | log s, w (3), t (2) | gamma R (9), G (9), B (9)], float64, length P.

    A rotation is stored as an axis-angle vector w with `R = exp([w]x)`; steps act on the manifold,
    `R <- exp([dw]x) R`, so a derivative with respect to w is one with respect to dw at zero.
    """

    identity_count: int
    expression_count: int
    albedo_count: int

    @classmethod
    def of(cls, model: MorphableModel) -> ParameterLayout:
        """The layout for a model."""
        return cls(model.identity_count, model.expression_count, model.albedo_count)

    @cached_property
    def count(self) -> int:
        """P."""
        return self.shape_count + self.albedo_count + POSE_COUNT + LIGHTING_COUNT

    @cached_property
    def shape_count(self) -> int:
        """Ki + Ke."""
        return self.identity_count + self.expression_count

    @cached_property
    def identity(self) -> slice:
        """Where the identity coefficients are."""
        return slice(0, self.identity_count)

    @cached_property
    def expression(self) -> slice:
        """Where the expression coefficients are."""
        return slice(self.identity_count, self.shape_count)

    @cached_property
    def shape(self) -> slice:
        """Identity and expression together."""
        return slice(0, self.shape_count)

    @cached_property
    def albedo(self) -> slice:
        """Where the albedo coefficients are."""
        return slice(self.shape_count, self.shape_count + self.albedo_count)

    @cached_property
    def pose(self) -> slice:
        """log s, w, t."""
        return slice(self.log_scale, self.log_scale + POSE_COUNT)

    @cached_property
    def log_scale(self) -> int:
        """The index of log s."""
        return self.shape_count + self.albedo_count

    @cached_property
    def rotation(self) -> slice:
        """The axis-angle vector."""
        return slice(self.pose.start + 1, self.pose.start + 4)

    @cached_property
    def translation(self) -> slice:
        """t, px."""
        return slice(self.pose.start + 4, self.pose.start + 6)

    @cached_property
    def lighting(self) -> slice:
        """gamma, channel after channel."""
        return slice(self.pose.stop, self.pose.stop + LIGHTING_COUNT)

    def mask(self, *parts: slice) -> NDArray[np.bool_]:
        """(P,) true for the entries of the given parts."""
        chosen = np.zeros(self.count, np.bool_)
        for part in parts:
            chosen[part] = True
        return chosen

    def scale(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """s of the camera, px per mm, (...) for chi (..., P)."""
        # Not np.exp: NumPy 1.26 computes it one of two ways, by where in memory the result happens to lie.
        logs = chi[..., self.log_scale]
        return np.array([math.exp(value) for value in np.ravel(logs)]).reshape(np.shape(logs))

    def gamma(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lighting as (..., 9, 3)."""
        return np.swapaxes(chi[..., self.lighting].reshape(*chi.shape[:-1], 3, 9), -1, -2)

    def retract(self, chi: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move chi (B, P) by a tangent step (B, P): addition everywhere but for the rotation."""
        from faceinv.face.camera import turned

        moved, turns = chi + step, step[:, self.rotation].any(axis=1)
        if turns.any():
            moved[turns, self.rotation] = turned(step[turns, self.rotation], chi[turns, self.rotation])
        return moved
