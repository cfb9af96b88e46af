"""Albedo for models that come without: the default model's, carried over, or a plain skin tone."""

from __future__ import annotations

import logging
from typing import Final

import numpy as np
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.formats._default import default_model
from faceinv.face.formats._mesh import Surface
from faceinv.face.formats._register import register

__all__ = ["SKIN_TONE", "borrowed_albedo"]

SKIN_TONE: Final = (0.45, 0.28, 0.21)
"""Linear RGB of a medium skin, for a surface that the default model does not fit."""
_FITS_MM: Final = 6.0

_log = logging.getLogger(__name__)


def borrowed_albedo(
    vertices: NDArray[np.float64],
    triangles: NDArray[np.int64],
    landmarks: NDArray[np.float64],
    modes: int | None,
    name: str,
) -> tuple[str, NDArray[np.float32], NDArray[np.float32]]:
    """Colour space, mean albedo (N, 3) and albedo modes (N, 3, K) for a surface that has none.

    The default model is laid on the surface (see `_register`), and each vertex takes the albedo of the nearest point
    of it; what the default model does not cover (neck, back of the head) takes that of its border. Where the surfaces
    do not fit (more than 6 mm apart), and where the installation has no default model, the albedo is `SKIN_TONE` with
    one mode that makes all of it lighter or darker. A log message says so.

    Args:
        vertices: (N, 3) mm.
        triangles: (T, 3).
        landmarks: (68, 3) mm.
        modes: how many modes; None takes all the default model has.
        name: what the log calls the model.
    """
    try:
        default = default_model()
    except ModelError as error:
        _log.warning("model '%s' has no albedo and gets a plain skin tone: %s", name, error)
        return _plain(len(vertices), modes)
    laid = register(default, vertices, triangles, dict(enumerate(landmarks)))
    if laid.distance > _FITS_MM:
        _log.warning(
            "model '%s' has no albedo and gets a plain skin tone: the default model lies %.1f mm off it",
            name,
            laid.distance,
        )
        return _plain(len(vertices), modes)
    count = default.albedo_count if modes is None else min(modes, default.albedo_count)
    skin = default.triangles[default.part("skin")]
    points = Surface(laid.vertices, skin.astype(np.int64)).closest(vertices)
    corners, weights = skin[points.triangle], points.weights.astype(np.float32)
    mean = np.einsum("nk,nkd->nd", weights, default.mean_albedo[corners])
    albedo = np.zeros((len(vertices), 3, count), np.float32)
    for k in range(3):
        albedo += weights[:, k, None, None] * default.albedo_basis[corners[:, k], :, :count]
    return default.albedo_space, mean, albedo


def _plain(count: int, modes: int | None) -> tuple[str, NDArray[np.float32], NDArray[np.float32]]:
    mean = np.tile(np.array(SKIN_TONE, np.float32), (count, 1))
    return "linear", mean, (0.3 * mean)[:, :, None][:, :, : 1 if modes is None else modes].copy()
