"""A face: everything that is fitted, in one record."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from faceinv.errors import InputError
from faceinv.face.arrays import combined
from faceinv.face.camera import Camera
from faceinv.face.lighting import pack_lighting

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.layout import ParameterLayout
    from faceinv.face.model import MorphableModel

__all__ = ["Face"]


@dataclass(frozen=True, eq=False)
class Face:
    """A face of a model, as seen by a camera under a light. `dataclasses.replace` makes another pose or expression."""

    identity: NDArray[np.float64]
    """(Ki,) coefficients in standard deviations."""
    expression: NDArray[np.float64]
    """(Ke,) coefficients in standard deviations."""
    albedo: NDArray[np.float64]
    """(Ka,) coefficients in standard deviations."""
    camera: Camera
    """One camera: scale px per mm, rotation (3, 3), translation and principal point (2,) px, one over the distance."""
    lighting: NDArray[np.float64]
    """(9, 3) spherical-harmonics coefficients in the camera frame; see `faceinv.face.lighting`."""

    @classmethod
    def mean(cls, model: MorphableModel, camera: Camera, lighting: NDArray[np.float64]) -> Face:
        """A model's mean face."""
        identity, expression = np.zeros(model.identity_count), np.zeros(model.expression_count)
        return cls(identity, expression, np.zeros(model.albedo_count), camera, lighting)

    def pack(self, layout: ParameterLayout) -> NDArray[np.float64]:
        """chi (P,)."""
        chi = np.empty(layout.count)
        chi[layout.identity], chi[layout.expression], chi[layout.albedo] = self.identity, self.expression, self.albedo
        chi[layout.pose] = self.camera.pack()
        chi[layout.lighting] = pack_lighting(self.lighting)
        return chi

    @classmethod
    def unpack(cls, layout: ParameterLayout, chi: NDArray[np.float64]) -> Face:
        """The face of chi (P,)."""
        return cls(
            identity=chi[layout.identity].copy(),
            expression=chi[layout.expression].copy(),
            albedo=chi[layout.albedo].copy(),
            camera=layout.cameras(chi),
            lighting=layout.gamma(chi).copy(),
        )

    def expression_units(self, model: MorphableModel) -> dict[str, float]:
        """The model's named expressions, 0 at rest and 1 at full strength, not clipped; nothing where it has none."""
        units = model.expression_units
        return {} if units is None else units.values(self.expression)

    def with_units(self, model: MorphableModel, **units: float) -> Face:
        """The same face with the expression that named units make, such as `jawOpen=0.5`; those not named are 0.

        Raises:
            InputError: when the model has no named units, lacks one of these, or a value is no number.
        """
        if model.expression_units is None:
            raise InputError(f"the model '{model.name}' has no named expression units; set `expression` itself.")
        return replace(self, expression=model.expression_units.coefficients(units))

    def vertices(self, model: MorphableModel) -> NDArray[np.float64]:
        """(N, 3) mm, model space."""
        return model.vertices(self.identity, self.expression)

    def vertex_albedo(self, model: MorphableModel) -> NDArray[np.float64]:
        """(N, 3) reflectance in the model's albedo space, not clipped."""
        return model.mean_albedo + combined(model.albedo_basis, self.albedo)
