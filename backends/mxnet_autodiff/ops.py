"""The shared part's array operations, by MXNet.

Traps of MXNet 1.9.1 that shape this module, each with a test:
- writing to duplicate indices keeps any one of the values, so `scatter_max` writes until nothing is left to raise, and
  sums go through sparse products, never through `scatter_nd`;
- a second backward pass through a first gives zeros in silence, so derivatives are of first order, by one pass;
- indices in float32, the default, are wrong above 2^24, so every index here is an integer;
- operations run later than they are called, and an error shows only when a value is fetched: `download` reports it;
- a sparse matrix may not have 2^31 elements, zeros counted, so large ones are multiplied in chunks of rows;
- arrays without elements are not allowed, so `nonzero` answers None.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.local_autodiff.ops import ArrayOps
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, Kind

__all__ = ["MxnetOps"]

_LARGEST: Final = 2**31 - 2


@dataclass(frozen=True)
class _Chunk:
    """Some rows of a sparse matrix."""

    entries: slice
    start: Array
    index: Array
    columns: int


class MxnetOps(ArrayOps):
    """NDArrays in one context."""

    def __init__(self, mxnet: Any, context: Any) -> None:
        self.mx = mxnet
        self.nd = mxnet.nd
        self.context = context

    def upload(self, host: NDArray[Any], kind: Kind) -> Array:
        """See `ArrayOps.upload`."""
        # Not `nd.array`, which asks SciPy for a name that it deprecates.
        return self.nd.ndarray.array(host, ctx=self.context, dtype=kind)

    def download(self, array: Array) -> NDArray[Any]:
        """See `ArrayOps.download`.

        Raises:
            BackendError: when an operation that led here has failed; MXNet says so only now.
        """
        try:
            result: NDArray[Any] = array.asnumpy()
        except self.mx.base.MXNetError as error:
            lines = [line for line in str(error).splitlines() if "Error" in line] or str(error).splitlines()
            raise BackendError(f"MXNet failed in an earlier operation: {lines[-1].strip()}") from error
        return result

    def cast(self, array: Array, kind: Kind) -> Array:
        """See `ArrayOps.cast`."""
        # Not `astype`, which makes an array first and then copies.
        return array if array.dtype == np.dtype(kind) else self.nd.cast(array, dtype=kind)

    def arange(self, start: int, stop: int) -> Array:
        """See `ArrayOps.arange`."""
        return self.nd.arange(start, stop, ctx=self.context, dtype="int64")

    def full(self, shape: tuple[int, ...], value: float, kind: Kind) -> Array:
        """See `ArrayOps.full`."""
        # Not `nd.full`, which makes an array first and then sets it, by slower ways.
        return self.nd._internal._full(shape=shape, value=value, ctx=self.context, dtype=kind)

    def take(self, table: Array, index: Array) -> Array:
        """See `ArrayOps.take`."""
        return self.nd.take(table, index, axis=0)

    def stack(self, arrays: Sequence[Array], axis: int) -> Array:
        """See `ArrayOps.stack`."""
        return self.nd.stack(*arrays, axis=axis)

    def concatenate(self, arrays: Sequence[Array], axis: int) -> Array:
        """See `ArrayOps.concatenate`."""
        if axis == 0:
            return self.nd.concat(*arrays, dim=0)
        # Eight times faster than `concat`, which runs on one thread here.
        shape = list(arrays[0].shape)
        shape[axis] = sum(array.shape[axis] for array in arrays)
        result = self.nd.empty(tuple(shape), ctx=self.context, dtype=arrays[0].dtype)
        first = 0
        for array in arrays:
            last = first + array.shape[axis]
            result[(*([slice(None)] * axis), slice(first, last))] = array
            first = last
        return result

    def transpose(self, matrix: Array) -> Array:
        """See `ArrayOps.transpose`."""
        return matrix.T

    def flag(self, condition: Array) -> Array:
        """See `ArrayOps.flag`."""
        return self.cast(condition, "int32")

    def where(self, condition: Array, yes: Array, no: Array | float) -> Array:
        """See `ArrayOps.where`."""
        if isinstance(no, int | float):
            no = self.full(yes.shape, no, np.dtype(yes.dtype).name)
        return self.nd.where(condition, yes, no)

    def at_least(self, array: Array, bound: float) -> Array:
        """See `ArrayOps.at_least`."""
        return self.nd.maximum(array, bound)

    def at_most(self, array: Array, bound: float) -> Array:
        """See `ArrayOps.at_most`."""
        return self.nd.minimum(array, bound)

    def absolute(self, array: Array) -> Array:
        """See `ArrayOps.absolute`."""
        return self.nd.abs(array)

    def smaller(self, first: Array, second: Array) -> Array:
        """See `ArrayOps.smaller`."""
        return self.nd.minimum(first, second)

    def floor(self, array: Array) -> Array:
        """See `ArrayOps.floor`."""
        return self.nd.floor(array)

    def sqrt(self, array: Array) -> Array:
        """See `ArrayOps.sqrt`."""
        return self.nd.sqrt(array)

    def log(self, array: Array) -> Array:
        """See `ArrayOps.log`."""
        return self.nd.log(array)

    def sums(self, array: Array) -> Array:
        """See `ArrayOps.sums`."""
        return self.nd.sum(array.astype("float64", copy=False).reshape((array.shape[0], -1)), axis=1)

    def bordered(self, array: Array) -> Array:
        """See `ArrayOps.bordered`."""
        width = (0, 0, 0, 0, 1, 1, 1, 1)
        return self.nd.pad(array.expand_dims(0), mode="constant", pad_width=width, constant_value=0)[0]

    def nonzero(self, condition: Array) -> Array | None:
        """See `ArrayOps.nonzero`."""
        count = condition.shape[0]
        # One more that always holds: an empty result is an error.
        mask = self.nd.concat(condition, self.full((1,), 1, "int32"), dim=0)
        places = self.nd.contrib.boolean_mask(self.arange(0, count + 1), mask)
        return places[:-1] if places.shape[0] > 1 else None

    def running_sum(self, array: Array) -> Array:
        """See `ArrayOps.running_sum`."""
        return self.nd.cumsum(array, axis=0)

    def last_at_most(self, ascending: Array, values: Array) -> Array:
        """See `ArrayOps.last_at_most`."""
        first, last = values[:1], values[-1:]
        before = self.flag(self.nd.broadcast_lesser_equal(ascending, first))
        within = (1 - before) * self.flag(self.nd.broadcast_lesser_equal(ascending, last))
        # int64 sums: one mark for each entry passed, from the entry that holds at the first value.
        base = self.nd.sum(before.astype("int64")) - 1
        steps = self.nd.zeros(values.shape, ctx=self.context, dtype="int64")
        chosen = self.nonzero(within)
        if chosen is not None:
            place = self.nd.broadcast_sub(self.take(ascending, chosen), first)
            steps = self._write(steps, place, self.nd.ones(place.shape, ctx=self.context, dtype="int64"))
        return self.nd.broadcast_add(self.running_sum(steps), base.astype("int64"))

    def scatter_max(self, target: Array, index: Array, values: Array) -> Array:
        """See `ArrayOps.scatter_max`."""
        target = target.copy()
        while True:
            higher = self.nonzero(self.flag(values > self.take(target, index)))
            if higher is None:
                return target
            index, values = self.take(index, higher), self.take(values, higher)
            # Of several values for one place any may stay; the rest have another turn.
            self._write(target, index, values)

    def sparse_rows(self, start: NDArray[np.int64], index: NDArray[np.int64], columns: int) -> list[_Chunk]:
        """See `ArrayOps.sparse_rows`."""
        chunks, rows = [], max(1, _LARGEST // columns)
        for first in range(0, len(start) - 1, rows):
            part = start[first : first + rows + 1]
            entries = slice(int(part[0]), int(part[-1]))
            chunks.append(
                _Chunk(entries, self.upload(part - part[0], "int64"), self.upload(index[entries], "int64"), columns)
            )
        return chunks

    def combine(self, pattern: list[_Chunk], weight: Array, table: Array) -> Array:
        """See `ArrayOps.combine`."""
        parts = []
        for chunk in pattern:
            values = weight if len(pattern) == 1 else weight[chunk.entries]
            parts.append(self._product(values, chunk.index, chunk.start, chunk.columns, table))
        return parts[0] if len(parts) == 1 else self.nd.concat(*parts, dim=0)

    def blend(self, index: Array, weight: Array, table: Array) -> Array:
        """See `ArrayOps.blend`."""
        start = self.arange(0, index.shape[0] + 1) * 3
        return self._product(weight.reshape((-1,)), index.reshape((-1,)), start, table.shape[0], table)

    def multiply(self, matrix: Array, other: Array) -> Array:
        """See `ArrayOps.multiply`."""
        return self.nd.dot(matrix, other)

    def multiply_transposed(self, left: Array, right: Array) -> Array:
        """See `ArrayOps.multiply_transposed`."""
        if len(right.shape) == 1:  # as a matrix it is faster
            return self.nd.dot(left, right.reshape((-1, 1)), transpose_a=True).reshape((-1,))
        return self.nd.dot(left, right, transpose_a=True)

    def multiply_each(self, left: Array, right: Array) -> Array:
        """See `ArrayOps.multiply_each`."""
        return self.nd.batch_dot(left, right)

    def gram(self, matrix: Array) -> Array:
        """See `ArrayOps.gram`."""
        return self.nd.linalg_syrk(matrix, transpose=True)

    def differentiate(
        self, function: Callable[[Sequence[Array]], Array], inputs: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """See `ArrayOps.differentiate`."""
        autograd, leaves = self.mx.autograd, list(inputs)
        for leaf in leaves:
            leaf.attach_grad()
        with autograd.record():
            value = function(leaves)
        # Without head gradients the seed is ones.
        return value.detach(), autograd.grad(value, leaves)

    def _product(self, values: Array, index: Array, start: Array, columns: int, table: Array) -> Array:
        shape = (start.shape[0] - 1, columns)
        matrix = self.nd.sparse.csr_matrix((values, index, start), shape=shape, ctx=self.context, dtype=values.dtype)
        return self.nd.sparse.dot(matrix, table)

    def _write(self, target: Array, index: Array, values: Array) -> Array:
        """target[index] = values, in place."""
        place = index.reshape((1, -1))
        return self.nd._internal._scatter_set_nd(lhs=target, rhs=values, indices=place, shape=target.shape, out=target)
