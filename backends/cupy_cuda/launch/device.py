"""Where kernels run: an abstract device with arrays, copies and launches, and nothing else.

The package has one, `cupy_device.CupyDevice`. Tests have another that runs the same kernels on the CPU, so that all of
the engine above this line is checked on machines without a GPU.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from faceinv.backends.cupy_cuda.launch.kernel import Kernel
from faceinv.backends.cupy_cuda.launch.packing import instance
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import DTypeLike, NDArray

    from faceinv.backends.cupy_cuda.launch.kernel_file import KernelFile

__all__ = ["Array", "Device", "DeviceMemoryError", "part_of"]

_LIMITS: Final = (2**31 - 1, 65535, 65535)
"""Blocks along x, y and z that CUDA launches at most."""
Array: TypeAlias = Any
"""An array on a device: `shape`, `dtype`, `flags.c_contiguous`, slicing along the leading axis, `reshape`."""


def part_of(array: Array, part: slice) -> Array:
    """The items of a batch in `part`; the array itself where that is all of them, as slices cost more than launches."""
    return array if part.stop - part.start == len(array) else array[part]


class DeviceMemoryError(BackendError):
    """The device has no memory left.

    Args:
        device: its name.
        detail: what was asked for, in the library's words.
    """

    def __init__(self, device: str, detail: str) -> None:
        super().__init__(
            f"{device} is out of memory: {detail}. Use smaller batches or photos, a smaller model, or engine 'numpy'."
        )
        self.detail = detail


class Device(ABC):
    """One device."""

    name: str
    """Library, version and device, for people."""
    address: Callable[[Array], int]
    """Where an array begins."""

    def load(self, files: Iterable[KernelFile], real: str, flat: str) -> None:  # noqa: B027 - a GPU has something to do
        """Make the kernels of some files with these template arguments ready, so that what can fail does so now.

        Raises:
            BackendError: when a kernel cannot be compiled or loaded.
        """

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
    def _launch(
        self,
        what: Kernel,
        expression: str,
        grid: tuple[int, int, int],
        threads: int,
        shared: int,
        parameters: bytes,
    ) -> None:
        """Run an instance of a kernel with its parameter struct's bytes; returns before it is done."""

    def launch(
        self,
        kernel: Kernel,
        grid: tuple[int, int, int],
        threads: int,
        /,
        *,
        template: tuple[str, ...] = (),
        shared: int = 0,
        **values: Any,
    ) -> None:
        """Check the arguments of a kernel against its declaration and run it.

        Args:
            kernel: which.
            grid: blocks along x, y, z; nothing is launched where one of them is 0.
            threads: in a block.
            template: template arguments.
            shared: bytes of dynamic shared memory.
            values: the fields of the kernel's parameter struct: numbers, device arrays, or None for a null pointer.

        Raises:
            TypeError, ValueError: for arguments that the kernel's declaration does not allow.
            BackendError: for a grid that is too large.
        """
        chosen = instance(kernel, template)
        packed = chosen.pack(values, self.address)
        x, y, z = grid
        if x > _LIMITS[0] or y > _LIMITS[1] or z > _LIMITS[2]:
            raise BackendError(
                f"kernel {kernel.name}: grid {grid} exceeds CUDA's limits {_LIMITS}; use smaller batches."
            )
        if x and y and z:
            self._launch(kernel, chosen.expression, grid, threads, shared, packed)
