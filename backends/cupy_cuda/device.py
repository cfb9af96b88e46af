"""Where kernels run: an abstract device with arrays, copies and launches, and nothing else.

The package has one, `cupy_device.CupyDevice`. Tests have another that runs the same kernels on the CPU, so that all of
the engine above this line is checked on machines without a GPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeAlias

from faceinv.backends.cupy_cuda.kernels import Kernel, kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

__all__ = ["Array", "Device", "DeviceMemoryError"]

Array: TypeAlias = Any
"""An array on a device: `shape`, `dtype`, `flags.c_contiguous`, slicing along the leading axis, `reshape`."""


class DeviceMemoryError(Exception):
    """The device has no memory left for an array."""


class Device(ABC):
    """One device."""

    name: str
    """Library, version and device, for people."""

    @abstractmethod
    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array with arbitrary contents.

        Raises:
            DeviceMemoryError: when there is no room.
        """

    @abstractmethod
    def zeros(self, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """An array of zeros.

        Raises:
            DeviceMemoryError: when there is no room.
        """

    @abstractmethod
    def asarray(self, array: NDArray[Any]) -> Array:
        """A contiguous copy of a host array.

        Raises:
            DeviceMemoryError: when there is no room.
        """

    @abstractmethod
    def to_host(self, array: Array) -> NDArray[Any]:
        """A host copy; waits until the array is ready."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until all launched work is done."""

    @abstractmethod
    def free_unused(self) -> None:
        """Give memory that no array uses back to the device."""

    @abstractmethod
    def _address(self, array: Array) -> int:
        """Where an array begins."""

    @abstractmethod
    def _launch(
        self,
        what: Kernel,
        expression: str,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        parameters: np.ndarray[Any, Any],
    ) -> None:
        """Run an instance of a kernel; returns before it is done."""

    def launch(
        self,
        name: str,
        grid: tuple[int, int, int],
        threads: int,
        /,
        *,
        template: tuple[str, ...] = (),
        shared: int = 0,
        **values: Any,
    ) -> None:
        """Check the arguments of a kernel against its text and run it.

        Args:
            name: the kernel.
            grid: blocks along x, y, z; nothing is launched where one of them is 0.
            threads: in a block.
            template: template arguments.
            shared: bytes of dynamic shared memory.
            values: the fields of the kernel's parameter struct: numbers, device arrays, or None for a null pointer.

        Raises:
            TypeError, ValueError: for arguments that the kernel's text does not allow.
            BackendError: for a grid that is too large.
        """
        what = kernel(name)
        parameters = what.pack(values, template, self._address)
        expression = what.expression(template)
        what.check_grid(grid)
        if all(grid):
            self._launch(what, expression, grid, threads, shared, parameters)
