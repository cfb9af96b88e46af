"""A face drawn on the CPU, in the frame of its camera."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.engine.records import SHADED, EngineSettings, Normals
from faceinv.engine.registry import build_engine
from faceinv.photo.color import linear_to_srgb, srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractRenderer
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["Scene", "draw_depth", "draw_faces", "render_face", "renderer_of"]

_renderers: WeakKeyDictionary[MorphableModel, dict[Normals, AbstractRenderer]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Scene:
    """A picture of a face and what it shows; (H, W, ...) host arrays, zeros for the background."""

    triangle: NDArray[np.int32]
    """(H, W), -1 for the background."""
    normal: NDArray[np.float64]
    """(H, W, 3) unit, camera frame: x right, y up, z to the viewer."""
    radiance: NDArray[np.float64]
    """(H, W, 3) RGB in the model's albedo space, not clipped."""
    linear: bool
    """Whether radiance is linear light instead of sRGB values."""

    @property
    def covered(self) -> NDArray[np.bool_]:
        """(H, W) where the model is seen."""
        return self.triangle >= 0

    @property
    def srgb(self) -> NDArray[np.float64]:
        """(H, W, 3) sRGB-encoded, clipped to [0, 1]."""
        clipped = np.clip(self.radiance, 0.0, 1.0)
        return linear_to_srgb(clipped) if self.linear else clipped

    @property
    def light(self) -> NDArray[np.float64]:
        """(H, W, 3) linear RGB, at least 0."""
        light = self.radiance if self.linear else srgb_to_linear(np.clip(self.radiance, 0.0, 1.0))
        return np.maximum(light, 0.0)


def renderer_of(model: MorphableModel, normals: Normals = "smooth") -> AbstractRenderer:
    """The CPU's renderer of a model; made once for as long as the model lives."""
    known = _renderers.setdefault(model, {})
    if normals not in known:
        known[normals] = build_engine("numpy", model, EngineSettings(normals=normals)).renderer
    return known[normals]


def draw_faces(
    model: MorphableModel, faces: list[Face], size: tuple[int, int], normals: Normals = "smooth"
) -> list[Scene]:
    """Draw faces of one model in images of size (H, W), each in the frame of its own camera."""
    renderer = renderer_of(model, normals)
    chi = np.stack([face.pack(renderer.layout) for face in faces])
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, size)
    pixels = renderer.interpolate(geometry, visibility, SHADED)
    radiance = renderer.shade(pixels, np.stack([face.lighting for face in faces]))
    arrays = (renderer.to_host(array) for array in (pixels.triangle, pixels.needed("normal"), radiance))
    linear = model.albedo_space == "linear"
    return [Scene(triangle, normal, light, linear) for triangle, normal, light in zip(*arrays, strict=True)]


def draw_depth(model: MorphableModel, face: Face, size: tuple[int, int]) -> NDArray[np.float64]:
    """(H, W) px the depth of the nearest surface, larger is nearer; minus infinity for the background."""
    renderer = renderer_of(model)
    geometry = renderer.geometry(face.pack(renderer.layout)[None])
    pixels = renderer.interpolate(geometry, renderer.rasterize(geometry, size), ["depth"])
    depth, triangle = (renderer.to_host(array)[0] for array in (pixels.needed("depth"), pixels.triangle))
    return np.where(triangle >= 0, depth, -np.inf)


def render_face(
    model: MorphableModel, face: Face, size: tuple[int, int], normals: Normals = "smooth"
) -> NDArray[np.float32]:
    """(H, W, 4) float32: linear RGB and coverage 0 or 1. Only the window of the face is drawn, so large images stay
    cheap."""
    picture = np.zeros((*size, 4), np.float32)
    xy = face.camera.project(face.vertices(model))[:, :2]
    left, top = (int(n) for n in np.clip(np.floor(xy.min(axis=0)), 0, size[::-1]))
    right, bottom = (int(n) for n in np.clip(np.ceil(xy.max(axis=0)) + 1, 0, size[::-1]))
    if right > left and bottom > top:
        shifted = replace(face, camera=face.camera.moved(1.0, (-left, -top)))
        scene = draw_faces(model, [shifted], (bottom - top, right - left), normals)[0]
        window = picture[top:bottom, left:right]
        window[..., :3] = np.where(scene.covered[..., None], scene.light, 0.0)
        window[..., 3] = scene.covered
    return picture
