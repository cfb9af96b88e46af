"""Principal components that come out the same, bit for bit, on every machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from arrays import Floats, Ints

__all__ = ["mix", "positive_sign", "principal_components", "symmetric_eigen"]


def symmetric_eigen(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (n,), largest first, and eigenvectors (n, n) in columns, by Jacobi's method.

    Rotations of a round go to disjoint pairs, so a round is a few elementwise operations, whose results do not depend
    on threads, libraries or processors.
    """
    n = len(matrix)
    even = n + n % 2
    a = np.zeros((even, even))
    a[:n, :n] = matrix
    v = np.eye(even)
    players = np.arange(even)
    scale = np.abs(a).max() or 1.0
    for _ in range(30):
        off = np.abs(a - np.diag(np.diag(a))).max()
        if off <= 1e-13 * scale:
            break
        for _ in range(even - 1):
            p, q = players[: even // 2], players[even // 2 :][::-1]
            apq = a[p, q]
            some = np.abs(apq) > 1e-18 * scale
            theta = (a[q, q] - a[p, p]) / np.where(some, 2 * apq, 1.0)
            t = np.where(theta < 0, -1.0, 1.0) / (np.abs(theta) + np.sqrt(theta * theta + 1))
            t = np.where(some, t, 0.0)
            c = 1 / np.sqrt(t * t + 1)
            s = t * c
            for _ in range(2):  # rows, then columns: the matrix is symmetric
                row_p, row_q = a[p], a[q]
                a[p], a[q] = c[:, None] * row_p - s[:, None] * row_q, s[:, None] * row_p + c[:, None] * row_q
                a = np.ascontiguousarray(a.T)
            row_p, row_q = v[p], v[q]
            v[p], v[q] = c[:, None] * row_p - s[:, None] * row_q, s[:, None] * row_p + c[:, None] * row_q
            players = np.concatenate([players[:1], np.roll(players[1:], 1)])
    values = np.diag(a)[:n].copy()
    vectors = v[:n, :n].T if even == n else v[np.arange(even) != n, :n].T
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def principal_components(samples: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """Principal components of centred integer samples.

    Args:
        samples: (n, d) integers, so that their products sum exactly in any order.
        weights: (n,) weights of the samples, summing to 1.

    Returns:
        Variances (n,), largest first, and mixtures (n, n): column k mixes the samples into component k, times its
        standard deviation.
    """
    root = np.sqrt(weights)
    exact = samples.astype(np.float64)
    if (exact**2).sum(axis=1).max() >= 2.0**53:
        raise ValueError("the samples are too large for exact sums")
    # Sums of integers below 2**53: exact, so the order in which a library adds them does not matter.
    gram = (exact @ exact.T) * root[:, None] * root[None, :]
    values, vectors = symmetric_eigen(gram)
    return np.maximum(values, 0.0), root[:, None] * vectors


def mix(samples: Floats, mixtures: Floats) -> Floats:
    """`samples.T @ mixtures` for (n, d) and (n, K), summed in the order of the samples: (d, K)."""
    total = np.zeros((samples.shape[1], mixtures.shape[1]))
    for sample, parts in zip(samples, mixtures, strict=True):
        total += sample[:, None] * parts[None, :]
    return total


def positive_sign(modes: Floats) -> Floats:
    """Modes (..., K) turned so that each one's entry of largest size is positive."""
    flat = np.round(modes.reshape(-1, modes.shape[-1]), 9)
    largest = flat[np.abs(flat).argmax(axis=0), np.arange(flat.shape[1])]
    turned: Floats = modes * np.where(largest < 0, -1.0, 1.0)
    return turned
