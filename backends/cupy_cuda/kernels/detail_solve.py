"""Conjugate gradients for the relief of pixels, on the device from the first step to the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels.constants import kernel_file
from faceinv.backends.cupy_cuda.kernels.detail import (
    BEND,
    CORNERS,
    LINKS,
    STIFFNESS,
    SUMS,
    THREADS,
    VIEW,
)
from faceinv.backends.cupy_cuda.kernels.fields import BATCH, HEIGHT, WIDTH
from faceinv.backends.cupy_cuda.launch.kernel import (
    DOUBLE,
    INT,
    REAL,
    REAL_TYPE,
    Kernel,
    number,
    reads,
    whole_number,
    writes,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.kernels.detail import DeviceRelief, ReliefSystem
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "conjugate_gradients", "hessian_product"]

_LOOK: Final = 16
"""Steps after which the host looks whether any item goes on."""
_LIMIT: Final = whole_number("limit", "steps at most")
_NUMBER: Final = whole_number("number", "of the step, from 0")
_FLAT: Final = ("batch", "corners")
_ALL: Final = whole_number("corners", "of an item")

_RELIEF_START: Final = Kernel(
    "relief_start",
    "detail_solve.cu",
    (BATCH, _ALL, SUMS),
    (
        reads("gradient", REAL, _FLAT, "g"),
        reads("inverse_diagonal", REAL, _FLAT),
        writes("step", REAL, _FLAT, "zeros"),
        writes("residual", REAL, _FLAT, "-g"),
        writes("partial", DOUBLE, ("batch", "sums"), "of the residual's square in the norm of the inverse diagonal"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_SPREAD: Final = Kernel(
    "relief_spread",
    "detail_solve.cu",
    (BATCH, HEIGHT, WIDTH, SUMS, _LIMIT, _NUMBER, number("tolerance", "of the residual's norm, relative")),
    (
        VIEW,
        LINKS,
        STIFFNESS,
        BEND,
        reads("residual", REAL, CORNERS, "without `inverse_diagonal`, the direction itself"),
        reads("inverse_diagonal", REAL, CORNERS, optional=True),
        reads("last", REAL, CORNERS, "the direction before; not read in the first step", optional=True),
        reads("partial", DOUBLE, ("batch", "sums"), "of the residual's square", optional=True),
        writes("squares", DOUBLE, ("batch", "limit"), "the residual's square before each step", optional=True),
        writes("running", INT, ("batch", "limit"), "1 for each step that is taken", optional=True),
        writes("direction", REAL, CORNERS),
        writes("bent", REAL, CORNERS, "l times the direction's Laplacian"),
        writes("force", REAL, ("batch", 2, "height", "width"), "A + t I times the direction's slopes"),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_GATHER: Final = Kernel(
    "relief_gather",
    "detail_solve.cu",
    (BATCH, HEIGHT, WIDTH, SUMS, _LIMIT, _NUMBER, number("size", "mu1")),
    (
        VIEW,
        LINKS,
        reads("running", INT, ("batch", "limit"), optional=True),
        reads("direction", REAL, CORNERS),
        reads("bent", REAL, CORNERS, "of relief_spread"),
        reads("force", REAL, ("batch", 2, "height", "width"), "of relief_spread"),
        writes("out", REAL, CORNERS, "H times the direction"),
        writes("partial", DOUBLE, ("batch", "sums"), "of its product with the direction", optional=True),
    ),
    template=(REAL_TYPE,),
)

_RELIEF_ADVANCE: Final = Kernel(
    "relief_advance",
    "detail_solve.cu",
    (BATCH, _ALL, SUMS, _LIMIT, _NUMBER),
    (
        reads("inverse_diagonal", REAL, _FLAT),
        reads("running", INT, ("batch", "limit")),
        reads("squares", DOUBLE, ("batch", "limit"), "the residual's square before each step"),
        reads("products", DOUBLE, ("batch", "sums"), "of relief_gather"),
        reads("direction", REAL, _FLAT),
        reads("bent_direction", REAL, _FLAT, "H times the direction"),
        writes("step", REAL, _FLAT, "moved on"),
        writes("residual", REAL, _FLAT, "moved on"),
        writes("partial", DOUBLE, ("batch", "sums"), "of its square in the norm of the inverse diagonal"),
    ),
    template=(REAL_TYPE,),
)

FILE: Final = kernel_file(_RELIEF_START, _RELIEF_SPREAD, _RELIEF_GATHER, _RELIEF_ADVANCE, exact=False)


def hessian_product(relief: DeviceRelief, system: ReliefSystem, vector: Array) -> Array:
    """H times a vector (B, H + 1, W + 1) that is zero at corners that do not count; on the device."""
    out = relief.corner_array()
    shared: dict[str, Any] = {"view": relief.view, "links": relief.links, **relief.sizes, "sums": relief.sums}
    shared |= {"limit": 1, "number": 0}
    none: dict[str, Any] = dict.fromkeys(("inverse_diagonal", "last", "partial", "squares", "running"))
    middle: dict[str, Any] = {
        "direction": relief.corner_array(),
        "bent": relief.corner_array(),
        "force": relief.pixel_array(2),
    }
    grid = (relief.sums, len(vector), 1)
    spread: dict[str, Any] = {"stiffness": system.stiffness, "bend": system.bend, "residual": vector, "tolerance": 0.0}
    relief.device.launch(_RELIEF_SPREAD, grid, THREADS, template=relief.template, **shared, **none, **spread, **middle)
    relief.device.launch(
        _RELIEF_GATHER,
        grid,
        THREADS,
        template=relief.template,
        **shared,
        **middle,
        size=relief.problem.weights.size,
        running=None,
        partial=None,
        out=out,
    )
    return out


def conjugate_gradients(
    relief: DeviceRelief, system: ReliefSystem, tolerance: float, limit: int
) -> tuple[Array, NDArray[np.int64]]:
    """See `AbstractDetailSolver.solve`: the step (B, H + 1, W + 1), on the device, and how many steps items took."""
    device, (batch, rows, columns) = relief.device, relief.corner_shape
    grid, flat = (relief.sums, batch, 1), (batch, rows * columns)
    step, residual, product = (relief.corner_array() for _ in range(3))
    directions = relief.corner_array(), relief.corner_array()
    bent, force = relief.corner_array(), relief.pixel_array(2)
    partial, products = relief.sum_array(), relief.sum_array()
    squares = device.empty((batch, max(limit, 1)), np.float64)
    running = device.zeros((batch, max(limit, 1)), np.int32)
    by_corner: dict[str, Any] = {"batch": batch, "corners": rows * columns, "sums": relief.sums}
    by_grid: dict[str, Any] = {"view": relief.view, "links": relief.links, **relief.sizes, "sums": relief.sums}
    by_grid["limit"] = max(limit, 1)
    diagonal = system.inverse_diagonal
    device.launch(
        _RELIEF_START,
        grid,
        THREADS,
        template=relief.template,
        **by_corner,
        gradient=system.gradient.reshape(flat),
        inverse_diagonal=diagonal.reshape(flat),
        step=step.reshape(flat),
        residual=residual.reshape(flat),
        partial=partial,
    )
    for taken in range(limit):
        direction, last = directions[taken % 2], directions[1 - taken % 2]
        device.launch(
            _RELIEF_SPREAD,
            grid,
            THREADS,
            template=relief.template,
            **by_grid,
            number=taken,
            tolerance=tolerance,
            stiffness=system.stiffness,
            bend=system.bend,
            residual=residual,
            inverse_diagonal=diagonal,
            last=last,
            partial=partial,
            squares=squares,
            running=running,
            direction=direction,
            bent=bent,
            force=force,
        )
        device.launch(
            _RELIEF_GATHER,
            grid,
            THREADS,
            template=relief.template,
            **by_grid,
            number=taken,
            size=relief.problem.weights.size,
            running=running,
            direction=direction,
            bent=bent,
            force=force,
            out=product,
            partial=products,
        )
        device.launch(
            _RELIEF_ADVANCE,
            grid,
            THREADS,
            template=relief.template,
            **by_corner,
            limit=max(limit, 1),
            number=taken,
            inverse_diagonal=diagonal.reshape(flat),
            running=running,
            squares=squares,
            products=products,
            direction=direction.reshape(flat),
            bent_direction=product.reshape(flat),
            step=step.reshape(flat),
            residual=residual.reshape(flat),
            partial=partial,
        )
        if taken % _LOOK == _LOOK - 1 and not device.to_host(running)[:, taken].any():
            break
    return step, device.to_host(running).sum(axis=1, dtype=np.int64)
