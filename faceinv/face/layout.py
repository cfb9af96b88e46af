"""The unknowns: how chi is laid out, and how a step moves it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from faceinv.face.camera import Camera
from faceinv.face.lighting import LIGHTING_COUNT, SH_COUNT, unpack_lighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["ParameterLayout"]


@dataclass(frozen=True)
class ParameterLayout:
    """chi = [identity | expression | albedo | camera | lighting], float64, length P.

    The camera's part is `Camera.pack`, the lighting's `pack_lighting`. `Face.pack` fills a chi.
    """

    identity_count: int
    """Ki."""
    expression_count: int
    """Ke."""
    albedo_count: int
    """Ka."""
    camera: type[Camera] = Camera
    """The kind of camera."""

    @classmethod
    def of(cls, model: MorphableModel) -> ParameterLayout:
        """The layout for a model."""
        return cls(model.identity_count, model.expression_count, model.albedo_count)

    @cached_property
    def count(self) -> int:
        """P."""
        stop: int = self.lighting.stop
        return stop

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
        """Where the camera's parameters are."""
        return slice(self.albedo.stop, self.albedo.stop + self.camera.PARAMETER_COUNT)

    @cached_property
    def rotation(self) -> slice:
        """Where the camera's axis-angle vector is."""
        part = self.camera.ROTATION
        return slice(self.pose.start + part.start, self.pose.start + part.stop)

    @cached_property
    def inverse_focal(self) -> int:
        """Where one over the camera's focal length is."""
        place: int = self.pose.start + self.camera.INVERSE_FOCAL
        return place

    @cached_property
    def principal_point(self) -> slice:
        """Where the camera's principal point is, which is never an unknown."""
        part = self.camera.PRINCIPAL_POINT
        return slice(self.pose.start + part.start, self.pose.start + part.stop)

    @cached_property
    def lighting(self) -> slice:
        """gamma, channel after channel."""
        return slice(self.pose.stop, self.pose.stop + LIGHTING_COUNT)

    @cached_property
    def ambient(self) -> slice:
        """The constant coefficient of each channel's lighting."""
        return slice(self.lighting.start, self.lighting.stop, SH_COUNT)

    @cached_property
    def unknowns(self) -> NDArray[np.bool_]:
        """(P,) false for the camera's principal point, by which nothing is differentiated."""
        return ~self.mask(self.principal_point)

    def mask(self, *parts: slice) -> NDArray[np.bool_]:
        """(P,) true for the entries of the given parts."""
        chosen = np.zeros(self.count, np.bool_)
        for part in parts:
            chosen[part] = True
        return chosen

    def cameras(self, chi: NDArray[np.float64]) -> Camera:
        """The cameras of chi (..., P)."""
        return self.camera.unpack(chi[..., self.pose])

    def gamma(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lighting of chi (..., P): (..., 9, 3)."""
        return unpack_lighting(chi[..., self.lighting])

    def retract(self, chi: NDArray[np.float64], step: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move chi (B, P) by a tangent step (B, P): addition everywhere but for the camera."""
        moved = chi + step
        moved[:, self.pose] = self.camera.retract(chi[:, self.pose], step[:, self.pose])
        return moved
