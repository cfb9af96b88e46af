"""Cutting a finished model down to its face."""

from __future__ import annotations

import dataclasses

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
    used = np.unique(triangles[kept])
    place = np.full(len(mean), -1, np.int32)
    place[used] = np.arange(len(used))
    mirror = place[model.mirror[used]]
    corners, flat = np.unique(model.uv_triangles[kept], return_inverse=True)
    return dataclasses.replace(
        model,
        mean=model.mean[used],
        identity_basis=model.identity_basis[used],
        expression_basis=model.expression_basis[used],
        mean_albedo=model.mean_albedo[used],
        albedo_basis=model.albedo_basis[used],
        triangles=place[triangles[kept]],
        landmark_vertices=place[model.landmark_vertices],
        face_mask=model.face_mask[kept],
        triangle_parts=None if model.triangle_parts is None else model.triangle_parts[kept],
        jaw_contour=place[model.jaw_contour],
        uv=model.uv[corners],
        uv_triangles=flat.reshape(-1, 3).astype(np.int32),
        mirror=np.where(mirror < 0, np.arange(len(used)), mirror).astype(np.int32),
    )
