"""Exported files, read back by another program."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image
from quick import quick_fit, sample
from scipy.spatial import cKDTree

import faceinv
from faceinv.errors import InputError
from faceinv.face.camera import rotation_from_euler
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.read import load_image
from faceinv.render.eye_colour import albedo_with_eyes
from faceinv.render.texture import texture_image, vertex_colours
from faceinv.render.uv import texture_layout


def load(path: Path) -> Any:
    mesh = trimesh.load(path, process=False, force="mesh")
    assert isinstance(mesh, trimesh.Trimesh)
    return mesh


def texels(texture: np.ndarray, uv: np.ndarray) -> np.ndarray:
    """The nearest texel at texture coordinates with v upwards."""
    height, width = texture.shape[:2]
    column = np.clip((uv[:, 0] * width).astype(int), 0, width - 1)
    row = np.clip(((1 - uv[:, 1]) * height).astype(int), 0, height - 1)
    return np.asarray(texture[row, column], float)


def gltf_json(path: Path) -> Any:
    content = path.read_bytes()
    magic, version, length = struct.unpack("<4sII", content[:12])
    assert (magic, version, length) == (b"glTF", 2, len(content))
    size = struct.unpack("<I", content[12:16])[0]
    return json.loads(content[20 : 20 + size])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export")
    for texture in ("albedo", "photo"):
        for suffix in (".glb", ".obj", ".ply"):
            quick_fit().export(path / f"{texture}{suffix}", texture)
    return path


def test_glb_is_upright_in_metres_and_faces_the_viewer(folder: Path) -> None:
    mesh, model = load(folder / "albedo.glb"), quick_fit().model
    extent = mesh.bounds[1] - mesh.bounds[0]
    assert 0.12 < extent[0] < 0.30
    assert 0.15 < extent[1] < 0.40
    marks = model.landmarks(quick_fit().vertices) / 1000
    nearest = np.asarray(cKDTree(mesh.vertices).query(marks)[0])
    assert nearest.max() < 0.004
    nose, chin, brow, left_ear, right_ear = marks[30], marks[8], marks[27], marks[0], marks[16]
    assert nose[2] > left_ear[2] + 0.03
    assert nose[2] > right_ear[2] + 0.03
    assert brow[1] > marks[51][1] > chin[1]  # nose bridge, upper lip, chin
    assert left_ear[0] < nose[0] < right_ear[0]  # landmark 16 is on the image's right
    assert mesh.face_normals[np.argmax(mesh.triangles_center[:, 2])][2] > 0.5


def test_glb_says_what_it_holds(folder: Path) -> None:
    tree = gltf_json(folder / "albedo.glb")
    assert [material["name"] for material in tree["materials"]] == ["skin", "mouth", "teeth", "eyes", "lashes"]
    for material in tree["materials"]:
        assert material["pbrMetallicRoughness"]["metallicFactor"] == 0
        assert material["pbrMetallicRoughness"]["baseColorTexture"]["index"] == 0
        assert material["doubleSided"] is True
    assert len(tree["images"]) == 1
    assert "bufferView" in tree["images"][0]  # inside the file
    extras = tree["asset"]["extras"]
    assert (extras["unit"], extras["texture"], extras["model"]) == ("metre", "albedo", quick_fit().model.name)
    for primitive in tree["meshes"][0]["primitives"]:
        assert {"POSITION", "NORMAL", "TEXCOORD_0"} == set(primitive["attributes"])
    assert "KHR_materials_unlit" not in json.dumps(tree)
    assert "KHR_materials_unlit" in gltf_json(folder / "photo.glb")["extensionsUsed"]


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_texture_colours_land_on_their_vertices(folder: Path, suffix: str) -> None:
    result, scale = quick_fit(), 1000 if suffix == ".glb" else 1
    albedo = albedo_with_eyes(result.model, result.face, result.photo)
    expected = np.clip(linear_to_srgb(np.clip(albedo, 0, 1)), 0, 1)
    scene = trimesh.load(folder / f"albedo{suffix}", process=False, force="scene")
    errors = []
    for mesh in scene.geometry.values():
        material = mesh.visual.material
        image = material.baseColorTexture if suffix == ".glb" else material.image
        found = texels(np.asarray(image.convert("RGB")), mesh.visual.uv) / 255
        _, vertex = cKDTree(result.vertices).query(mesh.vertices * scale)
        errors.append(np.abs(found - expected[vertex]).max(axis=1))
    error = np.concatenate(errors)
    assert len(error) >= result.model.vertex_count
    assert np.quantile(error, 0.94) < 0.03  # irises and gaps between teeth are finer than a texel
    assert np.median(error) < 0.01


def test_obj_has_its_material_and_texture_beside_it(tmp_path: Path) -> None:
    quick_fit().export(tmp_path / "my face.obj")
    assert {p.name for p in tmp_path.iterdir()} == {"my face.obj", "my_face.mtl", "my_face_texture.png"}
    text = (tmp_path / "my face.obj").read_text()
    assert "unit: millimetre" in text.splitlines()[1]
    assert "mtllib my_face.mtl\n" in text
    assert "map_Kd my_face_texture.png\n" in (tmp_path / "my_face.mtl").read_text()
    mesh = load(tmp_path / "my face.obj")
    assert len(mesh.faces) == len(quick_fit().triangles)
    assert np.ptp(mesh.vertices[:, 0]) == pytest.approx(np.ptp(quick_fit().vertices[:, 0]), rel=1e-5)


def test_ply_has_colours_normals_and_says_its_unit(folder: Path) -> None:
    result, mesh = quick_fit(), load(folder / "albedo.ply")
    assert b"comment unit: millimetre" in (folder / "albedo.ply").read_bytes()[:300]
    assert np.allclose(mesh.vertices, result.vertices, atol=1e-4)
    assert np.array_equal(mesh.faces, result.triangles)
    colours = np.rint(255 * vertex_colours(result.model, result.face, "albedo", result.photo))
    assert np.allclose(mesh.visual.vertex_colors[:, :3], colours, atol=1)
    content = (folder / "albedo.ply").read_bytes()
    first = content.index(b"end_header\n") + len(b"end_header\n")
    stored = np.frombuffer(content[first : first + 24], "<f4")  # x, y, z, nx, ny, nz of the first vertex
    assert np.allclose(stored[3:], result.normals[0], atol=1e-6)


def test_photo_texture_is_the_photo_where_it_shows_the_face() -> None:
    result = quick_fit()
    photo = load_image(sample()).pixels
    found = vertex_colours(result.model, result.face, "photo", result.photo)
    column, row = np.rint(result.landmarks2d[27:36]).astype(int).T  # the nose
    vertices = result.model.landmark_vertices[np.arange(27, 36), result.model.landmark_weights[27:36].argmax(axis=1)]
    assert np.abs(found[vertices] - photo[row, column]).mean() < 0.06
    assert found.min() >= 0
    assert found.max() <= 1
    assert np.isfinite(found).all()


def test_photo_texture_of_a_turned_head_goes_on_behind() -> None:
    result = quick_fit()
    camera = dataclasses.replace(result.camera, rotation=rotation_from_euler(0.0, 0.9, 0.0))
    turned = dataclasses.replace(result, face=dataclasses.replace(result.face, camera=camera))
    drawn = turned.render()
    turned = dataclasses.replace(turned, photo=linear_to_srgb(np.clip(drawn[..., :3], 0, 1)))
    colours = vertex_colours(turned.model, turned.face, "photo", turned.photo)
    corners = result.triangles[result.model.face_mask]
    step = np.abs(colours[corners] - colours[corners[:, [1, 2, 0]]]).max(axis=(1, 2))
    lids = result.model.landmarks(result.vertices)[36:48]
    by_eyes = np.linalg.norm(result.vertices[corners].mean(axis=1)[:, None] - lids, axis=2).min(axis=1) < 8
    assert np.quantile(step[~by_eyes], 0.99) < 0.15  # no seam, and none of the black behind the head
    assert step[~by_eyes].max() < 0.3  # between the lips
    face = np.unique(corners)
    hidden = face[(result.normals @ camera.rotation.T)[face, 2] < -0.1]
    assert len(hidden) > 100
    assert colours[hidden].mean() > 0.5 * colours[face].mean()


def test_texture_layout_fills_the_square_without_overlap() -> None:
    model = quick_fit().model
    uv = texture_layout(model)
    assert uv.min() >= 0
    assert uv.max() <= 1
    assert max(np.ptp(uv[:, 0]), np.ptp(uv[:, 1])) > 0.97


def test_texture_layout_gives_the_face_the_most_room() -> None:
    model = quick_fit().model
    uv = texture_layout(model)

    def growth(triangles: np.ndarray) -> np.ndarray:
        """(T, 2) how much triangles are stretched along the axes of the model's own layout."""
        corners = model.uv_triangles[triangles]
        return np.asarray(np.ptp(uv[corners], axis=1) / np.maximum(np.ptp(model.uv[corners], axis=1), 1e-9))

    face = growth(model.face_mask)
    assert np.ptp(face) < 0.02 * face.mean()
    beside = growth(model.part("skin") & ~model.face_mask)
    assert beside.max() < 1.02 * face.mean()
    assert beside.min() > 0.35 * face.mean()
    eyes = growth(model.part("left_eye"))
    assert np.ptp(eyes) < 0.02 * eyes.mean()
    assert eyes.mean() < 0.5 * face.mean()
    share = np.ptp(uv[model.uv_triangles[model.face_mask]].reshape(-1, 2), axis=0)
    assert share.min() > 0.3  # of the square's side


def test_gaps_of_the_texture_are_filled() -> None:
    image = texture_image(quick_fit().model, quick_fit().face, "albedo", size=128)
    assert image.shape == (128, 128, 3)
    assert image.max(axis=2).min() > 20  # nowhere the black of an empty image


@pytest.mark.parametrize("name", ["face.stl", "face", "face.glb.txt"])
def test_another_suffix_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"\.glb, \.obj, \.ply"):
        quick_fit().export(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_bad_textures_and_places_are_refused(tmp_path: Path) -> None:
    result = quick_fit()
    with pytest.raises(InputError, match="expected one of 'albedo', 'photo'"):
        result.export(tmp_path / "a.glb", "skin")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="with_photo"):
        dataclasses.replace(result, photo=None).export(tmp_path / "a.glb", "photo")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Choose a folder"):
        result.export(tmp_path / "file" / "a.glb")
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        result.export(tmp_path / "folder.ply")


@pytest.mark.parametrize("suffix", [".glb", ".ply"])
def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / f"face{suffix}"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as stream:
            stream.write(data[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(InputError, match="No space left"):
        quick_fit().export(path)
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_saved_result_exports_again(tmp_path: Path) -> None:
    quick_fit().save(tmp_path / "a.npz")
    again = faceinv.load_result(tmp_path / "a.npz").with_photo(sample())
    again.export(tmp_path / "a.ply", "photo")
    quick_fit().export(tmp_path / "b.ply", "photo")
    assert (tmp_path / "a.ply").read_bytes() == (tmp_path / "b.ply").read_bytes()


@pytest.mark.parametrize("kind", ["middle", "aside", "weak"])
def test_the_camera_in_a_glb_sees_the_photo(kind: str, tmp_path: Path) -> None:
    result = quick_fit()
    width, height = result.image_size
    camera = result.camera
    centre = camera.centre + ([0, 0] if kind == "middle" else [0.1 * width, -0.05 * height])
    kappa = 0.0 if kind == "weak" else 1 / 500
    made = faceinv.Camera(camera.scale, camera.rotation, camera.translation, kappa, centre)
    dataclasses.replace(result, face=dataclasses.replace(result.face, camera=made)).export(
        tmp_path / "seen.glb", camera=True
    )
    tree = gltf_json(tmp_path / "seen.glb")
    node = next(node for node in tree["nodes"] if "camera" in node)
    assert tree["nodes"].index(node) in tree["scenes"][tree["scene"]]["nodes"]
    lens = tree["cameras"][node["camera"]]
    pose = np.array(node["matrix"]).reshape(4, 4).T
    x, y, z = (np.linalg.inv(pose) @ np.c_[result.vertices / 1000, np.ones(len(result.vertices))].T)[:3]
    assert (z < 0).all()
    if kind == "weak":
        shown = np.stack([x / lens["orthographic"]["xmag"], -y / lens["orthographic"]["ymag"]])
    else:
        half = np.tan(lens["perspective"]["yfov"] / 2)
        shown = np.stack([x / (half * lens["perspective"]["aspectRatio"]), -y / half]) / -z
    left, top, right, bottom = lens["extras"]["photo"]
    if kind != "aside":
        assert [left, top, right, bottom] == pytest.approx([0, 0, 1, 1])
    share = (shown.T + 1) / 2  # of the camera's picture
    pixels = (share - [left, top]) / [right - left, bottom - top] * [width, height] - 0.5
    assert np.abs(pixels - made.project(result.vertices)[:, :2]).max() < 1e-6 * width


def test_only_a_glb_holds_the_camera(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"only a \.glb holds the camera"):
        quick_fit().export(tmp_path / "face.ply", camera=True)


def test_texture_files_are_plain_images(folder: Path) -> None:
    with Image.open(folder / "photo_texture.png") as image:
        assert image.mode == "RGB"
        assert image.size == (1024, 1024)
