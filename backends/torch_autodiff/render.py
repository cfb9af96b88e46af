"""faceinv's renderer as a differentiable function of tensors, for losses and optimisers of one's own.

`loss.backward()` reaches vertices, albedo, lighting and pose. Which triangle a pixel shows is found anew at every call
and held fixed for the derivative, as in a step of faceinv's own solver: silhouettes do not pull by themselves.

In the source, `examples/differentiable_rendering.py` finds lighting and shape coefficients from a picture by Adam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from faceinv.backends.torch_autodiff.ops import TorchOps
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.engine.records import MIN_DOUBLE_AREA
from faceinv.errors import InputError
from faceinv.face.lighting import SH_CONSTANTS

if TYPE_CHECKING:
    from faceinv.engine.records import Normals

__all__ = ["Rendering", "render"]


class Rendering(NamedTuple):
    """A picture of a mesh."""

    image: Tensor
    """(H, W, 3) radiance in the albedo's colour space, zero where nothing is seen; differentiable."""
    triangle: Tensor
    """(H, W) int32: the triangle seen, -1 for none."""


def render(
    vertices: Tensor,
    albedo: Tensor,
    lighting: Tensor,
    scale: Tensor,
    rotation: Tensor,
    translation: Tensor,
    triangles: Tensor,
    size: tuple[int, int],
    normals: Normals = "smooth",
) -> Rendering:
    """Draw a mesh under weak perspective and second-order spherical-harmonics lighting.

    All tensors share one device; those of floats share one dtype, float32 or float64.

    Args:
        vertices: (N, 3) mm, model space: x right, y up, z towards the viewer.
        albedo: (N, 3) reflectance.
        lighting: (9, 3) coefficients, camera frame.
        scale: () px per mm, positive.
        rotation: (3,) axis-angle, radians, model to camera.
        translation: (2,) px.
        triangles: (T, 3) integers, counter-clockwise seen from outside.
        size: (H, W).
        normals: `smooth` or `flat`.

    Raises:
        InputError: when a tensor has another shape than it should.
    """
    _check(vertices, albedo, lighting, scale, rotation, translation, triangles, size, normals)
    triangles = triangles.long()
    x, y, z = rotation
    zero = torch.zeros_like(x)
    skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).reshape(3, 3)
    turn = torch.linalg.matrix_exp(skew)
    turned = scale * (vertices @ turn.T)
    xy = torch.stack([turned[:, 0] + translation[0], translation[1] - turned[:, 1]], dim=1)
    height, width = size
    with torch.no_grad():
        ops = TorchOps(vertices.device)
        shown, _ = rasterize(ops, xy.detach().double(), turned[:, 2].detach().double(), triangles, size)
    pixels = torch.nonzero(shown.reshape(-1) >= 0).reshape(-1)
    seen = shown.reshape(-1)[pixels].long()
    corners = triangles[seen]
    weights = _weights(xy[corners], pixels % width, pixels // width)
    if normals == "flat":
        normal = _face_normals(vertices, triangles[seen])
    else:
        faces = _face_normals(vertices, triangles)
        summed = torch.zeros_like(vertices).index_add(0, triangles.reshape(-1), faces.repeat_interleave(3, dim=0))
        normal = (weights[..., None] * _unit(summed)[corners]).sum(dim=1)
    shade = _sh(_unit(normal @ turn.T)) @ lighting
    colour = (weights[..., None] * albedo[corners]).sum(dim=1) * shade
    image = torch.zeros(height * width, 3, dtype=colour.dtype, device=colour.device).index_copy(0, pixels, colour)
    return Rendering(image.reshape(height, width, 3), shown)


def _check(
    vertices: Tensor,
    albedo: Tensor,
    lighting: Tensor,
    scale: Tensor,
    rotation: Tensor,
    translation: Tensor,
    triangles: Tensor,
    size: tuple[int, int],
    normals: str,
) -> None:
    count = vertices.shape[0] if vertices.ndim else 0
    for name, tensor, expected in (
        ("vertices", vertices, (count, 3)),
        ("albedo", albedo, (count, 3)),
        ("lighting", lighting, (9, 3)),
        ("scale", scale, ()),
        ("rotation", rotation, (3,)),
        ("translation", translation, (2,)),
        ("triangles", triangles, (triangles.shape[0] if triangles.ndim else 0, 3)),
    ):
        if tuple(tensor.shape) != expected:
            raise InputError(f"render: '{name}' has shape {tuple(tensor.shape)}, expected {expected}.")
    if min(size) < 1:
        raise InputError(f"render: size is {size}; expected a height and a width of at least 1.")
    if normals not in ("smooth", "flat"):
        raise InputError(f"render: normals is '{normals}'; expected 'smooth' or 'flat'.")


def _unit(vectors: Tensor) -> Tensor:
    length: Tensor = vectors.square().sum(dim=-1, keepdim=True).clamp(min=1e-24).sqrt()
    return vectors / length


def _face_normals(vertices: Tensor, triangles: Tensor) -> Tensor:
    """(T, 3), twice the area long."""
    a, b, c = vertices[triangles].unbind(dim=1)
    return torch.linalg.cross(b - a, c - a)


def _weights(corners: Tensor, px: Tensor, py: Tensor) -> Tensor:
    """Barycentric weights (n, 3) of pixels in their triangles' projections (n, 3, 2)."""
    (x0, y0), (x1, y1), (x2, y2) = (c.unbind(dim=1) for c in corners.unbind(dim=1))
    dx, dy = px - x0, py - y0
    area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    # Front faces have a negative area; edge-on ones get the least area with a useful derivative.
    area = area.clamp(max=-MIN_DOUBLE_AREA)
    b1 = (dx * (y2 - y0) - dy * (x2 - x0)) / area
    b2 = (dy * (x1 - x0) - dx * (y1 - y0)) / area
    return torch.stack([1 - b1 - b2, b1, b2], dim=1)


def _sh(normal: Tensor) -> Tensor:
    """The nine basis functions (n, 9) of unit normals (n, 3)."""
    x, y, z = normal.unbind(dim=1)
    c0, c1, c2, c3, c4 = (float(c) for c in SH_CONSTANTS)
    first = [torch.full_like(x, c0), c1 * y, c1 * z, c1 * x]
    rest = [c2 * x * y, c2 * y * z, c3 * (3 * z * z - 1), c2 * x * z, c4 * (x * x - y * y)]
    return torch.stack([*first, *rest], dim=1)
