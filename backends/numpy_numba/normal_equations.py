"""H = J^T J and g = J^T r of an item from its pixels' records and pulls, by kernels and BLAS.

H and g are formed apart: g needs no rows, and H may be that of some pixels only. By rows, threads make rows and
multiply them (`rows`); by vertices, kernels make blocks whose products BLAS forms, and there columns are ordered [shape
| pose | albedo | light]; see `assembly`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.numpy_numba.assembly import light_products, vertex_rows
from faceinv.backends.numpy_numba.camera import PARAMETERS, SCREEN_ROWS
from faceinv.backends.numpy_numba.pulls import coefficient_pulls, point_pulls, vertex_pulls
from faceinv.backends.numpy_numba.record import LIGHT_LANES, LIGHTS
from faceinv.backends.numpy_numba.rows import collect, normal_levers, pixel_rows
from faceinv.backends.numpy_numba.surface import vertex_jacobian
from faceinv.face.lighting import SH_TURNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.numpy_numba.parts import Local, Pulls, Seen
    from faceinv.backends.numpy_numba.renderer import NumbaRenderer, Surface
    from faceinv.face.layout import ParameterLayout

__all__ = ["LightTurn", "NormalEquations"]

_PIXELS: Final = 4096
"""Pixels in one block of rows."""
_FEW_LANES: Final = 4
"""Parts that the pixels of one block are shared out to, each with a sum of its own."""
_MANY_LANES: Final = 16
"""The same where there are several blocks."""
_VERTICES: Final = 2048
"""Vertices in one block of rows."""
_LIGHT_BLOCKS: Final = 64
"""Blocks of pixels whose light columns are summed by themselves."""
_VERTEX_BLOCKS: Final = 16
"""Blocks of vertices whose columns are summed by themselves."""
_WHOLE: Final = 32
"""Used vertices are padded to a multiple of this, as BLAS likes it."""


@dataclass(frozen=True)
class LightTurn:
    """The pose's turn as a combination of the light's columns.

    As the head turns, its normals and its shadows turn together: what light they are under then differs as if the
    light had turned the other way. So a pixel's derivative by the turn is that of its place on the screen, which the
    motion of the vertices gives, and `light columns @ coefficients`: with J of the former alone, the whole is `J S`.
    """

    turn: slice
    """The turn's columns in chi."""
    light: slice
    """The light's."""
    coefficients: NDArray[np.float64]
    """(27, 3)."""

    @classmethod
    def of(cls, layout: ParameterLayout, gamma: NDArray[np.float64]) -> LightTurn:
        """Under a light gamma (9, 3)."""
        coefficients = np.einsum("akj,kc->cja", SH_TURNS, gamma).reshape(-1, 3)
        return cls(layout.rotation, layout.lighting, coefficients)

    def rows(self, jacobian: NDArray[np.float64]) -> None:
        """J S of J (..., P), or S^T g of g (P,), in place."""
        jacobian[..., self.turn] += jacobian[..., self.light] @ self.coefficients

    def squares(self, hessian: NDArray[np.float64]) -> None:
        """S^T H S of the full symmetric H (P, P), in place, and as symmetric."""
        self.rows(hessian)
        turned = hessian[:, self.turn].T.copy()
        block = np.triu(hessian[self.turn, self.turn] + self.coefficients.T @ hessian[self.light, self.turn])
        turned[:, self.turn] = block + np.triu(block, 1).T
        hessian[self.turn] = turned
        hessian[:, self.turn] = turned.T


class NormalEquations:
    """Forms H and g for one model, in memory that it keeps.

    Args:
        renderer: of the model.
        turning: whether normals turn with the head by themselves; see `surface.vertex_jacobian`.
    """

    def __init__(self, renderer: NumbaRenderer, turning: bool) -> None:
        self._renderer = renderer
        self._turning = turning
        layout = renderer.layout
        self._layout = layout
        # R rows of a vertex's motion: its place on the screen, and its depth or the two turns of its normal. As long as
        # there are rows, which is known when a kernel is compiled.
        self._axes = tuple(range(SCREEN_ROWS + (1 if renderer.flat else 2)))
        parts = (layout.shape, layout.pose, layout.albedo, layout.lighting)
        self._order = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        """(P,) where each column by vertices is in chi."""
        self._shape_pose = layout.shape_count + PARAMETERS
        self._dense = layout.lighting.start
        self._buffers: dict[str, NDArray[Any]] = {}

    def buffer(self, name: str, *shape: int) -> NDArray[Any]:
        """An array of rows that keeps its memory between calls (fresh pages are slow); zeros at first, then as left."""
        size = int(np.prod(shape))
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.zeros(size, self._renderer.real)
        return self._buffers[name][:size].reshape(shape)

    def gradient(self, pulls: Pulls, seen: Seen, surface: Surface, light_turn: LightTurn | None) -> NDArray[np.float64]:
        """g (P,); no rows are formed."""
        renderer, layout, mesh = self._renderer, self._layout, self._renderer.mesh
        points, turns = np.zeros_like(surface.shape.vertices), np.zeros_like(surface.shape.vertices)
        albedo, pose = np.empty((len(seen.vertices), 3)), np.empty((_VERTEX_BLOCKS, PARAMETERS))
        shape, posed = surface.shape, surface.posed
        vertex_pulls(renderer.flat, self._turning, mesh, shape, posed, seen, pulls.pixels, points, turns, albedo, pose)
        if not renderer.flat:
            point_pulls(mesh, shape.vertices, seen.place, turns, points)
        moved = np.flatnonzero(points.any(axis=1)).astype(np.int32)
        gradient = np.empty(layout.count)
        gradient[layout.shape] = _columns(renderer.shape_basis, moved, points[moved])
        gradient[layout.pose] = pose.sum(axis=0)
        gradient[layout.rotation] += pulls.spin
        gradient[layout.albedo] = _columns(renderer.albedo_basis, seen.vertices, albedo)
        gradient[layout.lighting] = pulls.light
        if light_turn is not None:
            light_turn.rows(gradient)
        return gradient

    def hessian(self, local: Local, seen: Seen, surface: Surface, light_turn: LightTurn | None) -> NDArray[np.float64]:
        """H (P, P). Flat normals with shadows are always worked on by rows."""
        assembly = self._renderer.settings.assembly
        if assembly == "auto":  # a vertex costs about as much as 2 R pixels; measured by benchmarks/linearize.py
            assembly = "vertices" if len(seen.pixels) > 2 * len(self._axes) * len(seen.vertices) else "rows"
        by_vertices = assembly == "vertices" and not len(local.spin)
        hessian = (self._by_vertices if by_vertices else self._by_rows)(local, seen, surface)
        if light_turn is not None:
            light_turn.squares(hessian)
        return hessian

    def light_alone(self, pulls: Pulls, sample: Local) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """g (P,) of the pixels and H (P, P) of a sample where all but the light is held, whose entries are zeros."""
        count, light = self._layout.count, self._layout.lighting
        gradient, hessian = np.zeros(count), np.zeros((count, count))
        gradient[light] = pulls.light
        for c, product in enumerate(self._lights(sample)):
            part = slice(light.start + LIGHTS * c, light.start + LIGHTS * (c + 1))
            hessian[part, part] = product
        return gradient, hessian

    def jacobian(self, local: Local, seen: Seen, surface: Surface, light_turn: LightTurn | None) -> NDArray[np.float64]:
        """J (F, 3, P) of the pixels as they are listed."""
        none = np.empty((_MANY_LANES, 3, 0, 0), self._renderer.real)
        rows = self._pixel_rows(local, seen, surface, self._levers(seen, surface), 0, len(seen.pixels), none).transpose(
            1, 0, 2
        )
        dense = self._dense
        jacobian = np.zeros((*rows.shape[:2], self._layout.count))
        jacobian[:, :, :dense] = rows[:, :, :dense]
        for c in range(3):
            jacobian[:, c, dense + LIGHTS * c : dense + LIGHTS * (c + 1)] = rows[:, c, dense : dense + LIGHTS]
        if light_turn is not None:
            light_turn.rows(jacobian)
        return jacobian

    def _by_vertices(self, local: Local, seen: Seen, surface: Surface) -> NDArray[np.float64]:
        """H (P, P)."""
        renderer, albedo_basis = self._renderer, self._renderer.albedo_basis
        shape_pose, total = self._shape_pose, len(self._order)
        dense = total - 3 * LIGHTS
        rank, used, real = len(self._axes), len(seen.vertices), renderer.real
        albedo_count = dense - shape_pose
        motion = self._motion(seen, surface)
        upper = np.zeros((total, total))
        block = min(_VERTICES, len(motion))
        rows = self.buffer("rows", block, rank, _round_up(total, 16))
        albedo_rows = self.buffer("albedo rows", block, 3, total - shape_pose)
        for first in range(0, used, block):
            count = min(block, used - first)
            padded = _round_up(count, _WHOLE)
            vertex_rows(
                self._axes,
                first,
                renderer.mesh,
                seen,
                local.record,
                motion,
                albedo_basis,
                shape_pose,
                rows[:count],
                albedo_rows[:count],
            )
            rows[count:padded] = 0.0
            albedo_rows[count:padded] = 0.0
            u = motion[first : first + padded].reshape(padded * rank, -1)
            product = u.T @ rows[:padded].reshape(padded * rank, -1)
            half = product[:shape_pose, :shape_pose]
            upper[:shape_pose, :shape_pose] += half + half.T
            upper[:shape_pose, shape_pose:] += product[:shape_pose, shape_pose:total]
            albedo = np.zeros((padded, 3, albedo_count), real)
            albedo[:count] = albedo_basis[seen.vertices[first : first + count]]
            product = albedo.reshape(3 * padded, -1).T @ albedo_rows[:padded].reshape(3 * padded, -1)
            upper[shape_pose:dense, shape_pose:] += product
        for c, product in enumerate(self._lights(local)):
            part = slice(dense + LIGHTS * c, dense + LIGHTS * (c + 1))
            upper[part, part] = product
        upper = np.triu(upper)
        hessian = np.empty_like(upper)
        hessian[np.ix_(self._order, self._order)] = upper + np.triu(upper, 1).T
        return hessian

    def _motion(self, seen: Seen, surface: Surface) -> NDArray[Any]:
        """U of the vertices that are seen, see `surface.vertex_jacobian`: (>= V, R, K + C), padded with zeros."""
        renderer, used = self._renderer, len(seen.vertices)
        motion = self.buffer("motion", _round_up(used, _WHOLE), len(self._axes), _round_up(self._shape_pose, 16))
        motion[used:] = 0.0
        shape, posed, basis = surface.shape, surface.posed, renderer.shape_basis
        vertex_jacobian(renderer.flat, self._turning, renderer.mesh, shape, posed, seen.vertices, basis, motion)
        return motion

    def _lights(self, local: Local) -> NDArray[np.float64]:
        """(3, 9, 9) by channel: the light's columns times the light's columns."""
        blocks = np.empty((_LIGHT_BLOCKS, 3, LIGHTS, LIGHT_LANES), local.record.dtype)
        light_products(local.record, blocks)
        products: NDArray[np.float64] = blocks[..., :LIGHTS].sum(axis=0, dtype=np.float64)
        return products

    def _by_rows(self, local: Local, seen: Seen, surface: Surface) -> NDArray[np.float64]:
        """As `_by_vertices`."""
        count, width = len(seen.pixels), self._width
        lanes = min(_FEW_LANES, count) if count <= _PIXELS else _MANY_LANES
        squares = self.buffer("squares", lanes, 3, width, width)
        levers = self._levers(seen, surface)
        for first in range(0, count, _PIXELS):
            self._pixel_rows(local, seen, surface, levers, first, min(_PIXELS, count - first), squares)
        hessian = np.empty((self._layout.count,) * 2)
        collect(squares, self._dense, hessian)
        return hessian

    def _levers(self, seen: Seen, surface: Surface) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """Levers and spins of the vertices that are seen, see `rows.normal_levers`; none for flat normals."""
        renderer = self._renderer
        used = seen.vertices[: 0 if renderer.flat else len(seen.vertices)]
        levers = self.buffer("levers", len(used), renderer.mesh.ring_size, 2, 3)
        spins = np.empty((len(used), 2, 3))
        if len(used):
            normal_levers(renderer.mesh, surface.shape, used, levers, spins)
        return levers, spins

    @property
    def _width(self) -> int:
        """Columns of the rows of a channel, some of them zeros."""
        return _round_up(self._dense + LIGHTS, 16)

    def _pixel_rows(
        self,
        local: Local,
        seen: Seen,
        surface: Surface,
        levers: tuple[NDArray[Any], NDArray[np.float64]],
        first: int,
        count: int,
        squares: NDArray[Any],
    ) -> NDArray[Any]:
        """See `rows.pixel_rows`."""
        renderer, layout = self._renderer, self._layout
        out = self.buffer("rows", 3, count, self._width)
        pixel_rows(
            self._axes,
            self._turning,
            first,
            renderer.mesh,
            surface.posed,
            seen,
            *levers,
            local.record,
            renderer.shape_basis,
            renderer.albedo_basis,
            local.spin,
            layout.rotation.start,
            out,
            first > 0,
            squares,
        )
        return out


def _columns(basis: NDArray[Any], chosen: NDArray[np.integer[Any]], pulls: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) a basis (N, 3, K) transposed times pulls (M, 3) at some vertices."""
    blocks = np.empty((_VERTEX_BLOCKS, basis.shape[2]))
    coefficient_pulls(basis, chosen, np.ascontiguousarray(pulls), blocks)
    columns: NDArray[np.float64] = blocks.sum(axis=0)
    return columns


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
