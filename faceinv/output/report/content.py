"""What a report shows of one fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from faceinv.engine.records import Normals
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["ReportContent", "Step"]


@dataclass(frozen=True)
class Step:
    """One step of the solver."""

    stage: str
    """Where in the schedule: steps of one stage minimise one cost, costs of different stages do not compare."""
    cost: float
    """E before the step."""
    terms: Mapping[str, float]
    """What `cost` is the sum of."""
    damping: float
    accepted: bool
    """Whether the step was taken."""
    seconds: float


@dataclass(frozen=True, eq=False)
class ReportContent:
    """A fitted face and what is said of it."""

    title: str
    """What the page is called: the photo's name."""
    model: MorphableModel
    face: Face
    """In the frame of the photo."""
    shading: Normals
    photo: NDArray[np.float32] | None
    """(H, W, 3) sRGB-encoded in [0, 1]; None where it is not at hand: the page then says so."""
    given: NDArray[np.float64]
    """(68, 2) px: the landmarks that were given or detected."""
    fitted: NDArray[np.float64]
    """(68, 2) px: the model's landmarks."""
    deviation: NDArray[np.float64] | None
    """(N,) mm along the normals; None where it is not known."""
    message: str
    """Why the fit stopped, a sentence."""
    success: bool
    warnings: tuple[str, ...] = ()
    steps: tuple[Step, ...] = ()
    facts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Tables by title: what and how much, ready to be read."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By stage."""
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of faceinv, Python and libraries."""
    files: Mapping[str, str] = field(default_factory=dict)
    """What lies beside the page: names of files by what they are."""
