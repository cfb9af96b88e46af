"""Variants of fitted photos: pictures without holes, that are the photo where nothing changes, with labels that are
right, and the same whoever makes them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from quick import quick_fit
from same_variants import assert_same_variant
from threadpoolctl import threadpool_info, threadpool_limits

from faceinv.engine.registry import available_engines
from faceinv.errors import ConfigError, InputError
from faceinv.face.camera import euler_angles, rotation_from_euler
from faceinv.generate import Scene, VariantConfig, Variants
from faceinv.generate.draws import (
    Donors,
    draw_neighbour,
    draw_variant,
    own_draw,
    photo_key,
    posed_face,
    random_stream,
)
from faceinv.generate.fill import Spread
from faceinv.generate.labels import paper_vector, pncc_image
from faceinv.generate.picture import draw_pictures
from faceinv.generate.polar import ANGLES, angle_grid, first_exit, last_exit, source_radii
from faceinv.generate.regions import regions_of
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.resample import crop_square
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.expression_units import ExpressionUnits
    from faceinv.face.state import Face
    from faceinv.fitting.result import FitResult
    from faceinv.generate.labels import Labels
    from faceinv.generate.picture import Picture
    from faceinv.generate.variants import Kind

SIZE = 72
PLAIN = VariantConfig(samples=1)


@cache
def result() -> FitResult:
    """A rough fit of the packaged photo."""
    fit: FitResult = quick_fit()
    return fit


@cache
def photo() -> NDArray[np.float64]:
    """(H, W, 3) the packaged photo, linear."""
    pixels = result().photo
    assert pixels is not None
    return srgb_to_linear(pixels.astype(np.float64))


@cache
def units() -> ExpressionUnits:
    named = result().model.expression_units
    assert named is not None
    return named


def make(count: int = 1, kind: Kind = "coarse", seed: int = 11, size: int = 48, **others: Any) -> Variants:
    """Variants of the packaged photo."""
    return Variants([result()], kind, count, size, seed, **{"config": PLAIN, **others})


@cache
def scene() -> Scene:
    return Scene.of(result(), SIZE / 290)


def draw(
    yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0, distance: float = np.inf, **strengths: float
) -> tuple[Picture, Labels]:
    """A picture of the packaged photo's person, and its labels."""
    made = replace(own_draw(result()), yaw=yaw, pitch=pitch, roll=roll, tilt=0.0, distance=distance)
    if strengths:
        made = replace(made, expression=units().coefficients(strengths))
    face, turn = posed_face(result(), made, SIZE)
    picture = draw_pictures(scene(), [face], SIZE, 1, [turn])[0]
    return picture, picture.labels()


def test_in_its_own_view_a_variant_is_the_photo() -> None:
    fit, size = result(), 96
    zoom = size / 290 / float(fit.camera.scale)
    offset = np.full(2, (size - 1) / 2) - zoom * fit.camera.project(scene().regions.pivot[None])[0, :2]
    face = replace(fit.face, camera=fit.camera.moved(zoom, offset))
    picture = draw_pictures(Scene.of(fit, size / 290), [face], size)[0]
    corner = -(0.5 + offset) / zoom + 0.5
    expected, on_photo = crop_square(photo(), corner[0], corner[1], size / zoom, size)
    apart = np.abs(linear_to_srgb(np.clip(picture.linear, 0, 1)) - linear_to_srgb(np.clip(expected, 0, 1))).mean(axis=2)
    assert on_photo.mean() > 0.95
    assert apart[on_photo].mean() < 0.006
    assert apart[picture.labels().face_mask].mean() < 0.01


def test_every_pixel_of_any_pose_shows_something() -> None:
    rng, own = np.random.default_rng(0), own_draw(result())
    white = np.ones_like(scene().ground.filled)
    before_white = replace(scene(), ground=replace(scene().ground, filled=white, photo=white, shorn=white))
    for _ in range(1000):
        yaw, pitch, roll = rng.uniform(-80, 80), rng.uniform(-25, 25), rng.uniform(-180, 180)
        made = replace(own, yaw=yaw, pitch=pitch, roll=roll, tilt=0.0, span=rng.uniform(200, 400))
        face, turn = posed_face(result(), made, SIZE)
        picture = draw_pictures(before_white, [face], SIZE, 1, [turn])[0]
        assert np.isfinite(picture.linear).all()
        assert ((picture.cover >= 0) & (picture.cover <= 1 + 1e-6)).all()
        # What is no head is ground, everywhere.
        assert (picture.linear.min(axis=2) >= 0.7 * (1 - picture.cover) - 1e-5).all()


def test_what_hides_behind_the_head_closes_when_it_turns() -> None:
    picture, _ = draw(yaw=70)
    # Bright ground around the head of the packaged photo: where the head is no more there is ground, not hair or skin.
    ground = np.median(photo()[:60, 330:400].reshape(-1, 3), axis=0)
    beside = picture.linear[: SIZE // 4, -SIZE // 8 :][picture.cover[: SIZE // 4, -SIZE // 8 :] == 0]
    assert len(beside) > 20
    assert np.abs(linear_to_srgb(beside.astype(float)) - linear_to_srgb(ground)).mean() < 0.2


def test_labels_draw_the_same_triangles_again() -> None:
    right = asked = 0
    poses = ((0, 0, 0, np.inf), (40, -15, 0, 900), (-65, 10, 30, 500), (80, 25, -170, np.inf), (-80, -25, 100, 400))
    for yaw, pitch, roll, distance in poses:
        picture, labels = draw(yaw, pitch, roll, distance)
        again = draw_faces(result().model, [labels.face], (SIZE, SIZE))[0]
        mask = labels.face_mask
        assert mask.sum() > 300
        same = again.triangle[mask] == labels.triangle[mask]
        lashes = result().model.part("lashes")
        hidden = lashes[again.triangle[mask]]  # variants leave lashes to the photo
        right, asked = right + (same | hidden).sum(), asked + len(same)
        assert np.abs(again.normal[mask][same] - labels.normal[mask][same]).max() < 1e-3
        assert picture.cover[mask].min() > 0.5
        # And labels leave out none of the face that hair does not cover.
        shown = (again.triangle >= 0) & result().model.face_mask[again.triangle]
        assert (shown & ~mask).sum() < 0.02 * shown.sum()
    assert right / asked > 0.999


def test_a_face_drawn_from_labels_alone_looks_like_the_variant() -> None:
    model = result().model
    for variant in make(3, seed=3, size=SIZE, config=replace(PLAIN, yaw=40.0)):
        face = variant.labels.face

        def apart(
            drawn: Face, mask: NDArray[np.bool_] = variant.labels.skin_mask, image: NDArray[np.uint8] = variant.image
        ) -> float:
            """Mean difference of sRGB values over the skin, wherever the drawn face is."""
            return float(np.abs(image[mask] / 255.0 - draw_faces(model, [drawn], (SIZE, SIZE))[0].srgb[mask]).mean())

        right = apart(face)
        assert right < 0.14  # a rough fit
        turn = rotation_from_euler(0.0, np.radians(15.0), 0.0)
        others = {
            "another place": replace(face, camera=face.camera.moved(1.0, (6.0, 0.0))),
            "another pose": replace(face, camera=replace(face.camera, rotation=face.camera.rotation @ turn)),
            "another light": replace(face, lighting=0.3 * face.lighting),
        }
        for name, other in others.items():
            assert apart(other) > 1.1 * right, name


def test_landmarks_are_the_models_and_tell_what_is_hidden() -> None:
    _, labels = draw(yaw=80)
    face, model = labels.face, result().model
    projected = face.camera.project(model.landmarks(face.vertices(model)))[:, :2]
    assert np.abs(labels.landmarks[17:] - projected[17:]).max() < 1e-3
    assert np.allclose(face.camera.project(labels.landmarks3d)[:, :2], labels.landmarks)
    # Turned to the image's right, the half of the face at the image's right is away: one eye can be seen.
    near, far = labels.landmark_visible[36:42].mean(), labels.landmark_visible[42:48].mean()
    assert near > 0.8
    assert far < 0.4
    _, frontal = draw()
    assert frontal.landmark_visible[27:36].all()


def test_jaw_landmarks_run_along_the_silhouette() -> None:
    _, labels = draw(yaw=40)
    covered = labels.triangle >= 0
    for x, y in labels.landmarks[10:14]:
        row = np.flatnonzero(covered[round(y)])
        assert min(abs(x - row[-1]), abs(x - row[0])) < 4


def test_jaw_landmarks_are_where_fits_have_them() -> None:
    fit = result()
    zoom = SIZE / 290 / float(fit.camera.scale)
    offset = (SIZE - 1) / 2 - zoom * fit.landmarks2d.mean(axis=0)
    face = replace(fit.face, camera=fit.camera.moved(zoom, offset))
    labels = draw_pictures(scene(), [face], SIZE, 1)[0].labels()
    apart = np.linalg.norm(labels.landmarks - (zoom * fit.landmarks2d + offset), axis=1)
    eyes = float(np.linalg.norm(labels.landmarks[36] - labels.landmarks[45]))
    assert apart[17:].max() < 1e-3
    assert apart[:17].mean() < 0.08 * eyes


@pytest.mark.parametrize("yaw", [0, 25, -45])
def test_jaw_landmarks_keep_their_distances(yaw: float) -> None:
    _, labels = draw(yaw=yaw)
    eyes = float(np.linalg.norm(labels.landmarks3d[36] - labels.landmarks3d[45])) * float(labels.face.camera.scale)
    assert np.linalg.norm(np.diff(labels.landmarks[:17], axis=0), axis=1).min() > 0.06 * eyes


def test_positions_and_depth_agree_with_pixels() -> None:
    _, labels = draw(yaw=-30, pitch=10)
    model = result().model
    rows, columns = np.nonzero(labels.face_mask)
    corners = model.triangles[labels.triangle[rows, columns]]
    weights = labels.barycentric[rows, columns].astype(float)
    place = np.einsum("mk,mkd->md", weights, labels.vertices_xy[corners].astype(float))
    assert np.abs(place - np.stack([columns, rows], axis=1)).max() < 0.05
    depth = np.einsum("mk,mk->m", weights, labels.vertices_depth[corners].astype(float))
    assert np.abs(depth - labels.depth[rows, columns]).max() < 0.05
    assert np.abs(np.linalg.norm(labels.normal[rows, columns], axis=1) - 1).max() < 1e-3
    assert np.isfinite(labels.uv[rows, columns]).all()
    colours = labels.pncc(model)
    assert colours[labels.triangle < 0].max() == 0
    assert np.array_equal(colours, pncc_image(model, labels.triangle, labels.barycentric))


def test_the_papers_vector_names_the_pose() -> None:
    _, labels = draw(yaw=25, pitch=-5, roll=10)
    face = labels.face
    count = len(face.identity) + len(face.expression) + len(face.albedo)
    vector = labels.vector
    assert len(vector) == count + 33
    assert np.array_equal(vector, paper_vector(face))
    assert vector[count] == face.camera.scale
    assert np.allclose(np.degrees(vector[count + 1 : count + 4]), [-5, 25, 10])
    assert np.allclose(labels.euler, [-5, 25, 10])
    assert np.array_equal(vector[-27:-18], face.lighting[:, 0])


def test_an_open_mouth_is_dark_and_closed_eyes_are_skin() -> None:
    _, closed = draw()
    wide, labels = draw(jawOpen=1.0)
    left, top = labels.landmarks[61:64].min(axis=0)
    right, bottom = labels.landmarks[65:68].max(axis=0)
    middle = wide.linear[int(top + 2) : int(bottom) - 1, int(left) + 1 : int(right)]
    cheek = wide.linear[closed.face_mask & labels.face_mask].mean()
    assert middle.mean() < 0.7 * cheek
    blink, shut = draw(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    row, column = np.rint(shut.landmarks[36:42].mean(axis=0)[::-1]).astype(int)
    assert shut.face_mask[row - 2, column]
    assert np.isfinite(blink.linear).all()


def test_light_from_the_side_darkens_the_other_one() -> None:
    fit = result()
    gamma = fit.lighting.copy()
    gamma[1:] = 0
    gamma[3] = 0.35 * gamma[0]  # from the image's right
    made = replace(own_draw(fit), yaw=0.0, pitch=0.0, roll=0.0, tilt=0.0, lighting=gamma)
    plain = replace(made, lighting=np.vstack([gamma[:1], np.zeros((8, 3))]))
    lit, even = (draw_pictures(scene(), [posed_face(fit, one, SIZE)[0]], SIZE, 1)[0] for one in (made, plain))
    mask = lit.labels().face_mask
    columns = np.broadcast_to(np.arange(SIZE), mask.shape)
    middle = np.median(columns[mask])
    ratio = lit.linear.mean(axis=2) / np.maximum(even.linear.mean(axis=2), 1e-4)
    assert ratio[mask & (columns > middle + 8)].mean() > 1.15 * ratio[mask & (columns < middle - 8)].mean()


def test_any_one_sample_can_be_made_again() -> None:
    variants = make(5, batch=3)
    made = list(variants)
    assert len(made) == len(variants) == 5
    again = make(5, batch=2).sample(0, 4)
    assert np.array_equal(again.image, made[4].image)
    assert np.array_equal(again.labels.vector, made[4].labels.vector)
    assert np.array_equal(again.labels.depth, made[4].labels.depth, equal_nan=True)
    assert not np.array_equal(make(5, seed=12).sample(0, 4).image, made[4].image)
    assert made[4].photo == photo_key(result())


def test_pairs_differ_by_small_steps_and_know_the_first_frame() -> None:
    variants = make(2, "pairs", seed=2)
    made = list(variants)
    assert [(v.index, v.frame) for v in made] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    first, second = variants.sample(0, 1), variants.sample(0, 1, 1)
    assert np.array_equal(first.image, made[2].image)
    assert np.array_equal(second.image, made[3].image)
    expected = first.labels.pncc(result().model)
    assert second.previous_pncc is not None
    assert np.array_equal(second.previous_pncc, expected)
    assert first.previous_pncc is None
    assert 0 < abs(second.draw.yaw - first.draw.yaw) < 5 * PLAIN.step_yaw


def test_steps_have_the_stated_statistics() -> None:
    stream, config = random_stream(1, "0", 0), VariantConfig()
    start = replace(own_draw(result()), yaw=0.0, pitch=0.0)
    steps = [draw_neighbour(stream, start, config) for _ in range(600)]
    for name, sigma in (("yaw", config.step_yaw), ("pitch", config.step_pitch)):
        assert np.std([getattr(step, name) for step in steps]) == pytest.approx(sigma, rel=0.12)
    moved = np.array([step.expression - start.expression for step in steps])
    assert moved.std() == pytest.approx(config.step_expression, rel=0.05)


def test_draws_follow_the_stated_distributions() -> None:
    fit, config = result(), VariantConfig()
    donors = Donors.of([fit, replace(fit, face=replace(fit.face, expression=fit.expression + 1))], ["a", "b"])
    draws = [draw_variant(random_stream(0, "ab", index), fit, config, donors, "a") for index in range(800)]
    yaw = np.array([one.yaw for one in draws])
    assert np.abs(yaw).max() <= 80
    assert np.abs(yaw).max() > 70
    assert max(abs(one.pitch) for one in draws) <= 25
    far = 0.5 * 20 / 80 + 0.5 * 2 * (1 - 0.9918)  # beyond 60 degrees: evenly drawn ones, and the tails of the others
    assert np.mean(np.abs(yaw) > 60) == pytest.approx(far, abs=0.04)
    sources = [one.expression_source for one in draws]
    for name, share in (("prior", 0.35), ("b", 0.25), ("units", 0.3), ("photo", 0.1)):
        assert sources.count(name) / 800 == pytest.approx(share, abs=0.05)
    assert np.mean([np.isinf(one.distance) for one in draws]) == pytest.approx(config.weak, abs=0.05)
    for one in draws[:100]:
        if one.expression_source == "prior":
            assert min(units().values(one.expression).values()) > -0.15


def test_drawn_lights_leave_no_side_dark() -> None:
    from faceinv.face.lighting import SH_CONSTANTS, sh_basis

    fit, config = result(), VariantConfig(light_drawn=1.0, light_transfer=0.0)
    directions = np.random.default_rng(0).normal(size=(300, 3))
    basis = sh_basis(directions / np.linalg.norm(directions, axis=1, keepdims=True))
    donors = Donors.of([fit])
    for index in range(30):
        gamma = draw_variant(random_stream(0, "ab", index), fit, config, donors, "a").lighting
        assert ((basis @ gamma) > 0.25 * gamma[0] * SH_CONSTANTS[0]).all()


def test_a_pose_is_where_it_was_drawn() -> None:
    made = replace(own_draw(result()), yaw=-35.0, pitch=12.0, roll=70.0, tilt=10.0, distance=600.0)
    face, turn = posed_face(result(), made, 200)
    assert np.allclose(np.degrees(euler_angles(face.camera.rotation)), [12, -35, 70])
    assert np.allclose(face.camera.rotation, rotation_from_euler(*np.radians([12, -35, 70])))
    assert np.degrees(turn) == pytest.approx(60)
    assert face.camera.distance == pytest.approx(600)
    box = face.camera.project(result().landmarks3d)[:, :2]
    assert np.abs((box.min(axis=0) + box.max(axis=0)) / 2 - [99.5, 91.5]).max() < 4


def test_a_donor_lends_whatever_the_order_of_photos() -> None:
    fit = result()
    other = replace(fit, face=replace(fit.face, expression=fit.expression[::-1].copy()))
    one, two = Donors.of([fit, other], ["x", "a"]), Donors.of([other, fit], ["a", "x"])
    assert one.names == two.names == ("a", "x")
    assert np.array_equal(one.expressions, two.expressions)


def test_fine_variants_have_another_faces_detail() -> None:
    fit = result().with_detail()
    variants = Variants([fit], "fine", 1, 96, seed=4, config=replace(PLAIN, yaw=20.0, relief_bands=0.0))
    variant = variants.sample(0, 0)
    plain = Variants([fit], "coarse", 1, 96, seed=4, config=replace(PLAIN, yaw=20.0)).sample(0, 0)
    mask = variant.labels.face_mask
    assert variant.draw.relief_source == photo_key(fit)
    assert np.array_equal(mask, plain.labels.face_mask)
    displacement = variant.labels.displacement
    assert displacement is not None
    assert np.isnan(displacement[~mask]).all()
    assert np.abs(displacement[mask]).max() > 0.01
    assert np.abs(variant.labels.normal - plain.labels.normal)[mask].max() > 0.05
    assert np.array_equal(variant.image[~mask], plain.image[~mask])


@pytest.mark.parametrize("engine", ["torch", "mxnet"])
def test_engines_draw_the_same_variants(engine: str) -> None:
    if not next(status for status in available_engines() if status.name == engine).installed:
        pytest.skip(f"engine '{engine}' is not installed")
    for one, two in zip(make(2, seed=5, backend=engine), make(2, seed=5), strict=True):
        assert_same_variant(one, two)


def test_what_cannot_be_is_refused() -> None:
    fit = result()
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"kind": "rough"}, "expected one of coarse, fine, pairs"),
        ({"count": 0}, "count is 0"),
        ({"size": 7}, "size is 7"),
        ({"seed": -1}, "seed is -1"),
        ({"kind": "fine"}, "with_detail"),
    )
    for settings, message in cases:
        with pytest.raises(InputError, match=message):
            Variants([fit], **settings)
    with pytest.raises(InputError, match="one fit at least"):
        Variants([])
    with pytest.raises(InputError, match="with_photo"):
        Variants([replace(fit, photo=None)])
    with pytest.raises(InputError, match="with_photo"):
        Scene.of(replace(fit, photo=None))
    with pytest.raises(InputError, match="no variant 3"):
        Variants([fit], count=2, size=48).sample(0, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"yaw": 200.0}, "'yaw' is 200.0; expected a value from 0.0 to 90.0"),
        ({"span": (300.0, 200.0)}, "the smaller first"),
        ({"samples": 2.5}, "expected an integer"),
        ({"weak": float("nan")}, "expected a number"),
        ({"expression_prior": 0.8, "expression_units": 0.5}, "sum to"),
        ({"yaww": 1.0}, "did you mean 'yaw'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VariantConfig.of(settings)


def test_settings_come_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "variants.toml"
    path.write_text("yaw = 45.0\nspan = [260.0, 300.0]\n")
    assert VariantConfig.from_toml(path) == VariantConfig(yaw=45.0, span=(260.0, 300.0))
    path.write_text("yaw = 'far'\n")
    with pytest.raises(ConfigError, match=r"variants\.toml.*expected a number"):
        VariantConfig.from_toml(path)


def test_scenes_are_made_with_one_thread_of_blas(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def watched(*given: Any, **named: Any) -> Any:
        seen.extend(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        return regions_of(*given, **named)

    monkeypatch.setattr("faceinv.generate.scene.regions_of", watched)
    with threadpool_limits(2, "blas"):
        Scene.of(result(), 0.2)
    assert set(seen) == {1}


def test_outlines_are_found_along_rays() -> None:
    rows, columns = np.mgrid[:101, :101]
    radius = np.hypot(rows - 50, columns - 50)
    ring = (radius < 20) | ((radius > 30) & (radius < 40))
    assert np.abs(first_exit(ring, np.array([50.0, 50.0]), 1.0) - 20).max() < 1.1
    assert np.abs(last_exit(ring, np.array([50.0, 50.0]), 2.0) - 20).max() < 0.8
    assert (first_exit(~ring, np.array([50.0, 50.0]), 1.0) == 0).all()


def test_the_plane_around_an_outline_never_folds() -> None:
    angle = angle_grid()
    before, after = 100 + 25 * np.cos(3 * angle), 90 + 30 * np.sin(2 * angle)
    moved = source_radii(before, after, 330.0)
    assert moved.shape[1] == ANGLES
    share = np.linspace(0, 1, len(moved))[:, None]
    target = after + share * (330.0 - after)
    source = target + moved
    assert np.abs(source[0] - before).max() < 1.0
    assert np.abs(source[-1] - 330).max() < 1e-9
    assert (np.diff(source, axis=0) > 0).all()


def test_values_spread_over_the_mesh_from_where_they_are_known() -> None:
    model = result().model
    height = model.mean[:, 1:2].astype(float) / 100
    known = (model.mean[:, 0] > 0).astype(float)
    spread = Spread.of(model)(height, known)
    assert np.array_equal(spread[known == 1], height[known == 1])
    near = (known == 0) & (model.mean[:, 0] > -10)
    assert np.abs(spread - height)[near].mean() < 0.1
    assert np.isfinite(spread).all()


def test_a_scene_takes_photos_of_heads_that_are_cut_off() -> None:
    fit, pixels = result(), result().photo
    assert pixels is not None
    top = int(fit.landmarks2d[:, 1].min()) - 5
    cut = replace(
        fit,
        photo=pixels[top:],
        image_size=(pixels.shape[1], pixels.shape[0] - top),
        face=replace(fit.face, camera=fit.camera.moved(1.0, (0.0, -float(top)))),
    )
    face, turn = posed_face(cut, replace(own_draw(cut), yaw=-50.0), SIZE)
    picture = draw_pictures(Scene.of(cut, SIZE / 290), [face], SIZE, 1, [turn])[0]
    assert np.isfinite(picture.linear).all()
