# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""Kernel: BLAS inside kernels, so that the threads which make rows multiply them, too.

With threads of its own BLAS would fight with Numba's for the cores (see `faceinv.engine.blas`), and left to one thread
a product would keep the others waiting. SciPy lends its BLAS to compiled code (`scipy.linalg.cython_blas`); kernels
know the two routines by name, so that they can be kept on disk.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from numba import types
from numba.extending import get_cython_function_address, overload

from faceinv.backends.numpy_numba.kernel import kernel

__all__ = ["add_squares"]

_SIGNATURE = types.void(*[types.intp] * 10)
_ROUTINES = {}
for _real, _name in ((types.float32, "ssyrk"), (types.float64, "dsyrk")):
    llvm.add_symbol(f"faceinv_{_name}", get_cython_function_address("scipy.linalg.cython_blas", _name))
    _ROUTINES[_real] = types.ExternalFunction(f"faceinv_{_name}", _SIGNATURE)


def _syrk(letters, sizes, factors, rows, squares):
    """`*syrk` for arrays of the type of `factors`, all given by where they are in memory but this."""
    raise NotImplementedError


@overload(_syrk)
def _syrk_of(letters, sizes, factors, rows, squares):
    routine = _ROUTINES[factors.dtype]

    def call(letters, sizes, factors, rows, squares):
        letter, size, factor = letters.ctypes.data, sizes.ctypes.data, factors.ctypes.data
        step = factors.itemsize
        routine(letter, letter + 1, size, size + 4, factor, rows, size + 8, factor + step, squares, size + 8)

    return call


@kernel
def add_squares(rows, channel, first, stop, columns, squares, lane, fresh, letters, sizes, factors):
    """Add `R^T R` to squares[lane, channel] (W, W), where R is the first columns of rows[channel, first:stop] (W
    columns in memory): its lower triangle, the rest is left. With `fresh` what is there before does not count.

    letters (2,) uint8, sizes (3,) int32 and factors (2,) of the type of the rows are scratch.
    """
    letters[0], letters[1] = 85, 78  # U and N: as Fortran has it, where rows are columns
    sizes[0], sizes[1], sizes[2] = columns, stop - first, rows.shape[2]
    factors[0], factors[1] = 1.0, 0.0 if fresh else 1.0
    row_at = rows.ctypes.data + rows.itemsize * rows.shape[2] * (rows.shape[1] * channel + first)
    square_at = squares.shape[3] * squares.shape[2] * (squares.shape[1] * lane + channel)
    _syrk(letters, sizes, factors, row_at, squares.ctypes.data + squares.itemsize * square_at)
