"""How uncertain a fitted surface is, and where.

The posterior of the coefficients is taken to be normal around the fit, with the inverse of the energy's Gauss-Newton
Hessian as its covariance (Laplace's approximation; MacKay, "A practical Bayesian framework for backpropagation
networks", Neural Computation 1992). Two things stand between that and the error of a surface:

- *Gauge.* A photo does not tell a face's size and, with the pose free, not its place: whatever a coefficient does that
  is only a similarity of the face changes nothing that people mean by its shape. Motions of the surface are therefore
  taken modulo the similarity that carries the face mask nearest to where it was, weighted by area.
- *What the model does not know.* Its bases cannot express a face exactly, and its light and skin are simpler than
  those of photos, which pulls the minimum away from the truth. The first is a deviation of each vertex, from the
  statistics of the model where these tell it; the second is calibrated on rendered faces whose truth is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.face.layout import ParameterLayout
from faceinv.face.mesh import vertex_areas, vertex_normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

    Array = NDArray[np.float64]

__all__ = [
    "POSTERIOR_FACTOR",
    "RESIDUAL_MM",
    "along_normals",
    "posterior_motions",
    "posterior_std",
    "similarities",
    "surface_std",
]

POSTERIOR_FACTOR: Final = 0.68
"""The posterior's standard deviations are multiplied by this, with 1 they are the energy's own. It and the next were
the likeliest for 16 rendered strangers (`benchmarks/uncertainty.py --split dev --calibrate`): 70 % of true errors are
then within one deviation."""
RESIDUAL_MM: Final = 0.58
"""Standard deviation along the normal of what bases do not express."""
_RIDGE: Final = 1e-10
"""Of the Hessian's diagonal: entries without a prior (pose, light) may be all but undetermined together."""


def surface_std(model: MorphableModel, vertices: Array, hessian: Array, residual: Array | None = None) -> Array:
    """The standard deviation of a fitted surface along its normals.

    Args:
        model: whose bases carry coefficients to vertices.
        vertices: (N, 3) mm: the fitted surface.
        hessian: (P, P): half the Gauss-Newton Hessian of an energy that is a sum of squares over variances, so that
            priors weigh one; zeros for entries that were held.
        residual: (N,) mm along the normal: what the bases do not express; None for `RESIDUAL_MM` everywhere.

    Returns:
        (N,) mm.
    """
    spread = posterior_std(model, vertices, hessian)
    rest = RESIDUAL_MM if residual is None else residual
    return np.asarray(np.hypot(POSTERIOR_FACTOR * spread, rest))


def posterior_std(model: MorphableModel, vertices: Array, hessian: Array) -> Array:
    """(N,) mm along the normals, modulo a similarity: of the coefficients' posterior alone; see `surface_std`."""
    spread: Array = np.sqrt((posterior_motions(model, vertices, hessian) ** 2).sum(axis=1))
    return spread


def posterior_motions(model: MorphableModel, vertices: Array, hessian: Array) -> Array:
    """(N, K) mm along the normals, modulo a similarity: times K standard normal numbers a draw from the posterior."""
    layout = ParameterLayout.of(model)
    # What was held has zeros; what nothing speaks of, as light in a dark photo, moves nothing else either.
    free = np.flatnonzero(np.diagonal(hessian) > 0)
    kept = hessian[np.ix_(free, free)]
    covariance = np.zeros_like(hessian)
    covariance[np.ix_(free, free)] = np.linalg.inv(kept + _RIDGE * np.diag(np.diagonal(kept)))
    values, vectors = np.linalg.eigh(covariance[layout.shape, layout.shape])
    return along_normals(model, vertices, vectors * np.sqrt(np.maximum(values, 0.0)))


def along_normals(model: MorphableModel, vertices: Array, coefficients: Array) -> Array:
    """(N, C) mm: how a surface moves along its normals by changes of its coefficients of shape (K, C), each motion less
    the similarity that is nearest to it over the face mask."""
    normals = vertex_normals(vertices, model.triangles)
    split = model.identity_count
    bases = ((model.identity_basis, coefficients[:split]), (model.expression_basis, coefficients[split:]))
    areas = vertex_areas(vertices, model.triangles[model.face_mask])
    face = np.flatnonzero(areas)
    columns = similarities(vertices)
    weighted = areas[face, None, None] * columns[face]
    flat = weighted.reshape(-1, columns.shape[2])
    gram = np.einsum("ndi,ndj->ij", weighted, columns[face])
    moved = np.zeros((len(vertices), coefficients.shape[1]))
    similar = np.zeros((columns.shape[2], coefficients.shape[1]))
    for basis, change in bases:
        normal_basis = np.einsum("nd,ndk->nk", normals, basis)
        moved += normal_basis @ change
        similar += (flat.T @ basis[face].reshape(len(flat), -1)) @ change
    moved -= np.einsum("nd,ndi->ni", normals, columns) @ np.linalg.solve(gram, similar)
    return moved


def similarities(vertices: Array) -> Array:
    """(N, 3, 7): small motions of a similarity about the origin: along x, y, z; about x, y, z; in size."""
    x, y, z = vertices.T
    zero, one = np.zeros_like(x), np.ones_like(x)
    motions = (
        (one, zero, zero), (zero, one, zero), (zero, zero, one), (zero, -z, y), (z, zero, -x), (-y, x, zero), (x, y, z),
    )  # fmt: skip
    return np.stack([np.stack(motion, axis=1) for motion in motions], axis=2)
