"""The `numpy` engine: two ways to J^T J, the derivative of normals, bits that do not depend on the batch."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from faceinv.backends.numpy_numba import build, surface
from faceinv.engine.records import Energy, EngineSettings, Problem
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.formats import load_model
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from faceinv.engine.records import Assembly, DType, Linearization, Normals
    from faceinv.face.model import MorphableModel

SIZE = 64
ENERGY = Energy(photometric=1.0, identity=0.0, expression=0.0, albedo=0.0, lighting=0.0, huber_delta=0.05)
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
    kappa = np.array([1 / 400, 0.0, 1 / 900])[:batch]
    chi[:, layout.pose] = Camera(np.full(batch, SIZE / 200), turns, middles, kappa, middles + 5).pack()
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
        landmark_sigma=np.full((count, 68), np.inf),
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
    renderer, seen = differentiator.renderer, differentiator.freeze(chi).cache[0].seen
    layout = renderer.layout
    used = seen.vertices
    columns = np.flatnonzero(layout.mask(layout.shape, layout.pose))
    tangents, motion = np.empty((len(used), 2, 3)), np.zeros((len(used), 5, len(columns)))
    made = renderer.surface(chi[0], 0)
    surface.tangent_frames(made.shape.normals, made.posed.camera, used, tangents)
    surface.vertex_jacobian(False, True, renderer.mesh, made.shape, made.posed, used, renderer.shape_basis, motion)
    # Where vertices are from the principal point, y up, and how much larger than at the model's origin they are.
    centre = (made.image_xy - layout.cameras(chi[0]).centre)[used] * (1, -1)
    nearer = made.posed.screen[used, 2:]
    for n, column in enumerate(columns):
        if layout.principal_point.start <= column < layout.principal_point.stop:
            assert not motion[:, :, n].any()
            continue
        width = 1e-7 if column == layout.inverse_focal else 1e-5
        step = np.zeros_like(chi)
        step[0, column] = width
        ahead, behind = (renderer.surface(layout.retract(chi, s)[0], 0) for s in (step, -step))
        screen = (ahead.image_xy - behind.image_xy)[used] / (2 * width) * (1, -1)
        turn = (ahead.posed.normals - behind.posed.normals)[used] / (2 * width)
        moved = nearer * (motion[:, :2, n] + centre * motion[:, 2, None, n])
        assert np.abs(moved - screen).max() < 1e-7 * max(1.0, np.abs(screen).max())
        turned = np.einsum("vad,va->vd", tangents, motion[:, 3:, n])
        assert np.abs(turned - turn).max() < 1e-6 * max(1.0, np.abs(turn).max())


@pytest.mark.parametrize("count", [1, 3, 5])
def test_pixels_fewer_than_their_shares_are_all_counted(count: int) -> None:
    """Rows are shared out to a fixed number of sums, some of which then have one pixel or none."""
    bare, chi = bound("float64", "smooth", "rows", slice(0, 1))
    mask = np.zeros(bare.problem.mask.shape, np.bool_)
    mask.ravel()[bare.freeze(chi).cache[0].seen.pixels[::97][:count]] = True
    differentiator = type(bare)(bare.renderer, replace(bare.problem, mask=mask))
    frozen = differentiator.freeze(chi)
    assert frozen.pixels[0] == count
    rows = differentiator.residual_jacobian(chi, frozen, 0)
    hessian = differentiator.linearize(chi, frozen, np.ones(1, np.bool_)).hessian[0]
    assert far(hessian, rows.jacobian.T @ (rows.weight[:, None] * rows.jacobian)) < TOLERANCE["float64"]
