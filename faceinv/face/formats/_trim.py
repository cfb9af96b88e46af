"""Cutting a finished model down to its face."""

from __future__ import annotations

import numpy as np

from faceinv.face.formats._regions import face_region
from faceinv.face.model import MorphableModel

__all__ = ["face_part"]


def face_part(model: MorphableModel) -> MorphableModel:
    """The model on its face alone: neck, ears and the back of the head left out, every index moved along.

    What stays is the region inside the landmarks' outline with a margin (`_regions.face_region`), and whatever the face
    mask, the landmarks and the jaw contour need.
    """
    mean = model.mean.astype(np.float64)
    triangles = model.triangles.astype(np.int64)
    needed = np.concatenate([model.landmark_vertices.ravel(), model.jaw_contour.ravel()])
    kept = face_region(mean, triangles, model.landmarks(mean)) | model.face_mask
    kept |= np.isin(triangles, needed).any(axis=1)
    return model.restricted(kept)
