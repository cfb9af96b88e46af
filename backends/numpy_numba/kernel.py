"""How kernels are compiled: cached on disk, divisions as IEEE has them, sums in the order they are written.

Kernels read records (named tuples of arrays), but what they write are arguments of their own: Numba takes a write to an
array that it finds in a record for one that nobody will read, and leaves it out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from numba import njit

__all__ = ["kernel", "parallel_kernel"]

# To mypy kernels are functions of anything: by Numba's own types they could not be called.
# Numba's own error model looks at every divisor, which costs compile time and keeps loops from being vectorised.
kernel: Any = partial(njit, cache=True, error_model="numpy")
"""A serial kernel."""
parallel_kernel: Any = partial(kernel, parallel=True)
"""One whose `prange` loops are shared among threads. Their bodies index single elements and never slice: Numba then
tells LLVM that the arrays do not overlap, and inner loops over several arrays vectorise."""
