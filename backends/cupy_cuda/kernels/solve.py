"""Damped Gauss-Newton steps: a Cholesky factorisation for each item."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import REPORT, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import BATCH, PARAMETERS
from faceinv.backends.cupy_cuda.launch.kernel import DOUBLE, INT, Kernel, Size, reads, whole_number, writes

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.device import Array, Device

__all__ = ["FILE", "solve_step"]

_THREADS: Final = 320
"""At most: the kernel's launch bounds."""

_SOLVE_STEP: Final = Kernel(
    "solve_step",
    "solve.cu",
    (BATCH, PARAMETERS, whole_number("most_free", "the largest of free_counts")),
    (
        reads("free", INT, ("batch", "most_free"), "entries of chi that may move, ascending; an item's are the first"),
        reads("free_counts", INT, ("batch",), "n of each item"),
        reads("hessian", DOUBLE, ("batch", "parameters", "parameters")),
        reads("gradient", DOUBLE, ("batch", "parameters")),
        reads("damping", DOUBLE, ("batch",)),
        writes(
            "factor",
            DOUBLE,
            ("batch", "most_free", Size("most_free", plus=1)),
            "workspace: L transposed, then the right-hand side",
        ),
        writes("scale", DOUBLE, ("batch", "most_free"), "workspace"),
        writes("step", DOUBLE, ("batch", Size("parameters", plus=REPORT)), "zeros on entry; left where not solved"),
    ),
)

FILE: Final = kernel_file(_SOLVE_STEP, exact=False)


def solve_step(
    device: Device, hessian: Array, gradient: Array, damping: Array, free: Array, free_counts: Array, step: Array
) -> None:
    """Fill step (b, P + REPORT), zeros before: the step, and what REPORT names.

    Args:
        device: where.
        hessian: (b, P, P).
        gradient: (b, P).
        damping: (b,).
        free: (b, n) int32 entries of chi that may move, ascending, of each item the first `free_counts`; n at least 1.
        free_counts: (b,) int32.
        step: filled.
    """
    (items, count), most_free = gradient.shape, free.shape[1]
    device.launch(
        _SOLVE_STEP,
        (items, 1, 1),
        # By P, not by what is free: the order of sums, and so the bits, must not depend on the other items.
        min(_THREADS, max(64, 32 * blocks(count + 1, 32))),
        batch=items,
        parameters=count,
        most_free=most_free,
        free=free,
        free_counts=free_counts,
        hessian=hessian,
        gradient=gradient,
        damping=damping,
        factor=device.empty((items, most_free, most_free + 1), np.float64),
        scale=device.empty((items, most_free), np.float64),
        step=step,
    )
