"""The camera on tensors, differentiable: weak perspective. Its formula is nowhere else in `render`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from faceinv.engine.records import MIN_DOUBLE_AREA

__all__ = ["Camera", "barycentric_weights"]


class Camera(NamedTuple):
    """`x = s (R V)_x + t_x`, `y = t_y - s (R V)_y` px, and the depth `s (R V)_z`."""

    scale: Tensor
    """() px per mm."""
    rotation: Tensor
    """(3, 3) model to camera."""
    translation: Tensor
    """(2,) px."""

    @classmethod
    def of(cls, scale: Tensor, axis_angle: Tensor, translation: Tensor) -> Camera:
        """With the rotation as an axis-angle vector (3,)."""
        x, y, z = axis_angle
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        return cls(scale, torch.linalg.matrix_exp(skew), translation)

    @classmethod
    def unpack(cls, parameters: Tensor) -> Camera:
        """Of the parameters in chi: log s, w (3), t (2)."""
        return cls.of(parameters[0].exp(), parameters[1:4], parameters[4:6])

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Of points (N, 3) mm: where they are in the image (N, 2) px, and their depth (N,) px."""
        posed = self.scale * (points @ self.rotation.T)
        xy = torch.stack([posed[:, 0] + self.translation[0], self.translation[1] - posed[:, 1]], dim=1)
        return xy, posed[:, 2]

    def turned(self, directions: Tensor) -> Tensor:
        """Directions (N, 3) of the model frame in the camera's."""
        return directions @ self.rotation.T


def barycentric_weights(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Barycentric weights (n, 3) of pixels in their triangles' projections (n, 3, 2)."""
    (x0, y0), (x1, y1), (x2, y2) = (c.unbind(dim=1) for c in corners.unbind(dim=1))
    dx, dy = x - x0, y - y0
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    # Front faces have a negative area; edge-on ones get the least area with a useful derivative.
    area = area.clamp(max=-MIN_DOUBLE_AREA)
    b1 = (dx * (y2 - y0) - dy * (x2 - x0)) / area
    b2 = (dy * (x1 - x0) - dx * (y1 - y0)) / area
    return torch.stack([1 - b1 - b2, b1, b2], dim=1)
