"""The pixels inside the landmarks' convex hull."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull

from faceinv.photo.pts import Points

__all__ = ["inside_hull"]


def inside_hull(landmarks: Points, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """(H, W) the pixels inside the convex hull of landmarks (68, 2) px, for an image of size (H, W)."""
    picture = Image.new("1", (size[1], size[0]))
    outline = landmarks[ConvexHull(landmarks).vertices]
    ImageDraw.Draw(picture).polygon([(float(x), float(y)) for x, y in outline], fill=1)
    return np.asarray(picture)
