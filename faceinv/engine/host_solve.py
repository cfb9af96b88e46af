"""Damped steps by Cholesky on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.records import Step

if TYPE_CHECKING:
    from numpy.typing import NDArray


__all__ = ["solve_on_host"]


@one_blas_thread()
def solve_on_host(
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    damping: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> Step:
    """Levenberg-Marquardt steps for a batch by float64 Cholesky, with Marquardt's scaling by the diagonal of H.

    Args:
        gradient: (B, P).
        hessian: (B, P, P).
        damping: (B,).
        free: (B, P), or (P,) for all items: entries that may move.
    """
    from scipy.linalg.lapack import dpotrf, dpotrs

    batch, count = gradient.shape
    delta = np.zeros((batch, count))
    decrease, norm, solved = np.zeros(batch), np.full(batch, np.inf), np.zeros(batch, np.bool_)
    masks = np.broadcast_to(free, (batch, count))
    for item in range(batch):
        index = np.flatnonzero(masks[item])
        if not len(index):  # LAPACK wants an unknown
            norm[item], solved[item] = 0.0, True
            continue
        g = gradient[item, index]
        h = hessian[item].take(index, axis=0).take(index, axis=1)
        if not (np.isfinite(g).all() and np.isfinite(h).all()):
            continue
        # One relative unit for all entries, so that pixels, radians and standard deviations damp alike.
        diagonal = np.diagonal(h)
        inverse = 1 / np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max(initial=0.0)), 1e-300)))
        g, damped = g * inverse, float(damping[item]) + 1e-12
        h *= inverse
        h *= inverse[:, None]
        h.reshape(-1)[:: len(index) + 1] += damped
        norm[item] = np.abs(g).max(initial=0.0)
        # The transpose, which is the same matrix, is laid out as LAPACK wants it.
        factor, failed = dpotrf(h.T, lower=1, clean=0, overwrite_a=1)
        if failed:
            continue
        step = -dpotrs(factor, g, lower=1)[0]
        if not np.isfinite(step).all():
            continue
        delta[item, index] = step * inverse
        decrease[item] = damped * (step @ step) - g @ step  # which is -(2 g.d + d.H.d) as (H + damped) d = -g
        solved[item] = True
    return Step(delta, decrease, norm, solved)
