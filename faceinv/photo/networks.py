"""The package's neural networks, run by onnxruntime."""

from __future__ import annotations

import functools
import importlib
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from faceinv.errors import BackendError
from faceinv.process import alone

__all__ = ["Colours", "run_network"]

Colours = npt.NDArray[np.float32]


def run_network(name: str, crops: Colours) -> list[npt.NDArray[np.float64]]:
    """Give crops to a network.

    Args:
        name: the network's file in the package's `data`.
        crops: (B, side, side, 3) float32, sRGB-encoded values in [0, 1].

    Returns:
        Its outputs, each (B, ...) float64. The same crops give the same bits.

    Raises:
        BackendError: the package onnxruntime is missing.
    """
    images = np.ascontiguousarray(crops.transpose(0, 3, 1, 2) * np.float32(255))
    with alone("Landmark detection"):
        outputs = _session(name).run(None, {"image": images})
    return [np.asarray(output, dtype=np.float64) for output in outputs]


@functools.cache
def _session(name: str) -> Any:
    """A network, opened once a process; one thread, so its numbers repeat."""
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise BackendError(
            f"finding faces needs the package onnxruntime ({error}). Install it (pip install onnxruntime), or give "
            "landmarks of your own."
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.use_deterministic_compute = True
    options.log_severity_level = 3  # errors
    content = (resources.files("faceinv") / "data" / name).read_bytes()
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
