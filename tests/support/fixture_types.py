"""Types of fixtures that are functions, where any folder's tests can import them by one name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

__all__ = ["Need"]

Need: TypeAlias = Callable[[str], None]
"""Skips or fails the test unless the engine of this name is there."""
