"""How kernels are compiled: cached on disk, divisions as IEEE has them, sums in the order they are written.

Kernels read records (named tuples of arrays), but what they write are arguments of their own: Numba takes a write to an
array that it finds in a record for one that nobody will read, and leaves it out.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from faceinv.backends.numpy_numba.kernel_cache import compiled

__all__ = ["kernel", "parallel_kernel"]


def _kernel(function: Any = None, **options: Any) -> Any:
    if function is None:
        return partial(_kernel, **options)
    # Numba's own error model looks at every divisor, which costs compile time and keeps loops from being vectorised.
    # Without Python's lock, so that several threads fit at the same time.
    return compiled(function, error_model="numpy", nogil=True, **options)


# To mypy kernels are functions of anything: by Numba's own types they could not be called.
kernel: Any = _kernel
"""A serial kernel."""
parallel_kernel: Any = partial(kernel, parallel=True)
"""One whose `prange` loops are shared among threads. Their bodies index single elements and never slice: Numba then
tells LLVM that the arrays do not overlap, and inner loops over several arrays vectorise."""
