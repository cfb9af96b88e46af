"""The rasteriser against a slow one whose coverage is plain: exact integers and a sample moved by an infinitesimal."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from small import flat_scene

from faceinv.engine.records import DEPTH_UNITS, RASTER_LIMIT, SNAP
from faceinv.engine.registry import build_engine
from faceinv.face.layout import ParameterLayout

SIZE = (9, 12)
quick = settings(max_examples=60, deadline=None, derandomize=True)


def draw(
    points: NDArray[np.float64], triangles: NDArray[np.int64], size: tuple[int, int] = SIZE
) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
    model = flat_scene(points, triangles)
    renderer = build_engine("numpy", model).renderer
    seen = renderer.rasterize(renderer.geometry(np.zeros((1, ParameterLayout.of(model).count))), size)
    return renderer.to_host(seen.triangle)[0], renderer.to_host(seen.barycentric)[0, ..., ::-1]


def covers(corners: NDArray[np.float64], x: int, y: int) -> bool:
    """Whether a triangle (3, 2) shows at the centre of a pixel.

    The top-left rule gives a centre on an edge to the triangle that holds the point slightly right of it and, for
    horizontal edges, slightly below. So the sample is moved by e and e squared, with e too small to matter otherwise.
    """
    if np.abs(corners).max() > RASTER_LIMIT:
        return False
    unit = 10**30
    snapped = [[int(np.floor(float(v) * SNAP + 0.5)) * unit for v in corner] for corner in corners]
    px, py = x * SNAP * unit + 10**18, y * SNAP * unit + 10**6
    inside = []
    for k in range(3):
        (ax, ay), (bx, by) = snapped[k], snapped[(k + 1) % 3]
        inside.append((bx - ax) * (py - ay) - (by - ay) * (px - ax) > 0)
    return all(inside)


def depth_at(points: NDArray[np.float64], x: int, y: int) -> float:
    """The plane through a snapped triangle, at a pixel, from exact integers."""
    corners = [[int(np.floor(float(v) * SNAP + 0.5)) for v in p[:2]] for p in points]
    px, py = x * SNAP, y * SNAP
    weight = []
    for k in range(3):
        (ax, ay), (bx, by) = corners[(k + 1) % 3], corners[(k + 2) % 3]
        weight.append((bx - ax) * (py - ay) - (by - ay) * (px - ax))
    return float(sum(w * float(p[2]) for w, p in zip(weight, points, strict=True)) / sum(weight))


def check(points: NDArray[np.float64], triangles: NDArray[np.int64]) -> None:
    """Coverage exactly; the triangle in front up to the unit of depth; ties to the lowest number."""
    got, weights = draw(points, triangles)
    points = points.astype(np.float32).astype(np.float64)
    for y in range(SIZE[0]):
        for x in range(SIZE[1]):
            covering = [t for t, corners in enumerate(triangles) if covers(points[corners, :2], x, y)]
            assert (got[y, x] >= 0) == bool(covering)
            if not covering:
                assert not weights[y, x].any()
                continue
            assert got[y, x] in covering
            depths = {t: depth_at(points[triangles[t]], x, y) for t in covering}
            nearest = max(depths.values())
            slack = 1.01 / DEPTH_UNITS + 1e-9 * max(abs(d) for d in depths.values())
            assert depths[int(got[y, x])] >= nearest - slack
            equal = [t for t in covering if np.array_equal(points[triangles[t]], points[triangles[got[y, x]]])]
            assert got[y, x] == min(equal)
            assert weights[y, x].sum() == pytest.approx(1.0)


def snapped_numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.integers(int(low * SNAP), int(high * SNAP)).map(lambda n: n / SNAP)


near = st.one_of(snapped_numbers(-3, 15), st.integers(-2, 14).map(float), st.floats(-3, 15, width=32))
far = st.one_of(near, st.sampled_from([-1e6, 1e6, RASTER_LIMIT, -RASTER_LIMIT, 2 * RASTER_LIMIT]), st.floats(-900, 900))
depths = st.sampled_from([-5.0, 0.0, 0.25, 1.0, 7.5])


@st.composite
def scenes(draw: st.DrawFn, coordinate: st.SearchStrategy[float]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A few triangles over a small pool of points, so that edges, corners and whole triangles coincide."""
    points = draw(st.lists(st.tuples(coordinate, coordinate, depths), min_size=3, max_size=7))
    corner = st.integers(0, len(points) - 1)
    triangles = draw(st.lists(st.tuples(corner, corner, corner), min_size=1, max_size=6))
    both = [t for corners in triangles for t in (corners, corners[::-1])]  # one of the two faces the viewer
    return np.array(points), np.array(both)


@given(scene=scenes(near))
@quick
def test_random_triangles(scene: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    check(*scene)


@given(scene=scenes(far))
@quick
def test_huge_and_off_screen_triangles(scene: tuple[NDArray[np.float64], NDArray[np.int64]]) -> None:
    check(*scene)


@given(corners=st.lists(st.tuples(near, near), min_size=3, max_size=3), along=st.floats(0, 1))
@quick
def test_triangles_without_area_cover_nothing(corners: list[tuple[float, float]], along: float) -> None:
    a, b = np.array(corners[0]), np.array(corners[1])
    a, b = np.round(a), np.round(b)
    middle = a + np.round(along * 4) / 4 * (b - a)
    flat = np.zeros((4, 3))
    flat[:3, :2] = a, b, middle
    triangle, _ = draw(flat, np.array([[0, 1, 2], [2, 1, 0], [0, 0, 1], [1, 1, 1]]))
    assert (triangle == -1).all()


def jittered_grid(seed: int, step: float) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """A mesh over and beyond the whole image, its inner vertices moved about, some onto pixel centres."""
    rng = np.random.default_rng(seed)
    count = 5
    x, y = np.meshgrid(np.linspace(-2, SIZE[1] + 1, count), np.linspace(-2, SIZE[0] + 1, count))
    points = np.stack([x.ravel(), y.ravel(), np.zeros(count**2)], axis=1)
    inner = (points[:, :2] > -2).all(axis=1) & (points[:, 0] < SIZE[1] + 1) & (points[:, 1] < SIZE[0] + 1)
    points[inner, :2] += rng.uniform(-0.7, 0.7, (int(inner.sum()), 2))
    points[:, :2] = np.round(points[:, :2] / step) * step
    corner = (np.arange(count - 1)[:, None] * count + np.arange(count - 1)).ravel()
    a, b, c, d = corner, corner + 1, corner + count + 1, corner + count
    return points, np.concatenate([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)])


@pytest.mark.parametrize("step", [1.0, 0.5, 1 / SNAP])
@pytest.mark.parametrize("seed", [0, 1])
def test_triangles_that_share_edges_cover_every_pixel_once(seed: int, step: float) -> None:
    points, triangles = jittered_grid(seed, step)
    times = sum((draw(points, triangles[t : t + 1])[0] == 0).astype(int) for t in range(len(triangles)))
    assert np.array_equal(times, np.ones(SIZE))
    together, _ = draw(points, triangles)
    assert (together >= 0).all()


@given(scene=scenes(st.floats(-3, 15, width=32)))
@quick
def test_weights_give_the_pixels_centre_from_the_unsnapped_corners(
    scene: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    points, triangles = scene
    got, weights = draw(points, triangles)
    points = points.astype(np.float32).astype(np.float64)
    y, x = np.nonzero(got >= 0)
    corners = points[triangles[got[y, x]]][:, :, :2]
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    wide = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) > 0.05
    assert np.abs((weights[y, x, :, None] * corners).sum(axis=1) - np.stack([x, y], axis=1))[wide].max(initial=0) < 1e-9


def test_only_the_side_that_faces_the_viewer_is_drawn() -> None:
    points = np.array([[1.0, 1.0, 0.0], [8.0, 1.0, 0.0], [1.0, 8.0, 0.0]])
    assert (draw(points, np.array([[0, 1, 2]]))[0] == 0).any()
    assert (draw(points, np.array([[0, 2, 1]]))[0] == -1).all()


def test_the_nearer_triangle_hides_the_other_whatever_their_order() -> None:
    points = np.array([[-5.0, -5, 0], [40, -5, 0], [-5, 40, 0], [-5.0, -5, 1], [40, -5, 1], [-5, 40, 1]])
    assert (draw(points, np.array([[0, 1, 2], [3, 4, 5]]))[0] == 1).all()
    assert (draw(points, np.array([[3, 4, 5], [0, 1, 2]]))[0] == 0).all()
