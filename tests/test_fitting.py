"""From a photo to a face: the packaged photo, known synthetic faces, batches, places in the photo."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import sample
from small import few_modes

import faceinv
from faceinv import FitConfig, FitResult, Fitter, Status
from faceinv.engine.evaluation import radiance
from faceinv.engine.records import Problem
from faceinv.engine.registry import build_engine
from faceinv.face.camera import Camera, axis_angle, euler_angles, rotation_from_euler
from faceinv.face.landmark_sources import landmark_source
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient, pack_lighting
from faceinv.fitting.stages import problem_at
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.pts import write_pts
from faceinv.photo.read import load_image
from faceinv.photo.resample import crop_square

ROUGH = FitConfig(size=48, levels=2, iterations=4, coarse_iterations=3)


@cache
def photo() -> NDArray[np.float32]:
    return load_image(sample()).pixels


@cache
def rough_fitter() -> Fitter:
    return Fitter(few_modes(), config=ROUGH)


@cache
def rough(dx: int = 0, dy: int = 0, focal: float | None = None) -> FitResult:
    """The packaged photo with `dx` more columns on its left and `dy` more rows on top; with a focal length, px, its
    optical axis stays where it was."""
    padded = np.pad(photo(), ((dy, 0), (dx, 0), (0, 0)), mode="edge")
    landmarks = faceinv.fit(photo(), config=ROUGH, model=few_modes()).landmarks_target
    lens = None if focal is None else np.array([[focal, 0, 255.5 + dx], [0, focal, 255.5 + dy], [0, 0, 1]])
    return rough_fitter().fit(padded, landmarks + np.array([dx, dy]), intrinsics=lens)


def same_bits(a: FitResult, b: FitResult) -> bool:
    fields = ("identity", "expression", "albedo_coefficients", "lighting", "landmarks2d", "landmarks3d", "hessian")
    return (
        all(np.array_equal(getattr(a, name), getattr(b, name)) for name in fields)
        and np.array_equal(a.vertices, b.vertices)
        and np.array_equal(a.image_xy, b.image_xy)
        and (a.cost, a.photometric_rmse, a.status) == (b.cost, b.photometric_rmse, b.status)
    )


# ---- the packaged photo, with the whole default model


def test_the_sample_photo_end_to_end(sample_fit: FitResult) -> None:
    assert sample_fit.status.success
    assert sample_fit.image_size == (512, 512)
    assert sample_fit.landmark_error < 0.06
    assert sample_fit.photometric_rmse < 0.15
    assert np.isfinite(sample_fit.vertices).all()
    assert np.abs(sample_fit.identity).max() < 6
    pitch, yaw, roll = np.degrees(euler_angles(sample_fit.camera.rotation))
    assert abs(pitch) < 30
    assert abs(yaw) < 30
    assert abs(roll) < 20
    assert (sample_fit.backend, sample_fit.model_source) == ("numpy:float32", "default")
    assert sample_fit.version == faceinv.__version__
    assert sum(sample_fit.timings.values()) > 0


def test_costs_add_up_and_levels_fall(sample_fit: FitResult) -> None:
    parts = sample_fit.cost_photometric, sample_fit.cost_landmarks, sample_fit.cost_prior
    assert sum(parts) == pytest.approx(sample_fit.cost)
    assert min(parts) > 0
    assert sample_fit.history
    for record in sample_fit.history:
        assert record.item == 0
        assert record.accepted == (record.trial_cost < record.cost)
        assert sum(record.terms.values()) == pytest.approx(record.cost)
    assert sample_fit.cost < sample_fit.history[0].cost


def test_the_render_resembles_the_photo_where_the_face_is(sample_fit: FitResult) -> None:
    picture = sample_fit.render()
    covered = picture[..., 3] == 1
    assert 0.02 < covered.mean() < 0.6
    nose = covered[tuple(np.round(sample_fit.landmarks_target[27:36]).astype(int).T[::-1])]
    assert nose.all()
    (left, top), (right, bottom) = (f(sample_fit.landmarks_target[17:], axis=0).astype(int) for f in (np.min, np.max))
    inner = np.zeros_like(covered)
    inner[top:bottom, left:right] = covered[top:bottom, left:right]
    target = np.asarray(photo())[inner]
    drawn = linear_to_srgb(np.clip(picture[inner][:, :3], 0, 1))
    assert np.abs(target - drawn).mean() < 0.6 * np.abs(target - target.mean(axis=0)).mean()


def test_landmarks_of_the_result_lie_on_its_surface(sample_fit: FitResult) -> None:
    projected = sample_fit.camera.project(sample_fit.landmarks3d)[:, :2]
    assert sample_fit.landmarks2d == pytest.approx(projected)
    model = sample_fit.model
    on_mesh = model.landmarks(sample_fit.vertices)
    assert sample_fit.landmarks3d[17:] == pytest.approx(on_mesh[17:])
    gap = np.linalg.norm(sample_fit.landmarks2d - sample_fit.landmarks_target, axis=1)[17:].mean()
    eyes = np.linalg.norm(sample_fit.landmarks_target[36] - sample_fit.landmarks_target[45])
    assert sample_fit.landmark_error == pytest.approx(gap / eyes)


# ---- ways in


def test_path_array_pil_and_pts_give_the_same(tmp_path: Path) -> None:
    from PIL import Image

    by_path = rough_fitter().fit(sample())
    write_pts(tmp_path / "face.pts", by_path.landmarks_target)
    with Image.open(sample()) as opened:
        by_pil = rough_fitter().fit(opened)
    assert same_bits(by_path, rough_fitter().fit(photo()))
    assert same_bits(by_path, by_pil)
    by_array = faceinv.fit(sample(), by_path.landmarks_target, model=few_modes(), config=ROUGH)
    assert not same_bits(by_path, by_array), "landmarks that are given count for more than the same ones found"
    by_pts = faceinv.fit(str(sample()), tmp_path / "face.pts", model=few_modes(), config=ROUGH)
    assert by_pts.vertices == pytest.approx(by_array.vertices, abs=0.05)  # the file is rounded


def test_progress_is_told_in_order() -> None:
    heard: list[tuple[str, float]] = []
    rough_fitter().fit(photo(), progress=lambda stage, done: heard.append((stage, done)))
    assert heard[0] == ("landmarks", 0.0)
    assert heard[-1] == ("done", 1.0)
    shares = [done for _, done in heard]
    assert shares == sorted(shares)
    assert len({stage for stage, _ in heard}) == len(heard)


def test_every_face_of_a_photo_is_fitted_the_largest_first() -> None:
    small, _ = crop_square(photo(), 130, 30, 200, 160)
    large, _ = crop_square(photo(), 130, 30, 200, 320)
    both = np.full((320, 500, 3), 0.5, np.float32)
    both[60:220, :160], both[:, 170:490] = small, large
    found = faceinv.fit_faces(both, model=few_modes(), config=ROUGH)
    assert len(found) == 2
    first, second = found
    assert first.camera.scale == pytest.approx(2 * second.camera.scale, rel=0.1)
    assert first.landmarks2d[:, 0].mean() > 170 > second.landmarks2d[:, 0].mean()


def test_a_mask_leaves_pixels_out() -> None:
    """What is masked may be painted over without any effect."""
    landmarks = rough().landmarks_target
    mask = np.ones(photo().shape[:2], np.bool_)
    middle = landmarks[48:].mean(axis=0).astype(int)
    mask[middle[1] - 20 : middle[1] + 20, middle[0] - 30 : middle[0] + 30] = False
    painted = photo().copy()
    painted[middle[1] - 14 : middle[1] + 14, middle[0] - 24 : middle[0] + 24] = (0.0, 1.0, 0.0)
    whole, masked = rough_fitter().fit(photo(), landmarks), rough_fitter().fit(photo(), landmarks, mask=mask)
    assert not same_bits(whole, masked)
    assert same_bits(masked, rough_fitter().fit(painted, landmarks, mask=mask))
    assert not same_bits(masked, rough_fitter().fit(painted, landmarks))


# ---- batches, bits


def test_a_batch_equals_its_items_alone() -> None:
    darker = photo() * np.float32(0.6)
    mirrored = np.ascontiguousarray(photo()[:, ::-1])
    given = rough_fitter().fit_batch([photo(), darker, mirrored])
    together = [result for result in given if isinstance(result, faceinv.FitResult)]
    for image, result in zip((photo(), darker, mirrored), together, strict=True):
        assert same_bits(result, rough_fitter().fit(image))
    assert len({result.cost for result in together}) == 3
    assert all({record.item for record in result.history} == {k} for k, result in enumerate(together))


# ---- where the face lies


@pytest.mark.parametrize(("dx", "dy"), [(37, 0), (5, 64)])
def test_results_move_with_the_photo(dx: int, dy: int) -> None:
    plain, moved = rough(focal=1800.0), rough(dx, dy, focal=1800.0)
    assert moved.image_size == (512 + dx, 512 + dy)
    shift = np.array([dx, dy])
    assert moved.image_xy == pytest.approx(plain.image_xy + shift, abs=0.05)
    assert moved.landmarks2d == pytest.approx(plain.landmarks2d + shift, abs=0.05)
    assert moved.camera.translation == pytest.approx(plain.camera.translation + shift, abs=0.05)
    assert moved.depth == pytest.approx(plain.depth, abs=0.1)
    assert moved.vertices == pytest.approx(plain.vertices, abs=0.1)
    assert moved.render()[dy:, dx:, 3].mean() == pytest.approx(plain.render()[..., 3].mean(), abs=0.01)


def test_a_face_cut_by_the_edge_is_fitted_where_it_is() -> None:
    """The photo begins in the middle of the forehead."""
    landmarks = rough().landmarks_target
    top = int(landmarks[17:27, 1].min()) - 2
    cut = rough_fitter().fit(np.ascontiguousarray(photo()[top:]), landmarks - np.array([0, top]))
    assert cut.status.success
    gap = np.linalg.norm(cut.landmarks2d[17:] + np.array([0, top]) - rough().landmarks2d[17:], axis=1)
    assert gap.mean() < 4


# ---- known faces


def synthetic(
    yaw: float, size: int = 160, seed: int = 0
) -> tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64], Camera]:
    """A photo (sRGB) of a known face before grey, its landmarks, vertices, albedo and camera."""
    model, rng = few_modes(), np.random.default_rng(seed)
    layout = ParameterLayout.of(model)
    chi = np.zeros((1, layout.count))
    chi[0, layout.shape] = rng.normal(0, 1.0, layout.shape_count)
    chi[0, layout.albedo] = rng.normal(0, 0.8, layout.albedo_count)
    camera = Camera(0.42 * size / 100, rotation_from_euler(0.1, yaw, 0.05), np.array([size / 2.0, size / 2.0]))
    chi[0, layout.pose] = camera.pack()
    light = ambient(0.7)
    light[1:4] += [[0.1, 0.1, 0.08], [0.25, 0.22, 0.2], [0.2, 0.2, 0.2]]
    chi[0, layout.lighting] = pack_lighting(light)
    renderer = build_engine("numpy", model).renderer
    geometry = renderer.geometry(chi)
    seen = renderer.rasterize(geometry, (size, size))
    image = radiance(renderer, geometry, seen, chi)[0]
    image[renderer.to_host(seen.triangle)[0] < 0] = 0.2
    vertices = model.vertices(chi[0, layout.identity], chi[0, layout.expression])
    landmarks = camera.project(model.landmarks(vertices))[:, :2]
    albedo = model.mean_albedo + model.albedo_basis @ chi[0, layout.albedo]
    return linear_to_srgb(np.clip(image, 0, 1)).astype(np.float32), landmarks, vertices, albedo, camera


@pytest.mark.parametrize("yaw", [0.0, 0.5])
def test_a_known_face_is_recovered(yaw: float) -> None:
    """With priors next to nothing, as the data have no noise: the truth, not its shadow."""
    image, landmarks, vertices, albedo, camera = synthetic(yaw)
    limits = {"size": 96, "levels": 2, "iterations": 15, "coarse_iterations": 6, "jaw_factor": math.inf}
    drawn = {"albedo_field": 0.0, "camera": "weak"}
    data = {"photometric_samples": 2.5e6, "landmark_sigma": 2e-4, "huber_delta": 0.2, "lighting_sigma": 1.0}
    config = FitConfig.from_dict(limits | drawn | data)
    found = faceinv.fit(image, landmarks, model=few_modes(), config=config)
    skin = np.unique(few_modes().triangles[few_modes().face_mask])

    def error(points: NDArray[np.float64]) -> float:
        """Root mean square over the skin, mm, without the mean offset, which the camera takes up."""
        gap = (points - vertices)[skin]
        return float(np.sqrt(((gap - gap.mean(axis=0)) ** 2).sum(axis=1).mean()))

    assert error(few_modes().vertices()) > 1.0, "the mean face is far from it"
    assert error(found.vertices) < 0.3
    turn = np.degrees(np.linalg.norm(axis_angle(found.camera.rotation @ camera.rotation.T)))
    assert turn < 1.0
    assert found.camera.scale == pytest.approx(camera.scale, rel=0.01)
    assert found.photometric_rmse < 0.01
    assert found.landmark_error < 0.003
    assert np.abs(found.vertex_albedo - albedo)[skin].max() < 0.05


def test_settings_reach_the_fit() -> None:
    image, landmarks, *_ = synthetic(0.0)

    def fit(**changes: object) -> FitResult:
        base: dict[str, object] = {"size": 48, "levels": 1, "iterations": 3}
        config = FitConfig.from_dict(base | changes)
        return faceinv.fit(image, landmarks, model=few_modes(), config=config)

    plain = fit()
    assert len(plain.history) <= 3
    assert fit(iterations=1).status is Status.MAX_ITERATIONS
    others = ({"normals": "flat"}, {"identity_sigma": 0.1}, {"huber_delta": 0.01}, {"margin": 1.6})
    cameras = ({"camera": "weak"}, {"distance": 400}, {"focal_length_px": 300}, {"estimate_distance": False})
    for changes in (*others, *cameras):
        assert not same_bits(plain, fit(**changes)), changes
    stiff = fit(identity_sigma=1e-4, expression_sigma=1e-4, albedo_sigma=1e-4)
    assert np.abs(stiff.identity).max() < 0.01
    assert np.abs(stiff.expression).max() < 0.01


def test_the_papers_settings_work() -> None:
    image, landmarks, *_ = synthetic(0.2)
    config = FitConfig.from_dict({**vars(FitConfig.paper()), "size": 48, "levels": 1, "iterations": 6})
    found = faceinv.fit(image, landmarks, model=few_modes(), config=config)
    assert found.status.success
    assert found.photometric_rmse < 0.1
    assert found.landmark_error < 0.06
    assert 0.2 < (found.lighting[0] * 0.282095).mean() < 2, "light is in units of 0 to 1 again"


# ---- what landmarks are worth


def test_landmarks_weigh_by_where_they_come_from() -> None:
    sigmas = {"landmark_sigma": 0.02, "detected_landmark_sigma": 0.05, "jaw_factor": 3.0, "brow_factor": 2.0}
    config = FitConfig.from_dict({"size": 48, "levels": 1, **sigmas})
    fitter = Fitter(few_modes(), config=config)
    found = fitter.prepare(sample())
    given = fitter.prepare(sample(), found.landmarks)
    assert (found.source, given.source) == ("face mesh", "annotated")
    sigma = problem_at(config, few_modes(), [given, found], 0).landmark_sigma
    factor = np.repeat([3.0, 2.0, 1.0], [17, 10, 41])
    assert np.array_equal(found.landmarks, given.landmarks)
    for item, source, own in ((0, "annotated", 0.02), (1, "face mesh", 0.05)):
        table = landmark_source(source).sigma / landmark_source(source).usual_sigma
        widened = sigma[item] / (own * factor * table)
        assert widened == pytest.approx(np.full(68, widened[0])), "by the turn of the head, all alike"
        assert 1.0 <= widened[0] < 1.1
    assert sigma[0, 30] == pytest.approx(0.02, rel=1e-3)


def test_other_units_know_no_tables() -> None:
    """They belong to other people's settings, which have all landmarks alike."""
    config = FitConfig.from_dict({"size": 48, "levels": 1, "units": "image", "jaw_factor": 3.0, "brow_factor": 2.0})
    problem = problem_at(config, few_modes(), [Fitter(few_modes(), config=config).prepare(sample())], 0)
    expected = config.detected_landmark_sigma * np.repeat([3.0, 2.0, 1.0], [17, 10, 41])
    assert problem.landmark_sigma[0] == pytest.approx(expected)


def test_the_unit_of_landmark_distances() -> None:
    def problem(units: str, level: int) -> Problem:
        config = FitConfig.from_dict({"size": 96, "levels": 2, "units": units})
        return problem_at(config, few_modes(), [Fitter(few_modes(), config=config).prepare(sample())], level)

    corners = problem("eyes", 1).landmarks[0, [36, 45]]
    eyes = np.linalg.norm(corners[0] - corners[1])
    for units, wanted in (("eyes", (eyes / 2, eyes)), ("image", (48, 96)), ("pixels", (1, 1))):
        for level in (0, 1):
            assert problem(units, level).eye_distance[0] == pytest.approx(wanted[level], rel=1e-6)
    assert problem("pixels", 0).white == 255
    assert problem("image", 0).white == 1


def test_the_energy_does_not_depend_on_the_resolution() -> None:
    config = FitConfig(size=96, levels=2)
    photo = Fitter(few_modes(), config=config).prepare(sample())
    coarse, fine = (problem_at(config, few_modes(), [photo], level) for level in (0, 1))
    assert coarse.energy == fine.energy
    assert coarse.energy.photometric == pytest.approx(config.photometric_samples / config.photometric_sigma**2)
    assert np.array_equal(coarse.landmark_sigma, fine.landmark_sigma)
