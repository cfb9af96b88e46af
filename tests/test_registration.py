"""Non-rigid registration: known correspondences are found, and what has none is told."""

from __future__ import annotations

import numpy as np
import pytest
from grid_head import EYES, GridHead, depth, field, grid_head
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from faceinv.face.mesh import vertex_normals
from faceinv.face.registration import Similarity, Template, register_surface, similarity_of_points
from faceinv.face.registration.correspondence import FacingSurface
from faceinv.face.registration.stiffness import Stiffness, cotangent_laplacian

Points = NDArray[np.float64]
MOVED = Similarity(1.2, Rotation.from_euler("xyz", [4, -6, 3], degrees=True).as_matrix(), np.array([10.0, -40.0, 25.0]))


@pytest.fixture(scope="module")
def template() -> GridHead:
    return grid_head(33, 25)


def test_similarities_are_found_and_undone() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    found = similarity_of_points(points, MOVED(points))
    np.testing.assert_allclose(found.rotation, MOVED.rotation, atol=1e-12)
    assert found.scale == pytest.approx(1.2)
    np.testing.assert_allclose(found.inverse()(found(points)), points, atol=1e-12)


def test_the_laplacian_is_positive_and_ignores_shifts() -> None:
    head = grid_head(13, 11)
    laplacian = cotangent_laplacian(head.vertices, head.triangles).toarray()
    np.testing.assert_allclose(laplacian, laplacian.T, atol=1e-12)
    np.testing.assert_allclose(laplacian.sum(axis=1), 0, atol=1e-9)
    assert np.linalg.eigvalsh(laplacian).min() > -1e-9


def test_a_similarity_meets_no_resistance(template: GridHead) -> None:
    stiffness = Stiffness(template.vertices, template.triangles)
    placed = MOVED(template.vertices)
    force = stiffness.matrix(3.0, 50.0) @ placed - stiffness.pull(placed, 3.0, 50.0)
    assert np.abs(force).max() < 1e-8
    bent = placed + [0, 0, 1] * np.sin(template.vertices[:, :1] / 5)
    force = stiffness.matrix(3.0, 50.0) @ bent - stiffness.pull(bent, 3.0, 50.0)
    assert np.abs(force).max() > 1


def test_counterparts_face_the_same_way() -> None:
    corner = np.array([[0.0, 0, 0], [10, 0, 0], [10, 10, 0], [0, 10, 0]])
    up, down = np.array([[0, 1, 2], [0, 2, 3]]), np.array([[4, 6, 5], [4, 7, 6]])
    sheet = FacingSurface(np.concatenate([corner, corner + np.array([0, 0, 1.0])]), np.concatenate([up, down]))
    points = np.array([[5.0, 4.0, 0.9], [5.0, 4.0, 0.1]])
    found = sheet.counterparts(points, np.array([[0, 0, 1.0], [0, 0, -1.0]]))
    np.testing.assert_allclose(found.position[:, 2], [0.0, 1.0], atol=1e-12)
    np.testing.assert_allclose(found.agreement, 1)
    np.testing.assert_allclose(found.distance, [0.9, 0.9])


def test_counterparts_on_a_rim_are_told() -> None:
    head = grid_head(11, 9)
    sheet = FacingSurface(head.vertices, head.triangles)
    points = np.array([[0.0, 0.0, 120.0], [0.0, 130.0, 30.0]])
    assert sheet.counterparts(points, np.array([[0, 0, 1.0], [0, 0, 1.0]])).inner.tolist() == [True, False]


def other_head(rows: int, columns: int, bend: float) -> tuple[GridHead, Points]:
    """A head of another mesh, bent, grown and turned; its vertices before that too."""
    head = grid_head(rows, columns)
    before = head.vertices.copy()
    bent = before + bend * field(before, 1, 4)[..., 0]
    head.vertices = MOVED(bent)
    return head, before


def test_a_bent_head_of_another_mesh_is_met(template: GridHead) -> None:
    other, before = other_head(41, 31, 1.0)
    laid = register_surface(template.template(), other.vertices, other.triangles, other.vertices[other.landmarks])
    inner = (np.abs(template.vertices[:, :2]) < [60, 78]).all(axis=1)
    assert np.sqrt((laid.counterparts.distance[inner] ** 2).mean()) < 0.15
    assert laid.counterparts.agreement[inner].min() > np.cos(np.deg2rad(12))
    assert laid.trust[inner].mean() > 0.9
    # What a vertex meets is the same place of the head, but for what slides along the surface unseen.
    corners = other.triangles[laid.counterparts.triangle]
    met = np.einsum("nk,nkd->nd", laid.counterparts.weights, before[corners])
    assert np.sqrt(((met - template.vertices)[inner] ** 2).sum(axis=1).mean()) < 2.0
    assert laid.similarity.scale == pytest.approx(1.2, rel=0.05)


def test_symmetric_heads_give_symmetric_places(template: GridHead) -> None:
    other = grid_head(41, 31)
    other.vertices[:, 2] += 0.1 * other.vertices[:, 1] - 3 * np.cos(other.vertices[:, 0] / 30)
    laid = register_surface(template.template(), other.vertices, other.triangles, other.vertices[other.landmarks])
    image = laid.vertices[template.mirror] * [-1, 1, 1]
    np.testing.assert_allclose(laid.vertices, image, atol=1e-9)


def test_lid_rims_meet_lid_rims() -> None:
    mine, other = grid_head(51, 39, eye_holes=True), grid_head(61, 47, eye_holes=True)
    for eye in EYES:  # the other's eyes are half open
        weight = np.exp(-(((other.vertices[:, :2] - eye) / 18) ** 2).sum(axis=1))
        other.vertices[:, 1] -= 0.4 * weight * (other.vertices[:, 1] - eye[1])
    other.vertices[:, 2] = depth(other.vertices[:, 0], other.vertices[:, 1])
    laid = register_surface(mine.template(), other.vertices, other.triangles, other.vertices[other.landmarks])

    def rim(head: GridHead, places: Points) -> Points:
        edges = np.sort(np.concatenate([head.triangles[:, [k, (k + 1) % 3]] for k in range(3)]), axis=1)
        unique, uses = np.unique(edges, axis=0, return_counts=True)
        open_vertices = np.unique(unique[uses == 1])
        near = np.abs(np.abs(head.vertices[open_vertices, 0]) - 33) < 17
        found: Points = places[open_vertices[near & (np.abs(head.vertices[open_vertices, 1] - 33) < 12)]]
        return found

    gap = np.linalg.norm(rim(mine, laid.vertices)[:, None] - rim(other, other.vertices)[None], axis=2).min(axis=1)
    before = np.linalg.norm(rim(mine, mine.vertices)[:, None] - rim(other, other.vertices)[None], axis=2).min(axis=1)
    assert np.median(gap) < 0.6 * np.median(before)
    assert np.median(gap) < 1.2


def test_places_beyond_the_surface_are_not_trusted(template: GridHead) -> None:
    other = grid_head(41, 31)
    kept = (other.vertices[other.triangles][:, :, 1] > -60).all(axis=1)
    laid = register_surface(template.template(), other.vertices, other.triangles[kept], other.vertices[other.landmarks])
    assert (laid.trust[template.vertices[:, 1] < -70] == 0).all()
    assert (laid.trust[(np.abs(template.vertices[:, :2]) < [55, 45]).all(axis=1)] > 0.5).all()
    below = template.vertices[:, 1] < -70
    gap = np.linalg.norm(laid.vertices - template.vertices, axis=1)[below]
    assert gap.max() < 8  # it follows its surroundings


def test_triangles_keep_their_side(template: GridHead) -> None:
    other, _ = other_head(41, 31, 1.5)
    laid = register_surface(template.template(), other.vertices, other.triangles, other.vertices[other.landmarks])
    placed = laid.similarity.inverse()(laid.vertices)
    agreement = (
        vertex_normals(placed, template.triangles) * vertex_normals(template.vertices, template.triangles)
    ).sum(1)
    assert agreement.min() > 0


def test_a_template_of_a_model_counts_its_face_most() -> None:
    from faceinv.face.formats import load_model

    model = load_model("default", identity=1, expression=1, albedo=1)
    template = Template.of(model)
    face = np.unique(model.triangles[model.face_mask])
    assert template.importance[face].min() == pytest.approx(1.0)
    assert template.importance.min() < 0.2
