"""Pictures of a face beside its photo: the render over the photo, the geometry and what is left over, in one crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

from faceinv.engine.blas import one_blas_thread
from faceinv.face.lighting import sh_basis
from faceinv.face.mesh import triangle_normals, vertex_normals
from faceinv.face.self_shadow import shadows
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.crop import FaceCrop
from faceinv.render.raster import rasterize_triangles
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["HEAT", "MARGIN", "RESIDUAL_RANGE", "Panels", "clay", "draw_panels", "heat", "to_picture"]

MARGIN: Final = 1.6
"""The side of the crop over that of the landmarks' box."""
RESIDUAL_RANGE: Final = 0.25
"""The difference of sRGB values, of 1, at which the residual's colours end."""
HEAT: Final = np.array(
    [
        (0.03, 0.03, 0.10),
        (0.24, 0.08, 0.42),
        (0.62, 0.16, 0.42),
        (0.92, 0.38, 0.24),
        (0.99, 0.70, 0.24),
        (1.0, 0.98, 0.78),
    ]
)
"""sRGB, from the least to the most, evenly spaced; lightness rises all the way."""
_OUTSIDE: Final = (0.92, 0.92, 0.93)
_CLAY: Final = (0.80, 0.78, 0.76)
_KEY_LIGHT: Final = (-0.45, 0.55, 0.70)
_HEAT_STEPS: Final = 1024


@dataclass(frozen=True, eq=False)
class Panels:
    """Pictures in the frame of a crop, all (S, S, 3) float32, sRGB-encoded in [0, 1]."""

    photo: NDArray[np.float32]
    """Smooth where it is enlarged, plain grey outside of the photo."""
    _drawn: _Drawn
    _relief: NDArray[np.float32] | None = None
    """(S, S, 3) as its `clay`, with detail."""

    @cached_property
    def over(self) -> NDArray[np.float32]:
        """The fitted face under the fitted light, over the photo."""
        return _blend(self.photo, self._drawn.colours, self._drawn.face)

    @cached_property
    def geometry(self) -> NDArray[np.float32]:
        """The whole head in grey, under one light."""
        return _blend(_background(len(self.photo)), self._drawn.clay, self._drawn.covered)

    @property
    def relief(self) -> NDArray[np.float32] | None:
        """As `geometry`, with detail; None without."""
        return None if self._relief is None else _blend(_background(len(self.photo)), self._relief, self._drawn.covered)

    @cached_property
    def residual(self) -> NDArray[np.float32]:
        """The difference between render and photo as a heat map, from 0 to `RESIDUAL_RANGE`, over the dimmed photo."""
        difference = self._drawn.colours - self.photo
        error = np.sqrt(np.einsum("hwc,hwc->hw", difference, difference) / 3)
        grey = np.einsum("hwc->hw", self.photo)[..., None] * np.float32(0.35 / 3) + np.float32(0.45)
        return _blend(grey, heat(error / RESIDUAL_RANGE), self._drawn.face)


@one_blas_thread()
def draw_panels(
    model: MorphableModel,
    face: Face,
    photo: NDArray[np.float32],
    crop: FaceCrop,
    normals: Normals = "smooth",
    finer: int = 2,
    vertices: NDArray[np.float64] | None = None,
    albedo: NDArray[np.float64] | None = None,
    detail: Detail | None = None,
) -> Panels:
    """Draw a face in a crop of its photo.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        crop: what is shown, and how large.
        normals: `smooth` or `flat`.
        finer: renders are drawn this much larger, then averaged, which smooths their edges.
        vertices: (N, 3) mm of the face, where they are known already.
        albedo: (N, 3) of the face, where it is known already.
        detail: relief of the face.
    """
    vertices = face.vertices(model) if vertices is None else vertices
    albedo = face.vertex_albedo(model) if albedo is None else albedo
    relief = None if detail is None else _draw_relief(model, face, crop, normals, finer, detail)
    return Panels(_photo(photo, crop), _draw(model, face, crop, normals, finer, vertices, albedo), relief)


@dataclass(frozen=True)
class _Drawn:
    """Renders in the frame of a crop, all (S, S, ...) float32 in [0, 1]."""

    colours: NDArray[np.float32]
    """(S, S, 3) sRGB-encoded."""
    clay: NDArray[np.float32]
    """(S, S, 3) sRGB-encoded."""
    covered: NDArray[np.float32]
    """(S, S) the share of each pixel that shows the model."""
    face: NDArray[np.float32]
    """(S, S) the share that shows its face, which is what is fitted to the photo."""


def _draw(
    model: MorphableModel,
    face: Face,
    crop: FaceCrop,
    normals: Normals,
    finer: int,
    vertices: NDArray[np.float64],
    albedo: NDArray[np.float64],
) -> _Drawn:
    """Light falls on vertices, and triangles are filled between: at the size of a panel that makes no difference."""
    from faceinv.backends.numpy_numba.averages import average_drawn
    from faceinv.backends.numpy_numba.threads import before_launch

    side = finer * crop.size
    projected = crop.at(side).camera_to_crop(face.camera).project(vertices)
    triangle, barycentric = rasterize_triangles(projected[:, :2], projected[:, 2], model.triangles, (side, side))
    corners, vertex = model.triangles, np.arange(len(vertices), dtype=np.int32)
    if normals == "smooth":
        directions = vertex_normals(vertices, model.triangles)
    else:
        vertex = model.triangles.ravel()
        corners = np.arange(vertex.size, dtype=np.int32).reshape(-1, 3)
        directions = np.repeat(triangle_normals(vertices, model.triangles), 3, axis=0)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)
    directions = directions @ face.camera.rotation.T
    values = np.concatenate([_lit(model, face, albedo, directions, vertex), clay(directions)], axis=1)
    out, shares = np.empty((crop.size, crop.size, 6), np.float32), np.empty((crop.size, crop.size, 2), np.float32)
    before_launch()
    average_drawn(triangle, barycentric, corners, values.astype(np.float32), model.face_mask, out, shares)
    return _Drawn(out[..., :3], out[..., 3:], shares[..., 1], shares[..., 0])


def _draw_relief(
    model: MorphableModel, face: Face, crop: FaceCrop, normals: Normals, finer: int, detail: Detail
) -> NDArray[np.float32]:
    """(S, S, 3) sRGB: grey matter whose normals are those of each pixel and what detail adds to them."""
    large = crop.at(finer * crop.size)
    scene = draw_faces(model, [replace(face, camera=large.camera_to_crop(face.camera))], (large.size,) * 2, normals)[0]
    bent = _with_relief(scene.normal, detail, large)
    bent /= np.maximum(np.linalg.norm(bent, axis=2, keepdims=True), 1e-9)
    colours = np.where(scene.covered[..., None], clay(bent.reshape(-1, 3)).reshape(bent.shape), 0.0)
    blocks = (crop.size, finer, crop.size, finer)
    share = scene.covered.reshape(blocks).sum(axis=(1, 3))
    mean: NDArray[np.float64] = colours.reshape(*blocks, 3).sum(axis=(1, 3)) / np.maximum(share, 1)[..., None]
    return mean.astype(np.float32)


def _with_relief(normals: NDArray[np.float64], detail: Detail, crop: FaceCrop) -> NDArray[np.float64]:
    """(S, S, 3) normals of a crop and what detail adds to them, which is bilinear between the photo's pixels."""
    from scipy.ndimage import map_coordinates

    maps, (top, left, *_) = detail.maps, detail.window
    if not maps.mask.any():
        return normals.copy()
    change = np.where(maps.mask[..., None], maps.normals - maps.coarse_normals, np.float32(0))
    columns, rows = (crop.to_photo(np.stack([np.arange(crop.size)] * 2, axis=1)) - [left, top]).T
    place = np.meshgrid(rows, columns, indexing="ij")
    added = [map_coordinates(change[..., k], place, order=1, mode="constant") for k in range(3)]
    bent: NDArray[np.float64] = normals + np.stack(added, axis=-1)
    return bent


def _background(size: int) -> NDArray[np.float32]:
    return np.linspace(0.97, 0.86, size, dtype=np.float32)[:, None, None]


def _lit(
    model: MorphableModel,
    face: Face,
    albedo: NDArray[np.float64],
    directions: NDArray[np.float64],
    vertex: NDArray[np.integer[Any]],
) -> NDArray[np.float64]:
    """(M, 3) sRGB-encoded colours of vertices (M,) with normals (M, 3), camera frame, under the fitted light."""
    basis = sh_basis(directions)
    if model.occlusion is not None:
        basis -= shadows(model.occlusion, face.camera.rotation)[vertex]
    radiance = np.clip(albedo[vertex] * (basis @ face.lighting), 0.0, 1.0)
    return linear_to_srgb(radiance) if model.albedo_space == "linear" else radiance


def clay(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(M, 3) sRGB-encoded: grey matter under a light from the upper left, a faint one from the right, and some from
    everywhere."""
    key = np.array(_KEY_LIGHT) / np.linalg.norm(_KEY_LIGHT)
    half = key + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    light = 0.16 + 0.10 * np.clip(normals[:, 1], 0, 1) + 0.62 * np.clip(normals @ key, 0, 1)
    light = light + 0.12 * np.clip(normals @ np.array([0.8, 0.1, 0.55]), 0, 1)
    shine = 0.05 * np.clip(normals @ half, 0, 1) ** 24
    return linear_to_srgb(np.clip(light[:, None] * np.array(_CLAY) + shine[:, None], 0.0, 1.0))


def _photo(photo: NDArray[np.float32], crop: FaceCrop) -> NDArray[np.float32]:
    """(S, S, 3) the crop, smooth where it is enlarged, plain grey outside of the photo."""
    if crop.zoom <= 1:
        pixels, on_photo = crop.cut(photo)
        return np.where(on_photo[..., None], np.clip(pixels, 0.0, 1.0), np.array(_OUTSIDE, np.float32))
    step, size = 1 / crop.zoom, (crop.size, crop.size)
    # The part that is shown, with room for the cubic; beyond the photo its edge goes on, of which nothing is kept.
    low = np.floor([crop.x0, crop.y0]).astype(int) - 3
    high = np.ceil([crop.x0 + crop.side, crop.y0 + crop.side]).astype(int) + 4
    columns, rows = (np.clip(np.arange(low[k], high[k]), 0, photo.shape[1 - k] - 1) for k in range(2))
    part = to_picture(photo[np.ix_(rows, columns)])
    left, top = crop.x0 - low[0], crop.y0 - low[1]
    box = (left, top, left + crop.side, top + crop.side)
    pixels = np.asarray(part.resize(size, Image.Resampling.BICUBIC, box))
    across, down = (start + step * (np.arange(crop.size) + 0.5) for start in (crop.x0, crop.y0))
    height, width = photo.shape[:2]
    on_photo = ((down >= 0) & (down < height))[:, None] & ((across >= 0) & (across < width))
    return np.where(on_photo[..., None], pixels / np.float32(255), np.array(_OUTSIDE, np.float32))


def heat(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Colours (..., 3) of values from 0 to 1, clipped."""
    colours: NDArray[np.float32] = _heat_table()[np.rint(np.clip(values, 0, 1) * (_HEAT_STEPS - 1)).astype(np.int16)]
    return colours


@cache
def _heat_table() -> NDArray[np.float32]:
    places, steps = np.linspace(0.0, 1.0, len(HEAT)), np.linspace(0.0, 1.0, _HEAT_STEPS)
    return np.stack([np.interp(steps, places, HEAT[:, c]) for c in range(3)], axis=-1).astype(np.float32)


def _blend(under: NDArray[np.float32], over: NDArray[np.float32], share: NDArray[np.float32]) -> NDArray[np.float32]:
    return under + share[..., None] * (over - under)


def to_picture(values: NDArray[np.floating]) -> Image.Image:
    """The picture of values (H, W, 3) in [0, 1], clipped."""
    return Image.fromarray((np.clip(values, 0.0, 1.0) * np.float32(255) + np.float32(0.5)).astype(np.uint8))
