"""How well are faces recovered that are in no model: surface error on path-traced strangers with exact ground truth.

Make the renders with `render_strangers.py` first. Fits are compared with the true surface, after a similarity, at the
points of the face that the picture shows:

- mean: the model's mean face, not fitted at all;
- landmarks: the fit of the 68 points alone, the start of every fit;
- full: the whole fit;
- bound (`--bound`): the model bent onto the true surface, which is what its basis can express.

Landmarks are `annotated` (the true ones, the jaw on the visible outline, with an annotator's scatter of 1 % of the eye
distance), `exact` (without the scatter) or `detected`. Tune on the split `dev`; `test` is only reported.

    python benchmarks/strangers.py --renders FOLDER --split dev --config albedo_sigma=2 --faces 8
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from portraits.splits import split_files
from report import save, table
from surfaces import Similarity, Surface, align, express, face_triangles, quantile, similarity_of_points

from faceinv import FaceinvError, FitConfig, load_model
from faceinv.face.formats._landmarks import vertex_landmarks
from faceinv.face.formats._raw import ModeCounts, RawModel, finish
from faceinv.face.formats._units import expression_modes
from faceinv.face.mesh import vertex_normals
from faceinv.fitting import stages
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.lenses import Lenses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.fitting.result import FitResult
    from faceinv.photo.prepare import Prepared

    Array = NDArray[np.float64]

__all__ = [
    "KINDS",
    "Measure",
    "Stranger",
    "chosen_renders",
    "evaluate",
    "load_renders",
    "named_model",
    "parser_of_renders",
    "settings",
]

KINDS: Final = ("annotated", "exact", "detected")
"""Of landmarks."""
_STRIDE: Final = 3
"""Every so many visible points steer an alignment; all are measured."""


@dataclass(frozen=True)
class Stranger:
    """One rendered face and the truth about it. Lengths in mm, in the space of the model that made it."""

    name: str
    image: NDArray[np.uint8]
    """(S, S, 3) sRGB."""
    rotation: Array
    """(3, 3) to the camera's frame: x right, y up, looking along -z."""
    translation: Array
    """(3,)."""
    focal: float
    """px."""
    principal: Array
    """(2,) px."""
    distance: float
    """From the camera to the middle of the face along the view axis."""
    angles: Array
    """Pitch, yaw, roll in degrees."""
    light: str
    vertices: Array
    """(N, 3) the true surface."""
    triangles: NDArray[np.int64]
    """(T, 3)."""
    albedo: Array
    """(N, 3) linear reflectance."""
    visible: NDArray[np.int64]
    """(Q,) the vertices that the picture shows and that belong to the face."""
    areas: Array
    """(Q,) mm^2 of these."""
    normals: Array
    """(Q, 3) of these."""
    landmarks3d: Array
    """(68, 3)."""
    landmarks_exact: Array
    """(68, 2) px: projections, the jaw on the visible outline."""
    landmarks_annotated: Array
    """(68, 2) px: the same with an annotator's scatter."""

    @property
    def points(self) -> Array:
        """(Q, 3) the visible points of the face."""
        return self.vertices[self.visible]

    @property
    def intrinsics(self) -> Array:
        """(3, 3) px."""
        return np.array([[self.focal, 0.0, self.principal[0]], [0.0, self.focal, self.principal[1]], [0.0, 0.0, 1.0]])

    @property
    def eye_distance(self) -> float:
        """px between the outer eye corners."""
        return float(np.linalg.norm(self.landmarks_exact[36] - self.landmarks_exact[45]))

    def project(self, points: Array) -> Array:
        """Points (..., 3) mm of its own space to (..., 2) px by the true camera."""
        seen = points @ self.rotation.T + self.translation
        projected: Array = self.principal + self.focal * seen[..., :2] * [1.0, -1.0] / -seen[..., 2:]
        return projected


def load_renders(folder: Path, split: str, faces: int | None = None) -> list[Stranger]:
    """The renders of a split, or the first of them.

    Raises:
        FileNotFoundError: when there are none.
    """
    return [_read(file) for file in split_files(folder, split, faces, "render_strangers.py")]


def _read(file: Path) -> Stranger:
    with np.load(file) as stored:
        fields = {field.name: stored[field.name] for field in dataclasses.fields(Stranger)}
    single = {key: value.item() for key, value in fields.items() if value.ndim == 0}
    return Stranger(**{**fields, **single})


def named_model(source: str) -> MorphableModel:
    """`default`, anything `load_model` reads, or a folder with ICT's face area as `ict_face.npz`, all modes of it."""
    packed = Path(source) / "ict_face.npz"
    if not packed.is_file():
        return load_model(source)
    with np.load(packed) as stored:
        units = stored["expression"].transpose(1, 2, 0) * np.float32(10)
        modes, names, named = expression_modes(units, [str(name) for name in stored["expression_names"]])
        return finish(
            RawModel(
                path=packed,
                name="ICT-FaceKit",
                licence="ICT-FaceKit (light), (c) 2020 USC Institute for Creative Technologies: MIT licence.",
                mean=stored["vertices"].astype(np.float64) * 10,
                triangles=stored["faces"].astype(np.int64),
                identity=stored["identity"].transpose(1, 2, 0) * np.float32(10),
                expression=modes,
                expression_names=names,
                expression_units=named,
                landmarks=vertex_landmarks(stored["landmarks68"].astype(np.int64)),
                uv=stored["uv"].astype(np.float64),
                uv_triangles=stored["faces_uv"].astype(np.int64),
                unordered_expression=True,
            ),
            ModeCounts(),
        )


def settings(given: Sequence[str]) -> FitConfig:
    """A configuration from `KEY=VALUE` texts and names of TOML files, later ones winning.

    Raises:
        ConfigError: for unknown keys or values out of range.
    """
    merged: dict[str, Any] = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals:
            merged |= tomllib.loads(Path(text).read_text())
            continue
        try:
            merged[key] = tomllib.loads(f"x = {value}")["x"]
        except tomllib.TOMLDecodeError:
            merged[key] = value
    return FitConfig.from_dict(merged)


# ---- the measure


@dataclass(frozen=True)
class Measure:
    """A model ready to be measured."""

    model: MorphableModel

    @cached_property
    def skin(self) -> NDArray[np.int32]:
        """(T, 3) triangles that a face's points may lie on."""
        return face_triangles(self.model)

    def errors(self, stranger: Stranger, vertices: Array) -> dict[str, float]:
        """How far the shown face lies from a surface (N, 3) mm that was laid on it, in mm of the true face.

        Statistics are weighted by area: `median`, `mean` and `p90` of the distance of true points from the surface laid
        on them by the best similarity, since a photo does not tell the size; `normals`, the mean angle in degrees
        between the true normals and those of the surface there; `rigid`, the median when it keeps its own size.
        """
        surface = Surface(vertices, self.skin)
        landmarks, truth = self.model.landmarks(vertices)[17:], stranger.landmarks3d[17:]
        errors: dict[str, float] = {}
        start = similarity_of_points(landmarks, truth)
        points, areas = stranger.points, stranger.areas
        laid, _ = align(surface, points[::_STRIDE], areas[::_STRIDE], start)
        local = ((points - laid.translation) @ laid.rotation) / laid.scale
        hit = surface.nearest(local)
        distance = hit.distance * laid.scale
        smooth = vertex_normals(vertices, self.model.triangles)[self.skin[hit.triangle]]
        normal = np.einsum("qk,qkd->qd", hit.weights, smooth) @ laid.rotation.T
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
        angle = np.degrees(np.arccos(np.clip((normal * stranger.normals).sum(axis=1), -1, 1)))
        errors["median"] = quantile(distance, areas, 0.5)
        errors["mean"] = float(np.average(distance, weights=areas))
        errors["p90"] = quantile(distance, areas, 0.9)
        errors["normals"] = float(np.average(angle, weights=areas))
        errors["scale"] = laid.scale
        # In its own size, the surface lies nearly as it did.
        near = Similarity(1.0, laid.rotation, points.mean(axis=0) - laid.rotation @ local.mean(axis=0))
        _, own = align(surface, points[::_STRIDE], areas[::_STRIDE], near, scaled=False, iterations=4)
        errors["rigid"] = quantile(own, areas[::_STRIDE], 0.5)
        return errors


def landmark_fit(fitter: Fitter, photo: Prepared) -> Array:
    """(N, 3) the surface after the first stage of a fit, which sees the 68 points only."""
    problem = stages.problem_at(fitter.config, fitter.model, [photo], 0)
    lenses = Lenses(fitter.layout, fitter.config, [photo])
    chi = stages.start_from_landmarks(fitter.engine, fitter.config, problem, lenses)[0]
    return fitter.model.vertices(chi[fitter.layout.identity], chi[fitter.layout.expression])


def evaluate(
    fitter: Fitter, renders: Sequence[Stranger], kinds: Sequence[str] = KINDS, known_lens: bool = False
) -> list[dict[str, Any]]:
    """Fit every render.

    Args:
        fitter: model, engine and configuration.
        renders: from `load_renders`.
        kinds: which landmarks fits are given.
        known_lens: whether they are given the focal length, as the EXIF of a photo says it.

    Returns:
        For every render and every fit its surface errors and the measures of the fit: `mean`, `landmarks annotated`,
        `full annotated`, .... A render in which no face is found has no fits of detected landmarks.
    """
    measure = Measure(fitter.model)
    faces: list[dict[str, Any]] = []
    for stranger in renders:
        common = {"face": stranger.name}
        mean = measure.errors(stranger, fitter.model.mean.astype(np.float64))
        faces.append({**common, "fit": "mean", **mean})
        for kind in kinds:
            given = None if kind == "detected" else getattr(stranger, f"landmarks_{kind}")
            try:
                photo = fitter.prepare(stranger.image, given, intrinsics=stranger.intrinsics if known_lens else None)
                start = measure.errors(stranger, landmark_fit(fitter, photo))
                faces.append({**common, "fit": f"landmarks {kind}", **start})
                began = time.perf_counter()
                result = fitter.solve([photo])[0]
                seconds = time.perf_counter() - began
            except FaceinvError as error:
                print(f"{stranger.name}, {kind} landmarks: {error}")
                continue
            full = {**measure.errors(stranger, result.vertices), **_measures(result, stranger), "seconds": seconds}
            faces.append({**common, "fit": f"full {kind}", **full})
    return faces


def _measures(result: FitResult, stranger: Stranger) -> dict[str, Any]:
    def percent(points: Array) -> float:
        gap = np.linalg.norm(points - stranger.landmarks_exact, axis=1)[17:].mean()
        return float(100 * gap / stranger.eye_distance)

    def largest(coefficients: Array) -> float:
        return float(np.abs(coefficients).max(initial=0.0))

    turn = np.arccos(np.clip((np.trace(stranger.rotation.T @ result.camera.rotation) - 1) / 2, -1, 1))
    return {
        "target_percent": percent(result.landmarks_target),
        "landmark_percent": percent(result.landmarks2d),
        "rmse": result.photometric_rmse,
        "turn_degrees": float(np.degrees(turn)),
        "max_identity": largest(result.identity),
        "max_expression": largest(result.expression),
        "max_albedo": largest(result.albedo_coefficients),
        "iterations": len(result.history),
    }


def bounds(model: MorphableModel, renders: Sequence[Stranger], prior: float = 3e-4) -> list[dict[str, Any]]:
    """Errors of the model bent onto the true surface, for every render."""
    measure = Measure(model)
    faces: list[dict[str, Any]] = []
    for stranger in renders:
        bent = express(model, stranger.points, stranger.areas, stranger.landmarks3d, prior)
        faces.append({"face": stranger.name, "fit": "bound", **measure.errors(stranger, bent.vertices)})
    return faces


def summarise(faces: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over renders of every number, and the worst median, by fit."""
    summary: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(face["fit"] for face in faces):
        chosen = [face for face in faces if face["fit"] == name]
        keys = [key for key, value in chosen[0].items() if isinstance(value, float | int)]
        summary[name] = {key: float(np.mean([face[key] for face in chosen])) for key in keys}
        summary[name]["worst"] = max(face["median"] for face in chosen)
        summary[name]["faces"] = len(chosen)
    return summary


def _by_face(faces: list[dict[str, Any]], renders: Sequence[Stranger]) -> list[dict[str, Any]]:
    """A row for each render, a column for the median of each fit, and the normals of the full ones."""
    rows = []
    fits = list(dict.fromkeys(face["fit"] for face in faces))
    for stranger in renders:
        own = {face["fit"]: face for face in faces if face["face"] == stranger.name}
        row: dict[str, Any] = {"face": stranger.name, "light": stranger.light}
        row |= {"mm": round(stranger.distance), "yaw": round(float(stranger.angles[1]))}
        for fit in fits:
            row[_short(fit)] = f"{own[fit]['median']:.2f}" if fit in own else "-"
        for fit in fits:
            if fit.startswith("full"):
                row[f"{_short(fit)} deg"] = f"{own[fit]['normals']:.1f}" if fit in own else "-"
        rows.append(row)
    return rows


def _short(fit: str) -> str:
    first, _, second = fit.partition(" ")
    return f"{first[:4]} {second[:5]}".strip()


def parser_of_renders(description: str) -> argparse.ArgumentParser:
    """A parser that knows which renders, which model, and which settings of the fits."""
    parser = argparse.ArgumentParser(description=description)
    default = Path(tempfile.gettempdir()) / "faceinv-strangers"
    parser.add_argument("--renders", type=Path, default=default, help="folder of renders (default %(default)s)")
    parser.add_argument("--split", default="dev", help="dev or test (default %(default)s)")
    parser.add_argument("--faces", type=int, help="only the first ones")
    parser.add_argument("--model", default="default", help="model: default, a path, or a folder with ict_face.npz")
    parser.add_argument("--config", nargs="*", default=[], help="KEY=VALUE settings of the fits, or TOML files")
    return parser


def chosen_renders(parser: argparse.ArgumentParser, options: argparse.Namespace) -> tuple[FitConfig, list[Stranger]]:
    """The settings and the renders that were asked for; ends the program where these cannot be had."""
    try:
        return settings(options.config), load_renders(options.renders, options.split, options.faces)
    except (FaceinvError, OSError) as error:
        parser.error(str(error))


def main() -> None:
    """Command line."""
    parser = parser_of_renders(__doc__.split("\n")[0])
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument("--landmarks", nargs="*", choices=KINDS, default=["annotated", "detected"])
    parser.add_argument("--known-lens", action="store_true", help="give the fits the camera's focal length")
    parser.add_argument("--bound", action="store_true", help="also bend the model onto the true surfaces")
    parser.add_argument("--save", action="store_true", help="write results/strangers-SPLIT.json beside this file")
    options = parser.parse_args()
    config, renders = chosen_renders(parser, options)
    fitter = Fitter(named_model(options.model), options.backend, config)
    began = time.perf_counter()
    faces = evaluate(fitter, renders, options.landmarks, options.known_lens)
    if options.bound:
        faces += bounds(fitter.model, renders)
    print("Median distance of the face shown from the fitted surface, mm; mean angle between normals, degrees:")
    print(table(_by_face(faces, renders)))
    summary = summarise(faces)
    columns = ("median", "mean", "p90", "normals", "worst", "rigid", "faces")
    print("\nMeans over renders:")
    print(table([{"fit": name, **{key: numbers[key] for key in columns}} for name, numbers in summary.items()]))
    keys: tuple[str, ...] = (
        "target_percent",
        "landmark_percent",
        "rmse",
        "turn_degrees",
        "max_identity",
        "max_expression",
    )
    keys = (*keys, "max_albedo", "iterations", "seconds")
    full = {name: numbers for name, numbers in summary.items() if name.startswith("full")}
    if full:
        print()
        print(table([{"fit": name, **{key: numbers[key] for key in keys}} for name, numbers in full.items()]))
    print(f"{len(renders)} renders in {time.perf_counter() - began:.1f} s")
    if options.save:
        content = {
            "split": options.split,
            "known_lens": options.known_lens,
            "config": dataclasses.asdict(config),
            "model": fitter.model.fingerprint,
            "backend": fitter.backend,
            "summary": summary,
            "faces": faces,
        }
        print(f"saved {save(f'strangers-{options.split}', content).name}")


if __name__ == "__main__":
    main()
