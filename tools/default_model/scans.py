"""Identities of a morphable model of scans, laid on the face mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceinv.face.formats import load_model
from faceinv.face.mesh import vertex_areas
from faceinv.face.registration import Registered, Template, register_surface, similarity_of_points

if TYPE_CHECKING:
    from arrays import Floats, Ints

__all__ = ["LaidScans", "Scans", "read_scans"]

CENTIMETRE = 10.0


@dataclass(frozen=True)
class Scans:
    """A model's mean, its identity modes and its landmarks, mm."""

    mean: Floats
    """(N', 3)"""
    triangles: Ints
    """(T', 3)"""
    modes: Floats
    """(N', 3, K) a standard deviation each."""
    landmarks: Floats
    """(68, 3)"""


def read_scans(path: Path) -> Scans:
    """Read ICT-FaceKit: its folder as published, or an `.npz` of its arrays (cm) under the names `vertices` (N', 3),
    `faces` (T', 3), `identity` (K, N', 3) and `landmarks68` (68,)."""
    if path.is_dir():
        model = load_model(path)
        mean = model.mean.astype(np.float64)
        return Scans(
            mean, model.triangles.astype(np.int64), model.identity_basis.astype(np.float64), model.landmarks(mean)
        )
    with np.load(path) as arrays:
        mean = arrays["vertices"].astype(np.float64) * CENTIMETRE
        modes = np.moveaxis(arrays["identity"].astype(np.float64) * CENTIMETRE, 0, -1)
        return Scans(mean, arrays["faces"].astype(np.int64), modes, mean[arrays["landmarks68"]])


@dataclass(frozen=True)
class LaidScans:
    """The scans' model with the topology of the face mesh, in its space: faces differ by no similarity."""

    mean: Floats
    """(N, 3) mm."""
    modes: Floats
    """(N, 3, K)"""
    trust: Floats
    """(N,) 0 to 1: how surely a vertex has a counterpart."""
    anchor: Floats
    """(N,) weights by which faces are aligned."""
    registered: Registered

    @classmethod
    def lay(cls, scans: Scans, template: Template, anchor: Floats) -> LaidScans:
        """Register the template with the scans' mean and carry the modes over.

        Args:
            scans: what is laid.
            template: the face mesh.
            anchor: (N,) weight of each vertex in the alignment; by area and 0 off the face.
        """
        registered = register_surface(template, scans.mean, scans.triangles, scans.landmarks)
        counterparts = registered.counterparts
        corners = scans.triangles[counterparts.triangle]
        modes = np.einsum("nk,nkdm->ndm", counterparts.weights, scans.modes[corners])
        home = similarity_of_points(registered.vertices, template.vertices, anchor)
        turned = home.scale * np.einsum("ij,njm->nim", home.rotation, modes)
        return cls(home(registered.vertices), turned, registered.trust, anchor, registered)

    def face(self, coefficients: Floats) -> Floats:
        """(N, 3) the face of coefficients (K,), aligned with the mean by a similarity: size is not identity."""
        return self.aligned(self.mean + self.modes @ coefficients)

    def aligned(self, face: Floats) -> Floats:
        """A face (N, 3) moved by a similarity onto the mean."""
        return similarity_of_points(face, self.mean, self.anchor)(face)


def anchor_of(template: Template, face: Ints) -> Floats:
    """(N,) area of the face's vertices, 0 elsewhere."""
    weight = np.zeros(len(template.vertices))
    weight[face] = vertex_areas(template.vertices, template.triangles)[face]
    return weight
