"""The shared engine: one face model on one device of one library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from faceinv.engine.interface import AbstractDifferentiator, Engine
from faceinv.engine.local_autodiff.detail import ArrayDetailSolver
from faceinv.engine.local_autodiff.differentiator import LocalAutodiffDifferentiator
from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer

if TYPE_CHECKING:
    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
    from faceinv.engine.records import Problem

__all__ = ["LocalAutodiffEngine"]


class LocalAutodiffEngine(Engine):
    """Binds a shared renderer to a batch of photos."""

    renderer: LocalAutodiffRenderer

    def __init__(self, name: str, description: str, renderer: LocalAutodiffRenderer, batch_size: int = 1) -> None:
        self.name = name
        self.description = description
        self.renderer = renderer
        self.batch_size = batch_size

    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """See `Engine.differentiator`."""
        return LocalAutodiffDifferentiator(self.renderer, problem)

    def detail(self, problem: DetailProblem) -> AbstractDetailSolver:
        """See `Engine.detail`."""
        return ArrayDetailSolver(self.renderer.ops, problem, self.renderer.settings.dtype)
