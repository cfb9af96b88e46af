"""Small deterministic problems: a toy face of 1,845 vertices by formula, so that golden files outlive model files."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.engine.records import Energy, EngineSettings, Problem, Visibility
from faceinv.engine.registry import build_engine
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.face.state import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import AbstractDifferentiator, Engine
    from faceinv.engine.records import Frozen, Geometry, Linearization, Normals, Pixels

__all__ = [
    "DISTANCE",
    "SIZE",
    "Run",
    "flat_scene",
    "run",
    "shadowed_model",
    "toy_chi",
    "toy_model",
    "toy_problem",
    "weighted_problem",
]

SIZE = (64, 72)
_COLUMNS, _ROWS = 41, 45


@cache
def shadowed_model() -> MorphableModel:
    """`toy_model` with moments of blocked light by formula: smooth, everywhere, and unlike in every direction."""
    model = toy_model()
    x, y, z = model.mean.astype(np.float64).T / 50
    waves = [0.3 * np.sin((0.8 + 0.1 * k) * x + (0.5 - 0.07 * k) * y - 0.3 * z + k) for k in range(10)]
    return replace(model, occlusion=np.stack(waves, axis=1).astype(np.float32))


@cache
def toy_model() -> MorphableModel:
    """Half an ellipsoid with a nose that hides part of a cheek when turned; 6, 5 and 4 modes."""
    grid = np.meshgrid(np.linspace(-1.3, 1.3, _COLUMNS), np.linspace(-1.1, 1.1, _ROWS))
    lon, lat = (axis.ravel() for axis in grid)
    nose = 25 * np.exp(-(lon**2 + (lat + 0.1) ** 2) / 0.02)
    mean = np.stack([75 * np.sin(lon) * np.cos(lat), 100 * np.sin(lat), 80 * np.cos(lon) * np.cos(lat) + nose], axis=1)

    def field(k: float, axis: int) -> NDArray[np.float64]:
        return np.sin((1.1 + 0.4 * k) * lon + 0.7 * axis + k) * np.cos((0.9 + 0.3 * k) * lat - 0.5 * axis + 2 * k)

    def basis(count: int, first: int, amplitude: float) -> NDArray[np.float32]:
        modes = [[amplitude * field(first + m, axis) for axis in range(3)] for m in range(count)]
        return np.transpose(np.array(modes), (2, 1, 0)).astype(np.float32)

    i, j = np.meshgrid(np.arange(_COLUMNS - 1), np.arange(_ROWS - 1))
    a = (j * _COLUMNS + i).ravel()
    b, c, d = a + 1, a + _COLUMNS + 1, a + _COLUMNS
    triangles = np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])
    face_mask = (np.abs(lon[triangles]) < 1.05).all(axis=1) & (np.abs(lat[triangles]) < 0.95).all(axis=1)

    def nearest(u: float, v: float) -> int:
        return int(np.argmin((lon - u) ** 2 + (lat - v) ** 2))

    jaw_angles = np.linspace(-1.0, 1.0, 17)
    jaw = [nearest(u, -0.15 - 0.6 * np.cos(1.4 * u)) for u in jaw_angles]
    side = (np.abs(lon[triangles]) > 0.5).all(axis=1) & (lat[triangles] < 0.4).all(axis=1)
    inner = [nearest(0.75 * np.cos(0.9 * k), 0.6 * np.sin(1.7 * k) + 0.1) for k in range(51)]
    # The outer eye corners, 36 and 45, which set the unit of landmark distances.
    inner[36 - 17], inner[45 - 17] = nearest(-0.6, 0.35), nearest(0.6, 0.35)
    landmarks = np.array(jaw + inner)
    colour = np.array([0.6, 0.45, 0.35]) * (1 + 0.15 * np.sin(5 * lon) * np.cos(4 * lat))[:, None]
    return MorphableModel(
        name="toy",
        licence="none",
        albedo_space="linear",
        mean=mean,
        identity_basis=basis(6, 0, 2.0),
        expression_basis=basis(5, 6, 1.5),
        mean_albedo=colour.astype(np.float32),
        albedo_basis=basis(4, 11, 0.05),
        triangles=triangles,
        landmark_vertices=np.repeat(landmarks[:, None], 3, axis=1),
        landmark_weights=np.tile([1.0, 0.0, 0.0], (68, 1)),
        face_mask=face_mask,
        jaw_band=np.tile(np.flatnonzero(side), (17, 1)),
        uv=np.stack([(lon + 1.3) / 2.6, (lat + 1.1) / 2.2], axis=1),
        uv_triangles=triangles,
        mirror=np.arange(len(mean), dtype=np.int32).reshape(_ROWS, _COLUMNS)[:, ::-1].ravel(),
    )


def flat_scene(points: list[tuple[float, float, float]], triangles: list[tuple[int, int, int]]) -> MorphableModel:
    """A model whose vertices are given in pixels (x, y down) and depth, when drawn with the chi that is all zeros."""
    toy = toy_model()
    mean = np.array([(x, -y, z) for x, y, z in points])
    n = len(mean)
    return MorphableModel(
        name="scene",
        licence="none",
        albedo_space="linear",
        mean=mean,
        identity_basis=np.zeros((n, 3, 1), np.float32),
        expression_basis=np.zeros((n, 3, 1), np.float32),
        mean_albedo=np.full((n, 3), 0.5, np.float32),
        albedo_basis=np.zeros((n, 3, 1), np.float32),
        # Given clockwise as seen in the image, which is how they look from the front with y down.
        triangles=np.array(triangles)[:, ::-1],
        landmark_vertices=np.zeros((68, 3), np.int32),
        landmark_weights=toy.landmark_weights,
        face_mask=np.ones(len(triangles), np.bool_),
        jaw_band=np.zeros((17, 0), np.int32),
        uv=np.zeros((1, 2), np.float32),
        uv_triangles=np.zeros((len(triangles), 3), np.int32),
        mirror=np.arange(n, dtype=np.int32),
    )


DISTANCE = 300.0
"""mm to the first of the toy faces: some three times its size, so that perspective is strong."""


def toy_chi(
    batch: int, model: MorphableModel | None = None, size: tuple[int, int] = SIZE, kappa: float = 1 / DISTANCE
) -> NDArray[np.float64]:
    """(B, P): faces that fill the image, turned this way and that, under coloured light.

    The first is seen from near, with the principal point aside as in a crop; the second under weak perspective.
    """
    model = model or toy_model()
    layout = ParameterLayout.of(model)
    rng = np.random.default_rng(7)
    chi = np.zeros((batch, layout.count))
    for item in range(batch):
        shape, albedo = 0.7 * rng.normal(size=layout.shape_count), 0.7 * rng.normal(size=layout.albedo_count)
        turn = rotation_matrix(np.array([0.1, 0.45 - 0.9 * item, -0.1 + 0.15 * item]))
        middle = np.array([size[1] / 2 + 0.3, size[0] / 2 - 0.2])
        centre = np.array([0.3 * size[1], 0.7 * size[0]])
        camera = Camera(min(size) * 0.85 / 210, turn, middle, 0.0 if item else kappa, centre)
        light = ambient(0.9) + 0.15 * rng.normal(size=(9, 3))
        chi[item] = Face(shape[layout.identity], shape[layout.expression], albedo, camera, light).pack(layout)
    return chi


def toy_problem(batch: int, size: tuple[int, int] = SIZE) -> Problem:
    """One or two photos that differ from the model enough for Huber's weights to matter, with a masked corner."""
    rng = np.random.default_rng(11)
    y, x = np.mgrid[: size[0], : size[1]]
    pattern = 0.35 + 0.15 * np.sin(0.21 * x)[..., None] * np.cos(0.17 * y[..., None] + np.arange(3))
    image = pattern + 0.05 * rng.normal(size=(2, *size, 3))
    mask = np.ones((batch, *size), np.bool_)
    mask[:, : size[0] // 3, : size[1] // 3] = False
    centre = np.array([size[1] / 2, size[0] / 2])
    return Problem(
        image=image[:batch].astype(np.float32),
        mask=mask,
        landmarks=(centre + 12 * rng.normal(size=(2, 68, 2)))[:batch],
        landmark_sigma=rng.uniform(0.03, 0.07, (2, 68))[:batch],
        eye_distance=np.full(batch, 0.3 * size[1]),
        energy=Energy(
            photometric=1000.0,
            identity=1.0,
            expression=2.0,
            albedo=3.0,
            lighting=0.1,
            huber_delta=0.1,
        ),
        landmark_offsets=rng.normal(size=(2, 68, 3))[:batch],
        focal_prior=np.array([[0.01, 20.0], [0.002, 30.0]])[:batch],
    )


def weighted_problem(batch: int) -> Problem:
    """`toy_problem` with pixels that count for less, or for nothing."""
    problem = toy_problem(batch)
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    weights = np.clip(0.6 + 0.7 * np.sin(0.17 * x + 0.11 * y), 0.0, 1.0)
    return replace(problem, pixel_weights=np.stack([weights, weights[::-1]])[:batch].astype(np.float32))


@dataclass(frozen=True)
class Run:
    """Everything an engine says about the toy problem."""

    engine: Engine
    differentiator: AbstractDifferentiator
    chi: NDArray[np.float64]
    geometry: Geometry
    frozen: Frozen
    linearization: Linearization

    def host(self, array: Any) -> NDArray[Any]:
        """A NumPy copy."""
        return self.engine.renderer.to_host(array)

    @property
    def visibility(self) -> Visibility:
        """What is frozen; the toy problem is always drawn."""
        assert self.frozen.visibility is not None
        return self.frozen.visibility

    @cached_property
    def pixels(self) -> Pixels:
        """All that each pixel shows, in the frozen visibility."""
        return self.engine.renderer.interpolate(self.geometry, self.visibility)

    @cached_property
    def radiance(self) -> NDArray[np.float64]:
        """(B, H, W, 3) of these pixels, on the host."""
        renderer = self.engine.renderer
        return self.host(renderer.shade(self.pixels, renderer.layout.gamma(self.chi)))


@cache
def run(backend: str, normals: Normals, batch: int = 2, kappa: float = 1 / DISTANCE, shadowed: bool = False) -> Run:
    """The toy problem on an engine, or the weighted one on a face with shadows; made once for all tests.

    Raises:
        BackendError: when the engine cannot be had.
    """
    engine = build_engine(backend, shadowed_model() if shadowed else toy_model(), EngineSettings(normals=normals))
    differentiator = engine.differentiator(weighted_problem(batch) if shadowed else toy_problem(batch))
    chi = toy_chi(batch, kappa=kappa)
    frozen = differentiator.freeze(chi)
    linearization = differentiator.linearize(chi, frozen, np.ones(batch, np.bool_))
    return Run(engine, differentiator, chi, engine.renderer.geometry(chi), frozen, linearization)
