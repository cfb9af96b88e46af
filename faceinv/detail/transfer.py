"""Relief on other faces, other expressions and other views: normals, displacement, and the face lit with it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.detail.relief_map import GRAZING
from faceinv.engine.records import SHADED
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.scene import renderer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.relief_map import ReliefMap
    from faceinv.engine.records import Pixels
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["DrapedFace", "drape", "relit", "relit_photo"]

_MOST: Final = 2.5
"""By how much relief brightens or darkens a pixel of a photo at most."""
_SOME: Final = 0.1
"""Of the mean light on a face: what is added before light is divided by light."""
_SHARPNESS: Final = 0.5
"""Means are taken over texels under this share of a pixel's width: over all of it, slopes would be flattened."""


@dataclass(frozen=True, eq=False)
class _Mesh:
    """What kernels read of a model: of their own, as Numba compiles anew for read-only arrays."""

    uv_triangles: NDArray[np.int32]
    face_mask: NDArray[np.bool_]


_meshes: WeakKeyDictionary[MorphableModel, _Mesh] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class DrapedFace:
    """A face with relief, as an image of H x W pixels sees it."""

    pixels: Pixels
    """What the coarse surface shows; a batch of one."""
    lighting: NDArray[np.float64]
    """(9, 3) of the face."""
    model: MorphableModel
    normals: NDArray[np.float32]
    """(H, W, 3) unit, camera frame: x right, y up, z to the viewer; zeros for the background. With relief on the
    face's skin, coarse elsewhere."""
    displacement: NDArray[np.float32]
    """(H, W) mm towards the viewer, along the camera's z; 0 where there is no relief."""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(H, W): where the model is seen."""
        covered: NDArray[np.bool_] = self.pixels.triangle[0] >= 0
        return covered

    @property
    def skin(self) -> NDArray[np.bool_]:
        """(H, W): where the skin of its face is seen, which can have relief."""
        return self.covered & self.model.face_mask[self.pixels.triangle[0]]

    @property
    def coarse_normals(self) -> NDArray[np.float64]:
        """(H, W, 3) as `normals`, without relief."""
        normals: NDArray[np.float64] = self.pixels.needed("normal")[0]
        return normals


def drape(
    relief: ReliefMap, model: MorphableModel, face: Face, size: tuple[int, int], strength: float = 1.0
) -> DrapedFace:
    """Draw a face with the relief of another one, or of its own, in an image of size (H, W).

    Quick enough for faces by the thousand: the relief's part is some milliseconds at 256 px. Where a pixel shows
    several texels their mean is taken. Call `ReliefMap.without_rims` first where the expression is another.

    Args:
        relief: the relief.
        model: the model, of the relief's layout.
        face: the face, in the frame of the image.
        size: (H, W) px.
        strength: what the relief is multiplied by.

    Raises:
        InputError: when the model has another layout than the relief.
    """
    from faceinv.backends.numpy_numba.relief import drape as draw
    from faceinv.backends.numpy_numba.threads import before_launch

    chart = relief.chart(model)
    renderer = renderer_of(model)
    geometry = renderer.geometry(face.pack(renderer.layout)[None])
    visibility = renderer.rasterize(geometry, size)
    pixels = renderer.interpolate(geometry, visibility, SHADED)
    if model not in _meshes:
        _meshes[model] = _Mesh(model.uv_triangles.copy(), model.face_mask.copy())
    mesh, levels = _meshes[model], relief.levels
    camera = face.camera
    frames = chart.frames(geometry.vertices[0] @ camera.rotation.T)
    normals, displacement = np.empty((*size, 3), np.float32), np.empty(size, np.float32)
    before_launch()
    draw(
        *(pixels.triangle[0], visibility.barycentric[0], pixels.needed("normal")[0]),
        *(mesh.face_mask, mesh.uv_triangles, chart.uv.copy(), frames),
        *(_SHARPNESS / float(camera.scale), GRAZING, float(strength)),
        *(levels.values, levels.starts, levels.shapes, normals, displacement),
    )
    return DrapedFace(pixels, np.asarray(face.lighting, np.float64), model, normals, displacement)


def relit(draped: DrapedFace, *, coarse: bool = False) -> NDArray[np.float32]:
    """(H, W, 4) float32: linear RGB under the face's light, and coverage 0 or 1, as `FitResult.render`.

    Args:
        draped: the face.
        coarse: without the relief.
    """
    radiance = np.maximum(_radiance(draped, coarse), 0.0)
    if draped.model.albedo_space == "srgb":
        radiance = srgb_to_linear(np.clip(radiance, 0.0, 1.0))
    picture = np.zeros((*draped.covered.shape, 4), np.float32)
    picture[..., :3] = np.where(draped.covered[..., None], radiance, 0.0)
    picture[..., 3] = draped.covered
    return picture


def relit_photo(draped: DrapedFace, photo: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, 3) a photo of the face with the relief shaded onto it, sRGB-encoded in [0, 1].

    Each pixel is multiplied by the ratio of the light on the surface with relief to that without (Liu, Shan and Zhang,
    "Expressive expression mapping with ratio images", SIGGRAPH 2001), so that what else the photo shows stays.

    Args:
        draped: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
    """
    white = np.ones_like(draped.coarse_normals)
    fine, plain = (np.maximum(_radiance(draped, coarse, white), 0.0) for coarse in (False, True))
    # In the dark, ratios would be of errors of the light.
    some = _SOME * float(plain[draped.skin].mean()) if draped.skin.any() else 1.0
    ratio = np.clip((fine + some) / (plain + some), 1 / _MOST, _MOST)
    ratio = np.where(draped.skin[..., None], ratio, 1.0)
    if draped.model.albedo_space == "srgb":
        return np.clip(photo * ratio, 0.0, 1.0).astype(np.float32)
    return linear_to_srgb(np.clip(srgb_to_linear(photo.astype(np.float64)) * ratio, 0.0, 1.0)).astype(np.float32)


def _radiance(draped: DrapedFace, coarse: bool, albedo: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
    """(H, W, 3) in the model's albedo space, not clipped."""
    pixels = draped.pixels
    if not coarse:
        pixels = replace(pixels, normal=draped.normals[None].astype(np.float64))
    if albedo is not None:
        pixels = replace(pixels, albedo=albedo[None])
    renderer = renderer_of(draped.model)
    shaded: NDArray[np.float64] = renderer.to_host(renderer.shade(pixels, draped.lighting[None]))[0]
    return shaded
