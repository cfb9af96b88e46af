"""The relief of pixels: its energy, gradient and frozen quadratic model; see faceinv/engine/detail.py."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import VIEW_FIELDS, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import BATCH, HEIGHT, LIGHTING, WIDTH
from faceinv.backends.cupy_cuda.launch.kernel import (
    BYTE,
    DOUBLE,
    FLOAT,
    REAL,
    REAL_TYPE,
    Kernel,
    Size,
    number,
    reads,
    whole_number,
    writes,
)
from faceinv.engine.detail import COST_PARTS
from faceinv.face.lighting import pack_lighting

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.detail import DetailProblem
    from faceinv.engine.records import DType

__all__ = [
    "BEND",
    "CORNERS",
    "DIAGONAL",
    "FILE",
    "LINKS",
    "STIFFNESS",
    "SUMS",
    "THREADS",
    "VIEW",
    "DeviceRelief",
    "ReliefSystem",
    "linearize",
    "moved",
    "normals",
    "prolonged",
]

THREADS: Final = 256
_MOST_SUMS: Final = 512
"""Blocks of an item that add up something, at most: each of their sums is read by many blocks."""
_PIXELS: Final = ("batch", "height", "width")
CORNERS: Final = ("batch", Size("height", plus=1), Size("width", plus=1))
SUMS: Final = whole_number("sums", "blocks of an item that add up something")
_HEAVY: Final = whole_number("heavy", "1 for Cauchy's costs instead of L1 norms")
VIEW: Final = reads("view", DOUBLE, ("batch", len(VIEW_FIELDS)), "see VIEW_X and so on")
LINKS: Final = reads("links", BYTE, CORNERS, "1 + the number of neighbours that count; 0 for corners that do not")
STIFFNESS: Final = reads("stiffness", REAL, ("batch", 3, "height", "width"), "A + t I: xx, xy, yy")
BEND: Final = reads("bend", REAL, CORNERS, "l")
DIAGONAL: Final = reads("inverse_diagonal", REAL, CORNERS, "of H; 0 where corners do not count")
_DISPLACEMENT: Final = reads("displacement", REAL, CORNERS, "mm")
_MASK: Final = reads("mask", BYTE, _PIXELS)
_NORMAL: Final = reads("normal", FLOAT, (*_PIXELS, 3), "n0")

_RELIEF_PIXELS: Final = Kernel(
    "relief_pixels",
    "detail.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
        SUMS,
        _HEAVY,
        number("huber", "delta"),
        number("slope", "tv"),
        number("steep", "of the fourth power"),
        number("softness", "eps of slopes"),
    ),
    (
        VIEW,
        reads("metric", DOUBLE, ("batch", 3, 3), "W"),
        LIGHTING,
        _MASK,
        reads("target", FLOAT, (*_PIXELS, 3)),
        reads("gain", FLOAT, (*_PIXELS, 3)),
        _NORMAL,
        reads("weight", FLOAT, _PIXELS),
        _DISPLACEMENT,
        writes("stiffness", REAL, ("batch", 3, "height", "width"), "A + t I: xx, xy, yy"),
        writes("force", REAL, ("batch", 2, "height", "width"), "t times the slopes, less b"),
        writes("partial", DOUBLE, ("batch", "sums", 2), "photometric and slope cost of each block"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_CORNERS: Final = Kernel(
    "relief_corners",
    "detail.cu",
    (
        BATCH,
        HEIGHT,
        WIDTH,
        SUMS,
        _HEAVY,
        number("size", "mu1"),
        number("curvature", "mu2"),
        number("softness", "eps of curvature, 1/mm"),
    ),
    (
        VIEW,
        LINKS,
        _DISPLACEMENT,
        writes("bend", REAL, CORNERS, "l"),
        writes("bent", REAL, CORNERS, "l times the Laplacian"),
        writes("partial", DOUBLE, ("batch", "sums", 2), "size and curvature cost of each block"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_GRADIENT: Final = Kernel(
    "relief_gradient",
    "detail.cu",
    (BATCH, HEIGHT, WIDTH, number("size", "mu1")),
    (
        VIEW,
        LINKS,
        _DISPLACEMENT,
        STIFFNESS,
        reads("force", REAL, ("batch", 2, "height", "width"), "of relief_pixels"),
        BEND,
        reads("bent", REAL, CORNERS, "of relief_corners"),
        writes("gradient", REAL, CORNERS, "g"),
        writes("inverse_diagonal", REAL, CORNERS, "of H; 0 where corners do not count"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_COSTS: Final = Kernel(
    "relief_costs",
    "detail.cu",
    (
        BATCH,
        whole_number("pixel_sums", "blocks of an item in relief_pixels"),
        whole_number("corner_sums", "blocks of an item in relief_corners"),
    ),
    (
        reads("of_pixels", DOUBLE, ("batch", "pixel_sums", 2), "photometric and slope"),
        reads("of_corners", DOUBLE, ("batch", "corner_sums", 2), "size and curvature"),
        writes("cost", DOUBLE, ("batch", len(COST_PARTS)), "PART_PHOTOMETRIC and so on"),
    ),
)

_RELIEF_NORMALS: Final = Kernel(
    "relief_normals",
    "detail.cu",
    (BATCH, HEIGHT, WIDTH),
    (VIEW, _MASK, _NORMAL, _DISPLACEMENT, writes("out", REAL, (*_PIXELS, 3), "unit; n0 outside the mask")),
    template=(REAL_TYPE,),
)

_RELIEF_PROLONGED: Final = Kernel(
    "relief_prolonged",
    "detail.cu",
    (BATCH, HEIGHT, WIDTH, whole_number("coarse_rows", "of corners"), whole_number("coarse_columns", "of corners")),
    (
        LINKS,
        reads("coarse", REAL, ("batch", "coarse_rows", "coarse_columns"), "displacement at half the size, mm"),
        writes("out", REAL, CORNERS, "mm"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_MOVED: Final = Kernel(
    "relief_moved",
    "detail.cu",
    (BATCH, whole_number("corners", "of an item")),
    (
        reads("displacement", REAL, ("batch", "corners"), "mm"),
        reads("step", REAL, ("batch", "corners"), "mm"),
        reads("length", DOUBLE, ("batch",), "of the step; 0 keeps an item's bits"),
        writes("out", REAL, ("batch", "corners"), "displacement + length step"),
    ),
    template=(REAL_TYPE,),
)

FILE: Final = kernel_file(
    _RELIEF_PIXELS,
    _RELIEF_CORNERS,
    _RELIEF_GRADIENT,
    _RELIEF_COSTS,
    _RELIEF_NORMALS,
    _RELIEF_PROLONGED,
    _RELIEF_MOVED,
)


@dataclass(frozen=True, eq=False)
class DeviceRelief:
    """One level of a batch on a device; see `DetailProblem`."""

    device: Device
    problem: DetailProblem
    real: DType
    target: Array
    gain: Array
    normal: Array
    weight: Array
    mask: Array
    """(B, H, W) uint8."""
    links: Array
    """(B, H + 1, W + 1) uint8: 1 + the number of neighbours that count; 0 for corners that do not."""
    lighting: Array
    """(B, 27) float64."""
    metric: Array
    """(B, 3, 3) float64."""
    view: Array
    """(B, 4) float64."""

    @classmethod
    def of(cls, device: Device, problem: DetailProblem, real: DType) -> DeviceRelief:
        """A level's arrays, copied to the device.

        Raises:
            DeviceMemoryError: when there is no room.
        """
        corners = problem.corners
        links = corners.astype(np.uint8)
        links[:, 1:] += corners[:, :-1]
        links[:, :-1] += corners[:, 1:]
        links[:, :, 1:] += corners[:, :, :-1]
        links[:, :, :-1] += corners[:, :, 1:]
        view = np.concatenate(
            [problem.principal_point, problem.inverse_focal[:, None], problem.pixel[:, None]], axis=1, dtype=np.float64
        )
        return cls(
            device=device,
            problem=problem,
            real=real,
            target=device.asarray(np.ascontiguousarray(problem.target, np.float32)),
            gain=device.asarray(np.ascontiguousarray(problem.gain, np.float32)),
            normal=device.asarray(np.ascontiguousarray(problem.normal, np.float32)),
            weight=device.asarray(np.ascontiguousarray(problem.weight, np.float32)),
            mask=device.asarray(np.ascontiguousarray(problem.mask).astype(np.uint8)),
            links=device.asarray(np.where(corners, links, 0).astype(np.uint8)),
            lighting=device.asarray(np.ascontiguousarray(pack_lighting(np.asarray(problem.lighting, np.float64)))),
            metric=device.asarray(np.ascontiguousarray(problem.metric, np.float64)),
            view=device.asarray(view),
        )

    @property
    def template(self) -> tuple[str, ...]:
        """Template arguments of kernels."""
        return ("double" if self.real == "float64" else "float",)

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers that kernels with pixels and corners are given."""
        batch, height, width = self.problem.mask.shape
        return {"batch": batch, "height": height, "width": width}

    @property
    def corner_shape(self) -> tuple[int, int, int]:
        """(B, H + 1, W + 1)."""
        batch, height, width = self.problem.mask.shape
        return batch, height + 1, width + 1

    @cached_property
    def sums(self) -> int:
        """Blocks of an item that add something up over corners; by its size alone."""
        _, rows, columns = self.corner_shape
        return min(blocks(rows * columns, THREADS), _MOST_SUMS)

    @cached_property
    def pixel_sums(self) -> int:
        """The same over pixels."""
        height, width = self.problem.size
        return min(blocks(height * width, THREADS), _MOST_SUMS)

    def corner_array(self) -> Array:
        """(B, H + 1, W + 1) with arbitrary contents."""
        return self.device.empty(self.corner_shape, self.real)

    def pixel_array(self, count: int) -> Array:
        """(B, count, H, W) with arbitrary contents."""
        batch, height, width = self.problem.mask.shape
        return self.device.empty((batch, count, height, width), self.real)

    def sum_array(self) -> Array:
        """(B, sums) float64 with arbitrary contents."""
        return self.device.empty((len(self.problem.mask), self.sums), np.float64)


@dataclass(frozen=True, eq=False)
class ReliefSystem:
    """What H is made of, on the device; also the gradient."""

    gradient: Array
    """(B, H + 1, W + 1)."""
    stiffness: Array
    """(B, 3, H, W): A + t I, xx, xy, yy."""
    bend: Array
    """(B, H + 1, W + 1): l."""
    inverse_diagonal: Array
    """(B, H + 1, W + 1)."""


def linearize(relief: DeviceRelief, displacement: Array) -> tuple[Array, ReliefSystem]:
    """Costs (B, 4) float64 by part, gradient and frozen model at a displacement (B, H + 1, W + 1); on the device."""
    device, weights, batch = relief.device, relief.problem.weights, len(relief.problem.mask)
    stiffness, force = relief.pixel_array(3), relief.pixel_array(2)
    bend, bent, gradient, inverse_diagonal = (relief.corner_array() for _ in range(4))
    of_pixels = device.empty((batch, relief.pixel_sums, 2), np.float64)
    of_corners = device.empty((batch, relief.sums, 2), np.float64)
    cost = device.empty((batch, len(COST_PARTS)), np.float64)
    template, sizes = relief.template, relief.sizes
    device.launch(
        _RELIEF_PIXELS,
        (relief.pixel_sums, batch, 1),
        THREADS,
        template=template,
        **sizes,
        sums=relief.pixel_sums,
        heavy=int(weights.heavy_tails),
        huber=weights.huber,
        slope=weights.slope,
        steep=weights.steep,
        softness=weights.slope_softness,
        view=relief.view,
        metric=relief.metric,
        lighting=relief.lighting,
        mask=relief.mask,
        target=relief.target,
        gain=relief.gain,
        normal=relief.normal,
        weight=relief.weight,
        displacement=displacement,
        stiffness=stiffness,
        force=force,
        partial=of_pixels,
    )
    device.launch(
        _RELIEF_CORNERS,
        (relief.sums, batch, 1),
        THREADS,
        template=template,
        **sizes,
        sums=relief.sums,
        heavy=int(weights.heavy_tails),
        size=weights.size,
        curvature=weights.curvature,
        softness=weights.curvature_softness,
        view=relief.view,
        links=relief.links,
        displacement=displacement,
        bend=bend,
        bent=bent,
        partial=of_corners,
    )
    _, rows, columns = relief.corner_shape
    device.launch(
        _RELIEF_GRADIENT,
        (blocks(rows * columns, THREADS), batch, 1),
        THREADS,
        template=template,
        **sizes,
        size=weights.size,
        view=relief.view,
        links=relief.links,
        displacement=displacement,
        stiffness=stiffness,
        force=force,
        bend=bend,
        bent=bent,
        gradient=gradient,
        inverse_diagonal=inverse_diagonal,
    )
    device.launch(
        _RELIEF_COSTS,
        (batch, 1, 1),
        THREADS,
        batch=batch,
        pixel_sums=relief.pixel_sums,
        corner_sums=relief.sums,
        of_pixels=of_pixels,
        of_corners=of_corners,
        cost=cost,
    )
    return cost, ReliefSystem(gradient, stiffness, bend, inverse_diagonal)


def normals(relief: DeviceRelief, displacement: Array) -> Array:
    """(B, H, W, 3) unit normals of the displaced surface; n0 outside the mask."""
    batch, height, width = relief.problem.mask.shape
    out = relief.device.empty((batch, height, width, 3), relief.real)
    relief.device.launch(
        _RELIEF_NORMALS,
        (blocks(height * width, THREADS), batch, 1),
        THREADS,
        template=relief.template,
        **relief.sizes,
        view=relief.view,
        mask=relief.mask,
        normal=relief.normal,
        displacement=displacement,
        out=out,
    )
    return out


def prolonged(relief: DeviceRelief, coarse: Array) -> Array:
    """The displacement of a level of half the size on this level's grid; see `AbstractDetailSolver.prolong`."""
    batch, rows, columns = relief.corner_shape
    out = relief.corner_array()
    relief.device.launch(
        _RELIEF_PROLONGED,
        (blocks(rows * columns, THREADS), batch, 1),
        THREADS,
        template=relief.template,
        **relief.sizes,
        coarse_rows=coarse.shape[1],
        coarse_columns=coarse.shape[2],
        links=relief.links,
        coarse=coarse,
        out=out,
    )
    return out


def moved(relief: DeviceRelief, displacement: Array, step: Array, length: Array) -> Array:
    """`displacement + length step`, with length (B,) float64 on the device."""
    batch, rows, columns = relief.corner_shape
    corners = rows * columns
    out = relief.device.empty((batch, corners), relief.real)
    relief.device.launch(
        _RELIEF_MOVED,
        (blocks(corners, THREADS), batch, 1),
        THREADS,
        template=relief.template,
        batch=batch,
        corners=corners,
        displacement=displacement.reshape(batch, corners),
        step=step.reshape(batch, corners),
        length=length,
        out=out,
    )
    return out.reshape(relief.corner_shape)
