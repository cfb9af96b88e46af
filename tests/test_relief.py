"""Relief in a texture: what comes back of a photo's detail, bands, hidden sides, rims, and other faces."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from relief import Rough, detail_of, rough
from scipy.ndimage import binary_erosion
from small import flat_scene

from faceinv import InputError
from faceinv.detail.chart import chart_of, layout_of, rim_edges
from faceinv.detail.record import DetailMaps
from faceinv.detail.relief_map import ReliefMap, texture_size
from faceinv.detail.transfer import DrapedFace, drape, relit, relit_photo
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.state import Face
from faceinv.render.scene import render_face

SIZE = 1024


@cache
def baked() -> tuple[Rough, ReliefMap]:
    known = rough()
    return known, ReliefMap.of(known.model, known.face, known.detail, SIZE)


def shape_of(known: Rough) -> tuple[int, int]:
    width, height = known.detail.image_size
    return height, width


def well_seen(known: Rough, steepest: float = 0.5) -> NDArray[np.bool_]:
    """Pixels that are no border of the mask and that the surface faces."""
    inside = binary_erosion(known.detail.mask, iterations=int(2 * known.detail.scale) + 2)
    return inside & (np.nan_to_num(known.detail.coarse_normals[..., 2]) > steepest)


def correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


def change(draped: DrapedFace) -> NDArray[np.float64]:
    return draped.normals - draped.coarse_normals


@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_relief_comes_back_from_the_texture(yaw: float) -> None:
    known = rough(yaw=yaw)
    relief = ReliefMap.of(known.model, known.face, known.detail, SIZE)
    draped = drape(relief, known.model, known.face, shape_of(known))
    here, detail = well_seen(known), known.detail
    assert here.sum() > 5000
    assert correlation(change(draped)[here], (detail.normals - detail.coarse_normals)[here]) > 0.99
    assert correlation(draped.displacement[here], detail.displacement[here]) > 0.995
    wanted = (detail.normals - detail.coarse_normals)[here]
    assert (change(draped)[here] * wanted).sum() / (wanted**2).sum() == pytest.approx(1.0, abs=0.04)


def test_normals_are_those_of_the_displaced_surface() -> None:
    """Against differences: the normal of the surface that the drawn displacement makes of the coarse depth."""
    known, relief = baked()
    weak = dataclasses.replace(known.face, camera=Camera(2.0, np.eye(3), np.array([200.0, 170.0])))
    draped = drape(relief, known.model, weak, (360, 400))
    slope = np.stack(np.gradient(draped.displacement.astype(np.float64)), axis=2) * 2.0  # mm per mm: down, right
    n0 = draped.coarse_normals
    expected = n0 + n0[..., 2:] * np.stack([-slope[..., 1], slope[..., 0], np.zeros(slope.shape[:2])], axis=2)
    expected /= np.maximum(np.linalg.norm(expected, axis=2, keepdims=True), 1e-9)
    here = binary_erosion(draped.skin, iterations=4) & (n0[..., 2] > 0.6)
    assert here.sum() > 20000
    assert correlation((expected - n0)[here], change(draped)[here]) > 0.985
    assert np.abs((expected - draped.normals)[here]).mean() < 0.15 * np.abs((expected - n0)[here]).mean()


def test_off_the_skin_nothing_changes() -> None:
    known, relief = baked()
    draped = drape(relief, known.model, known.face, shape_of(known))
    rest = draped.covered & ~draped.skin
    assert rest.any()
    assert np.abs(change(draped)[rest]).max() < 1e-6
    assert not draped.displacement[~draped.skin].any()
    assert not draped.normals[~draped.covered].any()


def test_no_strength_is_the_coarse_face() -> None:
    known, relief = baked()
    draped = drape(relief, known.model, known.face, shape_of(known), strength=0.0)
    assert np.abs(change(draped)).max() < 1e-6
    assert not draped.displacement.any()
    # Light on it is that of the render.
    assert np.abs(relit(draped) - render_face(known.model, known.face, shape_of(known))).max() < 1e-5
    assert relit(draped, coarse=True) == pytest.approx(relit(draped), abs=1e-6)


def test_same_relief_same_bits() -> None:
    known, relief = baked()
    again = ReliefMap.of(known.model, known.face, known.detail, SIZE)
    assert np.array_equal(relief.offset, again.offset)
    one, other = (drape(each, known.model, known.face, shape_of(known)) for each in (relief, again))
    assert np.array_equal(one.normals, other.normals)
    assert np.array_equal(one.displacement, other.displacement)


def test_grazing_and_hidden_skin_stays_flat() -> None:
    known = rough(yaw=0.7)
    relief = ReliefMap.of(known.model, known.face, known.detail, SIZE)
    chart = relief.chart(known.model)
    normals = chart.at_texels(draw_normals(known))
    facing = normals[:, 2] / np.linalg.norm(normals, axis=1)
    offset, weight = relief.offset[chart.skin], relief.weight[chart.skin]
    assert (facing < 0.1).sum() > 500
    assert not offset[facing < 0.1].any()
    assert not weight[facing < 0.1].any()
    assert np.median(weight[facing > 0.6]) > 0.95
    assert (weight <= np.clip((facing - 0.15) / 0.3, 0, 1) + 1e-5).all()


def draw_normals(known: Rough) -> NDArray[np.float64]:
    from faceinv.face.mesh import vertex_normals

    vertices = known.face.vertices(known.model)
    return vertex_normals(vertices, known.model.triangles) @ known.face.camera.rotation.T


def test_masked_pixels_leave_no_relief() -> None:
    known, _ = baked()
    maps = known.detail.maps
    mask = maps.mask.copy()
    mask[: len(mask) // 2] = False
    half = dataclasses.replace(known.detail, maps=dataclasses.replace(maps, mask=mask))
    relief = ReliefMap.of(known.model, known.face, half, SIZE)
    draped = drape(relief, known.model, known.face, shape_of(known))
    top = known.detail.window[0] + len(mask) // 2
    assert np.abs(draped.displacement[: top - 3]).max() < 1e-6
    assert np.abs(draped.displacement[top + 8 :]).max() > 0.1


def test_the_other_side_fills_what_is_hidden() -> None:
    known = rough(yaw=0.7)
    plain = ReliefMap.of(known.model, known.face, known.detail, SIZE)
    filled = ReliefMap.of(known.model, known.face, known.detail, SIZE, symmetric=True)
    frontal = dataclasses.replace(known.face, camera=Camera(1.0, np.eye(3), np.array([100.0, 85.0])))
    chart = plain.chart(known.model)
    hidden = plain.weight[chart.skin] == 0
    assert hidden.sum() > 500
    assert np.mean(filled.weight[chart.skin][hidden] > 0.5) > 0.5
    seen = plain.weight == 1
    assert np.array_equal(filled.offset[seen], plain.offset[seen])
    # What is filled in mirrors the side that is seen, on a face that is nearly symmetric.
    mean = dataclasses.replace(frontal, identity=np.zeros(6), expression=np.zeros(5))
    draped = drape(filled, known.model, mean, (200, 201))
    dark = drape(plain, known.model, mean, (200, 201))
    mirrored = draped.displacement[:, ::-1]
    new = draped.skin & draped.skin[:, ::-1] & (dark.displacement == 0) & (np.abs(draped.displacement) > 0.02)
    assert new.sum() > 300
    assert correlation(draped.displacement[new], mirrored[new]) > 0.95


def test_bands_add_up_and_take_their_own_sizes() -> None:
    parts = []
    known, _ = baked()
    across = np.arange(201) / known.face.camera.scale + np.zeros((201, 1))
    for wavelength in (4.0, 16.0):
        waves = detail_of(known.model, known.face, (200, 200), np.cos(2 * np.pi * across / wavelength))
        relief = ReliefMap.of(known.model, known.face, waves, SIZE)
        bands = relief.bands()
        assert len(bands) == 3
        assert np.abs(sum(band.offset for band in bands) - relief.offset).max() < 1e-6
        parts.append([float((band.offset**2).sum() / (relief.offset**2).sum()) for band in bands])
    assert parts[0][1] > 1.5 * max(parts[0][0], parts[0][2])
    assert parts[1][2] > 0.7
    assert parts[1][0] < 0.01


def test_a_wave_is_half_in_either_band_at_the_cut() -> None:
    _, relief = baked()
    y, x = np.mgrid[: relief.offset.shape[0], : relief.offset.shape[1]]
    even = dataclasses.replace(
        relief,
        spacing=np.full_like(relief.spacing, 0.5),
        offset=np.cos(2 * np.pi * 0.5 * x / 4.0).astype(np.float32) + 0 * y.astype(np.float32),
    )
    high, low = even.bands([4.0])
    inner = np.s_[20:-20, 20:-20]
    for part in (high, low):
        assert (part.offset * even.offset)[inner].sum() / (even.offset**2)[inner].sum() == pytest.approx(0.5, abs=0.02)


def test_mixed_bands() -> None:
    _, relief = baked()
    pores, wrinkles, folds = relief.bands()
    mixed = relief.mixed({"pores": 2.0, "folds": 0.5})
    assert mixed.offset == pytest.approx(2 * pores.offset + 0.5 * folds.offset, abs=1e-6)
    assert relief.mixed({"wrinkles": 1.0}).offset == pytest.approx(wrinkles.offset, abs=1e-7)
    assert relief.scaled(-2.0).offset == pytest.approx(-2 * relief.offset)


@pytest.mark.parametrize("cuts", [[0.0], [-1.0, 2.0], [3.0, 3.0], [5.0, 2.0], [np.nan]])
def test_bands_meet_at_ascending_lengths(cuts: list[float]) -> None:
    with pytest.raises(InputError, match="ascend"):
        baked()[1].bands(cuts)


def test_unknown_bands_are_named() -> None:
    with pytest.raises(InputError, match=r"'dimples'.*pores, wrinkles, folds"):
        baked()[1].mixed({"dimples": 1.0})  # type: ignore[dict-item]


def test_rims_are_those_of_lids_and_lips() -> None:
    model = baked()[0].model
    edges = rim_edges(model)
    mean, marks = model.mean.astype(float), model.landmarks(model.mean)
    middles = mean[edges].mean(axis=1)
    eyes = [marks[36:42].mean(axis=0), marks[42:48].mean(axis=0)]
    mouth = marks[60:68].mean(axis=0)
    near = np.stack([np.linalg.norm(middles - place, axis=1) for place in (*eyes, mouth)])
    assert (near.min(axis=0) < 30).all()  # neither nostrils nor the outline of the face
    assert [int((near.argmin(axis=0) == k).sum()) > 20 for k in range(3)] == [True] * 3


def test_relief_fades_towards_rims() -> None:
    known, relief = baked()
    faded = relief.without_rims(known.model, 3.0)
    chart = relief.chart(known.model)
    distance = chart.rim_distance
    before, after = relief.offset[chart.skin], faded.offset[chart.skin]
    assert np.array_equal(after[distance > 3.01], before[distance > 3.01])
    near = (distance < 0.5) & (before != 0)
    assert near.sum() > 50
    assert (np.abs(after[near]) <= 0.1 * np.abs(before[near])).all()
    assert np.array_equal(relief.without_rims(known.model, 0.0).offset, relief.offset)


def test_relief_goes_to_another_person_and_expression() -> None:
    """What lands on the other face lies where the skin is: at the same texture coordinates."""
    known, relief = baked()
    rng = np.random.default_rng(4)
    camera = Camera(0.9, rotation_from_euler(-0.1, -0.3, 0.05), np.array([95.0, 80.0]), 1 / 900, np.array([90.0, 90.0]))
    other = Face(rng.normal(0, 1, 6), rng.normal(0, 1, 5), np.zeros(3), camera, known.face.lighting)
    draped = drape(relief, known.model, other, (180, 190))
    assert draped.skin.sum() > 4000
    chart = relief.chart(known.model)
    triangle, weights = draped.pixels.triangle[0][draped.skin], None
    from faceinv.render.scene import renderer_of

    renderer = renderer_of(known.model)
    geometry = renderer.geometry(other.pack(renderer.layout)[None])
    weights = renderer.rasterize(geometry, (180, 190)).barycentric[0][draped.skin]
    place = np.einsum("mk,mkd->md", weights, chart.uv[known.model.uv_triangles[triangle]])
    from scipy.ndimage import map_coordinates

    offset = map_coordinates(relief.offset, [place[:, 1], place[:, 0]], order=1)
    n_z = draped.coarse_normals[..., 2][draped.skin]
    steep = n_z > 0.4
    drawn = draped.displacement[draped.skin] * n_z
    assert correlation(drawn[steep], offset[steep]) > 0.98


def test_light_and_photos_follow_the_relief() -> None:
    known, relief = baked()
    draped = drape(relief.scaled(8.0), known.model, known.face, shape_of(known))
    lit, plain = relit(draped), relit(draped, coarse=True)
    assert np.array_equal(lit[..., 3], plain[..., 3])
    rest = draped.covered & ~draped.skin
    assert lit[rest] == pytest.approx(plain[rest], abs=1e-6)
    ratio = (lit / np.maximum(plain, 1e-6))[..., :3]
    assert ratio[draped.skin].std() > 0.02
    photo = np.full((*shape_of(known), 3), 0.5, np.float32)
    shaded = relit_photo(draped, photo)
    assert shaded.dtype == np.float32
    assert shaded[~draped.skin] == pytest.approx(0.5, abs=1e-6)
    from faceinv.photo.color import srgb_to_linear

    linear = srgb_to_linear(shaded.astype(np.float64)) / srgb_to_linear(np.array([0.5]))
    bright = draped.skin & (ratio.max(axis=2) < 1.5) & (ratio.min(axis=2) > 0.5)
    # The model's own light is shaded by the face itself; in the photo the ratio is that of the light.
    assert correlation(linear[bright], ratio[bright]) > 0.99


def test_another_layout_is_refused() -> None:
    known, relief = baked()
    other = dataclasses.replace(known.model, uv=known.model.uv[:, ::-1].copy())
    assert layout_of(other) != layout_of(known.model)
    assert layout_of(known.model.truncated(2, 2, 1)) == layout_of(known.model)
    with pytest.raises(InputError, match="with one model"):
        drape(relief, other, known.face, (50, 50))


def test_models_with_fewer_modes_share_relief() -> None:
    known, relief = baked()
    small = known.model.truncated(6, 5, 1)
    face = dataclasses.replace(known.face, albedo=known.face.albedo[:1])
    assert np.array_equal(
        drape(relief, small, face, shape_of(known)).normals, drape(relief, known.model, known.face, (200, 200)).normals
    )


def test_a_model_without_texture_coordinates_is_refused() -> None:
    square = flat_scene(np.array([[0.0, 0, 0], [9, 0, 0], [0, 9, 0]]), np.array([[0, 1, 2]]))
    with pytest.raises(InputError, match="texture"):
        chart_of(square, 64)


def test_the_texture_suits_the_face_in_the_photo() -> None:
    known, _ = baked()
    sizes = [
        texture_size(known.model, dataclasses.replace(known.face, camera=known.face.camera.moved(zoom, (0, 0))))
        for zoom in (0.3, 1.0, 2.0, 30.0)
    ]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1024
    assert sizes[-1] == 4096


def test_a_detail_without_relief_bakes_to_nothing() -> None:
    known, _ = baked()
    maps = known.detail.maps
    empty = DetailMaps(
        np.zeros_like(maps.mask),
        *(np.full_like(a, np.nan) for a in (maps.displacement, maps.coarse_depth, maps.coarse_normals, maps.normals)),
    )
    relief = ReliefMap.of(known.model, known.face, dataclasses.replace(known.detail, maps=empty), SIZE)
    assert not relief.offset.any()
    assert not relief.weight.any()


def test_flat_detail_is_flat() -> None:
    known, _ = baked()
    flat = detail_of(known.model, known.face, shape_of(known), np.zeros((201, 201)))
    assert not ReliefMap.of(known.model, known.face, flat, SIZE).offset.any()
