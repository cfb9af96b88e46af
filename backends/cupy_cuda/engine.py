"""The `cupy` engine."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from faceinv.backends.cupy_cuda.detail import CudaDetailSolver
from faceinv.backends.cupy_cuda.differentiator import CudaDifferentiator
from faceinv.backends.cupy_cuda.kernels import DETAIL_FILES
from faceinv.backends.cupy_cuda.launch.cupy_cache import choose_cupy_cache
from faceinv.backends.cupy_cuda.launch.device import DeviceMemoryError
from faceinv.backends.cupy_cuda.renderer import CudaRenderer
from faceinv.engine.interface import AbstractDifferentiator, Engine
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.device import Device
    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
    from faceinv.engine.records import EngineSettings, Problem
    from faceinv.face.model import MorphableModel

__all__ = ["CudaEngine", "build"]


class CudaEngine(Engine):
    """Raw CUDA kernels on one device."""

    name = "cupy"
    batch_size = 32
    """Fills a large GPU at 224 px; where memory is short the engine works on fewer at a time by itself."""

    def __init__(self, device: Device, model: MorphableModel, settings: EngineSettings) -> None:
        self.description = f"{device.name}, {settings.dtype}"
        try:
            self.renderer: CudaRenderer = CudaRenderer(device, model, settings)
        except DeviceMemoryError as error:
            raise BackendError(f"{device.name} has no room for the model '{model.name}' ({error.detail}).") from error

    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """See `Engine.differentiator`.

        Raises:
            BackendError: when the device has no room for the photos.
        """
        return CudaDifferentiator(self.renderer, problem)

    def detail(self, problem: DetailProblem) -> AbstractDetailSolver:
        """See `Engine.detail`. The first one loads its kernels.

        Raises:
            BackendError: when a kernel cannot be compiled or loaded, or the device has no room for the photos.
        """
        device, dtype = self._detail_device, self.renderer.settings.dtype
        return CudaDetailSolver(device, problem, dtype)

    @cached_property
    def _detail_device(self) -> Device:
        """The device, on which the kernels of fine detail are ready."""
        device = self.renderer.device
        device.load(DETAIL_FILES.values(), "double" if self.renderer.settings.dtype == "float64" else "float", "false")
        return device

    def close(self) -> None:
        """See `Engine.close`."""
        device = self.renderer.device
        del self.renderer
        device.free_unused()


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the registry calls; `settings.device` is a number, or empty for the first GPU.

    Raises:
        BackendError: when there is no GPU that CuPy can use, as in a process forked from one that used it; the message
            says why.
    """
    choose_cupy_cache()
    from faceinv.backends.cupy_cuda.launch.cupy_device import CupyDevice

    return CudaEngine(CupyDevice(settings.device), model, settings)
