"""Small problems for tests of the core: few modes of the packaged model, few pixels, and flat scenes in pixels."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.records import Energy, Problem
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["few_modes", "flat_scene", "posed", "some_problem"]


@cache
def few_modes() -> MorphableModel:
    """The face of the default model with 6, 5 and 3 modes."""
    return load_model("default", identity=6, expression=5, albedo=3, face_only=True)


def posed(size: int, pitch: float = 0.0, yaw: float = 0.0, roll: float = 0.0, seed: int = 0) -> NDArray[np.float64]:
    """chi (P,) of some face of `few_modes` that fills a square image, under coloured light, seen from half a metre with
    the principal point aside, as in a crop."""
    layout, rng = ParameterLayout.of(few_modes()), np.random.default_rng(seed)
    shape, albedo = rng.normal(0, 0.7, layout.shape_count), rng.normal(0, 0.7, layout.albedo_count)
    middle = size / 2 + np.array([0.31, -0.17])
    camera = Camera(size / 220, rotation_from_euler(pitch, yaw, roll), middle, 1 / 500, size * np.array([0.3, 0.8]))
    light = ambient(0.8) + rng.normal(0, 0.15, (9, 3))
    return Face(shape[layout.identity], shape[layout.expression], albedo, camera, light).pack(layout)


def some_problem(
    size: int, batch: int = 1, huber_delta: float = 0.1, energy: Energy | None = None, seed: int = 0
) -> Problem:
    """Smooth colours, landmarks near a face, every weight different."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    waves = 0.4 + 0.2 * np.sin(9 * x + 4 * y)[..., None] * np.array([1.0, 0.7, -0.5])
    image = waves + rng.normal(0, 0.05, (batch, size, size, 3))
    mean = few_modes().landmarks(few_modes().mean)
    spots = size / 220 * mean[:, :2] * [1.0, -1.0] + size / 2
    return Problem(
        image=image.astype(np.float32),
        mask=np.ones((batch, size, size), np.bool_),
        landmarks=spots + rng.normal(0, 0.02 * size, (batch, 68, 2)),
        landmark_sigma=rng.uniform(0.03, 0.07, (batch, 68)),
        eye_distance=np.full(batch, 0.4 * size),
        energy=energy
        or Energy(
            photometric=1300.0,
            identity=1.0,
            expression=2.0,
            albedo=3.0,
            lighting=0.5,
            huber_delta=huber_delta,
        ),
        landmark_offsets=rng.normal(0, 1.0, (batch, 68, 3)),
    )


def flat_scene(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> MorphableModel:
    """A model drawn as it is by the chi that is all zeros: points (N, 3) are x px, y px (down) and depth px.

    Triangles face the viewer where their corners run clockwise in the picture; the model has them the other way round.
    """
    count, faces = len(points), len(triangles)
    weights = np.zeros((68, 3), np.float32)
    weights[:, 0] = 1
    return MorphableModel(
        name="scene",
        licence="none",
        albedo_space="linear",
        mean=(np.asarray(points, np.float64) * [1.0, -1.0, 1.0]).astype(np.float32),
        identity_basis=np.zeros((count, 3, 1), np.float32),
        expression_basis=np.zeros((count, 3, 1), np.float32),
        mean_albedo=np.full((count, 3), 0.5, np.float32),
        albedo_basis=np.zeros((count, 3, 1), np.float32),
        triangles=np.asarray(triangles, np.int32)[:, ::-1],
        landmark_vertices=np.zeros((68, 3), np.int32),
        landmark_weights=weights,
        face_mask=np.ones(faces, np.bool_),
        jaw_band=np.zeros((17, 0), np.int32),
        uv=np.zeros((1, 2), np.float32),
        uv_triangles=np.zeros((faces, 3), np.int32),
        mirror=np.arange(count, dtype=np.int32),
    )
