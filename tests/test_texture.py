"""Textures from photos: the photo where it shows the face, and what stands for it elsewhere."""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import quick_fit
from scipy.ndimage import map_coordinates, zoom

from faceinv import FitResult
from faceinv.errors import InputError
from faceinv.face.camera import rotation_from_euler
from faceinv.face.lighting import ambient
from faceinv.face.model import MorphableModel
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.matte import person_matte
from faceinv.render.atlas import atlas_of
from faceinv.render.lids import lids_when_shut, moved_by_blinks
from faceinv.render.membrane import membrane_of
from faceinv.render.photo_texture import PhotoTexture
from faceinv.render.regions import regions_of
from faceinv.render.seen import PosedHead, look
from faceinv.render.texture import TEXTURE_SIZE, texture_image, vertex_colours

SIZE = 192


def texture(result: FitResult, kind: str = "photo", size: int = SIZE) -> NDArray[np.float64]:
    """(size, size, 3) in [0, 1]."""
    image = texture_image(result.model, result.face, kind, result.photo, size)  # type: ignore[arg-type]
    return image / 255.0


@cache
def drawn(yaw: float = 0.0, side: float = 0.0) -> FitResult:
    """A fit that is true: the photo is its own render under a light that comes from a side, before a grey ground."""
    result = quick_fit()
    light = ambient(0.7)
    light[3] = side
    camera = dataclasses.replace(result.camera, rotation=rotation_from_euler(0.0, yaw, 0.0))
    result = dataclasses.replace(result, face=dataclasses.replace(result.face, camera=camera, lighting=light))
    render = result.render()
    photo = np.where(render[..., 3:] > 0, linear_to_srgb(np.clip(render[..., :3], 0, 1)), np.float32(0.5))
    return dataclasses.replace(result, photo=photo)


def texels_of(model: MorphableModel, share: NDArray[np.float32], size: int = SIZE) -> NDArray[np.bool_]:
    """(size, size) where a share of the vertices is 1."""
    atlas = atlas_of(model, size)
    chosen = np.zeros(size**2, np.bool_)
    chosen[atlas.texels] = atlas.at_texels(share) > 0.99
    return chosen.reshape(size, size)


@pytest.mark.parametrize("kind", ["albedo", "photo", "photo-delit"])
def test_every_texel_has_a_colour(kind: str) -> None:
    image = texture(quick_fit(), kind)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.max(axis=2).min() > 0.05  # black is nowhere, neither in gaps nor where nothing is seen
    assert np.array_equal(image, texture(quick_fit(), kind))


def test_a_seen_texel_is_the_photo_at_the_place_where_it_is_seen() -> None:
    result = quick_fit()
    assert result.photo is not None
    head = PosedHead(result.model, result.face, result.vertices)
    made = PhotoTexture.of(head, result.photo)
    atlas = atlas_of(result.model, SIZE)
    found = made.at(atlas.corners, result.model.mirror[atlas.corners], atlas.weights) / 255
    xy = np.einsum("mk,mkd->md", atlas.weights, head.projected[atlas.corners, :2])
    expected = np.stack(
        [map_coordinates(result.photo[..., c], [xy[:, 1], xy[:, 0]], order=1, mode="nearest") for c in range(3)], axis=1
    )
    place = made.seen.crop.to_crop(xy)
    trust = map_coordinates(made.seen.trust, [place[:, 1], place[:, 0]], order=1)
    trust *= atlas.at_texels(made.vertices[:, 2])
    sure = trust > 0.999
    assert sure.sum() > 1500
    assert np.abs(found - expected)[sure].max() < 0.02
    core = atlas.at_texels(regions_of(result.model).core) > 0.99
    assert trust[core & (atlas.at_texels(head.facing) > 0.6)].mean() > 0.8


def test_what_one_side_shows_stands_for_the_other() -> None:
    result = drawn(yaw=0.75)
    assert result.photo is not None
    # A mole on the cheek that the camera sees.
    model, head = result.model, PosedHead(result.model, result.face, result.vertices)
    front = np.flatnonzero((model.mean[:, 2] > 30) & (regions_of(model).skin > 0))
    vertex = front[np.linalg.norm(model.mean[front, :2] - [-48.0, -38.0], axis=1).argmin()]
    vertex, other = sorted((vertex, model.mirror[vertex]), key=lambda v: -head.facing[v])
    assert head.facing[vertex] > 0.6
    assert head.facing[other] < 0.1
    photo = result.photo.copy()
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    photo[np.hypot(x - head.projected[vertex, 0], y - head.projected[vertex, 1]) < 3.5] *= 0.5
    before = vertex_colours(model, result.face, "photo", result.photo)
    after = vertex_colours(model, result.face, "photo", photo)
    assert after[vertex].mean() < 0.65 * before[vertex].mean()
    assert after[other].mean() < 0.8 * before[other].mean()
    far = np.linalg.norm(model.mean - model.mean[other], axis=1) > 25
    far &= np.linalg.norm(model.mean - model.mean[vertex], axis=1) > 25
    assert np.abs(after - before)[far].mean() < 0.01


def test_what_is_not_seen_meets_what_is_without_a_seam() -> None:
    result = drawn(yaw=0.6, side=0.35)
    model = result.model
    colours = vertex_colours(model, result.face, "photo", result.photo)
    head = PosedHead(model, result.face, result.vertices)
    expected = linear_to_srgb(np.clip(result.vertex_albedo * head.shading, 0, 1))
    start, end = model.triangles[model.face_mask][:, :2].T
    step, own = (np.abs(values[start] - values[end]).max(axis=1) for values in (colours, expected))
    border = (head.facing[start] < 0.5) & (head.facing[start] > 0)
    assert np.quantile(step[border], 0.98) < np.quantile(own[border], 0.98) + 0.03
    hidden = np.unique(start[head.facing[start] < -0.1])
    assert np.median(np.abs(colours - expected)[hidden]) < 0.06


def test_ground_is_not_painted_on_a_head_that_is_too_large() -> None:
    result = quick_fit()
    assert result.photo is not None
    ground = person_matte(result.photo) < 0.5
    photo = np.where(ground[..., None], np.array([0.05, 0.9, 0.1], np.float32), result.photo)
    middle = result.landmarks2d.mean(axis=0)
    camera = result.camera.moved(1.15, -0.15 * middle)  # larger, around the face's middle
    wide = dataclasses.replace(result, photo=photo, face=dataclasses.replace(result.face, camera=camera))
    image = texture(wide)
    green = image[..., 1] - image[..., [0, 2]].max(axis=2)
    assert green.max() < 0.1
    # The photo has it there: some vertices that face the camera lie on the ground.
    head = PosedHead(wide.model, wide.face, wide.face.vertices(wide.model))
    x, y = np.clip(np.rint(head.projected[head.facing > 0.3, :2]).astype(int), 0, 511).T
    assert ground[y, x].sum() > 30


def test_hair_is_on_the_scalp_and_not_on_the_forehead() -> None:
    result = quick_fit()
    model = result.model
    assert result.photo is not None
    regions = regions_of(model)
    colours = srgb_to_linear(vertex_colours(model, result.face, "photo-delit", result.photo))
    mean = model.mean
    forehead = (regions.skin > 0) & (regions.scalp < 0.01) & (mean[:, 1] > 45) & (mean[:, 2] > 70)
    cheeks = (regions.core > 0.9) & (np.abs(mean[:, 0]) > 30) & (mean[:, 1] < -25) & (mean[:, 1] > -60)
    assert forehead.sum() > 50
    skin = np.log(np.median(colours[cheeks], axis=0))
    assert np.abs(np.log(np.median(colours[forehead], axis=0)) - skin).max() < 0.35
    back = (regions.scalp > 0.99) & (mean[:, 2] < -60)
    hair = np.log(np.median(colours[back], axis=0))
    assert hair.mean() < skin.mean() - 0.5
    # Her fringe covers the forehead: the photo itself has no skin there.
    head = PosedHead(model, result.face, result.vertices)
    seen = look(head, result.photo)
    x, y = np.clip(np.rint(seen.crop.to_crop(head.projected[forehead, :2])).astype(int), 0, len(seen.trust) - 1).T
    assert np.median(seen.trust[y, x]) < 0.2
    assert seen.hair is not None


def test_light_is_taken_off() -> None:
    result, even = drawn(side=0.8), drawn()
    model, head = result.model, PosedHead(result.model, result.face, result.vertices)
    delit, lit = (vertex_colours(model, result.face, kind, result.photo) for kind in ("photo-delit", "photo"))
    albedo = linear_to_srgb(np.clip(result.vertex_albedo, 0, 1))
    well = (regions_of(model).core > 0.99) & (head.facing > 0.7)
    error = np.abs(delit - albedo).max(axis=1)[well]
    assert np.median(error) < 0.03
    # Under a light from the side as under one from everywhere.
    without = vertex_colours(model, even.face, "photo-delit", even.photo)
    brighter = vertex_colours(model, even.face, "photo", even.photo)
    for side in (well & (model.mean[:, 0] < -35), well & (model.mean[:, 0] > 35)):
        assert abs(lit[side].mean() - brighter[side].mean()) > 0.02
        assert abs(delit[side].mean() - without[side].mean()) < 0.005


def test_one_size_is_usual_and_others_can_be_had() -> None:
    result = quick_fit()
    assert texture_image(result.model, result.face, "photo", result.photo).shape == (TEXTURE_SIZE, TEXTURE_SIZE, 3)
    assert texture_image(result.model, result.face, "photo", result.photo, 96).shape == (96, 96, 3)
    for size in (0, 10**5, 2.5):
        with pytest.raises(InputError, match="whole number"):
            texture_image(result.model, result.face, "photo", result.photo, size)  # type: ignore[arg-type]


def test_large_photos_are_averaged_and_not_skipped_over() -> None:
    result = quick_fit()
    assert result.photo is not None
    rng = np.random.default_rng(0)
    large = zoom(result.photo, (4, 4, 1), order=0) + rng.normal(0, 0.2, (2048, 2048, 1)).astype(np.float32)
    camera = result.camera.moved(4.0, (1.5, 1.5))
    near = dataclasses.replace(
        result, face=dataclasses.replace(result.face, camera=camera), photo=np.clip(large, 0, 1).astype(np.float32)
    )
    core = texels_of(result.model, regions_of(result.model).core)
    gap = np.abs(texture(near) - texture(result)).mean(axis=2)[core]
    assert np.median(gap) < 0.04


def test_models_of_encoded_colours_are_painted_alike() -> None:
    result = quick_fit()
    encoded = dataclasses.replace(result.model, albedo_space="srgb")
    face = dataclasses.replace(result.face, lighting=ambient(1.0), albedo=np.zeros_like(result.face.albedo))
    core = texels_of(result.model, regions_of(result.model).core)
    one, other = (
        texture_image(model, face, "photo", result.photo, SIZE)[core] / 255.0 for model in (result.model, encoded)
    )
    assert np.median(np.abs(one - other)) < 0.01


@pytest.mark.parametrize("shift", [(5000.0, 0.0), (0.0, -5000.0)])
def test_a_head_beside_the_photo_has_its_albedo(shift: tuple[float, float]) -> None:
    result = quick_fit()
    aside = dataclasses.replace(result, face=dataclasses.replace(result.face, camera=result.camera.moved(1.0, shift)))
    image, albedo = texture(aside, "photo-delit"), texture(result, "albedo")
    skin = texels_of(result.model, regions_of(result.model).skin)
    assert np.abs(image - albedo)[skin].mean() < 0.12
    assert image.max(axis=2).min() > 0.02


def test_unknown_textures_and_missing_photos_are_refused() -> None:
    result = quick_fit()
    with pytest.raises(InputError, match="'photo-delit'"):
        texture(result, "light")
    for kind in ("photo", "photo-delit"):
        with pytest.raises(InputError, match="needs the photo"):
            texture(dataclasses.replace(result, photo=None), kind)


def test_a_membrane_follows_what_is_known_and_goes_on_smoothly() -> None:
    model = quick_fit().model
    membrane = membrane_of(model)
    place = model.mean.astype(np.float64) / 100
    known = (model.mean[:, 2] > 20) & (regions_of(model).skin > 0)
    field = membrane.extended(place[:, :1], known.astype(float))
    assert np.abs(field - place[:, :1])[known].mean() < 0.05
    back = (regions_of(model).skin > 0) & ~known
    assert field[back].min() > place[known, 0].min() - 0.05
    assert field[back].max() < place[known, 0].max() + 0.05
    steps = np.abs(field[model.triangles] - field[model.triangles[:, [1, 2, 0]]])
    assert steps.max() < 0.2
    # Far from what is known it comes to rest where it is told to.
    rested = membrane.extended(place[:, :1], known.astype(float), np.array([7.0]), 8.0)
    crown = (regions_of(model).scalp > 0.9) & (model.mean[:, 2] < -80)
    assert np.abs(rested[crown] - 7).max() < 0.7
    assert np.array_equal(membrane.extended(place, np.zeros(len(place))), np.zeros_like(place))


def test_lids_that_shut_are_not_the_stretched_crease_of_open_ones() -> None:
    result = drawn()
    model, photo = result.model, result.photo
    assert photo is not None
    moved = np.linalg.norm(moved_by_blinks(model), axis=1)
    skin = regions_of(model).skin > 0
    lids = skin & (moved > 3.0)
    assert lids.sum() > 40
    # Eyes are made up: where they are open, lids and lashes are black.
    projected = result.face.camera.project(result.vertices)[:, :2]
    photo = photo.copy()
    y, x = np.mgrid[: photo.shape[0], : photo.shape[1]]
    for vertex in np.flatnonzero(lids):
        photo[np.hypot(x - projected[vertex, 0], y - projected[vertex, 1]) < 1.5] *= 0.2
    atlas = atlas_of(model, SIZE)
    chosen = (atlas.at_texels(lids.astype(np.float32)) > 0.99) & (atlas.at_texels(skin.astype(np.float32)) > 0.99)
    expected = linear_to_srgb(np.clip(result.vertex_albedo, 0, 1))[lids].mean()

    def brightness(moving: bool) -> float:
        image = texture_image(model, result.face, "photo-delit", photo, SIZE, moving=moving)
        return float(image.reshape(-1, 3)[atlas.texels][chosen].mean()) / 255

    assert brightness(False) < 0.6 * expected
    assert brightness(True) > 0.75 * expected
    usable, own = lids_when_shut(model, result.face, result.vertices)
    assert (usable[moved < 0.2] == 1).all()
    assert own[lids].all()
    assert not own[moved < 0.2].any()
