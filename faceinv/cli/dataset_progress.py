"""What `faceinv dataset` shows while it works."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from faceinv.dataset.factory import Watcher

if TYPE_CHECKING:
    from pathlib import Path

    from rich.progress import TaskID

    from faceinv.cli.console import Reporter

__all__ = ["DatasetProgress"]


class DatasetProgress(Watcher):
    """Bars with the rate, and lines for shards and failures."""

    def __init__(self, report: Reporter, pictures: int) -> None:
        self._report = report
        self._pictures = pictures
        self._tasks: dict[str, tuple[TaskID, float, int]] = {}

    def found(self, photos: int) -> None:
        """See `Watcher.found`."""
        self._report.note(f"{photos} photos, {self._pictures} pictures of each.")

    def step(self, name: str, done: int, failed: int, total: int) -> None:
        """See `Watcher.step`."""
        bars = self._report.progress
        if bars is None:
            return
        ended = done + failed
        if name not in self._tasks:
            self._tasks[name] = (bars.add_task(name, total=total), time.monotonic(), ended)
        task, since, first = self._tasks[name]
        rate = (ended - first) * (self._pictures if name == "drawing" else 1) / max(time.monotonic() - since, 1e-3)
        unit = "pictures" if name == "drawing" else "photos"
        lost = f", {failed} failed" if failed else ""
        bars.update(task, completed=ended, description=f"{name} ({rate:.1f} {unit}/s{lost})", visible=ended < total)

    def failure(self, name: str, reason: str) -> None:
        """See `Watcher.failure`."""
        self._report.error(reason if name in reason else f"'{name}': {reason}")

    def shard(self, path: Path, pictures: int, failed: int) -> None:
        """See `Watcher.shard`."""
        lost = f", {failed} photos failed" if failed else ""
        self._report.note(f"{path.parent.name}/{path.name}: {pictures} pictures{lost}")
