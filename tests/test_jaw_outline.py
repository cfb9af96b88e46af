"""The outline of the jaw: where a rasterised picture of the head has it, for heads turned to either side."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial import Delaunay
from small import few_modes, some_problem

from faceinv.engine.host_terms import HostTerms
from faceinv.engine.records import LandmarkPoints, Problem
from faceinv.engine.registry import build_engine
from faceinv.errors import ModelError
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.formats import load_model
from faceinv.face.jaw_band import jaw_band
from faceinv.face.mesh import vertex_normals
from faceinv.face.model import MorphableModel

SIZE = 520
SCALE = 2.4  # px per mm
ONLY = np.array([0])
YAWS = (-75, -60, -45, -30, -15, -5, 0, 5, 15, 30, 45, 60, 75)
DROP = 12.0
"""mm. Where the depth falls by more than this from one pixel to the next, the surface ends as seen in the picture."""


@cache
def terms() -> HostTerms:
    return HostTerms(few_modes())


def posed(yaw: float, seed: int, pitch: float | None = None, roll: float | None = None) -> NDArray[np.float64]:
    """chi (P,) of some face, its middle in the middle of the picture."""
    model, layout, rng = few_modes(), terms().layout, np.random.default_rng(seed)
    shape, turn = rng.normal(size=layout.shape_count), rng.uniform(-0.2, 0.2, 2)
    rotation = rotation_from_euler(
        turn[0] if pitch is None else pitch, np.radians(yaw), turn[1] if roll is None else roll
    )
    middle = SCALE * (rotation @ model.landmarks(model.mean).mean(axis=0) - rotation @ [0, 0, 30.0])
    chi = np.zeros(layout.count)
    chi[layout.shape] = shape
    chi[layout.pose] = Camera(SCALE, rotation, SIZE / 2 - middle[:2] * [1, -1]).pack()
    chi[layout.ambient] = 1
    return chi


def asked(targets: NDArray[np.float64]) -> Problem:
    """A problem with these landmarks (68, 2)."""
    return replace(
        some_problem(8),
        landmarks=targets[None],
        landmark_sigma=np.full((1, 68), 0.02),
        eye_distance=np.full(1, 90 * SCALE),
    )


def placed(chi: NDArray[np.float64], points: LandmarkPoints) -> NDArray[np.float64]:
    """(68, 2) px of landmark points of one item."""
    layout = terms().layout
    vertices = few_modes().vertices(chi[layout.identity], chi[layout.expression])
    marks = (points.weights[0, ..., None] * vertices[points.vertices[0]]).sum(axis=1)
    return layout.cameras(chi).project(marks)[:, :2]


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_model("default")


@cache
def cheeks() -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Triangles of cheeks and chin, from the front: inside the jaw, outside of the other landmarks' hull; and their
    places around the face, from mark to mark. Found by polar angles, without the model's band."""
    model = few_modes()
    marks, centre = model.landmarks(model.mean), model.mean[model.triangles].mean(axis=1)

    def polar(points: NDArray[np.floating]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x, y = (points[:, :2] - marks[30, :2]).T
        return np.arctan2(x, -y), np.hypot(x, y)

    angle, radius = polar(marks[:17])
    at, away = polar(centre)
    place = np.interp(at, angle, np.arange(17), left=np.nan, right=np.nan)
    inside = away < 1.02 * np.interp(place, np.arange(17), radius)
    before = centre[:, 2] > np.interp(place, np.arange(17), marks[:17, 2]) - 3
    inner = Delaunay(marks[17:, :2]).find_simplex(centre[:, :2]) >= 0
    return inside & before & ~inner, place


def annotated(chi: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Jaw marks (17, 2) px as people set them, and which could be set.

    On the side where the jaw's edge faces the viewer, the edge. Elsewhere the pixel of the picture, nearest to the
    mark's place around the face, where cheek or chin end before the background or something far behind; none where the
    nose or something else covers that.
    """
    model, layout = few_modes(), terms().layout
    renderer = build_engine("numpy", model).renderer
    camera, vertices = layout.cameras(chi), model.vertices(chi[layout.identity], chi[layout.expression])
    geometry = renderer.geometry(chi[None])
    seen = renderer.rasterize(geometry, (SIZE, SIZE))
    triangle = seen.triangle[0]
    corners = geometry.depth[0][model.triangles[triangle]]
    depth = np.where(triangle >= 0, (seen.barycentric[0] * corners).sum(axis=2), -1e9)
    ends = np.zeros((SIZE, SIZE), np.bool_)
    for shift in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        ends |= depth - np.roll(depth, shift, (0, 1)) > DROP * SCALE
    cheek, place = cheeks()
    y, x = np.nonzero(ends & cheek[triangle] & (triangle >= 0))
    where = place[triangle[y, x]]
    xy = camera.project(model.landmarks(vertices))[:17, :2]
    towards = vertex_normals(vertices, model.triangles) @ camera.rotation[2]
    near = (model.landmark_weights[:17] * towards[model.landmark_vertices[:17]]).sum(axis=1) > 0
    known = near.copy()
    for mark in np.flatnonzero(~near):
        away = np.abs(where - mark)
        if len(away) and away.min() < 0.5:
            xy[mark], known[mark] = (x[away.argmin()], y[away.argmin()]), True
    return xy, known


@pytest.mark.parametrize("yaw", YAWS)
def test_at_the_true_face_the_outline_is_where_people_see_it(yaw: int) -> None:
    found, far = [], 0
    for seed in range(3):
        chi = posed(yaw, seed)
        marks, known = annotated(chi)
        targets = np.concatenate([marks, np.zeros((51, 2))])
        gap = np.linalg.norm(placed(chi, terms().points(chi[None], asked(targets)))[:17] - marks, axis=1) / SCALE
        found.append(gap[known])
        far += int((gap[known] > 0.01).sum())
    assert np.concatenate(found).max() < 1.5
    assert len(np.concatenate(found)) > 20
    if 10 < abs(yaw) < 70:
        assert far >= 6, "no mark was on the far side"


@pytest.mark.parametrize("yaw", [-45, 30])
def test_a_landmark_fixed_to_the_skin_would_be_off(yaw: int) -> None:
    chi = posed(yaw, 0)
    marks, known = annotated(chi)
    layout = terms().layout
    fixed = few_modes().landmarks(few_modes().vertices(chi[layout.identity], chi[layout.expression]))
    gap = np.linalg.norm(layout.cameras(chi).project(fixed)[:17, :2] - marks, axis=1)[known] / SCALE
    assert gap.max() > 4


@pytest.mark.parametrize("yaw", [-50, -20, 0, 20, 50])
def test_marks_beside_the_outline_are_drawn_to_it_squarely(yaw: int) -> None:
    """On the occluding contour the residual is the distance over the standard deviation."""
    chi = posed(yaw, 1)
    layout = terms().layout
    vertices = few_modes().vertices(chi[layout.identity], chi[layout.expression])
    targets = layout.cameras(chi).project(few_modes().landmarks(vertices))[:, :2]
    on = placed(chi, terms().points(chi[None], asked(targets)))
    targets[:17] = on[:17] + 0.01 * (on[:17] - on[:17].mean(axis=0))
    problem = asked(targets)
    points = terms().points(chi[None], problem)
    marks = np.arange(1, 16)
    smooth = marks[~points.weights[0, 1:16, 3:].any(axis=1)]  # the edge has corners
    residual = terms().landmark_rows(chi[None], points, replace(problem, landmark_offsets=np.zeros((1, 68, 3))), ONLY)[
        0
    ]
    residual = residual[0].reshape(68, 2)
    gap = np.linalg.norm(placed(chi, points) - targets, axis=1) / (0.02 * 90 * SCALE)
    short = np.abs(residual[smooth, 0]) < 0.95 * gap[smooth]
    assert short.sum() <= 1, "only where the contour ends, in the hollow beside the mouth"
    assert (np.abs(residual[smooth, 0]) < 1.001 * gap[smooth] + 1e-3).all()
    assert not residual[:17, 1].any()


def test_marks_far_from_the_outline_pull_less() -> None:
    """As on the outline of a nose that covers the cheek."""
    chi = posed(75, 0)
    layout = terms().layout
    vertices = few_modes().vertices(chi[layout.identity], chi[layout.expression])
    targets = layout.cameras(chi).project(few_modes().landmarks(vertices))[:, :2]
    pulls = []
    for away in (0.0, 1.0, 6.0, 60.0):
        moved = targets.copy()
        moved[2, 0] -= away * 0.02 * 90 * SCALE
        problem = replace(asked(moved), landmark_offsets=np.zeros((1, 68, 3)))
        residual = terms().landmark_rows(chi[None], terms().points(chi[None], problem), problem, ONLY)[0]
        pulls.append(float(np.abs(residual[0, 4])))
    assert pulls[0] < 0.2
    assert pulls[0] < pulls[1] < pulls[2]
    assert pulls[3] < 3.01


@pytest.mark.parametrize("yaw", [-45, -15, 15, 45])
def test_derivatives_hold_while_the_outline_slides(yaw: int) -> None:
    """The outline found anew moves across itself as the frozen points do, though it slides over the skin."""
    chi, layout = posed(yaw, 2), terms().layout
    marks, _ = annotated(chi)
    on = placed(chi, terms().points(chi[None], asked(np.concatenate([marks, np.zeros((51, 2))]))))
    problem = replace(asked(on), landmark_offsets=np.zeros((1, 68, 3)))
    points = terms().points(chi[None], problem)
    _, jacobian = terms().landmark_rows(chi[None], points, problem, ONLY)
    step = np.zeros(layout.count)
    step[layout.rotation] = [0.005, 0.01, 0.0]
    across = points.metric[0, :17, 0]
    moved, on_contour = [], ~points.weights[0, :17, 3:].any(axis=1)
    for sign in (1, -1):
        turned = layout.retract(chi[None], sign * step[None])
        again = terms().points(turned, problem)
        moved.append((across * placed(turned[0], again)[:17]).sum(axis=1))
        on_contour &= ~again.weights[0, :17, 3:].any(axis=1)
    change = (moved[0] - moved[1]) / 2
    wanted = jacobian[0, 0:34:2] @ step
    unit = 1 / (0.02 * 90 * SCALE)  # of a pixel
    assert np.abs(wanted).max() > 0.5 * unit
    assert on_contour.sum() >= 3
    # But for one mark at most, where the contour ends in the hollow beside the mouth.
    assert np.sort(np.abs(change - wanted)[on_contour])[:-1].max() < 0.25 * unit


def test_without_a_band_the_jaw_stays_on_the_skin() -> None:
    model = replace(few_modes(), jaw_band=np.zeros((17, 0), np.int32))
    problem = asked(np.zeros((68, 2)))
    points = HostTerms(model).points(posed(40, 0)[None], problem)
    assert np.array_equal(points.vertices[0, :, :3], model.landmark_vertices)
    assert np.array_equal(points.metric[0, 3], points.metric[0, 30])


# ---- the band


def test_the_band_is_cheek_and_chin(model: MorphableModel) -> None:
    band, marks = model.jaw_triangles, model.landmarks(model.mean)
    centre, normal = (
        model.mean[model.triangles[band]].mean(axis=1),
        vertex_normals(model.mean.astype(np.float64), model.triangles),
    )
    assert (centre[:, 2] > marks[:17, 2].min() - 12).all(), "nothing behind the ears"
    assert normal[model.triangles[band]].mean(axis=1)[:, 2].min() > -0.75, "no underside of the jaw, no neck"
    assert model.part("skin")[band].all(), "nothing inside of the mouth"
    nose = marks[27:36]
    near_nose = (np.abs(centre[:, 0]) < np.ptp(nose[:, 0]) / 2) & (centre[:, 1] > marks[51, 1])
    assert not near_nose.any()
    for mark in range(17):
        seen = model.triangles[model.jaw_band[mark][model.jaw_band[mark] >= 0]]
        assert np.linalg.norm(model.mean[seen].reshape(-1, 3) - marks[mark], axis=1).min() < 4


def test_the_band_is_the_same_on_both_sides(model: MorphableModel) -> None:
    triangles = np.sort(model.triangles, axis=1)
    index = {tuple(t): i for i, t in enumerate(triangles.tolist())}
    mirrored = np.array([index.get(tuple(t), -1) for t in np.sort(model.mirror[model.triangles], axis=1).tolist()])
    for mark in range(8):
        one = set(mirrored[model.jaw_band[mark][model.jaw_band[mark] >= 0]].tolist())
        other = set(model.jaw_band[16 - mark].tolist()) - {-1}
        assert len(one & other) > 0.97 * len(one | other)


def test_the_band_depends_on_neither_unit_nor_loose_parts(model: MorphableModel) -> None:
    mean, triangles = model.mean.astype(np.float64), model.triangles.astype(np.int64)
    found = jaw_band(mean, triangles, model.landmark_vertices, model.landmark_weights)
    inside = mean * 0.9 + [0, 0, 2.0]
    both, more = np.concatenate([mean, inside]), np.concatenate([triangles, triangles + len(mean)])
    again = jaw_band(both / 1000, more, model.landmark_vertices, model.landmark_weights)
    assert np.array_equal(again, found)


def test_landmarks_off_the_mesh_are_refused(model: MorphableModel) -> None:
    vertices = model.landmark_vertices.copy()
    vertices[0, 0] = model.vertex_count
    with pytest.raises(ModelError, match="landmark_vertices has indices"):
        jaw_band(model.mean, model.triangles, vertices, model.landmark_weights)
