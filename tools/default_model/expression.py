"""Expression: facial units, and whitened columns of them whose standard deviations say what faces do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from arrays import Floats

__all__ = ["Expression", "expression_columns"]

TOGETHER: Final[dict[str, float]] = {
    "brow": 0.30,
    "cheekPuff": 0.20,
    "cheekSquint": 0.30,
    "eyeBlink": 0.28,
    "eyeLook": 0.30,
    "eyeSquint": 0.30,
    "eyeWide": 0.30,
    "jawForward": 0.20,
    "jawLeft": 0.15,
    "jawRight": 0.15,
    "jawOpen": 0.25,
    "mouthClose": 0.075,
    "mouthFunnel": 0.25,
    "mouthLeft": 0.15,
    "mouthRight": 0.15,
    "mouthPucker": 0.25,
    "mouthRoll": 0.25,
    "mouthSmile": 0.30,
    "mouth": 0.27,
    "noseSneer": 0.30,
    "tongueOut": 0.10,
}
"""Standard deviation, as a part of a unit's full effect, of a unit without a side, and of the half that the left and
the right one have in common; by the longest matching beginning of the name. Units are one-sided (0 to 1) while the
prior is a Gaussian about neutral: a full unit is 3 to 4 standard deviations, which a wide smile or an open mouth takes.
Jaw and mouth rarely go sideways. `mouthClose` undoes the lips' part of `jawOpen` and alone pushes one lip through the
other, hence its small share."""
APART: Final = 1 / 3
"""Standard deviation of a pair's difference beside that of what both sides have in common: faces move both sides
together, but winks and crooked smiles exist."""
SIDEWAYS: Final = {"In": "Out", "Out": "In"}
"""Eyes look sideways together: while one looks in, the other looks out."""


@dataclass(frozen=True)
class Expression:
    """A whitened basis and what its coefficients mean."""

    basis: Floats
    """(C, 3, K) mm per standard deviation: what pairs have in common and units without a side, then the pairs'
    differences."""
    names: tuple[str, ...]
    """K names of columns: of a unit without a side, or of the two that a column moves alike or against each other."""
    unit_names: tuple[str, ...]
    """U names of units."""
    units: Floats
    """(U, K): the units' values, 1 the full effect, are `units @ coefficients`."""


def expression_columns(offsets: Floats, names: tuple[str, ...]) -> Expression:
    """Units, (C, 3, U) mm at full effect, as whitened columns."""
    common, differences = [], []
    for index, name in enumerate(names):
        deviation = TOGETHER[max((word for word in TOGETHER if name.startswith(word)), key=len)]
        values = np.zeros(len(names))
        values[index] = deviation
        partner = _partner(name)
        if partner not in names or name in ("jawLeft", "mouthLeft", "jawRight", "mouthRight"):
            common.append((name, values))
        elif name.endswith("Left"):
            other = np.zeros(len(names))
            other[names.index(partner)] = deviation
            common.append((f"{name} + {partner}", values + other))
            differences.append((f"{name} - {partner}", APART * (values - other)))
    columns = [*common, *differences]
    units = np.stack([values for _, values in columns], axis=1)
    return Expression(_mixed(offsets, units), tuple(name for name, _ in columns), names, units)


def _mixed(offsets: Floats, units: Floats) -> Floats:
    """`offsets @ units`, each column summed over its few units in their order."""
    columns = []
    for values in units.T:
        column = np.zeros(offsets.shape[:2])
        for unit in np.flatnonzero(values):
            column += values[unit] * offsets[..., unit]
        columns.append(column)
    return np.stack(columns, axis=-1)


def _other_side(name: str) -> str:
    """The unit of the same name on the other side; a unit without a side itself."""
    for one, other in (("Left", "Right"), ("Right", "Left")):
        if name.endswith(one):
            return name.removesuffix(one) + other
    return name


def _partner(name: str) -> str:
    """The unit of the other side that goes along with one; empty for a unit without a side."""
    twin = _other_side(name)
    if twin == name:
        return ""
    for one, other in SIDEWAYS.items():
        if name.startswith(f"eyeLook{one}"):
            return twin.replace(f"eyeLook{one}", f"eyeLook{other}")
    return twin
