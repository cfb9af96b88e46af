"""A sheet of pictures of a face model: the quickest way to see that it was read right."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image, ImageDraw

from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.render.scene import Scene, draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["render_sheet"]

_COLUMNS: Final = 4
_CAPTION: Final = 18
_BACKGROUND: Final = 245
_DEVIATIONS: Final = 2.0
_MASK_TINT: Final = np.array([50.0, 200.0, 80.0])
_BAND_TINT: Final = np.array([40.0, 70.0, 230.0])
_RADIUS: Final = 1.5


def render_sheet(model: MorphableModel, size: int = 256) -> Image.Image:
    """Draw a model: its mean from the front and from the side, landmarks, face mask, and the first mode of each kind.

    Landmarks are red, the band over which those of the jaw slide is blue, the face mask is green. Modes are drawn at
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
    front, side = _pose(slim, size, 0.0), _pose(slim, size, np.pi / 4)
    cells = [("mean", front), ("mean, turned by 45 degrees", side), ("landmarks", front), ("face mask", front)]
    for kind, count in (
        ("identity", slim.identity_count),
        ("expression", slim.expression_count),
        ("albedo", slim.albedo_count),
    ):
        for deviations in (-_DEVIATIONS, _DEVIATIONS) if count else ():
            mode: dict[str, Any] = {kind: np.array([deviations])}
            cells.append((f"first {kind} mode at {deviations:+.0f} sd", replace(front, **mode)))
    scenes = draw_faces(slim, [face for _, face in cells], (size, size))
    pictures = [_picture(scene) for scene in scenes]
    band = np.isin(np.arange(len(slim.triangles)), slim.jaw_triangles)
    for cell, chosen, tint in ((2, band, _BAND_TINT), (3, slim.face_mask, _MASK_TINT)):
        shown = chosen[scenes[cell].triangle] & scenes[cell].covered
        pictures[cell][shown] = (0.5 * pictures[cell][shown] + 0.5 * tint).astype(np.uint8)
    sheet = Image.new("RGB", (_COLUMNS * size, -(-len(cells) // _COLUMNS) * (size + _CAPTION)), (_BACKGROUND,) * 3)
    pen = ImageDraw.Draw(sheet)
    for k, ((caption, _), picture) in enumerate(zip(cells, pictures, strict=True)):
        left, top = k % _COLUMNS * size, k // _COLUMNS * (size + _CAPTION)
        sheet.paste(Image.fromarray(picture), (left, top + _CAPTION))
        pen.text((left + 4, top + 3), caption, fill=(0, 0, 0))
        if caption == "landmarks":
            marks = front.camera.project(slim.landmarks(slim.mean))[:, :2]
            for x, y in marks + np.array([left, top + _CAPTION]):
                pen.ellipse((x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS), fill=(230, 30, 30))
    return sheet


def _pose(model: MorphableModel, size: int, yaw: float) -> Face:
    """The mean, filling a picture, under a light from everywhere and a stronger one from the viewer."""
    rotation = rotation_from_euler(0.0, yaw, 0.0)
    spread = Camera(1.0, rotation, np.zeros(2)).project(model.mean)[:, :2]
    low, high = spread.min(axis=0), spread.max(axis=0)
    scale = 0.94 * size / float((high - low).max())
    camera = Camera(scale, rotation, (size - 1) / 2 - scale * (low + high) / 2)
    gamma = ambient(0.55)
    gamma[2] = 1.0
    return Face.mean(model, camera, gamma)


def _picture(scene: Scene) -> NDArray[np.uint8]:
    return np.where(scene.covered[..., None], np.rint(255 * scene.srgb), _BACKGROUND).astype(np.uint8)
