"""MXNet 1.9.1, the last release of a retired project: its operations and its autodiff, kept usable."""

from faceinv.backends.mxnet_autodiff.engine import build

__all__ = ["build"]
