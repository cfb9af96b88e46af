"""Data sets of variants on disk: shards, an index, a card; any number of photos, any number of workers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from faceinv.dataset.factory import Outcome, Watcher, make_dataset
    from faceinv.dataset.settings import DatasetSettings

__all__ = ["DatasetSettings", "Outcome", "Watcher", "make_dataset"]

_LAZY = {"DatasetSettings": "settings", "Outcome": "factory", "Watcher": "factory", "make_dataset": "factory"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        import importlib

        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
