"""The parts of E, g and H put together: photometric slabs, landmarks, priors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceinv.backends.cupy_cuda.kernels.constants import LANDMARK_ROWS, PATCH, blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import ACTIVE, BATCH, COUNTS, PARAMETERS, SAMPLED
from faceinv.backends.cupy_cuda.launch.kernel import DOUBLE, REAL, REAL_TYPE, Kernel, reads, whole_number, writes

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.assembly import AssemblyPlan, SlabSums
    from faceinv.backends.cupy_cuda.kernels.photometric import FrozenPart
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "finish_derivatives", "sum_costs"]

_THREADS: Final = 128

_SLABS: Final = whole_number("slabs", "the most slabs that an item has")
_LANDMARK: Final = reads("landmark", DOUBLE, ("batch", LANDMARK_ROWS, "parameters"), "rows")
_RESIDUAL: Final = reads("residual", DOUBLE, ("batch", LANDMARK_ROWS), "of landmarks")
_PRIOR: Final = reads("prior", DOUBLE, ("batch", "parameters"), "the weights of (chi - mean)^2")
_MEAN: Final = reads("mean", DOUBLE, ("batch", "parameters"), "of the prior")
_CHI: Final = reads("chi", DOUBLE, ("batch", "parameters"))

_FINISH_HESSIAN: Final = Kernel(
    "finish_hessian",
    "finish.cu",
    (
        BATCH,
        PARAMETERS,
        _SLABS,
        whole_number("tiles", "tiles along a side of H"),
        whole_number("pairs", "tiles in its upper triangle"),
        whole_number("side", "columns of a tile"),
    ),
    (
        ACTIVE,
        COUNTS,
        SAMPLED,
        reads("partial", REAL, ("batch", "slabs", "pairs", "side", "side")),
        _LANDMARK,
        _PRIOR,
        writes("hessian", DOUBLE, ("batch", "parameters", "parameters"), "zeros for items that are not active"),
    ),
    template=(REAL_TYPE,),
)

_FINISH_GRADIENT: Final = Kernel(
    "finish_gradient",
    "finish.cu",
    (BATCH, PARAMETERS, _SLABS),
    (
        ACTIVE,
        COUNTS,
        reads("partial", DOUBLE, ("batch", "slabs", "parameters")),
        _LANDMARK,
        _RESIDUAL,
        _PRIOR,
        _MEAN,
        _CHI,
        writes("gradient", DOUBLE, ("batch", "parameters"), "zeros for items that are not active"),
    ),
)

_SUM_COSTS: Final = Kernel(
    "sum_costs",
    "finish.cu",
    (BATCH, PARAMETERS, whole_number("blocks", "blocks of an item in `partial`")),
    (
        ACTIVE,
        COUNTS,
        reads("partial", DOUBLE, ("batch", "blocks")),
        _RESIDUAL,
        _PRIOR,
        _MEAN,
        _CHI,
        writes("cost", DOUBLE, ("batch", 3), "photometric, landmarks, prior; zeros for items that are not active"),
    ),
)

FILE: Final = kernel_file(_FINISH_HESSIAN, _FINISH_GRADIENT, _SUM_COSTS, exact=False)


def finish_derivatives(
    plan: AssemblyPlan,
    part: FrozenPart,
    sums: SlabSums,
    residual: Array,
    landmark: Array,
    prior: tuple[Array, Array],
    gradient: Array,
    hessian: Array,
) -> None:
    """Fill gradient (b, P) and hessian (b, P, P) from the slabs' sums, landmark residuals (b, 136) and rows
    (b, 136, P), and the prior's weights and means (b, P)."""
    model, count = part.model, part.model.layout.count
    shared = {
        "batch": part.items,
        "parameters": count,
        "slabs": sums.slabs,
        "active": part.active,
        "counts": part.seen.counts,
        "landmark": landmark,
        "prior": prior[0],
    }
    patches = blocks(count, PATCH)
    model.device.launch(
        _FINISH_HESSIAN,
        (patches, patches, part.items),
        PATCH * PATCH,
        template=(model.real_name,),
        **shared,
        sampled=part.seen.sampled,
        tiles=plan.tiles,
        pairs=plan.pairs,
        side=plan.side,
        partial=sums.hessian,
        hessian=hessian,
    )
    model.device.launch(
        _FINISH_GRADIENT,
        (blocks(count, _THREADS), part.items, 1),
        _THREADS,
        **shared,
        partial=sums.gradient,
        residual=residual,
        mean=prior[1],
        chi=part.surface.chi,
        gradient=gradient,
    )


def sum_costs(part: FrozenPart, partial: Array, residual: Array, prior: tuple[Array, Array], out: Array) -> None:
    """Fill out (b, 3): the photometric, landmark and prior terms, from each block's photometric part (b, blocks),
    landmark residuals (b, 136) and the prior's weights and means (b, P)."""
    part.model.device.launch(
        _SUM_COSTS,
        (part.items, 1, 1),
        _THREADS,
        batch=part.items,
        parameters=part.model.layout.count,
        blocks=partial.shape[1],
        active=part.active,
        counts=part.seen.counts,
        partial=partial,
        residual=residual,
        prior=prior[0],
        mean=prior[1],
        chi=part.surface.chi,
        cost=out,
    )
