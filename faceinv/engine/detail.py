"""Fine detail on an engine: relief of one resolution level, its cost, its Gauss-Newton system and its steps.

The relief is a displacement `d` (mm, towards the viewer along the optical axis) at the CORNERS of pixels: corner (i, j)
of the (H + 1, W + 1) grid is the upper left one of pixel (i, j). Slopes are those at pixel centres, from the four
corners, so that nothing is shifted by half a pixel:

    d_x = (d[i, j+1] + d[i+1, j+1] - d[i, j] - d[i+1, j]) / (2 h)          mm per mm, x right
    d_y = (d[i+1, j] + d[i+1, j+1] - d[i, j] - d[i, j+1]) / (2 h)          y DOWN

with h mm per pixel. The displaced normal, in the camera frame (x right, y UP, z to the viewer), is that of the surface
whose points move along the optical axis, drawn in perspective:

    a = (x - c_x) / f,  b = -(y - c_y) / f                                 0 under weak perspective, 1 / f = 0
    e = n0_z - a n0_x - b n0_y                                             how much n0 faces the pixel's ray
    n = unit( n0 + e (-d_x, +d_y, b d_y - a d_x) )

(From the cross product of the tangents of a depth map t (x/f, y/f, -1): the normal is a multiple of
`(t_X, t_Y, (t + X t_X + Y t_Y) / f)`. A change of t itself, 1/1000 of the distance, is left out.) Grazing pixels have a
small e, so relief fades out there by itself; a pixel whose e is not positive must not be in the mask.

The energy of an item, over the pixels p of its mask and the corners q that belong to such a pixel:

    r_c(p)   = target_c - gain_c gamma_c . Y(n)                            c: R, G, B
    s(p)     = sqrt( r^T W r )
    E = sum_p weight huber_delta(s)                                        `photometric`
      + mu1 sum_q d^2                                                      `size`
      + mu2 sum_q sparse( (laplacian d)^2, eps_c )                         `curvature`
      + sum_p [ tv sparse( d_x^2 + d_y^2, eps_s ) + steep (d_x^2 + d_y^2)^2 ]         `slope`

`huber(s) = s^2` up to delta, `2 delta s - delta^2` beyond. `sparse(x^2, eps)` is the softened L1 norm,
`sqrt(x^2 + eps^2) - eps`, or with `heavy_tails` Cauchy's `eps log(1 + x^2 / eps^2)`, which lets large numbers be: a few
deep wrinkles cost less than the same relief spread out. Half its derivative over x is `sparse'`,
`1 / (2 sqrt(x^2 + eps^2))` or `eps / (x^2 + eps^2)`. The Laplacian (1/mm) has five points and knows only corners
that count: `(sum over such neighbours of (d_neighbour - d_q)) / h^2`. With A its symmetric matrix, G the slopes' and
J_p (3, 2) the derivative of the model `gain_c S_c(n)` by the slopes, one linearisation freezes

    w_p = weight (1 if s <= delta else delta / s),   A_p = w_p J^T W J (2, 2),   b_p = w_p J^T W r (2,)
    l_q = mu2 sparse'((laplacian d)^2, eps_c)
    t_p = tv sparse'(d_x^2 + d_y^2, eps_s) + 2 steep (d_x^2 + d_y^2)

and gives half the gradient and half the (majorised, Gauss-Newton) Hessian, as everywhere in faceinv:

    g = -G^T b + mu1 d + A^T l A d + G^T t G d
    H =  G^T (A_p + t I) G + mu1 I + A^T l A

`solve` takes steps of conjugate gradients, preconditioned by H's diagonal, on `H step = -g` from 0. All of it is
stencils. Arrays are of the engine's dtype (`EngineSettings.dtype`). Displacements, systems and steps stay on the
device; costs (B,) and counts go to the host. Sums run in an order that depends on the size of the problem alone: same
input, same bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.lighting import SH_CONSTANTS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Array

__all__ = [
    "COST_PARTS",
    "AbstractDetailSolver",
    "Bands",
    "DetailLinearization",
    "DetailProblem",
    "DetailWeights",
    "basis_constants",
    "corners_of",
]

COST_PARTS: Final = ("photometric", "size", "curvature", "slope")
"""Names of the energy's parts, in the order in which engines give them."""


@dataclass(frozen=True)
class Bands:
    """Standard deviations of Gaussian means, mm: what of shading is albedo's and what relief's, by how broad it is."""

    albedo: float
    """What is smoother in the photo is albedo."""
    relief: float
    """What is smoother of relief is the coarse face's."""


@dataclass(frozen=True)
class DetailWeights:
    """What the terms of the energy count for; per pixel, lengths in mm, so that they suit any resolution."""

    size: float
    """mu1, 1/mm^2."""
    curvature: float
    """mu2, mm."""
    slope: float
    """tv, no unit."""
    steep: float
    """Of the fourth power of slopes, no unit: what keeps them below 1 where the shading saturates."""
    huber: float
    """delta, in the unit of residuals; infinite for plain squares."""
    curvature_softness: float
    """eps_c, 1/mm: below it the cost of curvature is quadratic."""
    slope_softness: float
    """eps_s, no unit: the same for slopes."""
    heavy_tails: bool = False
    """Costs of curvature and slopes by Cauchy's logarithm instead of the L1 norm: large ones are not shrunk."""


@dataclass(frozen=True, eq=False)
class DetailProblem:
    """One level of a batch of faces of one image size; host arrays, B items of H x W pixels.

    Raises:
        ValueError: when shapes differ, or pixels on the rim of the image are in the mask.
    """

    target: NDArray[np.float32]
    """(B, H, W, 3): what the photo shows, linear RGB in the unit of residuals, relative to the coarse render or not."""
    gain: NDArray[np.float32]
    """(B, H, W, 3): albedo in that unit: radiance `gamma . Y(n)` times it is the model of `target`."""
    normal: NDArray[np.float32]
    """(B, H, W, 3) n0: unit, camera frame, of the coarse surface; anything finite outside the mask."""
    weight: NDArray[np.float32]
    """(B, H, W) at least 0: how much each pixel's colour counts. Pixels of the mask that count 0 are filled in."""
    mask: NDArray[np.bool_]
    """(B, H, W): pixels that have relief. False on the image's rim: kernels may read neighbours without a look."""
    lighting: NDArray[np.float64]
    """(B, 9, 3) gamma, as `faceinv.face.lighting`."""
    metric: NDArray[np.float64]
    """(B, 3, 3) W: symmetric, positive semidefinite."""
    pixel: NDArray[np.float64]
    """(B,) h, mm per pixel."""
    principal_point: NDArray[np.float64]
    """(B, 2) c, px of these images (x, y)."""
    inverse_focal: NDArray[np.float64]
    """(B,) 1/f, 1/px of these images; 0 for weak perspective."""
    weights: DetailWeights
    bands: Bands | None = None
    """How broad low-passed albedo is, and relief; None where the albedo is known. Engines have no use for it: it is
    what the driver does on the host between sizes (`faceinv.detail.solver`)."""

    def __post_init__(self) -> None:
        count, height, width = self.mask.shape
        wanted = {
            **dict.fromkeys(("target", "gain", "normal"), (count, height, width, 3)),
            "weight": (count, height, width),
            "lighting": (count, 9, 3),
            "metric": (count, 3, 3),
            "pixel": (count,),
            "principal_point": (count, 2),
            "inverse_focal": (count,),
        }
        for name, shape in wanted.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}; expected {shape}.")
        if self.mask[:, [0, -1]].any() or self.mask[:, :, [0, -1]].any():
            raise ValueError("pixels on the rim of the image are in the mask; leave a margin of one pixel.")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return self.mask.shape[1], self.mask.shape[2]

    @cached_property
    def corners(self) -> NDArray[np.bool_]:
        """(B, H + 1, W + 1): corners that belong to a pixel of the mask."""
        return corners_of(self.mask)


def basis_constants() -> NDArray[np.float64]:
    """(9,) the constants of the basis functions `1, y, z, x, xy, yz, 3z^2-1, xz, x^2-y^2`."""
    return np.array(SH_CONSTANTS)[[0, 1, 1, 1, 2, 2, 3, 2, 4]]


def corners_of(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(B, H + 1, W + 1): corners of the pixels of a mask (B, H, W)."""
    count, height, width = mask.shape
    corners = np.zeros((count, height + 1, width + 1), np.bool_)
    for rows in (slice(None, -1), slice(1, None)):
        for columns in (slice(None, -1), slice(1, None)):
            corners[:, rows, columns] |= mask
    return corners


@dataclass(frozen=True, eq=False)
class DetailLinearization:
    """The energy at a displacement and its frozen quadratic model."""

    cost: NDArray[np.float64]
    """(B, 4) host: the energy's parts, in the order of `COST_PARTS`."""
    gradient: Array
    """(B, H + 1, W + 1) on the device: g, zeros at corners that do not count."""
    system: Any
    """The engine's own: what H is made of."""


class AbstractDetailSolver(ABC):
    """One level of a batch, bound to an engine. Items do not touch: each gets what it gets alone.

    Displacements are the engine's arrays (B, H + 1, W + 1), mm, zeros at corners that do not count.
    """

    problem: DetailProblem

    @abstractmethod
    def upload(self, displacement: NDArray[np.float64] | None) -> Array:
        """A displacement (B, H + 1, W + 1) mm of the host on the device; zeros for None.

        It is zeroed where corners do not count.
        """

    @abstractmethod
    def prolong(self, coarse: Array) -> Array:
        """The displacement of a level of half the size on this level's grid.

        Corner (2i, 2j) here is corner (i, j) there; those between are means of the two or four around them; where a
        row or column is missing at the end, the last one there is repeated. Zeroed where corners do not count here.
        """

    @abstractmethod
    def linearize(self, displacement: Array) -> DetailLinearization:
        """The cost at a displacement, g, and the frozen parts of H."""

    @abstractmethod
    def hessian_product(self, linearization: DetailLinearization, vector: Array) -> Array:
        """H times a vector (B, H + 1, W + 1) that is zero at corners that do not count."""

    @abstractmethod
    def solve(
        self, linearization: DetailLinearization, tolerance: float, limit: int
    ) -> tuple[Array, NDArray[np.int64]]:
        """Conjugate gradients on `H step = -g` from 0, preconditioned by H's diagonal.

        An item stops when its squared residual, in the norm of the inverse diagonal, is at most `tolerance^2` times its
        first, or after `limit` steps.

        Returns:
            step (B, H + 1, W + 1) on the device, and (B,) the steps that each item took.
        """

    @abstractmethod
    def moved(self, displacement: Array, step: Array, length: NDArray[np.float64]) -> Array:
        """`displacement + length step`, with length (B,) from the host; items with length 0 keep their bits."""

    @abstractmethod
    def normals(self, displacement: Array) -> Array:
        """(B, H, W, 3) n of the displaced surface; n0 outside the mask."""

    @abstractmethod
    def to_host(self, array: Array) -> NDArray[Any]:
        """A NumPy array of one of the engine's own."""
