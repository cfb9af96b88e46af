"""The `torch` engine: the shared local-autodiff engine on a PyTorch device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import torch

from faceinv.backends.torch_autodiff.ops import TorchOps
from faceinv.engine.local_autodiff import LocalAutodiffEngine, LocalAutodiffRenderer
from faceinv.errors import BackendError, first_line

if TYPE_CHECKING:
    from faceinv.engine.interface import Engine
    from faceinv.engine.records import EngineSettings
    from faceinv.face.model import MorphableModel

__all__ = ["build", "find_device"]

_OLDEST: Final = (2, 4)
_GPU_BATCH: Final = 32
"""Photos at once: few operations for many, without filling the memory of a GPU."""


class TorchRenderer(LocalAutodiffRenderer):
    """Renders with PyTorch."""

    ops: TorchOps

    def synchronize(self) -> None:
        """See `AbstractRenderer.synchronize`."""
        if self.ops.device.type == "cuda":
            torch.cuda.synchronize(self.ops.device)


def find_device(name: str) -> torch.device:
    """The device that a config string names; the CPU when it names none.

    Raises:
        BackendError: when there is no such device here, or it has no float64.
    """
    try:
        device = torch.device(name or "cpu")
        torch.zeros(1, dtype=torch.float64, device=device).add_(1).item()
    except Exception as error:  # each device type fails in its own way
        devices = [f"cuda:{i}" for i in range(torch.cuda.device_count())]
        raise BackendError(
            f"engine 'torch' cannot use device '{name}' ({first_line(error)}); "
            f"usable here: {', '.join(['cpu', *devices])}. "
            "A device must exist in this PyTorch build and compute in float64; 'torch:cpu' always works."
        ) from error
    return device


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the registry calls.

    Raises:
        BackendError: when PyTorch is too old or lacks the device.
    """
    version = tuple(int(part) for part in torch.__version__.split("+")[0].split(".")[:2])
    if version < _OLDEST:
        raise BackendError(
            f"engine 'torch' needs PyTorch {_OLDEST[0]}.{_OLDEST[1]} or newer, found {torch.__version__}. "
            'Upgrade it with: pip install -U "faceinv[torch]".'
        )
    device = find_device(settings.device)
    description = f"PyTorch {torch.__version__}, {device}, {settings.dtype}"
    batch_size = 1 if device.type == "cpu" else _GPU_BATCH
    return LocalAutodiffEngine("torch", description, TorchRenderer(TorchOps(device), model, settings), batch_size)
