"""A detail problem at half its size, from coarse to fine."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.detail import DetailProblem

__all__ = ["coarsened", "pyramid", "stacked"]


def stacked(problems: Sequence[DetailProblem]) -> DetailProblem:
    """Problems of one formulation as items of one, the smaller ones with nothing at their right and lower sides."""
    if len(problems) == 1:
        return problems[0]
    height, width = (max(problem.size[axis] for problem in problems) for axis in (0, 1))
    fields: dict[str, NDArray[Any]] = {}
    for name in ("target", "gain", "normal", "weight", "mask"):
        parts = [getattr(problem, name) for problem in problems]
        count = sum(len(part) for part in parts)
        whole = np.zeros((count, height, width, *parts[0].shape[3:]), parts[0].dtype)
        first = 0
        for part in parts:
            whole[first : first + len(part), : part.shape[1], : part.shape[2]] = part
            first += len(part)
        fields[name] = whole
    for name in ("lighting", "metric", "pixel", "principal_point", "inverse_focal"):
        fields[name] = np.concatenate([getattr(problem, name) for problem in problems])
    return replace(problems[0], **fields)  # type: ignore[arg-type]


def pyramid(problem: DetailProblem, levels: int) -> list[DetailProblem]:
    """The problem at `levels` sizes, each twice the one before, the given one last."""
    result = [problem]
    for _ in range(levels - 1):
        result.append(coarsened(result[-1]))
    return result[::-1]


def coarsened(problem: DetailProblem) -> DetailProblem:
    """Means of blocks of 2 x 2 pixels over those of the mask; blocks of which half is in the mask are in it."""
    inside = problem.mask.astype(np.float32)
    number = _blocks(inside)
    mask = number >= 2
    mask[:, [0, -1]] = mask[:, :, [0, -1]] = False
    share = 1 / np.maximum(number, 1)

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        factor, weight = (share, inside) if values.ndim == 3 else (share[..., None], inside[..., None])
        averaged: NDArray[np.float32] = _blocks(values * weight) * factor
        return averaged

    normal = mean(problem.normal)
    length = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = np.where(length > 1e-6, normal / np.maximum(length, 1e-6), np.array([0, 0, 1], np.float32))
    return replace(
        problem,
        target=mean(problem.target),
        gain=mean(problem.gain),
        normal=normal.astype(np.float32),
        weight=mean(problem.weight),
        mask=mask,
        pixel=2 * problem.pixel,
        principal_point=(problem.principal_point - 0.5) / 2,
        inverse_focal=2 * problem.inverse_focal,
    )


def _blocks(values: NDArray[Any]) -> NDArray[Any]:
    """Sums over blocks of 2 x 2 pixels of (B, H, W, ...); an odd last row or column is left out."""
    height, width = values.shape[1] // 2 * 2, values.shape[2] // 2 * 2
    rows = values[:, 0:height:2] + values[:, 1:height:2]
    blocks: NDArray[Any] = rows[:, :, 0:width:2] + rows[:, :, 1:width:2]
    return blocks
