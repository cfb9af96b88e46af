"""From a photo and a coarse face to a detail problem: light, low-passed albedo, limited residuals, weights.

`robust`, the default. The light `gamma` is fitted to the coarse normals with a white albedo, robustly. What is left
between photo and shading at scales of `LOWPASS` mm and above is albedo and error of the coarse shading alike:

    rho = exp( mean over LOWPASS mm of (log T - log S(n0)) )                     per channel

so relief keeps what is finer. Residuals are relative, `r = log(T / (rho S(n0)))`, and their vector is shortened to
`LIMIT tanh(|r| / LIMIT)`: brows, hair and highlights cannot dig. How skin varies in colour is one direction v of log
linear RGB (melanin, mostly): `W = (tau^2 v v^T + sigma^2 I)^-1` is generalised least squares with v's share as noise,
so that moles are albedo and grey differences are shading. Pixels count by how surely they show bare skin
(`faceinv.detail.confidence`), and all of them less, with a narrower low-pass, on rough skin.

`paper` (Guo et al. 2018, section 4): residuals are differences of colours; albedo and light are those of the fit, and
all that they do not explain becomes relief.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.detail.confidence import skin_confidence
from faceinv.detail.exposure import well_exposed
from faceinv.detail.smooth import MaskedMean
from faceinv.engine.blas import one_blas_thread
from faceinv.engine.detail import Bands, DetailProblem, DetailWeights
from faceinv.face.lighting import SH_COUNT, sh_basis

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.coarse import CoarseFace

__all__ = [
    "PAPER_WEIGHTS",
    "ROBUST_BANDS",
    "ROBUST_WEIGHTS",
    "SKIN_DIRECTION",
    "Skin",
    "fit_light",
    "has_colour",
    "paper_problem",
    "robust_problem",
]

ROBUST_WEIGHTS: Final = DetailWeights(
    size=0.0005,
    curvature=0.002,
    slope=0.006,
    steep=0.01,
    huber=0.04,
    curvature_softness=0.1,
    slope_softness=0.01,
    heavy_tails=True,
)
PAPER_WEIGHTS: Final = DetailWeights(
    size=2e-4,
    curvature=2e-4,
    slope=0.0,
    steep=0.0,
    huber=math.inf,
    curvature_softness=0.05,
    slope_softness=0.0316,
)
SKIN_DIRECTION: Final = (0.41, 0.59, 0.69)
"""v: first principal component of the high-passed log linear RGB of skin, over 19 portraits; others had .02 more or
less of each."""
SKIN_SPREAD: Final = 0.11
"""tau: the standard deviation along it."""
COLOUR_NOISE: Final = 0.025
"""sigma: across it, and of noise."""
LOWPASS: Final = 4.0
"""mm: sigma of the Gaussian."""
ROBUST_BANDS: Final = Bands(albedo=LOWPASS, relief=5.0)
"""Of `robust_problem`."""
LIMIT: Final = 0.6
"""Of relative residuals."""
_BLACK: Final = 2e-3
"""Of linear light: less has no colour."""
_ONE_COLOUR: Final = 0.03
"""The second standard deviation of log colours over the first, below which a photo has one colour only."""
_GREY: Final = 0.01
"""Mean difference of log colours below which they are greys."""
_TINT: Final = 1e-3
"""One less the cosine between grey and the direction in which colours vary, above which a photo may be tinted."""
_TEXTURE: Final = 0.004
"""Median of relative residuals in the band `_TEXTURE_MM` below which a skin is even."""
_TEXTURE_MM: Final = (0.5, 2.0)
"""mm: sigmas of the Gaussians whose difference is the band."""
_ROUGHEST: Final = 6.0
_LIGHT_SAMPLES: Final = 20000
_LIGHT_ITERATIONS: Final = 8
_LIGHT_RIDGE: Final = 1e-4
"""Of coefficients above the constant one, relative to the samples."""


@dataclass(frozen=True)
class Skin:
    """How the colour of skin varies, as log linear RGB."""

    direction: tuple[float, float, float] | None = SKIN_DIRECTION
    """v; None where colour tells nothing: then grey alone counts."""
    spread: float = SKIN_SPREAD
    noise: float = COLOUR_NOISE

    @property
    def metric(self) -> NDArray[np.float64]:
        """(3, 3) W, scaled so that all of its entries sum to 1, as a grey residual's would with equal shares."""
        if self.direction is None:
            return np.full((3, 3), 1 / 9)
        v = np.array(self.direction)
        inverse = np.linalg.inv(self.spread**2 * np.outer(v, v) + self.noise**2 * np.eye(3))
        scaled: NDArray[np.float64] = inverse / inverse.sum()
        return scaled


def has_colour(light: NDArray[np.float32]) -> bool:
    """Whether linear RGB (N, 3) of skin is more than one tone, bright and dark: greys are not, nor sepias."""
    logs = np.log(np.maximum(light[:: max(1, len(light) // _LIGHT_SAMPLES)], _BLACK), dtype=np.float64)
    if np.abs(logs - logs[:, 1:2]).mean() < _GREY:
        return False
    deviations, directions = np.linalg.eigh(np.cov(logs, rowvar=False))
    deviations = np.sqrt(np.maximum(deviations, 0.0))
    # Even skin varies in brightness alone, alike in all channels; the curves of a tinted grey differ.
    even = abs(directions[:, 2].sum()) / np.sqrt(3) > 1 - _TINT
    return bool(even or deviations[1] > _ONE_COLOUR * deviations[2])


@one_blas_thread()
def fit_light(
    light: NDArray[np.floating[Any]], basis: NDArray[np.float64], samples: int = _LIGHT_SAMPLES
) -> NDArray[np.float64]:
    """gamma (9, 3) of a white surface by iteratively reweighted least squares, L1-like beyond 1.5 medians.

    Args:
        light: (N, 3) linear RGB of pixels.
        basis: (N, 9) Y at their normals, less shadows where these are known.
        samples: every so many-th pixel is taken, so that these are left.
    """
    taken = slice(None, None, max(1, len(light) // samples))
    y, target = basis[taken], light[taken].astype(np.float64)
    ridge = np.diag([0.0] + [_LIGHT_RIDGE * len(y)] * (SH_COUNT - 1)) + 1e-9 * len(y) * np.eye(SH_COUNT)
    gamma = np.zeros((SH_COUNT, 3))
    for channel in range(3):
        weight = np.ones(len(y))
        for _ in range(_LIGHT_ITERATIONS):
            weighted = y * weight[:, None]
            gamma[:, channel] = np.linalg.solve(y.T @ weighted + ridge, weighted.T @ target[:, channel])
            off = np.abs(target[:, channel] - y @ gamma[:, channel])
            weight = 1 / np.maximum(1.0, off / max(1.5 * float(np.median(off)), 1e-9))
    return gamma


def robust_problem(
    coarse: CoarseFace, light: NDArray[np.float32], mask: NDArray[np.bool_], skin: Skin, weights: DetailWeights
) -> DetailProblem:
    """The default formulation, for one photo.

    Args:
        coarse: the coarse face.
        light: (S, S, 3) linear RGB of the photo.
        mask: (S, S): pixels that may have relief; not empty.
        skin: how its colour varies.
        weights: of the terms.
    """
    seen = light[mask]
    basis = sh_basis(coarse.normal[mask])
    gamma = fit_light(seen, basis)
    shading = np.maximum(basis @ gamma, _BLACK).astype(np.float32)
    ratio = np.zeros_like(light)
    ratio[mask] = np.log(np.maximum(seen, np.float32(_BLACK)) / shading)
    inside = mask.astype(np.float32)
    albedo = MaskedMean(inside, LOWPASS / coarse.pixel)(ratio)[mask]
    residual, greys = ratio[mask] - albedo, skin.metric.sum(axis=1).astype(np.float32)
    confidence = skin_confidence(mask, albedo, residual @ greys, coarse.pixel) * well_exposed(seen)
    trust = _trust(inside, residual @ greys, confidence, coarse.pixel)
    if trust < 1:
        residual = ratio[mask] - MaskedMean(inside, trust * LOWPASS / coarse.pixel)(ratio)[mask]
    # Relative to the coarse render rho S(n0): the target is exp(r) and the gain 1 / S(n0), whatever the albedo.
    target = np.exp(_limited(residual, residual @ greys))
    gain, counts = np.float32(1) / shading, trust * confidence
    return _problem(coarse, mask, gamma, skin.metric, weights, target, gain, counts, ROBUST_BANDS)


def paper_problem(
    coarse: CoarseFace,
    light: NDArray[np.float32],
    mask: NDArray[np.bool_],
    lighting: NDArray[np.float64],
    weights: DetailWeights,
) -> DetailProblem:
    """The paper's formulation, for one photo: `lighting` (9, 3) is the fit's, the rest as for `robust_problem`."""
    target, gain = light[mask], coarse.albedo[mask]
    if coarse.shadow is not None:
        target = target + gain * (coarse.shadow[mask] @ lighting).astype(np.float32)
    return _problem(coarse, mask, lighting, np.eye(3), weights, target, gain, np.ones(len(target), np.float32), None)


def _trust(
    inside: NDArray[np.float32], grey: NDArray[np.float32], confidence: NDArray[np.float32], pixel: float
) -> float:
    """How much colours count, and how far the low-pass reaches, from 1 for even skin down to `_ROUGHEST`^-1/4.

    The rougher skin is between some half and two millimetres everywhere (the median, which a few wrinkles do not move),
    the less does a difference of colours tell of relief.
    """
    square = np.zeros((*inside.shape, 1), np.float32)
    square[inside > 0, 0] = grey
    fine = MaskedMean(inside, max(_TEXTURE_MM[0] / pixel, 0.5))(square)
    band = np.abs(fine - MaskedMean(inside, _TEXTURE_MM[1] / pixel)(square))[inside > 0, 0]
    skin = confidence > 0.5
    if not skin.any():
        return 1.0
    return float(np.clip(np.median(band[skin]) / _TEXTURE, 1.0, _ROUGHEST) ** -0.25)


def _limited(residual: NDArray[np.float32], grey: NDArray[np.float32]) -> NDArray[np.float32]:
    """Residuals (N, 3) with vectors shortened; by channels it would change their colour."""
    length = np.maximum(np.abs(grey), np.sqrt((residual**2).sum(axis=1) / 3))
    factor = LIMIT * np.tanh(length / LIMIT) / np.maximum(length, 1e-6)
    shortened: NDArray[np.float32] = residual * factor[:, None].astype(np.float32)
    return shortened


def _problem(
    coarse: CoarseFace,
    mask: NDArray[np.bool_],
    lighting: NDArray[np.float64],
    metric: NDArray[np.float64],
    weights: DetailWeights,
    target: NDArray[np.float32],
    gain: NDArray[np.float32],
    confidence: NDArray[np.float32],
    bands: Bands | None,
) -> DetailProblem:
    """One item, from values of the mask's pixels (N, 3) and (N,)."""
    fields = {}
    weight = np.zeros((1, *mask.shape), np.float32)
    weight[0, mask] = confidence
    for name, values in (("target", target), ("gain", gain)):
        fields[name] = np.zeros((1, *mask.shape, 3), np.float32)
        fields[name][0, mask] = values
    camera = coarse.camera
    return DetailProblem(
        target=fields["target"],
        gain=fields["gain"],
        normal=coarse.normal[None],
        weight=weight,
        mask=mask[None],
        lighting=lighting[None],
        metric=metric[None],
        pixel=np.array([coarse.pixel]),
        principal_point=camera.centre[None],
        inverse_focal=np.array([float(camera.kappa) / float(camera.scale)]),
        weights=weights,
        bands=bands,
    )
