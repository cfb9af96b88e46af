"""What an engine need not compute twice."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final, Generic, TypeVar

__all__ = ["Remembered"]

_KEPT: Final = 2
_T = TypeVar("_T")


class Remembered(threading.local, Generic[_T]):
    """The two latest of something for each item of a batch, by the bytes of what they were made from.

    A trial point becomes the next start, so two serve all that a fit asks for again; and they are an item's own, since
    the items of a batch take turns and end one before the other. Each thread has its own, as threads that fit side by
    side would drive out each other's; they go when it ends.
    """

    def __init__(self) -> None:
        self._latest: list[list[tuple[bytes, _T]]] = [[]]

    def resize(self, items: int) -> None:
        """Remember for so many items, at least one; what is made for others is not kept."""
        items = max(items, 1)
        self._latest = self._latest[:items] + [[] for _ in range(items - len(self._latest))]

    def get(self, item: int, key: bytes, make: Callable[[], _T]) -> _T:
        """What was made for the item from these bytes, or is made now."""
        latest = self._latest[item] if item < len(self._latest) else []
        for known, value in latest:
            if known == key:
                return value
        value = make()
        latest[:] = [(key, value), *latest[: _KEPT - 1]]
        return value
