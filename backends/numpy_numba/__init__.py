"""NumPy and Numba on the CPU: fused, parallel kernels with analytic derivatives."""

from faceinv.backends.numpy_numba.engine import build
from faceinv.engine.compiling import announce_compiling

__all__ = ["build"]

announce_compiling(__name__)
