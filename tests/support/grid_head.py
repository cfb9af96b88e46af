"""The toy's head sampled by any grid, so that one surface has many meshes; with eye holes at choice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from toy_head import landmark_plan

from faceinv.face.model import MorphableModel
from faceinv.face.registration import Template

Points = NDArray[np.float64]
EYES = ((-33.0, 33.0), (33.0, 33.0))


@dataclass
class GridHead:
    vertices: Points
    triangles: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    """(68,) vertices."""
    mirror: NDArray[np.int64]

    def template(self) -> Template:
        weights = np.tile([1.0, 0.0, 0.0], (68, 1))
        corners = np.repeat(self.landmarks[:, None], 3, axis=1)
        return Template(self.vertices, self.triangles, corners, weights, self.mirror, np.ones(len(self.vertices)))


def depth(x: Points, y: Points) -> Points:
    """mm: the toy's surface, with brows and a mouth besides the nose, so that it fits one way only."""
    z = 95 * np.sqrt(np.maximum(1 - (x / 86) ** 2 - (y / 135) ** 2, 0.02))
    z = z + 24 * np.exp(-((x / 11) ** 2) - ((y - 2) / 16) ** 2)
    z = z + 4 * np.exp(-(((y - 50) / 8) ** 2)) - 5 * np.exp(-((x / 25) ** 2) - ((y + 35) / 7) ** 2)
    return np.asarray(z, np.float64)


def grid_head(rows: int, columns: int, eye_holes: bool = False) -> GridHead:
    x, y = np.meshgrid(np.linspace(-74, 74, columns), np.linspace(-95, 100, rows))
    vertices = np.stack([x.ravel(), y.ravel(), depth(x, y).ravel()], axis=1)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    left = vertices[corner, 0] + 74 / columns < 0
    # Diagonals mirror each other.
    low = np.where(left[:, None], [0, 1, columns + 1], [0, 1, columns]) + corner[:, None]
    high = np.where(left[:, None], [0, columns + 1, columns], [1, columns + 1, columns]) + corner[:, None]
    triangles = np.concatenate([low, high])
    mirror = (np.arange(rows)[:, None] * columns + np.arange(columns)[::-1]).ravel()
    plan = landmark_plan()
    if eye_holes:
        middle = vertices[triangles].mean(axis=1)[:, :2]
        hole = np.zeros(len(triangles), bool)
        for eye in EYES:
            hole |= (((middle - eye) / (13.0, 6.0)) ** 2).sum(axis=1) < 1
        triangles = triangles[~hole]
        used = np.unique(triangles)
        place = np.full(len(vertices), -1)
        place[used] = np.arange(len(used))
        vertices, triangles, mirror = vertices[used], place[triangles], place[mirror[used]]
    distance = np.linalg.norm(vertices[None, :, :2] - plan[:, None], axis=2)
    return GridHead(vertices, triangles, distance.argmin(axis=1), mirror)


def field(points: Points, count: int, seed: int = 0) -> Points:
    """(N, 3, count) mm: smooth displacements, functions of the place alone."""
    random = np.random.default_rng(seed)
    waves, phases = random.normal(scale=0.02, size=(count, 3, 3)), random.uniform(0, 6, (count, 3))
    moves: Points = 3 * np.sin(np.einsum("nd,kcd->nkc", points, waves) + phases).transpose(0, 2, 1)
    return moves


def grid_model(head: GridHead, name: str, identity: Points, albedo: float = 0.5) -> MorphableModel:
    """A finished model of a head; its identity modes are (N, 3, K) mm."""
    n = len(head.vertices)
    weights = np.zeros((68, 3), np.float32)
    weights[:, 0] = 1
    middle = np.abs(head.vertices[head.triangles].mean(axis=1)[:, :2] - [0, 0])
    return MorphableModel(
        name=name,
        licence=f"the licence of {name}",
        albedo_space="linear",
        mean=head.vertices.astype(np.float32),
        identity_basis=identity.astype(np.float32),
        expression_basis=field(head.vertices, 2, 9).astype(np.float32),
        mean_albedo=np.full((n, 3), albedo, np.float32) + (0.001 * head.vertices[:, :1]).astype(np.float32),
        albedo_basis=(0.01 * field(head.vertices, 2, 8)).astype(np.float32),
        triangles=head.triangles.astype(np.int32),
        landmark_vertices=np.repeat(head.landmarks[:, None], 3, axis=1).astype(np.int32),
        landmark_weights=weights,
        face_mask=(middle < [60, 75]).all(axis=1),
        jaw_band=np.zeros((17, 0), np.int32),
        uv=np.zeros((n, 2), np.float32),
        uv_triangles=head.triangles.astype(np.int32),
        mirror=head.mirror.astype(np.int32),
        expression_names=("smile", "jawOpen"),
    )
