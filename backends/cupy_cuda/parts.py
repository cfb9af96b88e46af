"""A batch on a device that may be short of memory: worked on whole, or in halves, quarters and so on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

from faceinv.backends.cupy_cuda.kernels.constants import blocks
from faceinv.backends.cupy_cuda.launch.device import DeviceMemoryError
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from faceinv.backends.cupy_cuda.launch.device import Device

__all__ = ["Parts"]

_LOG: Final = logging.getLogger(__name__)
_T = TypeVar("_T")


class Parts:
    """How many items of a batch are worked on at once.

    Args:
        device: where.
        batch: items.
        size: (H, W) of their images, for messages.
        forget: drops what is only kept to save time, so that its memory can be used.
    """

    def __init__(self, device: Device, batch: int, size: tuple[int, int], forget: Callable[[], None]) -> None:
        self.items = max(1, batch)
        self._device = device
        self._batch = batch
        self._size = size
        self._forget = forget
        self._told = False

    @property
    def count(self) -> int:
        """Parts of the batch."""
        return blocks(max(1, self._batch), self.items)

    def whole(self, make: Callable[[], _T]) -> _T:
        """Arrays for the whole batch, which cannot be split.

        Raises:
            BackendError: when there is no room.
        """
        try:
            return make()
        except DeviceMemoryError:
            self._make_room()
        try:
            return make()
        except DeviceMemoryError as error:
            raise BackendError(
                f"{self._device.name} has no room for a batch of {self._batch} photos of "
                f"{self._size[0]} x {self._size[1]} px ({error.detail}). Use smaller batches."
            ) from error

    def run(self, batch: int, work: Callable[[slice], None]) -> None:
        """Work on the batch, in as few parts as memory allows. A part that fails is tried once more with all the room
        that can be made, then in halves.

        Raises:
            BackendError: when there is no room for one item.
        """
        start, tried_again = 0, False
        while start < batch:
            part = slice(start, min(start + self.items, batch))
            try:
                work(part)
                start, tried_again = part.stop, False
                continue
            except DeviceMemoryError as error:
                failure = error.with_traceback(None)  # its frames would keep the arrays of this try
            self._make_room()
            if tried_again:
                self._shrink(part.stop - part.start, failure)
            tried_again = not tried_again

    def _shrink(self, items: int, error: DeviceMemoryError) -> None:
        if items == 1:
            raise BackendError(
                f"{self._device.name} has no room for even one photo of {self._size[0]} x {self._size[1]} px with this "
                f"model ({error.detail}). Use a smaller image or engine 'numpy'."
            ) from error
        if not self._told:
            _LOG.warning(
                "%s is out of memory for %d photos at once; going on with half of them at a time.",
                self._device.name,
                items,
            )
        self._told = True
        self.items = blocks(items, 2)

    def _make_room(self) -> None:
        self._forget()
        self._device.free_unused()
