"""The `numpy` engine: two ways to J^T J, the derivative of normals, bits that do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from faceinv.backends.numpy_numba import build, surface
from faceinv.engine.records import Energy, EngineSettings, Problem
from faceinv.face.camera import WeakPerspective, rotation_matrix
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from faceinv.engine.records import Assembly, DType, Linearization, Normals
    from faceinv.face.model import MorphableModel

SIZE = 64
ENERGY = Energy(
    photometric=1.0, landmarks=0.0, identity=0.0, expression=0.0, albedo=0.0, lighting=0.0, huber_delta=0.05
)
TOLERANCE = {"float64": 1e-12, "float32": 2e-6}
"""Relative to the max norm: the rounding of rows, and of sums over some ten thousand of them."""


@cache
def model() -> MorphableModel:
    return load_model("default", identity=7, expression=6, albedo=5, face_only=True)


def faces(batch: int) -> NDArray[np.float64]:
    layout, rng = ParameterLayout.of(model()), np.random.default_rng(3)
    chi = np.zeros((batch, layout.count))
    chi[:, layout.shape] = rng.normal(0, 0.7, (batch, layout.shape_count))
    chi[:, layout.albedo] = rng.normal(0, 0.7, (batch, layout.albedo_count))
    turns, middles = rotation_matrix(rng.normal(0, 0.15, (batch, 3))), SIZE / 2 + rng.uniform(-1, 1, (batch, 2))
    chi[:, layout.pose] = WeakPerspective(np.full(batch, SIZE / 200), turns, middles).pack()
    chi[:, layout.lighting] = pack_lighting(ambient(0.8) + rng.normal(0, 0.15, (9, 3)))
    return chi


def bound(dtype: DType, normals: Normals, assembly: Assembly, items: slice, threshold: float = 0.05) -> Any:
    """The engine's differentiator for some items of a fixed batch of three, and their chi."""
    image = np.random.default_rng(4).uniform(0.2, 0.8, (3, SIZE, SIZE, 3)).astype(np.float32)[items]
    count = len(image)
    problem = Problem(
        image=image,
        mask=np.ones((count, SIZE, SIZE), np.bool_),
        landmarks=np.full((count, 68, 2), SIZE / 2),
        landmark_weights=np.ones((count, 68)),
        eye_distance=np.full(count, SIZE / 3),
        energy=replace(ENERGY, huber_delta=threshold),
    )
    engine = build(model(), EngineSettings(dtype=dtype, normals=normals, assembly=assembly))
    return engine.differentiator(problem), faces(3)[items]


def linearized(dtype: DType, normals: Normals, assembly: Assembly, items: slice) -> Linearization:
    differentiator, chi = bound(dtype, normals, assembly, items)
    result: Linearization = differentiator.linearize(chi, differentiator.freeze(chi), np.ones(len(chi), np.bool_))
    return result


def far(got: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
    return float(np.abs(got - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize("normals", ["smooth", "flat"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_both_assemblies_are_the_products_of_the_rows(dtype: DType, normals: Normals) -> None:
    differentiator, chi = bound("float64", normals, "rows", slice(0, 1))
    rows = differentiator.residual_jacobian(chi, differentiator.freeze(chi), 0)
    assert 0 < (rows.weight < 1).mean() < 1
    hessian = rows.jacobian.T @ (rows.weight[:, None] * rows.jacobian)
    gradient = rows.jacobian.T @ (rows.weight * rows.residual)
    ways = [linearized(dtype, normals, way, slice(0, 1)) for way in ("rows", "vertices")]
    for got in ways:
        assert far(got.hessian[0], hessian) < TOLERANCE[dtype]
        assert far(got.gradient[0], gradient) < TOLERANCE[dtype]
        assert np.array_equal(got.hessian[0], got.hessian[0].T)
    assert ways[0].cost.total == ways[1].cost.total


@pytest.mark.parametrize("assembly", ["rows", "vertices"])
@pytest.mark.parametrize("normals", ["smooth", "flat"])
def test_a_batch_is_its_items(normals: Normals, assembly: Assembly) -> None:
    together = linearized("float32", normals, assembly, slice(0, 3))
    for item in range(3):
        alone = linearized("float32", normals, assembly, slice(item, item + 1))
        assert np.array_equal(together.hessian[item], alone.hessian[0])
        assert np.array_equal(together.gradient[item], alone.gradient[0])
        assert together.cost.total[item] == alone.cost.total[0]


def test_turns_of_normals_are_their_finite_differences() -> None:
    differentiator, chi = bound("float64", "smooth", "rows", slice(0, 1))
    renderer, seen = differentiator.renderer, differentiator.freeze(chi).cache[0]
    layout = renderer.layout
    used = seen.vertices
    tangents, motion = np.empty((len(used), 2, 3)), np.zeros((len(used), 4, layout.shape_count + 6))
    made = renderer.surface(chi[0], 0)
    surface.vertex_jacobian(
        False, True, renderer.mesh, made.shape, made.posed, used, renderer.shape_basis, tangents, motion
    )
    columns = np.r_[layout.shape, layout.pose]
    for n, column in enumerate(columns):
        step = np.zeros_like(chi)
        step[0, column] = 1e-5
        ahead, behind = (renderer.surface(layout.retract(chi, s)[0], 0) for s in (step, -step))
        screen = (ahead.image_xy - behind.image_xy)[used] / 2e-5 * (1, -1)
        turn = (ahead.posed.normals - behind.posed.normals)[used] / 2e-5
        assert np.abs(motion[:, :2, n] - screen).max() < 1e-7 * max(1.0, np.abs(screen).max())
        turned = np.einsum("vad,va->vd", tangents, motion[:, 2:, n])
        assert np.abs(turned - turn).max() < 1e-6 * max(1.0, np.abs(turn).max())
