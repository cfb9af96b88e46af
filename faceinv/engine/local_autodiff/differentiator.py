"""The shared differentiator: cost, g and H of the photometric term, from local derivatives of its pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.local_autodiff.camera import double_area
from faceinv.engine.local_autodiff.local import ALBEDO, CAMERA, GEOMETRY, Local, local_derivatives, misfit
from faceinv.engine.local_autodiff.rows import NormalMatrix, coefficient_table, row_columns
from faceinv.engine.local_autodiff.shown import Block, shown
from faceinv.engine.records import MIN_DOUBLE_AREA, ResidualJacobian, Visibility, hessian_lattice
from faceinv.engine.remembered import Remembered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.local_autodiff.renderer import Light, LocalAutodiffRenderer, Surface
    from faceinv.engine.local_autodiff.scatter import Scatter
    from faceinv.engine.local_autodiff.shown import Shaded, Shown
    from faceinv.engine.records import Frozen, Problem

__all__ = ["BLOCK_PIXELS", "LocalAutodiffDifferentiator"]

BLOCK_PIXELS: Final = 8192
"""Pixels worked on at once."""
_ROW_PIXELS: Final = 4096
"""Pixels in one block of dense rows of J^T J; its memory is bounded by that, not by the photo."""
_LARGE: Final = 1e100
"""Stands for an infinite Huber threshold: twice its product with any residual is finite."""


@dataclass(frozen=True)
class _Listed:
    """The photometric pixels of one item."""

    blocks: Sequence[Block]
    count: int
    samples: int
    """How many of them H is summed over."""
    scatter: Scatter
    """From the pixels to what they show."""
    lit: dict[bytes, Sequence[Shaded]] = field(default_factory=dict)
    """What light falls on, at the surface that light alone was last fitted on."""


class LocalAutodiffDifferentiator(HostTermsDifferentiator):
    """The library's autodiff through the light on pixels, then the chain rule to chi.

    g comes from forces: pixels pull at the vertices they show, and the bases take that to the coefficients. H comes
    from rows of J, by blocks.
    """

    renderer: LocalAutodiffRenderer

    def __init__(self, renderer: LocalAutodiffRenderer, problem: Problem) -> None:
        super().__init__(renderer, problem)
        ops, batch = renderer.ops, len(problem.image)
        renderer.resize(batch)
        pixels = problem.image.reshape(batch, -1, 3).transpose(0, 2, 1)
        self._image = ops.upload(np.ascontiguousarray(pixels), "float64")
        self._mask = ops.upload(problem.mask.reshape(batch, -1).astype(np.int32), "int32")
        self._root = ops.upload(np.sqrt(problem.weights.reshape(batch, -1).astype(np.float64)), "float64")
        lattice = hessian_lattice(problem.size, problem.hessian_step)
        self._lattice = ops.upload(lattice.reshape(-1).astype(np.int32), "int32")
        self._delta = min(float(problem.energy.huber_delta), _LARGE)
        self._listed: Remembered[_Listed | None] = Remembered()
        self._listed.resize(batch)

    def _see(self, chi: NDArray[np.float64]) -> tuple[Visibility, NDArray[np.int64], list[_Listed | None]]:
        ops, renderer = self.renderer.ops, self.renderer
        surfaces = [renderer.surface(one, item) for item, one in enumerate(chi)]
        drawn = [renderer.drawn(surface, self.problem.size) for surface in surfaces]
        listed = [
            self._listed.get(item, renderer.key(one), lambda s=surface, d=shows, i=item: self._pixels(s, d, i))  # type: ignore[misc]
            for item, (one, surface, (shows, _)) in enumerate(zip(chi, surfaces, drawn, strict=True))
        ]
        visibility = Visibility(*(ops.stack(part, 0) for part in zip(*drawn, strict=True)))
        return visibility, np.array([one.count if one else 0 for one in listed], np.int64), listed

    def _pixels(self, surface: Surface, shows: Array, item: int) -> _Listed | None:
        """Pixels whose triangle is in the face mask and faces the camera, inside the photo's mask."""
        ops, renderer = self.renderer.ops, self.renderer
        x, y = (ops.take(axis, renderer.corners) for axis in (surface.x, surface.y))
        good = ops.flag(renderer.face_mask > 0) * ops.flag(double_area(x, y) < -MIN_DOUBLE_AREA)
        shows = shows.reshape((-1,))
        covered = ops.flag(shows >= 0)
        triangles = ops.cast(shows, "int64")
        used = covered * ops.take(good, ops.where(covered, triangles, 0)) * ops.flag(self._mask[item] > 0)
        pixels = ops.nonzero(used)
        if pixels is None:
            return None
        count = int(pixels.shape[0])
        samples: Array = None
        if self.problem.hessian_step > 1:
            samples = ops.flag(ops.take(self._lattice, pixels) > 0)
            if ops.nonzero(samples) is None:
                samples = None
        blocks = []
        for first in range(0, count, BLOCK_PIXELS):
            chosen = pixels[first : first + BLOCK_PIXELS]
            sample = None if samples is None else ops.nonzero(samples[first : first + BLOCK_PIXELS])
            blocks.append(self._block(triangles, chosen, item, sample, samples is None))
        seen = ops.download(ops.take(triangles, pixels)).astype(np.int64)
        return _Listed(blocks, count, sum(block.samples for block in blocks), renderer.scatter(seen))

    def _block(self, triangles: Array, pixels: Array, item: int, sample: Array | None, whole: bool) -> Block:
        ops, width, count = self.renderer.ops, self.problem.size[1], int(pixels.shape[0])
        number = ops.cast(pixels, "float64")
        row = ops.floor(number / width)
        return Block(
            triangle=ops.take(triangles, pixels),
            x=number - row * width,
            y=row,
            target=ops.stack([ops.take(self._image[item][c], pixels) for c in range(3)], 0),
            root=ops.take(self._root[item], pixels),
            ones=ops.full((count,), 1.0, "float64"),
            sample=sample,
            samples=count if whole else 0 if sample is None else int(sample.shape[0]),
        )

    def _scale(self, listed: _Listed) -> float:
        return float(np.sqrt(self.problem.energy.photometric / listed.count))

    def _photometric_cost(self, chi: NDArray[np.float64], frozen: Frozen, item: int) -> float:
        ops, renderer, listed = self.renderer.ops, self.renderer, frozen.cache[item]
        light, scale = renderer.light(chi, item), self._scale(listed)
        lit = listed.lit.get(renderer.key(chi))
        surface = None if lit is not None else renderer.surface(chi, item)
        total: Array = None
        for place, block in enumerate(listed.blocks):
            shaded = lit[place] if surface is None else shown(renderer, surface, block).shaded
            radiance, _ = shaded.radiance(ops, light.gamma)
            cost = misfit(ops, radiance, block, self._delta, scale).cost
            total = cost if total is None else total + cost
        return float(ops.download(total)[0])

    def _photometric(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, free: NDArray[np.bool_]
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        listed: _Listed = frozen.cache[item]
        if not free[: self.renderer.layout.lighting.start].any():
            return self._by_light(chi, listed, item)
        ops, renderer = self.renderer.ops, self.renderer
        surface, light = renderer.surface(chi, item), renderer.light(chi, item)
        normal_basis = renderer.normal_derivative(surface)
        total: Array = None
        forces, tables, triangles = _Forces(ops), [], []
        for block in listed.blocks:
            here = shown(renderer, surface, block)
            local, cost = self._local(surface, light, block, here, self._scale(listed))
            forces.add(block, here, local)
            if block.samples:
                tables.append(ops.cast(coefficient_table(ops, here, local, block.sample), renderer.settings.dtype))
                triangles.append(block.triangle if block.sample is None else ops.take(block.triangle, block.sample))
            total = cost if total is None else total + cost
        table, triangle = (_joined(ops, parts) for parts in (tables, triangles))
        squares = NormalMatrix(ops)
        for first in range(0, listed.samples, _ROW_PIXELS):
            chosen = slice(first, first + _ROW_PIXELS)
            squares.add(row_columns(renderer, normal_basis, table[chosen], triangle[chosen]))
        gradient = self._gradient(forces, normal_basis, listed)
        # One trip to the host.
        host = ops.download(ops.concatenate([total, *gradient, *squares.entries], 0))
        end = 1 + renderer.layout.count
        ratio = listed.count / listed.samples
        return float(host[0]), host[1:end].copy(), squares.full(host[end:]) * ratio

    def _by_light(
        self, chi: NDArray[np.float64], listed: _Listed, item: int
    ) -> tuple[float, NDArray[np.float64], NDArray[np.float64]]:
        """The same where the light alone may move: radiance is linear in it, and nothing else changes."""
        ops, renderer, layout = self.renderer.ops, self.renderer, self.renderer.layout
        light, scale, key = renderer.light(chi, item), self._scale(listed), renderer.key(chi)
        if key not in listed.lit:
            surface = renderer.surface(chi, item)
            listed.lit.clear()
            listed.lit[key] = [shown(renderer, surface, block).shaded for block in listed.blocks]
        total: Array = None
        for block, shaded in zip(listed.blocks, listed.lit[key], strict=True):
            radiance, _ = shaded.radiance(ops, light.gamma)
            found = misfit(ops, radiance, block, self._delta, scale)
            root = ops.sqrt(found.huber)
            reflected = shaded.albedo * (root * found.scale)
            pulls = ops.multiply(reflected * (found.residual * root), ops.transpose(shaded.basis)).reshape((-1,))
            parts = [found.cost, pulls]
            if block.samples:
                rows = ops.transpose(ops.concatenate([shaded.basis * reflected[c] for c in range(3)], 0))
                rows = rows if block.sample is None else ops.take(rows, block.sample)
                parts.append(ops.gram(rows).reshape((-1,)))
            else:
                parts.append(ops.full((27 * 27,), 0.0, "float64"))
            part = ops.concatenate(parts, 0)
            total = part if total is None else total + part
        host = ops.download(total)
        gradient, hessian = np.zeros(layout.count), np.zeros((layout.count, layout.count))
        gradient[layout.lighting] = host[1:28]
        upper = np.triu(host[28:].reshape(27, 27)) * (listed.count / listed.samples)
        # A channel has its own light.
        upper *= np.kron(np.eye(3), np.ones((9, 9)))
        hessian[layout.lighting, layout.lighting] = upper + np.triu(upper, 1).T
        return float(host[0]), gradient, hessian

    def _local(self, surface: Surface, light: Light, block: Block, here: Shown, scale: float) -> tuple[Local, Array]:
        """Local derivatives with the roots of Huber's weights, and the cost (1,)."""
        ops = self.renderer.ops
        radiance, shade = here.shaded.radiance(ops, light.gamma)
        found = misfit(ops, radiance, block, self._delta, scale)
        root = ops.sqrt(found.huber)
        coefficients, reflected = local_derivatives(ops, surface, light, block, here, shade, root * found.scale)
        return Local(found.residual * root, coefficients, reflected), found.cost

    def _gradient(self, forces: _Forces, normal_basis: Array | None, listed: _Listed) -> list[Array]:
        """g, in pieces (...,): what pixels pull their points at, brought to the vertices, and from there to the
        coefficients."""
        ops, renderer, layout = self.renderer.ops, self.renderer, self.renderer.layout
        parts = []
        if layout.shape_count or layout.albedo_count:
            vertices, owners = listed.scatter(*forces.pixels())
        if normal_basis is not None:
            shape = ops.multiply(renderer.seen_shape_basis, vertices[:, :3].reshape((-1,)))
            force = ops.cast(owners[:, 3:6].reshape((-1,)), renderer.settings.dtype)
            turned = ops.multiply_transposed(normal_basis.reshape((-1, layout.shape_count)), force)
            parts.append(shape + ops.cast(turned, "float64"))
        if layout.albedo_count:
            parts.append(ops.multiply(renderer.seen_albedo_basis, vertices[:, 6:].reshape((-1,))))
        return [*parts, *forces.common()]

    def _photometric_rows(
        self, chi: NDArray[np.float64], frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        ops, renderer, listed = self.renderer.ops, self.renderer, frozen.cache[item]
        surface, light = renderer.surface(chi[item], item), renderer.light(chi[item], item)
        normal_basis = renderer.normal_derivative(surface)
        residual, jacobian, weight = [], [], []
        for block in listed.blocks:
            here = shown(renderer, surface, block)
            radiance, shade = here.shaded.radiance(ops, light.gamma)
            found = misfit(ops, radiance, block, self._delta, self._scale(listed))
            local = Local(found.residual, *local_derivatives(ops, surface, light, block, here, shade, found.scale))
            table = ops.cast(coefficient_table(ops, here, local, None), renderer.settings.dtype)
            columns = row_columns(renderer, normal_basis, table, block.triangle)
            jacobian.append(np.concatenate([ops.download(part) for part in columns], 1).astype(np.float64))
            residual.append(ops.download(found.residual).T.ravel())
            weight.append(ops.download(found.huber).T.ravel())
        chosen: Any = slice(None) if rows is None else rows
        return ResidualJacobian(*(np.concatenate(part)[chosen] for part in (residual, jacobian, weight)))


class _Forces:
    """What residuals pull at, block after block."""

    def __init__(self, ops: ArrayOps) -> None:
        self._ops = ops
        self._tables: list[Array] = []
        self._weights: list[Array] = []
        self._camera: Array = None
        self._light: Array = None

    def add(self, block: Block, here: Shown, local: Local) -> None:
        """Add a block's residuals."""
        ops, r = self._ops, local.residual
        pulls = [local.coefficients[c] * r[c] for c in range(3)]
        summed = pulls[0] + pulls[1] + pulls[2]
        albedo = ops.stack([pull[ALBEDO] for pull in pulls], 0)
        self._tables.append(ops.transpose(ops.concatenate([summed[GEOMETRY], albedo], 0)))
        self._weights.append(ops.stack(here.shares.weights, 1))
        camera = ops.multiply(summed[CAMERA], block.ones)
        light = ops.multiply(local.reflected * r, ops.transpose(here.shaded.basis)).reshape((-1,))
        self._camera = camera if self._camera is None else self._camera + camera
        self._light = light if self._light is None else self._light + light

    def pixels(self) -> tuple[Array, Array]:
        """The corners' weights (n, 3), and forces (n, 9) on the surface point, its normal and its albedo."""
        return _joined(self._ops, self._weights), _joined(self._ops, self._tables)

    def common(self) -> tuple[Array, Array]:
        """g of the camera's parameters and of the light (27,)."""
        return self._camera, self._light


def _joined(ops: ArrayOps, parts: Sequence[Array]) -> Array:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, 0)
