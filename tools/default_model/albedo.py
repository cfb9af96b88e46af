"""Albedo: the skins, painted, and their principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from paint import PAINTS
from principal import mix, positive_sign, principal_components
from texture import sample

if TYPE_CHECKING:
    from arrays import Bools, Floats
    from mesh import Mesh
    from paint import Paint
    from sources import Sources

__all__ = ["albedo_modes"]

SKIN_MODES: Final = 4
"""Principal components of the skins; the painted modes follow them."""
ALBEDO_REACH: Final = 2.4
"""Standard deviations of an albedo mode to the farthest skin, on the side where that is nearer."""


def albedo_modes(sources: Sources, mesh: Mesh, mask: Bools, areas: dict[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """The mean (N, 3), the modes (N, 3, K) in linear RGB, and cumulative variance (K,) among the skins.

    Dark and light skins count alike, whatever their number. A mode's standard deviation is that of the skins, but
    small enough that two standard deviations stay among the skins. Every skin is painted (`areas` (N,), by the names of
    `PAINTS`) before the components are taken, so that brows and lips fit dark and light skins; painted modes follow.
    """
    samples: list[Floats] = []
    for image in sources.skins.values():
        linear = _linear(image / 255.0)
        value = sample(linear, mesh)
        samples.append((value + value[mesh.mirror]) / 2)
    bare: Floats = np.stack(samples).round(5)
    skins = bare
    for name, paint in PAINTS.items():
        skins = skins + paint.typical * _painted(skins, paint, areas[name])
    skins = skins.round(5)
    dark: Bools = np.array(["darkskinned" in name for name in sources.skins])
    weights = np.empty(len(skins))
    weights[dark], weights[~dark] = 0.5 / dark.sum(), 0.5 / (~dark).sum()
    mean = _weighted(skins, weights)
    offsets: Floats = skins - mean
    seen = np.zeros(len(mean), dtype=np.bool_)
    seen[mesh.triangles[mask]] = True
    integers = np.rint(offsets[:, seen] * 10_000).astype(np.int64).reshape(len(skins), -1)
    values, mixtures = principal_components(integers, weights)
    modes = mix(offsets.reshape(len(skins), -1), mixtures[:, :SKIN_MODES])
    # Scores of the skins in standard deviations: root weights and eigenvectors undone.
    scores = mixtures[:, :SKIN_MODES] / weights[:, None]
    reach = np.minimum(scores.max(axis=0), -scores.min(axis=0))
    modes = modes * np.minimum(1.0, reach / ALBEDO_REACH)
    skin = _weighted(bare, weights)
    painted = [np.round(paint.deviation * _painted(skin, paint, areas[name]), 5) for name, paint in PAINTS.items()]
    return (
        mean,
        np.concatenate([positive_sign(modes.reshape(*mean.shape, SKIN_MODES)), np.stack(painted, axis=-1)], axis=-1),
        np.cumsum(values)[:SKIN_MODES] / values.sum(),
    )


def _weighted(skins: Floats, weights: Floats) -> Floats:
    """The weighted mean (N, 3) of skins (n, N, 3)."""
    mean: Floats = np.round(mix(skins.reshape(len(skins), -1), weights[:, None])[:, 0].reshape(skins.shape[1:]), 5)
    return mean


def _painted(skin: Floats, paint: Paint, area: Floats) -> Floats:
    """What full paint over an area (N,) adds to skin (..., N, 3)."""
    change: Floats = area[:, None] * (np.array(paint.cover) + (np.array(paint.tint) - 1.0) * skin)
    return change


def _linear(srgb: Floats) -> Floats:
    """sRGB in 0..1 to linear reflectance."""
    linear: Floats = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear
