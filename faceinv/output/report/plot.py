"""How the cost fell, as lines for an SVG in a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from faceinv.output.report.content import Step

__all__ = ["Plot", "convergence"]

WIDTH: Final = 560
HEIGHT: Final = 280
_LEFT: Final = 46
_RIGHT: Final = 10
_TOP: Final = 24
_BOTTOM: Final = 30
_STAGE_GAP: Final = 0.5
"""Of a step, between two stages."""


@dataclass(frozen=True)
class Series:
    """One quantity."""

    name: str
    lines: list[str]
    """Points of SVG; a line for each stage."""
    points: list[tuple[float, float, str]]
    """Where each value is, and what it says."""


@dataclass(frozen=True)
class Plot:
    """All in the SVG's own units."""

    series: list[Series]
    ticks: list[tuple[float, str]]
    """Heights, and the values there."""
    stages: list[tuple[float, float, str]]
    """Where each begins and ends, and its name."""
    left: float = _LEFT
    right: float = WIDTH - _RIGHT
    top: float = _TOP
    bottom: float = HEIGHT - _BOTTOM
    width: float = WIDTH
    height: float = HEIGHT


def convergence(steps: Sequence[Step]) -> Plot | None:
    """The cost and its parts before each step, on a logarithmic scale; None where there is nothing to draw.

    What is not positive has no place on such a scale, and is left out.
    """
    names = ["cost", *dict.fromkeys(name for step in steps for name in step.terms)]
    values = [[step.cost, *(step.terms.get(name, 0.0) for name in names[1:])] for step in steps]
    drawn = [value for row in values for value in row if 0 < value < math.inf]
    if not drawn:
        return None
    low, high = math.log10(min(drawn)), math.log10(max(drawn))
    pad = 0.04 * max(high - low, 0.25)
    low, high = low - pad, high + pad
    places, stages = _places(steps)
    span = max(places[-1] + 0.5, 1.0)

    def x(place: float) -> float:
        return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (place + 0.5) / (span + 0.5), 1)

    def y(value: float) -> float:
        return round(HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (math.log10(value) - low) / (high - low), 1)

    series = []
    for column, name in enumerate(names):
        lines: dict[str, list[str]] = {}
        points = []
        for number, (step, row, place) in enumerate(zip(steps, values, places, strict=True), 1):
            if 0 < row[column] < math.inf:
                at = x(place), y(row[column])
                lines.setdefault(step.stage, []).append(f"{at[0]:g},{at[1]:g}")
                points.append((*at, f"step {number}, {step.stage}: {name} {row[column]:.4g}"))
        series.append(Series(name, [" ".join(line) for line in lines.values()], points))
    ticks = [(y(value), f"{value:g}") for value in _ticks(low, high)]
    return Plot(series, ticks, [(x(first - 0.5), x(last + 0.5), name) for first, last, name in stages])


def _places(steps: Sequence[Step]) -> tuple[list[float], list[tuple[float, float, str]]]:
    """Where each step is, and the first and last place of each stage."""
    places: list[float] = []
    stages: list[tuple[float, float, str]] = []
    for index, step in enumerate(steps):
        fresh = index == 0 or step.stage != steps[index - 1].stage
        place = 0.0 if index == 0 else places[-1] + 1 + (_STAGE_GAP if fresh else 0.0)
        places.append(place)
        stages = [*stages, (place, place, step.stage)] if fresh else [*stages[:-1], (stages[-1][0], place, step.stage)]
    return places, stages


def _ticks(low: float, high: float) -> list[float]:
    """Round values between powers of ten: decades where they are enough, else 1, 2 and 5 of each."""
    decades = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        chosen = [digit * 10.0**power for power in decades for digit in digits]
        chosen = [value for value in chosen if low <= math.log10(value) <= high]
        if len(chosen) >= 3:
            return chosen
    return chosen
