"""The part of a model's surface that a fit has to compute."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from faceinv.face.model import MorphableModel

__all__ = ["fit_mesh"]

_MARGIN: Final = 0.18
"""Skin is kept up to this share of the face's height around the face mask: it can stand before the mask or hide it."""
_WORTHWHILE: Final = 0.9
"""A model that would keep more of its vertices than this is left whole."""


def fit_mesh(model: MorphableModel) -> MorphableModel:
    """The model without what no fit can see a difference by: eyes, teeth, tongue, scalp, neck, back of the head.

    What is left: the triangles of the face mask, those around it (so that the mask's vertices keep their normals, and
    what may hide it in a turned head is there), and those of the landmarks and of the jaw's band; all on the connected
    parts of the surface that hold the face mask. Its coefficients are the model's own.
    """
    mean, triangles = model.mean.astype(np.float64), model.triangles.astype(np.int64)
    shown = np.unique(triangles[model.face_mask])
    margin = _MARGIN * float(np.ptp(mean[shown, 1]))
    distance, _ = cKDTree(mean[shown]).query(mean, distance_upper_bound=margin)
    near = np.asarray(np.isfinite(distance))
    links = (triangles[:, [0, 1]].T.ravel(), triangles[:, [1, 2]].T.ravel())
    graph = sparse.coo_array((np.ones(len(links[0]), np.int8), links), shape=(len(mean), len(mean)))
    _, component = csgraph.connected_components(graph, directed=False)
    near &= np.isin(component, np.unique(component[shown]))
    needed = np.zeros(len(mean), np.bool_)
    needed[model.landmark_vertices] = True
    needed[triangles[model.jaw_triangles]] = True
    kept = np.asarray(near[triangles].all(axis=1) | needed[triangles].any(axis=1))
    kept |= np.isin(triangles, shown).any(axis=1)
    if len(np.unique(triangles[kept])) > _WORTHWHILE * model.vertex_count:
        return model
    return model.restricted(kept)
