"""Carrying the people of one model over to the mesh of another."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from grid_head import field, grid_head, grid_model
from numpy.typing import NDArray
from typer.testing import CliRunner

from faceinv.cli import models
from faceinv.errors import FaceinvError, InputError, ModelError
from faceinv.face.formats import load_model, save_npz_model
from faceinv.face.model import MorphableModel
from faceinv.face.transplant import Transplanted, transplant

Points = NDArray[np.float64]


def target() -> MorphableModel:
    """A mesh with a loose ball behind an eye, which in its own modes moves as the skin before it does on average."""
    head = grid_head(27, 21)
    modes = field(head.vertices, 3, 1)
    model = grid_model(head, "onto", modes)
    ball = np.array([[-33.0, 33, 66], [-29, 33, 62], [-35, 36, 62], [-35, 30, 62]])
    faces = np.array([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]]) + len(head.vertices)
    near = np.linalg.norm(head.vertices - [-33, 33, 80], axis=1) < 18
    ball_modes = np.repeat(modes[near].mean(axis=0)[None], 4, axis=0)

    def longer(values: NDArray[np.floating], more: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.concatenate([values, more]).astype(np.float32)

    return dataclasses.replace(
        model,
        mean=longer(model.mean, ball),
        identity_basis=longer(model.identity_basis, ball_modes),
        expression_basis=longer(model.expression_basis, np.zeros((4, 3, 2))),
        mean_albedo=longer(model.mean_albedo, np.full((4, 3), 0.9)),
        albedo_basis=longer(model.albedo_basis, np.zeros((4, 3, 2))),
        triangles=np.concatenate([model.triangles, faces]).astype(np.int32),
        face_mask=np.concatenate([model.face_mask, np.zeros(4, bool)]),
        uv_triangles=np.concatenate([model.uv_triangles, np.zeros((4, 3), np.int32)]),
        mirror=np.concatenate([model.mirror, np.arange(4) + len(head.vertices)]).astype(np.int32),
    )


def people(albedo: float = 0.3, grow: float = 1.1) -> MorphableModel:
    """Another mesh of the same surface, larger, whose modes are a known field."""
    head = grid_head(33, 25)
    modes = grow * field(head.vertices, 4, 2)
    head.vertices = grow * head.vertices + [5.0, -20.0, 30.0]
    own = (0.01 * field(head.vertices, 2, 7)).astype(np.float32)
    return dataclasses.replace(grid_model(head, "people", modes, albedo), albedo_basis=own)


@pytest.fixture(scope="module")
def onto() -> MorphableModel:
    return target()


@pytest.fixture(scope="module")
def done(onto: MorphableModel) -> Transplanted:
    return transplant(people(), onto)


def inner(model: MorphableModel) -> NDArray[np.int64]:
    return np.unique(model.triangles[model.face_mask])


def test_modes_are_those_of_the_same_places(done: Transplanted, onto: MorphableModel) -> None:
    face = inner(onto)
    expected = field(onto.mean.astype(np.float64), 4, 2)[face]
    error = np.sqrt(((done.model.identity_basis[face] - expected) ** 2).sum(axis=1).mean())
    assert error < 0.05 * np.sqrt((expected**2).sum(axis=1).mean())
    assert np.isfinite(done.model.identity_basis).all()


def test_the_mean_is_that_of_the_people_at_the_size_of_the_mesh(done: Transplanted, onto: MorphableModel) -> None:
    face = inner(onto)
    assert np.linalg.norm(done.model.mean - onto.mean, axis=1)[face].mean() < 1.0  # it may slide along itself
    assert done.distance < 0.2
    assert done.normal_angle < 3
    assert done.folded == 0
    assert done.covered > 0.95


def test_what_the_mesh_comes_with_stays(done: Transplanted, onto: MorphableModel) -> None:
    for name in ("triangles", "uv_triangles", "expression_basis", "landmark_vertices", "face_mask", "mirror"):
        np.testing.assert_array_equal(getattr(done.model, name), getattr(onto, name))
    assert done.model.expression_names == onto.expression_names


def test_loose_parts_follow_the_skin(done: Transplanted, onto: MorphableModel) -> None:
    before = onto.mean.astype(np.float64)
    near = np.flatnonzero(np.linalg.norm(before[:-4] - [-33, 33, 80], axis=1) < 18)
    skin, ball = done.model.identity_basis[near].mean(axis=0), done.model.identity_basis[-4:]
    assert np.sqrt(((ball.mean(axis=0) - skin) ** 2).mean()) < 0.4 * np.sqrt((skin**2).mean())
    assert np.abs(ball - ball.mean(axis=0)).max() < 0.5  # as a whole


def test_albedo_is_carried_over_but_not_to_loose_parts(done: Transplanted, onto: MorphableModel) -> None:
    assert done.own_albedo
    face = inner(onto)
    places = 1.1 * onto.mean.astype(np.float64) + [5.0, -20.0, 30.0]
    np.testing.assert_allclose(done.model.mean_albedo[face], np.tile(0.3 + 0.001 * places[face, :1], 3), atol=0.01)
    np.testing.assert_array_equal(done.model.mean_albedo[-4:], onto.mean_albedo[-4:])
    assert done.model.albedo_count == 2
    assert not done.model.albedo_basis[-4:].any()


def test_a_borrowed_albedo_stays_the_meshs_own(onto: MorphableModel) -> None:
    source = people()
    own = (0.01 * field(grid_head(33, 25).vertices, 2, 8)).astype(np.float32)
    again = transplant(dataclasses.replace(source, albedo_basis=own), onto)
    assert not again.own_albedo
    np.testing.assert_array_equal(again.model.albedo_basis, onto.albedo_basis)


def test_another_colour_space_is_kept_and_loose_parts_recoded(onto: MorphableModel) -> None:
    done = transplant(dataclasses.replace(people(), albedo_space="srgb"), onto)
    assert done.model.albedo_space == "srgb"
    np.testing.assert_allclose(done.model.mean_albedo[-4:], 0.9547, atol=1e-3)


def test_both_licences_are_told(done: Transplanted) -> None:
    assert "the licence of people" in done.model.licence
    assert "the licence of onto" in done.model.licence


def test_the_same_mesh_is_refused(onto: MorphableModel) -> None:
    with pytest.raises(ModelError, match="already"):
        transplant(onto, onto)


def test_a_model_without_identities_is_refused(onto: MorphableModel) -> None:
    with pytest.raises(ModelError, match="no identity modes"):
        transplant(people().truncated(identity=0), onto)


def test_landmarks_of_another_place_are_refused(onto: MorphableModel) -> None:
    source = people()
    wrong = source.landmark_vertices.copy()
    wrong[17:] = wrong[17:] % 90  # all of them on the chin
    with pytest.raises(ModelError, match="cannot be laid on its mean"):
        transplant(dataclasses.replace(source, landmark_vertices=wrong), onto)


def run(*words: str | Path) -> str:
    result = CliRunner().invoke(models.models_app, ["transplant", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def small_default(monkeypatch: pytest.MonkeyPatch, onto: MorphableModel) -> None:
    def load(source: str | Path, **counts: int | None) -> MorphableModel:
        return onto if str(source) == "default" else load_model(source, **counts)  # type: ignore[arg-type]

    monkeypatch.setattr("faceinv.face.formats.load_model", load)


@pytest.mark.usefixtures("small_default")
def test_the_command_writes_a_model_that_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_npz_model(people(), tmp_path / "people.npz")
    monkeypatch.chdir(tmp_path)
    text = run("people.npz", "--identity", "3")
    assert "mm RMS from SRC's mean" in text
    assert "carried over" in text
    model = load_model(tmp_path / "people_on_default.npz")
    assert model.identity_count == 3
    assert "the licence of people" in model.licence
    with pytest.raises(InputError, match="is there already"):
        run("people.npz")


@pytest.mark.usefixtures("small_default")
@pytest.mark.parametrize(
    ("words", "kind", "match"),
    [
        (("default", "-o", "a.npz"), InputError, "default model itself"),
        (("missing.npz",), ModelError, "does not exist"),
        (("missing.npz", "-o", "a.obj"), InputError, r"should end in \.npz"),
    ],
)
def test_the_command_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], kind: type[FaceinvError], match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=match):
        run(*words)
    assert not list(tmp_path.iterdir())
