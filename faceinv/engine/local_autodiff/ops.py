"""The few array operations that the shared part asks of a library. Everything else is plain arithmetic on arrays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Array", "ArrayOps", "Kind"]

Array: TypeAlias = Any
"""An array of the library, on the engine's device."""
Kind: TypeAlias = Literal["float32", "float64", "int32", "int64"]


class ArrayOps(ABC):
    """Operations on arrays of one library, on one device.

    Conditions are whatever the library's comparisons give, passed through `flag` before they are multiplied (logical
    and) or selected by. Arrays are never empty, except where a method says so. Arithmetic stretches arrays as
    NumPy's does.
    """

    @abstractmethod
    def upload(self, host: NDArray[Any], kind: Kind) -> Array:
        """A copy of a host array on the device."""

    @abstractmethod
    def download(self, array: Array) -> NDArray[Any]:
        """A copy on the host: the only way there."""

    @abstractmethod
    def cast(self, array: Array, kind: Kind) -> Array:
        """The same values in another type; floats lose their fraction towards zero."""

    @abstractmethod
    def arange(self, start: int, stop: int) -> Array:
        """start, start + 1, ... stop - 1 in int64."""

    @abstractmethod
    def full(self, shape: tuple[int, ...], value: float, kind: Kind) -> Array:
        """An array filled with one value."""

    @abstractmethod
    def take(self, table: Array, index: Array) -> Array:
        """Rows of a table (M, ...) at an index of any shape: index.shape + (...)."""

    @abstractmethod
    def stack(self, arrays: Sequence[Array], axis: int) -> Array:
        """Arrays of one shape along a new axis."""

    @abstractmethod
    def concatenate(self, arrays: Sequence[Array], axis: int) -> Array:
        """Arrays along an axis they have."""

    @abstractmethod
    def transpose(self, matrix: Array) -> Array:
        """(m, k) as (k, m), each row of it in one piece of memory."""

    @abstractmethod
    def flag(self, condition: Array) -> Array:
        """A condition in the type that conditions are multiplied in."""

    @abstractmethod
    def where(self, condition: Array, yes: Array, no: Array | float) -> Array:
        """Element by element; all of one shape, or `no` a number, or a condition (n,) of rows (n, ...)."""

    @abstractmethod
    def at_least(self, array: Array, bound: float) -> Array:
        """The greater of each element and a number."""

    @abstractmethod
    def at_most(self, array: Array, bound: float) -> Array:
        """The smaller of each element and a number."""

    @abstractmethod
    def absolute(self, array: Array) -> Array:
        """Each element without its sign."""

    @abstractmethod
    def smaller(self, first: Array, second: Array) -> Array:
        """The smaller of two arrays, element by element."""

    @abstractmethod
    def floor(self, array: Array) -> Array:
        """The greatest whole number not above each element."""

    @abstractmethod
    def sqrt(self, array: Array) -> Array:
        """Square roots."""

    @abstractmethod
    def log(self, array: Array) -> Array:
        """Natural logarithms of positive elements."""

    @abstractmethod
    def sums(self, array: Array) -> Array:
        """(B,) float64: the sum of each item of floats (B, ...)."""

    @abstractmethod
    def bordered(self, array: Array) -> Array:
        """Floats (B, H, W) with a border of zeros around each picture: (B, H + 2, W + 2)."""

    @abstractmethod
    def nonzero(self, condition: Array) -> Array | None:
        """Where a condition (n,) holds, ascending, as an index; None where it holds nowhere."""

    @abstractmethod
    def running_sum(self, array: Array) -> Array:
        """Inclusive sums of an int64 array (n,)."""

    @abstractmethod
    def last_at_most(self, ascending: Array, values: Array) -> Array:
        """For each of `values` (m,), consecutive int64, the last place in `ascending` (n,) not exceeding it.

        `ascending` increases strictly and starts at or below the first value.
        """

    @abstractmethod
    def scatter_max(self, target: Array, index: Array, values: Array) -> Array:
        """`target` (M,) int64 raised to the greatest of the values (n,) sent to each place."""

    @abstractmethod
    def sparse_rows(self, start: NDArray[np.int64], index: NDArray[np.int64], columns: int) -> Any:
        """A constant pattern for `combine`, from host arrays in compressed rows: start (R + 1,), index (nnz,)."""

    @abstractmethod
    def combine(self, pattern: Any, weight: Array, table: Array) -> Array:
        """Row r of the result (R, L) is `sum_i weight[i] * table[index[i]]` over i in [start[r], start[r + 1]).

        `pattern` comes from `sparse_rows`, whose `columns` is the number of rows of `table`.
        """

    @abstractmethod
    def blend(self, index: Array, weight: Array, table: Array) -> Array:
        """Row r of the result (n, L) is `sum_k weight[r, k] * table[index[r, k]]`, for index and weight (n, 3)."""

    @abstractmethod
    def multiply(self, matrix: Array, other: Array) -> Array:
        """matrix (m, k) times a vector (k,) or a matrix (k, l)."""

    @abstractmethod
    def multiply_transposed(self, left: Array, right: Array) -> Array:
        """left^T right of a matrix (m, k) and another (m, l), or a vector (m,)."""

    @abstractmethod
    def multiply_each(self, left: Array, right: Array) -> Array:
        """(n, i, k) times (n, k, j), matrix by matrix."""

    @abstractmethod
    def gram(self, matrix: Array) -> Array:
        """matrix^T matrix, in the precision of the matrix."""

    @abstractmethod
    def differentiate(
        self, function: Callable[[Sequence[Array]], Array], inputs: Sequence[Array]
    ) -> tuple[Array, list[Array]]:
        """The value of a function that works element by element, and its derivatives by its inputs.

        Each element of the output, which has the inputs' shape, depends on that element of the inputs alone. One
        backward pass, seeded with ones, therefore gives all derivatives.
        """
