"""The shared part's array operations, by PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import torch

from faceinv.engine.local_autodiff.ops import ArrayOps
from faceinv.process import before_threads, in_forked_children, openmp_may_be_lost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from faceinv.engine.local_autodiff.ops import Kind

__all__ = ["TorchOps"]

_KINDS: Final = {
    "float32": torch.float32,
    "float64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}


class TorchOps(ArrayOps):
    """Tensors on one device. No operation here is a race: the same input gives the same bits."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        # The threads of PyTorch's operations do not survive a fork; one thread alone needs none of them.
        if openmp_may_be_lost():
            _use_one_thread()
        in_forked_children(_use_one_thread)

    def upload(self, host: NDArray[Any], kind: Kind) -> Tensor:
        """See `ArrayOps.upload`. Each computation begins with it."""
        if self.device.type != "cpu":
            before_threads(f"PyTorch on '{self.device.type}'")
        return torch.tensor(host, dtype=_KINDS[kind], device=self.device)

    def download(self, array: Tensor) -> NDArray[Any]:
        """See `ArrayOps.download`."""
        result: NDArray[np.generic] = array.detach().cpu().numpy()
        return result

    def cast(self, array: Tensor, kind: Kind) -> Tensor:
        """See `ArrayOps.cast`."""
        return array.to(_KINDS[kind])

    def arange(self, start: int, stop: int) -> Tensor:
        """See `ArrayOps.arange`."""
        return torch.arange(start, stop, device=self.device)

    def full(self, shape: tuple[int, ...], value: float, kind: Kind) -> Tensor:
        """See `ArrayOps.full`."""
        return torch.full(shape, value, dtype=_KINDS[kind], device=self.device)

    def take(self, table: Tensor, index: Tensor) -> Tensor:
        """See `ArrayOps.take`."""
        return table.index_select(0, index.reshape(-1)).reshape(*index.shape, *table.shape[1:])

    def stack(self, arrays: Sequence[Tensor], axis: int) -> Tensor:
        """See `ArrayOps.stack`."""
        return torch.stack(list(arrays), axis)

    def concatenate(self, arrays: Sequence[Tensor], axis: int) -> Tensor:
        """See `ArrayOps.concatenate`."""
        return torch.cat(list(arrays), axis)

    def transpose(self, matrix: Tensor) -> Tensor:
        """See `ArrayOps.transpose`."""
        return matrix.T.contiguous()

    def flag(self, condition: Tensor) -> Tensor:
        """See `ArrayOps.flag`."""
        return condition

    def where(self, condition: Tensor, yes: Tensor, no: Tensor | float) -> Tensor:
        """See `ArrayOps.where`."""
        return torch.where(condition.reshape(*condition.shape, *[1] * (yes.ndim - condition.ndim)), yes, no)

    def at_least(self, array: Tensor, bound: float) -> Tensor:
        """See `ArrayOps.at_least`."""
        return array.clamp(min=bound)

    def at_most(self, array: Tensor, bound: float) -> Tensor:
        """See `ArrayOps.at_most`."""
        return array.clamp(max=bound)

    def absolute(self, array: Tensor) -> Tensor:
        """See `ArrayOps.absolute`."""
        return array.abs()

    def smaller(self, first: Tensor, second: Tensor) -> Tensor:
        """See `ArrayOps.smaller`."""
        return torch.minimum(first, second)

    def floor(self, array: Tensor) -> Tensor:
        """See `ArrayOps.floor`."""
        return torch.floor(array)

    def sqrt(self, array: Tensor) -> Tensor:
        """See `ArrayOps.sqrt`."""
        return torch.sqrt(array)

    def log(self, array: Tensor) -> Tensor:
        """See `ArrayOps.log`."""
        return torch.log(array)

    def sums(self, array: Tensor) -> Tensor:
        """See `ArrayOps.sums`."""
        return array.reshape(array.shape[0], -1).sum(dim=1, dtype=torch.float64)

    def bordered(self, array: Tensor) -> Tensor:
        """See `ArrayOps.bordered`."""
        return torch.nn.functional.pad(array, (1, 1, 1, 1))

    def nonzero(self, condition: Tensor) -> Tensor | None:
        """See `ArrayOps.nonzero`."""
        places = torch.nonzero(condition).reshape(-1)
        return places if places.numel() else None

    def running_sum(self, array: Tensor) -> Tensor:
        """See `ArrayOps.running_sum`."""
        return torch.cumsum(array, 0)

    def last_at_most(self, ascending: Tensor, values: Tensor) -> Tensor:
        """See `ArrayOps.last_at_most`."""
        return torch.searchsorted(ascending, values, right=True) - 1

    def scatter_max(self, target: Tensor, index: Tensor, values: Tensor) -> Tensor:
        """See `ArrayOps.scatter_max`."""
        return target.scatter_reduce(0, index, values, "amax")

    def sparse_rows(self, start: NDArray[np.int64], index: NDArray[np.int64], columns: int) -> tuple[Tensor, Tensor]:
        """See `ArrayOps.sparse_rows`."""
        return self.upload(start[:-1], "int64"), self.upload(index, "int64")

    def combine(self, pattern: tuple[Tensor, Tensor], weight: Tensor, table: Tensor) -> Tensor:
        """See `ArrayOps.combine`."""
        start, index = pattern
        return torch.nn.functional.embedding_bag(index, table, start, mode="sum", per_sample_weights=weight)

    def blend(self, index: Tensor, weight: Tensor, table: Tensor) -> Tensor:
        """See `ArrayOps.blend`."""
        return torch.nn.functional.embedding_bag(index, table, mode="sum", per_sample_weights=weight)

    def multiply(self, matrix: Tensor, other: Tensor) -> Tensor:
        """See `ArrayOps.multiply`."""
        return matrix @ other

    def multiply_transposed(self, left: Tensor, right: Tensor) -> Tensor:
        """See `ArrayOps.multiply_transposed`."""
        return left.T @ right

    def multiply_each(self, left: Tensor, right: Tensor) -> Tensor:
        """See `ArrayOps.multiply_each`."""
        return torch.bmm(left, right)

    def gram(self, matrix: Tensor) -> Tensor:
        """See `ArrayOps.gram`."""
        return matrix.T @ matrix

    def differentiate(
        self, function: Callable[[Sequence[Tensor]], Tensor], inputs: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """See `ArrayOps.differentiate`."""
        leaves = [x.detach().requires_grad_() for x in inputs]
        with torch.enable_grad():
            value = function(leaves)
        return value.detach(), list(torch.autograd.grad(value, leaves, torch.ones_like(value)))


def _use_one_thread() -> None:
    torch.set_num_threads(1)
