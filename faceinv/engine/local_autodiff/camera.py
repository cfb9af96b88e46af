"""The camera of the shared engine. Its formula, and its parameters, are nowhere else.

Vectors are given axis by axis, one array each. Posed points `p = s R V` are in px, x right, y up, z towards the viewer;
the image has y down: `x = (p_x + t_x) w + c_x (1 - w)`, `y = (t_y - p_y) w + c_y (1 - w)` with `w = 1 / (1 - p_z / f)`,
and the depth is `p_z w`, so that `w = 1 + depth / f`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.camera import NEAREST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.face.camera import Camera as HostCamera

__all__ = ["Camera", "dot", "double_area", "weights"]


@dataclass(frozen=True)
class Camera:
    """One camera, in numbers that every library multiplies arrays by."""

    rotation: tuple[tuple[float, ...], ...]
    """The rows of R."""
    scale: float
    """px per mm."""
    translation: tuple[float, ...]
    """px."""
    centre: tuple[float, ...]
    """px: the principal point."""
    inverse_focal: float
    """1/px; 0 for weak perspective."""

    @classmethod
    def of(cls, camera: HostCamera) -> Camera:
        """Of one camera on the host."""
        rows = tuple(tuple(row) for row in camera.rotation.tolist())
        scale = float(camera.scale)
        shift, centre = (tuple(part.tolist()) for part in (camera.translation, camera.centre))
        return cls(rows, scale, shift, centre, float(camera.kappa) / scale)

    def turned(self, vector: Sequence[Array]) -> list[Array]:
        """A direction of the model frame in the camera's."""
        return [vector[0] * r[0] + vector[1] * r[1] + vector[2] * r[2] for r in self.rotation]

    def posed(self, points: Sequence[Array]) -> list[Array]:
        """px of points in mm."""
        return [axis * self.scale for axis in self.turned(points)]

    def image(self, ops: ArrayOps, posed: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Where posed points are in the image, x and y px, and their depth, infinite where they are not in front."""
        nearness = posed[2] * self.inverse_focal
        w = 1.0 / ops.at_least(1.0 - nearness, NEAREST)
        (tx, ty), (cx, cy) = self.translation, self.centre
        x, y = (posed[0] + tx) * w + (1.0 - w) * cx, (ty - posed[1]) * w + (1.0 - w) * cy
        in_front = ops.flag(nearness < 1.0 - NEAREST)
        return x, y, ops.where(in_front, posed[2] * w, float("inf"))

    def nearer(self, ops: ArrayOps, depth: Array) -> Array:
        """w, how many times larger things are at a depth than at the model's origin; as of the depth's point."""
        return -ops.at_least(-(depth * self.inverse_focal + 1.0), -1.0 / NEAREST)

    def flat_depth(self, depth: Array) -> Array:
        """p_z of a depth: linear on a plane, as the depth is in the image."""
        return depth / (depth * self.inverse_focal + 1.0)

    def depth(self, flat: Array) -> Array:
        """The depth of a p_z."""
        return flat / (1.0 - flat * self.inverse_focal)

    def under_pixel(self, x: Array, y: Array, flat: Array) -> list[Array]:
        """The posed point that shows at a pixel (x, y) and has the given p_z."""
        less = -flat * self.inverse_focal  # 1 / w - 1
        (tx, ty), (cx, cy) = self.translation, self.centre
        return [x - tx + (x - cx) * less, ty - y + (cy - y) * less, flat]

    def by_point(self, ux: Array, uy: Array, x: Array, y: Array, posed: Sequence[Array]) -> list[Array]:
        """Of a derivative (ux, uy) by the place in the image of a posed point, which is (x, y): that by the point in
        mm; the 2x3 Jacobian."""
        ux, uy, uz = self._by_posed(ux, uy, x, y, posed)
        first, second, third = self.rotation
        return [(ux * first[a] - uy * second[a] + uz * self.inverse_focal * third[a]) * self.scale for a in range(3)]

    def _by_posed(self, ux: Array, uy: Array, x: Array, y: Array, posed: Sequence[Array]) -> tuple[Array, Array, Array]:
        """Of the same derivative: those by p_x + t_x, by t_y - p_y, and by p_z / f."""
        w = 1.0 / (1.0 - posed[2] * self.inverse_focal)
        ux, uy = ux * w, uy * w
        return ux, uy, ux * (x - self.centre[0]) + uy * (y - self.centre[1])

    def by_direction(self, e: Sequence[Array]) -> list[Array]:
        """Of a derivative e by a direction in the camera frame: that by the direction in the model's."""
        return [dot(e, [row[a] for row in self.rotation]) for a in range(3)]

    def by_parameters(
        self, ux: Array, uy: Array, x: Array, y: Array, posed: Sequence[Array], e: Sequence[Array], n: Sequence[Array]
    ) -> list[Array]:
        """Derivatives by the parameters in chi of what changes by (ux, uy) with the place (x, y) of a posed point in
        the image, and by e with a normal n in the camera frame; zeros for the principal point."""
        ux, uy, uz = self._by_posed(ux, uy, x, y, posed)
        px, py, pz = posed
        f = uz * self.inverse_focal
        zero = px * 0.0
        return [
            ux * px - uy * py + f * pz,
            uy * pz + f * py + n[1] * e[2] - n[2] * e[1],
            ux * pz - f * px + n[2] * e[0] - n[0] * e[2],
            n[0] * e[1] - n[1] * e[0] - ux * py - uy * px,
            ux,
            uy,
            zero,
            zero,
            uz * pz,
        ]


def double_area(x: Sequence[Array], y: Sequence[Array]) -> Array:
    """px^2: twice the signed area of triangles in the image; negative for those seen from the front."""
    return (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])


def weights(
    ops: ArrayOps, corner_x: Sequence[Array], corner_y: Sequence[Array], nearer: Sequence[Array], x: Array, y: Array
) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """Barycentric weights of pixels (x, y) in triangles in the image, and their screen-space gradients, 1/px.

    They are those on the surface. In the image corners weigh `a_k`, and w (`nearer`, of the corners) is linear there:
    `b_k = a_k w_k / w` with `w = sum a_k w_k`.
    """
    x0, y0 = corner_x[0], corner_y[0]
    ux, uy, vx, vy = corner_x[1] - x0, corner_y[1] - y0, corner_x[2] - x0, corner_y[2] - y0
    area = ux * vy - uy * vx
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    least = MIN_DOUBLE_AREA * 1e-3
    thin = ops.flag(area < least) * ops.flag(area > -least)
    inverse = 1.0 / ops.where(thin, area * 0.0 - least, area)
    one, two = (vy * inverse, -vx * inverse), (-uy * inverse, ux * inverse)
    dx, dy = x - x0, y - y0
    b1, b2 = dx * one[0] + dy * one[1], dx * two[0] + dy * two[1]
    first, second = nearer[1] - nearer[0], nearer[2] - nearer[0]
    w = nearer[0] + b1 * first + b2 * second
    steep = [(one[d] * first + two[d] * second) / w for d in range(2)]
    share1, share2 = nearer[1] / w, nearer[2] / w
    b1, b2 = b1 * share1, b2 * share2
    one = one[0] * share1 - b1 * steep[0], one[1] * share1 - b1 * steep[1]
    two = two[0] * share2 - b2 * steep[0], two[1] * share2 - b2 * steep[1]
    slopes = [(-one[0] - two[0], -one[1] - two[1]), one, two]
    return [1.0 - b1 - b2, b1, b2], slopes


def dot(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """The sum of products, in order."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total = total + a * b
    return total
