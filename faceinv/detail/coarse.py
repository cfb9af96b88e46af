"""The coarse face of a fit as pixels see it, on the grid that relief is solved on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.photo.crop import FaceCrop
from faceinv.render.scene import renderer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import Camera
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["LARGEST_FACE", "CoarseFace", "draw_coarse", "face_extent", "face_window"]

LARGEST_FACE: Final = 1024
"""px along the longer side of a face: relief of larger ones is solved at this size, .2 mm a pixel, and interpolated."""
_MARGIN: Final = 4
"""px around the face's box, of the grid."""
_GRAZING: Final = 0.15
"""Cosine between normal and ray below which a pixel shows too little of its surface."""


@dataclass(frozen=True, eq=False)
class CoarseFace:
    """A square of the photo, and what it shows of the face; (S, S, ...) host arrays."""

    crop: FaceCrop
    camera: Camera
    """In px of the square."""
    pixel: float
    """mm per pixel, at the mean depth of the face."""
    mask: NDArray[np.bool_]
    """(S, S) skin that faces the camera; false on the rim."""
    normal: NDArray[np.float32]
    """(S, S, 3) unit, interpolated between vertices, camera frame; (0, 0, 1) where the model is not seen."""
    depth: NDArray[np.float32]
    """(S, S) px of the square, larger is nearer."""
    albedo: NDArray[np.float32]
    """(S, S, 3) of the fit."""
    shadow: NDArray[np.float32] | None
    """(S, S, 9) what the face itself takes from the basis; None where the model has no occlusion."""


def face_extent(model: MorphableModel, face: Face) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(2,), (2,) px: the box of the face mask's vertices in the photo."""
    skin = np.unique(model.triangles[model.face_mask])
    xy = face.camera.project(face.vertices(model)[skin])[:, :2]
    return xy.min(axis=0), xy.max(axis=0)


def face_window(low: NDArray[np.float64], high: NDArray[np.float64], largest: int = LARGEST_FACE) -> FaceCrop:
    """The square of the photo around a face's box: of the photo's own pixels, or fewer for a face above `largest`."""
    step = max(1.0, float((high - low).max()) / largest)
    first = np.floor(low + 0.5 - _MARGIN * step)
    size = int(np.ceil((high + 0.5 - first).max() / step)) + _MARGIN
    size += -size % 16
    return FaceCrop(float(first[0]), float(first[1]), size * step, size)


def draw_coarse(model: MorphableModel, face: Face, crop: FaceCrop) -> CoarseFace:
    """The face in a square of the photo."""
    camera = crop.camera_to_crop(face.camera)
    renderer = renderer_of(model)
    geometry = renderer.geometry(replace(face, camera=camera).pack(renderer.layout)[None])
    visibility = renderer.rasterize(geometry, (crop.size, crop.size))
    wanted = ["normal", "albedo", "depth", *(["shadow"] if model.occlusion is not None else [])]
    pixels = renderer.interpolate(geometry, visibility, wanted)  # type: ignore[arg-type]

    def host(name: str) -> NDArray[np.float32]:
        return np.asarray(renderer.to_host(pixels.needed(name))[0], np.float32)  # type: ignore[arg-type]

    triangle = renderer.to_host(pixels.triangle)[0]
    covered = triangle >= 0
    normal = np.where(covered[..., None], host("normal"), np.float32([0, 0, 1]))
    depth = np.where(covered, host("depth"), np.float32(0))
    a, b = rays(camera, crop.size)
    facing = normal[..., 2] - a * normal[..., 0] - b[:, None] * normal[..., 1]
    mask = covered & model.face_mask[triangle] & (facing > _GRAZING)
    mask[[0, -1]] = mask[:, [0, -1]] = False
    z = depth[mask] / (camera.scale + camera.kappa * depth[mask])
    near = float(np.mean(1 - camera.kappa * z, dtype=np.float64)) if mask.any() else 1.0
    shadow = host("shadow") if model.occlusion is not None else None
    return CoarseFace(crop, camera, near / float(camera.scale), mask, normal, depth, host("albedo"), shadow)


def rays(camera: Camera, size: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """a (S,) of columns and b (S,) of rows: a pixel's ray is `(a, b, -1)`, camera frame; zeros without perspective."""
    per_pixel = float(camera.kappa) / float(camera.scale)
    place = np.arange(size)
    columns, rows = (place - camera.centre[0]) * per_pixel, -(place - camera.centre[1]) * per_pixel
    return columns.astype(np.float32), rows.astype(np.float32)
