"""The camera on tensors, differentiable. Its formula is nowhere else in `render`."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.camera import NEAREST

__all__ = ["Camera", "barycentric_weights"]


class Camera(NamedTuple):
    """As `faceinv.face.camera` has it, on tensors."""

    scale: Tensor
    """() px per mm."""
    rotation: Tensor
    """(3, 3) model to camera."""
    translation: Tensor
    """(2,) px."""
    inverse_focal: Tensor
    """() 1/px; 0 for weak perspective."""
    centre: Tensor
    """(2,) px: the principal point."""

    @classmethod
    def of(
        cls, scale: Tensor, axis_angle: Tensor, translation: Tensor, inverse_focal: Tensor, centre: Tensor
    ) -> Camera:
        """With the rotation as an axis-angle vector (3,)."""
        x, y, z = axis_angle
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
        return cls(scale, torch.linalg.matrix_exp(skew), translation, inverse_focal, centre)

    @classmethod
    def unpack(cls, parameters: Tensor) -> Camera:
        """Of the parameters in chi: log s, w (3), t (2), c (2), 1/f."""
        return cls.of(parameters[0].exp(), parameters[1:4], parameters[4:6], parameters[8], parameters[6:8])

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Of points (N, 3) mm: where they are in the image (N, 2) px, and their depth (N,) px, infinite where they are
        not in front of the camera."""
        posed = self.scale * (points @ self.rotation.T)
        nearness = self.inverse_focal * posed[:, 2]
        w = 1 / (1 - nearness).clamp(min=NEAREST)
        image = torch.stack([posed[:, 0] + self.translation[0], self.translation[1] - posed[:, 1]], dim=1)
        xy = image * w[:, None] + self.centre * (1 - w)[:, None]
        return xy, torch.where(nearness < 1 - NEAREST, posed[:, 2] * w, torch.inf)

    def turned(self, directions: Tensor) -> Tensor:
        """Directions (N, 3) of the model frame in the camera's."""
        return directions @ self.rotation.T


def barycentric_weights(corners: Tensor, nearer: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Barycentric weights (n, 3) on the surface of pixels in their triangles' projections (n, 3, 2), whose corners are
    so many times larger (n, 3) as things at the model's origin."""
    (x0, y0), (x1, y1), (x2, y2) = (c.unbind(dim=1) for c in corners.unbind(dim=1))
    dx, dy = x - x0, y - y0
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    # Front faces have a negative area; edge-on ones get the least area with a useful derivative.
    area = area.clamp(max=-MIN_DOUBLE_AREA)
    b1 = (dx * (y2 - y0) - dy * (x2 - x0)) / area
    b2 = (dy * (x1 - x0) - dx * (y1 - y0)) / area
    share = torch.stack([1 - b1 - b2, b1, b2], dim=1) * nearer
    return share / share.sum(dim=1, keepdim=True)
