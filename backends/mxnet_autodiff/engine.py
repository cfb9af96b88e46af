"""The `mxnet` engine: the shared local-autodiff engine in an MXNet context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from faceinv.backends.mxnet_autodiff.library import load_mxnet
from faceinv.backends.mxnet_autodiff.ops import MxnetOps
from faceinv.engine.local_autodiff import LocalAutodiffEngine, LocalAutodiffRenderer
from faceinv.errors import BackendError

if TYPE_CHECKING:
    from faceinv.engine.interface import Engine
    from faceinv.engine.records import EngineSettings
    from faceinv.face.model import MorphableModel

__all__ = ["build", "find_context"]


class MxnetRenderer(LocalAutodiffRenderer):
    """Renders with MXNet."""

    ops: MxnetOps

    def synchronize(self) -> None:
        """See `AbstractRenderer.synchronize`."""
        self.ops.nd.waitall()


def find_context(mxnet: Any, name: str) -> Any:
    """The context that a config string names: `cpu` (the default), `gpu` or `gpu:1`.

    Raises:
        BackendError: when there is no such context here.
    """
    match = re.fullmatch(r"(cpu|gpu)(?::(\d+))?", name or "cpu")
    gpus = int(mxnet.context.num_gpus()) if mxnet.runtime.Features().is_enabled("CUDA") else 0
    usable = ["cpu", *(f"gpu:{i}" for i in range(gpus))]
    if match is None or (match[1] == "gpu" and int(match[2] or 0) >= gpus):
        raise BackendError(
            f"engine 'mxnet' cannot use device '{name}'; usable here: {', '.join(usable)}. "
            "GPUs need a CUDA build of MXNet; 'mxnet:cpu' always works."
        )
    return mxnet.Context(match[1], int(match[2] or 0))


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the registry calls.

    Raises:
        BackendError: when MXNet cannot be imported or lacks the device.
    """
    mxnet = load_mxnet()
    context = find_context(mxnet, settings.device)
    description = f"MXNet {mxnet.__version__}, {context.device_type}:{context.device_id}, {settings.dtype}"
    return LocalAutodiffEngine("mxnet", description, MxnetRenderer(MxnetOps(mxnet, context), model, settings))
