"""How the model's image differs from the photo: what covers the face, and by how much the rest is off. On the host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import uniform_filter

from faceinv.engine.records import SHADED
from faceinv.photo.color import srgb_to_linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractRenderer
    from faceinv.engine.records import Geometry, Problem, Visibility

__all__ = ["occlusion_window", "photometric_rmse", "radiance", "responsibilities"]

DARK: Final = 0.03
"""White is 1. Radiances are compared by their ratio, above this much of either."""
EVIDENCE: Final = 4.0
"""How many independent pixels the window around one is worth: neighbours differ alike."""
LEAST_SPREAD: Final = 0.02
"""Of logarithms. A face that is met perfectly still differs by noise."""
LEAST_COVERED: Final = 0.01
MOST_COVERED: Final = 0.5
OUTSIDE: Final = 4.0
EM_STEPS: Final = 12
LARGEST_EXPONENT: Final = 500.0


def occlusion_window(height: int) -> int:
    """Side of the window over which differences are averaged, px, for an image of so many rows: larger than folds and
    nostrils, smaller than a beard or half of a pair of glasses."""
    return max(3, height // 8)


def responsibilities(
    renderer: AbstractRenderer, problem: Problem, chi: NDArray[np.float64], share: float
) -> NDArray[np.float32]:
    """How sure it is that each pixel shows the face and not what covers it (hair, glasses, a beard, a hand): (B, H, W).

    A mixture for each photo. The difference of a face pixel is the mean over channels of the logarithm of radiance over
    photo, without its sign and with `DARK` added to both: glasses and beards are dark, and light and shade multiply. It
    is averaged over the face pixels of a window around it (`occlusion_window`), since what covers a face does so in
    patches. Of the face itself it falls off exponentially (Laplace's law); of anything else all differences are alike,
    with a density of 1 (which is to say: from none to a factor of e). The spread of the former and the share of the
    latter follow from the pixels inside the landmarks' hull by expectation and maximisation, from their median and
    `share`; the share stays between `LEAST_COVERED` and `MOST_COVERED`. Outside of the hull, on forehead and temples,
    where hair may be anywhere, the odds of it are `OUTSIDE` times as high.

    The weight is the posterior probability of the face, with the evidence of `EVIDENCE` independent pixels. Pixels
    beside the face, onto which a step may move it, have theirs from the face pixels of their windows: with ones there,
    fits went to and fro at the border of the hair. Where a photo shows no face all are ones.
    """
    picture, face = _drawn(renderer, problem, chi)
    shown, photo = np.maximum(picture / problem.white, 0.0) + DARK, problem.image / problem.white + DARK
    difference = np.abs(np.log(shown / np.maximum(photo, DARK))).mean(axis=-1) * face
    width = occlusion_window(problem.size[0])
    counted = uniform_filter(face.astype(np.float64), (0, width, width), mode="constant")
    local = uniform_filter(difference, (0, width, width), mode="constant") / np.maximum(counted, 1e-6)
    weights = np.ones(problem.mask.shape, np.float32)
    for item, hull in enumerate(problem.hull):
        sure = local[item][face[item] & hull]
        if sure.size:
            odds, spread = _mixture(sure, share)
            weights[item] = _probability(local[item], np.where(hull, odds, OUTSIDE * odds), spread)
    return weights


def _mixture(difference: NDArray[np.float64], share: float) -> tuple[float, float]:
    """The odds, before a difference is known, of what covers the face times its density over the face's greatest; and
    the face's spread. Of the differences (M,) inside the hull."""
    spread = max(float(np.median(difference)) / np.log(2.0), LEAST_SPREAD)
    odds, used = 0.0, spread
    for _ in range(EM_STEPS):
        used = spread
        odds = share / (1.0 - share) * spread**EVIDENCE
        sure = _probability(difference, odds, spread)
        spread = max(float((sure * difference).sum() / max(sure.sum(), 1.0)), LEAST_SPREAD)
        share = min(max(1.0 - float(sure.mean()), LEAST_COVERED), MOST_COVERED)
    return odds, used


def _probability(
    difference: NDArray[np.float64], odds: NDArray[np.float64] | float, spread: float
) -> NDArray[np.float64]:
    """Of the face, where the difference is so large."""
    face: NDArray[np.float64] = 1.0 / (
        1.0 + odds * np.exp(np.minimum(EVIDENCE * difference / spread, LARGEST_EXPONENT))
    )
    return face


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
