"""What the detail stage gives: relief on a fitted face, and how it was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

__all__ = ["FORMULATIONS", "Detail", "DetailMaps", "DetailStatus", "DetailStep", "Formulation", "Window"]

Formulation: TypeAlias = Literal["robust", "paper"]
FORMULATIONS: Final[tuple[Formulation, ...]] = ("robust", "paper")
Window: TypeAlias = tuple[int, int, int, int]
"""(top, left, bottom, right) px of the photo, the last two exclusive."""


class DetailStatus(Enum):
    """How the search for detail ended; the value is a sentence for people."""

    CONVERGED = "A step at full resolution changed the cost by less than the tolerance."
    ITERATION_LIMIT = "All steps were taken; more would change the relief a little."
    TOO_SMALL = "The face is smaller than 100 px, too small to show detail: the coarse surface is kept."
    NOTHING_SEEN = "No skin of the face is seen, or all of it is masked: the coarse surface is kept."

    @property
    def success(self) -> bool:
        """Whether there is relief."""
        return self in (DetailStatus.CONVERGED, DetailStatus.ITERATION_LIMIT)


@dataclass(frozen=True)
class DetailStep:
    """One linearisation and the step that came of it."""

    level: int
    """From 0, the coarsest."""
    cost: float
    """E before the step, over the pixels of the level."""
    inner: int
    """Steps of conjugate gradients."""
    length: float
    """By what the step was multiplied so that the cost went down; 0 for a step that was not taken."""


@dataclass(frozen=True, eq=False)
class DetailMaps:
    """Relief in the window of the photo that holds the face: (h, w, ...) float32, NaN where `mask` is false."""

    mask: NDArray[np.bool_]
    """(h, w): skin of the face, on which there is relief."""
    displacement: NDArray[np.float32]
    """(h, w) mm towards the viewer, along the camera's z."""
    coarse_depth: NDArray[np.float32]
    """(h, w) px, as `FitResult.depth`: larger is nearer."""
    coarse_normals: NDArray[np.float32]
    """(h, w, 3) unit, camera frame: x right, y up, z to the viewer."""
    normals: NDArray[np.float32]
    """(h, w, 3) the same, with relief."""

    def __post_init__(self) -> None:
        for array in (self.mask, self.displacement, self.coarse_depth, self.coarse_normals, self.normals):
            array.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Detail:
    """The relief that shading shows on a fitted face.

    What is stored covers the face's window of the photo only. `displacement`, `depth`, `normals` and so on show it in
    the frame of the whole photo, NaN outside the face; each call makes a new array, which of a large photo is large.

    Attributes:
        maps: relief in `window`.
        window: where it lies in the photo.
        image_size: (width, height) px of the photo.
        scale: px per mm of the photo's camera, at the depth of the model's origin.
        formulation: `robust` or `paper`: which energy was minimised.
        status: why the solver stopped; its value is a sentence, its `success` says whether there is relief.
        cost: E and its parts by name at the end, over the pixels that were solved for: `total`, `photometric`, `size`,
            `curvature`, `slope`. Empty without relief.
        history: every step, from coarse to fine.
        pixel: mm per pixel of the grid that was solved on; coarser than the photo's where its face is very large.
        colour_direction: (3,) unit: how the skin's log linear RGB varies, along which differences count as albedo; None
            where colours were not used.
        warnings: sentences on what the photo lacks, such as colour.
        kappa: 1/mm, of the photo's camera: one over its distance.
    """

    maps: DetailMaps = field(repr=False)
    window: Window
    image_size: tuple[int, int]
    scale: float
    formulation: Formulation
    status: DetailStatus
    cost: dict[str, float] = field(default_factory=dict)
    history: tuple[DetailStep, ...] = field(default=(), repr=False)
    pixel: float = 0.0
    colour_direction: NDArray[np.float64] | None = None
    warnings: tuple[str, ...] = ()
    kappa: float = 0.0

    @property
    def iterations(self) -> int:
        """Linearisations, over all levels."""
        return len(self.history)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """(H, W): skin of the face, on which there is relief."""
        return self._whole(self.maps.mask, False)

    @property
    def displacement(self) -> NDArray[np.float32]:
        """(H, W) mm towards the viewer, along the camera's z."""
        return self._whole(self.maps.displacement, np.nan)

    @property
    def coarse_depth(self) -> NDArray[np.float32]:
        """(H, W) px, as `FitResult.depth`: larger is nearer."""
        return self._whole(self.maps.coarse_depth, np.nan)

    @property
    def depth(self) -> NDArray[np.float32]:
        """(H, W) px: the coarse depth with relief."""
        # The camera's depth is z / (1 - kappa z) px, for z in mm times the scale.
        coarse = self.maps.coarse_depth
        z = coarse / np.float32(self.scale) / (1 + np.float32(self.kappa / self.scale) * coarse)
        z = z + self.maps.displacement
        return self._whole(np.float32(self.scale) * z / (1 - np.float32(self.kappa) * z), np.nan)

    @property
    def coarse_normals(self) -> NDArray[np.float32]:
        """(H, W, 3) unit, camera frame: x right, y up, z to the viewer."""
        return self._whole(self.maps.coarse_normals, np.nan)

    @property
    def normals(self) -> NDArray[np.float32]:
        """(H, W, 3) the same, with relief."""
        return self._whole(self.maps.normals, np.nan)

    def _whole(self, values: NDArray[Any], outside: float | bool) -> NDArray[Any]:
        width, height = self.image_size
        top, left, bottom, right = self.window
        whole = np.full((height, width, *values.shape[2:]), outside, values.dtype)
        whole[top:bottom, left:right] = values
        return whole
