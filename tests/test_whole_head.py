"""The default model as a whole head: its parts, how they move, and that none passes through another."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from faceinv.errors import ModelError
from faceinv.face.camera import rotation_from_euler
from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.formats._mesh import Surface
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.mesh import vertex_normals
from faceinv.face.model import MorphableModel
from faceinv.render.raster import rasterize_triangles
from faceinv.render.uv import texture_layout

FLIP = np.array([-1.0, 1.0, 1.0])
PARTS = ("skin", "mouth_inside", "left_eye", "right_eye", "upper_teeth", "lower_teeth", "tongue", "lashes")
TOLERANCE_MM = 0.25
"""By which parts may pass through each other: bases are stored as float16, and skin is looked at between its
vertices."""


@dataclass(frozen=True)
class Head:
    """The model with its named units at hand."""

    model: MorphableModel
    unit_names: tuple[str, ...]
    units: NDArray[np.float64]

    def posed(self, **values: float) -> NDArray[np.float64]:
        """(N, 3) mm: the mean head with some units at some of their full effect."""
        wanted = np.array([values.get(name, 0.0) for name in self.unit_names])
        return self.model.vertices(None, np.linalg.lstsq(self.units, wanted, rcond=None)[0])

    def vertices_of(self, *names: str) -> NDArray[np.int64]:
        """The vertices that triangles of the named parts use."""
        return np.unique(self.model.triangles[self.model.part(*names)]).astype(np.int64)

    def triangles_of(self, *names: str) -> NDArray[np.int64]:
        """(T, 3)."""
        return self.model.triangles[self.model.part(*names)].astype(np.int64)


@pytest.fixture(scope="module")
def head() -> Head:
    path = Path(str(resources.files("faceinv") / "data" / "default_model.npz"))
    with np.load(path) as arrays:
        names, units = tuple(arrays["expression_unit_names"].tolist()), arrays["expression_units"].astype(np.float64)
    return Head(load_npz_model(path), names, units)


def loops(triangles: NDArray[np.integer]) -> list[list[int]]:
    """The closed loops of edges that one triangle only has."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, uses = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    following = {int(a): int(b) for a, b in directed[uses[inverse.ravel()] == 1]}
    found = []
    while following:
        loop = [next(iter(following))]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        assert loop[0] == loop[-1]
        found.append(loop[:-1])
    return found


def depth_behind(
    points: NDArray[np.float64], vertices: NDArray[np.float64], triangles: NDArray[np.int64]
) -> NDArray[np.float64]:
    """(P,) mm by which points lie behind the nearest place of a surface; negative before it."""
    nearest = Surface(vertices, triangles).closest(points, around=4)
    normals = vertex_normals(vertices, triangles)[triangles[nearest.triangle]]
    before = np.einsum("qd,qd->q", points - nearest.position, np.einsum("qk,qkd->qd", nearest.weights, normals))
    depth: NDArray[np.float64] = -np.sign(before) * nearest.distance
    return depth


def skin_about(head: Head, vertices: NDArray[np.float64], centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(P, 3) the skin before an eye's centre: vertices and middles of edges."""
    skin = head.triangles_of("skin")
    near = np.linalg.norm(vertices - centre, axis=1) < 21
    corners = vertices[skin[near[skin].all(axis=1)]]
    points = np.concatenate([corners.reshape(-1, 3), (corners + np.roll(corners, 1, axis=1)).reshape(-1, 3) / 2])
    return np.asarray(points[points[:, 2] > centre[2] + 3])


def both(unit: str, value: float = 1.0) -> dict[str, float]:
    return {f"{unit}Left": value, f"{unit}Right": value}


def test_parts_are_there_and_hang_together(head: Head) -> None:
    model = head.model
    assert model.part_names == PARTS
    assert model.triangle_parts is not None
    assert (np.bincount(model.triangle_parts, minlength=len(PARTS)) > 500).all()
    skin = head.vertices_of("skin", "mouth_inside")
    for name in PARTS[2:]:
        assert not np.isin(head.vertices_of(name), skin).any(), name
    assert model.mean[head.vertices_of("left_eye"), 0].min() > 0
    assert model.mean[head.vertices_of("upper_teeth"), 1].mean() > model.mean[head.vertices_of("lower_teeth"), 1].mean()


def test_skin_comes_first(head: Head) -> None:
    assert head.vertices_of("skin", "mouth_inside").max() < head.vertices_of(*PARTS[2:]).min()


def test_unknown_parts_are_refused(head: Head) -> None:
    with pytest.raises(ModelError, match=r"'nose'.*its parts are skin"):
        head.model.part("nose")


def test_face_mask_is_skin_alone(head: Head) -> None:
    assert not (head.model.face_mask & ~head.model.part("skin")).any()


def test_only_the_neck_and_the_lids_are_open(head: Head) -> None:
    mean = head.model.mean.astype(np.float64)
    found = sorted(loops(head.model.triangles), key=len)
    assert [len(loop) for loop in found] == [56, 56, 84]
    neck = mean[found[2]]
    centred = neck - neck.mean(axis=0)
    assert np.linalg.svd(centred)[1][2] / np.sqrt(len(neck)) < 0.05  # in a plane
    assert neck[:, 1].max() < mean[head.model.landmark_vertices[8, 0], 1]
    eye = head.vertices_of("left_eye")
    centre = (mean[eye].max(axis=0) + mean[eye].min(axis=0)) / 2
    rim = next(loop for loop in found[:2] if mean[loop, 0].mean() > 0)
    beside = np.linalg.norm(mean[rim] - centre, axis=1) - np.linalg.norm(mean[eye] - centre, axis=1).min()
    assert beside.max() < 1.2  # the lids' margins end on the eyeball


def test_back_of_the_head_is_closed(head: Head) -> None:
    mean = head.model.mean.astype(np.float64)
    turned = mean @ rotation_from_euler(0.0, np.pi, 0.0).T
    size = (200, 200)
    xy = np.stack([100 + 0.6 * turned[:, 0], 100 - 0.6 * turned[:, 1]], axis=1)
    triangle, _ = rasterize_triangles(xy, turned[:, 2], head.model.triangles, size)
    inner = triangle[60:140, 70:130]
    assert (inner >= 0).all()
    assert head.model.part("skin")[inner].all()


def test_mean_and_mirror_pairs_are_symmetric(head: Head) -> None:
    model = head.model
    assert (model.mirror[model.mirror] == np.arange(model.vertex_count)).all()
    np.testing.assert_allclose(model.mean[model.mirror] * FLIP, model.mean, atol=1e-4)
    np.testing.assert_allclose(model.mean_albedo[model.mirror], model.mean_albedo, atol=1e-5)
    left, right = (head.vertices_of(name) for name in ("left_eye", "right_eye"))
    assert set(model.mirror[left].tolist()) == set(right.tolist())
    known = {frozenset(t) for t in model.triangles.tolist()}
    assert all(frozenset(t) in known for t in model.mirror[model.triangles].tolist())


def test_parts_share_no_room_of_the_texture(head: Head) -> None:
    model, side = head.model, 1500
    for uv in (model.uv.astype(np.float64), texture_layout(model)):
        xy = np.stack([uv[:, 0] * side - 0.5, (1 - uv[:, 1]) * side - 0.5], axis=1)
        a, b, c = (xy[model.uv_triangles[:, k]] for k in range(3))
        area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]).sum() / 2
        triangle, _ = rasterize_triangles(xy, np.zeros(len(xy)), model.uv_triangles, (side, side), both_sides=True)
        assert (triangle >= 0).sum() == pytest.approx(area, rel=0.002)


def test_colours_of_parts_are_theirs_and_no_mode_changes_them(head: Head) -> None:
    model = head.model
    parts = head.vertices_of(*PARTS[2:])
    assert not model.albedo_basis[parts].any()
    assert model.mean_albedo[parts].min() > 0
    assert model.mean_albedo[parts].max() < 0.8
    eye = head.vertices_of("left_eye")
    luminance = model.mean_albedo[eye].mean(axis=1)
    gaze = model.mean[eye, 2]
    assert luminance[gaze.argmax()] < 0.02  # the pupil
    assert luminance.max() > 0.5  # the sclera
    tongue = model.mean_albedo[head.vertices_of("tongue")]
    assert (tongue[:, 0] > 1.5 * tongue[:, 1]).all()


@pytest.mark.parametrize("side", ["Left", "Right"])
def test_lids_meet_when_the_eye_is_shut(head: Head, side: str) -> None:
    """From the front no eyeball is seen, with the lashes taken away."""
    vertices = head.posed(**{f"eyeBlink{side}": 1.0})
    drawn = np.flatnonzero(~head.model.part("lashes"))
    name = f"{side.lower()}_eye"

    def seen(vertices: NDArray[np.float64]) -> int:
        centre = head.model.mean[head.vertices_of(name)].mean(axis=0)
        xy = np.stack([100 + 4 * (vertices[:, 0] - centre[0]), 100 - 4 * (vertices[:, 1] - centre[1])], axis=1)
        triangle, _ = rasterize_triangles(xy, vertices[:, 2], head.model.triangles[drawn], (200, 200))
        return int(head.model.part(name)[drawn][triangle[triangle >= 0]].sum())

    assert seen(head.posed()) > 1500
    assert seen(vertices) <= 10


def test_lips_meet_at_rest(head: Head) -> None:
    """From the front nothing of the inside of the mouth is seen."""
    vertices = head.posed()
    xy = np.stack([150 + 5 * vertices[:, 0], 100 - 5 * (vertices[:, 1] + 66)], axis=1)
    triangle, _ = rasterize_triangles(xy, vertices[:, 2], head.model.triangles, (200, 300))
    assert head.model.part("upper_teeth", "lower_teeth", "tongue")[triangle].sum() <= 5


@pytest.mark.parametrize("unit", ["Up", "Down", "In", "Out"])
def test_eyes_turn_with_their_units_and_keep_their_size(head: Head, unit: str) -> None:
    eye = head.vertices_of("left_eye")
    rest, moved = head.posed()[eye], head.posed(**{f"eyeLook{unit}Left": 1.0})[eye]
    pupil = head.model.mean[eye, 2].argmax()
    step = moved[pupil] - rest[pupil]
    direction = {"Up": [0, 1], "Down": [0, -1], "In": [-1, 0], "Out": [1, 0]}[unit]
    assert step[:2] @ direction > 4.0
    assert np.abs(step[:2] @ [direction[1], direction[0]]) < 0.5
    sizes = [np.linalg.norm(v - v.mean(axis=0), axis=1) for v in (rest, moved)]
    np.testing.assert_allclose(sizes[1], sizes[0], atol=0.05)
    other = head.vertices_of("right_eye")
    np.testing.assert_allclose(head.posed(**{f"eyeLook{unit}Left": 1.0})[other], head.posed()[other], atol=0.02)


def test_the_lower_jaw_carries_teeth_and_tongue(head: Head) -> None:
    rest, opened = head.posed(), head.posed(jawOpen=1.0)
    fall = (rest - opened)[:, 1]
    assert fall[head.vertices_of("lower_teeth")].min() > 5
    assert fall[head.vertices_of("tongue")].mean() > 8
    assert np.abs(fall[head.vertices_of("upper_teeth")]).max() < 0.02
    front = head.posed(jawOpen=0.6, tongueOut=1.0)[head.vertices_of("tongue"), 2].max()
    assert front > head.posed(jawOpen=0.6)[head.model.landmark_vertices[66, 0], 2]


def test_parts_follow_the_face_in_every_identity(head: Head) -> None:
    """Eyeballs stay in their sockets and teeth behind the lips: the parts move as the skin about them does."""
    model = head.model
    skin = np.unique(model.triangles[model.face_mask])
    mean = model.mean.astype(np.float64)
    for name, reach in (("left_eye", 26.0), ("upper_teeth", 30.0)):
        part = head.vertices_of(name)
        front = part[mean[part, 2] > np.median(mean[part, 2])]
        about = skin[np.linalg.norm(mean[skin] - mean[front].mean(axis=0), axis=1) < reach]
        moved = model.identity_basis[front].mean(axis=0) - model.identity_basis[about].mean(axis=0)
        assert np.sqrt((moved**2).sum()) < 2.5, name


LIDS = [
    {},
    *(both(unit, t) for unit in ("eyeBlink",) for t in (0.25, 0.5, 0.75, 1.0)),
    *(both(f"eyeLook{way}", t) for way in ("Up", "Down", "In", "Out") for t in (0.5, 1.0)),
    *(both(unit) for unit in ("eyeSquint", "eyeWide", "cheekSquint", "browDown", "mouthSmile")),
]


@pytest.mark.parametrize("values", LIDS, ids=str)
def test_no_eyeball_passes_through_the_lids(head: Head, values: dict[str, float]) -> None:
    vertices = head.posed(**values)
    eye, triangles = head.vertices_of("left_eye"), head.triangles_of("left_eye")
    points = skin_about(head, vertices, vertices[eye].mean(axis=0))
    assert depth_behind(points, vertices, triangles).max() < TOLERANCE_MM


@pytest.mark.parametrize("seed", range(4))
def test_no_eyeball_passes_through_the_lids_of_other_people(head: Head, seed: int) -> None:
    vertices = head.model.vertices(np.random.default_rng(seed).normal(size=head.model.identity_count))
    for name in ("left_eye", "right_eye"):
        eye, triangles = head.vertices_of(name), head.triangles_of(name)
        points = skin_about(head, vertices, vertices[eye].mean(axis=0))
        assert depth_behind(points, vertices, triangles).max() < TOLERANCE_MM, name


MOUTHS = [
    {},
    *({"jawOpen": t} for t in (0.25, 0.5, 1.0)),
    *({unit: 1.0} for unit in ("jawLeft", "jawRight", "jawForward", "mouthFunnel", "mouthPucker", "cheekPuff")),
    *({unit: 1.0} for unit in ("mouthRollUpper", "mouthRollLower", "mouthShrugUpper", "mouthShrugLower", "mouthLeft")),
    *(both(f"mouth{name}") for name in ("Smile", "Frown", "Dimple", "Press", "Stretch", "UpperUp", "LowerDown")),
]


@pytest.mark.parametrize("values", MOUTHS, ids=str)
def test_teeth_and_tongue_stay_in_the_mouth(head: Head, values: dict[str, float]) -> None:
    vertices = head.posed(**values)
    skin = head.triangles_of("skin", "mouth_inside")
    mouth = (np.abs(vertices[:, 0]) < 55) & (vertices[:, 2] > -25) & (vertices[:, 1] < -20) & (vertices[:, 1] > -135)
    skin = skin[mouth[skin].all(axis=1)]
    for name in ("upper_teeth", "lower_teeth", "tongue"):
        assert depth_behind(vertices[head.vertices_of(name)], vertices, skin).max() < TOLERANCE_MM, name
    for one, other in itertools.combinations(("tongue", "lower_teeth", "upper_teeth"), 2):
        behind = depth_behind(vertices[head.vertices_of(one)], vertices, head.triangles_of(other))
        assert behind.max() < TOLERANCE_MM, (one, other)


def test_fits_compute_the_face_and_what_is_around_it(head: Head) -> None:
    model = head.model
    small = fit_mesh(model)
    assert small.vertex_count < 0.6 * model.vertex_count
    assert small.face_mask.sum() == model.face_mask.sum()
    assert not small.part(*PARTS[2:]).any()
    np.testing.assert_array_equal(small.landmarks(small.mean), model.landmarks(model.mean))
    bands = [m.mean[m.triangles[m.jaw_triangles]] for m in (small, model)]
    np.testing.assert_array_equal(bands[0], bands[1])
    coefficients = np.random.default_rng(0).normal(size=model.identity_count)
    shown, kept = (np.unique(m.triangles[m.face_mask]) for m in (model, small))
    normals = [vertex_normals(m.vertices(coefficients), m.triangles)[v] for m, v in ((model, shown), (small, kept))]
    np.testing.assert_array_equal(normals[0], normals[1])


@pytest.mark.parametrize("yaw", [-80, -40, 0, 40, 80])
def test_what_fits_leave_out_hides_nothing_but_a_few_lashes(head: Head, yaw: int) -> None:
    masks = []
    for model in (head.model, fit_mesh(head.model)):
        turned = model.mean.astype(np.float64) @ rotation_from_euler(0.2, np.deg2rad(yaw), 0.0).T
        xy = np.stack([100 + 0.9 * turned[:, 0], 110 - 0.9 * turned[:, 1]], axis=1)
        triangle, _ = rasterize_triangles(xy, turned[:, 2], model.triangles, (220, 200))
        masks.append(np.where(triangle >= 0, model.face_mask[triangle], False))
    assert (masks[0] != masks[1]).sum() < 0.006 * masks[0].sum()


def test_a_model_that_is_all_face_is_left_whole(head: Head) -> None:
    small = fit_mesh(head.model)
    assert fit_mesh(small) is small


def test_parts_survive_a_file(head: Head, tmp_path: Path) -> None:
    save_npz_model(head.model.truncated(1, 1, 1), tmp_path / "model.npz")
    read = load_npz_model(tmp_path / "model.npz")
    assert read.part_names == PARTS
    np.testing.assert_array_equal(read.triangle_parts, head.model.triangle_parts)


def test_restricting_refuses_to_lose_landmarks(head: Head) -> None:
    with pytest.raises(ModelError, match="landmarks need"):
        head.model.restricted(head.model.part("tongue"))
    with pytest.raises(ModelError, match=r"expected \(\d+,\)"):
        head.model.restricted(np.ones(3, np.bool_))
