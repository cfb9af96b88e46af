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
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    batch, count = gradient.shape
    delta = np.zeros((batch, count))
    decrease, norm, solved = np.zeros(batch), np.full(batch, np.inf), np.zeros(batch, np.bool_)
    masks = np.broadcast_to(free, (batch, count))
    for item in range(batch):
        index = np.flatnonzero(masks[item])
        g = gradient[item, index]
        h = hessian[item][np.ix_(index, index)]
        if not (np.isfinite(g).all() and np.isfinite(h).all()):
            continue
        # One relative unit for all entries, so that pixels, radians and standard deviations damp alike.
        diagonal = np.diagonal(h)
        scale = np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max(initial=0.0)), 1e-300)))
        scaled = h / np.outer(scale, scale)
        scaled[np.diag_indices_from(scaled)] += damping[item] + 1e-12
        norm[item] = np.abs(g / scale).max(initial=0.0)
        try:
            step = -cho_solve(cho_factor(scaled, lower=True), g / scale) / scale
        except LinAlgError:
            continue
        if not np.isfinite(step).all():
            continue
        delta[item, index] = step
        decrease[item] = -(2 * g @ step + step @ (h @ step))
        solved[item] = True
    return Step(delta, decrease, norm, solved)
