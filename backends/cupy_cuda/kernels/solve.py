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
    (BATCH, PARAMETERS, whole_number("free_count", "n: entries of chi that may move")),
    (
        reads("free", INT, ("free_count",), "which"),
        reads("hessian", DOUBLE, ("batch", "parameters", "parameters")),
        reads("gradient", DOUBLE, ("batch", "parameters")),
        reads("damping", DOUBLE, ("batch",)),
        writes(
            "factor",
            DOUBLE,
            ("batch", "free_count", Size("free_count", plus=1)),
            "workspace: L transposed, then the right-hand side",
        ),
        writes("scale", DOUBLE, ("batch", "free_count"), "workspace"),
        writes("step", DOUBLE, ("batch", Size("parameters", plus=REPORT)), "zeros on entry; left where not solved"),
    ),
)

FILE: Final = kernel_file(_SOLVE_STEP, exact=False)


def solve_step(device: Device, hessian: Array, gradient: Array, damping: Array, free: Array, step: Array) -> None:
    """Fill step (b, P + REPORT), zeros before: the step, and what REPORT names.

    Args:
        device: where.
        hessian: (b, P, P).
        gradient: (b, P).
        damping: (b,).
        free: (n,) int32 entries of chi that may move, ascending; at least one.
        step: filled.
    """
    (items, count), free_count = gradient.shape, len(free)
    device.launch(
        _SOLVE_STEP,
        (items, 1, 1),
        min(_THREADS, max(64, 32 * blocks(free_count + 1, 32))),
        batch=items,
        parameters=count,
        free_count=free_count,
        free=free,
        hessian=hessian,
        gradient=gradient,
        damping=damping,
        factor=device.empty((items, free_count, free_count + 1), np.float64),
        scale=device.empty((items, free_count), np.float64),
        step=step,
    )
