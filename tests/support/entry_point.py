"""The CUDA kernels on the CPU as an engine that another distribution provides: found through its entry point."""

from __future__ import annotations

import shutil
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["COMPILER", "NAME", "ORDERS", "registered"]

COMPILER = shutil.which("g++")
"""Without it the engine cannot run."""
NAME = "cuda-on-cpu"
ORDERS = (NAME, f"{NAME}:7")
"""Blocks and lanes in their natural order, and in a shuffled one."""


@contextmanager
def registered(folder: Path) -> Iterator[None]:
    """In a block, the registry knows the engine; `folder` is empty and holds its distribution's metadata."""
    information = folder / "cuda_on_cpu-0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: cuda-on-cpu\nVersion: 0\n")
    (information / "entry_points.txt").write_text(f"[faceinv.backends]\n{NAME} = executor:build\n")
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
