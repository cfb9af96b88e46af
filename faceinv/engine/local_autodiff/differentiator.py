"""The shared differentiator: local derivatives by the library's autodiff, rows by the chain rule, J^T J by blocks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.local_autodiff.camera import dot, double_area, weights
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.engine.local_autodiff.renderer import sh_terms, unit
from faceinv.engine.local_autodiff.scatter import Scatter
from faceinv.engine.records import MIN_DOUBLE_AREA, ResidualJacobian, Visibility, hessian_lattice

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer, PixelCorners, Surface
    from faceinv.engine.records import Frozen, Problem

__all__ = ["BLOCK_PIXELS", "LocalAutodiffDifferentiator"]

BLOCK_PIXELS: Final = 4096
"""Pixels in one block of dense rows; memory is bounded by it, not by the photo."""
_LARGE: Final = 1e100
"""Stands for an infinite Huber threshold: twice its product with any residual is finite."""


@dataclass(frozen=True)
class _Seen:
    """The photometric pixels of one item, on the device."""

    triangle: Array
    """(F,) int64."""
    x: Array
    y: Array
    """(F,) px, float64."""
    target: Sequence[Array]
    """Three arrays (F,) float64."""
    root: Array
    """(F,) the root of the pixels' weights, float64."""
    count: int


@dataclass(frozen=True)
class _Listed:
    """The photometric pixels, and those of them that H is summed over."""

    seen: _Seen
    sample: _Seen
    scatter: Scatter
    """From the pixels that are seen to what they show."""


@dataclass(frozen=True)
class _Local:
    """Local derivatives of a block's pixels by what moves with chi; lists over channels."""

    residual: Sequence[Array]
    """(n,) scaled."""
    huber: Sequence[Array]
    """(n,) weights."""
    cost: Array
    """(1,)."""
    position: Sequence[Sequence[Array]]
    """By the surface point, model frame, per mm: axis by axis."""
    normal: Sequence[Sequence[Array]]
    """By the unit normal, model frame."""
    albedo: Sequence[Array]
    camera: Sequence[Sequence[Array]]
    """By the camera's parameters."""
    light: Sequence[Sequence[Array]]
    """By the nine coefficients of the channel's own light."""


@dataclass(frozen=True)
class _Block:
    """Pixels of a block at one chi, before derivatives."""

    read: PixelCorners
    weights: Sequence[Array]
    """Barycentric, three arrays (n,)."""
    slopes: Sequence[tuple[Array, Array]]
    """Their screen-space gradients, 1/px."""
    normal: Sequence[Array]
    """Camera frame, unnormalised, axis by axis."""
    x: Array
    y: Array
    target: Sequence[Array]
    root: Array
    shadow: Sequence[Array] | None
    """Nine arrays (n,), what is taken from the basis."""


class LocalAutodiffDifferentiator(HostTermsDifferentiator):
    """Three seeded backward passes a block, then the chain rule to chi.

    A pixel's own quantities are u, the shift of its surface point on the screen (2, px), the change of its normal m (3,
    camera frame), its albedo and the nine lighting coefficients it sees. Only these pass through the autodiff.
    """

    renderer: LocalAutodiffRenderer

    def __init__(self, renderer: LocalAutodiffRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        renderer.surfaces.resize(len(problem.image))
        ops = renderer.ops
        self._image = ops.upload(problem.image.reshape(len(problem.image), -1, 3), "float64")
        self._mask = ops.upload(problem.mask.reshape(len(problem.mask), -1).astype(np.int32), "int32")
        self._root = ops.upload(np.sqrt(problem.weights.reshape(len(problem.image), -1).astype(np.float64)), "float64")
        lattice = hessian_lattice(problem.size, problem.hessian_step)
        self._lattice = ops.upload(lattice.reshape(-1).astype(np.int32), "int32")
        self._delta = min(float(problem.energy.huber_delta), _LARGE)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[_Listed | None]]:
        ops, renderer = self.renderer.ops, self.renderer
        drawn, seen = [], []
        for item, one in enumerate(chi):
            surface = renderer.surface(one, item)
            inverse_focal = surface.camera.inverse_focal
            drawn.append(
                rasterize(ops, surface.image_xy, surface.depth, inverse_focal, renderer.triangles, self.problem.size)
            )
            seen.append(self._pixels(surface, drawn[-1][0].reshape((-1,)), item))
        visibility = Visibility(*(ops.stack(part, 0) for part in zip(*drawn, strict=True)))
        return visibility, np.array([s.seen.count if s else 0 for s in seen], np.int64), seen

    def _pixels(self, surface: Surface, shown: Array, item: int) -> _Listed | None:
        """Pixels whose triangle is in the face mask and faces the camera, inside the photo's mask."""
        ops, renderer = self.renderer.ops, self.renderer
        x, y = (ops.take(surface.image_xy[:, d], renderer.triangles) for d in range(2))
        area = double_area(*([axis[:, k] for k in range(3)] for axis in (x, y)))
        good = ops.flag(renderer.face_mask > 0) * ops.flag(area < -MIN_DOUBLE_AREA)
        covered = ops.flag(shown >= 0)
        shown = ops.cast(shown, "int64")
        chosen = ops.where(covered, shown, 0)
        used = covered * ops.take(good, chosen) * ops.flag(self._mask[item] > 0)
        pixels = ops.nonzero(used)
        if pixels is None:
            return None
        seen = sample = self._seen(shown, pixels, item)
        if self.problem.hessian_step > 1:
            some = ops.nonzero(used * ops.flag(self._lattice > 0))
            sample = seen if some is None else self._seen(shown, some, item)
        triangles = ops.download(seen.triangle).astype(np.int64)
        return _Listed(seen, sample, Scatter(ops, renderer.model, triangles, renderer.flat))

    def _seen(self, shown: Array, pixels: Array, item: int) -> _Seen:
        """The pixels of a list."""
        ops = self.renderer.ops
        width = self.problem.size[1]
        number = ops.cast(pixels, "float64")
        row = ops.floor(number / width)
        target = ops.take(self._image[item], pixels)
        return _Seen(
            triangle=ops.take(shown, pixels),
            x=number - row * width,
            y=row,
            target=[target[:, c] for c in range(3)],
            root=ops.take(self._root[item], pixels),
            count=int(pixels.shape[0]),
        )

    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        renderer, seen = self.renderer, frozen.cache[item].seen
        surface = renderer.surface(chi, item)
        total: Array = None
        for first in range(0, seen.count, BLOCK_PIXELS):
            block = self._block(surface, seen, first)
            basis = renderer.ops.stack(_less(sh_terms(unit(renderer.ops, block.normal)), block.shadow), 0)
            colours = [
                dot(block.weights, block.read.albedo[c]) * (self._gamma(surface, c) * basis).sum(axis=0)
                for c in range(3)
            ]
            cost = self._robust(colours, block, seen.count)[2]
            total = cost if total is None else total + cost
        return float(renderer.ops.download(total)[0])

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, free: NDArray[np.bool_]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        ops, renderer = self.renderer.ops, self.renderer
        listed: _Listed = frozen.cache[item]
        count = renderer.layout.count
        surface = renderer.surface(chi, item)
        normal_basis = renderer.normal_derivative(surface)
        cost, gradient = self._gradient(surface, normal_basis, listed)
        squares: Array = None
        for first in range(0, listed.sample.count, BLOCK_PIXELS):
            block = self._block(surface, listed.sample, first)
            local = self._local(surface, block, listed.seen.count, robust=True)
            part = ops.cast(ops.gram(self._rows(block, normal_basis, local)), "float64")
            squares = part if squares is None else squares + part
        # One trip to the host.
        host = ops.download(ops.concatenate([squares.reshape((-1,)), gradient, cost], 0))
        upper = np.triu(host[: count**2].reshape(count, count)) * (listed.seen.count / listed.sample.count)
        return float(host[-1]), host[count**2 : -1].copy(), upper + np.triu(upper, 1).T

    def _gradient(self, surface: Surface, normal_basis: Array | None, listed: _Listed) -> tuple[Array, Array]:
        """The cost (1,) and g (P,) of all pixels: what they pull their points at, brought to the vertices, and from
        there to the coefficients."""
        ops, renderer, layout = self.renderer.ops, self.renderer, self.renderer.layout
        total: Array = None
        sums: list[Array] = []
        pulls: list[list[Array]] = []
        for first in range(0, listed.seen.count, BLOCK_PIXELS):
            block = self._block(surface, listed.seen, first)
            local = self._local(surface, block, listed.seen.count, robust=True)
            r = local.residual
            pulled = [dot(r, [local.position[c][a] for c in range(3)]) for a in range(3)]
            pulled += [dot(r, [local.normal[c][a] for c in range(3)]) for a in range(3)]
            pulled += [r[c] * local.albedo[c] for c in range(3)]
            camera = [dot(r, [local.camera[c][k] for c in range(3)]) for k in range(len(local.camera[0]))]
            light = [r[c] * local.light[c][k] for c in range(3) for k in range(9)]
            summed = ops.stack(camera + light, 0).sum(axis=1)
            pulls.append([*pulled, *block.weights])
            total = local.cost if total is None else total + local.cost
            sums = [summed] if not sums else [sums[0] + summed]
        joined = [parts[0] if len(parts) == 1 else ops.concatenate(parts, 0) for parts in zip(*pulls, strict=True)]
        weights, table = joined[9:], ops.stack(joined[:9], 1)
        vertices, owners = listed.scatter(weights, table)
        parts = []
        if layout.shape_count:
            shape = _times(ops, vertices[:, :3], renderer.shape_basis)
            turned = ops.cast(ops.take(owners[:, 3:6], renderer.owners), renderer.settings.dtype)
            parts.append(shape + ops.cast(_times(ops, turned, normal_basis), "float64"))
        if layout.albedo_count:
            parts.append(_times(ops, vertices[:, 6:9], renderer.albedo_basis))
        return total, ops.concatenate([*parts, sums[0]], 0)

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        ops, renderer, seen = self.renderer.ops, self.renderer, frozen.cache[item].seen
        surface = renderer.surface(chi[item], item)
        normal_basis = renderer.normal_derivative(surface)
        residual, jacobian, weight = [], [], []
        for first in range(0, seen.count, BLOCK_PIXELS):
            block = self._block(surface, seen, first)
            local = self._local(surface, block, seen.count, robust=False)
            jacobian.append(ops.download(self._rows(block, normal_basis, local)).astype(np.float64))
            residual.append(ops.download(ops.stack(local.residual, 1)).ravel())
            weight.append(ops.download(ops.stack(local.huber, 1)).ravel())
        chosen: Any = slice(None) if rows is None else rows
        return ResidualJacobian(*(np.concatenate(part)[chosen] for part in (residual, jacobian, weight)))

    def _block(self, surface: Surface, seen: _Seen, first: int) -> _Block:
        ops = self.renderer.ops
        chosen = slice(first, first + BLOCK_PIXELS)
        x, y = seen.x[chosen], seen.y[chosen]
        read = self.renderer.read_corners(surface, seen.triangle[chosen])
        nearer = [surface.camera.nearer(ops, depth) for depth in read.depth]
        shares, slopes = weights(ops, read.x, read.y, nearer, x, y)
        if read.normals is None:
            assert read.face_normal is not None
            normal = read.face_normal
        else:
            normal = [dot(shares, axis) for axis in read.normals]
        shadow = None if read.shadow is None else [dot(shares, corners) for corners in read.shadow]
        target = [t[chosen] for t in seen.target]
        return _Block(read, shares, slopes, normal, x, y, target, seen.root[chosen], shadow)

    def _robust(self, colours: Sequence[Array], block: _Block, count: int) -> tuple[list[Array], list[Array], Array]:
        """Scaled residuals and Huber's weights, channel by channel, and their cost (1,)."""
        ops, delta, scale = self.renderer.ops, self._delta, self._scale(count)
        residuals, huber = [], []
        total: Array = None
        for colour, wanted in zip(colours, block.target, strict=True):
            r = colour - wanted
            size = ops.at_least(r, 0.0) + ops.at_least(-r, 0.0)
            quadratic = ops.flag(size <= delta)
            part = ops.where(quadratic, r * r, size * (2.0 * delta) - delta * delta)
            residuals.append(r * (block.root * scale))
            huber.append(ops.where(quadratic, r * 0.0 + 1.0, delta / ops.at_least(size, 1e-300)))
            total = part if total is None else total + part
        return residuals, huber, (total * (block.root * block.root)).sum().reshape((1,)) * scale**2

    def _scale(self, count: int) -> float:
        return float(np.sqrt(self.problem.energy.photometric / count))

    def _derivatives(self, surface: Surface, block: _Block) -> tuple[list[Array], list[list[Array]]]:
        """Radiance by channel, and its derivatives by [u (2, n), m (3, n), albedo (1, n), gamma (9, n)]."""
        ops, n = self.renderer.ops, int(block.x.shape[0])

        def radiance(common: Sequence[Array], own: Sequence[Sequence[Array]]) -> list[Array]:
            u, m = common
            shares = [b - (gx * u[0] + gy * u[1]) for b, (gx, gy) in zip(block.weights, block.slopes, strict=True)]
            if block.read.normals is None:
                normal = [block.normal[d] + m[d] for d in range(3)]
            else:
                normal = [dot(shares, block.read.normals[d]) + m[d] for d in range(3)]
            shadow = None if block.read.shadow is None else [dot(shares, corners) for corners in block.read.shadow]
            basis = ops.stack(_less(sh_terms(unit(ops, normal)), shadow), 0)
            return [
                (dot(shares, block.read.albedo[c]) + rho[0]) * (gamma * basis).sum(axis=0)
                for c, (rho, gamma) in enumerate(own)
            ]

        common = [ops.full((2, n), 0.0, "float64"), ops.full((3, n), 0.0, "float64")]
        zeros = ops.full((9, n), 0.0, "float64")
        own = [[ops.full((1, n), 0.0, "float64"), self._gamma(surface, c) + zeros] for c in range(3)]
        return ops.differentiate(radiance, common, own)

    @staticmethod
    def _gamma(surface: Surface, channel: int) -> Array:
        """(9, 1)."""
        return surface.gamma[9 * channel : 9 * channel + 9].reshape((9, 1))

    def _local(self, surface: Surface, block: _Block, count: int, robust: bool) -> _Local:
        """Local derivatives of a block of the `count` photometric pixels. With `robust`, they and the residuals are
        multiplied by the root of Huber's weight."""
        ops, layout = self.renderer.ops, self.renderer.layout
        colours, derivatives = self._derivatives(surface, block)
        residuals, huber, cost = self._robust(colours, block, count)
        camera, scale = surface.camera, self._scale(count)
        x, y = block.x, block.y
        point = camera.under_pixel(x, y, dot(block.weights, [camera.flat_depth(d) for d in block.read.depth]))
        positions, normals, albedos, cameras, lights = [], [], [], [], []
        for c, (u, m, rho, gamma) in enumerate(derivatives):
            factor = ops.sqrt(huber[c]) * block.root * scale if robust else block.root * scale
            ux, uy = u[0] * factor, u[1] * factor
            e = [m[d] * factor for d in range(3)]
            positions.append(camera.by_point(ux, uy, x, y, point))
            normals.append(camera.by_direction(e))
            albedos.append(rho[0] * factor)
            pose = camera.by_parameters(ux, uy, x, y, point, e, block.normal)
            if block.shadow is not None:
                # Shadows turn with the head.
                albedo = dot(block.weights, block.read.albedo[c]) * factor
                for at, light in enumerate(surface.light_turns[c].tolist(), layout.camera.ROTATION.start):
                    # Even light has no turn.
                    terms = [(y, g) for y, g in zip(block.shadow, light, strict=True) if g]
                    if terms:
                        pose[at] = pose[at] - albedo * dot(*zip(*terms, strict=True))
            cameras.append(pose)
            lights.append([gamma[k] * factor for k in range(9)])
            if robust:
                residuals[c] = residuals[c] * ops.sqrt(huber[c])
        return _Local(residuals, huber, cost, positions, normals, albedos, cameras, lights)

    def _rows(self, block: _Block, normal_basis: Array | None, local: _Local) -> Array:
        """J (3n, P) of a block, R, G, B of pixel after pixel."""
        ops, renderer, real = self.renderer.ops, self.renderer, self.renderer.settings.dtype
        layout, n = renderer.layout, int(block.x.shape[0])
        zero = block.x * 0.0
        position, normal = ([part for parts in over for part in parts] for over in (local.position, local.normal))
        poses: list[Array] = []
        for c in range(3):
            poses += local.camera[c]
            for channel in range(3):
                poses += local.light[c] if channel == c else [zero] * 9
        columns = []
        blend = ops.cast(ops.stack(block.weights, 1), real)
        if renderer.row_basis is not None:
            basis = ops.blend(block.read.corners, blend, renderer.row_basis)
            shape_end = 3 * layout.shape_count
        if normal_basis is not None:
            owners = ops.take(renderer.owner_place, block.read.owners)
            turned = ops.take(normal_basis, owners) if renderer.flat else ops.blend(owners, blend, normal_basis)
            p, q = (ops.cast(ops.stack(part, 1), real).reshape((n, 3, 3)) for part in (position, normal))
            columns.append(
                ops.multiply_each(p, basis[:, :shape_end].reshape((n, 3, -1)))
                + ops.multiply_each(q, turned.reshape((n, 3, -1)))
            )
        if layout.albedo_count:
            h = ops.cast(ops.stack(local.albedo, 1), real).reshape((n, 3, 1))
            columns.append(h * basis[:, shape_end:].reshape((n, 3, -1)))
        columns.append(ops.cast(ops.stack(poses, 1), real).reshape((n, 3, -1)))
        return ops.concatenate(columns, 2).reshape((3 * n, layout.count))


def _times(ops: ArrayOps, force: Array, basis: Array) -> Array:
    """(K,) a force (N, 3) times a basis of so many rows of three."""
    count = 3 * int(force.shape[0])
    return ops.multiply_each(force.reshape((1, 1, count)), basis.reshape((1, count, -1))).reshape((-1,))


def _less(basis: Sequence[Array], shadow: Sequence[Array] | None) -> Sequence[Array]:
    """The basis less the shadow, function by function."""
    return basis if shadow is None else [y - lost for y, lost in zip(basis, shadow, strict=True)]
