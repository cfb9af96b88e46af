"""The schedule: landmarks -> light -> everything together, from coarse to fine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.records import Energy, LandmarkPoints, Problem
from faceinv.face.camera import fit_weak_perspective
from faceinv.face.landmark_sources import landmark_source
from faceinv.face.landmarks68 import BROWS, INNER, JAW, JAW_COUNT, LANDMARK_COUNT
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.fitting.lenses import Lenses
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.solver import Iteration, Solution, SolverSettings, gauss_newton
from faceinv.photo.crop import eye_distance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import Engine
    from faceinv.face.model import MorphableModel
    from faceinv.fitting.config import FitConfig
    from faceinv.photo.prepare import Prepared

__all__ = [
    "Fitted",
    "Progress",
    "fit_stages",
    "level_sizes",
    "problem_at",
    "start_from_landmarks",
    "start_from_light",
    "white_of",
]

_POSE_ITERATIONS: Final = 15
_SHAPE_ITERATIONS: Final = 15
_LANDMARK_TOLERANCE: Final = 1e-3
"""Of the cost: the stage only begins a fit. One of 1e-4 took half as many steps again and ended in faces as good."""
_LIGHT_ITERATIONS: Final = 2
_START_RADIANCE: Final = 0.8
_COARSEST: Final = 28

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of the fit that is done."""


@dataclass(frozen=True)
class Fitted:
    """What the stages give for a batch, in pixels of the finest crops; host arrays."""

    solution: Solution
    """Of the finest level; `x` (B, P)."""
    history: tuple[tuple[Iteration, ...], ...]
    """Of each item, level after level."""
    landmarks3d: NDArray[np.float64]
    """(B, 68, 3) mm, model space: the landmark points on the mesh."""
    landmark_offsets: NDArray[np.float64]
    """(B, 68, 3) mm, model space: from these to what the source of the photo's landmarks marks."""
    hessian: NDArray[np.float64]
    """(B, P, P), zeros for what was held: principal points, and focal lengths that were not estimated."""
    photometric_rmse: NDArray[np.float64]
    """(B,)."""
    seconds: dict[str, float]
    """By stage, of the whole batch."""


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began
        self._began = now


def white_of(config: FitConfig) -> float:
    """The value of white in problems."""
    return 255.0 if config.units == "pixels" else 1.0


def level_sizes(config: FitConfig) -> tuple[int, ...]:
    """Image sizes from coarse to fine, each twice the one before; at least `_COARSEST` where there are several.

    The finest is the configured size, rounded to what halves evenly.
    """
    levels = config.levels
    while levels > 1 and config.size / 2 ** (levels - 1) < _COARSEST:
        levels -= 1
    coarsest = round(config.size / 2 ** (levels - 1))
    return tuple(coarsest * 2**k for k in range(levels))


@one_blas_thread()
def fit_stages(engine: Engine, config: FitConfig, photos: Sequence[Prepared], tell: Progress) -> Fitted:
    """Fit a batch of prepared photos."""
    clock, sizes, layout = _Clock(), level_sizes(config), engine.renderer.layout
    problems = [problem_at(config, engine.renderer.model, photos, level) for level in range(len(sizes))]
    lenses = Lenses(layout, config, photos)
    chi = start_from_landmarks(engine, config, problems[0], lenses)
    clock.lap("landmark fit")
    solution: Solution | None = None
    history: list[list[Iteration]] = [[] for _ in photos]
    for level, (size, problem) in enumerate(zip(sizes, problems, strict=True)):
        tell(f"{size} px", (level + 1) / (len(sizes) + 1))
        if level:
            chi = chi.copy()
            chi[:, layout.pose] = layout.camera.resized(chi[:, layout.pose], size / sizes[level - 1])
        chi = lenses.place(chi, size, keep_estimates=True)
        problem = lenses.with_prior(problem, chi)
        if not level:
            chi = start_from_light(engine, config, problem, chi)
            clock.lap("lighting")
        differentiator = whole = engine.differentiator(problem)
        if config.occluder_share:
            differentiator = whole.without_occluders(chi, config.occluder_share)
        finest = level + 1 == len(sizes)
        settings = SolverSettings(
            max_iterations=config.iterations if finest else config.coarse_iterations,
            cost_tolerance=config.cost_tolerance,
            final_linearization=finest,
        )
        if finest or config.coarse_iterations:
            objective = FaceObjective(differentiator, estimated=lenses.estimated)
            solution = gauss_newton(objective, chi, settings)
            chi = solution.x
            for record in solution.history:
                history[record.item].append(record)
        clock.lap(f"{size} px")
    assert solution is not None  # the finest level always runs
    rmse = whole.photometric_rmse(chi)
    # What may lie on a device comes to the host once for all items.
    hessian = engine.renderer.to_host(solution.linearization.hessian).copy()
    held = ~objective.free
    hessian[held] = 0.0
    hessian.transpose(0, 2, 1)[held] = 0.0
    landmarks3d = _on_mesh(engine, chi, solution.state.points)
    clock.lap("result")
    offsets = problems[-1].landmark_offsets
    return Fitted(solution, tuple(map(tuple, history)), landmarks3d, offsets, hessian, rmse, clock.seconds)


def problem_at(config: FitConfig, model: MorphableModel, photos: Sequence[Prepared], level: int) -> Problem:
    """The photos at a level, 0 being the coarsest."""
    size = level_sizes(config)[level]
    points = [photo.crop.at(size).to_crop(photo.landmarks) for photo in photos]
    mean_points = model.landmarks(model.mean)
    sigma = np.stack([_landmark_sigma(config, photo, mean_points) for photo in photos])
    offsets = [landmark_source(photo.source).offsets_on(model) for photo in photos]
    unit = [{"eyes": eye_distance(p), "image": float(size), "pixels": 1.0}[config.units] for p in points]
    return Problem(
        image=np.stack([photo.levels[level][0] for photo in photos]),
        mask=np.stack([photo.levels[level][1] for photo in photos]),
        landmarks=np.stack(points),
        landmark_sigma=sigma,
        landmark_offsets=np.stack(offsets),
        eye_distance=np.array(unit),
        energy=Energy(
            photometric=config.photometric_samples / config.photometric_sigma**2,
            identity=config.identity_sigma**-2,
            expression=config.expression_sigma**-2,
            albedo=config.albedo_sigma**-2,
            # In problems the light that shows white is as large as white.
            lighting=(config.lighting_sigma * white_of(config)) ** -2,
            huber_delta=config.huber_delta * white_of(config),
        ),
        white=white_of(config),
        hessian_step=max(1, round((size / config.hessian_size) ** 2)),
    )


def _landmark_sigma(config: FitConfig, photo: Prepared, mean_points: NDArray[np.float64]) -> NDArray[np.float64]:
    """(68,) in the configuration's units. By the source's table where these are eye distances; all alike in others,
    which belong to other people's settings."""
    source = landmark_source(photo.source)
    usual = config.landmark_sigma if photo.source == "annotated" else config.detected_landmark_sigma
    sigma = np.full(LANDMARK_COUNT, usual)
    if config.units == "eyes":
        pose = fit_weak_perspective(mean_points[INNER], photo.landmarks[INNER], np.ones(LANDMARK_COUNT - JAW_COUNT))
        toward = np.clip(pose.rotation[2, 2], -1.0, 1.0)
        sigma *= source.sigma_at(float(np.degrees(np.arccos(toward))), photo.disagreement) / source.usual_sigma
    sigma[JAW] *= config.jaw_factor
    sigma[BROWS] *= config.brow_factor
    return sigma


def start_from_landmarks(engine: Engine, config: FitConfig, problem: Problem, lenses: Lenses) -> NDArray[np.float64]:
    """Pose, then shape, from the 68 points alone, under stronger priors."""
    layout, model, factor = engine.renderer.layout, engine.renderer.model, config.landmark_prior_factor
    chi = np.zeros((len(problem.landmarks), layout.count))
    mean_points = model.landmarks(model.mean)
    for item, (points, sigma) in enumerate(zip(problem.landmarks, problem.landmark_sigma, strict=True)):
        # Points that do not count still say roughly where the face is, where there are no others.
        least = sigma[np.isfinite(sigma)].min(initial=1.0)
        weights = np.maximum(least / sigma, 1e-6) ** 2
        chi[item, layout.pose] = fit_weak_perspective(mean_points[INNER], points[INNER], weights[INNER]).pack()
    energy = replace(
        problem.energy,
        photometric=0.0,
        identity=factor * problem.energy.identity,
        expression=factor * problem.energy.expression,
    )
    chi = lenses.place(chi, problem.size[0])
    bare = engine.differentiator(replace(problem, energy=energy))
    for iterations, free in (
        (_POSE_ITERATIONS, layout.mask(layout.pose)),
        (_SHAPE_ITERATIONS, layout.mask(layout.shape, layout.pose)),
    ):
        settings = SolverSettings(iterations, _LANDMARK_TOLERANCE, final_linearization=False)
        chi = lenses.place(gauss_newton(FaceObjective(bare, free), chi, settings).x, problem.size[0])
    return chi


def start_from_light(
    engine: Engine, config: FitConfig, problem: Problem, chi: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Lighting alone, from even light; where occluders matter, by the pixels inside the landmarks' hull, and once more
    without what the first light cannot explain."""
    layout = engine.renderer.layout
    chi = chi.copy()
    chi[:, layout.lighting] = pack_lighting(ambient(_START_RADIANCE * problem.white))
    settings = SolverSettings(_LIGHT_ITERATIONS, 1e-3, initial_damping=0.0, final_linearization=False)
    free = layout.mask(layout.lighting)
    if not config.occluder_share:
        return gauss_newton(FaceObjective(engine.differentiator(problem), free), chi, settings).x
    sure = engine.differentiator(replace(problem, mask=problem.mask & problem.hull))
    chi = gauss_newton(FaceObjective(sure, free), chi, settings).x
    return gauss_newton(FaceObjective(sure.without_occluders(chi, config.occluder_share), free), chi, settings).x


def _on_mesh(engine: Engine, chi: NDArray[np.float64], points: LandmarkPoints) -> NDArray[np.float64]:
    """(B, 68, 3) mm: the landmark points, from the vertices that carry them alone."""
    model, layout = engine.renderer.model, engine.renderer.layout
    marks = []
    for x, at, weights in zip(chi, points.vertices, points.weights, strict=True):
        moved = model.identity_basis[at] @ x[layout.identity] + model.expression_basis[at] @ x[layout.expression]
        marks.append((weights[..., None] * (model.mean[at] + moved)).sum(axis=1))
    return np.stack(marks)
