"""Expression: the facial units and their standard deviations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from sources import MILLIMETRES

if TYPE_CHECKING:
    from arrays import Floats
    from mesh import Mesh
    from sources import Sources

__all__ = ["expression_modes"]

STANDARD_DEVIATION: Final[dict[str, float]] = {
    "brow": 0.40,
    "cheekPuff": 0.33,
    "cheekSquint": 0.40,
    "eyeBlink": 0.37,
    "eyeLook": 0.40,
    "eyeSquint": 0.40,
    "eyeWide": 0.40,
    "jawForward": 0.33,
    "jawLeft": 0.33,
    "jawRight": 0.33,
    "jawOpen": 0.33,
    "mouthClose": 0.10,
    "mouthFunnel": 0.33,
    "mouthPucker": 0.33,
    "mouthRoll": 0.33,
    "mouthSmile": 0.40,
    "mouth": 0.36,
    "noseSneer": 0.40,
}
"""Standard deviation of each unit's activation, by the longest matching beginning of its name: a full unit (1) is 2.5
to 3 standard deviations. Units are one-sided (0 to 1) while the prior is a Gaussian about neutral. `mouthClose` undoes
the lips' part of `jawOpen` and alone pushes one lip through the other, hence its small share."""


def expression_modes(sources: Sources, mesh: Mesh) -> tuple[Floats, tuple[str, ...]]:
    """(M, 3, 51) mm per standard deviation, and the units' names. Left and right units mirror each other exactly."""
    names = tuple(name for name in sorted(sources.units) if name != "tongueOut")
    columns = []
    for name in names:
        twin = name
        for one, other in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(one):
                twin = name.removesuffix(one) + other
        offset, reflected = sources.units[name], sources.units[twin][sources.mirror] * np.array([-1.0, 1.0, 1.0])
        beginning = max((word for word in STANDARD_DEVIATION if name.startswith(word)), key=len)
        columns.append(((offset + reflected) / 2)[mesh.kept] * MILLIMETRES * STANDARD_DEVIATION[beginning])
    return np.stack(columns, axis=-1), names
