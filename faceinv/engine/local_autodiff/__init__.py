"""What engines on an autodiff library without a Jacobian share; each library supplies `ArrayOps`.

With visibility frozen, a pixel's radiance depends on its own triangle, the pose and the light (docs/ARCHITECTURE.md,
"Derivatives"). Three seeded backward passes give every pixel's derivatives with respect to its own local quantities;
the chain rule and the constant bases do the rest.
"""

from faceinv.engine.local_autodiff.differentiator import LocalAutodiffDifferentiator
from faceinv.engine.local_autodiff.engine import LocalAutodiffEngine
from faceinv.engine.local_autodiff.ops import ArrayOps
from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer

__all__ = ["ArrayOps", "LocalAutodiffDifferentiator", "LocalAutodiffEngine", "LocalAutodiffRenderer"]
