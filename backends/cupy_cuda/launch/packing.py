"""The arguments of a launch, checked against the kernel's declaration and packed into its struct."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from operator import attrgetter, is_, itemgetter
from typing import Any, Final, TypeAlias

import numpy as np

from faceinv.backends.cupy_cuda.launch.kernel import ArrayField, Kernel, NumberField

__all__ = ["Instance", "instance"]

Packer: TypeAlias = Callable[[dict[str, Any], Callable[[Any], int]], bytes]


@dataclass(frozen=True, eq=False)
class Instance:
    """A kernel with its template arguments, ready to be launched."""

    expression: str
    """Its name as C++ writes it."""
    pack: Packer
    """The struct's bytes, from the values of all fields by name (numbers, arrays, or None for a null pointer) and a
    function that gives where an array begins. Raises what `Kernel.refuse` does."""


_describe: Final = attrgetter("shape", "dtype", "flags.c_contiguous")
_REMEMBERED: Final = 256
"""Sets of numbers for which a kernel remembers what its arrays must look like."""


def _packer(kernel: Kernel, arguments: tuple[str, ...]) -> Packer:
    """See `Instance.pack`.

    Launches are many, and walking through fields in Python would cost more than small kernels do: all fields are read,
    described, compared and packed by one call each, and what arrays must look like is remembered by the numbers.
    """
    read_numbers, count = _together(kernel.numbers), len(kernel.fields)
    optional = [field for field in kernel.arrays if field.optional]
    read_optional, nones = _together(optional), (None,) * len(optional)
    # By which of the optional pointers are null.
    layouts: dict[tuple[bool, ...], _Layout] = {
        absent: _Layout(kernel, arguments, set(itertools.compress(optional, absent)))
        for absent in itertools.product((False, True), repeat=len(optional))
    }
    every = layouts[(False,) * len(optional)]

    def pack(values: dict[str, Any], address: Callable[[Any], int]) -> bytes:
        try:
            layout = layouts[tuple(map(is_, read_optional(values), nones))] if optional else every
            numbers, arrays = read_numbers(values), layout.read(values)
            looks, head = layout.known.get(numbers) or layout.learn(numbers)
            allowed = len(values) == count and list(map(_describe, arrays)) == looks
        except (AttributeError, KeyError):
            allowed = False
        if not allowed:
            kernel.refuse(values, arguments)
        return head + layout.pack_pointers(*map(address, arrays))

    return pack


class _Layout:
    """A kernel's struct where some of its pointers are null."""

    __slots__ = ("_arguments", "_kernel", "_pack_numbers", "_present", "known", "pack_pointers", "read")

    def __init__(self, kernel: Kernel, arguments: tuple[str, ...], absent: set[ArrayField]) -> None:
        self._kernel, self._arguments = kernel, arguments
        self._present = [field for field in kernel.arrays if field not in absent]
        self.read = _together(self._present)
        # "0Q" pads the numbers so that a pointer may follow, as C does; "8x" is a null pointer.
        numbers = struct.Struct("@" + "".join(np.dtype(field.type.dtype).char for field in kernel.numbers) + "0Q")
        pointers = struct.Struct("@" + "".join("8x" if field in absent else "Q" for field in kernel.arrays))
        size = numbers.size + pointers.size
        assert size == kernel.layout.itemsize, f"{kernel.name}: {size} bytes, not {kernel.layout.itemsize}"
        self._pack_numbers, self.pack_pointers = numbers.pack, pointers.pack
        self.known: dict[tuple[Any, ...], tuple[list[Any], bytes]] = {}

    def learn(self, numbers: tuple[Any, ...]) -> tuple[list[Any], bytes]:
        """What `_describe` says of right arrays beside these numbers, and the numbers' bytes."""
        if len(self.known) == _REMEMBERED:
            self.known.clear()
        sizes = {field.name: value for field, value in zip(self._kernel.numbers, numbers, strict=True)}
        looks = [(field.shape_beside(sizes), field.dtype_with(self._arguments), True) for field in self._present]
        self.known[numbers] = looks, self._pack_numbers(*numbers)
        return self.known[numbers]


def _together(fields: Sequence[NumberField | ArrayField]) -> Callable[[dict[str, Any]], tuple[Any, ...]]:
    """Reads several entries of a dictionary at once."""
    names = [field.name for field in fields]
    if len(names) > 1:
        return itemgetter(*names)
    return lambda values: tuple(values[name] for name in names)


@cache
def instance(kernel: Kernel, arguments: tuple[str, ...] = ()) -> Instance:
    """An instance of a kernel.

    Raises:
        TypeError: for template arguments that are not among those that are compiled.
    """
    if arguments not in kernel.instances:
        raise TypeError(f"kernel {kernel.name} has no instance {arguments}; there are {kernel.instances}.")
    return Instance(kernel.expression(arguments), _packer(kernel, arguments))
