"""What an engine is: the abstract renderer and differentiator, and the records that pass between them.

An engine holds one face model on one device. `engine.differentiator(problem)` binds it to a batch of photos. The
driver (`faceinv.fitting.solver`) sees only an objective built on top; it never sees an array library.

Arrays in these records belong to the engine's own library and device unless a field says *host* (NumPy). The leading
axis is always the batch, B.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.engine.host_solve import solve_on_host
from faceinv.engine.records import (
    PIXEL_QUANTITIES,
    Array,
    CostParts,
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
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["AbstractDifferentiator", "AbstractRenderer", "Engine"]


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
        """

    @abstractmethod
    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """What each pixel shows of the surface, by its triangle's barycentric weights; only what is asked for."""

    @abstractmethod
    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> Array:
        """Radiance (B, H, W, 3) float64 of normals and albedo under lighting (B, 9, 3), host; zeros for the background.

        Raises:
            ValueError: when the pixels lack normals or albedo.
        """

    @abstractmethod
    def to_host(self, array: Array) -> NDArray[Any]:
        """A NumPy array of one of the engine's own."""

    def synchronize(self) -> None:  # noqa: B027 - most engines have nothing to do
        """Wait until the device has finished; nothing to do on a CPU."""


class AbstractDifferentiator(ABC):
    """The energy of a batch of photos, its derivatives and its step.

    Where the energy's photometric weight is 0, F is empty and nothing is drawn: landmarks and priors alone.
    """

    renderer: AbstractRenderer
    problem: Problem

    @abstractmethod
    def freeze(self, chi: NDArray[np.float64]) -> Frozen:
        """Visibility, photometric pixels and landmark points at chi (B, P)."""

    @abstractmethod
    def linearize(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> Linearization:
        """Cost, g and H at chi (B, P); items with `active` (B,) false are left zero."""

    @abstractmethod
    def cost(self, chi: NDArray[np.float64], frozen: Frozen, active: NDArray[np.bool_]) -> CostParts:
        """The cost alone; equal to `linearize(...).cost` at the same chi."""

    @abstractmethod
    def residual_jacobian(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None = None
    ) -> ResidualJacobian:
        """Chosen photometric rows (all when None) of one item: pixels row by row, each with R, G, B."""

    @abstractmethod
    def without_occluders(self, chi: NDArray[np.float64], threshold: float) -> AbstractDifferentiator:
        """The same photos without what covers the face in them: hair, hands.

        Inside the landmarks' hull everything counts (Huber's cost bears glasses and beards). Outside of it, on forehead
        and temples, a face pixel counts if the face explains its surroundings about as well as it explains the hull:
        if the mean over channels of |radiance - photo|, averaged over the face pixels of the window of
        max(3, H // 20) px around it, is at most `threshold` times the median of those averages inside the hull.
        """

    @abstractmethod
    def photometric_rmse(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B,) root mean square of radiance - photo in linear RGB with white at 1, over the face mask's pixels inside
        the hull of the landmarks and the photo's mask; NaN where there are none."""

    def solve(self, linearization: Linearization, damping: NDArray[np.float64], free: NDArray[np.bool_]) -> Step:
        """Solve `(H + damping diag(H)) delta = -g` over the entries of chi that are free (P,)."""
        gradient = self.renderer.to_host(linearization.gradient)
        return solve_on_host(gradient, self.renderer.to_host(linearization.hessian), damping, free)


class Engine(ABC):
    """One face model on one device."""

    name: str
    """The registry's name, such as `numpy`."""
    description: str
    """Library and version, device and dtype, for people."""
    renderer: AbstractRenderer

    @abstractmethod
    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """Bind the engine to a batch of photos."""

    def close(self) -> None:  # noqa: B027 - most engines have nothing to do
        """Give the device's memory back, but for the driver's own; the engine and what it made are of no more use."""
