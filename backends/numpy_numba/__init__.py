"""NumPy and Numba on the CPU: fused, parallel kernels with analytic derivatives."""

from faceinv.backends.numpy_numba.engine import build

__all__ = ["build"]
