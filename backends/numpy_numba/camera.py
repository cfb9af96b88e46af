# mypy: allow-untyped-defs, allow-untyped-calls, disable-error-code="untyped-decorator"
"""The camera of the kernels. Its formula, and how many parameters it has, are nowhere else.

Two frames take part. Posed points `p = s R V` are in px, x right, y up, z towards the viewer. The screen is the image
with y up and its origin where the camera puts that of the model: `u = (x - t_x, t_y - y)` px. With `1 - e = 1 / w`,
`e = p_z / f`, and U the place in the image from the principal point, y up, a point moves there by

    dU = w (dp_xy + dt_xy + U de)

so three rows of a vertex's motion, those of p_x + t_x, p_y - t_y and e, say how the screen moves with it, whatever U
is: what a triangle shows at a pixel moves by the pixel's w times the mean of its corners' rows, U being the pixel's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.numpy_numba.kernel import kernel
from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.camera import NEAREST, Camera

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "DEPTH_ROW",
    "PARAMETERS",
    "SCREEN_ROWS",
    "add_pose_pull",
    "add_turn",
    "from_centre",
    "motion_row",
    "packed",
    "pixel_place",
    "posed",
    "projected",
    "turn",
    "turn_back",
    "turned",
    "weights",
]

PARAMETERS: Final = Camera.PARAMETER_COUNT
SCREEN_ROWS: Final = 3
"""How many rows of a vertex's motion decide where it is on the screen: x and y, px, and e."""
DEPTH_ROW: Final = 3
"""The row after these, where it is asked for: the motion of p_z, px."""
_SCALE, _SHIFT, _CENTRE, _INVERSE_FOCAL = 9, 10, 12, 14
_LEAST_AREA = MIN_DOUBLE_AREA * 1e-3


def packed(camera: Camera) -> NDArray[np.float64]:
    """One camera as the kernels read it: R (9), s, t (2), c (2), 1/f."""
    scale = float(camera.scale)
    inverse_focal = float(camera.kappa) / scale
    return np.concatenate([camera.rotation.ravel(), [scale], camera.translation, camera.centre, [inverse_focal]])


def posed(camera: Camera, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) px of points (N, 3) mm."""
    result: NDArray[np.float64] = float(camera.scale) * (points @ camera.rotation.T)
    return result


def turned(camera: Camera, directions: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, 3) in the camera frame of directions (N, 3) in the model's."""
    result: NDArray[np.float64] = directions @ camera.rotation.T
    return result


def projected(
    camera: Camera, points: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Of posed points (N, 3): where they are in the image (N, 2) px; their depth (N,) px, larger is nearer, infinite
    where they are not in front of the camera; and on the screen (N, 3), with w as the third."""
    (tx, ty), (cx, cy) = camera.translation, camera.centre
    nearness = float(camera.kappa / camera.scale) * points[:, 2]
    w = 1.0 / np.maximum(1.0 - nearness, NEAREST)
    # Where w is 1 these are the sums of weak perspective to the last bit.
    x, y = (points[:, 0] + tx) * w + cx * (1.0 - w), (ty - points[:, 1]) * w + cy * (1.0 - w)
    screen = np.stack([points[:, 0] * w + (tx - cx) * (w - 1.0), points[:, 1] * w - (ty - cy) * (w - 1.0), w], axis=1)
    depth = np.where(nearness < 1.0 - NEAREST, points[:, 2] * w, np.inf)
    return np.stack([x, y], axis=1), depth, screen


@kernel
def pixel_place(camera, x, y):
    """Where a pixel is on the screen."""
    return x - camera[_SHIFT], camera[_SHIFT + 1] - y


@kernel
def from_centre(camera, x, y):
    """Where a pixel is from the principal point, y up."""
    return x - camera[_CENTRE], camera[_CENTRE + 1] - y


@kernel
def weights(screen, i0, i1, i2, u, v):
    """Barycentric weights 0, 1, 2 of a screen place (u, v) in a triangle, and their gradients.

    They are those on the surface. On the screen corners weigh `a_k`, and w is linear there: `b_k = a_k w_k / w` with
    `w = sum a_k w_k`.

    Returns b0, b1, b2, x and y of the screen-space gradients of b1 and of b2, 1/px, and w.
    """
    x1, y1 = screen[i1, 0] - screen[i0, 0], screen[i1, 1] - screen[i0, 1]
    x2, y2 = screen[i2, 0] - screen[i0, 0], screen[i2, 1] - screen[i0, 1]
    area = x1 * y2 - y1 * x2
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    if abs(area) < _LEAST_AREA:
        area = _LEAST_AREA
    inverse = 1.0 / area
    g1x, g1y, g2x, g2y = y2 * inverse, -x2 * inverse, -y1 * inverse, x1 * inverse
    dx, dy = u - screen[i0, 0], v - screen[i0, 1]
    b1, b2 = dx * g1x + dy * g1y, dx * g2x + dy * g2y
    w0, w1, w2 = screen[i0, 2], screen[i1, 2], screen[i2, 2]
    w = w0 + b1 * (w1 - w0) + b2 * (w2 - w0)
    nearer = 1.0 / w
    sx, sy = g1x * (w1 - w0) + g2x * (w2 - w0), g1y * (w1 - w0) + g2y * (w2 - w0)
    w1, w2 = w1 * nearer, w2 * nearer
    b1, b2 = b1 * w1, b2 * w2
    sx, sy = sx * nearer, sy * nearer
    g1x, g1y, g2x, g2y = g1x * w1 - b1 * sx, g1y * w1 - b1 * sy, g2x * w2 - b2 * sx, g2y * w2 - b2 * sy
    return 1.0 - b1 - b2, b1, b2, g1x, g1y, g2x, g2y, w


@kernel(fastmath={"contract"})
def motion_row(camera, axis):
    """How a row of a point's motion (see `SCREEN_ROWS`, `DEPTH_ROW`) goes with its place in the model, per mm."""
    scale = camera[_SCALE]
    if axis == 2:
        scale *= camera[_INVERSE_FOCAL]
    elif axis == DEPTH_ROW:
        axis = 2
    return scale * camera[3 * axis], scale * camera[3 * axis + 1], scale * camera[3 * axis + 2]


@kernel(fastmath={"contract"})
def add_pose_pull(camera, axis, x, y, z, weight, pose):
    """Adds to pose (C,) how a row of posed points' motion (see `SCREEN_ROWS`, `DEPTH_ROW`) goes with the camera's
    parameters, summed over points: x, y, z are the sums of weights times theirs, and weight that of weights."""
    if axis == 0:
        pose[0] += x
        pose[2] += z
        pose[3] -= y
        pose[4] += weight
    elif axis == 1:
        pose[0] += y
        pose[1] -= z
        pose[3] += x
        pose[5] -= weight
    else:
        if axis == 2:
            pose[8] += z
            f = camera[_INVERSE_FOCAL]
            x, y, z = f * x, f * y, f * z
        pose[0] += z
        pose[1] += y
        pose[2] -= x


@kernel(fastmath={"contract"})
def turn(camera, x, y, z):
    """A direction of the model frame in the camera's."""
    return (
        camera[0] * x + camera[1] * y + camera[2] * z,
        camera[3] * x + camera[4] * y + camera[5] * z,
        camera[6] * x + camera[7] * y + camera[8] * z,
    )


@kernel(fastmath={"contract"})
def turn_back(camera, x, y, z):
    """A direction of the camera frame in the model's."""
    return (
        camera[0] * x + camera[3] * y + camera[6] * z,
        camera[1] * x + camera[4] * y + camera[7] * z,
        camera[2] * x + camera[5] * y + camera[8] * z,
    )


@kernel(fastmath={"contract"})
def add_turn(camera, w0, w1, w2, pose):
    """Adds `w . dn` to pose (C,): how a direction turns with the camera's parameters, w being in the model frame.

    A turn by dw in the camera frame moves a unit normal n by `dw x R n`; along a tangent u that is `R (n x u) . dw`.
    """
    t0, t1, t2 = turn(camera, w0, w1, w2)
    pose[1] += t0
    pose[2] += t1
    pose[3] += t2
