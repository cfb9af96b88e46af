"""Pictures of a face beside its photo: the render over the photo, the geometry and what is left over, in one crop."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from faceinv.photo.color import linear_to_srgb
from faceinv.photo.crop import FaceCrop
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


@dataclass(frozen=True, eq=False)
class Panels:
    """Pictures in the frame of a crop, all (S, S, 3) sRGB-encoded in [0, 1]."""

    photo: NDArray[np.float64]
    """Smooth where it is enlarged, plain grey outside of the photo."""
    _drawn: _Drawn

    @cached_property
    def over(self) -> NDArray[np.float64]:
        """The fitted face under the fitted light, over the photo."""
        return _blend(self.photo, self._drawn.colours, self._drawn.face)

    @cached_property
    def geometry(self) -> NDArray[np.float64]:
        """The whole head in grey, under one light."""
        return _blend(_background(len(self.photo)), self._drawn.clay, self._drawn.covered)

    @cached_property
    def relief(self) -> NDArray[np.float64] | None:
        """As `geometry`, with detail; None without."""
        if self._drawn.relief is None:
            return None
        return _blend(_background(len(self.photo)), self._drawn.relief, self._drawn.covered)

    @cached_property
    def residual(self) -> NDArray[np.float64]:
        """The difference between render and photo as a heat map, from 0 to `RESIDUAL_RANGE`, over the dimmed photo."""
        error = np.sqrt(((self._drawn.colours - self.photo) ** 2).mean(axis=2))
        dimmed = 0.35 * self.photo.mean(axis=2, keepdims=True) + np.full(3, 0.45)
        return _blend(dimmed, heat(error / RESIDUAL_RANGE), self._drawn.face)


def draw_panels(
    model: MorphableModel,
    face: Face,
    photo: NDArray[np.float32],
    crop: FaceCrop,
    normals: Normals = "smooth",
    finer: int = 2,
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
        detail: relief of the face.
    """
    return Panels(_photo(photo, crop), _draw(model, face, crop, normals, finer, detail))


@dataclass(frozen=True)
class _Drawn:
    """Renders in the frame of a crop, all (S, S, ...) in [0, 1]."""

    colours: NDArray[np.float64]
    """(S, S, 3) sRGB-encoded."""
    clay: NDArray[np.float64]
    """(S, S, 3) sRGB-encoded."""
    covered: NDArray[np.float64]
    """(S, S) the share of each pixel that shows the model."""
    face: NDArray[np.float64]
    """(S, S) the share that shows its face, which is what is fitted to the photo."""
    relief: NDArray[np.float64] | None
    """(S, S, 3) as `clay`, with detail; None without."""


def _draw(
    model: MorphableModel, face: Face, crop: FaceCrop, normals: Normals, finer: int, detail: Detail | None
) -> _Drawn:
    size = finer * crop.size
    camera = crop.at(size).camera_to_crop(face.camera)
    scene = draw_faces(model, [replace(face, camera=camera)], (size, size), normals)[0]
    skin = scene.covered & model.face_mask[scene.triangle]
    bent = None if detail is None else _with_relief(scene.normal, detail, crop.at(size))
    return _Drawn(
        _averaged(scene.srgb, finer, skin),
        _averaged(clay(scene.normal), finer, scene.covered),
        _averaged(scene.covered.astype(float), finer),
        _averaged(skin.astype(float), finer),
        None if bent is None else _averaged(clay(bent), finer, scene.covered),
    )


def _with_relief(normals: NDArray[np.float64], detail: Detail, crop: FaceCrop) -> NDArray[np.float64]:
    """(S, S, 3) normals of a crop and what detail adds to them, which is bilinear between the photo's pixels."""
    from scipy.ndimage import map_coordinates

    maps, (top, left, *_) = detail.maps, detail.window
    if not maps.mask.any():
        return normals
    change = np.where(maps.mask[..., None], maps.normals - maps.coarse_normals, np.float32(0))
    columns, rows = (crop.to_photo(np.stack([np.arange(crop.size)] * 2, axis=1)) - [left, top]).T
    place = np.meshgrid(rows, columns, indexing="ij")
    added = [map_coordinates(change[..., k], place, order=1, mode="constant") for k in range(3)]
    return normals + np.stack(added, axis=-1)


def _background(size: int) -> NDArray[np.float64]:
    return np.linspace(0.97, 0.86, size)[:, None, None] * np.ones((1, size, 3))


def clay(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 3) sRGB: grey under a light from the upper left, a faint one from the right, and some from everywhere."""
    normals = normals / np.maximum(np.linalg.norm(normals, axis=2, keepdims=True), 1e-9)
    key = np.array(_KEY_LIGHT) / np.linalg.norm(_KEY_LIGHT)
    half = key + np.array([0.0, 0.0, 1.0])
    half /= np.linalg.norm(half)
    light = 0.16 + 0.10 * np.clip(normals[..., 1], 0, 1) + 0.62 * np.clip(normals @ key, 0, 1)
    light = light + 0.12 * np.clip(normals @ np.array([0.8, 0.1, 0.55]), 0, 1)
    shine = 0.05 * np.clip(normals @ half, 0, 1) ** 24
    return linear_to_srgb(np.clip(light[..., None] * np.array(_CLAY) + shine[..., None], 0.0, 1.0))


def _averaged(values: NDArray[np.float64], finer: int, weight: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Means over blocks of `finer` pixels a side, over those with a weight where one is given."""
    size = len(values) // finer
    blocks = values.reshape(size, finer, size, finer, *values.shape[2:])
    if weight is None:
        mean: NDArray[np.float64] = blocks.mean(axis=(1, 3))
        return mean
    share = weight.reshape(size, finer, size, finer, 1).astype(float)
    weighted: NDArray[np.float64] = (blocks * share).sum(axis=(1, 3)) / np.maximum(share.sum(axis=(1, 3)), 1.0)
    return weighted


def _photo(photo: NDArray[np.float32], crop: FaceCrop) -> NDArray[np.float64]:
    """(S, S, 3) the crop, smooth where it is enlarged, plain grey outside of the photo."""
    pixels, on_photo = crop.cut(photo)
    if crop.zoom > 1:
        step = 1 / crop.zoom
        picture = to_picture(photo)
        enlarged = picture.transform(
            (crop.size, crop.size),
            Image.Transform.AFFINE,
            (step, 0.0, crop.x0, 0.0, step, crop.y0),
            Image.Resampling.BICUBIC,
        )
        # Near the photo's edge the cubic has no neighbours and leaves black; the linear one has.
        blank = np.asarray(
            Image.new("L", picture.size, 255).transform(
                (crop.size, crop.size),
                Image.Transform.AFFINE,
                (step, 0.0, crop.x0, 0.0, step, crop.y0),
                Image.Resampling.BICUBIC,
            )
        )
        pixels = np.where((blank == 255)[..., None], np.asarray(enlarged) / 255.0, pixels)
    return np.where(on_photo[..., None], np.clip(pixels, 0.0, 1.0), np.array(_OUTSIDE)).astype(np.float64)


def heat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3) of values from 0 to 1, clipped."""
    places = np.linspace(0.0, 1.0, len(HEAT))
    return np.stack([np.interp(values, places, HEAT[:, c]) for c in range(3)], axis=-1)


def _blend(under: NDArray[np.float64], over: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return under + share[..., None] * (over - under)


def to_picture(values: NDArray[np.floating]) -> Image.Image:
    """The picture of values (H, W, 3) in [0, 1], clipped."""
    return Image.fromarray(np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8))
