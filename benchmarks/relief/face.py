"""A smooth face to put relief and paint on: the packaged model's mean, seen from in front."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.formats import load_model
from faceinv.face.lighting import SH_COUNT, ambient, sh_basis
from faceinv.face.state import Face
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["SmoothFace", "draw_light", "smooth_face"]

_SHARE: Final = 0.82
"""Of the picture's side that the face's height takes."""
_GRAZING: Final = 0.15
"""Cosine to the view below which nothing is measured."""
_LAMBERT: Final = np.array([1.0] + [2 / 3] * 3 + [1 / 4] * 5)
"""What a matt surface makes of the three bands of light (Ramamoorthi and Hanrahan, 2001)."""


@dataclass(frozen=True)
class SmoothFace:
    """Pixels of a smooth face under a weak perspective."""

    normals: Array
    """(H, W, 3) unit, camera frame: x right, y up, z to the viewer; (0, 0, 1) beside the face."""
    mask: NDArray[np.bool_]
    """(H, W) the face, but for what is seen at a grazing angle."""
    mm_per_px: float


def smooth_face(size: int = 512, yaw: float = 8.0) -> SmoothFace:
    """The face in a picture of size x size px, turned by some degrees."""
    model = load_model("default", identity=1, expression=1, albedo=1)
    rotation = rotation_from_euler(0.0, np.radians(yaw), 0.0)
    used = np.unique(model.triangles[model.face_mask])
    turned = model.mean[used].astype(np.float64) @ rotation.T
    low, high = turned.min(axis=0), turned.max(axis=0)
    scale = _SHARE * size / (high - low)[:2].max()
    middle = scale * (low + high) / 2
    centre = (size - 1) / 2
    camera = Camera(scale, rotation, np.array([centre - middle[0], centre + middle[1]]))
    scene = draw_faces(model, [Face.mean(model, camera, ambient())], (size, size))[0]
    mask = scene.covered & model.face_mask[scene.triangle]
    normals = np.where(scene.covered[..., None], scene.normal, [0.0, 0.0, 1.0])
    return SmoothFace(normals, mask & (normals[..., 2] > _GRAZING), 1.0 / scale)


def draw_light(rng: np.random.Generator) -> Array:
    """gamma (9, 3): a lamp from some side above, and half as much light from everywhere."""
    azimuth, elevation = rng.uniform(-2.6, 2.6), rng.uniform(0.2, 1.0)
    towards = np.array([0.8 * np.sin(azimuth) * np.cos(elevation), np.sin(elevation), 0.55])
    towards /= np.linalg.norm(towards)
    lighting: Array = np.outer(2.2 * _LAMBERT * sh_basis(towards), [1.02, 1.0, 0.96])
    lighting[0] += 1.6
    assert lighting.shape == (SH_COUNT, 3)
    return lighting
