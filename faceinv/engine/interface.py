"""What an engine is: all that its author must read, and implement.

An engine holds one face model on one device. `engine.differentiator(problem)` binds it to a batch of photos. The
records that pass between them are in `faceinv.engine.records`. The driver (`faceinv.fitting.solver`) sees only an
objective built on top; it never sees an array library. `docs/ENGINES.md` walks through an engine of one's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.evaluation import photometric_rmse, responsibilities
from faceinv.engine.host_solve import solve_on_host
from faceinv.engine.host_terms import HostTerms
from faceinv.engine.records import (
    PIXEL_QUANTITIES,
    Array,
    Cost,
    EngineSettings,
    Frozen,
    Geometry,
    Linearization,
    PixelQuantity,
    Pixels,
    Problem,
    ResidualJacobian,
    Step,
    Visibility,
)
from faceinv.errors import BackendError
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from numpy.typing import NDArray

    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
    from faceinv.face.model import MorphableModel

__all__ = ["AbstractDifferentiator", "AbstractRenderer", "Engine", "FittingThreads"]


def _nothing() -> None:
    pass


@dataclass(frozen=True)
class FittingThreads:
    """Threads that fit photos at the same time, on one engine."""

    count: int = 1
    begin: Callable[[], None] = _nothing
    """To be called in each of them, but for a single one, before it fits: the processor's cores are theirs together."""


class AbstractRenderer(ABC):
    """Draws the face model."""

    model: MorphableModel
    layout: ParameterLayout
    settings: EngineSettings

    @abstractmethod
    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """The posed surface of chi (B, P)."""

    @abstractmethod
    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """The nearest front-facing triangle of each pixel of an image of size (H, W).

        Vertices are snapped to 1/256 px; integer edge functions with the top-left rule decide coverage; depth is
        interpolated with the snapped weights and compared in units of 1/4096 px, ties going to the lowest triangle.
        Triangles with a vertex whose depth is not finite are not drawn. Barycentric weights are those on the surface:
        with `w_k = 1 + depth_k / f`, a corner that weighs a_k in the image weighs `a_k w_k / sum a_j w_j`.
        """

    @abstractmethod
    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """What each pixel shows of the surface, by its triangle's barycentric weights; only what is asked for.

        A pixel's depth is not the mean of its corners' depths d_k, which are linear in the image: it is
        `z / (1 - z / f)` with `z = sum b_k d_k / (1 + d_k / f)`.
        """

    @abstractmethod
    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> Array:
        """Radiance (B, H, W, 3) float64 of what pixels show (`records.SHADED`) under lighting (B, 9, 3), host: albedo
        times lighting times the basis of the normal less the shadow; zeros for the background.

        Raises:
            ValueError: when the pixels lack normals or albedo, or shadows where the model has them.
        """

    @cached_property
    def host_terms(self) -> HostTerms:
        """Landmarks and priors of the model, on the host."""
        return HostTerms(self.model)

    @abstractmethod
    def to_host(self, array: Array) -> NDArray[Any]:
        """A NumPy array of one of the engine's own."""

    def synchronize(self) -> None:  # noqa: B027 - most engines have nothing to do
        """Wait until the device has finished; nothing to do on a CPU."""


class AbstractDifferentiator(ABC):
    """The energy of a batch of photos, its derivatives and its step.

    Where the energy's photometric weight is 0, F is empty and nothing is drawn: landmarks and priors alone.
    """

    def __init__(self, renderer: Any, problem: Problem) -> None:
        self.renderer = renderer
        self.problem = problem

    @abstractmethod
    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """Visibility, photometric pixels and landmark points at chi (B, P)."""

    @abstractmethod
    def linearize(
        self,
        chi: NDArray[np.float64],
        frozen: Frozen,
        active: NDArray[np.bool_],
        free: NDArray[np.bool_] | None = None,
    ) -> Linearization:
        """Cost, g and H at chi (B, P); items with `active` (B,) false are left zero.

        Cost and g are those of all photometric pixels. H is summed over those on `records.hessian_lattice` alone,
        where there are any, times the ratio of their counts. Entries of g and H that are not `free` (B, P) may be left
        zero.
        """

    @abstractmethod
    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Cost:
        """The cost alone; equal to `linearize(...).cost` at the same chi."""

    @abstractmethod
    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """Chosen photometric rows (all when None) of one item: pixels row by row, each with R, G, B."""

    # What follows has defaults that work on the host; an engine may do it on its device.

    @one_blas_thread()
    def without_occluders(self, chi: NDArray[np.float64], share: float) -> Self:
        """The same photos, each pixel weighted by how sure it is that it shows the face, by
        `evaluation.responsibilities`; `share` of the face is expected to be covered."""
        weights = responsibilities(self.renderer, self.problem, chi, share)
        return type(self)(self.renderer, replace(self.problem, pixel_weights=weights))

    @one_blas_thread()
    def photometric_rmse(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) how far radiance and photo are apart, by `evaluation.photometric_rmse`."""
        return photometric_rmse(self.renderer, self.problem, chi)

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """Solve `(H + damping diag(H)) delta = -g` over the entries of chi that are free: (B, P), or (P,) for all items
        alike."""
        gradient = self.renderer.to_host(linearization.gradient)
        return solve_on_host(gradient, self.renderer.to_host(linearization.hessian), damping, free)


class Engine(ABC):
    """One face model on one device."""

    name: str
    """The registry's name, such as `numpy`."""
    description: str
    """Library and version, device and dtype, for people."""
    renderer: AbstractRenderer
    batch_size: int = 1
    """Photos that a run over many gives to `differentiator` at once; where it is above 1, one process has them all.
    Where it is 1, photos are fitted one by one, even those that are given together."""

    @abstractmethod
    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """Bind the engine to a batch of photos."""

    def detail(self, problem: DetailProblem) -> AbstractDetailSolver:
        """Bind the engine to one level of the relief of a batch of photos.

        Raises:
            BackendError: by engines that find no detail.
        """
        raise BackendError(
            f"engine '{self.name}' finds no fine detail: it has no `Engine.detail`. Switch detail off, or use another."
        )

    def fitting_threads(self, photos: int) -> FittingThreads:
        """By how many threads so many photos may be fitted at the same time; one unless an engine can do it.

        An engine that can has all its methods but `close`, and those of its renderer, ready to be called by several
        threads at once. Its other objects are used by the thread alone that made them.
        """
        return FittingThreads()

    def close(self) -> None:  # noqa: B027 - most engines have nothing to do
        """Give the device's memory back, but for the driver's own; the engine and what it made are of no more use."""
