"""Small problems of fine detail for engines: two skewed, bumpy patches of one size, with holes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from faceinv.engine.detail import DetailProblem, DetailWeights

__all__ = ["displacement", "patches"]

_WEIGHTS = DetailWeights(0.005, 0.004, 0.0015, 0.01, 0.03, 0.05, 0.03)


def patches(height: int = 21, width: int = 18, **weights: float) -> DetailProblem:
    """Two items, seen in perspective and not; `weights` replace fields of the default `DetailWeights`."""
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:height, :width]
    normal = np.empty((2, height, width, 3))
    for item, phase in enumerate((0.0, 1.0)):
        nx, ny = 0.5 * np.sin(0.2 * x + phase) + 0.1, 0.4 * np.cos(0.17 * y + phase)
        normal[item] = np.stack([nx, ny, np.ones_like(nx)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = np.zeros((2, height, width), np.bool_)
    mask[0, 2:-1, 1:-2], mask[1, 1:-3, 3:-1] = True, True
    mask[0, 6:9, 5:9], mask[1, 12, :9] = False, False
    lighting = rng.normal(0, 0.25, (2, 9, 3))
    lighting[:, 0] += 2.5
    noisy = rng.normal(0, 0.1, (2, height, width, 3))
    square = rng.normal(size=(2, 3, 3))
    return DetailProblem(
        target=(1 + noisy).astype(np.float32),
        gain=rng.uniform(0.7, 1.1, (2, height, width, 3)).astype(np.float32),
        normal=normal.astype(np.float32),
        weight=rng.uniform(0, 1, (2, height, width)).astype(np.float32),
        mask=mask,
        lighting=lighting,
        metric=np.eye(3) / 3 + 0.1 * square @ np.swapaxes(square, 1, 2),
        pixel=np.array([0.4, 0.7]),
        principal_point=np.array([[40.0, -20.0], [0.0, 0.0]]),
        inverse_focal=np.array([1 / 90, 0.0]),
        weights=replace(_WEIGHTS, **weights),
    )


def displacement(problem: DetailProblem, size: float = 0.1, seed: int = 1) -> np.ndarray:
    """(B, H + 1, W + 1) mm of noise with some smoothness, zero at corners that do not count."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(0, size, problem.corners.shape)
    noise[:, 1:] += noise[:, :-1]
    return np.where(problem.corners, noise, 0.0)
