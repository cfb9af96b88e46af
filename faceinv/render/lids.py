"""How well a photo shows lids that are to close further than in it.

An open eye's upper lid is folded away: a strip of some pixels, in the shade of its crease and of lashes, which would be
stretched over the whole of the shut lid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["Lids", "lids_when_shut", "moved_by_blinks"]

_STRETCH: Final = (0.2, 0.5)
"""Area in the photo over area on the surface: below the first a lid's picture is stretched too far to be used, from the
second on it is used."""
_STRETCH_SHUT: Final = (0.45, 0.85)
"""The same for heads that are to move: what is stretched is the shade of the crease, seen again and again."""
_BLINKS: Final = ("eyeBlinkLeft", "eyeBlinkRight")
_MOVED_MM: Final = 0.3
"""Lids are what a blink moves by more."""


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
        lids: NDArray[np.bool_],
        triangles: NDArray[np.int32],
        vertices: NDArray[np.float64],
        rotation: NDArray[np.float64],
    ) -> Lids:
        """The lids of a photo's face.

        Args:
            lids: (N,) which vertices belong to them.
            triangles: (T, 3) of the head.
            vertices: (N, 3) mm, model space, as in the photo.
            rotation: (3, 3) of the photo's camera.
        """
        chosen = triangles[lids[triangles].all(axis=1)]
        flat = (vertices @ rotation.T)[:, :2][chosen]
        first, second = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
        area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
        return cls(chosen, np.unique(chosen), np.maximum(area / 2, 0.0))

    def usable(self, vertices: NDArray[np.float64], stretch: tuple[float, float] = _STRETCH) -> NDArray[np.float64]:
        """(M,) from 0 to 1, how far the photo's picture of the lids' vertices can be stretched over vertices (N, 3)."""
        corners = vertices[self.triangles]
        across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        now = np.linalg.norm(across, axis=1) / 2
        place = np.searchsorted(self.vertices, self.triangles.ravel())
        count = len(self.vertices)
        shown = np.bincount(place, np.repeat(self.in_photo, 3), minlength=count)
        needed = np.bincount(place, np.repeat(now, 3), minlength=count)
        share = shown / np.maximum(needed, 1e-9)
        t = np.clip((share - stretch[0]) / (stretch[1] - stretch[0]), 0.0, 1.0)
        smooth: NDArray[np.float64] = t * t * (3 - 2 * t)
        return smooth


def moved_by_blinks(model: MorphableModel) -> NDArray[np.float64]:
    """(N, 3) mm, model space: how a blink of both eyes moves the vertices; 0 for a model whose eyes cannot shut."""
    units = model.expression_units
    if units is None or not set(_BLINKS) <= set(units.names):
        return np.zeros((model.vertex_count, 3))
    moved: NDArray[np.float64] = model.expression_basis @ units.coefficients(dict.fromkeys(_BLINKS, 1.0))
    return moved


def lids_when_shut(
    model: MorphableModel, face: Face, vertices: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """How a photo can be used on a head whose eyes will shut.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        vertices: (N, 3) mm of the face.

    Returns:
        (N,) from 0 to 1, how far the photo's colours can be used, and (N,) which vertices are the lids', whose colours
        in the photo, in the shade of crease and lashes, say nothing about what is folded away.
    """
    blink = moved_by_blinks(model)
    own, usable = np.linalg.norm(blink, axis=1) > _MOVED_MM, np.ones(model.vertex_count)
    lids = Lids.of(own, model.triangles, vertices, face.camera.rotation)
    if len(lids.triangles):
        rest = vertices - model.expression_basis @ face.expression
        usable[lids.vertices] = lids.usable(rest + blink, _STRETCH_SHUT)
    return usable, own
