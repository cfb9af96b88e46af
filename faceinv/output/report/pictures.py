"""A report's pictures: the photo, what was drawn beside it, the landmarks, and the skin of the 3D view."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

from faceinv.face.landmarks68 import CURVES
from faceinv.output.panels import MARGIN, RESIDUAL_RANGE, Panels, draw_panels, to_picture
from faceinv.photo.crop import FaceCrop
from faceinv.render.inner_parts import with_painted_mouth
from faceinv.render.texture import texture_image

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.output.report.content import ReportContent

__all__ = ["Marks", "Picture", "draw_marks", "draw_pictures", "draw_skin", "photo_crop", "thumbnail"]

SIZE: Final = 512
"""px, the side of each picture."""
_TEXTURE: Final = 1024
_QUALITY: Final = 85


@dataclass(frozen=True)
class Picture:
    """One of the pictures that the photo is compared with."""

    key: str
    name: str
    description: str
    """What is seen, for people who do not see it too."""
    url: str
    """With the picture in it."""


@dataclass(frozen=True)
class Marks:
    """Landmarks in the frame of the pictures, px."""

    curves: list[str]
    """Lines through the model's, as points of SVG."""
    pairs: list[tuple[float, float, float, float]]
    """Of each landmark: where it was given, where the model has it."""


def photo_crop(content: ReportContent) -> FaceCrop:
    """What of the photo is shown."""
    return FaceCrop.around(content.given, MARGIN, SIZE)


def draw_pictures(content: ReportContent) -> list[Picture]:
    """The photo first; empty where there is none."""
    if content.photo is None:
        return []
    drawn = _panels(content, content.photo, photo_crop(content))
    ends = f"from none (dark) to {RESIDUAL_RANGE:g} of the range of sRGB (pale)"
    rows = [
        ("photo", "Photo", "The photo, cropped to the face.", drawn.photo),
        ("render", "Render", "The fitted face under the fitted light, drawn over the photo.", drawn.over),
        (
            "geometry",
            "Geometry",
            "The fitted head in plain grey, seen as in the photo.",
            drawn.geometry,
        ),
        ("residual", "Residual", f"The difference between render and photo as a heat map, {ends}.", drawn.residual),
    ]
    if drawn.relief is not None:
        shown = "The fitted head in plain grey, with the wrinkles and folds that were found from shading."
        rows.insert(3, ("relief", "Detail", shown, drawn.relief))
    return [Picture(key, name, text, _jpeg(to_picture(pixels))) for key, name, text, pixels in rows]


def draw_marks(content: ReportContent) -> Marks:
    """The landmarks, given and fitted."""
    crop = photo_crop(content)
    given, fitted = (np.round(crop.to_crop(points) + 0.5, 1) for points in (content.given, content.fitted))
    curves = [" ".join(f"{x:g},{y:g}" for x, y in fitted[list(curve)].tolist()) for curve in CURVES]
    return Marks(curves, [(*g, *f) for g, f in zip(given.tolist(), fitted.tolist(), strict=True)])


def draw_skin(content: ReportContent) -> str:
    """The photo as a texture of the 3D view, as a URL with it inside; empty where there is no photo."""
    if content.photo is None:
        return ""
    # A model with eyes and teeth of its own moves them, and wants them whole.
    model, moving = content.model, bool(content.model.part_names)
    skin = texture_image(model, content.face, "photo", content.photo, _TEXTURE, content.vertices, moving=moving)
    if moving:
        skin = with_painted_mouth(model, content.face, content.vertices, skin)
    return _jpeg(Image.fromarray(skin))


def thumbnail(content: ReportContent, size: int = 96) -> str:
    """Photo and render side by side, small, as a URL with the picture inside; empty where there is no photo."""
    if content.photo is None:
        return ""
    drawn = _panels(content, content.photo, photo_crop(content).at(size))
    both: NDArray[np.float32] = np.concatenate([drawn.photo, drawn.over], axis=1)
    return _jpeg(to_picture(both), quality=75)


def _panels(content: ReportContent, photo: NDArray[np.float32], crop: FaceCrop) -> Panels:
    return draw_panels(
        content.model,
        content.face,
        photo,
        crop,
        content.shading,
        vertices=content.vertices,
        albedo=content.albedo,
        detail=content.detail,
    )


def _jpeg(picture: Image.Image, quality: int = _QUALITY) -> str:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii")
