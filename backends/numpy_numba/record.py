"""Where the numbers of a pixel lie in its record, which `local_rows` fills and the assembly reads.

For red, green and blue `LANES` numbers each: `q` of the three corners (R each, R = 3 or 4) and zeros up to `SHARES`;
`h b` of the three corners; the residual. Then the nine of Y, the three `rho`, and zeros.
"""

from __future__ import annotations

from typing import Final

__all__ = ["HARMONICS", "LANES", "LIGHTS", "RECORD", "RESIDUAL", "RHO", "SHARES"]

LIGHTS: Final = 9
"""Lighting coefficients of a channel."""
LANES: Final = 16
"""Numbers of a channel: what a loop over them makes of it is one or two vector instructions."""
SHARES: Final = 12
RESIDUAL: Final = 15
HARMONICS: Final = 3 * LANES
RHO: Final = HARMONICS + LIGHTS
RECORD: Final = 4 * LANES
