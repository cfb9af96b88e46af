"""The camera of the shared engine. Its formula, and its parameters, are nowhere else.

Vectors are given axis by axis, one array each. Posed points `p = s R V` are in px, x right, y up, z towards the viewer;
the image has y down: `x = (p_x + t_x) w + c_x (1 - w)`, `y = (t_y - p_y) w + c_y (1 - w)` with `w = 1 / (1 - p_z / f)`,
and the depth is `p_z w`, so that `w = 1 + depth / f`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.face.camera import NEAREST

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.face.camera import Camera as HostCamera

__all__ = ["Camera", "Shares", "dot", "double_area"]


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

    def to_model(self) -> NDArray[np.float64]:
        """(6, 6) takes derivatives by a posed point, y up, and by a direction in the camera frame to those by the
        point in mm and by the direction in the model's."""
        back = np.array(self.rotation).T
        return np.kron(np.diag([self.scale, 1.0]), back)

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

    def nearer(self, ops: ArrayOps, flat: Array) -> Array:
        """w, how many times larger things of a p_z are than at the model's origin."""
        return 1.0 / ops.at_least(1.0 - flat * self.inverse_focal, NEAREST)

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

    def by_posed(self, ux: Array, uy: Array, x: Array, y: Array, flat: Array) -> tuple[list[Array], Array]:
        """Of derivatives (ux, uy) by the place (x, y) in the image of posed points of which p_z is given: those by the
        posed point, y up; and those by `p_z / f`."""
        w = 1.0 / (1.0 - flat * self.inverse_focal)
        ux, uy = ux * w, uy * w
        uz = ux * (x - self.centre[0]) + uy * (y - self.centre[1])
        return [ux, -uy, uz * self.inverse_focal], uz

    def by_parameters(
        self, by_posed: Sequence[Array], uz: Array, posed: Sequence[Array], e: Sequence[Array], n: Sequence[Array]
    ) -> list[Array]:
        """Derivatives by the parameters in chi, given those by posed points and by `p_z / f` (`by_posed`), and those by
        normals n in the camera frame, e; zeros for the principal point."""
        a, p = by_posed, posed
        zero = uz * 0.0
        turns = []
        for axis in range(3):
            i, j = (axis + 1) % 3, (axis + 2) % 3
            turns.append(p[i] * a[j] - p[j] * a[i] + n[i] * e[j] - n[j] * e[i])
        return [dot(a, p), *turns, a[0], -a[1], zero, zero, uz * p[2]]


def double_area(x: Sequence[Array], y: Sequence[Array]) -> Array:
    """px^2: twice the signed area of triangles in the image; negative for those seen from the front."""
    return (x[1] - x[0]) * (y[2] - y[0]) - (y[1] - y[0]) * (x[2] - x[0])


@dataclass(frozen=True)
class Shares:
    """Barycentric weights of pixels in triangles in the image.

    They are those on the surface. In the image corners weigh `a_k`, and w, how many times larger things are there than
    at the model's origin, is linear: `b_k = a_k w_k / w` with `w = sum a_k w_k`.
    """

    weights: tuple[Array, Array, Array]
    """(n,) each."""
    _image: tuple[tuple[Array, Array], tuple[Array, Array]]
    """The gradients of a_1 and of a_2, 1/px."""
    _ratios: tuple[Array, Array]
    """Of w at the second and the third corner to that at the pixel."""
    _rises: tuple[Array, Array]
    """How much w at these corners is above that at the first, as shares of that at the pixel."""

    @classmethod
    def of(
        cls, ops: ArrayOps, base: Sequence[Array], first: Sequence[Array], second: Sequence[Array], x: Array, y: Array
    ) -> Self:
        """Of pixels (x, y), given x, y and w of the first corner, and what the second and the third have more."""
        (ux, uy, u), (vx, vy, v) = ([edge[k] for k in range(3)] for edge in (first, second))
        area = ux * vy - uy * vx
        # A trial step may turn a frozen triangle edge-on; keep the cost finite, so that the step is judged and refused.
        least = MIN_DOUBLE_AREA * 1e-3
        inverse = 1.0 / ops.where(ops.flag(ops.absolute(area) >= least), area, -least)
        one, two = (vy * inverse, -vx * inverse), (-uy * inverse, ux * inverse)
        dx, dy = x - base[0], y - base[1]
        a1, a2 = dx * one[0] + dy * one[1], dx * two[0] + dy * two[1]
        w = 1.0 / (base[2] + a1 * u + a2 * v)
        u, v, own = u * w, v * w, base[2] * w
        ratios = own + u, own + v
        b1, b2 = a1 * ratios[0], a2 * ratios[1]
        return cls((1.0 - b1 - b2, b1, b2), (one, two), ratios, (u, v))

    def slopes(self) -> tuple[list[Array], list[Array]]:
        """The gradients of the second and the third weight on the screen, 1/px, along x and along y; those of the first
        make their sum zero."""
        found: tuple[list[Array], list[Array]] = [], []
        for d in range(2):
            one, two = (gradient[d] for gradient in self._image)
            steep = one * self._rises[0] + two * self._rises[1]
            for k, slope in enumerate((one, two)):
                found[k].append(slope * self._ratios[k] - self.weights[k + 1] * steep)
        return found


def dot(first: Sequence[Array], second: Sequence[Array]) -> Array:
    """The sum of products, in order."""
    total = first[0] * second[0]
    for a, b in zip(first[1:], second[1:], strict=True):
        total = total + a * b
    return total
