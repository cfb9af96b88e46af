"""Where the numbers of a pixel lie in its record, which `local_rows` fills and the assembly reads, and in its pulls.

For red, green and blue `LANES` numbers each: `q` of the three corners (R each, R = 4 or 5) and zeros up to `SHARES`;
`h b` of the three corners; zeros. Then the nine of Y, the three `rho`, and zeros.

Pulls: how much the three corners weigh; what they share of J^T r by their three rows for the screen, by their normals
(camera frame), and by their albedo. For flat normals that of the normals is one of the triangle's, unnormalised.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "HARMONICS",
    "LANES",
    "LIGHTS",
    "LIGHT_LANES",
    "PULL",
    "PULL_ALBEDO",
    "PULL_NORMAL",
    "PULL_SCREEN",
    "RECORD",
    "RHO",
    "SHARES",
]

LIGHTS: Final = 9
"""Lighting coefficients of a channel."""
LANES: Final = 24
"""Numbers of a channel: a loop over them is a few vector instructions."""
SHARES: Final = 15
LIGHT_LANES: Final = 16
"""The same of what lies from `HARMONICS` on."""
HARMONICS: Final = 3 * LANES
RHO: Final = HARMONICS + LIGHTS
RECORD: Final = 3 * LANES + LIGHT_LANES
PULL_SCREEN: Final = 3
PULL_NORMAL: Final = 6
PULL_ALBEDO: Final = 9
PULL: Final = 12
