"""What a fit gives: the face, its camera and light, and how good the fit is."""

from __future__ import annotations

import dataclasses
import io
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias, cast, get_args

import numpy as np

from faceinv.engine.blas import one_blas_thread
from faceinv.engine.records import Normals
from faceinv.errors import InputError, ModelError
from faceinv.face.camera import Camera
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import LIGHTING_COUNT
from faceinv.face.mesh import vertex_normals
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face
from faceinv.files import read_arrays, write_arrays, write_whole
from faceinv.fitting.detail_file import detail_fields, read_detail
from faceinv.fitting.extension import extended
from faceinv.fitting.history import history_arrays, history_of, timings_of
from faceinv.fitting.solver import Iteration, Status
from faceinv.fitting.uncertainty import surface_std

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from faceinv.detail.record import Detail, Formulation
    from faceinv.detail.relief_map import ReliefMap
    from faceinv.render.texture import Texture

__all__ = ["CameraSource", "FitResult", "load_result"]

_NUMBERS: Final = ("cost", "cost_photometric", "cost_landmarks", "cost_prior", "photometric_rmse", "landmark_error")
_TEXTS: Final = ("shading", "backend", "version")

CameraSource: TypeAlias = Literal["weak", "distance", "estimated", "exif", "focal_length", "intrinsics"]
"""What the focal length of a result's camera is known from."""


@dataclass(frozen=True, eq=False)
class FitResult:
    """A fitted face. Positions in the image are in the pixels of the photo that was given (after its EXIF turn):
    x right, y down, 0-based, pixel centres at integers. Model space is in millimetres: x to the image's right for a
    frontal face, y up, z towards the viewer.

    Attributes:
        face: The fitted face: identity, expression, albedo, camera and lighting, in the frame of the photo.
        landmarks_target: (68, 2) px: the landmarks that were given, or the detected ones, brought from the places that
            the network marks to those of the model (`faceinv.face.landmark_sources`).
        landmarks2d: (68, 2) px: the model's landmarks; those of the jaw where the silhouette has them in this view.
        landmarks3d: (68, 3) mm, model space: the same points.
        cost: E, see `faceinv.engine.records.Energy`.
        cost_photometric: The part of E that compares colours.
        cost_landmarks: The part of E that compares landmarks.
        cost_prior: The part of E that says how unlikely the coefficients are.
        photometric_rmse: Root mean square colour difference over the face mask's pixels inside the landmarks' hull,
            linear RGB.
        landmark_error: Mean distance of the 51 inner landmarks over the distance of the outer eye corners.
        status: Why the fit stopped; its value is a sentence, its `success` says whether the result can be used.
        model: The face model.
        model_source: What `model` was named: `default` or a path.
        shading: How pictures of the result get their normals: `smooth` or `flat`, as in the fit.
        backend: The engine, `engine[:device][:dtype]`.
        version: Of faceinv.
        image_size: (width, height) px of the photo.
        hessian: (P, P): J^T J at the result in the unknowns of `faceinv.face.layout`, in pixels of the finest crop: the
            inverse of their covariance, as far as the configuration's standard deviations are right. NaN where a file
            of faceinv 0.1 does not tell its unit.
        history: Every iteration, level after level from coarse to fine; empty for a result read from a file of
            faceinv 0.1.
        timings: Seconds by stage.
        photo: (H, W, 3) RGB, sRGB-encoded in [0, 1]; None for a result read from a file.
        camera_source: What the camera's focal length is known from: `intrinsics`, `focal_length` (given), `exif`,
            `distance` (the camera was put at a given distance), `estimated` (by the fit); `weak` for one without.
        warnings: Sentences on what may be wrong with the input, such as landmarks that hardly belong to a face.
        albedo_field: The amplitude of the albedo field that `model` has beside its own albedo; 0 for none.
        detail: The relief of the skin, where it was asked for; see `with_detail`.
        face_print: (16, 16, 3) what the photo is known by where it is not there (`faceinv.photo.recognise`); None for a
            result read from a file that does not tell.
    """

    face: Face
    landmarks_target: NDArray[np.float64]
    landmarks2d: NDArray[np.float64]
    landmarks3d: NDArray[np.float64]
    cost: float
    cost_photometric: float
    cost_landmarks: float
    cost_prior: float
    photometric_rmse: float
    landmark_error: float
    status: Status
    model: MorphableModel = field(repr=False)
    model_source: str
    shading: Normals
    backend: str
    version: str
    image_size: tuple[int, int]
    hessian: NDArray[np.float64] = field(repr=False)
    history: tuple[Iteration, ...] = field(default=(), repr=False)
    timings: dict[str, float] = field(default_factory=dict)
    photo: NDArray[np.float32] | None = field(default=None, repr=False)
    warnings: tuple[str, ...] = ()
    camera_source: CameraSource = "weak"
    albedo_field: float = 0.0
    detail: Detail | None = field(default=None, repr=False)
    face_print: NDArray[np.uint8] | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        width, height = self.image_size
        return (
            f"<FitResult of a photo of {width} x {height} px: {self.status.name.lower()}, landmarks off by "
            f"{self.landmark_error:.1%} of the eye distance, photometric RMSE {self.photometric_rmse:.3f}>"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the report, in a frame of its own."""
        from faceinv.fitting.reporting import report_content
        from faceinv.output.report.page import framed_report

        return framed_report(report_content(self, "face"))

    def _repr_png_(self) -> bytes | None:
        """What a notebook shows that cannot show pages: the overlay."""
        if self.photo is None:
            return None
        stream = io.BytesIO()
        self.overlay().save(stream, "PNG")
        return stream.getvalue()

    @property
    def identity(self) -> NDArray[np.float64]:
        """(Ki,) in standard deviations: the face's."""
        return self.face.identity

    @property
    def expression(self) -> NDArray[np.float64]:
        """(Ke,) in standard deviations: the face's."""
        return self.face.expression

    @property
    def expression_units(self) -> dict[str, float]:
        """The model's named expressions, 0 at rest and 1 at full strength, not clipped; empty where it has none."""
        return self.face.expression_units(self.model)

    @property
    def albedo_coefficients(self) -> NDArray[np.float64]:
        """In standard deviations: the face's `albedo` over the model's own modes, without the field."""
        return self.face.albedo[: self.model.own_albedo_count]

    @property
    def albedo_field_coefficients(self) -> NDArray[np.float64]:
        """In standard deviations: the face's `albedo` over the modes of the albedo field; empty where there is none."""
        return self.face.albedo[self.model.own_albedo_count :]

    @property
    def camera(self) -> Camera:
        """The face's: scale in px per mm, rotation (3, 3), translation and principal point (2,) px of the photo, and
        one over the distance."""
        return self.face.camera

    @property
    def lighting(self) -> NDArray[np.float64]:
        """(9, 3) spherical-harmonics coefficients in the camera frame: the face's."""
        return self.face.lighting

    @property
    def triangles(self) -> NDArray[np.int32]:
        """(T, 3), counter-clockwise seen from outside."""
        return self.model.triangles

    @cached_property
    def vertices(self) -> NDArray[np.float64]:
        """(N, 3) mm, model space."""
        return self.face.vertices(self.model)

    @cached_property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3) unit, area-weighted, model space."""
        return vertex_normals(self.vertices, self.triangles)

    @cached_property
    def vertex_albedo(self) -> NDArray[np.float64]:
        """(N, 3) RGB reflectance in the model's albedo space, not clipped."""
        return self.face.vertex_albedo(self.model)

    @cached_property
    def _projected(self) -> NDArray[np.float64]:
        return self.camera.project(self.vertices)

    @property
    def image_xy(self) -> NDArray[np.float64]:
        """(N, 2) px of the photo."""
        return self._projected[:, :2]

    @property
    def depth(self) -> NDArray[np.float64]:
        """(N,) px, larger is nearer."""
        return self._projected[:, 2]

    @one_blas_thread()
    def vertex_std(self) -> NDArray[np.float64]:
        """(N,) mm: the standard deviation of the surface along its normal at each vertex, modulo a similarity.

        A photo does not tell size or place, so motions of the surface count less the similarity (turn, shift, size)
        that is nearest to them over the face mask, by area; errors should be measured after the same alignment. What is
        left are the posterior of the coefficients, from the Gauss-Newton Hessian (Laplace's approximation) with pose,
        light and albedo marginalised, and what the bases do not express. The constants that make both the size of true
        errors were found on rendered faces of people who are in no model (`faceinv.fitting.uncertainty`): two of three
        points of a face are within one deviation. Visibility is fixed, and what covers a face unnoticed is not in it.

        Raises:
            InputError: for a result of faceinv 0.1 that was fitted without a prior on identity.
        """
        if not np.isfinite(self.hessian).all():
            raise InputError(
                "the uncertainty of this result is not known: faceinv 0.1 fitted it with an identity_weight of 0, and "
                "gave its Hessian in units of that weight. Fit the photo anew."
            )
        return surface_std(self.model, self.vertices, self.hessian)

    def render(self) -> NDArray[np.float32]:
        """(H, W, 4) float32 in the frame of the photo: linear RGB under the fitted light, and coverage 0 or 1."""
        from faceinv.render.scene import render_face

        width, height = self.image_size
        return render_face(self.model, self.face, (height, width), self.shading)

    def overlay(self, photo: Any = None) -> Image.Image:
        """Photo, landmarks, render over photo, shaded geometry and residual side by side; with detail its geometry too.

        Args:
            photo: anything `faceinv.fit` accepts; needed only for a result read from a file.

        Raises:
            InputError: when no photo is known or it has another size.
        """
        from faceinv.output.overlay import draw_overlay

        shown = self.with_photo(photo).photo
        if shown is None:
            raise InputError(
                "an overlay needs the photo, and this result was read from a file. "
                "Give the photo: result.overlay(photo)."
            )
        return draw_overlay(
            self.model,
            self.face,
            shown,
            self.landmarks_target,
            self.landmarks2d,
            self.shading,
            vertices=self.vertices,
            albedo=self.vertex_albedo,
            detail=self.detail,
        )

    def export(
        self,
        path: str | Path,
        texture: Texture = "albedo",
        *,
        camera: bool = False,
        rig: bool = False,
        texture_size: int | None = None,
    ) -> None:
        """Write the face as `.glb`, `.obj` (with `.mtl` and texture) or `.ply`, by suffix; see `faceinv.output.export`.

        Args:
            path: where.
            texture: `albedo` (reflectance, without light), `photo` (the photo's own colours, completed where it does
                not show the surface) or `photo-delit` (these without the fitted light).
            camera: with the photo's camera in it, through which the face is seen as in the photo; `.glb` only.
            rig: with the named expressions as morph targets and eyes that turn (`faceinv.output.face_glb`); `.glb`
                only, and of models with named expression units.
            texture_size: texels along each side of the texture; None for 1024.

        A `.glb` of a result with detail holds a normal map of it.

        Raises:
            InputError: for another suffix, texture or size, a folder that cannot be written, a photo texture without a
                photo, or a rig of a model without named units.
        """
        from faceinv.output.export import export_face

        if texture in ("photo", "photo-delit") and self.photo is None:
            raise InputError(
                "a photo texture needs the photo, and this result was read from a file. "
                "Use result.with_photo(photo) first."
            )
        found = self.detail is not None and self.detail.status.success
        relief = self.relief() if found and Path(path).suffix.lower() == ".glb" else None
        export_face(
            self.model,
            self.face,
            Path(path),
            texture,
            self.photo,
            self.image_size if camera else None,
            rig,
            texture_size,
            self.vertices,
            relief,
        )

    def relief(self, size: int | None = None, *, symmetric: bool = False) -> ReliefMap:
        """The detail in the texture layout of the model: for other faces, expressions and views
        (`faceinv.detail.transfer.drape`).

        Args:
            size: texels along each side of the whole texture; None for one that loses nothing.
            symmetric: give skin that the photo does not show what the other side of the face has.

        Raises:
            InputError: for a result without detail.
        """
        from faceinv.detail.relief_map import ReliefMap

        if self.detail is None:
            raise InputError(
                "this result has no detail. Fit with the setting `detail`, or find it with its photo: "
                "`faceinv detail RESULT.npz --photo PHOTO`."
            )
        return ReliefMap.of(self.model, self.face, self.detail, size, symmetric=symmetric)

    def report(self, path: str | Path, *, name: str = "face") -> None:
        """Write a page for a browser, in one file that needs no network: photo and render, the head in 3D with sliders
        for its expression, how the fit converged, and all numbers. Without a photo it lacks what needs one.

        Args:
            path: where; ends in `.html`.
            name: what the page is called, as the photo's name.

        Raises:
            InputError: for another suffix or a folder that cannot be written.
        """
        from faceinv.fitting.reporting import report_content
        from faceinv.output.report.page import write_report

        path = Path(path)
        if path.suffix.lower() != ".html":
            raise InputError(f"reports are written as '.html'; '{path.name}' has the suffix '{path.suffix}'.")
        write_report(report_content(self, name), path)

    def show(self) -> Path:
        """Open the report in the browser; it is written to a temporary folder.

        Returns:
            the page's path.

        Raises:
            InputError: when it cannot be written.
        """
        from faceinv.output.report.browser import open_page, temporary_page

        path = temporary_page()
        self.report(path)
        open_page(path)
        return path

    def export_parameters(self, path: str | Path, layout: Literal["3dface"] = "3dface") -> None:
        """Write identity and expression as another program has them.

        Args:
            path: a text file.
            layout: `3dface`, that of the data set of Guo et al. 2018 (`faceinv.output.parameters_3dface`), for faces of
                the Basel Face Model 2009.

        Raises:
            InputError: for another layout, a model that has no such parameters, or a place that cannot be written.
        """
        from faceinv.output.parameters_3dface import write_3dface

        if layout != "3dface":
            raise InputError(f"layout is {layout!r}; expected '3dface'.")
        write_3dface(self.model, self.model_source, self.face, Path(path))

    def with_photo(self, photo: Any) -> FitResult:
        """The same result with a photo attached (unchanged for None).

        Raises:
            InputError: when the photo's size is not that of the photo which was fitted.
        """
        from faceinv.photo.read import load_image

        if photo is None:
            return self
        loaded = load_image(photo)
        if loaded.size != self.image_size:
            raise InputError(
                f"the photo is {loaded.size[0]} x {loaded.size[1]} px; this result was fitted to one of "
                f"{self.image_size[0]} x {self.image_size[1]} px. Give the same photo."
            )
        return dataclasses.replace(self, photo=loaded.pixels, face_print=self._known_by())

    def check_photo(self) -> None:
        """See that the photo is the one that was fitted, and not another of its size: by the print of its face, which
        files of results hold, or else by the render.

        Raises:
            InputError: when it is another, or there is none.
        """
        from faceinv.fitting.photo_check import check_print, check_render

        if self.photo is None:
            raise InputError(
                "this needs the photo, and the result was read from a file. Give the photo: result.with_photo(photo)."
            )
        if self.face_print is None:
            check_render(self.model, self.face, self.photo)
        else:
            check_print(self.photo, self.landmarks_target, self.face_print)

    def with_detail(
        self,
        photo: Any = None,
        *,
        mask: Any = None,
        formulation: Formulation = "robust",
        backend: str | None = None,
    ) -> FitResult:
        """The same result with the relief of its skin; see `faceinv.refine_detail`."""
        from faceinv.fitting.detail import refine_detail

        return refine_detail(self, photo, mask=mask, formulation=formulation, backend=backend)

    def save(self, path: str | Path) -> None:
        """Write everything but the photo to an `.npz`; read it with `faceinv.load_result`.

        Raises:
            InputError: when the suffix is another or the folder cannot be written.
        """
        path = Path(path)
        if path.suffix.lower() != ".npz":
            raise InputError(f"results are saved as '.npz'; '{path.name}' has the suffix '{path.suffix}'.")
        with write_whole(path) as temporary, temporary.open("wb") as stream:
            write_arrays(stream, self._fields())

    def _fields(self) -> dict[str, Any]:
        return {
            "vertices": self.vertices,
            "triangles": self.triangles,
            "image_xy": self.image_xy,
            "depth": self.depth,
            "albedo": self.vertex_albedo,
            "identity": self.identity,
            "expression": self.expression,
            "expression_units": np.array(list(self.expression_units.values()), np.float64),
            "expression_unit_names": np.array(list(self.expression_units), np.str_),
            "albedo_coefficients": self.albedo_coefficients,
            "albedo_field_coefficients": self.albedo_field_coefficients,
            "albedo_field": self.albedo_field,
            "self_occlusion": self.model.occlusion is not None,
            "scale": self.camera.scale,
            "rotation": self.camera.rotation,
            "translation": self.camera.translation,
            "kappa": self.camera.kappa,
            "principal_point": self.camera.centre,
            "focal_length": self.camera.focal_length,
            "distance": self.camera.distance,
            "camera_source": self.camera_source,
            "lighting": self.lighting,
            "landmarks2d": self.landmarks2d,
            "landmarks3d": self.landmarks3d,
            "landmarks_target": self.landmarks_target,
            **{name: getattr(self, name) for name in _NUMBERS},
            "status": self.status.name,
            "model": self.model_source,
            "model_fingerprint": self.model.fingerprint,
            "shading": self.shading,
            "backend": self.backend,
            "version": self.version,
            "image_size": np.array(self.image_size),
            "hessian": self.hessian,
            "warnings": np.array(self.warnings, np.str_),
            **({} if (known_by := self._known_by()) is None else {"face_print": known_by}),
            **({} if self.detail is None else detail_fields(self.detail)),
            **history_arrays(self.history, self.timings),
        }

    def _known_by(self) -> NDArray[np.uint8] | None:
        """The print of the photo that was fitted, which is the first that the result had."""
        from faceinv.photo.recognise import photo_print

        if self.face_print is None and self.photo is not None:
            return photo_print(self.photo, self.landmarks_target)
        return self.face_print


def load_result(path: str | Path, model: str | Path | MorphableModel | None = None) -> FitResult:
    """Read a result that `FitResult.save` wrote. Pickles are refused.

    A file of faceinv 0.1 is read as one of a weak camera, and its Hessian comes in today's unit; its costs stay in the
    unit of that time.

    Args:
        path: the `.npz`.
        model: the face model or its path, where the file it was fitted with has moved.

    Raises:
        InputError: when the file is missing, damaged or not a result, or the model is another than at the time.
        ModelError: when its model cannot be loaded.
    """
    path = Path(path)
    stored = read_arrays(path, "result", InputError)
    if "hessian" in stored:
        stored = _with_weak_camera(_in_units_of_variance(path, stored))
    arrays = ("landmarks_target", "landmarks2d", "landmarks3d", "hessian")
    coefficients = ("identity", "expression", "albedo_coefficients", "lighting")
    numbers = (*_NUMBERS, "scale", "kappa")
    needed = (*coefficients, *arrays, *numbers, "rotation", "translation", "principal_point", "image_size")
    texts = ("status", "model", "model_fingerprint", "camera_source", *_TEXTS)
    missing = [key for key in (*needed, *texts) if key not in stored]
    if missing:
        raise InputError(f"'{path}' is not a saved result: it lacks {', '.join(missing)}.")
    source = str(stored["model"])
    chosen = model if isinstance(model, MorphableModel) else _model_of(path, source, model)
    if chosen.fingerprint != str(stored["model_fingerprint"]):
        raise InputError(
            f"'{path}' was fitted with another state of model '{source}'. Give the model it was fitted with as `model`."
        )
    stored.setdefault("albedo_field", np.zeros(()))
    stored.setdefault("albedo_field_coefficients", np.zeros(0))
    amplitude, occluded = stored["albedo_field"], stored.get("self_occlusion", np.zeros((), np.bool_))
    if amplitude.shape or not (amplitude.dtype.kind in "fiu" and 0 <= amplitude < np.inf) or occluded.shape:
        raise InputError(f"result '{path}': its albedo field or self-occlusion cannot be; the file is damaged.")
    chosen = extended(chosen, float(amplitude), bool(occluded))
    layout = ParameterLayout.of(chosen)
    shapes = {
        **dict.fromkeys(numbers, ()),
        "identity": (layout.identity_count,),
        "expression": (layout.expression_count,),
        "albedo_coefficients": (chosen.own_albedo_count,),
        "albedo_field_coefficients": (chosen.field_count,),
        "rotation": (3, 3),
        "translation": (2,),
        "principal_point": (2,),
        "lighting": (9, 3),
        "landmarks_target": (68, 2),
        "landmarks2d": (68, 2),
        "landmarks3d": (68, 3),
        "hessian": (layout.count, layout.count),
        "image_size": (2,),
    }
    for key, shape in shapes.items():
        array, kinds = stored[key], "iu" if key == "image_size" else "f"
        if array.shape != shape or array.dtype.kind not in kinds:
            raise InputError(
                f"result '{path}': field '{key}' holds {array.dtype} of shape {array.shape}, expected numbers of shape "
                f"{shape}; the file is damaged."
            )
    known = str(stored["status"]) in Status.__members__ and str(stored["shading"]) in ("smooth", "flat")
    known = known and str(stored["camera_source"]) in get_args(CameraSource)
    if not known or not stored["scale"] > 0 or not 0 <= stored["kappa"] < np.inf:
        raise InputError(f"result '{path}': its status, shading or camera cannot be; the file is damaged.")
    width, height = (int(n) for n in stored["image_size"])
    known_by = stored.get("face_print")
    if known_by is not None and (known_by.ndim != 3 or known_by.shape[2] != 3 or known_by.dtype != np.uint8):
        raise InputError(f"result '{path}': the print of its photo cannot be; the file is damaged.")
    fields: dict[str, Any] = {key: stored[key] for key in arrays}
    fields |= {key: float(stored[key]) for key in _NUMBERS}
    fields |= {key: str(stored[key]) for key in _TEXTS}
    face = Face(
        identity=stored["identity"],
        expression=stored["expression"],
        albedo=np.concatenate([stored["albedo_coefficients"], stored["albedo_field_coefficients"]]),
        camera=Camera.of_arrays(stored),
        lighting=stored["lighting"],
    )
    return FitResult(
        **fields,
        face=face,
        status=Status[str(stored["status"])],
        model=chosen,
        model_source=source,
        image_size=(width, height),
        warnings=tuple(str(line) for line in stored.get("warnings", ())),
        camera_source=cast("CameraSource", str(stored["camera_source"])),
        albedo_field=float(amplitude),
        detail=read_detail(path, stored, face.camera, (width, height)),
        face_print=known_by,
        history=history_of(stored),
        timings=timings_of(stored),
    )


def _in_units_of_variance(path: Path, stored: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A result of faceinv 0.1, whose energy was in units of its weights, with a Hessian in which identity's prior
    weighs one: over the weight it had, which the file names. NaN for a fit without that prior.

    Raises:
        InputError: for a weight that cannot be.
    """
    weight, hessian = stored.get("prior_weight"), stored["hessian"]
    if weight is None or hessian.dtype.kind != "f":
        return stored
    if weight.shape or weight.dtype.kind not in "fiu" or not 0 <= weight < np.inf:
        raise InputError(f"result '{path}': field 'prior_weight' is not a number of at least 0; the file is damaged.")
    return {**stored, "hessian": hessian / weight if weight > 0 else np.full_like(hessian, np.nan)}


def _with_weak_camera(stored: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """A result of the time when all cameras were weak, as one of today: its camera had three parameters less, between
    those of the pose and the lighting's 27."""
    if "kappa" in stored:
        return stored
    hessian = stored["hessian"]
    if hessian.ndim == 2 and hessian.dtype.kind == "f" and min(hessian.shape) > LIGHTING_COUNT:
        at = len(hessian) - LIGHTING_COUNT
        hessian = np.insert(np.insert(hessian, [at] * 3, 0.0, axis=0), [at] * 3, 0.0, axis=1)
    weak = {"kappa": np.array(0.0), "principal_point": np.zeros(2), "camera_source": np.array("weak")}
    return {**stored, **weak, "hessian": hessian}


def _model_of(path: Path, source: str, given: str | Path | None) -> MorphableModel:
    """The model of a result, from the path that is given or the one that the result names."""
    from faceinv.face.formats import load_model

    if given is not None:
        return load_model(given)
    try:
        return load_model(source)
    except ModelError as error:
        raise ModelError(
            f"'{path}' was fitted with the model '{source}', which cannot be loaded: {error} "
            "Where the model has moved, say so: load_result(path, model=PATH)."
        ) from None
