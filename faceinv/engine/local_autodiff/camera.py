"""The camera of the shared engine: weak perspective. Its formula, and its parameters, are nowhere else.

Vectors are given axis by axis, one array each. Posed points `p = s R V` are in px, x right, y up, z towards the viewer;
the image has y down: `x = p_x + t_x`, `y = t_y - p_y`, and the depth is `p_z`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceinv.engine.records import MIN_DOUBLE_AREA

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.face.camera import WeakPerspective

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

    @classmethod
    def of(cls, camera: WeakPerspective) -> Camera:
        """Of one camera on the host."""
        rows = tuple(tuple(row) for row in camera.rotation.tolist())
        return cls(rows, float(camera.scale), tuple(camera.translation.tolist()))

    def turned(self, vector: Sequence[Array]) -> list[Array]:
        """A direction of the model frame in the camera's."""
        return [vector[0] * r[0] + vector[1] * r[1] + vector[2] * r[2] for r in self.rotation]

    def posed(self, points: Sequence[Array]) -> list[Array]:
        """px of points in mm."""
        return [axis * self.scale for axis in self.turned(points)]

    def image(self, posed: Sequence[Array]) -> tuple[Array, Array]:
        """Where posed points are in the image, x and y px."""
        return posed[0] + self.translation[0], self.translation[1] - posed[1]

    def under_pixel(self, x: Array, y: Array, depth: Array) -> list[Array]:
        """The posed point that shows at a pixel (x, y) and has the given depth."""
        return [x - self.translation[0], self.translation[1] - y, depth]

    def by_point(self, ux: Array, uy: Array) -> list[Array]:
        """Of a derivative (ux, uy) by a point's place in the image: that by the point in mm; the 2x3 Jacobian."""
        first, second = self.rotation[:2]
        return [(ux * first[a] - uy * second[a]) * self.scale for a in range(3)]

    def by_direction(self, e: Sequence[Array]) -> list[Array]:
        """Of a derivative e by a direction in the camera frame: that by the direction in the model's."""
        return [dot(e, [row[a] for row in self.rotation]) for a in range(3)]

    @staticmethod
    def by_parameters(
        ux: Array, uy: Array, posed: Sequence[Array], e: Sequence[Array], normal: Sequence[Array]
    ) -> list[Array]:
        """Derivatives by the parameters in chi of what changes by (ux, uy) with a posed point's place in the image, and
        by e with a normal in the camera frame."""
        x, y, z = posed
        return [
            ux * x - uy * y,
            uy * z + normal[1] * e[2] - normal[2] * e[1],
            ux * z + normal[2] * e[0] - normal[0] * e[2],
            normal[0] * e[1] - normal[1] * e[0] - ux * y - uy * x,
            ux,
            uy,
        ]


def double_area(x: Sequence[Array], y: Sequence[Array]) -> Array:
    """px^2: twice the signed area of triangles in the image; negative for those seen from the front."""
    return (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])


def weights(
    ops: ArrayOps, corner_x: Sequence[Array], corner_y: Sequence[Array], x: Array, y: Array
) -> tuple[list[Array], list[tuple[Array, Array]]]:
    """Barycentric weights of pixels (x, y) in triangles in the image, and their screen-space gradients, 1/px."""
    x0, y0 = corner_x[0], corner_y[0]
    ux, uy, vx, vy = corner_x[1] - x0, corner_y[1] - y0, corner_x[2] - x0, corner_y[2] - y0
    area = ux * vy - uy * vx
    # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
    least = MIN_DOUBLE_AREA * 1e-3
    thin = ops.flag(area < least) * ops.flag(area > -least)
    inverse = 1.0 / ops.where(thin, area * 0.0 - least, area)
    one, two = (vy * inverse, -vx * inverse), (-uy * inverse, ux * inverse)
    slopes = [(-one[0] - two[0], -one[1] - two[1]), one, two]
    dx, dy = x - x0, y - y0
    b1, b2 = dx * one[0] + dy * one[1], dx * two[0] + dy * two[1]
    return [1.0 - b1 - b2, b1, b2], slopes


def dot(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """The sum of products, in order."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total = total + a * b
    return total
