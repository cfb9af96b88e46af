"""A sheet of pictures of a face model: the quickest way to see that it was read right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image, ImageDraw

from faceinv.engine.evaluation import radiance
from faceinv.engine.registry import build_engine
from faceinv.face.camera import axis_angle, rotation_from_euler
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.photo.color import linear_to_srgb

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["render_sheet"]

_COLUMNS: Final = 4
_CAPTION: Final = 18
_BACKGROUND: Final = 245
_DEVIATIONS: Final = 2.0
_TINT: Final = np.array([50.0, 200.0, 80.0])


def render_sheet(model: MorphableModel, size: int = 256) -> Image.Image:
    """Draw a model: its mean from the front and from the side, landmarks, face mask, and the first mode of each kind.

    Landmarks are red, the rows along which those of the jaw slide are blue, the face mask is green. Modes are drawn at
    -2 and +2 standard deviations.

    Args:
        model: any face model.
        size: px, the side of each picture.

    Returns:
        An RGB image of four columns.

    Raises:
        BackendError: when the NumPy engine cannot be loaded.
    """
    slim = model.truncated(1, 1, 1)  # fewer where there are none
    layout = ParameterLayout.of(slim)
    front, side = _pose(slim, layout, size, 0.0), _pose(slim, layout, size, np.pi / 4)
    cells = [("mean", front), ("mean, turned by 45 degrees", side), ("landmarks", front), ("face mask", front)]
    for name, place, count in (
        ("identity", layout.identity, slim.identity_count),
        ("expression", layout.expression, slim.expression_count),
        ("albedo", layout.albedo, slim.albedo_count),
    ):
        for sign in (-_DEVIATIONS, _DEVIATIONS) if count else ():
            chi = front.copy()
            chi[place] = sign
            cells.append((f"first {name} mode at {sign:+.0f} sd", chi))
    pictures, triangles, points = _draw(slim, np.array([chi for _, chi in cells]), size)
    masked = slim.face_mask[triangles[3]] & (triangles[3] >= 0)
    pictures[3][masked] = (0.5 * pictures[3][masked] + 0.5 * _TINT).astype(np.uint8)
    sheet = Image.new("RGB", (_COLUMNS * size, -(-len(cells) // _COLUMNS) * (size + _CAPTION)), (_BACKGROUND,) * 3)
    pen = ImageDraw.Draw(sheet)
    for k, ((caption, _), picture) in enumerate(zip(cells, pictures, strict=True)):
        left, top = k % _COLUMNS * size, k // _COLUMNS * (size + _CAPTION)
        sheet.paste(Image.fromarray(picture), (left, top + _CAPTION))
        pen.text((left + 4, top + 3), caption, fill=(0, 0, 0))
        if caption == "landmarks":
            for colour, where, radius in (
                ((40, 70, 230), points[k][slim.jaw_contour.ravel(), :2], 0.5),
                ((230, 30, 30), slim.landmarks(points[k])[:, :2], 1.5),
            ):
                for x, y in where + np.array([left, top + _CAPTION]):
                    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return sheet


def _pose(model: MorphableModel, layout: ParameterLayout, size: int, yaw: float) -> NDArray[np.float64]:
    """chi (P,) of the mean, filling a picture, under a light from everywhere and a stronger one from the viewer."""
    rotation = rotation_from_euler(0.0, yaw, 0.0)
    turned = model.mean.astype(np.float64) @ rotation.T
    low, high = turned.min(axis=0)[:2], turned.max(axis=0)[:2]
    scale = 0.94 * size / float((high - low).max())
    middle = scale * (low + high) / 2
    chi = np.zeros(layout.count)
    chi[layout.log_scale] = np.log(scale)
    chi[layout.rotation] = axis_angle(rotation)
    chi[layout.translation] = (size - 1) / 2 - middle[0], (size - 1) / 2 + middle[1]
    gamma = ambient(0.55)
    gamma[2] = 1.0
    chi[layout.lighting] = gamma.T.ravel()
    return chi


def _draw(
    model: MorphableModel, chi: NDArray[np.float64], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.int32], NDArray[np.float64]]:
    """Pictures (B, size, size, 3), the triangles they show (B, size, size) and the vertices (B, N, 3) px."""
    renderer = build_engine("numpy", model).renderer
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, (size, size))
    colours = np.clip(radiance(renderer, geometry, visibility, chi), 0.0, 1.0)
    if model.albedo_space == "linear":
        colours = linear_to_srgb(colours)
    triangles = renderer.to_host(visibility.triangle)
    pictures = np.where(triangles[..., None] >= 0, np.rint(255 * colours), _BACKGROUND).astype(np.uint8)
    xy, depth = renderer.to_host(geometry.image_xy), renderer.to_host(geometry.depth)
    return pictures, triangles, np.concatenate([xy, depth[..., None]], axis=2)
