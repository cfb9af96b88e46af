"""The GLB: valid glTF, and its morph targets make the faces that the model's units make."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from glb import Glb, check_structure
from numpy.typing import NDArray
from quick import quick_fit
from toy_head import model_of, toy

from faceinv.errors import InputError
from faceinv.face.camera import rotation_from_euler
from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.eyes import eye_centre
from faceinv.face.lighting import ambient
from faceinv.face.mesh import vertex_normals
from faceinv.face.state import Face
from faceinv.face.tangents import vertex_tangents
from faceinv.fitting.result import FitResult
from faceinv.output.face_glb import face_glb
from faceinv.output.rig import Rig
from faceinv.output.surfaces import pieces_of
from faceinv.render.atlas import atlas_of
from faceinv.render.inner_parts import with_painted_mouth

EYES = {"eyeLeft": "left_eye", "eyeRight": "right_eye"}
ROUNDING_MM = 0.004
"""Displacements under .002 mm are left out, and positions are float32 in metres."""


@cache
def fitted() -> FitResult:
    """The quick fit with an expression that moves everything."""
    result = quick_fit()
    face = result.face.with_units(
        result.model, jawOpen=0.4, mouthSmileLeft=0.7, eyeBlinkRight=0.3, eyeLookInLeft=0.5, eyeLookOutRight=0.5
    )
    return dataclasses.replace(result, face=face)


IMAGE = np.tile(np.arange(256, dtype=np.uint8)[:, None, None], (1, 256, 3))


@cache
def rigged() -> Glb:
    return Glb.of(face_glb(fitted().model, fitted().face, IMAGE, rig=True))


def expected(name: str, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
    """What of the model's vertices (N, 3) the primitives of a node hold, in their order."""
    pieces = pieces_of(fitted().model, single_eyes=True)
    chosen = [p for p in pieces if p.part == EYES[name]] if name in EYES else [p for p in pieces if p.surface != "eyes"]
    return np.concatenate([vertices[piece.vertices] for piece in chosen])


def off(values: Mapping[str, float] | None, vertices: NDArray[np.float64]) -> float:
    """mm by which the file's nodes are off a surface, at most."""
    return max(
        float(np.abs(1000 * rigged().posed(name, values) - expected(name, vertices)).max()) for name in ("face", *EYES)
    )


def test_targets_bear_the_names_of_the_units() -> None:
    units = fitted().model.expression_units
    assert units is not None
    assert rigged().mesh_of("face")["extras"]["targetNames"] == list(units.names)
    assert rigged().mesh_of("eyeLeft")["extras"]["targetNames"] == [
        "eyeBlinkLeft",
        *(f"eyeLook{way}Left" for way in ("Down", "In", "Out", "Up")),
    ]


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"jawOpen": 1.0},
        {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 0.5},
        {"eyeLookOutLeft": 1.0, "eyeLookInRight": 1.0},
        {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.6, "browInnerUp": 0.5, "jawOpen": 0.3},
        {"tongueOut": 1.0, "jawOpen": 0.7, "cheekPuff": -0.2},
    ],
)
def test_weights_make_the_faces_of_the_units(values: dict[str, float]) -> None:
    result = fitted()
    assert off(values, result.face.with_units(result.model, **values).vertices(result.model)) < ROUNDING_MM


def test_the_weights_of_the_file_make_the_fitted_face() -> None:
    result = fitted()
    weights = dict(
        zip(rigged().mesh_of("face")["extras"]["targetNames"], rigged().mesh_of("face")["weights"], strict=True)
    )
    assert {name: round(value, 5) for name, value in weights.items() if abs(value) > 1e-6} == {
        "jawOpen": 0.4,
        "mouthSmileLeft": 0.7,
        "eyeBlinkRight": 0.3,
        "eyeLookInLeft": 0.5,
        "eyeLookOutRight": 0.5,
    }
    assert off(None, result.vertices) < ROUNDING_MM


def test_every_unit_moves_what_the_model_moves() -> None:
    result = fitted()
    units = result.model.expression_units
    assert units is not None
    base = result.face.with_units(result.model).vertices(result.model)
    at_rest = {name: rigged().posed(name, {}) for name in ("face", *EYES)}
    for unit in units.names:
        moved = result.face.with_units(result.model, **{unit: 1.0}).vertices(result.model) - base
        for name, rest in at_rest.items():
            found = 1000 * (rigged().posed(name, {unit: 1.0}) - rest)
            assert np.abs(found - expected(name, moved)).max() < ROUNDING_MM, (unit, name)


def test_normals_of_targets_are_those_of_the_moved_surface() -> None:
    result = fitted()
    primitive = rigged().mesh_of("face")["primitives"][0]
    names = rigged().mesh_of("face")["extras"]["targetNames"]
    skin = pieces_of(result.model, single_eyes=True)[0]
    for unit in ("jawOpen", "mouthSmileLeft"):
        moved = result.face.with_units(result.model, **{unit: 1.0}).vertices(result.model)
        wanted = vertex_normals(moved, result.model.triangles)[skin.vertices]
        found = rigged().accessor(primitive["attributes"]["NORMAL"]).astype(np.float64)
        found += rigged().accessor(primitive["targets"][names.index(unit)]["NORMAL"])
        angle = np.degrees(np.arccos(np.clip((found * wanted).sum(axis=1), -1, 1)))
        assert np.quantile(angle, 0.99) < 0.1
        assert angle.max() < 1.5  # where vertices that are hardly moved are left out


def test_eyes_turn_about_their_own_centres() -> None:
    result = fitted()
    for name in EYES:
        points = rigged().posed(name, {}) - rigged().node(name)["translation"]
        radius = np.linalg.norm(points, axis=1) * 1000
        back = points[:, 2] < 0.003  # the cornea stands out in front
        assert np.ptp(radius[back]) < 0.15
        assert 10 < radius[back].mean() < 18
        # A node that is turned keeps the eye in its socket, and the iris goes where it looks.
        turned = points @ rotation_from_euler(0.0, 0.4, 0.0).T
        front = np.argmax(points[:, 2])
        assert turned[front, 0] > points[front, 0] + 0.003
        assert np.ptp(np.linalg.norm(turned, axis=1)[back] * 1000) < 0.15
    left, right = (rigged().node(name)["translation"] for name in EYES)
    marks = result.model.landmarks(result.face.with_units(result.model).vertices(result.model)) / 1000
    assert left[0] == pytest.approx(marks[42:48, 0].mean(), abs=0.004)  # the subject's left is on the image's right
    assert right[0] == pytest.approx(marks[36:42, 0].mean(), abs=0.004)


def test_turning_a_node_does_what_its_look_unit_does() -> None:
    for name, side in (("eyeLeft", 1), ("eyeRight", -1)):
        node = rigged().node(name)
        degrees = node["extras"]["eyeLookDegrees"]
        suffix = name.removeprefix("eye")
        rest = rigged().posed(name, {}) - node["translation"]
        for unit, turn in ((f"eyeLookOut{suffix}", (0.0, side)), (f"eyeLookDown{suffix}", (1, 0.0))):
            assert 15 < degrees[unit] < 35
            pitch, yaw = (np.radians(degrees[unit]) * way for way in turn)
            by_node = rest @ rotation_from_euler(pitch, yaw, 0.0).T
            by_unit = rigged().posed(name, {unit: 1.0}) - node["translation"]
            assert np.abs(by_node - by_unit).max() < 0.0005


def test_a_sphere_with_a_bulge_is_centred_where_it_turns() -> None:
    random = np.random.default_rng(3).normal(size=(600, 3))
    points = 12 * random / np.linalg.norm(random, axis=1, keepdims=True)
    points[points[:, 2] > 10] *= 1.06
    centre = np.array([30.0, 5.0, 60.0])
    assert np.abs(eye_centre(points + centre) - centre).max() < 0.05


def test_expressions_the_units_do_not_span_stay_in_the_base() -> None:
    model = model_of(toy())
    units = ExpressionUnits(("up", "down"), np.array([[1.0, 0.5, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]]))
    model = dataclasses.replace(model, expression_units=units)
    face = dataclasses.replace(
        Face.mean(model, quick_fit().camera, np.zeros((9, 3))), expression=np.array([1.0, -2, 1, 3])
    )
    rig = Rig.of(model, face)
    posed = rig.base.copy()
    for weight, motion in zip(rig.weights, rig.motions, strict=True):
        posed[motion.vertices] += weight * motion.displacement
    assert np.abs(posed - face.vertices(model)).max() < 0.02
    assert Glb.of(face_glb(model, face, IMAGE, rig=True)).node("head")["children"]


def test_a_rig_needs_units_and_a_glb(tmp_path: Path) -> None:
    model = model_of(toy())
    face = Face.mean(model, quick_fit().camera, np.zeros((9, 3)))
    with pytest.raises(InputError, match=r"'toy' has no named expression units to rig"):
        face_glb(model, face, IMAGE, rig=True)
    with pytest.raises(InputError, match=r"only a \.glb holds a rig"):
        fitted().export(tmp_path / "a.obj", rig=True)
    assert not list(tmp_path.iterdir())


def test_a_model_without_parts_is_one_piece_of_skin() -> None:
    model = model_of(toy())
    glb = Glb.of(face_glb(model, Face.mean(model, quick_fit().camera, np.zeros((9, 3))), IMAGE))
    check_structure(glb)
    assert [material["name"] for material in glb.tree["materials"]] == ["skin"]


def test_tangents_follow_the_texture() -> None:
    angle = np.linspace(0, 1.5, 12)
    u, v = np.meshgrid(angle, np.linspace(0, 1, 9))
    points = np.stack([np.sin(u) * 40, 30 * v, np.cos(u) * 40], axis=-1).reshape(-1, 3)
    corner = (np.arange(8)[:, None] * 12 + np.arange(11)).ravel()
    triangles = np.concatenate([[[c, c + 1, c + 13], [c, c + 13, c + 12]] for c in corner]).astype(np.int32)
    normals = points * [1, 0, 1] / 40
    uv = np.stack([u.ravel() / 1.5, v.ravel()], axis=1)
    along_u = np.stack([np.cos(u), np.zeros_like(u), -np.sin(u)], axis=-1).reshape(-1, 3)
    for layout, wanted, sign in ((uv, along_u, 1.0), (uv * [-1, 1], -along_u, -1.0)):
        tangents = vertex_tangents(points, normals, layout, triangles)
        assert np.allclose((tangents[:, :3] * wanted).sum(axis=1), 1, atol=5e-3)
        assert np.allclose((tangents[:, :3] * normals).sum(axis=1), 0, atol=1e-9)
        assert (tangents[:, 3] == sign).all()
        assert np.allclose(np.cross(normals, tangents[:, :3]) * sign, [0, 1, 0], atol=0.07)  # along v
    nowhere = vertex_tangents(points, normals, np.zeros_like(uv), triangles)
    assert np.allclose(np.linalg.norm(nowhere[:, :3], axis=1), 1)


def test_an_open_mouth_is_painted_under_the_light_of_the_photo() -> None:
    result, atlas = fitted(), atlas_of(fitted().model, 128)
    image = np.full((128, 128, 3), 90, np.uint8)
    painted = with_painted_mouth(result.model, result.face, result.vertices, image)

    def texels(*parts: str) -> NDArray[np.float64]:
        shown = np.zeros((128, 128), np.bool_)
        shown.ravel()[atlas.texels[result.model.part(*parts)[atlas.shown]]] = True
        return painted[shown].astype(np.float64)

    assert (texels("skin", "left_eye", "right_eye", "lashes") == 90).all()
    tongue, teeth = texels("tongue"), texels("upper_teeth", "lower_teeth")
    assert tongue[:, 0].mean() > tongue[:, 2].mean() + 15
    assert np.quantile(teeth.mean(axis=1), 0.9) > tongue.mean() + 30
    dark = dataclasses.replace(result.face, lighting=0.3 * result.face.lighting)
    assert with_painted_mouth(result.model, dark, result.vertices, image).mean() < painted.mean()
    # Whatever light goes with a skin of whatever colour, teeth are nearly white, and a tongue is not luminous.
    for light in ((1.2, 0.8, 0.5), (2.8, 2.8, 2.8), (0.5, 0.6, 0.5)):
        lit = dataclasses.replace(result.face, lighting=ambient(1.0) * np.array(light))
        painted = with_painted_mouth(result.model, lit, result.vertices, image)
        teeth, tongue = texels("upper_teeth", "lower_teeth"), texels("tongue")
        crowns = np.median(teeth[teeth.mean(axis=1) > np.quantile(teeth.mean(axis=1), 0.8)], axis=0)
        assert crowns.max() < 1.35 * crowns.min()
        assert 150 < crowns.mean() < 252
        assert tongue[:, 0].mean() < 205
    plain = model_of(toy())
    without = Face.mean(plain, quick_fit().camera, np.zeros((9, 3)))
    assert with_painted_mouth(plain, without, plain.mean.astype(float), image) is image


def variants() -> dict[str, bytes]:
    """A file of each kind."""
    model, face = fitted().model, fitted().face
    relief = np.full((64, 64, 3), (128, 128, 255), np.uint8)
    weak = dataclasses.replace(face, camera=dataclasses.replace(face.camera, kappa=0.0))
    return {
        "plain": face_glb(model, face, IMAGE),
        "photo": face_glb(model, face, IMAGE, "photo", unlit=True, image_size=(400, 300)),
        "weak": face_glb(model, weak, IMAGE, image_size=(400, 300)),
        "rig": face_glb(model, face, IMAGE, rig=True),
        "all": face_glb(model, face, IMAGE, "photo", unlit=True, normal_map=relief, rig=True, image_size=(400, 300)),
    }


def test_files_keep_to_the_specification() -> None:
    for content in variants().values():
        check_structure(Glb.of(content))


def test_normal_maps_keep_every_bit() -> None:
    relief = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    glb = Glb.of(face_glb(fitted().model, fitted().face, IMAGE, normal_map=relief))
    skin, *others = glb.tree["materials"]
    assert np.array_equal(glb.image(glb.tree["textures"][skin["normalTexture"]["index"]]["source"]), relief)
    assert not any("normalTexture" in material for material in others)


def test_colours_of_the_image_are_kept() -> None:
    found = rigged().image(0)
    assert found.shape == IMAGE.shape
    assert np.abs(found.astype(int) - IMAGE).max() < 6


def test_the_same_face_gives_the_same_bytes() -> None:
    assert variants()["all"] == variants()["all"]


def test_the_official_validator_finds_nothing(tmp_path: Path) -> None:
    """By Khronos' own validator, where node finds its package: `npm install gltf-validator`, or NODE_PATH."""
    node = shutil.which("node")
    where = {**os.environ, "NODE_PATH": os.environ.get("NODE_PATH", str(Path.cwd() / "node_modules"))}
    probe = [node or "node", "-e", "require('gltf-validator')"]
    if node is None or subprocess.run(probe, capture_output=True, env=where).returncode:
        pytest.skip("node with the package gltf-validator is not installed")
    names = []
    for name, content in variants().items():
        (tmp_path / f"{name}.glb").write_bytes(content)
        names.append(str(tmp_path / f"{name}.glb"))
    script = (
        "const v = require('gltf-validator'), fs = require('fs');"
        "Promise.all(process.argv.slice(1).map(f => v.validateBytes(new Uint8Array(fs.readFileSync(f)))))"
        ".then(all => console.log(JSON.stringify(all.map(r => r.issues))));"
    )
    run = subprocess.run([node, "-e", script, *names], capture_output=True, env=where, check=True)
    for name, issues in zip(names, json.loads(run.stdout), strict=True):
        assert issues["messages"] == [], name
        assert (issues["numErrors"], issues["numWarnings"]) == (0, 0)
