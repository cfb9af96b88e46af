"""Residuals of a block of pixels, and their local derivatives: the library's autodiff through the light, and from there
the chain rule to the surface point, its normal and the camera (docs/ARCHITECTURE.md, "Derivatives")."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from faceinv.engine.local_autodiff.camera import dot
from faceinv.engine.local_autodiff.renderer import sh_terms, unit
from faceinv.face.camera import Camera as HostCamera

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.local_autodiff.renderer import Light, Surface
    from faceinv.engine.local_autodiff.shown import Block, Shown, Slide

__all__ = ["ALBEDO", "CAMERA", "COEFFICIENTS", "GEOMETRY", "Local", "Misfit", "local_derivatives", "misfit"]

GEOMETRY: Final = slice(0, 6)
"""Of `Local.coefficients`: those of the surface point (mm) and of its unit normal, model frame."""
ALBEDO: Final = 6
CAMERA: Final = slice(7, 7 + HostCamera.PARAMETER_COUNT)
COEFFICIENTS: Final = CAMERA.stop


@dataclass(frozen=True)
class Misfit:
    """How far a block's radiance and photo are apart."""

    residual: Array
    """(3, n) scaled, so that the cost of plain squares is their sum."""
    scale: Array
    """(n,) what they were multiplied by."""
    huber: Array
    """(3, n) weights of squares."""
    cost: Array
    """(1,)."""


@dataclass(frozen=True)
class Local:
    """Local derivatives of a block's scaled residuals."""

    residual: Array
    """(3, n)."""
    coefficients: Sequence[Array]
    """Of each channel, (COEFFICIENTS, n): by the surface point, the normal, the albedo, the camera's parameters."""
    reflected: Array
    """(3, n) the albedo, scaled: times `Shaded.basis`, the derivative by the channel's own light."""


def misfit(ops: ArrayOps, radiance: Array, block: Block, delta: float, scale: float) -> Misfit:
    """Residuals and Huber's weights of radiance (3, n); see `Energy`."""
    root = block.root * scale
    gap = radiance - block.target
    # Not zero, so that what is met exactly weighs one.
    size = ops.at_least(ops.absolute(gap), 1e-300)
    clipped = ops.at_most(size, delta)
    cost = ops.multiply(clipped * (size * 2.0 - clipped), root * root)
    return Misfit(gap * root, root, clipped / size, cost.sum().reshape((1,)))


def local_derivatives(
    ops: ArrayOps, surface: Surface, light: Light, block: Block, shown: Shown, shade: Array, scale: Array
) -> tuple[Sequence[Array], Array]:
    """`Local.coefficients` and `Local.reflected`.

    Args:
        shade: (3, n) what the albedo is multiplied by.
        scale: (3, n) or (n,), what residuals are multiplied by.
    """
    shaded, camera = shown.shaded, surface.camera
    reflected = shaded.albedo * scale
    by_albedo = shade * scale
    # By the normal as it is mixed, axis by axis (3, n).
    by_normal = [reflected * slope for slope in _by_normal(ops, light, shown)]
    ux, uy = (_by_place(ops, slide, by_albedo, by_normal, reflected, light) for slide in shown.slides())
    point = camera.under_pixel(block.x, block.y, shown.flat_depth)
    posed, uz = camera.by_posed(ux, uy, block.x, block.y, shown.flat_depth)
    count = int(block.x.shape[0])
    geometry = ops.stack([*posed, *by_normal], 0).reshape((6, 3 * count))
    geometry = ops.multiply(surface.to_model, geometry).reshape((6, 3, count))
    pose = camera.by_parameters(posed, uz, point, by_normal, shown.normal)
    if shown.shadow is not None:
        # Shadows turn with the head.
        turns = ops.multiply(light.turns, shown.shadow).reshape((3, 3, count))
        first = HostCamera.ROTATION.start
        for axis in range(3):
            pose[first + axis] = pose[first + axis] - reflected * turns[axis]
    joined = ops.stack([*(geometry[k] for k in range(6)), by_albedo, *pose], 1)
    return [joined[c] for c in range(3)], reflected


def _by_normal(ops: ArrayOps, light: Light, shown: Shown) -> Sequence[Array]:
    """Of the shade (3, n) by the normal, axis by axis: one backward pass, seeded with ones, since the pixels of a
    channel do not touch."""

    def shade(normal: Sequence[Array]) -> Array:
        # The first function of the basis is constant.
        return dot([light.columns[k] for k in range(1, 9)], sh_terms(unit(ops, normal))[1:])

    return ops.differentiate(shade, [ops.stack([axis] * 3, 0) for axis in shown.normal])[1]


def _by_place(
    ops: ArrayOps, slide: Slide, by_albedo: Array, by_normal: Sequence[Array], reflected: Array, light: Light
) -> Array:
    """(3, n) by the shift of the surface on the screen along one axis: the pixel, which stays, shows what lay on the
    other side."""
    slope = by_albedo * slide.albedo
    if slide.normal is not None:
        for axis in range(3):
            slope = slope + by_normal[axis] * slide.normal[axis]
    if slide.shadow is not None:
        slope = slope - reflected * ops.multiply(light.gamma, slide.shadow)
    return -slope
