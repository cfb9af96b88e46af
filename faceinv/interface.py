"""What an engine is: the abstract renderer and differentiator, and the records that pass between them.

An engine holds one face model on one device. `engine.differentiator(problem)` binds it to a batch of photos. The
driver (`faceinv.solver`) sees only an objective built on top; it never sees an array library.

Arrays in these records belong to the engine's own library and device unless a field says *host* (NumPy). The leading
axis is always the batch, B.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from faceinv.blas import one_blas_thread
from faceinv.parameters import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.model import MorphableModel

__all__ = [
    "DEPTH_UNITS",
    "MIN_DOUBLE_AREA",
    "RASTER_LIMIT",
    "SNAP",
    "AbstractDifferentiator",
    "AbstractRenderer",
    "Assembly",
    "CostParts",
    "DType",
    "Energy",
    "Engine",
    "EngineSettings",
    "Frozen",
    "Geometry",
    "LandmarkPoints",
    "Linearization",
    "Normals",
    "Problem",
    "ResidualJacobian",
    "Step",
    "Visibility",
    "solve_on_host",
]

SNAP: Final = 256
"""Vertices are snapped to 1/SNAP px before coverage is decided."""
DEPTH_UNITS: Final = 4096
"""Depths are compared in units of 1/DEPTH_UNITS px."""
RASTER_LIMIT: Final = float(2**20)
"""Triangles with a vertex further than this from the origin, in px, are not drawn (integers would overflow)."""
MIN_DOUBLE_AREA: Final = 1 / 256
"""px^2. A pixel enters the photometric term only where its triangle's projected double area exceeds this: edge-on
triangles have no useful screen-space derivative."""

Array: TypeAlias = Any
"""An array of the engine's own library."""
DType: TypeAlias = Literal["float32", "float64"]
Normals: TypeAlias = Literal["smooth", "flat"]
Assembly: TypeAlias = Literal["auto", "rows", "vertices"]


@dataclass(frozen=True)
class EngineSettings:
    """How an engine is built."""

    device: str = ""
    """The library's own name of a device; empty for its default."""
    dtype: DType = "float32"
    """The precision of Jacobian rows. Geometry, costs and sums are float64 always."""
    normals: Normals = "smooth"
    """`smooth`: interpolated area-weighted vertex normals; `flat`: one normal for each triangle."""
    assembly: Assembly = "auto"
    """How J^T J is formed (DESIGN section 3); engines with one way only ignore it."""


@dataclass(frozen=True)
class Energy:
    """The weights of the energy

    `E = photo/|F| sum_F sum_c huber(I - T) + land/68 sum_l omega_l |u_l - u*_l|^2 / d^2
    + id |a|^2 + ex |e|^2 + al |b|^2 + li sum_{k>0,c} gamma_kc^2`,
    where `huber(r) = r^2` up to `huber_delta` and `huber_delta (2 |r| - huber_delta)` beyond.
    """

    photometric: float
    landmarks: float
    identity: float
    expression: float
    albedo: float
    lighting: float
    """Of the lighting coefficients above the constant one: what the photo does not show stays evenly lit."""
    huber_delta: float
    """In the units of the image; infinite for plain squares."""


@dataclass(frozen=True)
class Problem:
    """A batch of photos of one size, all host arrays."""

    image: NDArray[np.float32]
    """(B, H, W, 3), in the model's albedo space."""
    mask: NDArray[np.bool_]
    """(B, H, W) pixels that may enter the photometric term."""
    landmarks: NDArray[np.float64]
    """(B, 68, 2) px of `image`: the targets."""
    landmark_weights: NDArray[np.float64]
    """(B, 68) omega."""
    eye_distance: NDArray[np.float64]
    """(B,) d, px between the outer eye corners."""
    energy: Energy
    white: float = 1.0
    """The value of white in `image`."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[1], self.image.shape[2]

    @cached_property
    def hull(self) -> NDArray[np.bool_]:
        """(B, H, W) the pixels inside the convex hull of the landmarks: sure to be face, if not skin."""
        from faceinv.landmarks import inside_hull

        return np.stack([inside_hull(points, self.size) for points in self.landmarks])


@dataclass(frozen=True)
class Geometry:
    """The posed surface."""

    vertices: Array
    """(B, N, 3) mm, model space, float64."""
    normals: Array
    """(B, N, 3) unit vertex normals, model space, float64."""
    albedo: Array
    """(B, N, 3), float64."""
    image_xy: Array
    """(B, N, 2) px, float64."""
    depth: Array
    """(B, N) px, larger is nearer, float64."""


@dataclass(frozen=True)
class Visibility:
    """Which triangle each pixel shows."""

    triangle: Array
    """(B, H, W) int32, -1 for the background."""
    barycentric: Array
    """(B, H, W, 3) float64 from the unsnapped vertices; zeros for the background."""


@dataclass(frozen=True)
class LandmarkPoints:
    """Where the model's landmarks sit on the mesh, re-chosen with the pose for the jaw; host arrays."""

    vertices: NDArray[np.int32]
    """(B, 68, 3)."""
    weights: NDArray[np.float64]
    """(B, 68, 3)."""


@dataclass(frozen=True)
class Frozen:
    """What one step and its acceptance test hold fixed, built at one chi."""

    visibility: Visibility | None
    """None where the energy has no photometric term, so that nothing was drawn."""
    points: LandmarkPoints
    pixels: NDArray[np.int64]
    """(B,) |F|, host: the pixels in the photometric term."""
    cache: Any = None
    """The engine's own: pixel lists and the like."""


@dataclass(frozen=True)
class CostParts:
    """E and its terms, each (B,) float64 on the host."""

    photometric: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    prior: NDArray[np.float64]

    @property
    def total(self) -> NDArray[np.float64]:
        """E."""
        return self.photometric + self.landmarks + self.prior


@dataclass(frozen=True)
class Linearization:
    """E = |r|^2 and its Gauss-Newton model at one chi: with J = dr/dchi, `E(chi + d) ~ E + 2 g.d + d.H.d`."""

    cost: CostParts
    gradient: Array
    """(B, P) float64: g = J^T r, half the derivative of E."""
    hessian: Array
    """(B, P, P) float64: H = J^T J, half the Gauss-Newton Hessian of E."""
    rows: NDArray[np.int64]
    """(B,) photometric rows, 3 |F|; host."""


@dataclass(frozen=True)
class Step:
    """A damped Gauss-Newton step, host arrays."""

    delta: NDArray[np.float64]
    """(B, P), zero for entries that are held."""
    predicted_decrease: NDArray[np.float64]
    """(B,) of E, by the quadratic model."""
    gradient_norm: NDArray[np.float64]
    """(B,) max norm of the free gradient, each entry divided by the root of its diagonal in H; infinite where g or H is
    not finite."""
    solved: NDArray[np.bool_]
    """(B,) false where H was not positive definite or not finite; `delta` is zero there."""


class ResidualJacobian(NamedTuple):
    """Photometric rows of one item, host float64, for checks."""

    residual: NDArray[np.float64]
    """(R,) sqrt(photo/|F|) (I - T)."""
    jacobian: NDArray[np.float64]
    """(R, P) its derivative with visibility frozen."""
    weight: NDArray[np.float64]
    """(R,) Huber's weight: H gets `J^T diag(weight) J`, g gets `J^T diag(weight) r`."""


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
    def shade(self, geometry: Geometry, visibility: Visibility, chi: NDArray[np.float64]) -> Array:
        """Radiance (B, H, W, 3) float64; zeros for the background."""

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


@one_blas_thread()
def solve_on_host(
    gradient: NDArray[np.float64],
    hessian: NDArray[np.float64],
    damping: NDArray[np.float64],
    free: NDArray[np.bool_],
) -> Step:
    """Levenberg-Marquardt steps for a batch by float64 Cholesky, with Marquardt's scaling by the diagonal of H."""
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    batch, count = gradient.shape
    delta = np.zeros((batch, count))
    decrease, norm, solved = np.zeros(batch), np.full(batch, np.inf), np.zeros(batch, np.bool_)
    index = np.flatnonzero(free)
    for item in range(batch):
        g = gradient[item, index]
        h = hessian[item][np.ix_(index, index)]
        if not (np.isfinite(g).all() and np.isfinite(h).all()):
            continue
        # One relative unit for all entries, so that pixels, radians and standard deviations damp alike.
        diagonal = np.diagonal(h)
        scale = np.sqrt(np.maximum(diagonal, 1e-12 * max(float(diagonal.max(initial=0.0)), 1e-300)))
        scaled = h / np.outer(scale, scale)
        scaled[np.diag_indices_from(scaled)] += damping[item] + 1e-12
        norm[item] = np.abs(g / scale).max(initial=0.0)
        try:
            step = -cho_solve(cho_factor(scaled, lower=True), g / scale) / scale
        except LinAlgError:
            continue
        if not np.isfinite(step).all():
            continue
        delta[item, index] = step
        decrease[item] = -(2 * g @ step + step @ (h @ step))
        solved[item] = True
    return Step(delta, decrease, norm, solved)
