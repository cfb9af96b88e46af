"""A face model on an engine, ready to fit photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import lru_cache
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from faceinv.engine.records import EngineSettings
from faceinv.engine.registry import build_engine, parse_engine
from faceinv.errors import FaceinvError, InputError
from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.formats import DEFAULT, load_model
from faceinv.face.landmarks68 import INNER, OUTER_EYES
from faceinv.face.layout import ParameterLayout
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face
from faceinv.fitting.config import FitConfig
from faceinv.fitting.detail import add_detail
from faceinv.fitting.extension import extended, field_amplitude
from faceinv.fitting.result import CameraSource, FitResult
from faceinv.fitting.side_by_side import side_by_side
from faceinv.fitting.stages import Fitted, Progress, fit_stages, level_sizes, white_of
from faceinv.photo.prepare import CropSettings, Prepared, prepare, prepare_faces
from faceinv.photo.pts import LandmarksLike
from faceinv.photo.read import ImageLike, MaskLike
from faceinv.version import __version__

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from faceinv.engine.interface import Engine

__all__ = ["Fitter", "fit", "fit_faces"]

_T = TypeVar("_T")


class Fitter:
    """A face model on an engine, ready to fit photos; make one to fit many.

    Args:
        model: `default`, a path to a model file or folder, or a model.
        backend: the engine, `engine[:device][:dtype]`.
        config: standard deviations, sizes and limits: a `FitConfig`, or a mapping of its fields; None for the defaults.

    Attributes:
        model: the model with what a fit adds to it: an albedo field and self-occlusion, as the configuration says.

    Raises:
        ModelError: when the model cannot be loaded.
        BackendError: when the engine is unknown, not installed or lacks the device.
        ConfigError: when the configuration has unknown keys or values out of range.
    """

    def __init__(
        self,
        model: str | Path | MorphableModel = "default",
        backend: str = "numpy",
        config: FitConfig | Mapping[str, Any] | None = None,
    ) -> None:
        spec = parse_engine(backend)
        self.config = FitConfig.of(config)
        self._given = model if isinstance(model, MorphableModel) else load_model(model)
        self.albedo_field = field_amplitude(self._given, self.config.albedo_field)
        self.model = extended(self._given, self.albedo_field, self.config.self_occlusion)
        self.model_source = self.model.name if isinstance(model, MorphableModel) else _source_of(model)
        self.backend = str(spec)
        settings = EngineSettings(normals=self.config.normals, assembly=self.config.assembly)
        self.engine: Engine = build_engine(spec, fit_mesh(self.model), settings)
        self.layout = ParameterLayout.of(self.model)

    def __reduce__(self) -> tuple[Callable[..., Fitter], tuple[object, ...]]:
        # The engine is built anew where the copy is. The model travels, as its file may not be there.
        packaged = self.model_source == DEFAULT and self._given is load_model(DEFAULT)
        # With its occlusion, which takes seconds to find.
        model = DEFAULT if packaged else extended(self._given, 0.0, self.config.self_occlusion)
        return _rebuilt, (model, self.model_source, self.backend, self.config)

    def fit(
        self,
        image: ImageLike,
        landmarks: LandmarksLike | None = None,
        *,
        mask: MaskLike | None = None,
        intrinsics: ArrayLike | None = None,
        progress: Progress | None = None,
    ) -> FitResult:
        """Fit one face of one photo; see `faceinv.fit`."""
        tell = progress or _silent
        tell("landmarks", 0.0)
        return self.solve([self.prepare(image, landmarks, mask, intrinsics)], tell)[0]

    def fit_batch(
        self,
        images: Iterable[ImageLike],
        landmarks: Iterable[LandmarksLike | None] | None = None,
        *,
        masks: Iterable[MaskLike | None] | None = None,
        progress: Progress | None = None,
    ) -> list[FitResult | FaceinvError]:
        """Fit one face in each of several photos. Results equal single fits.

        An engine on a GPU has them as one batch. On the `numpy` engine each core fits a photo by itself, and memory
        grows with the results alone.

        Args:
            images: photos, each anything `faceinv.fit` accepts; a generator is read to its end.
            landmarks: as many landmark sets, each possibly None, or None to find them.
            masks: as many masks, each possibly None, or None.
            progress: told of stages, or how many photos are finished; always in the thread that calls.

        Returns:
            For each photo its result, or the error that kept it from being fitted, which names the item: one photo that
            cannot be used does not cost the others.

        Raises:
            InputError: when the arguments differ in length or hold nothing.
            BackendError: when the engine fails, which ends the whole batch.
        """
        images = list(images)
        marks = list(repeat(None, len(images)) if landmarks is None else landmarks)
        usable = list(repeat(None, len(images)) if masks is None else masks)
        if not len(images) == len(marks) == len(usable) or not images:
            raise InputError(
                f"{len(images)} images, {len(marks)} landmark sets and {len(usable)} masks were given; "
                "expected as many of each, and at least one."
            )

        def prepared(number: int) -> Prepared | FaceinvError:
            try:
                return self.prepare(images[number], marks[number], usable[number])
            except FaceinvError as error:
                error.args = (f"item {number}: {error}",)
                return error

        tell = progress or _silent
        tell("landmarks", 0.0)
        return self._solve(prepared, len(images), tell)

    def fit_faces(
        self, image: ImageLike, *, mask: MaskLike | None = None, progress: Progress | None = None
    ) -> list[FitResult]:
        """Fit every face that is found in a photo, the largest first; see `faceinv.fit_faces`."""
        return self.solve(prepare_faces(image, mask, self._crops), progress)

    def prepare(
        self,
        image: ImageLike,
        landmarks: LandmarksLike | None = None,
        mask: MaskLike | None = None,
        intrinsics: ArrayLike | None = None,
    ) -> Prepared:
        """Read a photo and find its face; `solve` does the rest. Safe to call from several threads.

        Raises:
            InputError: when the photo, landmarks, mask or intrinsics cannot be used.
            NoFaceError: when no landmarks are given and no face is found.
        """
        return prepare(image, landmarks, mask, self._crops, self.model.landmarks(self.model.mean), intrinsics)

    def solve(self, photos: Sequence[Prepared], progress: Progress | None = None) -> list[FitResult]:
        """Fit prepared photos, as `fit_batch` does.

        Raises:
            BackendError: when the engine fails.
        """
        results = self._solve(photos.__getitem__, len(photos), progress or _silent)
        return [result for result in results if isinstance(result, FitResult)]

    def _solve(
        self, prepared: Callable[[int], Prepared | FaceinvError], count: int, tell: Progress
    ) -> list[FitResult | FaceinvError]:
        """Results of photos that are prepared, or what is given in the place of one, in their order."""
        outcomes: list[FitResult | FaceinvError]
        if self.engine.batch_size > 1 or count < 2:
            photos = _by_threads(prepared, count)
            usable = {number: photo for number, photo in enumerate(photos) if isinstance(photo, Prepared)}
            results = self._together(usable, tell) if usable else {}
            outcomes = [results[n] if isinstance(photo, Prepared) else photo for n, photo in enumerate(photos)]
        else:

            def alone(number: int) -> FitResult | FaceinvError:
                photo = prepared(number)
                return self._together({number: photo}, _silent)[number] if isinstance(photo, Prepared) else photo

            outcomes = side_by_side(
                self.engine, alone, count, lambda done: tell(f"{done} of {count} photos", done / count)
            )
        tell("done", 1.0)
        return outcomes

    def _together(self, photos: Mapping[int, Prepared], tell: Progress) -> dict[int, FitResult]:
        """Results of photos by their numbers, from one batch on the engine."""
        fitted = fit_stages(self.engine, self.config, list(photos.values()), tell)
        results = [self._result(photo, fitted, item, n) for item, (n, photo) in enumerate(photos.items())]
        formulation = self.config.formulation
        if formulation is not None:
            tell("detail", 0.0)
            results = add_detail(self.engine, results, [photo.mask for photo in photos.values()], formulation)
        return dict(zip(photos, results, strict=True))

    @property
    def _crops(self) -> CropSettings:
        config = self.config
        linear = self.model.albedo_space == "linear"
        focal = config.focal_length_px or None
        return CropSettings(level_sizes(config), config.margin, linear, white_of(config), focal)

    def _result(self, photo: Prepared, fitted: Fitted, item: int, number: int) -> FitResult:
        """Of an item of a batch, whose photo has a number among all that were given."""
        solution, cost = fitted.solution, fitted.solution.cost
        seen = Face.unpack(self.layout, solution.x[item])
        face = Face(
            identity=seen.identity,
            expression=seen.expression,
            albedo=seen.albedo,
            camera=photo.crop.camera_to_photo(seen.camera),
            lighting=seen.lighting / white_of(self.config),
        )
        landmarks2d = face.camera.project(fitted.landmarks3d[item])[:, :2]
        marked = face.camera.project(fitted.landmarks3d[item] + fitted.landmark_offsets[item])[:, :2]
        target = photo.landmarks - (marked - landmarks2d)
        gap = np.linalg.norm(landmarks2d - target, axis=1)[INNER].mean()
        outer = float(np.linalg.norm(np.subtract(*target[list(OUTER_EYES)])))
        height, width = photo.pixels.shape[:2]
        return FitResult(
            face=face,
            landmarks_target=target,
            landmarks2d=landmarks2d,
            landmarks3d=fitted.landmarks3d[item],
            cost=float(cost.total[item]),
            cost_photometric=float(cost.terms["photometric"][item]),
            cost_landmarks=float(cost.terms["landmarks"][item]),
            cost_prior=float(cost.terms["prior"][item]),
            photometric_rmse=float(fitted.photometric_rmse[item]),
            landmark_error=float(gap) / max(outer, 1e-9),
            status=solution.status[item],
            model=self.model,
            model_source=self.model_source,
            shading=self.config.normals,
            backend=self.backend,
            version=__version__,
            image_size=(width, height),
            hessian=fitted.hessian[item].copy(),
            history=tuple(replace(record, item=number) for record in fitted.history[item]),
            timings={"landmarks": photo.seconds, **fitted.seconds},
            photo=photo.pixels,
            warnings=photo.warnings,
            camera_source=_camera_source(self.config, photo),
            albedo_field=self.albedo_field,
        )


def _by_threads(prepared: Callable[[int], _T], count: int) -> list[_T]:
    """Photos side by side: reading and resampling leave Python's lock free."""
    if count == 1:
        return [prepared(0)]
    with ThreadPoolExecutor(min(count, os.cpu_count() or 1)) as pool:
        return list(pool.map(prepared, range(count)))


def _camera_source(config: FitConfig, photo: Prepared) -> CameraSource:
    if config.camera == "weak":
        return "weak"
    if photo.lens.source != "unknown":
        return photo.lens.source
    return "estimated" if config.estimate_distance else "distance"


def _rebuilt(model: str | MorphableModel, model_source: str, backend: str, config: FitConfig) -> Fitter:
    """A `Fitter` from what one is pickled as."""
    fitter = Fitter(model, backend, config)
    fitter.model_source = model_source
    return fitter


def _silent(stage: str, done: float) -> None:
    """Progress that nobody wants to hear of."""


def _source_of(model: str | Path) -> str:
    """What results call the model: a path from anywhere, or a name."""
    named = str(model) == DEFAULT or not Path(model).exists()
    return str(model) if named else str(Path(model).resolve())


@lru_cache(maxsize=4)
def _shared(model: str, changed: tuple[str, int], backend: str, config: FitConfig) -> Fitter:
    """Repeated calls of `fit` share the loaded model and the engine, until the model's file changes."""
    return Fitter(model, backend, config)


def _state_of_file(model: str) -> tuple[str, int]:
    """Where a model's file is and when it was last changed; nothing for a name."""
    path = Path(model)
    return (str(path.resolve()), path.stat().st_mtime_ns) if path.exists() else ("", 0)


def _fitter(model: str | Path | MorphableModel, backend: str, config: FitConfig | Mapping[str, Any] | None) -> Fitter:
    if isinstance(model, MorphableModel):
        return Fitter(model, backend, config)
    return _shared(str(model), _state_of_file(str(model)), backend, FitConfig.of(config))


def fit(
    image: ImageLike,
    landmarks: LandmarksLike | None = None,
    *,
    model: str | Path | MorphableModel = "default",
    backend: str = "numpy",
    config: FitConfig | Mapping[str, Any] | None = None,
    mask: MaskLike | None = None,
    intrinsics: ArrayLike | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Find the 3D face behind a photo.

    Args:
        image: a path, the file's bytes, a file opened in binary mode, a PIL image, or an array (H, W, 3), RGB, of uint8
            or of floats in [0, 1] (sRGB-encoded).
        landmarks: (68, 2) px in iBUG/300-W order, 0-based, or the path of a `.pts`, `.npy`, `.csv`, `.txt` or `.json`
            file (`.pts` counts pixels from 1, the others from 0); None to find the largest face.
        model: `default`, a path to a model file or folder, or a loaded model.
        backend: the engine, `engine[:device][:dtype]`, such as `numpy` or `torch:cuda:0`.
        config: standard deviations, sizes and limits; None for the defaults.
        mask: pixels of the photo that may be used, given in the same ways as the photo; None for all.
        intrinsics: (3, 3) `K` of the photo's camera, in pixels of the upright photo, 0-based with centres at integers;
            None to take the focal length from `config`, else from the photo's EXIF, else from the distance in `config`,
            with the principal point in the middle.
        progress: told the stage and the fraction done.

    Returns:
        The face, its camera and its light; positions are in the pixels of the photo.

    Raises:
        InputError: when the photo, landmarks, mask or intrinsics cannot be used.
        NoFaceError: when no landmarks are given and no face is found.
        ModelError: when the model cannot be loaded.
        BackendError: when the engine is unknown, not installed or lacks the device.
    """
    return _fitter(model, backend, config).fit(image, landmarks, mask=mask, intrinsics=intrinsics, progress=progress)


def fit_faces(
    image: ImageLike,
    *,
    model: str | Path | MorphableModel = "default",
    backend: str = "numpy",
    config: FitConfig | Mapping[str, Any] | None = None,
    mask: MaskLike | None = None,
    progress: Progress | None = None,
) -> list[FitResult]:
    """Find every face of a photo, the largest first. Arguments and errors are those of `fit`."""
    return _fitter(model, backend, config).fit_faces(image, mask=mask, progress=progress)
