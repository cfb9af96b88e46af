"""Fine detail from photo to record: what is found, what is not, and what is said where there is nothing to find."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from faceinv import ConfigError, FitConfig, InputError
from faceinv.detail import stage
from faceinv.detail.bands import log_albedo_change, without_broad
from faceinv.detail.coarse import CoarseFace, draw_coarse, face_extent, face_window
from faceinv.detail.confidence import skin_confidence
from faceinv.detail.levels import coarsened, stacked
from faceinv.detail.prepare import (
    PAPER_WEIGHTS,
    ROBUST_BANDS,
    ROBUST_WEIGHTS,
    SKIN_DIRECTION,
    Skin,
    fit_light,
    has_colour,
    paper_problem,
    robust_problem,
)
from faceinv.detail.record import Detail, DetailStatus
from faceinv.detail.smooth import MaskedMean
from faceinv.detail.solver import LevelPlan, solve_detail
from faceinv.detail.stage import DetailJob, displaced_normals, find_detail, photo_misfit
from faceinv.engine.detail import AbstractDetailSolver, Bands, DetailProblem, corners_of
from faceinv.face.camera import Camera
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import sh_basis
from faceinv.face.state import Face
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.crop import FaceCrop
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIZE, PIXEL = 144, 0.5
CAMERA = Camera(2.0, np.eye(3), np.array([72.0, 72.0]), 1 / 800, np.array([30.0, 90.0]))
BROWN = np.array([0.35, 0.65, 0.9])


def engine(problem: DetailProblem) -> AbstractDetailSolver:
    from faceinv.backends.numpy_numba.detail import NumbaDetailSolver

    return NumbaDetailSolver(problem, "float32")


# ---- a bowl of known relief


@cache
def bowl() -> CoarseFace:
    """A smooth patch 60 mm wide, lit from a side."""
    y, x = np.mgrid[:SIZE, :SIZE] / SIZE - 0.5
    normal = np.stack([0.9 * x, -0.8 * y, np.ones_like(x)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    mask = x**2 + y**2 < 0.2
    flat = np.zeros((SIZE, SIZE), np.float32)
    crop = FaceCrop(0.0, 0.0, SIZE, SIZE)
    albedo = np.full((SIZE, SIZE, 3), 0.5, np.float32)
    return CoarseFace(crop, CAMERA, PIXEL, mask, normal.astype(np.float32), flat, albedo, None)


def lighting() -> NDArray[np.float64]:
    gamma = np.zeros((9, 3))
    gamma[0], gamma[2], gamma[3], gamma[1] = 1.6, 0.5, 0.6, 0.4
    return gamma


def pictured(relief: NDArray[np.float64], paint: NDArray[np.float64] | float = 0.0) -> NDArray[np.float32]:
    """(S, S, 3) linear light of the bowl with relief (S + 1, S + 1) mm and log albedo."""
    normals = displaced_normals(bowl(), relief.astype(np.float32))
    skin = np.array([0.55, 0.36, 0.27])
    light: NDArray[np.float32] = (skin * np.exp(paint) * (sh_basis(normals) @ lighting())).astype(np.float32)
    return light


def grooves() -> NDArray[np.float64]:
    """Three wrinkles of .4 mm, of which two run across the light."""
    y, x = (np.mgrid[: SIZE + 1, : SIZE + 1] - SIZE / 2) * PIXEL
    lines = ((x + 6, y), (x - 0.5 * y - 7, y + 4), (y - 8, x))
    depth: NDArray[np.float64] = sum(0.4 * np.exp(-((a / 1.0) ** 2) / 2 - (b / 9) ** 4) for a, b in lines)
    return -depth


def spot() -> NDArray[np.float64]:
    """(S, S) of a mole of 1.5 mm."""
    y, x = (np.mgrid[:SIZE, :SIZE] - SIZE / 2) * PIXEL
    share: NDArray[np.float64] = 1 / (1 + np.exp((np.hypot(x - 3, y + 2) - 1.5) / 0.15))
    return share


def found(
    light: NDArray[np.float32], skin: Skin | None = None, bands: Bands | None = ROBUST_BANDS
) -> NDArray[np.float32]:
    problem = replace(robust_problem(bowl(), light, bowl().mask, skin or Skin(), ROBUST_WEIGHTS), bands=bands)
    plan = (LevelPlan(5, 40), LevelPlan(5, 40), LevelPlan(4, 30))
    relief: NDArray[np.float32] = solve_detail(engine, problem, plan).displacement[0]
    return relief


def test_wrinkles_are_found() -> None:
    truth = grooves()
    inner = corners_of(bowl().mask[None])[0] & (np.hypot(*(np.mgrid[: SIZE + 1, : SIZE + 1] - SIZE / 2)) < 50)
    relief, wanted = (a - gaussian_filter(a, 6) for a in (found(pictured(truth)).astype(np.float64), truth))
    gain = (relief * wanted)[inner].sum() / (wanted**2)[inner].sum()
    assert np.corrcoef(relief[inner], wanted[inner])[0, 1] > 0.9
    assert 0.5 < gain < 1.1


def test_albedo_found_anew_gives_relief_its_part_back() -> None:
    """More of a wrinkle's depth is found."""
    truth = grooves()
    light = pictured(truth)
    deeper, before = (
        (relief - gaussian_filter(relief, 6)).astype(np.float64)
        for relief in (found(light), found(light, bands=Bands(1e3, ROBUST_BANDS.relief)))
    )
    wanted = truth - gaussian_filter(truth, 6)
    assert (deeper * wanted).sum() > 1.02 * (before * wanted).sum()


def test_brown_spots_are_no_dents() -> None:
    """A mole dents the surface only where colour is not looked at."""
    light = pictured(np.zeros((SIZE + 1, SIZE + 1)), -0.6 * spot()[..., None] * BROWN)
    brown, blind = (np.ptp(found(light, skin)) for skin in (Skin(), Skin(None)))
    assert brown < 0.05
    assert blind > 3 * brown


def test_even_skin_has_no_relief() -> None:
    noise = np.random.default_rng(0).normal(0, 0.004, (SIZE, SIZE, 3))
    light = pictured(np.zeros((SIZE + 1, SIZE + 1))) * np.exp(noise).astype(np.float32)
    assert np.abs(found(light)).max() < 0.02


def test_hair_and_rims_count_little() -> None:
    mask = bowl().mask
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    bristles = np.where(np.hypot(x - 20, y) < 16, 0.5 * (-1.0) ** x, 0.0)[mask].astype(np.float32)
    dark = np.where(np.hypot(x + 25, y) < 16, -1.6, 0.0)[mask].astype(np.float32)[:, None] * np.ones(3, np.float32)
    weight = np.zeros(mask.shape)
    weight[mask] = skin_confidence(mask, dark, bristles, PIXEL)
    middle = SIZE // 2
    assert weight[middle, middle + 20] < 0.1
    assert weight[middle, middle - 25] < 0.2
    assert weight[middle - 30, middle] > 0.9
    rim = np.flatnonzero(mask[middle])[0]
    assert weight[middle, rim] < 0.2
    assert not weight[~mask].any()


def test_islands_of_skin_among_hair_count_little() -> None:
    mask = bowl().mask
    y, x = np.mgrid[:SIZE, :SIZE] - SIZE // 2
    fringe = (y < -5) & (np.hypot(x - 10, y + 25) > 3)
    dark = np.where(fringe, -1.6, 0.0)[mask].astype(np.float32)[:, None] * np.ones(3, np.float32)
    weight = np.zeros(mask.shape)
    weight[mask] = skin_confidence(mask, dark, np.zeros(int(mask.sum()), np.float32), PIXEL)
    middle = SIZE // 2
    assert weight[middle - 25, middle + 10] < 0.2
    assert weight[middle + 25, middle + 10] > 0.9


# ---- parts


def test_metric_discounts_skin_and_is_scaled() -> None:
    metric, v = Skin().metric, np.array(SKIN_DIRECTION)
    across = np.array([1.0, -1.0, 0.0])
    assert v @ metric @ v / (v @ v) < 0.1 * (across @ metric @ across) / 2
    assert metric.sum() == pytest.approx(1)
    assert np.linalg.eigvalsh(metric).min() > 0
    assert Skin(None).metric.sum() == pytest.approx(1)


def test_light_is_found_in_spite_of_spots() -> None:
    normals = bowl().normal[bowl().mask]
    light = (sh_basis(normals) @ lighting()).astype(np.float32)
    light[::9] *= 0.3
    gamma = fit_light(light, sh_basis(normals))
    clean = np.ones(len(light), np.bool_)
    clean[::9] = False
    wanted = sh_basis(normals[clean]) @ lighting()
    assert np.abs(sh_basis(normals[clean]) @ gamma - wanted).max() < 0.02 * wanted.max()


def test_greys_and_sepias_have_no_colour() -> None:
    grey = np.random.default_rng(1).uniform(0.1, 0.8, (500, 1)).astype(np.float32)
    assert not has_colour(grey * np.ones(3, np.float32))
    assert not has_colour(grey ** np.array([0.9, 1.0, 1.2], np.float32))
    assert has_colour(pictured(grooves(), -0.3 * spot()[..., None] * BROWN)[bowl().mask])


@pytest.mark.parametrize("sigma", [0.8, 3.0, 9.0, 21.0])
def test_masked_means_are_gaussian(sigma: float) -> None:
    rng = np.random.default_rng(2)
    values = gaussian_filter(rng.normal(size=(90, 101, 2)), (4, 4, 0))
    values /= values.std()
    mask = bowl().mask[:90, :101].astype(np.float64)
    got = MaskedMean(mask, sigma)(values)
    weight = gaussian_filter(mask, sigma, mode="constant")
    for channel in range(2):
        want = gaussian_filter(mask * values[..., channel], sigma, mode="constant") / np.maximum(weight, 1e-4)
        inside = mask > 0
        assert np.abs(got[..., channel] - want)[inside].max() < 0.06


def test_masked_means_of_a_constant_are_it() -> None:
    mask = bowl().mask.astype(np.float32)
    got = MaskedMean(mask, 7.0)(np.full((SIZE, SIZE, 1), 3.0))
    assert np.allclose(got[mask > 0], 3.0, rtol=1e-5)


def test_levels_keep_what_is_even_and_leave_a_rim() -> None:
    mask = np.zeros((1, 13, 15), np.bool_)
    mask[:, 1:-1, 1:-1] = True
    even = np.full((1, 13, 15, 3), 0.7, np.float32)
    up = np.tile(np.array([0, 0, 1], np.float32), (1, 13, 15, 1))
    problem = DetailProblem(
        *(even, even, up, np.ones((1, 13, 15), np.float32), mask, lighting()[None], np.eye(3)[None]),
        *(np.array([0.5]), np.array([[6.0, 7.0]]), np.array([0.01]), ROBUST_WEIGHTS),
    )
    half = coarsened(problem)
    assert half.size == (6, 7)
    assert half.pixel[0] == 1.0
    assert half.mask.any()
    assert np.allclose(half.target[half.mask], 0.7)
    # A ray keeps its direction: (x - c) / f at the middle of a block.
    assert (1 - half.principal_point[0, 0]) * half.inverse_focal[0] == pytest.approx((2.5 - 6.0) * 0.01)


def test_albedo_changes_by_the_mean_of_the_relief_s_shading() -> None:
    problem = robust_problem(bowl(), pictured(grooves()), bowl().mask, Skin(), ROBUST_WEIGHTS)
    half = coarsened(problem)
    bands = Bands(4.0, 5.0)
    assert not log_albedo_change(half, half.normal, bands).any()
    relief = grooves()[::2, ::2].astype(np.float32)
    solver = engine(half)
    normals = np.asarray(solver.to_host(solver.normals(solver.upload(relief[None].astype(np.float64)))))
    mask, light = half.mask[0], half.lighting[0]
    ratio = np.zeros((*mask.shape, 3))
    ratio[mask] = np.log((sh_basis(normals[0]) @ light) / (sh_basis(half.normal[0]) @ light))[mask]
    sigma = 4.0 / half.pixel[0]
    share = gaussian_filter(mask.astype(np.float64), sigma, mode="constant")
    wanted = gaussian_filter(ratio, (sigma, sigma, 0), mode="constant") / np.maximum(share, 1e-4)[..., None]
    got = log_albedo_change(half, normals, bands)[0]
    assert got.shape == (SIZE, SIZE, 3)
    blocks = got.reshape(SIZE // 2, 2, SIZE // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(blocks - wanted)[mask].max() < 0.1 * np.abs(wanted[mask]).max()


def test_a_formulation_brings_its_bands() -> None:
    """Whoever solves it: albedo that is known is not found anew, and nothing broad is taken off its relief."""
    light, mask = pictured(grooves()), bowl().mask
    robust = robust_problem(bowl(), light, mask, Skin(), ROBUST_WEIGHTS)
    assert robust.bands == coarsened(robust).bands == stacked([robust, robust]).bands == ROBUST_BANDS
    assert paper_problem(bowl(), light, mask, lighting(), PAPER_WEIGHTS).bands is None
    plan = (LevelPlan(2, 10), LevelPlan(2, 10))
    with_them, without = (
        solve_detail(engine, problem, plan).displacement for problem in (robust, replace(robust, bands=None))
    )
    assert np.abs(with_them - without).max() > 0.01


def test_broad_relief_is_left_out() -> None:
    problem = robust_problem(bowl(), pictured(grooves()), bowl().mask, Skin(), ROBUST_WEIGHTS)
    on = problem.corners[0]
    x = np.arange(SIZE + 1) * PIXEL * np.ones((SIZE + 1, 1))
    waves = {length: np.where(on, np.sin(2 * np.pi * x / length), 0.0) for length in (4.0, 60.0)}
    kept = {length: without_broad(problem, wave[None], Bands(4.0, 5.0))[0] for length, wave in waves.items()}
    inner = on & (np.hypot(*(np.mgrid[: SIZE + 1, : SIZE + 1] - SIZE / 2)) < 40)
    assert np.allclose(kept[4.0][inner], waves[4.0][inner], atol=0.05)
    assert np.abs(kept[60.0][inner]).max() < 0.25
    assert not kept[4.0][~on].any()


def test_stacked_problems_solve_as_they_do_alone() -> None:
    problems = [
        robust_problem(bowl(), pictured(grooves()), bowl().mask, Skin(), ROBUST_WEIGHTS),
        robust_problem(bowl(), pictured(-grooves()), bowl().mask, Skin(), ROBUST_WEIGHTS),
    ]
    plan = (LevelPlan(2, 10), LevelPlan(2, 10))
    for bands in (None, ROBUST_BANDS):
        items = [replace(problem, bands=bands) for problem in problems]
        both = solve_detail(engine, stacked(items), plan)
        alone = solve_detail(engine, items[0], plan)
        assert np.array_equal(both.displacement[0], alone.displacement[0])


def test_the_cost_never_rises() -> None:
    problem = robust_problem(bowl(), pictured(4 * grooves()), bowl().mask, Skin(), ROBUST_WEIGHTS)
    history = solve_detail(engine, problem, (LevelPlan(6, 3), LevelPlan(6, 3))).history[0]
    for before, after in pairwise(history):
        assert after.level > before.level or after.cost < before.cost or before.length == 0


# ---- the stage, on a picture of a model


@cache
def job(size: int = 180) -> DetailJob:
    from problems import toy_model

    model = toy_model()
    layout = ParameterLayout.of(model)
    camera = Camera(size / 220, np.eye(3), np.full(2, size / 2), 1 / 700, np.full(2, size * 0.4))
    identity, expression, albedo = (
        np.zeros(count) for count in (layout.identity_count, layout.expression_count, layout.albedo_count)
    )
    face = Face(identity, expression, albedo, camera, lighting() / 2)
    scene = draw_faces(model, [face], (size, size + 12))[0]
    waves = 1 + 0.05 * np.sin(np.arange(size + 12) / 2)[:, None] * np.array([1.0, 0.9, 1.1])
    return DetailJob(model, face, linear_to_srgb(np.clip(scene.light * waves, 0, 1)).astype(np.float32))


def relief_of(given: DetailJob, formulation: Any = "robust") -> Detail:
    return find_detail(engine, [given], formulation)[0]


def test_the_record_is_in_the_frame_of_the_photo() -> None:
    detail = relief_of(job())
    height, width = job().photo.shape[:2]
    assert detail.status.success
    assert detail.image_size == (width, height)
    shapes = [getattr(detail, name).shape for name in ("mask", "displacement", "depth", "coarse_depth")]
    assert set(shapes) == {(height, width)}
    for name in ("normals", "coarse_normals"):
        normals = getattr(detail, name)
        assert normals.dtype == np.float32
        assert np.allclose(np.linalg.norm(normals[detail.mask], axis=-1), 1, atol=1e-5)
        assert np.isnan(normals[~detail.mask]).all()
    assert np.isfinite(detail.displacement[detail.mask]).all()
    assert np.isnan(detail.depth[~detail.mask]).all()
    assert detail.cost["total"] == pytest.approx(sum(v for k, v in detail.cost.items() if k != "total"))
    assert detail.iterations == len(detail.history) > 0
    # Depth is the camera's, of the coarse surface moved along z by the displacement.
    camera = job().face.camera
    y, x = np.argwhere(detail.mask)[1000]
    z = (
        detail.coarse_depth[y, x] / (camera.scale + camera.kappa * detail.coarse_depth[y, x])
        + detail.displacement[y, x]
    )
    assert detail.depth[y, x] == pytest.approx(camera.scale * z / (1 - camera.kappa * z), rel=1e-4)


def test_the_depth_of_the_coarse_surface_is_the_models() -> None:
    from faceinv.render.scene import draw_depth

    detail = relief_of(job())
    depth = draw_depth(job().model, job().face, job().photo.shape[:2])
    assert np.allclose(detail.coarse_depth[detail.mask], depth[detail.mask], atol=2e-3)


def test_a_face_that_leaves_the_photo_is_cut() -> None:
    whole = job()
    part = whole.photo[:, 80:].copy()
    face = replace(whole.face, camera=whole.face.camera.moved(1.0, (-80.0, 0.0)))
    detail = relief_of(DetailJob(whole.model, face, part))
    assert detail.status.success
    assert detail.displacement.shape == part.shape[:2]
    assert detail.mask[:, 0].any()


def test_large_faces_are_solved_on_fewer_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = relief_of(job())
    monkeypatch.setattr(stage, "face_window", lambda low, high: face_window(low, high, 110))
    coarse = relief_of(job())
    assert coarse.pixel > 1.2 * fine.pixel
    assert coarse.displacement.shape == fine.displacement.shape
    both = coarse.mask & fine.mask
    assert both.sum() > 0.95 * fine.mask.sum()
    a, b = coarse.displacement[both], fine.displacement[both]
    assert np.corrcoef(a, b)[0, 1] > 0.7
    assert np.allclose(coarse.coarse_normals[both], fine.coarse_normals[both], atol=1e-5)
    assert np.allclose(np.linalg.norm(coarse.normals[both], axis=-1), 1, atol=1e-5)


def test_enlarged_relief_has_no_step_at_the_rim() -> None:
    """A face that is lifted as a whole keeps its normals up to the rim."""
    coarse = draw_coarse(job().model, job().face, face_window(*face_extent(job().model, job().face), 110))
    lifted = corners_of(coarse.mask[None])[0].astype(np.float32)
    _, maps = stage._enlarged(job(), coarse, coarse.mask, lifted)
    assert np.allclose(maps.displacement[maps.mask], 1, atol=1e-3)
    assert np.allclose(maps.normals[maps.mask], maps.coarse_normals[maps.mask], atol=1e-3)


def test_small_faces_keep_the_coarse_surface() -> None:
    detail = relief_of(job(64))
    assert detail.status is DetailStatus.TOO_SMALL
    assert not detail.status.success
    assert "100 px" in detail.status.value
    assert not detail.displacement[detail.mask].any()
    assert np.array_equal(detail.normals[detail.mask], detail.coarse_normals[detail.mask])


def test_masked_faces_keep_the_coarse_surface() -> None:
    hidden = replace(job(), mask=np.zeros(job().photo.shape[:2], np.bool_))
    detail = relief_of(hidden)
    assert detail.status is DetailStatus.NOTHING_SEEN
    assert not detail.mask.any()
    assert detail.displacement.shape == job().photo.shape[:2]


def test_masks_are_left_out() -> None:
    mask = np.ones(job().photo.shape[:2], np.bool_)
    mask[:90] = False
    detail = relief_of(replace(job(), mask=mask))
    assert detail.mask[90:].any()
    assert not detail.mask[:90].any()


def test_photos_without_colour_are_told_of() -> None:
    grey = job().photo.mean(axis=2, keepdims=True) * np.ones(3, np.float32)
    detail = relief_of(replace(job(), photo=grey))
    assert detail.status.success
    assert detail.colour_direction is None
    assert "no colour" in detail.warnings[0]


def test_the_papers_energy_by_name() -> None:
    detail = relief_of(job(), "paper")
    assert detail.formulation == "paper"
    assert detail.cost["slope"] == 0
    assert np.abs(detail.displacement[detail.mask]).max() > 0


def test_jobs_side_by_side_are_as_alone() -> None:
    jobs = [job(), replace(job(), mask=np.zeros(job().photo.shape[:2], np.bool_)), job(150)]
    together = find_detail(engine, jobs, "robust")
    assert together[1].status is DetailStatus.NOTHING_SEEN
    for one, got in ((jobs[0], together[0]), (jobs[2], together[2])):
        alone = relief_of(one)
        assert np.array_equal(alone.maps.mask, got.maps.mask)
        assert np.allclose(alone.maps.displacement, got.maps.displacement, atol=1e-5, equal_nan=True)


def test_misfit_tells_photos_apart() -> None:
    assert photo_misfit(job()) < 0.05
    assert photo_misfit(replace(job(), photo=1 - job().photo)) > 0.2


# ---- configuration and results


def test_configurations() -> None:
    assert FitConfig().formulation is None
    assert FitConfig(detail=True).formulation == "robust"
    assert FitConfig.from_dict({"detail": "paper"}).formulation == "paper"
    assert FitConfig.paper().formulation == "paper"
    with pytest.raises(ConfigError, match="expected true, false or one of robust, paper"):
        FitConfig(detail="sharp")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="detail"):
        FitConfig(detail=1)  # type: ignore[arg-type]


def test_results_with_and_without() -> None:
    from quick import quick_fit

    plain = quick_fit()
    assert plain.detail is None
    refined = plain.with_detail()
    assert refined.detail is not None
    assert refined.detail.status.success
    assert refined.timings["detail"] > 0
    assert plain.detail is None
    with pytest.raises(InputError, match="Give the photo that was fitted"):
        replace(plain, photo=None).with_detail()
    with pytest.raises(InputError, match="this result was fitted to one of"):
        plain.with_detail(np.zeros((40, 50, 3), np.uint8))
    with pytest.raises(InputError, match="does not show the face"):
        plain.with_detail(np.ascontiguousarray(1 - plain.photo))  # type: ignore[operator]
    with pytest.raises(InputError, match="expected one of robust, paper"):
        plain.with_detail(formulation="sharp")  # type: ignore[arg-type]
    corner = np.zeros(plain.photo.shape[:2], np.bool_)  # type: ignore[union-attr]
    corner[:4] = True
    hidden = plain.with_detail(mask=corner)
    assert DetailStatus.NOTHING_SEEN.value in hidden.warnings
    again = hidden.with_detail(mask=corner)
    assert again.warnings == hidden.warnings
