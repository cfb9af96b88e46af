"""The schedule: photo -> landmarks -> light -> everything together, from coarse to fine."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.interface import Engine
from faceinv.engine.records import Energy, EngineSettings, LandmarkPoints, Problem
from faceinv.engine.registry import build_engine, parse_backend
from faceinv.errors import InputError, NoFaceError
from faceinv.face.camera import WeakPerspective, axis_angle, fit_weak_perspective, rotation_matrix
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.fitting.config import FitConfig
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.result import FitResult
from faceinv.fitting.solver import Iteration, Solution, SolverSettings, gauss_newton
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.crop import FaceCrop, eye_distance
from faceinv.photo.detector import detect_faces
from faceinv.photo.pts import read_pts, validate_landmarks
from faceinv.photo.read import load_image, load_mask
from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Fitter", "Progress", "fit", "fit_faces"]

_POSE_ITERATIONS: Final = 15
_SHAPE_ITERATIONS: Final = 15
_LANDMARK_TOLERANCE: Final = 1e-3
"""Of the cost: the stage only begins a fit. One of 1e-4 took half as many steps again and ended in faces as good."""
_LIGHT_ITERATIONS: Final = 4
_START_RADIANCE: Final = 0.8
_COARSEST: Final = 28

Progress = Callable[[str, float], None]
"""Called with the name of the stage and the fraction of the fit that is done."""


@dataclass
class _Clock:
    """Seconds by stage."""

    seconds: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def lap(self, stage: str) -> None:
        now = time.perf_counter()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self._began
        self._began = now


@dataclass(frozen=True)
class _Photo:
    """One face of one photo, ready to be fitted."""

    pixels: NDArray[np.float32]
    """(H, W, 3) sRGB-encoded."""
    levels: tuple[tuple[NDArray[np.float32], NDArray[np.bool_]], ...]
    """From coarse to fine: (S, S, 3) the crop in the model's albedo space, (S, S) where it may be used."""
    landmarks: NDArray[np.float64]
    """(68, 2) photo px."""
    crop: FaceCrop


class Fitter:
    """A face model on an engine, ready to fit photos; make one to fit many.

    Args:
        model: `default`, a path to a model file or folder, or a model.
        backend: the engine, `engine[:device][:dtype]`.
        config: weights, sizes and limits.

    Raises:
        ModelError: when the model cannot be loaded.
        BackendError: when the engine is unknown, not installed or lacks the device.
    """

    def __init__(
        self,
        model: str | Path | MorphableModel = "default",
        backend: str = "numpy",
        config: FitConfig | None = None,
    ) -> None:
        spec = parse_backend(backend)
        self.config = config or FitConfig()
        self.model = model if isinstance(model, MorphableModel) else load_model(model)
        self.model_source = self.model.name if isinstance(model, MorphableModel) else str(model)
        self.backend = str(spec)
        settings = EngineSettings(normals=self.config.normals, assembly=self.config.assembly)
        self.engine: Engine = build_engine(spec, self.model, settings)
        self.layout = ParameterLayout.of(self.model)

    def fit(
        self,
        image: object,
        landmarks: object = None,
        *,
        mask: object = None,
        progress: Progress | None = None,
    ) -> FitResult:
        """Fit one face of one photo; see `faceinv.fit`."""
        return self.fit_batch([image], [landmarks], masks=[mask], progress=progress)[0]

    def fit_batch(
        self,
        images: Sequence[object],
        landmarks: Sequence[object] | None = None,
        *,
        masks: Sequence[object] | None = None,
        progress: Progress | None = None,
    ) -> list[FitResult]:
        """Fit one face in each of several photos together: one batch on the engine. Results equal single fits.

        Args:
            images: photos, each anything `faceinv.fit` accepts.
            landmarks: as many landmark sets, or None to find them.
            masks: as many masks or None.
            progress: told of stages.

        Raises:
            InputError: when lists differ in length or one input cannot be used.
            NoFaceError: when no face is found in one of the photos.
        """
        landmarks = [None] * len(images) if landmarks is None else landmarks
        masks = [None] * len(images) if masks is None else masks
        if not len(images) == len(landmarks) == len(masks) or not images:
            raise InputError(
                f"{len(images)} images, {len(landmarks)} landmark sets and {len(masks)} masks were given; "
                "expected as many of each, and at least one."
            )
        clock = _Clock()
        tell = progress or (lambda stage, done: None)
        tell("landmarks", 0.0)
        photos = self._prepare_all(images, landmarks, masks)
        clock.lap("landmarks")
        return self._solve(photos, clock, tell)

    def fit_faces(self, image: object, *, mask: object = None, progress: Progress | None = None) -> list[FitResult]:
        """Fit every face that is found in a photo, the largest first; see `faceinv.fit_faces`."""
        clock = _Clock()
        tell = progress or (lambda stage, done: None)
        loaded = load_image(image)
        found = detect_faces(loaded.pixels)
        if not found:
            raise _no_face(loaded.name)
        photos = [self._prepare(loaded.pixels, face.landmarks, mask) for face in found]
        clock.lap("landmarks")
        return self._solve(photos, clock, tell)

    # ---- photo -> landmarks -> crop

    def _prepare_all(
        self, images: Sequence[object], landmarks: Sequence[object], masks: Sequence[object]
    ) -> list[_Photo]:
        """Photos side by side: reading and resampling leave Python's lock free. The first error, in order, counts."""
        if len(images) == 1:
            return [self._prepare(images[0], landmarks[0], masks[0])]
        with ThreadPoolExecutor(min(len(images), os.cpu_count() or 1)) as pool:
            return list(pool.map(self._prepare, images, landmarks, masks))

    def _prepare(self, image: object, landmarks: object, mask: object) -> _Photo:
        loaded = load_image(image)
        if landmarks is None:
            found = detect_faces(loaded.pixels)
            if not found:
                raise _no_face(loaded.name)
            points = found[0].landmarks
        else:
            given = read_pts(landmarks) if isinstance(landmarks, str | Path) else landmarks
            points = validate_landmarks(given, loaded.size)  # type: ignore[arg-type]
        crop = FaceCrop.around(points, self.config.margin, _level_sizes(self.config)[-1])
        colours, usable = crop.cut(loaded.pixels)
        if mask is not None:
            chosen = load_mask(mask, loaded.size)
            share, _ = crop.cut(chosen.astype(np.float32)[..., None])
            usable &= share[..., 0] > 0.5
        if self.model.albedo_space == "linear":
            colours = srgb_to_linear(colours)
        colours = colours * np.float32(_white(self.config))
        levels = [(colours, usable)]
        for _ in _level_sizes(self.config)[1:]:
            levels.insert(0, _halved(*levels[0]))
        return _Photo(loaded.pixels, tuple(levels), points, crop)

    # ---- objective -> solver

    @one_blas_thread()
    def _solve(self, photos: list[_Photo], clock: _Clock, tell: Progress) -> list[FitResult]:
        config, bind = self.config, self.engine.differentiator
        sizes = _level_sizes(config)
        problems = [self._problem(photos, level) for level in range(len(sizes))]
        chi = self._from_landmarks(problems[0])
        clock.lap("landmark fit")
        solution: Solution | None = None
        history: list[list[Iteration]] = [[] for _ in photos]
        for level, (size, problem) in enumerate(zip(sizes, problems, strict=True)):
            tell(f"{size} px", (level + 1) / (len(sizes) + 1))
            if level:
                chi = self._rescale(chi, sizes[level - 1], size)
            else:
                chi = self._from_ambient_light(problem, chi)
                clock.lap("lighting")
            differentiator = whole = bind(problem)
            if config.occlusion_threshold:
                differentiator = whole.without_occluders(chi, config.occlusion_threshold)
            finest = level + 1 == len(sizes)
            settings = SolverSettings(
                max_iterations=config.iterations if finest else config.coarse_iterations,
                cost_tolerance=config.cost_tolerance,
                final_linearization=finest,
            )
            if finest or config.coarse_iterations:
                solution = gauss_newton(FaceObjective(differentiator), chi, settings)
                chi = solution.x
                for record in solution.history:
                    history[record.item].append(record)
            clock.lap(f"{size} px")
        assert solution is not None  # the finest level always runs
        rmse = whole.photometric_rmse(chi).tolist()
        # What may lie on a device comes to the host once for all items.
        hessian = self.engine.renderer.to_host(solution.linearization.hessian)
        marks = self._on_mesh(chi, solution.state.points)
        clock.lap("result")
        each = zip(photos, marks, hessian, history, rmse, strict=True)
        results = [
            self._result(photo, solution, item, mark, curvature, tuple(records), off, clock.seconds)
            for item, (photo, mark, curvature, records, off) in enumerate(each)
        ]
        tell("done", 1.0)
        return results

    def _problem(self, photos: list[_Photo], level: int) -> Problem:
        """The photos at a level, 0 being the coarsest."""
        config, size = self.config, _level_sizes(self.config)[level]
        points = [photo.crop.at(size).to_crop(photo.landmarks) for photo in photos]
        weights = np.ones((len(photos), 68))
        weights[:, :17] = config.jaw_weight
        weights[:, 17:27] = config.brow_weight
        unit = [1.0 if config.pixel_units else eye_distance(p) for p in points]
        return Problem(
            image=np.stack([photo.levels[level][0] for photo in photos]),
            mask=np.stack([photo.levels[level][1] for photo in photos]),
            landmarks=np.stack(points),
            landmark_weights=weights,
            eye_distance=np.array(unit),
            energy=Energy(
                photometric=config.photometric_weight,
                landmarks=config.landmark_weight,
                identity=config.identity_weight,
                expression=config.expression_weight,
                albedo=config.albedo_weight,
                lighting=config.lighting_weight,
                huber_delta=config.huber_delta * _white(config),
            ),
            white=_white(config),
        )

    def _from_landmarks(self, problem: Problem) -> NDArray[np.float64]:
        """Pose, then shape, from the 68 points alone, under stronger priors."""
        layout, model, factor = self.layout, self.model, self.config.landmark_prior_factor
        chi = np.zeros((len(problem.landmarks), layout.count))
        mean_points = model.landmarks(model.mean)
        for item, (points, weights) in enumerate(zip(problem.landmarks, problem.landmark_weights, strict=True)):
            _put_camera(chi[item], layout, fit_weak_perspective(mean_points[17:], points[17:], weights[17:]))
        energy = replace(
            problem.energy,
            photometric=0.0,
            identity=factor * problem.energy.identity,
            expression=factor * problem.energy.expression,
        )
        bare = self.engine.differentiator(replace(problem, energy=energy))
        for iterations, free in (
            (_POSE_ITERATIONS, layout.mask(layout.pose)),
            (_SHAPE_ITERATIONS, layout.mask(layout.shape, layout.pose)),
        ):
            settings = SolverSettings(iterations, _LANDMARK_TOLERANCE, final_linearization=False)
            chi = gauss_newton(FaceObjective(bare, free), chi, settings).x
        return chi

    def _from_ambient_light(self, problem: Problem, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """Lighting alone, from even light; where occluders matter, by the pixels that are sure to be face."""
        layout = self.layout
        chi = chi.copy()
        chi[:, layout.lighting] = ambient(_START_RADIANCE * problem.white).T.ravel()
        sure = replace(problem, mask=problem.mask & problem.hull) if self.config.occlusion_threshold else problem
        objective = FaceObjective(self.engine.differentiator(sure), layout.mask(layout.lighting))
        settings = SolverSettings(_LIGHT_ITERATIONS, 1e-3, initial_damping=0.0, final_linearization=False)
        return gauss_newton(objective, chi, settings).x

    def _rescale(self, chi: NDArray[np.float64], old: int, new: int) -> NDArray[np.float64]:
        """The same faces in crop pixels of another size."""
        layout, ratio = self.layout, new / old
        chi = chi.copy()
        chi[:, layout.log_scale] += math.log(ratio)
        chi[:, layout.translation] = (chi[:, layout.translation] + 0.5) * ratio - 0.5
        return chi

    # ---- result

    def _on_mesh(self, chi: NDArray[np.float64], points: LandmarkPoints) -> list[NDArray[np.float64]]:
        """(68, 3) mm for each item: the landmark points, from the vertices that carry them alone."""
        model, layout = self.model, self.layout
        marks = []
        for x, at, weights in zip(chi, points.vertices, points.weights, strict=True):
            moved = model.identity_basis[at] @ x[layout.identity] + model.expression_basis[at] @ x[layout.expression]
            marks.append((weights[..., None] * (model.mean[at] + moved)).sum(axis=1))
        return marks

    def _result(
        self,
        photo: _Photo,
        solution: Solution,
        item: int,
        landmarks3d: NDArray[np.float64],
        hessian: NDArray[np.float64],
        history: tuple[Iteration, ...],
        rmse: float,
        timings: dict[str, float],
    ) -> FitResult:
        layout, chi, cost = self.layout, solution.x[item], solution.cost
        crop_camera = WeakPerspective(
            float(layout.scale(chi)), rotation_matrix(chi[layout.rotation]), chi[layout.translation].copy()
        )
        camera = photo.crop.camera_to_photo(crop_camera)
        landmarks2d = camera.project(landmarks3d)[:, :2]
        gap = np.linalg.norm(landmarks2d - photo.landmarks, axis=1)[17:].mean()
        outer = float(np.linalg.norm(photo.landmarks[36] - photo.landmarks[45]))
        height, width = photo.pixels.shape[:2]
        return FitResult(
            identity=chi[layout.identity].copy(),
            expression=chi[layout.expression].copy(),
            albedo_coefficients=chi[layout.albedo].copy(),
            camera=camera,
            lighting=layout.gamma(chi) / _white(self.config),
            landmarks_target=photo.landmarks,
            landmarks2d=landmarks2d,
            landmarks3d=landmarks3d,
            cost=float(cost.total[item]),
            cost_photometric=float(cost.photometric[item]),
            cost_landmarks=float(cost.landmarks[item]),
            cost_prior=float(cost.prior[item]),
            photometric_rmse=rmse,
            landmark_error=float(gap) / max(outer, 1e-9),
            status=solution.status[item],
            model=self.model,
            model_source=self.model_source,
            shading=self.config.normals,
            backend=self.backend,
            version=__version__,
            image_size=(width, height),
            hessian=hessian.copy(),
            prior_weight=self.config.identity_weight,
            history=history,
            timings=dict(timings),
            photo=photo.pixels,
        )


def _white(config: FitConfig) -> float:
    """The value of white in problems."""
    return 255.0 if config.pixel_units else 1.0


def _level_sizes(config: FitConfig) -> list[int]:
    """Image sizes from coarse to fine, each twice the one before; at least `_COARSEST` where there are several.

    The finest is the configured size, rounded to what halves evenly.
    """
    levels = config.levels
    while levels > 1 and config.size / 2 ** (levels - 1) < _COARSEST:
        levels -= 1
    coarsest = round(config.size / 2 ** (levels - 1))
    return [coarsest * 2**k for k in range(levels)]


def _halved(colours: NDArray[np.float32], usable: NDArray[np.bool_]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A photo (2n, 2n, 3) at half its size, by averages of four pixels; a pixel counts if all four do."""
    rows = colours[::2] + colours[1::2]
    averaged: NDArray[np.float32] = np.float32(0.25) * (rows[:, ::2] + rows[:, 1::2])
    whole = usable[::2] & usable[1::2]
    return averaged, whole[:, ::2] & whole[:, 1::2]


def _put_camera(chi: NDArray[np.float64], layout: ParameterLayout, camera: WeakPerspective) -> None:
    chi[layout.log_scale] = math.log(camera.scale)
    chi[layout.rotation] = axis_angle(camera.rotation)
    chi[layout.translation] = camera.translation


def _no_face(name: str) -> NoFaceError:
    return NoFaceError(
        f"no face was found in '{name}'. Give a photo in which the face is upright, in view and at least 40 px wide, "
        "or give its 68 landmarks."
    )


@lru_cache(maxsize=4)
def _shared(model: str, changed: tuple[str, int], backend: str, config: FitConfig) -> Fitter:
    """Repeated calls of `fit` share the loaded model and the engine, until the model's file changes."""
    return Fitter(model, backend, config)


def _state_of_file(model: str) -> tuple[str, int]:
    """Where a model's file is and when it was last changed; nothing for a name."""
    path = Path(model)
    return (str(path.resolve()), path.stat().st_mtime_ns) if path.exists() else ("", 0)


def _fitter(model: str | Path | MorphableModel, backend: str, config: FitConfig | None) -> Fitter:
    if isinstance(model, MorphableModel):
        return Fitter(model, backend, config)
    return _shared(str(model), _state_of_file(str(model)), backend, config or FitConfig())


def fit(
    image: object,
    landmarks: object = None,
    *,
    model: str | Path | MorphableModel = "default",
    backend: str = "numpy",
    config: FitConfig | None = None,
    mask: object = None,
    progress: Progress | None = None,
) -> FitResult:
    """Find the 3D face behind a photo.

    Args:
        image: a path, a PIL image, or an array (H, W, 3) of uint8 or of floats in [0, 1] (sRGB-encoded).
        landmarks: (68, 2) px in iBUG/300-W order, 0-based, or the path of a `.pts` file; None to find the largest face.
        model: `default`, a path to a model file or folder, or a loaded model.
        backend: the engine, `engine[:device][:dtype]`, such as `numpy` or `torch:cuda:0`.
        config: weights, sizes and limits; None for the defaults.
        mask: pixels of the photo that may be used (path, PIL image or array); None for all.
        progress: told the stage and the fraction done.

    Returns:
        The face, its camera and its light; positions are in the pixels of the photo.

    Raises:
        InputError: when the photo, landmarks or mask cannot be used.
        NoFaceError: when no landmarks are given and no face is found.
        ModelError: when the model cannot be loaded.
        BackendError: when the engine is unknown, not installed or lacks the device.
    """
    return _fitter(model, backend, config).fit(image, landmarks, mask=mask, progress=progress)


def fit_faces(
    image: object,
    *,
    model: str | Path | MorphableModel = "default",
    backend: str = "numpy",
    config: FitConfig | None = None,
    mask: object = None,
    progress: Progress | None = None,
) -> list[FitResult]:
    """Find every face of a photo, the largest first. Arguments and errors are those of `fit`."""
    return _fitter(model, backend, config).fit_faces(image, mask=mask, progress=progress)
