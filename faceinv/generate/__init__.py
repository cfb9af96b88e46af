"""Training data from fitted photos: variants of a photo, and all that is known of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceinv.generate.config import VariantConfig
    from faceinv.generate.draws import Donors, Draw
    from faceinv.generate.labels import Labels
    from faceinv.generate.scene import Scene
    from faceinv.generate.steps import Steps
    from faceinv.generate.variants import Variant, Variants

__all__ = ["Donors", "Draw", "Labels", "Scene", "Steps", "Variant", "VariantConfig", "Variants"]

_LAZY = {
    "Donors": "draws",
    "Draw": "draws",
    "Labels": "labels",
    "Scene": "scene",
    "Steps": "steps",
    "Variant": "variants",
    "VariantConfig": "config",
    "Variants": "variants",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
