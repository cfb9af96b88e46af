"""How faces use the units of a rig: expression modes with standard deviations instead of units at full strength.

Left and right mostly move together, so a pair becomes its sum, which varies widely, and its difference, which varies
little. The standard deviations are those with which an ICT model recovers expressions of rendered strangers best; as
the units of other rigs are drawn to the same full strength, they serve for those too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.expression_units import ExpressionUnits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["expression_modes"]

_SUM: Final = 0.25
_DIFFERENCE: Final = 0.06
_SINGLE: Final = 0.25
_SIDEWAYS: Final = 0.15
"""Of a unit's full strength, one standard deviation: of both units of a pair moved alike, of both moved against each
other, of a unit without a twin, and of one that takes jaw or mouth to one side."""
_SUFFIXES: Final = (("_L", "_R"), ("Left", "Right"))


def expression_modes(
    basis: NDArray[np.float32], names: Sequence[str]
) -> tuple[NDArray[np.float32], tuple[str, ...], ExpressionUnits]:
    """Modes of units (N, 3, U), each at full strength: whitened modes (N, 3, U), their names, and the units.

    Pairs are told by names that end in `_L` and `_R`, or in `Left` and `Right` but for those of jaw and mouth alone.
    """
    matrix = np.zeros((len(names), len(names)))
    modes: list[str] = []
    place = {name: k for k, name in enumerate(names)}
    for k, name in enumerate(names):
        twin = _twin(name, place)
        if twin is None:
            matrix[k, len(modes)] = _SIDEWAYS if name.endswith(("Left", "Right")) else _SINGLE
            modes.append(name)
        elif place[twin] > k:
            matrix[[k, place[twin]], len(modes)] = _SUM
            matrix[[k, place[twin]], len(modes) + 1] = _DIFFERENCE, -_DIFFERENCE
            modes += [f"{name} + {twin}", f"{name} - {twin}"]
    whitened = (basis.reshape(-1, len(names)) @ matrix.astype(np.float32)).reshape(basis.shape)
    return whitened, tuple(modes), ExpressionUnits(tuple(names), matrix)


def _twin(name: str, names: dict[str, int]) -> str | None:
    """The unit that does on the other side of the face what this one does; None for one that moves both."""
    if name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        return None
    for pair in _SUFFIXES:
        for own, other in (pair, pair[::-1]):
            if name.endswith(own) and name[: -len(own)] + other in names:
                return name[: -len(own)] + other
    return None
