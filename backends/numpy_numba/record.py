"""Where the numbers of a pixel lie in its record, which `local_rows` fills and the assembly reads.

For red, green and blue `LANES` numbers each: `q` of the three corners (R each, R = 4 or 5) and zeros up to `SHARES`;
`h b` of the three corners; the residual; zeros. Then the nine of Y, the three `rho`, and zeros.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HARMONICS", "LANES", "LIGHTS", "LIGHT_LANES", "RECORD", "RESIDUAL", "RHO", "SHARES"]

LIGHTS: Final = 9
"""Lighting coefficients of a channel."""
LANES: Final = 24
"""Numbers of a channel: a loop over them is a few vector instructions."""
SHARES: Final = 15
RESIDUAL: Final = 18
LIGHT_LANES: Final = 16
"""The same of what lies from `HARMONICS` on."""
HARMONICS: Final = 3 * LANES
RHO: Final = HARMONICS + LIGHTS
RECORD: Final = 3 * LANES + LIGHT_LANES
