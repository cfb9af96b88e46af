"""PyTorch: the library's operations and its autodiff, on any of its devices that has float64.

`render` is the renderer as a differentiable function of tensors; `examples/differentiable_rendering.py` uses it.
"""

from faceinv.backends.torch_autodiff.engine import build
from faceinv.backends.torch_autodiff.render import Rendering, render

__all__ = ["Rendering", "build", "render"]
