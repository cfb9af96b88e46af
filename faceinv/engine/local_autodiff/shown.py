"""What the photometric pixels of a photo show of a posed surface, block by block. Components first, pixels last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from faceinv.engine.local_autodiff.camera import Shares
from faceinv.engine.local_autodiff.renderer import sh_terms, unit

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.engine.local_autodiff.ops import Array, ArrayOps
    from faceinv.engine.local_autodiff.renderer import LocalAutodiffRenderer, Surface

__all__ = ["Block", "Shaded", "Shown", "Slide", "shown"]


@dataclass(frozen=True)
class Block:
    """Some of the photometric pixels of one item, on the device; float64 but for indices."""

    triangle: Array
    """(n,) int64."""
    x: Array
    y: Array
    """(n,) px."""
    target: Array
    """(3, n)."""
    root: Array
    """(n,) the root of the pixels' weights."""
    ones: Array
    """(n,), to sum with."""
    sample: Array | None
    """(m,) which of them H is summed over; None for all."""
    samples: int
    """m, which may be 0."""


@dataclass(frozen=True)
class Shaded:
    """All of the pixels that radiance depends on but the light."""

    albedo: Array
    """(3, n)."""
    basis: Array
    """(9, n) of the normal, less the shadow."""

    def radiance(self, ops: ArrayOps, gamma: Array) -> tuple[Array, Array]:
        """(3, n) under light (3, 9), and what the albedo is multiplied by in it."""
        shade = ops.multiply(gamma, self.basis)
        return self.albedo * shade, shade


@dataclass(frozen=True)
class Slide:
    """How what the surface has at pixels changes along one axis of the screen, 1/px."""

    albedo: Array
    """(3, n)."""
    normal: Array | None
    """(3, n); None for flat normals, which do not change."""
    shadow: Array | None
    """(9, n); None for a model without."""


@dataclass(frozen=True)
class Shown:
    """What a block of pixels shows at one chi."""

    shares: Shares
    shaded: Shaded
    flat_depth: Array
    """(n,) px, p_z of the surface point."""
    normal: Sequence[Array]
    """Camera frame, as mixed, not made unit; axis by axis."""
    shadow: Array | None
    """(9, n) what is taken from the basis."""
    smooth: bool
    edges: tuple[Array, Array]
    """(C, n) twice: what the second and the third corner have more than the first of p_z, albedo (3), smooth normal (3)
    and shadow (9)."""

    def slides(self) -> tuple[Slide, Slide]:
        """What slides through the pixels as the surface moves on the screen, along x and along y."""
        first, second = self.edges
        one, two = self.shares.slopes()
        along = []
        for d in range(2):
            slope = first * one[d] + second * two[d]
            end = 7 if self.smooth else 4
            normal = slope[4:7] if self.smooth else None
            along.append(Slide(slope[1:4], normal, None if self.shadow is None else slope[end:]))
        return along[0], along[1]


def shown(renderer: LocalAutodiffRenderer, surface: Surface, block: Block) -> Shown:
    """What the surface shows at a block's pixels."""
    ops, flat = renderer.ops, renderer.flat
    corners = renderer.read_corners(surface, block.triangle)
    base = corners[0]
    first, second = corners[1] - base, corners[2] - base
    shares = Shares.of(ops, base, first, second, block.x, block.y)
    edges = first[3:], second[3:]
    _, b1, b2 = shares.weights
    mixed = base[3:] + edges[0] * b1 + edges[1] * b2
    if surface.face_table is None:
        normal = [mixed[4 + d] for d in range(3)]
    else:
        face = ops.transpose(ops.take(surface.face_table, block.triangle))
        normal = [face[d] for d in range(3)]
    basis = ops.stack(sh_terms(unit(ops, normal)), 0)
    shadow = None if renderer.moments is None else mixed[4 if flat else 7 :]
    if shadow is not None:
        basis = basis - shadow
    return Shown(shares, Shaded(mixed[1:4], basis), mixed[0], normal, shadow, not flat, edges)
