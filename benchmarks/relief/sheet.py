"""Pictures of relief side by side: the photo, the true surface and what was found, in one grey and under one light."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["LAMPS", "relief_sheet", "shaded"]

LAMPS: Final = {"left": (-0.75, 0.35, 0.56), "above": (0.1, 0.8, 0.6), "right": (0.75, 0.2, 0.63)}
"""Towards lamps: x right, y up, z to the viewer."""
_GROUND: Final = 24


def shaded(
    normals: NDArray[np.floating], mask: NDArray[np.bool_], lamp: tuple[float, float, float] = LAMPS["left"]
) -> NDArray[np.uint8]:
    """(H, W, 3) sRGB of a matt grey surface with normals (H, W, 3), dark where the mask is false."""
    towards = np.array(lamp) / np.linalg.norm(lamp)
    light = 0.08 + 0.62 * np.maximum(np.nan_to_num(normals) @ towards, 0.0)
    grey = np.where(mask, np.rint(255 * light ** (1 / 2.2)), _GROUND)
    return np.repeat(grey[..., None], 3, axis=-1).astype(np.uint8)


def relief_sheet(rows: Sequence[Sequence[NDArray[np.uint8]]], side: int = 300) -> Image.Image:
    """Pictures (H, W, 3) in rows, each fitted into a square tile of `side` px."""
    width = max(len(row) for row in rows)
    whole = Image.new("RGB", (side * width, side * len(rows)), (_GROUND,) * 3)
    for y, row in enumerate(rows):
        for x, picture in enumerate(row):
            share = side / max(picture.shape[:2])
            size = max(1, round(share * picture.shape[1])), max(1, round(share * picture.shape[0]))
            tile = Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)
            whole.paste(tile, (x * side + (side - tile.width) // 2, y * side + (side - tile.height) // 2))
    return whole
