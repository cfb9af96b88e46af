# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""The camera of the kernels: weak perspective. Its formula, and how many parameters it has, are nowhere else.

Two frames take part. Posed points `p = s R V` are in px, x right, y up, z towards the viewer. The screen is the image
with y up and its origin where the camera puts that of the model: `u = (x - t_x, t_y - y)` px, here the first two of p.

What a perspective camera changes: `screen_place`, `projected` and `weights` divide by the depth; `motion_row` and
`pose_columns` give the rows of the screen's 2x3 Jacobian, which then depend on the vertex. Weights that are corrected
for perspective move with the corners' depth too: `SCREEN_ROWS` becomes 3, and `record.LANES` grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.numpy_numba.kernel import kernel
from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.camera import WeakPerspective

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "PARAMETERS",
    "SCREEN_ROWS",
    "motion_row",
    "packed",
    "pixel_place",
    "pose_columns",
    "posed",
    "projected",
    "turn",
    "turn_columns",
    "turned",
    "weights",
]

PARAMETERS: Final = WeakPerspective.PARAMETER_COUNT
SCREEN_ROWS: Final = 2
"""How many rows of a vertex's motion decide where it is on the screen: x and y, px."""
_SCALE, _SHIFT = 9, 10
_LEAST_AREA = MIN_DOUBLE_AREA * 1e-3


def packed(camera: WeakPerspective) -> NDArray[np.float64]:
    """One camera as the kernels read it: R (9), s, t (2)."""
    return np.concatenate([camera.rotation.ravel(), [camera.scale], camera.translation])


def posed(camera: WeakPerspective, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) px of points (N, 3) mm."""
    result: NDArray[np.float64] = float(camera.scale) * (points @ camera.rotation.T)
    return result


def turned(camera: WeakPerspective, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) in the camera frame of directions (N, 3) in the model's."""
    result: NDArray[np.float64] = directions @ camera.rotation.T
    return result


def projected(camera: WeakPerspective, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of posed points (N, 3): where they are in the image (N, 2) px, and their depth (N,) px, larger is nearer."""
    tx, ty = camera.translation
    return np.stack([points[:, 0] + tx, ty - points[:, 1]], axis=1), points[:, 2].copy()


@kernel
def pixel_place(camera, x, y):
    """Where a pixel is on the screen."""
    return x - camera[_SHIFT], camera[_SHIFT + 1] - y


@kernel
def weights(points, i0, i1, i2, u, v):
    """Barycentric weights 0, 1, 2 of a screen place (u, v) in a triangle of posed points, and their gradients.

    Returns b0, b1, b2, and x and y of the screen-space gradients of b1 and of b2, 1/px.
    """
    x1, y1 = points[i1, 0] - points[i0, 0], points[i1, 1] - points[i0, 1]
    x2, y2 = points[i2, 0] - points[i0, 0], points[i2, 1] - points[i0, 1]
    area = x1 * y2 - y1 * x2
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if abs(area) < _LEAST_AREA:
        area = _LEAST_AREA
    inverse = 1.0 / area
    g1x, g1y, g2x, g2y = y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse
    dx, dy = u - points[i0, 0], v - points[i0, 1]
    b1, b2 = dx * g1x + dy * g1y, dx * g2x + dy * g2y
    return 1.0 - b1 - b2, b1, b2, g1x, g1y, g2x, g2y


@kernel(fastmath={"contract"})
def motion_row(camera, axis):
    """How a posed point moves along an axis, px, with its place in the model, per mm: the Jacobian's row."""
    scale = camera[_SCALE]
    return scale * camera[3 * axis], scale * camera[3 * axis + 1], scale * camera[3 * axis + 2]


@kernel(fastmath={"contract"})
def pose_columns(points, v, axis):
    """How posed point v moves on the screen (axis 0 and 1) and in depth (2) with the camera's parameters, in px."""
    x, y, z = points[v, 0], points[v, 1], points[v, 2]
    if axis == 0:
        return x, 0.0, z, -y, 1.0, 0.0
    if axis == 1:
        return y, -z, 0.0, x, 0.0, -1.0
    return z, y, -x, 0.0, 0.0, 0.0


@kernel(fastmath={"contract"})
def turn(camera, x, y, z):
    """A direction of the model frame in the camera's."""
    return (
        camera[0] * x + camera[1] * y + camera[2] * z,
        camera[3] * x + camera[4] * y + camera[5] * z,
        camera[6] * x + camera[7] * y + camera[8] * z,
    )


@kernel(fastmath={"contract"})
def turn_columns(camera, w0, w1, w2):
    """`w . dn`: how a direction turns with the camera's parameters, w being a vector in the model frame.

    A turn by dw in the camera frame moves a unit normal n by `dw x R n`; along a tangent u that is `R (n x u) . dw`.
    """
    t0, t1, t2 = turn(camera, w0, w1, w2)
    return 0.0, t0, t1, t2, 0.0, 0.0
