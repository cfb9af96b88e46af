"""The photo's camera in a glTF file: through it the face is seen as in the photo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.output.gltf import Lens, Node

if TYPE_CHECKING:
    from faceinv.face.camera import Camera

__all__ = ["camera_node"]

_MM_PER_M: Final = 1000.0
_NEAR_M, _FAR_M = 0.01, 100.0
_WEAK_DISTANCE_MM: Final = 2000.0
"""Where an orthographic camera stands, which changes nothing of what it sees."""


def camera_node(camera: Camera, image_size: tuple[int, int]) -> Node:
    """A camera at its place in a scene whose unit is the metre and whose axes are the model's.

    glTF's cameras look along -z with y up, and have their optical axis in the middle of the picture. Where the
    principal point is elsewhere, the camera's picture is the smallest with the principal point in its middle that holds
    the photo; `extras.photo` of the camera is the photo's rectangle in it, `[left, top, right, bottom]` as shares of
    its sides, which is `[0, 0, 1, 1]` otherwise.

    Args:
        camera: one, in the frame of the photo.
        image_size: (width, height) px of the photo.
    """
    width, height = image_size
    perspective = float(camera.kappa) > 0
    # From the middle of the photo, whose pixels have their centres at integers.
    aside = camera.centre - [(width - 1) / 2, (height - 1) / 2] if perspective else np.zeros(2)
    shown = np.array([width, height]) + 2 * np.abs(aside)
    corner = (shown / 2 - aside - [width / 2, height / 2]) / shown
    photo = [*corner.tolist(), *(corner + [width, height] / shown).tolist()]
    if perspective:
        place = camera.position
        projection: dict[str, Any] = {
            "type": "perspective",
            "perspective": {
                "aspectRatio": float(shown[0] / shown[1]),
                "yfov": 2 * math.atan(float(shown[1]) / 2 / float(camera.focal_length)),
                "znear": _NEAR_M,
                "zfar": _FAR_M,
            },
        }
    else:
        scale = float(camera.scale)
        middle = (np.array([(width - 1) / 2, (height - 1) / 2]) - camera.translation) / scale * [1.0, -1.0]
        place = camera.rotation.T @ np.array([*middle, _WEAK_DISTANCE_MM])
        across, down = (float(side) / scale / 2 / _MM_PER_M for side in shown)
        projection = {
            "type": "orthographic",
            "orthographic": {"xmag": across, "ymag": down, "znear": _NEAR_M, "zfar": _FAR_M},
        }
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = camera.rotation.T, place / _MM_PER_M
    return Node("photo camera", lens=Lens("photo", projection, {"photo": photo}), matrix=pose)
