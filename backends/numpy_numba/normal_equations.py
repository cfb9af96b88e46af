"""H = J^T J and g = J^T r of an item from its pixels' records: blocks by kernels, their products by BLAS.

H and g are formed apart: g needs no rows, and H may be that of some pixels only. Inside H columns are ordered
[shape | pose | albedo | light]; see `assembly`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.numpy_numba.assembly import light_products, pixel_rows, vertex_forces, vertex_rows
from faceinv.backends.numpy_numba.camera import SCREEN_ROWS
from faceinv.backends.numpy_numba.record import LIGHT_LANES, LIGHTS
from faceinv.backends.numpy_numba.surface import adjoint_columns, adjoint_motion
from faceinv.face.lighting import SH_TURNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.numpy_numba.mesh import Mesh
    from faceinv.backends.numpy_numba.parts import Local, Posed, Seen, Shape
    from faceinv.engine.records import Assembly
    from faceinv.face.layout import ParameterLayout

__all__ = ["LightTurn", "NormalEquations"]

_PIXELS: Final = 4096
"""Pixels in one block of rows."""
_VERTICES: Final = 2048
"""Vertices in one block of rows."""
_LIGHT_BLOCKS: Final = 64
"""Blocks of pixels whose light columns are summed by themselves."""
_COLUMN_BLOCKS: Final = 16
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
        """The upper triangle of S^T H S of the full H (P, P), in place."""
        self.rows(hessian)
        self.rows(hessian.T)


class NormalEquations:
    """Forms H and g for one model, in memory that it keeps."""

    def __init__(self, layout: ParameterLayout, mesh: Mesh, albedo_basis: NDArray[Any], rank: int) -> None:
        self._layout = layout
        self._mesh = mesh
        self._albedo_basis = albedo_basis
        self._axes = tuple(range(rank))
        """As long as a vertex has rows, which is known when a kernel is compiled."""
        parts = (layout.shape, layout.pose, layout.albedo, layout.lighting)
        self._order = np.concatenate([np.arange(part.start, part.stop) for part in parts])
        """(P,) where each column inside is in chi."""
        self._spin_at = layout.shape_count + layout.camera.ROTATION.start
        self._shape_pose = layout.shape_count + layout.pose.stop - layout.pose.start
        self._dense = self._shape_pose + layout.albedo_count
        self._buffers: dict[str, NDArray[Any]] = {}

    def buffer(self, name: str, *shape: int) -> NDArray[Any]:
        """An array of rows that keeps its memory between calls (fresh pages are slow); zeros at first, then as left."""
        size = int(np.prod(shape))
        if name not in self._buffers or self._buffers[name].size < size:
            self._buffers[name] = np.zeros(size, self._albedo_basis.dtype)
        return self._buffers[name][:size].reshape(shape)

    def motion(self, used: int) -> NDArray[Any]:
        """U of so many vertices, (>= V, R, K + C), padded with zeros; to be filled."""
        motion = self.buffer("motion", _round_up(used, _WHOLE), len(self._axes), _round_up(self._shape_pose, 16))
        motion[used:] = 0.0
        return motion

    def gradient(
        self,
        local: Local,
        seen: Seen,
        shape: Shape,
        posed: Posed,
        shape_basis: NDArray[Any],
        light_turn: LightTurn | None,
    ) -> NDArray[np.float64]:
        """g (P,), from forces on the vertices; no rows are formed."""
        mesh, rank, layout = self._mesh, len(self._axes), self._layout
        force = np.empty((len(seen.vertices), rank + 3))
        vertex_forces(self._axes, mesh, seen, local.record, force)
        points, pose = np.zeros((len(shape.vertices), 3)), np.zeros(layout.pose.stop - layout.pose.start)
        flat = rank == SCREEN_ROWS + 1
        adjoint_motion(flat, not len(posed.shadow), mesh, shape, posed, seen.vertices, force, points, pose)
        if len(local.spin):
            pose[layout.camera.ROTATION] += np.einsum("pc,pca->a", local.residual, local.spin, dtype=np.float64)
        gradient = np.empty(layout.count)
        moved = np.flatnonzero(points.any(axis=1)).astype(np.int32)
        gradient[layout.shape] = _columns(shape_basis, moved, points[moved])
        gradient[layout.pose] = pose
        gradient[layout.albedo] = _columns(self._albedo_basis, seen.vertices, force[:, rank:])
        gradient[layout.lighting] = self._lights(local)[:, LIGHTS, :LIGHTS].ravel()
        if light_turn is not None:
            light_turn.rows(gradient)
        return gradient

    def hessian(
        self, local: Local, seen: Seen, motion: NDArray[Any], assembly: Assembly, light_turn: LightTurn | None
    ) -> NDArray[np.float64]:
        """H (P, P). Flat normals with shadows are always worked on by rows."""
        if assembly == "auto":  # a vertex costs about as much as 2 R pixels; measured by benchmarks/linearize.py
            assembly = "vertices" if len(seen.pixels) > 2 * len(self._axes) * len(seen.vertices) else "rows"
        by_vertices = assembly == "vertices" and not len(local.spin)
        upper = np.triu((self._by_vertices if by_vertices else self._by_rows)(local, seen, motion))
        hessian = np.empty_like(upper)
        hessian[np.ix_(self._order, self._order)] = upper + np.triu(upper, 1).T
        if light_turn is not None:
            light_turn.squares(hessian)
            upper = np.triu(hessian)
            hessian = upper + np.triu(upper, 1).T
        return hessian

    def light_alone(self, local: Local, sample: Local) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """g (P,) of the pixels and H (P, P) of a sample where all but the light is held, whose entries are zeros."""
        count, light = self._layout.count, self._layout.lighting
        gradient, hessian = np.zeros(count), np.zeros((count, count))
        gradient[light] = self._lights(local)[:, LIGHTS, :LIGHTS].ravel()
        for c, product in enumerate(self._lights(sample)):
            part = slice(light.start + LIGHTS * c, light.start + LIGHTS * (c + 1))
            hessian[part, part] = product[:LIGHTS, :LIGHTS]
        return gradient, hessian

    def jacobian(
        self, local: Local, seen: Seen, motion: NDArray[Any], light_turn: LightTurn | None
    ) -> NDArray[np.float64]:
        """J (F, 3, P) of the pixels as they are listed."""
        rows = self._pixel_rows(local, seen, motion, 0, len(seen.pixels)).transpose(1, 0, 2)
        dense, count = self._dense, len(self._order)
        columns = np.zeros((*rows.shape[:2], count))
        columns[:, :, :dense] = rows[:, :, :dense]
        for c in range(3):
            columns[:, c, dense + LIGHTS * c : dense + LIGHTS * (c + 1)] = rows[:, c, dense : dense + LIGHTS]
        jacobian = np.empty_like(columns)
        jacobian[:, :, self._order] = columns
        if light_turn is not None:
            light_turn.rows(jacobian)
        return jacobian

    def _by_vertices(self, local: Local, seen: Seen, motion: NDArray[Any]) -> NDArray[np.float64]:
        """The upper triangle of H in the order inside, (P, P); what is below has no meaning."""
        shape_pose, dense, total = self._shape_pose, self._dense, len(self._order)
        rank, used, real = len(self._axes), len(seen.vertices), self._albedo_basis.dtype
        albedo_count = dense - shape_pose
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
                self._mesh,
                seen,
                local.record,
                motion,
                self._albedo_basis,
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
            albedo[:count] = self._albedo_basis[seen.vertices[first : first + count]]
            product = albedo.reshape(3 * padded, -1).T @ albedo_rows[:padded].reshape(3 * padded, -1)
            upper[shape_pose:dense, shape_pose:] += product
        for c, product in enumerate(self._lights(local)):
            part = slice(dense + LIGHTS * c, dense + LIGHTS * (c + 1))
            upper[part, part] = product[:LIGHTS, :LIGHTS]
        return upper

    def _lights(self, local: Local) -> NDArray[np.float64]:
        """(3, 10, 16) by channel: the light's columns, and below them the residuals, times the light's columns."""
        blocks = np.empty((_LIGHT_BLOCKS, 3, LIGHTS + 1, LIGHT_LANES), local.record.dtype)
        light_products(local.record, blocks)
        products: NDArray[np.float64] = blocks.sum(axis=0, dtype=np.float64)
        return products

    def _by_rows(self, local: Local, seen: Seen, motion: NDArray[Any]) -> NDArray[np.float64]:
        """As `_by_vertices`."""
        dense, count = self._dense, len(seen.pixels)
        width = dense + LIGHTS
        channels = np.zeros((3, width, width))
        for first in range(0, count, _PIXELS):
            rows = self._pixel_rows(local, seen, motion, first, min(_PIXELS, count - first))
            for c in range(3):
                channels[c] += (rows[c].T @ rows[c])[:width, :width]
        upper = np.zeros((len(self._order),) * 2)
        upper[:dense, :dense] = channels.sum(axis=0)[:dense, :dense]
        for c in range(3):
            part = slice(dense + LIGHTS * c, dense + LIGHTS * (c + 1))
            upper[:dense, part], upper[part, part] = channels[c, :dense, dense:], channels[c, dense:, dense:]
        return upper

    def _pixel_rows(self, local: Local, seen: Seen, motion: NDArray[Any], first: int, count: int) -> NDArray[Any]:
        """See `assembly.pixel_rows`."""
        out = self.buffer("rows", 3, count, _round_up(self._dense + LIGHTS, 8))
        triangles, basis = self._mesh.triangles, self._albedo_basis
        spin, at, wide = local.spin, self._spin_at, self._shape_pose
        pixel_rows(self._axes, first, triangles, seen, local.record, motion, basis, wide, spin, at, out)
        return out


def _columns(basis: NDArray[Any], chosen: NDArray[np.integer[Any]], force: NDArray[np.float64]) -> NDArray[np.float64]:
    """(K,) a basis (N, 3, K) transposed times force (M, 3) on some vertices."""
    blocks = np.empty((_COLUMN_BLOCKS, basis.shape[2]))
    adjoint_columns(basis, chosen, np.ascontiguousarray(force), blocks)
    columns: NDArray[np.float64] = blocks.sum(axis=0)
    return columns


def _round_up(count: int, step: int) -> int:
    return -(-count // step) * step
