"""Who marks the 68 landmarks, where, and how surely.

iBUG / 300-W names 68 points; where on the skin each lies, everybody who marks them takes a little differently: by 2 to
3 mm on average, at brows by up to 7. Here each source's places are told relative to common ones, those of ICT-FaceKit's
published 68 vertices, which are the default model's inner landmarks too; those of other models are taken to lie there.
A fit then compares like with like. Of annotated landmarks nothing could be measured; they are taken to lie in the
common places.

The numbers are data: `faceinv/data/landmark_sources.json`, told in `faceinv/data/LANDMARK_SOURCES.md`.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, get_args

import numpy as np

from faceinv.face.landmarks68 import BROWS, JAW, OUTER_EYES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["LandmarkSource", "SourceName", "landmark_source"]

SourceName: TypeAlias = Literal["annotated", "face mesh", "face mesh outline", "small network"]
"""`annotated`: by people, or by whatever follows iBUG; `face mesh`: MediaPipe's Face Mesh V2, but its jaw, which is the
small network's; `face mesh outline`: with its own; `small network`: face-api's 68 points."""
_FILE: Final = "landmark_sources.json"
_USUAL_DISAGREEMENT: Final = 0.016
"""The largest on eight portraits; a mask or half a face give .027."""


@dataclass(frozen=True, eq=False)
class LandmarkSource:
    """What one source's landmarks mean.

    Lengths are shares of the distance between the outer eye corners, in 3D.
    """

    name: SourceName
    offsets: NDArray[np.float64]
    """(68, 3) from the common places to those that the source marks, x right, y up, z to the viewer in the face's
    frame; zeros for the jaw, whose points lie on the outline."""
    sigma: NDArray[np.float64]
    """(68,) standard deviation of a coordinate in the image, for a frontal face."""
    yaw_scale: float
    """Degrees; at a yaw (or pitch) of so many standard deviations have doubled."""

    @property
    def usual_sigma(self) -> float:
        """Of a source of this kind: the mean of the inner points but brows - of the face mesh, for all networks."""
        best = self if self.name == "annotated" else landmark_source("face mesh")
        return float(np.delete(best.sigma, np.r_[JAW, BROWS]).mean())

    def sigma_at(self, yaw: float, disagreement: float | None = None) -> NDArray[np.float64]:
        """(68,) standard deviations for a face turned by some degrees.

        Args:
            yaw: degrees from the front, of either sign.
            disagreement: of two views of the face (`Detection.disagreement`), where there were two: much above what is
                usual it tells of a face that is half hidden.
        """
        widened = self.sigma * (1 + (yaw / self.yaw_scale) ** 2)
        excess = 0.0 if disagreement is None else max(0.0, disagreement - _USUAL_DISAGREEMENT)
        wider: NDArray[np.float64] = np.hypot(widened, excess)
        return wider

    def offsets_on(self, model: MorphableModel) -> NDArray[np.float64]:
        """(68, 3) mm in model space: from the model's landmarks to the places that the source marks."""
        points = model.landmarks(model.mean)
        eyes = float(np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]]))
        offsets: NDArray[np.float64] = eyes * self.offsets
        return offsets


@functools.cache
def landmark_source(name: SourceName) -> LandmarkSource:
    """The source of that name.

    Raises:
        ValueError: for a name that is none of `SourceName`.
    """
    if name not in get_args(SourceName):
        raise ValueError(f"'{name}' is no source of landmarks; {', '.join(get_args(SourceName))} are.")
    stored = _content()["sources"][name]
    return LandmarkSource(name, _constant(stored["offsets"]), _constant(stored["sigma"]), float(stored["yaw_scale"]))


@functools.cache
def _content() -> Any:
    return json.loads((resources.files("faceinv") / "data" / _FILE).read_text(encoding="utf-8"))


def _constant(values: list[Any]) -> NDArray[np.float64]:
    array = np.array(values, dtype=np.float64)
    array.setflags(write=False)
    return array
