"""The derivative of vertex normals with respect to the shape coefficients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from faceinv.backends.cupy_cuda.kernels.constants import blocks, kernel_file
from faceinv.backends.cupy_cuda.kernels.fields import (
    ACTIVE,
    BATCH,
    COUNTS,
    INVERSE_LENGTH,
    NORMALS,
    POINTS,
    TRIANGLE_COUNT,
    TRIANGLES,
    VERTICES,
)
from faceinv.backends.cupy_cuda.kernels.photometric import room
from faceinv.backends.cupy_cuda.launch.kernel import INT, REAL, REAL_TYPE, Kernel, Size, reads, whole_number, writes

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.kernels.photometric import FrozenPart
    from faceinv.backends.cupy_cuda.launch.device import Array

__all__ = ["FILE", "normal_basis"]

_VERTICES_PER_BLOCK: Final = 4

_NORMAL_JACOBIAN: Final = Kernel(
    "normal_jacobian",
    "normals.cu",
    (
        BATCH,
        VERTICES,
        TRIANGLE_COUNT,
        whole_number("ring_size", "length of `ring`"),
        whole_number("modes", "K with the basis's padding"),
        whole_number("capacity", "used vertices for which there is room"),
    ),
    (
        ACTIVE,
        COUNTS,
        reads("used", INT, ("batch", "vertices"), "vertices that photometric pixels touch"),
        TRIANGLES,
        reads("corner_start", INT, (Size("vertices", plus=1),)),
        reads("corners", INT, (Size("triangle_count", times=3),)),
        reads("ring_start", INT, (Size("vertices", plus=1),)),
        reads("ring", INT, ("ring_size",), "a vertex itself and those it shares a triangle with"),
        reads("ring_slot", INT, ("triangle_count", 3, 3), "corner l of triangle t is entry [t, k, l] of k's ring"),
        POINTS,
        NORMALS,
        INVERSE_LENGTH,
        reads("basis", REAL, ("vertices", 3, "modes")),
        writes("out", REAL, ("batch", "capacity", 3, "modes"), "d n / d coefficients of the used vertices"),
    ),
    template=(REAL_TYPE,),
)

FILE: Final = kernel_file(_NORMAL_JACOBIAN, exact=False)


def normal_basis(part: FrozenPart) -> Array | None:
    """d n / d coefficients (b, capacity, 3, K and padding) of the used vertices; None for flat normals."""
    model, surface = part.model, part.surface
    if model.flat:
        return None
    modes, capacity = model.shape_stride, room(part.seen.most_vertices)
    out = model.device.empty((part.items, capacity, 3, modes), model.real)
    model.device.launch(
        _NORMAL_JACOBIAN,
        (blocks(part.seen.most_vertices, _VERTICES_PER_BLOCK), part.items, 1),
        32 * _VERTICES_PER_BLOCK,
        template=(model.real_name,),
        batch=part.items,
        vertices=model.vertices,
        triangle_count=model.triangle_count,
        ring_size=model.ring.shape[0],
        modes=modes,
        capacity=capacity,
        active=part.active,
        counts=part.seen.counts,
        used=part.seen.used,
        triangles=model.triangles,
        corner_start=model.corner_start,
        corners=model.corners,
        ring_start=model.ring_start,
        ring=model.ring,
        ring_slot=model.ring_slot,
        points=surface.points,
        normals=surface.normals,
        inverse_length=surface.inverse_length,
        basis=model.shape_basis,
        out=out,
    )
    return out
