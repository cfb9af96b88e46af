"""Are known parameters found again: renders of random faces of the same model, without noise, fitted from landmarks.

Vertex errors are root mean squares over the vertices of the face mask, in mm:

- camera: in the frame of the camera at its true scale, apart from the depth, which weak perspective cannot know;
- model: in model space, apart from a shift;
- procrustes: apart from any similarity.

A case succeeds when the camera error is below 1 mm and the colours inside the face mask are off by less than 0.005
(linear RGB, root mean square).
"""

from __future__ import annotations

import argparse
import dataclasses
import time
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from report import save, table
from surfaces import similarity_of_points

from faceinv import FitConfig
from faceinv.engine.evaluation import radiance
from faceinv.engine.host_terms import HostTerms
from faceinv.engine.records import Energy, Problem
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.lighting import pack_lighting
from faceinv.fitting.fitter import Fitter
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from faceinv.fitting.result import FitResult
    from faceinv.fitting.solver import Iteration

    Array = NDArray[np.float64]

__all__ = ["Case", "make_case", "measure"]

VERTEX_LIMIT: Final = 1.0
"""mm."""
IMAGE_LIMIT: Final = 0.005
_SPREAD: Final = 0.7
NOISELESS: Final = FitConfig(landmark_sigma=0.005, photometric_samples=2500.0, huber_delta=0.2, cost_tolerance=1e-5)
"""Priors as weak as noise-free images call for; the defaults are made for photos."""


def _marked(landmarks: Array) -> Problem:
    """Landmarks (68, 2) and no photo."""
    return Problem(
        image=np.zeros((1, 1, 1, 3), np.float32),
        mask=np.zeros((1, 1, 1), np.bool_),
        landmarks=landmarks[None],
        landmark_sigma=np.ones((1, 68)),
        eye_distance=np.ones(1),
        energy=Energy(0.0, 1.0, 1.0, 1.0, 1.0, 1.0),
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """A render and what it was made from."""

    image: Array
    """(S, S, 3) sRGB-encoded, not rounded."""
    radiance: Array
    """(S, S, 3) linear RGB of the model, zeros elsewhere."""
    face: NDArray[np.bool_]
    """(S, S) pixels of the face mask."""
    landmarks: Array
    """(68, 2) px."""
    chi: Array
    """(P,)."""


def make_case(fitter: Fitter, seed: int) -> Case:
    """A random face in a random view and light, filling the picture as a fit's crop does."""
    rng = np.random.default_rng(seed)
    model, layout, config = fitter.model, fitter.layout, fitter.config
    chi = np.zeros(layout.count)
    for part in (layout.identity, layout.expression, layout.albedo):
        chi[part] = _SPREAD * rng.normal(size=part.stop - part.start)
    angles = np.radians([rng.uniform(-10, 10), rng.uniform(-30, 30), rng.uniform(-10, 10)])
    camera = Camera(1.0, rotation_from_euler(*angles), np.zeros(2))
    gamma = np.zeros((9, 3))
    gamma[0] = rng.uniform(0.6, 1.0) * 3.0
    gamma[1:4] = rng.normal(size=(3, 1)) * [[0.35], [0.25], [0.35]] + [[0.2], [0.4], [0.0]]
    gamma[4:] = rng.normal(size=(5, 1)) * 0.08
    gamma *= 1 + 0.08 * rng.normal(size=(9, 3))
    chi[layout.lighting] = pack_lighting(gamma)

    terms = HostTerms(model)
    vertices = model.vertices(chi[layout.identity], chi[layout.expression])
    landmarks = camera.project(model.landmarks(vertices))[:, :2]
    for _ in range(8):  # jaw points, crop and camera settle together
        crop = FaceCrop.around(landmarks, config.margin, config.size)
        camera = crop.camera_to_crop(camera)
        landmarks = crop.to_crop(landmarks)
        chi[layout.pose] = camera.pack()
        points = terms.points(chi[None], _marked(landmarks))
        marks = np.einsum("lk,lkd->ld", points.weights[0], vertices[points.vertices[0]])
        landmarks = camera.project(marks)[:, :2]

    renderer = fitter.engine.renderer
    geometry = renderer.geometry(chi[None])
    visibility = renderer.rasterize(geometry, (config.size, config.size))
    picture = radiance(renderer, geometry, visibility, chi[None])[0]
    triangle = renderer.to_host(visibility.triangle)[0]
    covered = triangle >= 0
    y, x = np.mgrid[0 : config.size, 0 : config.size] / config.size
    waves = np.sin(7 * x * rng.uniform(0.5, 2) + 5 * y * rng.uniform(-2, 2) + rng.uniform(0, 6, 3)[:, None, None])
    background = rng.uniform(0.1, 0.4, 3) + 0.08 * np.moveaxis(waves, 0, -1)
    shown = np.where(covered[..., None], picture, background)
    encoded = linear_to_srgb(np.clip(shown, 0, 1)) if model.albedo_space == "linear" else np.clip(shown, 0, 1)
    return Case(encoded, picture, covered & model.face_mask[triangle], landmarks, chi)


def measure(fitter: Fitter, case: Case, result: FitResult) -> dict[str, Any]:
    """How near a fit came."""
    model, layout = fitter.model, fitter.layout
    kept = np.unique(model.triangles[model.face_mask])
    true = model.vertices(case.chi[layout.identity], case.chi[layout.expression])
    true_camera = layout.cameras(case.chi)
    vertices = result.vertices
    gap = (result.camera.project(vertices) - true_camera.project(true)) / true_camera.scale
    in_camera = gap[kept]
    in_camera[:, 2] -= in_camera[:, 2].mean()
    in_model = (vertices - true)[kept]
    in_model = in_model - in_model.mean(axis=0)
    similar = similarity_of_points(vertices[kept], true[kept])(vertices[kept]) - true[kept]
    render = result.render().astype(np.float64)
    compared = case.face & (render[..., 3] > 0)
    goal = case.radiance if model.albedo_space == "linear" else srgb_to_linear(np.clip(case.radiance, 0, 1))
    return {
        "camera_mm": _rms(in_camera),
        "model_mm": _rms(in_model),
        "procrustes_mm": _rms(similar),
        "image": float(np.sqrt(((render[..., :3] - np.clip(goal, 0, 1))[compared] ** 2).mean())),
        "landmark_percent": 100 * result.landmark_error,
        "identity": float(np.abs(result.identity - case.chi[layout.identity]).mean()),
        "expression": float(np.abs(result.expression - case.chi[layout.expression]).mean()),
        "albedo": float(np.abs(result.albedo_coefficients - case.chi[layout.albedo]).mean()),
        "iterations": len(result.history),
        "status": result.status.name,
    }


def _rms(gap: Array) -> float:
    return float(np.sqrt((gap**2).sum(axis=1).mean()))


def rises(history: tuple[Iteration, ...]) -> int:
    """Accepted steps after which the cost, in the step's own frozen state, was higher."""
    return sum(record.accepted and record.trial_cost > record.cost for record in history)


def run(fitter: Fitter, count: int) -> Iterator[dict[str, Any]]:
    """Make, fit and measure case after case."""
    for seed in range(count):
        case = make_case(fitter, seed)
        began = time.perf_counter()
        result = fitter.fit(case.image, case.landmarks)
        seconds = time.perf_counter() - began
        row = {"case": seed, **measure(fitter, case, result), "rises": rises(result.history), "seconds": seconds}
        yield {**row, "success": row["camera_mm"] < VERTEX_LIMIT and row["image"] < IMAGE_LIMIT}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=10, help="random cases (default %(default)s)")
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument("--model", default="default", help="face model (default: the package's own)")
    parser.add_argument("--config", help="TOML file of the fits' settings (default: weak priors)")
    parser.add_argument("--save", action="store_true", help="write results/synthetic.json beside this file")
    options = parser.parse_args()
    config = FitConfig.from_toml(options.config) if options.config else NOISELESS
    fitter = Fitter(options.model, options.backend, config)
    rows = list(run(fitter, options.count))
    print(table(rows))
    successes = sum(row["success"] for row in rows)
    rising = sum(row["rises"] for row in rows)
    print(
        f"{successes} of {len(rows)} below {VERTEX_LIMIT} mm and {IMAGE_LIMIT}; {rising} accepted steps raised the cost"
    )
    if options.save:
        content = {
            "config": dataclasses.asdict(config),
            "backend": options.backend,
            "model": fitter.model.fingerprint,
            "successes": successes,
            "rises": rising,
            "cases": rows,
        }
        print(f"saved {save('synthetic', content).name}")


if __name__ == "__main__":
    main()
