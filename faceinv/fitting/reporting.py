"""A result as the content of a report."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.camera import euler_angles
from faceinv.output.report.content import ReportContent, Step
from faceinv.version import library_versions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faceinv.fitting.result import FitResult
    from faceinv.fitting.solver import Iteration

__all__ = ["report_content"]

_SOURCES: Final = {
    "weak": "infinitely far away",
    "distance": "the distance that was set",
    "estimated": "the fit's estimate",
    "exif": "the photo's EXIF",
    "focal_length": "the focal length that was given",
    "intrinsics": "the intrinsics that were given",
}


def report_content(
    result: FitResult,
    title: str,
    files: Mapping[str, str] | None = None,
    seconds: Mapping[str, float] | None = None,
    versions: Mapping[str, str] | None = None,
) -> ReportContent:
    """What a report shows of a result.

    Args:
        result: the result, with its photo where pictures are wanted.
        title: what the page is called.
        files: names of files beside the page, by what they are.
        seconds: by stage, where the result itself does not know them.
        versions: those of the time of the fit; None for those of now.
    """
    timings = result.timings or dict(seconds or {})
    return ReportContent(
        title=title,
        model=result.model,
        face=result.face,
        shading=result.shading,
        photo=result.photo,
        given=result.landmarks_target,
        fitted=result.landmarks2d,
        deviation=result.vertex_std() if np.isfinite(result.hessian).all() else None,
        message=result.status.value,
        success=result.status.success,
        warnings=result.warnings,
        steps=_steps(result.history, timings),
        facts=_facts(result),
        seconds=timings,
        versions=library_versions(result.backend) if versions is None else versions,
        files=dict(files or {}),
    )


def _steps(history: Sequence[Iteration], timings: Mapping[str, float]) -> tuple[Step, ...]:
    """The history, with the names of its levels, which the clock knows."""
    levels = [name for name in timings if re.fullmatch(r"\d+ px", name)]
    level, steps = -1, []
    for number, record in enumerate(history):
        if number == 0 or record.index <= history[number - 1].index:
            level += 1
        stage = levels[level] if level < len(levels) else f"level {level + 1}"
        steps.append(Step(stage, record.cost, dict(record.terms), record.damping, record.accepted, record.seconds))
    return tuple(steps)


def _facts(result: FitResult) -> dict[str, dict[str, str]]:
    camera, (width, height) = result.camera, result.image_size
    pitch, yaw, roll = (math.degrees(angle) for angle in euler_angles(camera.rotation))
    pose = {
        "yaw": f"{yaw:.1f}°",
        "pitch": f"{pitch:.1f}°",
        "roll": f"{roll:.1f}°",
        "scale": f"{camera.scale:.3f} px/mm",
    }
    lens = {"known from": _SOURCES[result.camera_source]}
    if camera.kappa > 0:
        lens = {"distance": f"{camera.distance:.0f} mm", "focal length": f"{camera.focal_length:.0f} px", **lens}
    return {
        "Fit": {
            "photometric RMSE": f"{result.photometric_rmse:.4f} (linear RGB)",
            "landmarks off by": f"{result.landmark_error:.2%} of the eye distance",
            "cost": f"{result.cost:.1f}",
            "of colours": f"{result.cost_photometric:.1f}",
            "of landmarks": f"{result.cost_landmarks:.1f}",
            "of priors": f"{result.cost_prior:.1f}",
        },
        "Pose": pose,
        "Camera": lens,
        "Made with": {
            "photo": f"{width} x {height} px",
            "model": result.model_source if result.model_source == result.model.name else result.model.name,
            "engine": result.backend,
            "normals": result.shading,
            "faceinv": result.version,
        },
    }
