"""How the model's image differs from the photo: what covers the face, and by how much the rest is off. On the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import uniform_filter

from faceinv.engine.records import SHADED
from faceinv.photo.color import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractRenderer
    from faceinv.engine.records import Geometry, Problem, Visibility

__all__ = ["explained", "occlusion_window", "photometric_rmse", "radiance"]


def occlusion_window(height: int) -> int:
    """Side of the window over which differences are averaged, px, for an image of so many rows."""
    return max(3, height // 20)


def explained(
    renderer: AbstractRenderer, problem: Problem, chi: NDArray[np.float64], threshold: float
) -> NDArray[np.bool_]:
    """The problem's mask (B, H, W) without what covers the face: hair, hands.

    Inside the landmarks' hull everything counts (Huber's cost bears glasses and beards). Outside of it, on forehead and
    temples, a face pixel counts if the face explains its surroundings about as well as it explains the hull: if the
    mean over channels of |radiance - photo|, averaged over the face pixels of the window of max(3, H // 20) px around
    it, is at most `threshold` times the median of those averages inside the hull.
    """
    picture, face = _drawn(renderer, problem, chi)
    difference = np.abs(picture - problem.image).mean(axis=-1) * face
    width = occlusion_window(problem.size[0])
    share = uniform_filter(face.astype(np.float64), (0, width, width), mode="constant")
    local = uniform_filter(difference, (0, width, width), mode="constant") / np.maximum(share, 1e-6)
    mask = problem.mask.copy()
    for item, hull in enumerate(problem.hull):
        sure = local[item][face[item] & hull]
        if sure.size:
            mask[item] &= hull | (local[item] <= threshold * float(np.median(sure)))
    return mask


def photometric_rmse(renderer: AbstractRenderer, problem: Problem, chi: NDArray[np.float64]) -> NDArray[np.float64]:
    """(B,) root mean square of radiance - photo in linear RGB with white at 1, over the face mask's pixels inside the
    hull of the landmarks and the photo's mask; NaN where there are none."""
    picture, face = _drawn(renderer, problem, chi)
    shown, target = picture / problem.white, problem.image.astype(np.float64) / problem.white
    if renderer.model.albedo_space == "srgb":
        shown, target = srgb_to_linear(np.clip(shown, 0, 1)), srgb_to_linear(target)
    squared = ((shown - target) ** 2).mean(axis=-1)
    chosen = face & problem.hull
    return np.array([np.sqrt(s[c].mean()) if c.any() else np.nan for s, c in zip(squared, chosen, strict=True)])


def radiance(
    renderer: AbstractRenderer, geometry: Geometry, visibility: Visibility, chi: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The model's picture under the light of chi (B, P): (B, H, W, 3), zeros for the background."""
    pixels = renderer.interpolate(geometry, visibility, SHADED)
    return renderer.to_host(renderer.shade(pixels, renderer.layout.gamma(chi)))


def _drawn(
    renderer: AbstractRenderer, problem: Problem, chi: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Radiance (B, H, W, 3), and the pixels of the photo's mask that show the face mask (B, H, W)."""
    geometry = renderer.geometry(chi)
    visibility = renderer.rasterize(geometry, problem.size)
    triangle = renderer.to_host(visibility.triangle)
    picture = radiance(renderer, geometry, visibility, chi)
    return picture, (triangle >= 0) & renderer.model.face_mask[triangle] & problem.mask
