"""CuPy with raw CUDA kernels on an NVIDIA GPU: analytic derivatives, whole batches in one launch."""

from faceinv.backends.cupy_cuda.engine import build

__all__ = ["build"]
