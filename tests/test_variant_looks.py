"""What variants show where a photo shows nothing, or something that is not the person: hair behind the head, light that
the fit does not have, glasses, hair that hangs beside the face, and what lies beyond the photo's edges."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw
from quick import quick_fit

from faceinv.generate import Scene
from faceinv.generate.canvas import Canvas
from faceinv.generate.draws import own_draw, posed_face
from faceinv.generate.glasses import frames
from faceinv.generate.ground import _continued, _hanging
from faceinv.generate.hair import nearer
from faceinv.generate.kernels import COLUMNS, fill_table
from faceinv.generate.picture import draw_pictures
from faceinv.generate.regions import regions_of
from faceinv.generate.residual import smoothed, unexplained_light
from faceinv.generate.strands import hair_patch, strand_places, strand_tile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.fitting.result import FitResult
    from faceinv.generate.picture import Picture

SIZE = 96
PX_PER_MM = SIZE / 290


@cache
def result() -> FitResult:
    """A rough fit of the packaged photo."""
    fit: FitResult = quick_fit()
    return fit


def pixels() -> NDArray[np.float32]:
    """(H, W, 3) sRGB-encoded, a copy."""
    photo = result().photo
    assert photo is not None
    return photo.copy()


def draw(fit: FitResult, scene: Scene, **changes: Any) -> Picture:
    """A picture of a fit's person."""
    made = replace(own_draw(fit), tilt=0.0, distance=np.inf, span=290.0, **changes)
    face, turn = posed_face(fit, made, SIZE)
    return draw_pictures(scene, [face], SIZE, 1, [turn])[0]


def brightness(picture: Picture, mask: NDArray[np.bool_]) -> float:
    return float(picture.linear[mask].mean())


def test_the_back_of_a_head_is_hair() -> None:
    fit = result()
    scene = Scene.of(fit, PX_PER_MM)
    regions = scene.regions
    behind = regions.scalp & (fit.model.mean[:, 2] < regions.pivot[2] - 40)
    front = regions.face & (scene.seen.trust > 0.9)
    own = scene.head.sample(scene.seen.xy)[:, :3] / scene.seen.light
    skin, hair = np.median(own[front], axis=0), scene.seen.reflectance[behind]
    assert (scene.calm[behind] > 0.9).mean() > 0.95
    assert np.median(hair.mean(axis=1)) < 0.75 * skin.mean()
    # Brown hair is more yellow than its skin.
    assert (np.log(hair[:, 1] / hair[:, 2]) > np.log(skin[1] / skin[2])).mean() > 0.8


def test_strands_have_the_contrast_and_the_direction_of_the_photos() -> None:
    rng = np.random.default_rng(0)
    rows = np.repeat(rng.normal(size=(40, 1)), 40, axis=1) + 0.1 * rng.normal(size=(40, 40))
    patch = 0.2 * np.exp(0.2 * rows)[..., None] * np.ones(3)
    tile, chart = strand_tile(patch, 2.0)
    logs = np.log(tile[..., 0].astype(float))
    assert 0.08 < logs.std() < 0.25
    # It goes on seamlessly: over the edge it changes as it does inside.
    step = np.abs(np.diff(logs, axis=0)).mean()
    assert np.abs(logs[0] - logs[-1]).mean() < 2 * step
    # The stripes of this patch run along x: so does the way along the strands, and it is drawn out.
    across, along = chart[:, 0], chart[:, 1]
    assert abs(along[0]) > 5 * abs(along[1])
    assert np.linalg.norm(along) < 0.6 * np.linalg.norm(across)
    plain, _ = strand_tile(None, 2.0)
    assert (plain == 1).all()


def test_strands_run_down_from_the_crown_without_a_jump_behind() -> None:
    model = result().model
    regions = regions_of(model)
    middle = regions.pivot + np.array([0.0, 35.0, -5.0])
    angle = np.linspace(-0.2, 0.2, 9)
    behind = middle + 90 * np.stack([np.sin(angle), np.zeros(9), -np.cos(angle)], axis=1)
    places = strand_places(behind, regions, 2.0, np.eye(2))
    assert np.linalg.norm(np.diff(places, axis=0), axis=1).max() < 1.5 * 2 * 90 * 0.05
    down = strand_places(middle + np.array([[80.0, 40, 0], [80, 0, 0]]), regions, 2.0, np.eye(2))
    assert down[1, 1] > down[0, 1]
    assert down[1, 0] == pytest.approx(down[0, 0])


def test_a_patch_of_hair_is_taken_where_hair_is() -> None:
    canvas = Canvas(np.full((100, 100, 4), 0.5, np.float32), np.ones((100, 100), np.bool_), np.zeros(2), 1.0)
    canvas.pixels[5:45, 10:50, :3] = 0.1
    hair = np.zeros((100, 100), np.bool_)
    hair[5:45, 10:50] = True
    patch = hair_patch(canvas, hair, np.full(2, 49.5), 1.0, 1.0)
    assert patch is not None
    assert patch.shape[0] >= 30
    assert patch.max() < 0.2
    assert hair_patch(canvas, np.zeros_like(hair), np.full(2, 49.5), 1.0, 1.0) is None


def test_hair_is_told_from_skin_by_colour_before_brightness() -> None:
    skin, hair = np.log([0.4, 0.25, 0.18]), np.log([0.02, 0.018, 0.017])
    shade, shine = np.log([0.16, 0.1, 0.07]), np.log([0.09, 0.088, 0.085])
    assert nearer(np.stack([shade, shine]), hair, skin).tolist() == [False, True]


def test_light_from_one_side_is_no_skin() -> None:
    model = result().model
    regions = regions_of(model)
    x = (model.mean[:, 0] / 70).astype(float)
    skin = regions.face.astype(float)
    own = np.log([0.4, 0.3, 0.25]) + 0.4 * x[:, None] * [1.0, 0.9, 0.7]
    found = unexplained_light(model, regions, own, skin)
    middle = regions.face & (np.abs(x) < 0.8) & (np.abs(x) > 0.2)
    assert np.abs(found - 0.4 * x[:, None] * [1.0, 0.9, 0.7])[middle].max() < 0.12
    assert np.sign(found[middle].mean(axis=1)).tolist() == np.sign(x[middle]).tolist()


def test_stubble_is_skin_and_warm_rims_are_light() -> None:
    model = result().model
    regions = regions_of(model)
    low = model.mean[:, 1] < model.landmarks(model.mean.astype(float))[48, 1]
    aside = np.abs(model.mean[:, 0]) > 45 * regions.unit
    even = np.tile(np.log([0.4, 0.3, 0.25]), (model.vertex_count, 1))
    stubble = even - 0.4 * (low & ~aside)[:, None] * [1.0, 0.8, 0.6]
    rims = even + 0.5 * aside[:, None] * [1.2, 0.8, 0.2]
    skin = regions.face.astype(float)
    kept, taken = (unexplained_light(model, regions, own, skin) for own in (stubble, rims))
    assert np.abs(kept[low & ~aside & regions.face]).mean() < 0.08
    deep = regions.face & (np.abs(model.mean[:, 0]) > 60 * regions.unit)
    assert taken[deep, 0].mean() > 0.2


def test_means_are_taken_of_what_is_known() -> None:
    model = result().model
    regions = regions_of(model)
    known = regions.face.astype(float)
    values = np.where(regions.face, 2.0, -50.0)[:, None]
    means, weight = smoothed(model, regions, values, known)
    assert np.abs(means[regions.face] - 2).max() < 1e-6
    assert weight[regions.face].min() > 0
    assert smoothed(model, regions, values, np.zeros(len(values)))[1].max() == 0


def test_side_light_of_a_photo_does_not_stay_when_the_head_turns() -> None:
    fit = result()
    photo = pixels()
    ramp = np.linspace(0.0, 1.0, photo.shape[1])
    ramp = np.clip((ramp - ramp[int(fit.landmarks2d[30, 0])]) * photo.shape[1] / 60, -1, 1)
    lit = replace(fit, photo=np.clip(photo * (1 - 0.25 * ramp[None, :, None]), 0, 1).astype(np.float32))
    uneven = []
    for one in (fit, lit):
        scene = Scene.of(one, PX_PER_MM)
        own, turned = draw(one, scene), draw(one, scene, yaw=float(own_draw(one).yaw), lighting=1.3 * fit.lighting)
        mask = own.labels().skin_mask
        columns = np.arange(SIZE) - np.median(np.nonzero(mask)[1])
        left, right = mask & (columns < -8), mask & (columns > 8)
        uneven.append([np.log(brightness(p, left) / brightness(p, right)) for p in (own, turned)])
    in_photo, relit = np.abs(np.array(uneven[0]) - np.array(uneven[1]))
    assert in_photo > 0.2  # the photo's own view shows its light
    assert relit < 0.4 * in_photo


@cache
def spectacles() -> FitResult:
    """The packaged photo's person with glasses."""
    fit = result()
    image = Image.fromarray(np.rint(255 * pixels()).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    left, right = (fit.landmarks2d[part].mean(axis=0) for part in (slice(36, 42), slice(42, 48)))
    unit = float(np.linalg.norm(right - left)) / 62
    for eye in (left, right):
        box = [*(eye - unit * np.array([24, 15])).tolist(), *(eye + unit * np.array([24, 20])).tolist()]
        pen.ellipse(box, outline=(20, 18, 18), width=max(2, round(2.5 * unit)))
    aside = unit * np.array([22, 0])
    pen.line([tuple(left + aside), tuple(right - aside)], fill=(20, 18, 18), width=round(3 * unit))
    return replace(fit, photo=(np.asarray(image) / 255).astype(np.float32))


def test_glasses_are_found_where_they_are_and_only_there() -> None:
    for fit, worn in ((result(), False), (spectacles(), True)):
        assert fit.photo is not None
        scale = float(fit.camera.scale)
        found = frames(fit.photo.astype(np.float32) ** 2.2, fit.landmarks2d, scale)
        assert (found is not None) == worn
    assert found is not None
    changed = np.abs(spectacles().photo - pixels()).max(axis=2) > 0.2  # type: ignore[operator]
    assert found[changed].mean() > 0.6
    assert found[~changed].mean() < 0.02


def test_glasses_stay_in_the_photos_view_and_are_left_out_of_others() -> None:
    bare, worn = result(), spectacles()
    scenes = [Scene.of(fit, 3 * PX_PER_MM) for fit in (bare, worn)]
    darker = []
    for yaw in (own_draw(bare).yaw, 30.0):
        one, other = (draw(fit, scene, yaw=yaw) for fit, scene in zip((bare, worn), scenes, strict=True))
        labels = one.labels()
        # Under the eyes; above, the frame touches the brows.
        rows = np.arange(SIZE)[:, None] - labels.landmarks[36:48, 1].mean()
        mask = labels.face_mask & (rows > 0) & (rows < 12)
        changed = np.log(one.linear[mask].mean(axis=1) + 0.02) - np.log(other.linear[mask].mean(axis=1) + 0.02)
        darker.append(float((changed > 0.3).mean()))
    assert darker[0] > 0.05
    assert darker[1] < 0.5 * darker[0]


def test_what_is_dark_in_a_photo_keeps_its_hue_and_is_trusted_less() -> None:
    light, before = np.full((2, 3), 0.8), np.array([[0.8, 0.7, 0.6], [0.04, 0.02, 0.01]])
    table = np.zeros((2, COLUMNS), np.float32)
    table[:, 6:8] = 1
    fill_table(light, before, np.array([0, 1], np.int32), np.full((2, 3), 0.5), 0.15, 3.0, table)
    gains = table[:, 10:13]
    assert np.allclose(gains[0], light[0] / before[0], rtol=1e-6)
    assert table[0, 6] == 1
    assert gains[1].max() <= 3.0 + 1e-6
    assert gains[1].max() / gains[1].min() <= 1.4**2 + 1e-6
    assert table[1, 6] < 0.05
    assert table[1, 7] < 0.05


def test_a_photo_goes_on_beyond_its_edges_as_it_is_there() -> None:
    size = 60
    photo = np.zeros((size, size, 4), np.float32)
    photo[..., 0], photo[..., 2] = 0.2, np.linspace(0, 1, size)[:, None]
    photo[:, :15, :3] = 5.0  # not of the photo
    on_photo = np.zeros((size, size), np.bool_)
    on_photo[:, 15:] = True
    canvas = Canvas(photo, on_photo, np.zeros(2), 1.0)
    going_on = _continued(canvas, np.ones((size, size)))
    assert going_on.shape == (size, size, 3)
    assert going_on.max() <= 1.0
    assert np.abs(going_on[10:50, :15, 2] - photo[10:50, 15:16, 2]).max() < 0.05
    assert np.array_equal(going_on[:, 20:], photo[:, 20:, :3])


def test_hair_hangs_from_the_head_and_clothes_do_not() -> None:
    down = np.repeat(np.arange(-50, 150)[:, None], 60, axis=1).astype(float)
    dark = np.zeros((200, 60), np.bool_)
    dark[70:140, 5:15] = True  # from 20 mm below the pivot to 90
    dark[160:200, 30:60] = True  # a dark coat
    close = np.zeros_like(dark)
    close[:130] = True
    found = _hanging(dark, down, close)
    assert found[70:140, 5:15].all()
    assert not found[:, 30:].any()
