"""Lids that close or open further than in the photo, and eyeballs that come to light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.generate.regions import ramp

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.generate.regions import Regions

__all__ = ["Lids", "eyeball_reflectance"]

_STRETCH: Final = (0.2, 0.5)
"""Area in the photo over area on the surface: below the first a lid's picture is stretched too far to be used, from the
second on it is used."""
_SCLERA: Final = 65.0
"""Percentile of an eye's brightness that is taken for its white."""


@dataclass(frozen=True, eq=False)
class Lids:
    """How large the photo shows the triangles of the lids."""

    triangles: NDArray[np.int32]
    """(L, 3) vertices."""
    vertices: NDArray[np.int64]
    """(M,) the vertices they have."""
    in_photo: NDArray[np.float64]
    """(L,) mm^2: their areas as seen from the camera; 0 for those that face away."""

    @classmethod
    def of(
        cls,
        regions: Regions,
        triangles: NDArray[np.int32],
        vertices: NDArray[np.float64],
        rotation: NDArray[np.float64],
    ) -> Lids:
        """The lids of a photo's face: vertices (N, 3) mm, model space."""
        chosen = triangles[regions.lids[triangles].all(axis=1)]
        flat = (vertices @ rotation.T)[:, :2][chosen]
        first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
        area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
        return cls(chosen, np.unique(chosen), np.maximum(area / 2, 0.0))

    def usable(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M,) from 0 to 1, how far the photo's picture of the lids' vertices can be stretched over vertices (N, 3)."""
        corners = vertices[self.triangles]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        now = np.linalg.norm(across, axis=1) / 2
        place = np.searchsorted(self.vertices, self.triangles.ravel())
        count = len(self.vertices)
        shown = np.bincount(place, np.repeat(self.in_photo, 3), minlength=count)
        needed = np.bincount(place, np.repeat(now, 3), minlength=count)
        return ramp(shown / np.maximum(needed, 1e-9), *_STRETCH)


def eyeball_reflectance(
    regions: Regions,
    own: NDArray[np.float64],
    trust: NDArray[np.float64],
    albedo: NDArray[np.float64],
    mirror: NDArray[np.int32],
) -> NDArray[np.float64]:
    """(N, 3) for eyeballs where the photo does not show them: the white of the photo's eyes, so that no second iris
    appears beside the photo's; as the model paints them where the photo shows next to nothing of an eye.

    Args:
        regions: of the model.
        own: (N, 3) the photo's colours without their light.
        trust: (N,) in them.
        albedo: (N, 3) of the model.
        mirror: (N,) the model's.
    """
    result = albedo.copy()
    left = regions.eyes & (np.arange(len(mirror)) < mirror)
    for eye in (left, regions.eyes & ~left):
        seen = eye & (trust > 0.5)
        if seen.sum() < 12:
            continue
        bright = own[seen].sum(axis=1)
        white = own[seen][bright >= np.percentile(bright, _SCLERA)]
        result[eye] = np.median(white, axis=0)
    return result
