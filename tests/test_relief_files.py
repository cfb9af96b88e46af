"""Files of relief: pictures, the normal map of a GLB, the dense mesh, and the arrays of a saved result."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from glb import Glb
from numpy.typing import NDArray
from PIL import Image
from quick import quick_fit, sample
from rough_face import Rough, detail_of, rough
from scipy.ndimage import map_coordinates
from test_relief import baked, correlation, shape_of, well_seen

import faceinv
from faceinv import InputError
from faceinv.detail.record import DetailStatus
from faceinv.detail.relief_map import ReliefMap
from faceinv.detail.transfer import drape
from faceinv.face.mesh import vertex_normals
from faceinv.fitting.detail_file import detail_fields, read_detail
from faceinv.output.export import export_face
from faceinv.output.normal_map import FLAT, normal_map
from faceinv.output.picture import save_image
from faceinv.output.relief_mesh import relief_mesh, write_relief_mesh
from faceinv.output.relief_pictures import depth_picture, displacement_picture, normals_picture
from faceinv.photo.recognise import SAME_PHOTO, photo_print, print_difference
from faceinv.render.scene import renderer_of
from faceinv.render.uv import texture_layout
from faceinv.run.refine import earlier_options
from faceinv.run.saved import Saved


@cache
def detailed() -> faceinv.FitResult:
    """A quick fit of the packaged photo, with its detail."""
    return quick_fit().with_detail()


# ---- pictures


def test_normals_as_colours() -> None:
    known, _ = baked()
    picture = normals_picture(known.detail)
    assert picture.dtype == np.uint8
    assert picture.shape == (*shape_of(known), 4)
    mask = known.detail.mask
    assert np.array_equal(picture[..., 3] > 0, mask)
    back = picture[..., :3][mask] / 127.5 - 1.0
    assert np.abs(back - known.detail.normals[mask]).max() <= 0.5 / 127.5 + 1e-6
    assert (picture[~mask] == [128, 128, 255, 0]).all()


def test_depth_as_grey(tmp_path: Path) -> None:
    known, _ = baked()
    grey = depth_picture(known.detail)
    save_image(tmp_path / "depth.png", Image.fromarray(grey.values))
    with Image.open(tmp_path / "depth.png") as image:
        values = np.asarray(image).astype(np.float64)
    detail, mask = known.detail, known.detail.mask
    assert np.array_equal(values > 0, mask)
    heights = grey.mm_at_zero + values[mask] * grey.mm_per_unit
    rows, columns = np.nonzero(mask)
    points = known.face.camera.unproject(np.stack([columns, rows, detail.depth[mask]], axis=1))
    expected = (points @ known.face.camera.rotation.T)[:, 2]
    assert np.abs(heights - expected).max() < grey.mm_per_unit + 1e-3
    assert grey.mm_per_unit < 0.01


def test_displacement_as_grey() -> None:
    _, relief = baked()
    grey = displacement_picture(relief)
    assert grey.values.shape == (relief.size, relief.size)
    offset = grey.mm_at_zero + grey.values.astype(np.float64) * grey.mm_per_unit
    assert np.abs(offset - relief.picture()).max() <= 0.51 * grey.mm_per_unit
    assert grey.mm_at_zero + 32768 * grey.mm_per_unit == pytest.approx(0.0, abs=1e-12)
    # As programs read it: the middle level is none, and the whole range is the strength.
    usual = (grey.values / 65535.0 - 0.5) * 65535 * grey.mm_per_unit
    assert np.abs(usual - relief.picture()).max() <= 1.1 * grey.mm_per_unit


def test_nothing_as_grey() -> None:
    known, relief = baked()
    assert (displacement_picture(relief.scaled(0.0)).values == 32768).all()
    maps = known.detail.maps
    none = dataclasses.replace(known.detail, maps=dataclasses.replace(maps, mask=np.zeros_like(maps.mask)))
    assert not depth_picture(none).values.any()


# ---- the normal map


def decoded(glb: Glb, draped: Any, known: Rough, camera: NDArray[np.float64]) -> NDArray[np.float64]:
    """(H, W, 3) the normals that a viewer makes of a GLB at the pixels of a drawing, camera frame."""
    (skin,) = (p for p in glb.mesh_of("face")["primitives"] if "TANGENT" in p["attributes"])
    material = glb.tree["materials"][skin["material"]]
    image = glb.image(glb.tree["textures"][material["normalTexture"]["index"]]["source"])
    attributes = {name: glb.accessor(index) for name, index in skin["attributes"].items()}
    corners = glb.accessor(skin["indices"]).reshape(-1, 3)
    # The drawing's triangles in the order of the file, which leaves out other materials.
    assert known.model.triangle_parts is not None
    of_skin = np.flatnonzero(known.model.part("skin"))
    assert len(of_skin) == len(corners)
    place = np.full(len(known.model.triangles), -1)
    place[of_skin] = np.arange(len(of_skin))
    here = draped.skin
    corner, weight = corners[place[draped.pixels.triangle[0][here]]], camera[here]

    def mixed(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("mk,mkd->md", weight, values[corner].astype(np.float64)), np.float64)

    def unit(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float64)

    uv = mixed(attributes["TEXCOORD_0"])
    size = len(image)
    rows_columns = [uv[:, 1] * size - 0.5, uv[:, 0] * size - 0.5]
    colour = np.stack([map_coordinates(image[..., k].astype(float), rows_columns, order=1) for k in range(3)], axis=1)
    parts = colour / 127.5 - 1
    normal, tangent = unit(mixed(attributes["NORMAL"])), mixed(attributes["TANGENT"])
    bitangent = np.cross(normal, unit(tangent[:, :3])) * np.sign(tangent[:, 3:])
    bent = unit(parts[:, :1] * unit(tangent[:, :3]) + parts[:, 1:2] * unit(bitangent) + parts[:, 2:] * normal)
    result = np.zeros((*here.shape, 3))
    result[here] = bent @ known.face.camera.rotation.T
    return result


@pytest.mark.parametrize("yaw", [0.0, -0.4])
def test_a_viewer_sees_the_normals_of_the_detail(tmp_path: Path, yaw: float) -> None:
    known = rough(yaw=yaw)
    relief = ReliefMap.of(known.model, known.face, known.detail, 1024)
    export_face(known.model, known.face, tmp_path / "face.glb", relief=relief, texture_size=64)
    draped = drape(relief, known.model, known.face, shape_of(known))
    renderer = renderer_of(known.model)
    geometry = renderer.geometry(known.face.pack(renderer.layout)[None])
    weights = renderer.rasterize(geometry, shape_of(known)).barycentric[0]
    seen = decoded(Glb.read(tmp_path / "face.glb"), draped, known, weights)
    here, detail = well_seen(known), known.detail
    change = (seen - draped.coarse_normals)[here]
    wanted = (detail.normals - detail.coarse_normals)[here]
    assert correlation(change, wanted) > 0.98  # eight bits
    assert (change * wanted).sum() / (wanted**2).sum() == pytest.approx(1.0, abs=0.06)


def test_flat_relief_is_a_flat_normal_map() -> None:
    known, relief = baked()
    picture = normal_map(relief.scaled(0.0), known.model, known.face.vertices(known.model))
    assert (picture == FLAT).all()


def test_normal_maps_touch_the_face_alone() -> None:
    known, relief = baked()
    picture = normal_map(relief, known.model, known.face.vertices(known.model))
    assert picture.shape == (relief.size, relief.size, 3)
    bent = (picture != FLAT).any(axis=2)
    rows, columns = np.nonzero(bent)
    top, left, bottom, right = relief.window
    assert bent.sum() > 10000
    assert top <= rows.min() <= rows.max() < bottom
    assert left <= columns.min() <= columns.max() < right
    assert texture_layout(known.model).shape[1] == 2


def test_exports_of_results_with_detail(tmp_path: Path) -> None:
    result = detailed()
    result.export(tmp_path / "with.glb", texture_size=64)
    quick_fit().export(tmp_path / "without.glb", texture_size=64)
    result.export(tmp_path / "rig.glb", texture_size=64, rig=True)
    for name, expected in (("with", True), ("without", False), ("rig", True)):
        materials = {entry["name"]: entry for entry in Glb.read(tmp_path / f"{name}.glb").tree["materials"]}
        assert ("normalTexture" in materials["skin"]) == expected
        assert not any("normalTexture" in entry for key, entry in materials.items() if key != "skin")
        options = earlier_options(Saved(tmp_path / f"{name}.npz"), result, "robust")
        assert (options.texture, options.rig, options.export_camera) == ("albedo", name == "rig", False)


# ---- the dense mesh


def test_every_pixel_is_a_vertex() -> None:
    known, _ = baked()
    mesh = relief_mesh(known.detail, known.face.camera)
    detail, mask = known.detail, known.detail.mask
    assert len(mesh.vertices) == mask.sum()
    assert mesh.step == 1
    image = known.face.camera.project(mesh.vertices)
    rows, columns = np.nonzero(mask)
    assert np.abs(image[:, 0] - columns).max() < 1e-3
    assert np.abs(image[:, 1] - rows).max() < 1e-3
    assert np.abs(image[:, 2] - detail.depth[mask]).max() < 1e-3
    turned = mesh.normals @ known.face.camera.rotation.T
    assert np.abs(turned - detail.normals[mask]).max() < 1e-5


def test_the_mesh_is_the_surface() -> None:
    """Triangles face the viewer, and their normals are those of the detail."""
    known, _ = baked()
    mesh = relief_mesh(known.detail, known.face.camera)
    computed = vertex_normals(mesh.vertices.astype(np.float64), mesh.triangles)
    inside = well_seen(known)[known.detail.mask]
    cosine = (computed * mesh.normals).sum(axis=1)[inside]
    assert np.median(cosine) > 0.999
    assert cosine.min() > 0.9
    assert len(mesh.triangles) > 1.8 * len(mesh.vertices)


def test_without_relief_the_mesh_lies_on_the_models() -> None:
    known, _ = baked()
    flat = detail_of(known.model, known.face, shape_of(known), np.zeros((201, 201)))
    mesh = relief_mesh(flat, known.face.camera)
    renderer = renderer_of(known.model)
    geometry = renderer.geometry(known.face.pack(renderer.layout)[None])
    pixels = renderer.interpolate(geometry, renderer.rasterize(geometry, shape_of(known)), ["position"])
    assert np.abs(mesh.vertices - pixels.needed("position")[0][flat.mask]).max() < 1e-3


def test_torn_surfaces_are_not_joined() -> None:
    known = rough(yaw=0.6)
    mesh = relief_mesh(known.detail, known.face.camera)
    corners = mesh.vertices[mesh.triangles] @ known.face.camera.rotation.T.astype(np.float32)
    assert np.ptp(corners[..., 2], axis=1).max() <= 7.0  # perspective is a part of it


def test_steps_thin_the_mesh() -> None:
    known, _ = baked()
    whole, thin = (relief_mesh(known.detail, known.face.camera, step=step) for step in (1, 3))
    assert 8.5 < len(whole.vertices) / len(thin.vertices) < 9.5
    assert thin.step == 3
    small = set(map(tuple, np.round(whole.vertices, 3)))
    assert all(tuple(point) in small for point in np.round(thin.vertices, 3))


@pytest.mark.parametrize("step", [0, -1, 1.5, True])
def test_steps_are_whole_numbers(step: Any) -> None:
    known, _ = baked()
    with pytest.raises(InputError, match="at least 1"):
        relief_mesh(known.detail, known.face.camera, step=step)


@pytest.mark.parametrize("suffix", [".ply", ".obj"])
def test_mesh_files_hold_the_mesh(tmp_path: Path, suffix: str) -> None:
    known, _ = baked()
    photo = np.random.default_rng(0).uniform(size=(*shape_of(known), 3)).astype(np.float32)
    mesh = relief_mesh(known.detail, known.face.camera, photo, step=2)
    write_relief_mesh(tmp_path / f"dense{suffix}", mesh)
    read = trimesh.load(tmp_path / f"dense{suffix}", process=False)
    assert isinstance(read, trimesh.Trimesh)
    # Corner by corner, as readers leave out vertices that no triangle has.
    assert np.abs(read.vertices[read.faces] - mesh.vertices[mesh.triangles]).max() < 1e-3
    assert np.abs(read.vertex_normals[read.faces] - mesh.normals[mesh.triangles]).max() < 2e-3
    visual: Any = read.visual
    colours = np.asarray(visual.vertex_colors)[:, :3]
    assert np.array_equal(colours[read.faces], mesh.colours[mesh.triangles])


def test_meshes_of_nothing_and_other_suffixes_are_refused(tmp_path: Path) -> None:
    known, _ = baked()
    maps = known.detail.maps
    none = dataclasses.replace(
        known.detail, maps=dataclasses.replace(maps, mask=np.zeros_like(maps.mask)), status=DetailStatus.NOTHING_SEEN
    )
    with pytest.raises(InputError, match="No skin of the face is seen"):
        relief_mesh(none, known.face.camera)
    with pytest.raises(InputError, match=r"\.ply or \.obj"):
        write_relief_mesh(tmp_path / "dense.stl", relief_mesh(known.detail, known.face.camera))
    assert not any(tmp_path.iterdir())


# ---- saved results


def test_detail_is_saved_and_read_back(tmp_path: Path) -> None:
    result = detailed()
    result.save(tmp_path / "face.npz")
    read = faceinv.load_result(tmp_path / "face.npz")
    before, after = result.detail, read.detail
    assert before is not None
    assert after is not None
    assert (tmp_path / "face.npz").stat().st_size < 2 * _size_without(tmp_path)
    for name in ("window", "image_size", "scale", "kappa", "formulation", "status", "cost", "pixel", "warnings"):
        assert getattr(after, name) == getattr(before, name), name
    assert after.colour_direction == pytest.approx(before.colour_direction)
    mask = before.maps.mask
    assert np.array_equal(after.maps.mask, mask)
    for name, tolerance in (("displacement", 1e-4), ("coarse_depth", 3e-3)):
        old, new = getattr(before.maps, name), getattr(after.maps, name)
        assert new.dtype == np.float32
        assert np.abs(new - old)[mask].max() < tolerance
        assert np.isnan(new[~mask]).all()
    for name in ("coarse_normals", "normals"):
        old, new = getattr(before.maps, name)[mask], getattr(after.maps, name)[mask]
        assert np.abs(np.linalg.norm(new, axis=1) - 1).max() < 1e-5
        angle = np.degrees(np.arccos(np.clip((old * new).sum(axis=1), -1, 1)))
        assert angle.max() < 0.06
    # Once read, it stays as it is.
    read.save(tmp_path / "again.npz")
    again = faceinv.load_result(tmp_path / "again.npz").detail
    assert again is not None
    assert np.array_equal(again.maps.displacement, after.maps.displacement, equal_nan=True)
    assert np.array_equal(again.maps.mask, after.maps.mask)


def _size_without(folder: Path) -> int:
    quick_fit().save(folder / "without.npz")
    return (folder / "without.npz").stat().st_size


def test_results_without_detail_stay_without(tmp_path: Path) -> None:
    quick_fit().save(tmp_path / "face.npz")
    assert faceinv.load_result(tmp_path / "face.npz").detail is None
    with pytest.raises(InputError, match=r"has no detail.*faceinv detail"):
        quick_fit().relief()


@pytest.mark.parametrize(
    "change",
    [
        {"detail_window": np.array([0, 0, 10, 10_000])},
        {"detail_mask": np.zeros((2, 2), np.bool_)},
        {"detail_displacement": np.zeros(3, np.float32)},
        {"detail_normals": None},
        {"detail_status": np.array("EXCELLENT")},
        {"detail_formulation": np.array("magic")},
        {"detail_cost_values": np.zeros(99)},
        {"detail_colour_direction": np.zeros(2)},
    ],
)
def test_damaged_detail_is_refused(change: dict[str, Any]) -> None:
    result = detailed()
    assert result.detail is not None
    stored = {key: np.asarray(value) for key, value in detail_fields(result.detail).items()}
    assert read_detail(Path("a.npz"), stored, result.camera, result.image_size) is not None
    for key, value in change.items():
        stored.pop(key)
        if value is not None:
            stored[key] = value
    with pytest.raises(InputError, match=r"'a\.npz': its detail cannot be read .* damaged"):
        read_detail(Path("a.npz"), stored, result.camera, result.image_size)


# ---- the photo of a result


def test_the_photo_of_a_saved_result_is_known_again(tmp_path: Path) -> None:
    quick_fit().save(tmp_path / "face.npz")
    read = faceinv.load_result(tmp_path / "face.npz")
    photo = Image.open(sample()).convert("RGB")
    photo.save(tmp_path / "copy.jpg", quality=40)
    refined = read.with_detail(tmp_path / "copy.jpg")
    assert refined.detail is not None
    assert refined.detail.status.success
    mirrored = Image.fromarray(np.asarray(photo)[:, ::-1])
    with pytest.raises(InputError, match=r"does not show the face of this result.*Give the photo that was fitted"):
        read.with_detail(mirrored)
    with pytest.raises(InputError, match="512 x 512"):
        read.with_detail(photo.resize((400, 400)))
    with pytest.raises(InputError, match="the photo"):
        read.with_detail()


def test_results_of_earlier_files_know_their_photo_by_the_render(tmp_path: Path) -> None:
    quick_fit().save(tmp_path / "face.npz")
    with np.load(tmp_path / "face.npz") as stored:
        fields = {key: stored[key] for key in stored.files if key != "face_print"}
    np.savez(tmp_path / "old.npz", **fields)
    old = faceinv.load_result(tmp_path / "old.npz")
    assert old.face_print is None
    old.with_photo(sample()).check_photo()
    noise = np.random.default_rng(0).uniform(size=(512, 512, 3)).astype(np.float32)
    with pytest.raises(InputError, match="does not show the face of this result"):
        old.with_photo(noise).check_photo()
    with pytest.raises(InputError, match="needs the photo"):
        old.check_photo()


def test_prints_outlive_copies_and_tell_photos_apart() -> None:
    photo, marks = quick_fit().photo, quick_fit().landmarks_target
    assert photo is not None
    own = photo_print(photo, marks)
    assert own.shape == (16, 16, 3)
    noisy = np.clip(photo + np.random.default_rng(0).normal(0, 0.05, photo.shape), 0, 1).astype(np.float32)
    assert print_difference(own, photo_print(noisy, marks)) < SAME_PHOTO / 2
    assert print_difference(own, photo_print(np.ascontiguousarray(photo[:, ::-1]), marks)) > 2 * SAME_PHOTO


# ---- the overlay


def test_overlays_show_the_geometry_with_detail() -> None:
    result = detailed()
    plain, more = np.asarray(quick_fit().overlay()), np.asarray(result.overlay())
    panel = plain.shape[1] // 5
    assert more.shape == (plain.shape[0], plain.shape[1] + 458, 3)
    assert np.array_equal(more[:, : 3 * panel], plain[:, : 3 * panel])
    coarse, fine = more[10:458, 3 * 458 + 10 : 4 * 458], more[10:458, 4 * 458 + 10 : 5 * 458]
    difference = np.abs(fine.astype(int) - coarse).max(axis=2)
    assert (difference > 8).mean() > 0.01  # relief is seen,
    assert (difference == 0).mean() > 0.4  # on the face alone
