"""`ArrayOps` in plain NumPy: what each operation means, for the libraries' own to be held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from faceinv.engine.local_autodiff.ops import ArrayOps, Kind

__all__ = ["NumpyOps"]

_STEP = 1e-6


class NumpyOps(ArrayOps):
    """One line each, as the docstrings of `ArrayOps` read; derivatives by central differences."""

    def upload(self, host: Any, kind: Kind) -> Any:
        return np.array(host, kind)

    def download(self, array: Any) -> Any:
        return array.copy()

    def cast(self, array: Any, kind: Kind) -> Any:
        return array.astype(kind)

    def arange(self, start: int, stop: int) -> Any:
        return np.arange(start, stop, dtype=np.int64)

    def full(self, shape: tuple[int, ...], value: float, kind: Kind) -> Any:
        return np.full(shape, value, kind)

    def take(self, table: Any, index: Any) -> Any:
        return table[index]

    def stack(self, arrays: Sequence[Any], axis: int) -> Any:
        return np.stack(arrays, axis)

    def concatenate(self, arrays: Sequence[Any], axis: int) -> Any:
        return np.concatenate(arrays, axis)

    def transpose(self, matrix: Any) -> Any:
        return np.ascontiguousarray(matrix.T)

    def flag(self, condition: Any) -> Any:
        return condition

    def where(self, condition: Any, yes: Any, no: Any) -> Any:
        condition = condition.reshape(condition.shape + (1,) * (yes.ndim - condition.ndim))
        return np.where(condition, yes, np.asarray(no, yes.dtype))

    def at_least(self, array: Any, bound: float) -> Any:
        return np.maximum(array, np.asarray(bound, array.dtype))

    def at_most(self, array: Any, bound: float) -> Any:
        return np.minimum(array, np.asarray(bound, array.dtype))

    def absolute(self, array: Any) -> Any:
        return np.abs(array)

    def smaller(self, first: Any, second: Any) -> Any:
        return np.minimum(first, second)

    def floor(self, array: Any) -> Any:
        return np.floor(array)

    def sqrt(self, array: Any) -> Any:
        return np.sqrt(array)

    def log(self, array: Any) -> Any:
        return np.log(array)

    def sums(self, array: Any) -> Any:
        return array.astype(np.float64).reshape(len(array), -1).sum(axis=1)

    def bordered(self, array: Any) -> Any:
        return np.pad(array, ((0, 0), (1, 1), (1, 1)))

    def nonzero(self, condition: Any) -> Any:
        places = np.flatnonzero(condition)
        return places if places.size else None

    def running_sum(self, array: Any) -> Any:
        return np.cumsum(array)

    def last_at_most(self, ascending: Any, values: Any) -> Any:
        return np.array([np.flatnonzero(ascending <= value)[-1] for value in values])

    def scatter_max(self, target: Any, index: Any, values: Any) -> Any:
        raised = target.copy()
        for place, value in zip(index, values, strict=True):
            raised[place] = max(raised[place], value)
        return raised

    def sparse_rows(self, start: Any, index: Any, columns: int) -> Any:
        assert index.size == 0 or index.max() < columns
        return start, index

    def combine(self, pattern: Any, weight: Any, table: Any) -> Any:
        start, index = pattern
        rows = np.zeros((len(start) - 1, table.shape[1]), table.dtype)
        for row in range(len(rows)):
            for entry in range(start[row], start[row + 1]):
                rows[row] += weight[entry] * table[index[entry]]
        return rows

    def blend(self, index: Any, weight: Any, table: Any) -> Any:
        return (weight[:, :, None] * table[index]).sum(axis=1)

    def multiply(self, matrix: Any, other: Any) -> Any:
        return matrix @ other

    def multiply_transposed(self, left: Any, right: Any) -> Any:
        return left.T @ right

    def multiply_each(self, left: Any, right: Any) -> Any:
        return left @ right

    def gram(self, matrix: Any) -> Any:
        return matrix.T @ matrix

    def differentiate(self, function: Callable[[Sequence[Any]], Any], inputs: Sequence[Any]) -> tuple[Any, list[Any]]:
        def moved(place: int, step: float) -> Any:
            return function([x + step if k == place else x for k, x in enumerate(inputs)])

        slopes = [(moved(k, _STEP) - moved(k, -_STEP)) / (2 * _STEP) for k in range(len(inputs))]
        return function(inputs), slopes
