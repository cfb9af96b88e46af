"""Does the uncertainty of a fit tell how wrong it is, and where: deviations against true errors of rendered strangers.

For every render (`render_strangers.py`) the default fit is laid on the true surface by the similarity that suits the
visible face best. At each vertex of the model's face mask the distance from the true surface is compared with
`FitResult.vertex_std`:

- within: share of the errors within one deviation; 68 % where errors are normal and the deviations right;
- rank over faces: Spearman's correlation over the vertices between the root mean squares, over the faces, of error and
  deviation.
- rank: the same within each face. A face is one draw of errors that hang together over centimetres, so that even
  deviations that are right cannot rank its errors well: `ceiling` is what errors would have that are drawn from the
  posterior itself.

`--calibrate` fits the two constants of `faceinv/fitting/uncertainty.py`; use it on the split `dev` only.

    python benchmarks/uncertainty.py --renders FOLDER --split dev --calibrate
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
from report import save, table
from scipy.stats import spearmanr
from strangers import KINDS, Stranger, chosen_renders, named_model, parser_of_renders
from surfaces import Surface, align, face_triangles, similarity_of_points

from faceinv import FaceinvError
from faceinv.fitting import uncertainty
from faceinv.fitting.fitter import Fitter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

    Array = NDArray[np.float64]

__all__ = ["true_errors"]

_STRIDE = 3
_DRAWS = 20


def true_errors(model: MorphableModel, vertices: Array, stranger: Stranger, chosen: NDArray[np.integer]) -> Array:
    """(V,) mm: distances of the chosen vertices of a surface, laid on a stranger's visible face, from the true one."""
    surface = Surface(vertices, face_triangles(model))
    start = similarity_of_points(model.landmarks(vertices)[17:], stranger.landmarks3d[17:])
    laid, _ = align(surface, stranger.points[::_STRIDE], stranger.areas[::_STRIDE], start)
    return Surface(stranger.vertices, stranger.triangles).nearest(laid(vertices[chosen])).distance / laid.scale


def _ceiling(motions: Array, rng: np.random.Generator) -> float:
    """Mean rank correlation between the deviations of a posterior and errors drawn from it."""
    drawn = np.abs(motions @ rng.normal(size=(motions.shape[1], _DRAWS)))
    spread = np.sqrt((motions**2).sum(axis=1))
    return float(np.mean([spearmanr(spread, draw).statistic for draw in drawn.T]))


def _score(errors: Array, deviations: Array) -> dict[str, float]:
    """Of (F, V) errors and deviations."""
    pooled = np.sqrt((errors**2).mean(axis=0)), np.sqrt((deviations**2).mean(axis=0))
    ranks = [spearmanr(e, d).statistic for e, d in zip(errors, deviations, strict=True)]
    return {
        "within": float((errors <= deviations).mean()),
        "within two": float((errors <= 2 * deviations).mean()),
        "rank": float(np.mean(ranks)),
        "rank over faces": float(spearmanr(*pooled).statistic),
        "all ranks": float(spearmanr(errors.ravel(), deviations.ravel()).statistic),
        "error rms": float(np.sqrt((errors**2).mean())),
        "deviation rms": float(np.sqrt((deviations**2).mean())),
    }


def calibrated(errors: Array, posterior: Array, residual: Array) -> tuple[float, float]:
    """The factors of both deviations under which the errors are likeliest, as normal errors of these variances."""
    best = (np.inf, 1.0, 1.0)
    for factor in np.geomspace(0.2, 4, 40):
        for rest in np.geomspace(0.05, 4, 40):
            variance = (factor * posterior) ** 2 + (rest * residual) ** 2
            cost = float((np.log(variance) + errors**2 / variance).mean())
            best = min(best, (cost, float(factor), float(rest)))
    return best[1], best[2]


def main() -> None:
    """Command line."""
    parser = parser_of_renders(__doc__.split("\n")[0])
    parser.add_argument("--landmarks", choices=KINDS, default="annotated")
    parser.add_argument("--calibrate", action="store_true", help="also fit the constants to these errors")
    parser.add_argument("--save", action="store_true", help="write results/uncertainty-SPLIT.json beside this file")
    options = parser.parse_args()
    config, renders = chosen_renders(parser, options)
    try:
        fitter = Fitter(named_model(options.model), "numpy", config)
    except (FaceinvError, OSError) as error:
        parser.error(str(error))
    model = fitter.model
    chosen = np.unique(model.triangles[model.face_mask])
    began = time.perf_counter()
    rows: list[dict[str, Any]] = []
    ceilings: list[float] = []
    rng = np.random.default_rng(0)
    every: list[tuple[Array, Array, Array]] = []
    for stranger in renders:
        given = None if options.landmarks == "detected" else getattr(stranger, f"landmarks_{options.landmarks}")
        try:
            result = fitter.fit(stranger.image, given)
        except FaceinvError as error:
            print(f"{stranger.name}: {error}")
            continue
        errors = true_errors(model, result.vertices, stranger, chosen)
        motions = uncertainty.posterior_motions(result.model, result.vertices, result.hessian)[chosen]
        posterior = np.sqrt((motions**2).sum(axis=1))
        residual = np.full(len(chosen), uncertainty.RESIDUAL_MM)
        every.append((errors, posterior, residual))
        ceilings.append(_ceiling(motions, rng))
        both = np.hypot(uncertainty.POSTERIOR_FACTOR * posterior, residual)
        rows.append({"face": stranger.name, **_score(errors[None], both[None])})
    errors, posterior, residual = (np.stack(each) for each in zip(*every, strict=True))
    whole = _score(errors, np.hypot(uncertainty.POSTERIOR_FACTOR * posterior, residual))
    whole["ceiling"] = float(np.mean(ceilings))
    print(table([{k: v for k, v in row.items() if k != "rank over faces"} for row in rows]))
    print(table([{"": "all", **whole}]))
    print(table([{"": "posterior alone", **_score(errors, posterior)}]))
    print(f"{len(rows)} renders in {time.perf_counter() - began:.1f} s")
    if options.calibrate:
        factor, rest = calibrated(errors, posterior, residual)
        print(f"likeliest: posterior times {factor:.2f}, residual times {rest:.2f}")
        print(table([{"": "then", **_score(errors, np.hypot(factor * posterior, rest * residual))}]))
    if options.save:
        print(f"saved {save(f'uncertainty-{options.split}', {'summary': whole, 'faces': rows}).name}")


if __name__ == "__main__":
    main()
