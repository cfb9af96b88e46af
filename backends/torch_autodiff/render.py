"""faceinv's renderer as a differentiable function of tensors, for losses and optimisers of one's own.

`loss.backward()` reaches vertices, albedo, lighting and pose. Which triangle a pixel shows is found anew at every call
and held fixed for the derivative, as in a step of faceinv's own solver: silhouettes do not pull by themselves.

In the source, `examples/differentiable_rendering.py` finds lighting and shape coefficients from a picture by Adam.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from faceinv.backends.torch_autodiff.camera import Camera, barycentric_weights
from faceinv.backends.torch_autodiff.ops import TorchOps
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.errors import InputError
from faceinv.face.lighting import SH_CONSTANTS
from faceinv.face.self_shadow import COSINE_BANDS, INTERREFLECTION, MOMENT_COUNT

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
    kappa: Tensor | float = 0.0,
    principal_point: Tensor | None = None,
    occlusion: Tensor | None = None,
) -> Rendering:
    """Draw a mesh under second-order spherical-harmonics lighting.

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
        kappa: () 1/mm: one over the distance from the camera to the origin; 0 for weak perspective.
        principal_point: (2,) px; None for the middle of the image.
        occlusion: (N, 10) moments of the directions in which the face blocks its own light
            (`MorphableModel.occlusion`); None where light reaches everything.

    Raises:
        InputError: when a tensor has another shape than it should.
    """
    _check(vertices, albedo, lighting, scale, rotation, translation, triangles, size, normals, occlusion)
    triangles = triangles.long()
    height, width = size
    if principal_point is None:
        principal_point = translation.new_tensor([(width - 1) / 2, (height - 1) / 2])
    camera = Camera.of(scale, rotation, translation, torch.as_tensor(kappa).to(scale) / scale, principal_point)
    xy, depth = camera.project(vertices)
    with torch.no_grad():
        ops = TorchOps(vertices.device)
        inverse_focal = float(camera.inverse_focal)
        place, order = ops.transpose(xy.detach().double()), ops.transpose(triangles)
        shown, _ = rasterize(ops, place, depth.detach().double(), inverse_focal, order, size)
    pixels = torch.nonzero(shown.reshape(-1) >= 0).reshape(-1)
    seen = shown.reshape(-1)[pixels].long()
    corners = triangles[seen]
    nearer = 1 + camera.inverse_focal * depth[corners]
    weights = barycentric_weights(xy[corners], nearer, pixels % width, pixels // width)
    if normals == "flat":
        normal = _face_normals(vertices, triangles[seen])
    else:
        faces = _face_normals(vertices, triangles)
        summed = torch.zeros_like(vertices).index_add(0, triangles.reshape(-1), faces.repeat_interleave(3, dim=0))
        normal = (weights[..., None] * _unit(summed)[corners]).sum(dim=1)
    basis = _sh(_unit(camera.turned(normal)))
    if occlusion is not None:
        mixed = (weights[..., None] * occlusion[corners]).sum(dim=1)
        basis = basis - _shadow(mixed, camera)
    shade = basis @ lighting
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
    occlusion: Tensor | None,
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
        *([] if occlusion is None else [("occlusion", occlusion, (count, MOMENT_COUNT))]),
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


def _sh(normal: Tensor) -> Tensor:
    """The nine basis functions (n, 9) of unit normals (n, 3)."""
    x, y, z = normal.unbind(dim=1)
    c0, c1, c2, c3, c4 = (float(c) for c in SH_CONSTANTS)
    first = [torch.full_like(x, c0), c1 * y, c1 * z, c1 * x]
    rest = [c2 * x * y, c2 * y * z, c3 * (3 * z * z - 1), c2 * x * z, c4 * (x * x - y * y)]
    return torch.stack([*first, *rest], dim=1)


def _shadow(moments: Tensor, camera: Camera) -> Tensor:
    """(n, 9) what moments (n, 10) take from the basis: `faceinv.face.self_shadow`, differentiable by the pose."""
    c0, c1, c2, c3, c4 = (float(c) for c in SH_CONSTANTS)
    first = c1 / COSINE_BANDS[1] * camera.turned(moments[:, 1:4])
    second = moments[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].reshape(-1, 3, 3) / COSINE_BANDS[2]
    turned = camera.rotation @ second @ camera.rotation.T
    xx, yy, zz = turned.diagonal(dim1=1, dim2=2).unbind(dim=1)
    ambient = c0 / COSINE_BANDS[0] * (1.0 - INTERREFLECTION) * moments[:, 0]
    linear = [first[:, 1], first[:, 2], first[:, 0]]
    quadratic = [c2 * turned[:, 0, 1], c2 * turned[:, 1, 2], c3 * (2 * zz - xx - yy), c2 * turned[:, 0, 2]]
    return torch.stack([ambient, *linear, *quadratic, c4 * (xx - yy)], dim=1)
