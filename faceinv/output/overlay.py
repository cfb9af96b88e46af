"""One picture to judge a fit by: photo, landmarks, render over photo, shaded geometry (with detail too, where there is
some) and residual side by side."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceinv.face.landmarks68 import CURVES
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.crop import FaceCrop
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["PANEL", "RESIDUAL_RANGE", "clay", "draw_overlay", "sheet"]

PANEL: Final = 448
"""px, the side of a panel."""
RESIDUAL_RANGE: Final = 0.25
"""The difference of sRGB values, of 1, at which the residual's colours end."""

_MARGIN: Final = 1.6
_SUPER: Final = 2
"""Renders are drawn this much larger, then averaged, which smooths their edges."""
_GAP: Final = 10
_CAPTION: Final = 40
_FONT: Final = 19
_PAPER: Final = (255, 255, 255)
_INK: Final = (40, 40, 44)
_OUTSIDE: Final = (0.92, 0.92, 0.93)
_GIVEN: Final = (70, 230, 110)
_MODEL: Final = (255, 60, 70)
_CLAY: Final = (0.80, 0.78, 0.76)
_KEY_LIGHT: Final = (-0.45, 0.55, 0.70)
_HEAT: Final = np.array(
    [
        (0.03, 0.03, 0.10),
        (0.24, 0.08, 0.42),
        (0.62, 0.16, 0.42),
        (0.92, 0.38, 0.24),
        (0.99, 0.70, 0.24),
        (1.0, 0.98, 0.78),
    ]
)
"""From no difference to `RESIDUAL_RANGE`, evenly spaced; lightness rises all the way."""


def draw_overlay(
    model: MorphableModel,
    face: Face,
    photo: NDArray[np.float32],
    given: NDArray[np.float64],
    fitted: NDArray[np.float64],
    normals: Normals = "smooth",
    panel: int = PANEL,
    detail: Detail | None = None,
) -> Image.Image:
    """The panels, each `panel` px square, with a caption under each: five, and one more for detail.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        photo: (H, W, 3) sRGB-encoded in [0, 1].
        given: (68, 2) px: the landmarks that were given or detected.
        fitted: (68, 2) px: the model's landmarks.
        normals: `smooth` or `flat`.
        panel: px.
        detail: relief of the face, which is shown beside the geometry without.
    """
    crop = FaceCrop.around(given, _MARGIN, panel)
    shown = _photo(photo, crop)
    drawn = _draw(model, face, crop, normals, detail)
    over = _blend(shown, drawn.colours, drawn.face)
    error = np.sqrt(((drawn.colours - shown) ** 2).mean(axis=2))
    dimmed = 0.35 * shown.mean(axis=2, keepdims=True) + np.full(3, 0.45)
    residual = _bar(_blend(dimmed, _heat(error / RESIDUAL_RANGE), drawn.face))
    background = np.linspace(0.97, 0.86, panel)[:, None, None] * np.ones((1, panel, 3))
    relief = (
        []
        if drawn.relief is None
        else [("geometry with detail", _picture(_blend(background, drawn.relief, drawn.covered)))]
    )
    panels = [
        ("photo", _picture(shown)),
        ("landmarks", _landmarks(_picture(shown), given, fitted, crop)),
        ("render over photo", _picture(over)),
        ("geometry", _picture(_blend(background, drawn.clay, drawn.covered))),
        *relief,
        (f"residual, sRGB 0 to {RESIDUAL_RANGE:g}", _picture(residual)),
    ]
    return _sheet(panels, panel)


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


def _draw(model: MorphableModel, face: Face, crop: FaceCrop, normals: Normals, detail: Detail | None) -> _Drawn:
    size = _SUPER * crop.size
    camera = crop.at(size).camera_to_crop(face.camera)
    scene = draw_faces(model, [replace(face, camera=camera)], (size, size), normals)[0]
    skin = scene.covered & model.face_mask[scene.triangle]
    return _Drawn(
        _averaged(scene.srgb, skin),
        _averaged(clay(scene.normal), scene.covered),
        _averaged(scene.covered.astype(float)),
        _averaged(skin.astype(float)),
        None if detail is None else _averaged(clay(_with_relief(scene.normal, detail, crop.at(size))), scene.covered),
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
    # On a surface that faces away a pixel of the background may stand beside it: it adds nothing.
    added = [map_coordinates(change[..., k], place, order=1, mode="constant") for k in range(3)]
    return normals + np.stack(added, axis=-1)


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


def _averaged(values: NDArray[np.float64], weight: NDArray[np.bool_] | None = None) -> NDArray[np.float64]:
    """Means over blocks of `_SUPER` pixels, over those with a weight where one is given."""
    size = len(values) // _SUPER
    blocks = values.reshape(size, _SUPER, size, _SUPER, *values.shape[2:])
    if weight is None:
        mean: NDArray[np.float64] = blocks.mean(axis=(1, 3))
        return mean
    share = weight.reshape(size, _SUPER, size, _SUPER, 1).astype(float)
    weighted: NDArray[np.float64] = (blocks * share).sum(axis=(1, 3)) / np.maximum(share.sum(axis=(1, 3)), 1.0)
    return weighted


def _photo(photo: NDArray[np.float32], crop: FaceCrop) -> NDArray[np.float64]:
    """(S, S, 3) the crop, smooth where it is enlarged, plain grey outside of the photo."""
    pixels, on_photo = crop.cut(photo)
    if crop.zoom > 1:
        step = 1 / crop.zoom
        picture = _picture(photo)
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


def _landmarks(
    picture: Image.Image, given: NDArray[np.float64], fitted: NDArray[np.float64], crop: FaceCrop
) -> Image.Image:
    """The given landmarks as dots, the model's as outlines with rings, drawn large and shrunk for smooth edges."""
    scale = 3
    large = picture.resize((scale * crop.size, scale * crop.size), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(large, "RGBA")
    marks, model = ((crop.to_crop(points) + 0.5) * scale for points in (given, fitted))
    for curve in CURVES:
        draw.line([(float(x), float(y)) for x, y in model[list(curve)]], fill=(*_MODEL, 150), width=scale)
    for (x, y), (u, v) in zip(marks.tolist(), model.tolist(), strict=True):
        draw.line([(x, y), (u, v)], fill=(255, 255, 255, 210), width=scale)
    for x, y in model.tolist():
        _ring(draw, x, y, 3.1 * scale, None, (*_MODEL, 255), round(1.2 * scale))
    for x, y in marks.tolist():
        _ring(draw, x, y, 2.5 * scale, (*_GIVEN, 255), (10, 60, 20, 255), max(1, scale // 3))
    small = large.resize(picture.size, Image.Resampling.LANCZOS)
    return _legend(small, (("given", _GIVEN, True), ("model", _MODEL, False)))


def _ring(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, fill: Any, outline: Any, width: int) -> None:
    draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill, outline=outline, width=width)


def _legend(picture: Image.Image, entries: tuple[tuple[str, tuple[int, int, int], bool], ...]) -> Image.Image:
    draw = ImageDraw.Draw(picture, "RGBA")
    font = ImageFont.load_default(16)
    step = 22
    width = 24 + max(round(draw.textlength(name, font=font)) for name, _, _ in entries) + 10
    left, top = 8, picture.height - 8 - step * len(entries) - 6
    draw.rounded_rectangle([left, top, left + width, picture.height - 8], 5, fill=(20, 20, 24, 190))
    for row, (name, colour, filled) in enumerate(entries):
        y = top + 3 + step * (row + 0.5)
        _ring(draw, left + 13, y, 4.5, colour if filled else None, colour, 2)
        draw.text((left + 24, y), name, font=font, fill=(245, 245, 245, 255), anchor="lm")
    return picture


def _heat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours (..., 3) of values from 0 to 1, clipped."""
    places = np.linspace(0.0, 1.0, len(_HEAT))
    return np.stack([np.interp(values, places, _HEAT[:, c]) for c in range(3)], axis=-1)


def _bar(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scale of the residual along the lower edge."""
    size = len(picture)
    height, inset = max(6, size // 45), max(8, size // 30)
    picture = picture.copy()
    top = size - inset - height
    picture[top - 2 : top + height + 2, inset - 2 : size - inset + 2] = 1.0
    picture[top : top + height, inset : size - inset] = _heat(np.linspace(0.0, 1.0, size - 2 * inset))
    return picture


def _blend(under: NDArray[np.float64], over: NDArray[np.float64], share: NDArray[np.float64]) -> NDArray[np.float64]:
    return under + share[..., None] * (over - under)


def _picture(values: NDArray[np.floating]) -> Image.Image:
    return Image.fromarray(np.rint(255 * np.clip(values, 0.0, 1.0)).astype(np.uint8))


def sheet(panels: list[tuple[str, NDArray[np.floating]]], panel: int = PANEL) -> Image.Image:
    """Pictures (S, S, 3) in [0, 1] side by side, each `panel` px square, with their captions under them."""
    return _sheet([(caption, _picture(values)) for caption, values in panels], panel)


def _sheet(panels: list[tuple[str, Image.Image]], panel: int) -> Image.Image:
    width = len(panels) * (panel + _GAP) + _GAP
    sheet = Image.new("RGB", (width, panel + _GAP + _CAPTION), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_FONT)
    for index, (caption, picture) in enumerate(panels):
        left = _GAP + index * (panel + _GAP)
        sheet.paste(picture, (left, _GAP))
        draw.text((left + panel / 2, _GAP + panel + _CAPTION / 2), caption, font=font, fill=_INK, anchor="mm")
    return sheet
