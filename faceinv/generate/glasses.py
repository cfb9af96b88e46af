"""Frames of glasses in a photo: thin lines around the eyes that are no skin.

Who wears glasses has a line across the bridge of the nose, where no face has one. Then what hangs together with it and
is darker, or much brighter, than what lies some millimetres away on both sides, is frame, unless it is a brow or an
eye.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, grey_closing, grey_opening, label, maximum_filter

from faceinv.face.landmarks68 import EYES

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["frames"]

_ABOVE_MM: Final = 22.0
_BELOW_MM: Final = 32.0
_ASIDE_MM: Final = 85.0
"""From the middle between the eyes: where frames are."""
_LINE_MM: Final = 7.0
"""Frames are thinner."""
_BRIDGE_MM: Final = (7.0, 10.0, 14.0)
"""Half the width of the bridge, and how far above and below the eyes' line a frame may cross it."""
_CROSSES: Final = 0.3
"""Logarithm by which a line across the bridge is darker than skin."""
_SHARE: Final = 0.35
_DARKER: Final = (0.2, 0.3)
_BRIGHTER: Final = 0.35
"""Logarithms from which on a line is frame, where there are glasses: as a share of the bridge's, within limits."""
_GAP_MM: Final = 3.0
"""Half of the widest gap in a frame."""
_RIM_MM: Final = 1.3
_EYE_MM: Final = 2.5
_BROW_MM: Final = 4.0
"""Around eyes' outlines and brows' landmarks: what is dark there is lash or brow."""
_BROWS: Final = ((17, 18, 19, 20, 21), (22, 23, 24, 25, 26))


def frames(pixels: NDArray[np.float32], landmarks: NDArray[np.float64], px_per_mm: float) -> NDArray[np.float32] | None:
    """(S, S) from 0 to 1: pixels of frames; None where nobody wears any.

    Args:
        pixels: (S, S, C) linear RGB first.
        landmarks: (68, 2) px of the same.
        px_per_mm: of it.
    """
    eyes = [landmarks[part].mean(axis=0) for part in EYES]
    middle, apart = (eyes[0] + eyes[1]) / 2, eyes[1] - eyes[0]
    length = float(np.linalg.norm(apart))
    if length < 8 * px_per_mm:
        return None
    right = apart / length
    reach = (_ASIDE_MM + _BELOW_MM) * px_per_mm
    size = pixels.shape[0]
    low = np.clip(np.floor(middle - reach).astype(int), 0, size)
    high = np.clip(np.ceil(middle + reach).astype(int) + 1, 0, size)
    if (high - low < 8).any():
        return None
    area = slice(low[1], high[1]), slice(low[0], high[0])
    y, x = np.mgrid[area]
    along = ((x - middle[0]) * right[0] + (y - middle[1]) * right[1]) / px_per_mm
    down = ((y - middle[1]) * right[0] - (x - middle[0]) * right[1]) / px_per_mm
    logs = np.log(np.maximum(pixels[area][..., :3].mean(axis=2), 2e-3)).astype(np.float64)
    logs = gaussian_filter(logs, 0.4 * px_per_mm)
    side = max(3, 2 * round(_LINE_MM * px_per_mm / 2) + 1)
    darker = grey_closing(logs, (side, side)) - logs
    half, above, below = _BRIDGE_MM
    bridge = (down > -above) & (down < below)
    depth = _crossing(darker, along / half, bridge)
    if depth < _CROSSES:
        return None
    brighter = logs - grey_opening(logs, (side, side))
    found = (darker > np.clip(_SHARE * depth, *_DARKER)) | (brighter > _BRIGHTER)
    found &= (down > -_ABOVE_MM) & (down < _BELOW_MM) & (np.abs(along) < _ASIDE_MM)
    apart_px = _from_lines(landmarks - low, logs.shape)
    found &= (apart_px[0] > _EYE_MM * px_per_mm) & (apart_px[1] > _BROW_MM * px_per_mm)
    gap = max(3, 2 * round(_GAP_MM * px_per_mm) + 1)
    parts, _ = label(maximum_filter(found, gap))
    joined = np.unique(parts[found & bridge & (np.abs(along) < half)])
    found &= np.isin(parts, joined[joined > 0])
    wide = max(3, 2 * round(_RIM_MM * px_per_mm) + 1)
    soft = gaussian_filter(maximum_filter(found.astype(np.float32), wide), 0.5 * px_per_mm)
    result = np.zeros(pixels.shape[:2], np.float32)
    result[area] = np.clip(1.5 * soft, 0.0, 1.0)
    return result


def _crossing(darker: NDArray[np.float64], along: NDArray[np.float64], band: NDArray[np.bool_]) -> float:
    """How dark a line across the bridge is: in most columns of it, something is that much darker."""
    peaks = []
    for step in np.linspace(-1.0, 1.0, 9):
        column = band & (np.abs(along - step) < 0.12)
        peaks.append(float(darker[column].max()) if column.any() else 0.0)
    return float(np.quantile(peaks, 0.2))


def _from_lines(
    landmarks: NDArray[np.float64], shape: tuple[int, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(h, w) px from the eyes, inside of which it is 0, and (h, w) from the brows."""
    from PIL import Image, ImageDraw

    eyes, brows = (Image.new("L", (shape[1], shape[0]), 1) for _ in range(2))
    for part in EYES:
        ImageDraw.Draw(eyes).polygon([tuple(point) for point in landmarks[part].tolist()], fill=0)
    for brow in _BROWS:
        ImageDraw.Draw(brows).line([tuple(point) for point in landmarks[list(brow)].tolist()], fill=0, width=2)
    return tuple(np.asarray(distance_transform_edt(np.asarray(drawn) > 0), np.float64) for drawn in (eyes, brows))  # type: ignore[return-value]
