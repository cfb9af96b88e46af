"""What passes between the driver and an engine.

Arrays belong to the engine's own library and device unless a field says *host* (NumPy). The leading axis is always the
batch, B.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeAlias

import numpy as np

from faceinv.face.landmarks68 import LANDMARK_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import Camera

__all__ = [
    "DEPTH_UNITS",
    "MARK_CORNERS",
    "MIN_DOUBLE_AREA",
    "PIXEL_QUANTITIES",
    "RASTER_LIMIT",
    "SHADED",
    "SNAP",
    "Array",
    "Assembly",
    "Cost",
    "DType",
    "Energy",
    "EngineSettings",
    "Frozen",
    "Geometry",
    "LandmarkPoints",
    "Linearization",
    "Normals",
    "PixelQuantity",
    "Pixels",
    "Problem",
    "ResidualJacobian",
    "Step",
    "Visibility",
    "hessian_lattice",
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
MARK_CORNERS: Final = 6
"""Vertices that carry a landmark point: two points of the jaw's edge, of three vertices each, and what lies between."""
Array: TypeAlias = Any
"""An array of the engine's own library."""
DType: TypeAlias = Literal["float32", "float64"]
Normals: TypeAlias = Literal["smooth", "flat"]
Assembly: TypeAlias = Literal["auto", "rows", "vertices"]
PixelQuantity: TypeAlias = Literal["position", "normal", "albedo", "shadow", "depth", "uv"]
PIXEL_QUANTITIES: Final[tuple[PixelQuantity, ...]] = ("position", "normal", "albedo", "shadow", "depth", "uv")
"""All that `AbstractRenderer.interpolate` can give."""
SHADED: Final[tuple[PixelQuantity, ...]] = ("normal", "albedo", "shadow")
"""What `AbstractRenderer.shade` reads."""


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
    """How J^T J is formed (docs/ARCHITECTURE.md, "Normal equations, two ways"); engines with one way only ignore it."""


@dataclass(frozen=True)
class Energy:
    """What the terms of the energy are worth: the inverses of variances, so that E is minus twice a log-probability

    `E = photometric/|F| sum_F w_p sum_c huber(I - T) + sum_l |A_l (u_l - u*_l)|^2
    + identity |a|^2 + expression |e|^2 + albedo |b|^2 + lighting sum_{k>0,c} gamma_kc^2`, and `Problem.focal_prior`,
    where w_p are `Problem.pixel_weights`, and `huber(r) = r^2` up to `huber_delta` and
    `huber_delta (2 |r| - huber_delta)` beyond. The metrics A_l of the landmarks come from `Problem.landmark_sigma`;
    they are in `LandmarkPoints`.
    """

    photometric: float
    """Independent samples of colour that a face holds, over the variance of one; 0 leaves the term out."""
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
    landmark_sigma: NDArray[np.float64]
    """(B, 68) standard deviation of each target, x and y alike, as a share of `eye_distance`; infinite for a point that
    does not count. Jaw targets have it across the outline; along it they say nothing."""
    eye_distance: NDArray[np.float64]
    """(B,) d, px between the outer eye corners: the unit of landmark distances."""
    energy: Energy
    white: float = 1.0
    """The value of white in `image`."""
    focal_prior: NDArray[np.float64] | None = None
    """(B, 2) of one over the focal length: what it is drawn to, 1/px, and the weight of the squared difference, px^2;
    None for no prior."""
    landmark_offsets: NDArray[np.float64] = field(default_factory=lambda: np.zeros((1, LANDMARK_COUNT, 3)))
    """(B, 68, 3), or (1, 68, 3) for all photos, mm in model space: from the model's landmark to the point that the
    targets mark. Constants of the source of the targets."""
    hessian_step: int = 1
    """H is summed over one in so many photometric pixels, on `hessian_lattice`, and multiplied by the ratio of their
    counts: neighbours have rows that are nearly alike, and g alone decides where the minimum is."""
    pixel_weights: NDArray[np.float32] | None = None
    """(B, H, W) from 0 to 1: how sure it is that each pixel shows the face, by which its part of the photometric term
    is multiplied (|F| counts pixels all the same); None for ones."""

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.image.shape[1], self.image.shape[2]

    @cached_property
    def weights(self) -> NDArray[np.float32]:
        """(B, H, W) `pixel_weights`, written out."""
        if self.pixel_weights is None:
            return np.ones(self.mask.shape, np.float32)
        return np.ascontiguousarray(self.pixel_weights, np.float32)

    @cached_property
    def hull(self) -> NDArray[np.bool_]:
        """(B, H, W) the pixels inside the convex hull of the landmarks: sure to be face, if not skin."""
        from faceinv.photo.hull import inside_hull

        return np.stack([inside_hull(points, self.size) for points in self.landmarks])


def hessian_lattice(size: tuple[int, int], step: int) -> NDArray[np.bool_]:
    """(H, W) one in `step` pixels, spread evenly: `x + isqrt(step) y` is a multiple of it."""
    height, width = size
    lattice: NDArray[np.bool_] = (np.arange(width) + math.isqrt(step) * np.arange(height)[:, None]) % step == 0
    return lattice


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
    """(B, N) px, float64: see `Camera.project`. Larger is nearer; infinite where a vertex is not in front of the
    camera."""
    camera: Camera
    """The cameras that see it; host: scale (B,), rotation (B, 3, 3), translation (B, 2), and so on."""


@dataclass(frozen=True)
class Visibility:
    """Which triangle each pixel shows."""

    triangle: Array
    """(B, H, W) int32, -1 for the background."""
    barycentric: Array
    """(B, H, W, 3) float64: weights on the surface of the point a pixel shows, from the unsnapped vertices; zeros for
    the background."""


@dataclass(frozen=True)
class Pixels:
    """What each pixel shows of the surface: float64, zeros for the background; None where it was not asked for."""

    triangle: Array
    """(B, H, W) int32, -1 for the background."""
    position: Array | None
    """(B, H, W, 3) mm, model space."""
    normal: Array | None
    """(B, H, W, 3) unit, camera frame: interpolated from the vertices, or the triangle's own for flat normals."""
    albedo: Array | None
    """(B, H, W, 3)."""
    shadow: Array | None
    """(B, H, W, 9) what the face itself takes from the basis, camera frame: see `faceinv.face.self_shadow`. None, even
    if asked for, where the model has no `occlusion`."""
    depth: Array | None
    """(B, H, W) px, larger is nearer."""
    uv: Array | None
    """(B, H, W, 2) the model's own texture coordinates: `uv` through `uv_triangles`."""

    def needed(self, quantity: PixelQuantity) -> Array:
        """One of the quantities.

        Raises:
            ValueError: when it was not asked for.
        """
        array = getattr(self, quantity)
        if array is None:
            given = [name for name in PIXEL_QUANTITIES if getattr(self, name) is not None]
            raise ValueError(
                f"these pixels hold {', '.join(given) or 'no quantity'}, not {quantity}; "
                f"name '{quantity}' among the quantities that `interpolate` is asked for."
            )
        return array


@dataclass(frozen=True)
class LandmarkPoints:
    """Where the model's landmarks sit on the mesh, re-chosen with the pose for the jaw, and how their distances from
    the targets count; host arrays.

    Landmark l is `sum_k weights[l, k] V[vertices[l, k]] + Problem.landmark_offsets[l]`; projected to u_l px, its
    residual is `metric[l] (u_l - u*_l)`.
    """

    vertices: NDArray[np.int32]
    """(B, 68, MARK_CORNERS)."""
    weights: NDArray[np.float64]
    """(B, 68, MARK_CORNERS), zeros after the last corner that matters."""
    metric: NDArray[np.float64]
    """(B, 68, 2, 2) 1/px: A_l. Of a point it is the unit matrix over its standard deviation; of a point of an outline
    the first row is the outline's unit normal over it, made smaller where the target is far away; the second is
    zero."""


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
class Cost:
    """A sum of squares for each item of a batch, and the terms it is made of."""

    total: NDArray[np.float64]
    """(B,) float64 on the host."""
    terms: Mapping[str, NDArray[np.float64]]
    """Name to (B,) float64 on the host. Of the energy: `photometric`, `landmarks`, `prior`."""

    @classmethod
    def of(cls, **terms: NDArray[np.float64]) -> Cost:
        """The sum of terms, in the order in which they are given."""
        return cls(np.asarray(sum(terms.values())), terms)


@dataclass(frozen=True)
class Linearization:
    """E = |r|^2 and its Gauss-Newton model at one chi: with J = dr/dchi, `E(chi + d) ~ E + 2 g.d + d.H.d`."""

    cost: Cost
    gradient: Array
    """(B, P) float64: g = J^T r, half the derivative of E."""
    hessian: Array
    """(B, P, P) float64: H = J^T J, half the Gauss-Newton Hessian of E."""
    rows: NDArray[np.int64]
    """(B,) residual rows that depend on the state, for people: 3 |F|; host."""


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
    """(R,) sqrt(photometric w_p/|F|) (I - T)."""
    jacobian: NDArray[np.float64]
    """(R, P) its derivative with visibility frozen."""
    weight: NDArray[np.float64]
    """(R,) Huber's weight: H gets `J^T diag(weight) J`, g gets `J^T diag(weight) r`."""
