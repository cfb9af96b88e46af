"""What engines on an autodiff library without a Jacobian share; each library supplies `ArrayOps`.

With visibility frozen, a pixel's radiance depends on its own triangle, the pose and the light (docs/ARCHITECTURE.md,
"Derivatives"). One seeded backward pass, with the three channels side by side, gives every pixel's derivatives by its
own normal; the chain rule and the constant bases do the rest.
"""

from faceinv.engine.local_autodiff.differentiator import LocalAutodiffDifferentiator
from faceinv.engine.local_autodiff.engine import LocalAutodiffEngine
from faceinv.engine.local_autodiff.ops import ArrayOps
from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer

__all__ = ["ArrayOps", "LocalAutodiffDifferentiator", "LocalAutodiffEngine", "LocalAutodiffRenderer"]
