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

    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["HEAT", "MARGIN", "RESIDUAL_RANGE", "Panels", "draw_panels", "heat", "to_picture"]

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
_REACH: Final = 3
"""px of a photo that a pixel of an enlarged crop depends on, at most."""
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
        size = len(self.photo)
        background = np.linspace(0.97, 0.86, size)[:, None, None] * np.ones((1, size, 3))
        return _blend(background, self._drawn.clay, self._drawn.covered)

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
) -> Panels:
    """Draw a face in a crop of its photo.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        crop: what is shown, and how large.
        normals: `smooth` or `flat`.
        finer: renders are drawn this much larger, then averaged, which smooths their edges.
    """
    return Panels(_photo(photo, crop), _draw(model, face, crop, normals, finer))


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


def _draw(model: MorphableModel, face: Face, crop: FaceCrop, normals: Normals, finer: int) -> _Drawn:
    size = finer * crop.size
    camera = crop.at(size).camera_to_crop(face.camera)
    scene = draw_faces(model, [replace(face, camera=camera)], (size, size), normals)[0]
    skin = scene.covered & model.face_mask[scene.triangle]
    return _Drawn(
        _averaged(scene.srgb, finer, skin),
        _averaged(_clay(scene.normal), finer, scene.covered),
        _averaged(scene.covered.astype(float), finer),
        _averaged(skin.astype(float), finer),
    )


def _clay(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Grey matter under a light from the upper left, a faint one from the right, and some from everywhere."""
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
    window, shifted = _window(photo, crop)
    inside = shifted.x0 >= _REACH and shifted.y0 >= _REACH
    inside = inside and max(shifted.x0, shifted.y0) + shifted.side <= min(window.shape[:2]) - _REACH
    if crop.zoom > 1 and inside:
        box = (shifted.x0, shifted.y0, shifted.x0 + shifted.side, shifted.y0 + shifted.side)
        size = (crop.size, crop.size)
        return np.asarray(to_picture(window).resize(size, Image.Resampling.BICUBIC, box=box)) / 255.0
    pixels, on_photo = shifted.cut(window)
    if crop.zoom > 1:
        picture = to_picture(window)
        # Near the photo's edge the cubic has no neighbours and leaves black; the linear one has.
        whole = np.asarray(_enlarged(Image.new("L", picture.size, 255), shifted)) == 255
        pixels = np.where(whole[..., None], np.asarray(_enlarged(picture, shifted)) / 255.0, pixels)
    return np.where(on_photo[..., None], np.clip(pixels, 0.0, 1.0), np.array(_OUTSIDE)).astype(np.float64)


def _window(photo: NDArray[np.float32], crop: FaceCrop) -> tuple[NDArray[np.float32], FaceCrop]:
    """The part of a photo that a crop needs, and the crop in it."""
    margin = _REACH + round(2 / crop.zoom)
    height, width = photo.shape[:2]
    left, right = (int(np.clip(x, 0, width)) for x in (crop.x0 - margin, crop.x0 + crop.side + margin + 1))
    top, bottom = (int(np.clip(y, 0, height)) for y in (crop.y0 - margin, crop.y0 + crop.side + margin + 1))
    if right <= left or bottom <= top:  # beside the photo
        return photo, crop
    return photo[top:bottom, left:right], FaceCrop(crop.x0 - left, crop.y0 - top, crop.side, crop.size)


def _enlarged(picture: Image.Image, crop: FaceCrop) -> Image.Image:
    step = 1 / crop.zoom
    return picture.transform(
        (crop.size, crop.size),
        Image.Transform.AFFINE,
        (step, 0.0, crop.x0, 0.0, step, crop.y0),
        Image.Resampling.BICUBIC,
    )


def heat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3) of values from 0 to 1, clipped."""
    places = np.linspace(0.0, 1.0, len(HEAT))
    return np.stack([np.interp(values, places, HEAT[:, c]) for c in range(3)], axis=-1)


def _blend(under: NDArray[np.float64], over: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return under + share[..., None] * (over - under)


def to_picture(values: NDArray[np.floating]) -> Image.Image:
    """The picture of values (H, W, 3) in [0, 1], clipped."""
    return Image.fromarray(np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8))
