"""Which term of the energy pushes faces away from the truth, and how far.

For every rendered stranger (`render_strangers.py`) the model is bent onto the true surface and seen by the true camera;
light and albedo are those that explain the picture best from there. At this place the true face has no reason to move,
but it does: one Gauss-Newton step, `-H^-1 g` with the Hessian of the whole energy, is the sum of a step for each term's
own gradient. Each is reported as the motion of the visible face along its normals, without what is only a similarity:

- photo: pixels. Wrong light, albedo, shadows, shine, occluders.
- landmarks: marks that are not where the model's points are, by their definition or by scatter.
- identity, expression: priors that think the true face unlikely.
- albedo, light: their priors; small by construction, as both are at their best.
- sum: the whole step; `fit`: where Gauss-Newton ends that starts at the truth.

A table takes a few seconds for a face and finds causes that a fit's error cannot tell apart. `--true-albedo` gives the
model the true albedo as its mean, so that what is left of `photo` is light.

    python benchmarks/displacement.py --renders FOLDER --split dev --faces 8 --config albedo_sigma=2
"""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from report import save, table
from strangers import Stranger, chosen_renders, named_model, parser_of_renders
from surfaces import Expressed, Surface, express, face_triangles, quantile

from faceinv import FaceinvError, FitConfig
from faceinv.engine.host_terms import HostTerms, prior_diagonal
from faceinv.face.camera import fit_weak_perspective
from faceinv.face.mesh import vertex_areas, vertex_normals
from faceinv.fitting import stages
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.objective import FaceObjective
from faceinv.fitting.solver import SolverSettings, gauss_newton
from faceinv.fitting.uncertainty import similarities

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Frozen, Linearization, Problem
    from faceinv.face.model import MorphableModel

    Array = NDArray[np.float64]

__all__ = ["Truth", "displacements", "truth_of"]

TERMS: Final = ("photo", "landmarks", "identity", "expression", "albedo", "light")
_LIGHT_ITERATIONS: Final = 12
_FIT_ITERATIONS: Final = 30
_POSE_ITERATIONS: Final = 8


@dataclass(frozen=True)
class Truth:
    """A true face in a model's terms."""

    bent: Expressed
    """The model on the true surface, which is in the space of the model that made it."""
    seen: NDArray[np.bool_]
    """(N,) the model's vertices of the face that the picture shows."""
    areas: Array
    """(N,) mm^2, of these; else 0."""


def truth_of(model: MorphableModel, stranger: Stranger, prior: float) -> Truth:
    """Bend a model onto a stranger's face.

    Args:
        model: any.
        stranger: a render.
        prior: mm^2 for each squared standard deviation; see `surfaces.express`.
    """
    bent = express(model, stranger.points, stranger.areas, stranger.landmarks3d, prior)
    skin = face_triangles(model)
    surface = Surface(bent.similarity(bent.vertices), skin)
    seen = np.zeros(model.vertex_count, np.bool_)
    seen[skin[np.unique(surface.nearest(stranger.points).triangle)]] = True
    return Truth(bent, seen, np.where(seen, vertex_areas(bent.vertices, model.triangles), 0.0))


def with_true_albedo(model: MorphableModel, stranger: Stranger, truth: Truth) -> MorphableModel:
    """The model whose mean albedo is the stranger's."""
    true_surface = Surface(stranger.vertices, stranger.triangles)
    hit = true_surface.nearest(truth.bent.similarity(truth.bent.vertices))
    albedo = np.einsum("vk,vkc->vc", hit.weights, stranger.albedo[stranger.triangles[hit.triangle]])
    return dataclasses.replace(model, mean_albedo=albedo.astype(np.float32))


def pose_at(fitter: Fitter, stranger: Stranger, truth: Truth, vertices: Array) -> Array:
    """(C,) the camera's parameters, photo px, that see the bent model most like the picture shows the face, through the
    true lens, or through none where cameras are weak."""
    camera = fitter.layout.camera
    xy, seen, weights = stranger.project(truth.bent.similarity(vertices)), truth.seen, np.sqrt(truth.areas[truth.seen])
    points, targets = vertices[seen], xy[seen]
    parameters = fit_weak_perspective(points, targets, truth.areas[seen]).pack()
    parameters[camera.PRINCIPAL_POINT] = stranger.principal
    parameters[camera.INVERSE_FOCAL] = 0.0 if fitter.config.camera == "weak" else 1 / stranger.focal
    pose = np.arange(camera.PRINCIPAL_POINT.start)  # the rest is the lens
    for _ in range(_POSE_ITERATIONS):
        now = camera.unpack(parameters)
        gap: Array = weights[:, None] * (targets - now.project(points)[:, :2])
        columns = weights[:, None, None] * now.pose_columns(points)[..., pose]
        step = np.zeros((1, camera.PARAMETER_COUNT))
        step[0, pose] = np.linalg.lstsq(columns.reshape(-1, len(pose)), gap.ravel(), rcond=None)[0]
        parameters = camera.retract(parameters[None], step)[0]
    return parameters


def displacements(fitter: Fitter, stranger: Stranger, truth: Truth, landmarks: Array | None) -> dict[str, Array]:
    """Motion (N, 3) mm of the model's vertices by each term's part of one Gauss-Newton step from the truth, all of them
    together (`sum`), and by a fit that starts there (`fit`).

    Args:
        fitter: model, engine and configuration.
        stranger: a render.
        truth: its face in the model's terms.
        landmarks: (68, 2) px, or None to detect them.
    """
    model, layout, config = fitter.model, fitter.layout, fitter.config
    photo = fitter.prepare(stranger.image, landmarks, intrinsics=stranger.intrinsics)
    problem = stages.problem_at(config, fitter.engine.renderer.model, [photo], len(stages.level_sizes(config)) - 1)
    chi = np.zeros((1, layout.count))
    chi[0, layout.shape] = truth.bent.coefficients
    vertices = model.vertices(chi[0, layout.identity], chi[0, layout.expression])
    camera = layout.camera.unpack(pose_at(fitter, stranger, truth, vertices))
    chi[0, layout.pose] = photo.crop.camera_to_crop(camera).pack()
    chi = stages.start_from_light(fitter.engine, config, problem, chi)
    differentiator = fitter.engine.differentiator(problem)
    if config.occluder_share:
        differentiator = differentiator.without_occluders(chi, config.occluder_share)
    look = FaceObjective(differentiator, layout.mask(layout.albedo, layout.lighting))
    chi = gauss_newton(look, chi, SolverSettings(_LIGHT_ITERATIONS, 1e-5, final_linearization=False)).x

    whole = FaceObjective(differentiator)
    state = whole.freeze(chi)
    here = whole.linearize(chi, state, np.ones(1, np.bool_))
    gradients = _by_term(fitter, problem, chi, state, here)
    free = np.flatnonzero(whole.free[0])
    hessian = np.asarray(fitter.engine.renderer.to_host(here.hessian))[0][np.ix_(free, free)]
    hessian = hessian + 1e-10 * np.diag(np.diagonal(hessian))
    steps = np.zeros((len(TERMS), layout.count))
    steps[:, free] = -np.linalg.solve(hessian, np.stack([gradients[term][free] for term in TERMS], axis=1)).T
    moves = {term: _motion(model, step[layout.shape]) for term, step in zip(TERMS, steps, strict=True)}
    moves["sum"] = _motion(model, steps.sum(axis=0)[layout.shape])
    end = gauss_newton(whole, chi, SolverSettings(_FIT_ITERATIONS, 1e-4, final_linearization=False)).x
    moves["fit"] = _motion(model, (end - chi)[0, layout.shape])
    return moves


def _by_term(fitter: Fitter, problem: Problem, chi: Array, state: Frozen, here: Linearization) -> dict[str, Array]:
    """(P,) halves of the derivatives of each term: what is known on the host apart, the rest is the photo's."""
    layout = fitter.layout
    terms = HostTerms(fitter.engine.renderer.model)  # whose vertices the points name
    residual, rows = terms.landmark_rows(chi, state.points, problem, np.zeros(1, np.int64))
    prior = prior_diagonal(layout, problem.energy) * chi[0]
    gradients = {"landmarks": rows[0].T @ residual[0]}
    parts = {"identity": layout.identity, "expression": layout.expression, "albedo": layout.albedo}
    for name, part in {**parts, "light": layout.lighting}.items():
        gradients[name] = np.where(layout.mask(part), prior, 0.0)
    total = np.asarray(fitter.engine.renderer.to_host(here.gradient))[0]
    gradients["photo"] = total - sum(gradients.values())
    return gradients


def _motion(model: MorphableModel, step: Array) -> Array:
    """(N, 3) mm by a step in the coefficients of shape."""
    count = model.identity_count
    moved: Array = model.identity_basis @ step[:count] + model.expression_basis @ step[count:]
    return moved


def along_normals(truth: Truth, model: MorphableModel, motion: Array) -> Array:
    """(N,) mm: the motion along the normals, where the face is seen, once the similarity nearest to it is taken off."""
    vertices, seen = truth.bent.vertices, truth.seen
    columns = similarities(vertices - np.average(vertices[seen], axis=0, weights=truth.areas[seen]))
    weight = np.sqrt(truth.areas[seen])[:, None, None]
    rows = (weight * columns[seen]).reshape(-1, 7)
    similar = np.linalg.lstsq(rows, (weight[..., 0] * motion[seen]).ravel(), rcond=None)[0]
    normals = vertex_normals(vertices, model.triangles)
    moved: Array = ((motion - columns @ similar) * normals).sum(axis=1)
    return moved


def measure(
    model: MorphableModel,
    config: FitConfig,
    backend: str,
    stranger: Stranger,
    kind: str,
    prior: float,
    true_albedo: bool,
) -> dict[str, Any]:
    """Medians of the visible face's motion for one render, by term."""
    truth = truth_of(model, stranger, prior)
    own = with_true_albedo(model, stranger, truth) if true_albedo else model
    fitter = Fitter(own, backend, config)
    given = None if kind == "detected" else getattr(stranger, f"landmarks_{kind}")
    moves = displacements(fitter, stranger, truth, given)
    row: dict[str, Any] = {"face": stranger.name, "mm": round(stranger.distance), "yaw": round(stranger.angles[1])}
    seen = truth.seen
    for name, motion in moves.items():
        normal = np.abs(along_normals(truth, model, motion))
        row[name] = quantile(normal[seen], truth.areas[seen], 0.5)
    return row


def main() -> None:
    """Command line."""
    parser = parser_of_renders(__doc__.split("\n")[0])
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument("--landmarks", choices=("annotated", "exact", "detected"), default="annotated")
    parser.add_argument("--prior", type=float, default=3e-4, help="mm^2 of the bending onto the truth")
    parser.add_argument("--true-albedo", action="store_true", help="the model's mean albedo is the true one")
    parser.add_argument("--save", action="store_true", help="write results/displacement.json beside this file")
    options = parser.parse_args()
    config, renders = chosen_renders(parser, options)
    model = named_model(options.model)
    began = time.perf_counter()
    rows = []
    for stranger in renders:
        try:
            row = measure(
                model, config, options.backend, stranger, options.landmarks, options.prior, options.true_albedo
            )
        except FaceinvError as error:
            print(f"{stranger.name}: {error}")
            continue
        rows.append(row)
    mean = {key: float(np.mean([row[key] for row in rows])) for key in (*TERMS, "sum", "fit")}
    print("Median motion of the visible face along its normals, mm, by each term of one step from the truth:")
    print(table([*rows, {"face": "mean", "mm": "", "yaw": "", **mean}]))
    print(f"{len(rows)} renders in {time.perf_counter() - began:.1f} s")
    if options.save:
        content = {"split": options.split, "config": dataclasses.asdict(config), "mean": mean, "faces": rows}
        print(f"saved {save('displacement', content).name}")


if __name__ == "__main__":
    main()
