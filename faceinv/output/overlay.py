"""One picture to judge a fit by: photo, landmarks, render over photo, shaded geometry (with detail too, where there is
some) and residual side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from faceinv.face.landmarks68 import CURVES
from faceinv.output.panels import MARGIN, RESIDUAL_RANGE, draw_panels, heat, to_picture
from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail
    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["PANEL", "draw_overlay", "sheet"]

PANEL: Final = 448
"""px, the side of a panel."""

_GAP: Final = 10
_CAPTION: Final = 40
_FONT: Final = 19
_PAPER: Final = (255, 255, 255)
_INK: Final = (40, 40, 44)
_GIVEN: Final = (70, 230, 110)
_MODEL: Final = (255, 60, 70)


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
    crop = FaceCrop.around(given, MARGIN, panel)
    drawn = draw_panels(model, face, photo, crop, normals, detail=detail)
    shown = to_picture(drawn.photo)
    panels = [
        ("photo", shown),
        ("landmarks", _landmarks(shown, given, fitted, crop)),
        ("render over photo", to_picture(drawn.over)),
        ("geometry", to_picture(drawn.geometry)),
        *([] if drawn.relief is None else [("geometry with detail", to_picture(drawn.relief))]),
        (f"residual, sRGB 0 to {RESIDUAL_RANGE:g}", to_picture(_bar(drawn.residual))),
    ]
    return _sheet(panels, panel)


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


def _bar(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """The scale of the residual along the lower edge."""
    size = len(picture)
    height, inset = max(6, size // 45), max(8, size // 30)
    picture = picture.copy()
    top = size - inset - height
    picture[top - 2 : top + height + 2, inset - 2 : size - inset + 2] = 1.0
    picture[top : top + height, inset : size - inset] = heat(np.linspace(0.0, 1.0, size - 2 * inset))
    return picture


def sheet(panels: list[tuple[str, NDArray[np.floating]]], panel: int = PANEL) -> Image.Image:
    """Pictures (S, S, 3) in [0, 1] side by side, each `panel` px square, with their captions under them."""
    return _sheet([(caption, to_picture(values)) for caption, values in panels], panel)


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
