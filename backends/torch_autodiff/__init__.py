"""PyTorch: the library's operations and its autodiff, on any of its devices that has float64."""

from faceinv.backends.torch_autodiff.engine import build

__all__ = ["build"]
