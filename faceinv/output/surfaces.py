"""A model's surface as glTF and three.js want it: in pieces of one material, with one index a corner for everything.

Vertices on a seam of the texture are there once for each side. All of it follows from the model alone, and is found
once for each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.render.uv import texture_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["SURFACES", "Piece", "pieces_of"]

SURFACES: Final = {
    "skin": ("skin",),
    "mouth": ("mouth_inside", "tongue"),
    "teeth": ("upper_teeth", "lower_teeth"),
    "eyes": ("left_eye", "right_eye"),
    "lashes": ("lashes",),
}
"""What is of one material: its name, and the model's parts. Parts that are not named here are of the first."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a model's surface."""

    surface: str
    """Its material: a key of `SURFACES`."""
    part: str
    """The model's part, where a surface is split into parts; else the surface's name."""
    vertices: NDArray[np.intp]
    """(M,) the model's vertex of each of its own."""
    uv: NDArray[np.float64]
    """(M, 2) in the packed layout, v upwards."""
    triangles: NDArray[np.int32]
    """(T, 3) of its own vertices."""


_cache: WeakKeyDictionary[MorphableModel, dict[bool, tuple[Piece, ...]]] = WeakKeyDictionary()


def pieces_of(model: MorphableModel, single_eyes: bool = False) -> tuple[Piece, ...]:
    """The pieces that are not empty, in the order of `SURFACES`.

    Args:
        model: one without parts is all skin.
        single_eyes: each eye a piece.
    """
    known = _cache.setdefault(model, {})
    if single_eyes not in known:
        known[single_eyes] = tuple(_pieces(model, single_eyes))
    return known[single_eyes]


def _pieces(model: MorphableModel, single_eyes: bool) -> list[Piece]:
    layout = texture_layout(model)
    surface = _surface_of_triangles(model)
    pieces = []
    for number, (name, parts) in enumerate(SURFACES.items()):
        here = surface == number
        if name == "eyes" and single_eyes and here.any():
            chosen = [(part, model.part(part)) for part in parts if part in model.part_names]
        else:
            chosen = [(name, here)]
        for part, triangles in chosen:
            if triangles.any():
                corners = np.stack([model.triangles[triangles].ravel(), model.uv_triangles[triangles].ravel()], axis=1)
                pairs, index = np.unique(corners, axis=0, return_inverse=True)
                pieces.append(
                    Piece(
                        surface=name,
                        part=part,
                        vertices=pairs[:, 0].astype(np.intp),
                        uv=layout[pairs[:, 1]],
                        triangles=index.reshape(-1, 3).astype(np.int32),
                    )
                )
    return pieces


def _surface_of_triangles(model: MorphableModel) -> NDArray[np.integer[Any]]:
    """(T,) an index into `SURFACES`."""
    if model.triangle_parts is None:
        return np.zeros(len(model.triangles), np.intp)
    names = list(SURFACES)
    of_part = [next((k for k, n in enumerate(names) if part in SURFACES[n]), 0) for part in model.part_names]
    surface: NDArray[np.intp] = np.array(of_part, np.intp)[model.triangle_parts]
    return surface
