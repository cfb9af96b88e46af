"""Fine detail with CUDA kernels; only costs and counts of each item cross to the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.cupy_cuda.kernels import detail as kernels
from faceinv.backends.cupy_cuda.kernels.detail_solve import conjugate_gradients, hessian_product
from faceinv.engine.detail import AbstractDetailSolver, DetailLinearization

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.detail import DetailProblem
    from faceinv.engine.records import DType

__all__ = ["CudaDetailSolver"]


class CudaDetailSolver(AbstractDetailSolver):
    """One level of a batch on one device.

    Raises:
        DeviceMemoryError: when the device has no room, here and in every method.
    """

    def __init__(self, device: Device, problem: DetailProblem, dtype: DType) -> None:
        self.problem = problem
        self._device = device
        self._relief = kernels.DeviceRelief.of(device, problem, dtype)

    def upload(self, displacement: NDArray[np.float64] | None) -> Array:
        """See `AbstractDetailSolver.upload`."""
        if displacement is None:
            return self._device.zeros(self._relief.corner_shape, self._relief.real)
        return self._device.asarray(np.where(self.problem.corners, displacement, 0.0).astype(self._relief.real))

    def prolong(self, coarse: Array) -> Array:
        """See `AbstractDetailSolver.prolong`."""
        return kernels.prolonged(self._relief, coarse)

    def linearize(self, displacement: Array) -> DetailLinearization:
        """See `AbstractDetailSolver.linearize`."""
        cost, system = kernels.linearize(self._relief, displacement)
        return DetailLinearization(self._device.to_host(cost), system.gradient, system)

    def hessian_product(self, linearization: DetailLinearization, vector: Array) -> Array:
        """See `AbstractDetailSolver.hessian_product`."""
        return hessian_product(self._relief, linearization.system, vector)

    def solve(
        self, linearization: DetailLinearization, tolerance: float, limit: int
    ) -> tuple[Array, NDArray[np.int64]]:
        """See `AbstractDetailSolver.solve`: the host is asked every now and then whether to go on."""
        return conjugate_gradients(self._relief, linearization.system, tolerance, limit)

    def moved(self, displacement: Array, step: Array, length: NDArray[np.float64]) -> Array:
        """See `AbstractDetailSolver.moved`."""
        sent = self._device.asarray(np.ascontiguousarray(length, np.float64))
        return kernels.moved(self._relief, displacement, step, sent)

    def normals(self, displacement: Array) -> Array:
        """See `AbstractDetailSolver.normals`."""
        return kernels.normals(self._relief, displacement)

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractDetailSolver.to_host`."""
        return self._device.to_host(array)
