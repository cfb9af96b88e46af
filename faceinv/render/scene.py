"""Pictures of a result in the frame of its photo."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.evaluation import radiance
from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine
from faceinv.face.camera import axis_angle
from faceinv.face.layout import ParameterLayout
from faceinv.photo.color import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.camera import WeakPerspective
    from faceinv.fitting.result import FitResult

__all__ = ["pack", "render_result", "window"]


def pack(result: FitResult, camera: WeakPerspective) -> NDArray[np.float64]:
    """chi (1, P) of a result, seen by another camera."""
    layout = ParameterLayout.of(result.model)
    chi = np.zeros((1, layout.count))
    chi[0, layout.identity] = result.identity
    chi[0, layout.expression] = result.expression
    chi[0, layout.albedo] = result.albedo_coefficients
    chi[0, layout.log_scale] = math.log(camera.scale)
    chi[0, layout.rotation] = axis_angle(camera.rotation)
    chi[0, layout.translation] = camera.translation
    chi[0, layout.lighting] = result.lighting.T.ravel()
    return chi


def window(result: FitResult) -> tuple[int, int, int, int]:
    """The part of the photo that the face covers: left, top, right, bottom in px, right and bottom exclusive.

    All zero for a face outside of the photo.
    """
    width, height = result.image_size
    low = np.floor(result.image_xy.min(axis=0)).astype(int)
    high = np.ceil(result.image_xy.max(axis=0)).astype(int) + 1
    left, top = int(np.clip(low[0], 0, width)), int(np.clip(low[1], 0, height))
    right, bottom = int(np.clip(high[0], 0, width)), int(np.clip(high[1], 0, height))
    return (left, top, right, bottom) if right > left and bottom > top else (0, 0, 0, 0)


def render_result(result: FitResult) -> NDArray[np.float32]:
    """(H, W, 4) float32: linear RGB and coverage. Only the window of the face is drawn, so large photos stay cheap."""
    width, height = result.image_size
    out = np.zeros((height, width, 4), np.float32)
    left, top, right, bottom = window(result)
    if right == 0:
        return out
    renderer = build_engine("numpy", result.model, EngineSettings(normals=result.shading)).renderer
    chi = pack(result, result.camera.moved(1.0, (-left, -top)))
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, (bottom - top, right - left))
    colours = radiance(renderer, geometry, visibility, chi)[0]
    if result.model.albedo_space == "srgb":
        colours = srgb_to_linear(np.clip(colours, 0.0, 1.0))
    covered = renderer.to_host(visibility.triangle)[0] >= 0
    out[top:bottom, left:right, :3] = np.where(covered[..., None], np.maximum(colours, 0.0), 0.0)
    out[top:bottom, left:right, 3] = covered
    return out
