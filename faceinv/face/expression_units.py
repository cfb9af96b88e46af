"""Named expressions, such as ARKit's blend shapes, beside the coefficients that are fitted.

A rig moves a face by named units, 0 at rest and 1 at full strength. How faces vary is told better by other numbers:
an eye seldom blinks without its twin, and no unit is at full strength on average. So a model's expression modes are
combinations of units, scaled by the standard deviations of what faces do, and this is the way back.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.errors import InputError, ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["ExpressionUnits"]


@dataclass(frozen=True, eq=False)
class ExpressionUnits:
    """U named units of a model with Ke expression modes.

    Raises:
        ModelError: when names and matrix disagree, a name comes twice, or a number is not finite.
    """

    names: tuple[str, ...]
    """U names."""
    matrix: NDArray[np.float64]
    """(U, Ke): unit values are `matrix @ expression`."""

    def __post_init__(self) -> None:
        matrix = np.asarray(self.matrix)
        if matrix.ndim != 2 or matrix.dtype.kind not in "iuf" or len(matrix) != len(self.names):
            given = f"{matrix.dtype} of shape {matrix.shape}"
            raise ModelError(f"{len(self.names)} expression units have a matrix of {given}; expected a row for each.")
        if len(set(self.names)) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ModelError(f"the expression unit '{twice}' is named twice.")
        numbers: NDArray[np.float64] = matrix.astype(np.float64)
        if not np.isfinite(numbers).all():
            raise ModelError("the matrix of expression units holds NaN or infinite values.")
        numbers.setflags(write=False)
        object.__setattr__(self, "matrix", numbers)

    def values(self, expression: NDArray[np.floating]) -> dict[str, float]:
        """The units of whitened coefficients (Ke,): 0 at rest, 1 at full strength. They are not clipped; a fit may give
        values below 0 or above 1."""
        values = self.matrix @ np.asarray(expression, np.float64)
        return dict(zip(self.names, values.tolist(), strict=True))

    def coefficients(self, values: Mapping[str, float]) -> NDArray[np.float64]:
        """The whitened coefficients (Ke,) of an expression by its units, those that are not named being 0.

        Where the model was cut down to fewer modes than units, the nearest expression it can make.

        Raises:
            InputError: for a name that is no unit, or a value that is no finite number.
        """
        wanted = np.zeros(len(self.names))
        for name, value in values.items():
            if name not in self.names:
                close = difflib.get_close_matches(name, self.names, 1)
                hint = f"did you mean '{close[0]}'?" if close else f"known are {', '.join(self.names)}."
                raise InputError(f"the model has no expression unit '{name}'; {hint}")
            try:
                wanted[self.names.index(name)] = float(value)
            except (TypeError, ValueError):
                raise InputError(f"the expression unit '{name}' is {value!r}; expected a number.") from None
        if not np.isfinite(wanted).all():
            raise InputError("expression units hold NaN or infinite values; expected numbers, 0 at rest and 1 at full.")
        return np.asarray(np.linalg.lstsq(self.matrix, wanted, rcond=None)[0], np.float64)

    def columns(self, kept: NDArray[np.integer] | NDArray[np.bool_] | slice) -> ExpressionUnits:
        """The units of a model with some of the modes only; units that no mode moves any more are left out."""
        matrix = self.matrix[:, kept]
        moved = matrix.any(axis=1)
        return ExpressionUnits(tuple(np.array(self.names, np.str_)[moved].tolist()), matrix[moved])
