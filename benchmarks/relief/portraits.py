"""Traced portraits with their true normals, as `render_relief.py` writes them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
from portraits.splits import split_files
from scipy.ndimage import binary_dilation

from faceinv.face.lighting import ambient
from relief.find import KnownCoarse

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["Portrait", "load_portraits"]

_STEP: Final = 1.5
"""mm of relief that no wrinkle has: there one of the two surfaces is seen past its own outline."""
_AROUND: Final = 3
"""px around such places that are not measured either."""


@dataclass(frozen=True)
class Portrait:
    """A traced portrait; (S, S, ...) arrays."""

    name: str
    light: str
    photo: NDArray[np.uint8]
    """(S, S, 3) sRGB."""
    landmarks: Array
    """(68, 2) px, with an annotator's scatter."""
    fine_normals: Array
    """(S, S, 3) unit, camera frame."""
    smooth_normals: Array
    """(S, S, 3) the same before wrinkles."""
    relief: Array
    """(S, S) mm towards the viewer; 0 where it is not measured."""
    measured: NDArray[np.bool_]
    """(S, S) skin of the face."""
    mm_per_px: float
    """At the middle of the face."""
    focal: float
    """px."""

    @property
    def wrinkled(self) -> bool:
        """Whether there is any relief."""
        return bool(self.relief.any())

    @property
    def known(self) -> KnownCoarse:
        """The portrait on its true smooth surface. Its albedo is taken for one grey."""
        photo = (self.photo / np.float32(255)).astype(np.float32)
        albedo = np.full(photo.shape, 0.4)
        return KnownCoarse(
            photo, self.smooth_normals, self.measured, self.mm_per_px, albedo, ambient(), 1.0 / self.focal
        )


def load_portraits(folder: Path, split: str, faces: int | None = None) -> list[Portrait]:
    """The portraits of a split, or the first of them.

    Raises:
        FileNotFoundError: when there are none.
    """
    return [_read(file) for file in split_files(folder, split, faces, "render_relief.py")]


def _read(file: Path) -> Portrait:
    with np.load(file) as stored:
        relief, measured = stored["relief"].astype(np.float64), stored["measured"]
        measured = measured & ~binary_dilation(np.abs(relief) > _STEP, iterations=_AROUND)
        return Portrait(
            name=str(stored["name"]),
            light=str(stored["light"]),
            photo=stored["image"],
            landmarks=stored["landmarks_annotated"],
            fine_normals=stored["fine_normals"].astype(np.float64),
            smooth_normals=stored["smooth_normals"].astype(np.float64),
            relief=np.where(measured, relief, 0.0),
            measured=measured,
            mm_per_px=float(stored["distance"] / stored["focal"]),
            focal=float(stored["focal"]),
        )
