"""Calling the command line in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from faceinv.cli import app


@dataclass(frozen=True)
class Run:
    """How a call ended."""

    status: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


def invoke(*words: str | Path | int) -> Run:
    """Run `faceinv WORDS`; anything but an exit is raised."""
    done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    return Run(done.exit_code, done.stdout, done.stderr)
