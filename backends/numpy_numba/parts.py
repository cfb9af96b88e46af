"""What kernels read of one item of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Listed", "Local", "Posed", "Pulls", "Seen", "Shape", "Target"]


class Shape(NamedTuple):
    """A surface in the model's frame; float64."""

    vertices: NDArray[np.float64]
    """(N, 3) mm."""
    normals: NDArray[np.float64]
    """(N, 3) unit."""
    inverse_length: NDArray[np.float64]
    """(N,) see `surface.vertex_normals`."""


class Posed(NamedTuple):
    """A surface before its camera; float64."""

    points: NDArray[np.float64]
    """(N, 3) px; see `camera`."""
    screen: NDArray[np.float64]
    """(N, 3): x and y on the screen, px, and w; see `camera`."""
    normals: NDArray[np.float64]
    """(N, 3) unit, camera frame."""
    albedo: NDArray[np.float64]
    """(N, 3)."""
    camera: NDArray[np.float64]
    """See `camera.packed`."""
    shadow: NDArray[np.float64]
    """(N, 9) camera frame, see `faceinv.face.self_shadow`; (0, 9) where the model has none."""


class Target(NamedTuple):
    """What residuals are taken from, and how they count."""

    image: NDArray[np.float32]
    """(H, W, 3)."""
    delta: float
    """Huber's threshold."""
    scale: float
    """sqrt(photo / |F|)."""
    weights: NDArray[np.float32]
    """(H, W), see `Problem.pixel_weights`."""


class Seen(NamedTuple):
    """The photometric pixels; see `raster.list_pixels`."""

    pixels: NDArray[np.int32]
    shown: NDArray[np.int32]
    start: NDArray[np.int32]
    stop: NDArray[np.int32]
    vertices: NDArray[np.int32]
    place: NDArray[np.int32]


class Listed(NamedTuple):
    """The photometric pixels, and those of them that H is summed over."""

    seen: Seen
    sample: Seen
    """`seen` itself where H is summed over all."""


class Pulls(NamedTuple):
    """J^T r by what pixels depend on themselves; float64."""

    cost: NDArray[np.float64]
    """(F,)."""
    pixels: NDArray[np.float64]
    """(F, PULL); see `record`."""
    light: NDArray[np.float64]
    """(27,) g of the light."""
    spin: NDArray[np.float64]
    """(3,) what shadows add to g of the head's turn; of flat normals, as `Local.spin`."""


class Local(NamedTuple):
    """Residuals and local derivatives of pixels."""

    residual: NDArray[np.float64]
    """(F, 3)."""
    weight: NDArray[np.float64]
    """(F, 3) Huber's."""
    spin: NDArray[Any]
    """(F, 3, 3) channel, axis: how a pixel's radiance changes as the shadows turn with the head. Of flat normals; (0,
    3, 3) where there is no shadow, and for interpolated normals (see `normal_equations.LightTurn`)."""
    record: NDArray[Any]
    """(F, RECORD); see `record`."""
