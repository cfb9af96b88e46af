"""The default face model: what fits rely on, and the jaw rows derived from any model's mesh."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from faceinv.face.formats.npz import load_npz_model
from faceinv.face.model import MorphableModel

MIRRORED_LANDMARK = np.array(
    [
        *(*range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1)),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(*range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1)),
    ]
)
FLIP = np.array([-1.0, 1.0, 1.0])


@pytest.fixture(scope="module")
def path() -> Path:
    return Path(str(resources.files("faceinv") / "data" / "default_model.npz"))


@pytest.fixture(scope="module")
def model(path: Path) -> MorphableModel:
    return load_npz_model(path)


@dataclass(frozen=True)
class Units:
    """The named units of expression, as the file has them."""

    names: tuple[str, ...]
    matrix: NDArray[np.float64]

    def coefficients(self, **values: float) -> NDArray[np.float64]:
        """Of units at some of their full effect."""
        wanted = np.array([values.get(name, 0.0) for name in self.names])
        found: NDArray[np.float64] = np.linalg.lstsq(self.matrix, wanted, rcond=None)[0]
        np.testing.assert_allclose(self.matrix @ found, wanted, atol=1e-9)
        return found


@pytest.fixture(scope="module")
def units(path: Path) -> Units:
    with np.load(path) as arrays:
        return Units(tuple(arrays["expression_unit_names"].tolist()), arrays["expression_units"].astype(np.float64))


@pytest.fixture(scope="module")
def landmarks(model: MorphableModel) -> NDArray[np.float64]:
    return model.landmarks(model.mean)


def triangle_normals(vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> NDArray[np.float64]:
    """(T, 3), twice the area long."""
    a, b, c = (vertices[triangles[:, k]].astype(np.float64) for k in range(3))
    return np.cross(b - a, c - a)


def boundary_vertices(triangles: NDArray[np.integer]) -> NDArray[np.int64]:
    """Vertices on edges that belong to one triangle only."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, uses = np.unique(edges, axis=0, return_counts=True)
    return np.unique(unique[uses == 1])


def test_file_is_small(path: Path) -> None:
    assert path.stat().st_size <= 4_000_000


def test_the_document_tells_of_this_file(model: MorphableModel, path: Path) -> None:
    document = path.with_name("DEFAULT_MODEL.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^    (sha256|fingerprint) +([0-9a-f]+)", document, re.MULTILINE))
    assert told == {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "fingerprint": model.fingerprint}
    assert f"{path.stat().st_size / 1e6:.2f} MB" in document
    assert f"{model.vertex_count:,} vertices and {len(model.triangles):,} triangles" in document
    assert f"{model.face_mask.sum():,} of these are in the face mask" in document


def test_occlusion_is_stored(model: MorphableModel) -> None:
    assert model.occlusion is not None
    assert model.occlusion.shape == (model.vertex_count, 10)
    blocked = model.occlusion[:, 0]
    assert blocked.min() >= 0
    assert blocked.max() < np.pi + 0.01, "all light, weighted by the cosine"
    gap = np.abs(blocked[model.mirror] - blocked)
    assert np.median(gap) < 0.02, "the directions it is summed over are not mirrored"
    assert gap.max() < 0.2


def test_counts(model: MorphableModel) -> None:
    assert (model.identity_count, model.expression_count, model.albedo_count) == (100, 52, 8)
    assert 18_000 < model.vertex_count < 22_000
    assert len(set(model.expression_names)) == 52
    assert {"jawOpen", "eyeBlinkLeft + eyeBlinkRight", "mouthSmileLeft - mouthSmileRight"} <= {*model.expression_names}
    assert model.albedo_space == "linear"


def test_licences_of_mesh_and_statistics_are_told(model: MorphableModel, path: Path) -> None:
    assert model.licence.startswith("CC0")
    assert "MIT" in model.licence
    with np.load(path) as arrays:
        notice = str(arrays["notice"])
    assert "Copyright (c) 2020 USC Institute for Creative Technologies" in notice
    assert "Permission is hereby granted" in notice
    document = " ".join(path.with_name("DEFAULT_MODEL.md").read_text(encoding="utf-8").split())
    assert " ".join(notice[notice.index("MIT License") :].split()) in document


def test_measures_are_millimetres_of_an_adult_head(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    assert 75 < np.linalg.norm(landmarks[45] - landmarks[36]) < 100
    assert 120 < np.ptp(landmarks[:, 0]) < 160
    assert 160 < np.abs(model.mean).max() < 180


def test_eyes_are_as_far_apart_as_those_of_people(landmarks: NDArray[np.float64]) -> None:
    """Scans have 89 mm between the outer corners: at a known distance a face's size is its own."""
    assert 88 < np.linalg.norm(landmarks[45] - landmarks[36]) < 92


def test_axes(landmarks: NDArray[np.float64]) -> None:
    assert landmarks[36, 0] < 0 < landmarks[45, 0]  # the subject's right eye is on the image's left
    assert landmarks[8, 1] < landmarks[57, 1] < landmarks[33, 1] < landmarks[27, 1] < landmarks[19, 1]
    assert landmarks[30, 2] > landmarks[8, 2] > landmarks[0, 2]


def test_every_vertex_has_its_mirror_image(model: MorphableModel) -> None:
    assert (model.mirror[model.mirror] == np.arange(model.vertex_count)).all()
    np.testing.assert_allclose(model.mean[model.mirror] * FLIP, model.mean, atol=1e-4)
    np.testing.assert_allclose(model.mean_albedo[model.mirror], model.mean_albedo, atol=1e-6)
    np.testing.assert_allclose(model.albedo_basis[model.mirror], model.albedo_basis, atol=1e-6)


def test_triangles_and_face_mask_are_symmetric(model: MorphableModel) -> None:
    masks = {frozenset(t): m for t, m in zip(model.triangles.tolist(), model.face_mask.tolist(), strict=True)}
    mirrored = model.mirror[model.triangles].tolist()
    assert all(masks.get(frozenset(t)) == m for t, m in zip(mirrored, model.face_mask.tolist(), strict=True))


def test_identity_modes_are_symmetric_or_antisymmetric(model: MorphableModel) -> None:
    mirrored = model.identity_basis[model.mirror] * FLIP[:, None].astype(np.float32)
    even = np.abs(mirrored - model.identity_basis).max(axis=(0, 1))
    odd = np.abs(mirrored + model.identity_basis).max(axis=(0, 1))
    size = np.abs(model.identity_basis).max(axis=(0, 1))
    assert (np.minimum(even, odd) <= 2e-3 * size).all()
    assert 3 <= (odd < even).sum() <= 30


def test_left_and_right_units_mirror_each_other(model: MorphableModel, units: Units) -> None:
    def offset(name: str) -> NDArray[np.float64]:
        moved: NDArray[np.float64] = model.expression_basis @ units.coefficients(**{name: 1.0})
        return moved

    for name in units.names:
        twin = name.replace("Left", "#").replace("Right", "Left").replace("#", "Right")
        np.testing.assert_allclose(offset(twin)[model.mirror] * FLIP, offset(name), atol=0.03, err_msg=name)


def test_sides_move_together_more_than_apart(units: Units) -> None:
    left, right = (np.array([name.endswith(side) for name in units.names]) for side in ("Left", "Right"))
    pairs = (units.matrix[left] != 0).any(axis=0) & (units.matrix[right] != 0).any(axis=0)
    signs = np.sign(units.matrix[:, pairs]).sum(axis=0)
    size = np.abs(units.matrix[:, pairs]).max(axis=0)
    assert (signs == 2).sum() == (signs == 0).sum() == 18
    assert size[signs == 2].min() > 2 * size[signs == 0].max()


def test_a_full_unit_takes_three_or_four_standard_deviations(units: Units) -> None:
    for name in units.names:
        effort = np.linalg.norm(units.coefficients(**{name: 1.0}))
        assert 2.5 < effort < 14.0, name
    assert np.linalg.norm(units.coefficients(jawOpen=1.0)) == pytest.approx(4.0, abs=0.05)
    both = units.coefficients(mouthSmileLeft=1.0, mouthSmileRight=1.0)
    assert np.linalg.norm(both) < 0.7 * np.linalg.norm(units.coefficients(mouthSmileLeft=1.0))


def test_eyes_look_sideways_together(units: Units) -> None:
    both = np.linalg.norm(units.coefficients(eyeLookInLeft=1.0, eyeLookOutRight=1.0))
    crossed = np.linalg.norm(units.coefficients(eyeLookInLeft=1.0, eyeLookInRight=1.0))
    assert both < 0.6 * crossed


def test_winding_is_outward(model: MorphableModel) -> None:
    normals = triangle_normals(model.mean, model.triangles)
    centres = model.mean[model.triangles].mean(axis=1)
    seen = model.face_mask
    outward = np.einsum("td,td->t", normals, centres - [0.0, -20.0, 0.0]) > 0
    assert outward[seen].mean() > 0.98
    assert normals[seen, 2].sum() > 0


def test_mesh_is_an_orientable_manifold_without_degenerate_triangles(model: MorphableModel) -> None:
    t = model.triangles
    directed = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)
    assert np.linalg.norm(triangle_normals(model.mean, t), axis=1).min() > 1e-3
    assert len(np.unique(t)) == model.vertex_count


def test_neighbours_lie_close_in_memory(model: MorphableModel) -> None:
    span = np.ptp(model.triangles, axis=1)
    assert np.median(span) < 300
    assert (np.diff(model.triangles[:, 0]) >= 0).all()


def test_landmarks_are_symmetric(landmarks: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(landmarks[MIRRORED_LANDMARK] * FLIP, landmarks, atol=1e-3)
    np.testing.assert_allclose(landmarks[[8, 27, 28, 29, 30, 33, 51, 57, 62, 66], 0], 0, atol=1e-3)


def test_landmarks_of_the_lids_lie_beside_the_rims(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    """Where scans have them: on the margins, whose inner edges are where the skin ends; inner corners before them."""
    rims = model.mean[boundary_vertices(model.triangles[model.part("skin")])]
    away = np.linalg.norm(landmarks[36:48, None] - rims, axis=2).min(axis=1)
    corners = np.isin(np.arange(36, 48), [39, 42])
    assert away[~corners].max() < 2.0
    assert away[corners].max() < 4.5


def test_landmarks_stand_in_the_order_of_300w(landmarks: NDArray[np.float64]) -> None:
    x, y = landmarks[:, 0], landmarks[:, 1]
    assert (np.diff(x[:17]) > 0).all()  # jaw
    assert y[8] == y[:17].min()
    assert (np.diff(x[17:27]) > 0).all()  # brows
    assert (np.diff(y[27:31]) < 0).all()  # nose bridge
    assert (np.diff(x[31:36]) > 0).all()  # nose base
    assert y[[37, 38]].min() > y[[40, 41]].max()  # upper lid above lower
    assert (np.diff(x[48:55]) > 0).all()  # outer upper lip
    assert (np.diff(x[55:60]) < 0).all()  # outer lower lip
    assert (np.diff(x[60:65]) > 0).all()
    assert (np.diff(x[65:68]) < 0).all()
    assert x[48] < x[60] < x[64] < x[54]
    assert (y[50:53].min() > y[61:64].max()) & (y[65:68].min() > y[56:59].max())


def test_lips_touch_at_rest_and_part_when_the_jaw_opens(model: MorphableModel, units: Units) -> None:
    pairs = np.array([[61, 67], [62, 66], [63, 65]])
    rest = model.landmarks(model.mean)
    assert (np.abs(rest[pairs[:, 0]] - rest[pairs[:, 1]])[:, 1] < 2.0).all()
    apart = model.landmarks(model.vertices(None, units.coefficients(jawOpen=0.8)))
    assert (apart[pairs[:, 0], 1] - apart[pairs[:, 1], 1] > 15).all()


def test_blinking_closes_the_lids(model: MorphableModel, units: Units) -> None:
    blink = units.coefficients(eyeBlinkLeft=1.0)
    closed, rest = model.landmarks(model.vertices(None, blink)), model.landmarks(model.mean)

    def gap(points: NDArray[np.float64], upper: list[int], lower: list[int]) -> float:
        return float(points[upper, 1].mean() - points[lower, 1].mean())

    assert gap(rest, [43, 44], [46, 47]) > 5
    assert gap(closed, [43, 44], [46, 47]) < 1
    assert gap(closed, [37, 38], [40, 41]) == pytest.approx(gap(rest, [37, 38], [40, 41]), abs=0.5)


def test_face_mask_leaves_out_what_photos_do_not_show(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    shown = np.unique(model.triangles[model.face_mask])
    assert not np.isin(boundary_vertices(model.triangles), shown).any()
    points = model.mean[shown]
    assert points[:, 1].max() < landmarks[19, 1] + 60  # hair
    assert points[:, 1].min() > landmarks[8, 1] - 12  # neck
    assert np.abs(points[:, 0]).max() < np.abs(model.mean[:, 0]).max() - 5  # ears
    assert not np.isin(model.landmark_vertices[60:68], shown).any()  # inside of the lips


def test_face_mask_keeps_brows_nose_cheeks_and_outer_lips(model: MorphableModel) -> None:
    shown = np.unique(model.triangles[model.face_mask])
    kept = [*range(17, 36), *range(48, 60)]
    assert np.isin(model.landmark_vertices[kept], shown).all()
    assert 0.2 < model.face_mask.mean() < 0.5


def test_albedo_stays_near_skin(model: MorphableModel) -> None:
    shown = np.unique(model.triangles[model.face_mask])
    mean = model.mean_albedo[shown]
    assert (mean.mean(axis=0) > [0.2, 0.1, 0.05]).all()
    assert (mean.mean(axis=0) < [0.6, 0.4, 0.3]).all()
    for mode in range(model.albedo_count):
        for deviation in (-2, 2):
            skin = mean + deviation * model.albedo_basis[shown, :, mode]
            assert skin.min() > -0.01
            assert skin.max() < 1
    first = model.albedo_basis[shown, :, 0].mean(axis=0)
    assert (first > 0).all()  # dark to light


BROWS, LIPS, BEARD, SOCKETS = range(4, 8)


def near(model: MorphableModel, points: NDArray[np.floating], reach: float) -> NDArray[np.bool_]:
    """(N,) the vertices within `reach` mm of any of the surface points nearest to points (P, 3)."""
    nearest = [model.mean[np.linalg.norm(model.mean - point, axis=1).argmin()] for point in points]
    close: NDArray[np.bool_] = np.linalg.norm(model.mean[:, None] - np.array(nearest), axis=2).min(axis=1) <= reach
    return close


def strongest_paint(model: MorphableModel, mode: int, points: NDArray[np.floating], reach: float) -> float:
    """The strongest change (mean of RGB, negative is darker) that a mode makes near points (P, 3)."""
    return float(model.albedo_basis[near(model, points, reach), :, mode].mean(axis=1).min())


def test_painted_modes_are_exactly_symmetric(model: MorphableModel) -> None:
    np.testing.assert_array_equal(model.albedo_basis[model.mirror][..., BROWS:], model.albedo_basis[..., BROWS:])
    np.testing.assert_array_equal(model.mean_albedo[model.mirror], model.mean_albedo)


def test_painted_modes_only_darken(model: MorphableModel) -> None:
    assert model.albedo_basis[..., BROWS:].max() < 0.005
    assert (model.albedo_basis[..., BROWS:].min(axis=(0, 1)) < -0.04).all()


def test_brows_are_painted_below_their_landmarks_alone(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    """Paint is where the sliders' people have their brows, which begin farther out than on scans: beside 21 and 22."""
    for brow in range(17, 27):
        below = landmarks[brow] - [0.0, 2.5, 0.0]
        assert strongest_paint(model, BROWS, below[None], 8.0 if brow in (21, 22) else 4.0) < -0.025, brow
    painted = np.flatnonzero(model.albedo_basis[..., BROWS].any(axis=1))
    to_brows = np.linalg.norm(model.mean[painted, None] - landmarks[None, 17:27], axis=2).min(axis=1)
    assert to_brows.max() < 16
    forehead = model.mean[:, 1] > landmarks[19, 1] + 5
    between = np.abs(model.mean[:, 0]) < 8
    assert not model.albedo_basis[forehead | between][..., BROWS].any()


def test_mean_brows_are_half_as_bright_as_skin_and_vanish_at_two_deviations(
    model: MorphableModel, landmarks: NDArray[np.float64]
) -> None:
    darkest = np.argsort(model.albedo_basis[..., BROWS].sum(axis=1))[:12]
    forehead = np.linalg.norm(model.mean - (landmarks[19] + [0, 15, 0]), axis=1) < 8

    def ratio(coefficient: float) -> float:
        skin = model.mean_albedo + coefficient * model.albedo_basis[..., BROWS]
        return float(skin[darkest].mean() / skin[forehead].mean())

    assert 0.4 < ratio(0) < 0.65
    assert 0.8 < ratio(-2) < 1.1
    assert ratio(1) < 0.75 * ratio(0)
    assert 0 < ratio(2) < 0.25


def test_lips_are_redder_than_the_skin_around(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    on = np.array([(landmarks[51] + landmarks[62]) / 2, (landmarks[57] + landmarks[66]) / 2])
    assert strongest_paint(model, LIPS, on, 3.0) < -0.02
    assert strongest_paint(model, LIPS, landmarks[[33, 8, 30, 2, 14]], 6.0) == 0.0
    lip, chin = near(model, on, 2.0), near(model, landmarks[57:58] - [0, 14, 0], 4.0)
    redness = model.mean_albedo[:, 0] / model.mean_albedo[:, 1]
    assert 1.2 < redness[lip].mean() / redness[chin].mean() < 2.0
    redder = (model.mean_albedo + model.albedo_basis[..., LIPS])[lip]
    assert (redder[:, 0] / redder[:, 1]).mean() > 1.1 * redness[lip].mean()


def test_beard_is_on_jaw_chin_and_upper_lip_alone(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    moustache = (landmarks[33] + landmarks[51]) / 2
    for point in (moustache, landmarks[57] - [0, 12, 0], landmarks[8], landmarks[5], landmarks[11]):
        assert strongest_paint(model, BEARD, point[None], 4.0) < -0.015
    lips, nose, forehead = landmarks[[57, 62, 66]], landmarks[[27, 28, 29, 30]], landmarks[[19, 24]] + [0, 15, 0]
    for points in (lips, nose, forehead, landmarks[36:48]):
        assert not model.albedo_basis[near(model, points, 1.5)][..., BEARD].any()
    cheek = near(model, landmarks[[29]] * [0, 1, 1] + [38, 0, -20], 8.0)
    assert not model.albedo_basis[cheek][..., BEARD].any()


def test_sockets_surround_the_eyes(model: MorphableModel, landmarks: NDArray[np.float64]) -> None:
    eyes = landmarks[36:48]
    assert strongest_paint(model, SOCKETS, eyes, 3.0) < -0.02
    painted = np.flatnonzero(model.albedo_basis[..., SOCKETS].any(axis=1))
    outer = painted[model.mean[painted, 2] > 50]
    assert np.linalg.norm(model.mean[outer, None] - eyes[None], axis=2).min(axis=1).max() < 16


@pytest.mark.parametrize("seed", range(4))
def test_random_faces_stay_within_bounds(model: MorphableModel, seed: int) -> None:
    random = np.random.default_rng(seed)
    surface = model.vertices(random.normal(size=100), random.normal(size=52))
    assert np.linalg.norm(surface - model.mean, axis=1).max() < 60
    face = np.unique(model.triangles[model.face_mask])
    assert np.sqrt(((surface - model.mean)[face] ** 2).sum(axis=1).mean()) < 15


def test_texture_coordinates_keep_the_seams(model: MorphableModel) -> None:
    assert len(model.uv) >= model.vertex_count
    assert model.uv.min() >= 0
    assert model.uv.max() <= 1
    corners = model.uv[model.uv_triangles]
    assert np.ptp(corners, axis=1).max() < 0.05
    pairs = np.unique(np.stack([model.triangles.ravel(), model.uv_triangles.ravel()], axis=1), axis=0)
    assert len(np.unique(pairs[:, 1])) == len(pairs)  # a texture corner belongs to one vertex


def test_jaw_landmarks_are_vertices(model: MorphableModel) -> None:
    assert (model.landmark_weights[:17, 0] == 1).all()
