"""Relief found in a picture whose coarse face is known."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.detail.coarse import CoarseFace
from faceinv.detail.prepare import (
    PAPER_WEIGHTS,
    ROBUST_WEIGHTS,
    Skin,
    has_colour,
    paper_problem,
    robust_problem,
)
from faceinv.detail.solver import solve_detail
from faceinv.face.camera import Camera
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Formulation
    from faceinv.engine.interface import Engine

    Array = NDArray[np.float64]

__all__ = ["Found", "KnownCoarse", "find"]

_MARGIN: Final = 4


@dataclass(frozen=True)
class KnownCoarse:
    """A photo and the coarse face in it; (H, W, ...) arrays."""

    photo: NDArray[np.float32]
    """(H, W, 3) sRGB-encoded."""
    normals: Array
    """(H, W, 3) unit, camera frame."""
    mask: NDArray[np.bool_]
    """(H, W)."""
    mm_per_px: float
    albedo: Array
    """(H, W, 3) linear: what a fit knows of it, which is nothing of what is painted on it."""
    lighting: Array
    """(9, 3)."""
    inverse_focal: float = 0.0
    """1/px; 0 for weak perspective."""


@dataclass(frozen=True)
class Found:
    """What was found; (H, W, ...) arrays."""

    displacement: Array
    """mm towards the viewer; 0 where no relief was looked for."""
    normals: Array
    """The coarse ones where no relief was looked for."""
    mask: NDArray[np.bool_]
    """Where it was looked for."""
    seconds: dict[str, float] = field(default_factory=dict)
    """By stage."""
    inner: int = 0
    """Steps of conjugate gradients over all levels."""


def find(known: KnownCoarse, engine: Engine, formulation: Formulation = "robust") -> Found:
    """Relief of one picture, by the stage's own steps after the coarse face has been drawn."""
    rows, columns = np.nonzero(known.mask)
    top, left = max(0, rows.min() - _MARGIN), max(0, columns.min() - _MARGIN)
    size = int(max(rows.max() - top, columns.max() - left)) + 1 + _MARGIN
    height, width = known.mask.shape
    cut = np.s_[top : min(top + size, height), left : min(left + size, width)]

    def square(values: NDArray[np.generic], fill: float = 0.0) -> NDArray[np.float32]:
        out = np.full((size, size, *values.shape[2:]), fill, np.float32)
        window = values[cut]
        out[: window.shape[0], : window.shape[1]] = window
        return out

    mask = square(known.mask) > 0
    mask[[0, -1]] = mask[:, [0, -1]] = False
    normals = square(known.normals)
    normals[~mask] = [0.0, 0.0, 1.0]
    scale = 1.0 / known.mm_per_px
    middle = np.array([(width - 1) / 2 - left, (height - 1) / 2 - top])
    coarse = CoarseFace(
        crop=FaceCrop(float(left), float(top), float(size), size),
        camera=Camera(scale, np.eye(3), middle, known.inverse_focal * scale, middle),
        pixel=known.mm_per_px,
        mask=mask,
        normal=normals,
        depth=np.zeros((size, size), np.float32),
        albedo=square(known.albedo),
        shadow=None,
    )
    began = time.perf_counter()
    light = srgb_to_linear(square(known.photo))
    if formulation == "robust":
        skin = Skin() if has_colour(light[mask]) else Skin(None)
        problem = robust_problem(coarse, light, mask, skin, ROBUST_WEIGHTS)
    else:
        problem = paper_problem(coarse, light, mask, known.lighting, PAPER_WEIGHTS)
    prepared = time.perf_counter()
    solved = solve_detail(engine.detail, problem)
    ended = time.perf_counter()
    corners = solved.displacement[0]
    centres = (corners[:-1, :-1] + corners[1:, :-1] + corners[:-1, 1:] + corners[1:, 1:]) / 4
    shape = known.mask[cut].shape
    displacement, found = np.zeros((height, width)), known.normals.copy()
    displacement[cut] = np.where(mask, centres, 0.0)[: shape[0], : shape[1]]
    looked = np.zeros((height, width), np.bool_)
    looked[cut] = mask[: shape[0], : shape[1]]
    found[looked] = solved.normal[0][mask]
    return Found(
        displacement,
        found,
        looked,
        {"prepare": prepared - began, "solve": ended - prepared},
        sum(step.inner for step in solved.history[0]),
    )
