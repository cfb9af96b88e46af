"""The detail stage: fitted faces and their photos in, relief out.

Relief is solved on the photo's own pixels around the face, or on fewer where the face is larger than
`coarse.LARGEST_FACE`, and given for the pixels of the photo in that window. That takes some 0.3 GB for a face of 1,000
px and 0.6 GB for one of 1,800 px while it is found, and 33 bytes a pixel of the window in the result, whatever the
photo's size.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.detail.coarse import CoarseFace, draw_coarse, face_extent, face_window, rays
from faceinv.detail.levels import stacked
from faceinv.detail.prepare import (
    PAPER_WEIGHTS,
    ROBUST_WEIGHTS,
    Skin,
    has_colour,
    paper_problem,
    robust_problem,
)
from faceinv.detail.record import Detail, DetailMaps, DetailStatus, Formulation, Window
from faceinv.detail.solver import solve_detail
from faceinv.engine.detail import COST_PARTS, corners_of
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.photo.crop import FaceCrop
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from faceinv.detail.solver import Solved
    from faceinv.engine.detail import AbstractDetailSolver, DetailProblem
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["SMALLEST_FACE", "DetailJob", "find_detail", "photo_misfit"]

SMALLEST_FACE: Final = 100
"""px along the longer side of a face: wrinkles of smaller ones are below a pixel."""
_LEAST_SEEN: Final = 16
"""Pixels of skin: fewer hold no slope beside its neighbours'."""
_TILE: Final = 1024
"""px."""
_ROWS: Final = 256
_NO_COLOUR: Final = (
    "The photo has no colour, by which moles and freckles are told from relief: dark spots may have become dents."
)


@dataclass(frozen=True, eq=False)
class DetailJob:
    """A fitted face and its photo."""

    model: MorphableModel
    face: Face
    """In the frame of the photo."""
    photo: NDArray[np.float32]
    """(H, W, 3) RGB, sRGB-encoded in [0, 1]."""
    mask: NDArray[np.bool_] | None = None
    """(H, W): pixels that may be used; None for all."""


def find_detail(
    engine: Callable[[DetailProblem], AbstractDetailSolver], jobs: Sequence[DetailJob], formulation: Formulation
) -> list[Detail]:
    """The relief of several faces, solved side by side.

    Args:
        engine: `Engine.detail`.
        jobs: faces and their photos.
        formulation: `robust`, or `paper` for the energy of Guo et al. 2018.

    Returns:
        As many as jobs. Where there is nothing to find the coarse surface is kept, and the status says why.

    Raises:
        BackendError: when the engine fails.
    """
    prepared = [_prepared(job, formulation) for job in jobs]
    ready = [each for each in prepared if isinstance(each, _Prepared)]
    found = iter(_solved(engine, ready, formulation))
    return [next(found) if isinstance(each, _Prepared) else each for each in prepared]


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A job whose face shows enough."""

    job: DetailJob
    coarse: CoarseFace
    problem: DetailProblem
    direction: NDArray[np.float64] | None
    warnings: tuple[str, ...]


def _prepared(job: DetailJob, formulation: Formulation) -> _Prepared | Detail:
    height, width = job.photo.shape[:2]
    low, high = face_extent(job.model, job.face)
    inside = np.clip(low, 0, (width, height)), np.clip(high, 0, (width, height))
    if not (inside[1] > inside[0]).all():
        return _without(job, None, DetailStatus.NOTHING_SEEN, formulation)
    coarse = draw_coarse(job.model, job.face, face_window(*inside))
    light, usable = _cut(job, coarse.crop)
    mask = coarse.mask & usable
    if mask.sum() < _LEAST_SEEN:
        return _without(job, None, DetailStatus.NOTHING_SEEN, formulation)
    if (high - low).max() < SMALLEST_FACE:
        return _without(job, coarse, DetailStatus.TOO_SMALL, formulation)
    if formulation == "paper":
        # Albedo and light of the fit are in the model's colour space.
        colours = light if job.model.albedo_space == "linear" else linear_to_srgb(light)
        problem = paper_problem(coarse, colours, mask, job.face.lighting, PAPER_WEIGHTS)
        return _Prepared(job, coarse, problem, None, ())
    skin = Skin() if has_colour(light[mask]) else Skin(None)
    problem = robust_problem(coarse, light, mask, skin, ROBUST_WEIGHTS)
    if skin.direction is None:
        return _Prepared(job, coarse, problem, None, (_NO_COLOUR,))
    return _Prepared(job, coarse, problem, np.array(skin.direction), ())


def _solved(
    engine: Callable[[DetailProblem], AbstractDetailSolver], ready: Sequence[_Prepared], formulation: Formulation
) -> list[Detail]:
    if not ready:
        return []
    solved = solve_detail(engine, stacked([each.problem for each in ready]))
    details = []
    for item, each in enumerate(ready):
        window, maps = _maps(each, solved, item)
        cost = dict(zip(COST_PARTS, map(float, solved.cost[item]), strict=True))
        camera = each.job.face.camera
        details.append(
            Detail(
                maps,
                window,
                each.job.photo.shape[1::-1],
                float(camera.scale),
                formulation,
                solved.status[item],
                {"total": sum(cost.values()), **cost},
                solved.history[item],
                each.coarse.pixel,
                each.direction,
                each.warnings,
                float(camera.kappa),
            )
        )
    return details


def photo_misfit(job: DetailJob) -> float:
    """Root mean square difference of colours between a photo and the render of a face, over skin, sRGB in [0, 1].

    It tells whether the two belong together. NaN where no skin is seen.
    """
    low, high = face_extent(job.model, job.face)
    crop = face_window(low, high, 128)
    light, usable = _cut(job, crop)
    coarse = draw_coarse(job.model, job.face, crop)
    mask = coarse.mask & usable
    if not mask.any():
        return float("nan")
    seen = replace(job.face, camera=coarse.camera)
    scene = draw_faces(job.model, [seen], (crop.size, crop.size))[0]
    return float(np.sqrt(np.mean((scene.srgb[mask] - linear_to_srgb(light[mask])) ** 2)))


def _cut(job: DetailJob, crop: FaceCrop) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(S, S, 3) linear RGB of the photo in a square, and (S, S) where it may be used."""
    height, width = job.photo.shape[:2]
    reach = int(np.ceil(crop.side / crop.size)) + 1
    left, top = max(int(crop.x0) - reach, 0), max(int(crop.y0) - reach, 0)
    right, bottom = int(crop.x0 + crop.side) + reach + 1, int(crop.y0 + crop.side) + reach + 1
    part = (slice(top, min(bottom, height)), slice(left, min(right, width)))
    near = FaceCrop(crop.x0 - left, crop.y0 - top, crop.side, crop.size)
    photo = job.photo[part]
    linear = np.empty_like(photo)
    for first in range(0, len(photo), _ROWS):
        linear[first : first + _ROWS] = srgb_to_linear(photo[first : first + _ROWS])
    light, usable = near.cut(linear)
    if job.mask is not None:
        share, _ = near.cut(job.mask[part].astype(np.float32)[..., None])
        usable &= share[..., 0] > 0.99
    return light, usable


def _window(crop: FaceCrop, photo: NDArray[np.float32]) -> Window:
    """The part of a square that lies in the photo."""
    height, width = photo.shape[:2]
    top, left = max(int(np.floor(crop.y0)), 0), max(int(np.floor(crop.x0)), 0)
    side = crop.side
    return top, left, min(int(np.ceil(crop.y0 + side)), height), min(int(np.ceil(crop.x0 + side)), width)


def _without(job: DetailJob, coarse: CoarseFace | None, status: DetailStatus, formulation: Formulation) -> Detail:
    """The coarse surface as it is."""
    height, width = job.photo.shape[:2]
    scale, kappa = float(job.face.camera.scale), float(job.face.camera.kappa)
    if coarse is None:
        none = np.zeros((0, 0), np.float32)
        maps = DetailMaps(
            none.astype(np.bool_), none, none.copy(), np.zeros((0, 0, 3), np.float32), none[..., None][..., [0, 0, 0]]
        )
        return Detail(maps, (0, 0, 0, 0), (width, height), scale, formulation, status, kappa=kappa)
    _, usable = _cut(job, coarse.crop)
    mask = coarse.mask & usable
    size = coarse.crop.size
    flat = np.zeros((size + 1, size + 1), np.float32)
    window, maps = _assembled(job, coarse, mask, flat, coarse.normal)
    return Detail(maps, window, (width, height), scale, formulation, status, pixel=coarse.pixel, kappa=kappa)


def _maps(each: _Prepared, solved: Solved, item: int) -> tuple[Window, DetailMaps]:
    """What was solved, on the photo's pixels."""
    job, coarse = each.job, each.coarse
    crop, mask = coarse.crop, each.problem.mask[0]
    displacement = solved.displacement[item, : crop.size + 1, : crop.size + 1]
    if crop.size == crop.side:
        return _assembled(job, coarse, mask, displacement, solved.normal[item, : crop.size, : crop.size])
    return _enlarged(job, coarse, mask, displacement)


def _enlarged(
    job: DetailJob, coarse: CoarseFace, mask: NDArray[np.bool_], displacement: NDArray[np.float32]
) -> tuple[Window, DetailMaps]:
    """Maps of a photo that has more pixels than its relief was solved on, drawn a tile at a time to save memory.

    Relief is cubic between corners, so that normals are continuous.
    """
    from scipy.ndimage import distance_transform_edt, map_coordinates, spline_filter

    crop = coarse.crop
    # Corners that do not count are given what is nearest, or there would be a step at the rim.
    outside = ~corners_of(mask[None])[0]
    displacement = displacement[tuple(distance_transform_edt(outside, return_distances=False, return_indices=True))]
    window = top, left, bottom, right = _window(crop, job.photo)
    spline = spline_filter(displacement, order=3, output=np.float32)
    shown = np.zeros((bottom - top, right - left), np.bool_)
    relief, depth = (np.full(shown.shape, np.nan, np.float32) for _ in range(2))
    before, after = (np.full((*shown.shape, 3), np.nan, np.float32) for _ in range(2))
    for y in range(top, bottom, _TILE):
        for x in range(left, right, _TILE):
            height, width = min(_TILE, bottom - y), min(_TILE, right - x)
            # A pixel more on all sides: nothing is seen on a rim.
            size = max(height, width) + 2
            place = (np.arange(size + 1) - 1 + np.array([[y - crop.y0], [x - crop.x0]])) * crop.zoom
            row, column = (np.clip(((p[:-1] + p[1:]) / 2).astype(np.int64), 0, crop.size - 1) for p in place)
            chosen = mask[row[:, None], column]
            if not chosen.any():
                continue
            fine = draw_coarse(job.model, job.face, FaceCrop(x - 1, y - 1, size, size))
            fine = replace(fine, pixel=coarse.pixel * crop.zoom)
            grid = np.meshgrid(place[0], place[1], indexing="ij")
            d = map_coordinates(spline, grid, np.float32, order=3, mode="nearest", prefilter=False)
            part, inner = (
                np.s_[y - top : y - top + height, x - left : x - left + width],
                np.s_[1 : height + 1, 1 : width + 1],
            )
            shown[part] = (fine.mask & chosen)[inner]
            relief[part] = ((d[:-1, :-1] + d[1:, :-1] + d[:-1, 1:] + d[1:, 1:]) / 4)[inner]
            depth[part], before[part] = fine.depth[inner], fine.normal[inner]
            after[part] = displaced_normals(fine, d)[inner]
    for values in (relief, depth, before, after):
        values[~shown] = np.nan
    return window, DetailMaps(shown, relief, depth, before, after)


def displaced_normals(coarse: CoarseFace, displacement: NDArray[np.float32]) -> NDArray[np.float32]:
    """(S, S, 3) the normals of a coarse face displaced by (S + 1, S + 1) mm at the corners of its pixels.

    What `AbstractDetailSolver.normals` gives, on the host; see `faceinv.engine.detail`.
    """
    d, per = displacement, np.float32(0.5 / coarse.pixel)
    dx = (d[:-1, 1:] + d[1:, 1:] - d[:-1, :-1] - d[1:, :-1]) * per
    dy = (d[1:, :-1] + d[1:, 1:] - d[:-1, :-1] - d[:-1, 1:]) * per
    a, b = rays(coarse.camera, len(dx))
    x, y, z = np.moveaxis(coarse.normal, -1, 0)
    e = z - a * x - b[:, None] * y
    turned = np.stack([x - e * dx, y + e * dy, z + e * (b[:, None] * dy - a * dx)], axis=-1)
    unit: NDArray[np.float32] = turned / np.linalg.norm(turned, axis=-1, keepdims=True)
    return unit


def _assembled(
    job: DetailJob,
    coarse: CoarseFace,
    mask: NDArray[np.bool_],
    displacement: NDArray[np.float32],
    normal: NDArray[np.float32],
) -> tuple[Window, DetailMaps]:
    """Maps on the photo's pixels, of a square of its pixels that may reach beyond it."""
    crop = coarse.crop
    window = top, left, bottom, right = _window(crop, job.photo)
    first_row, first_column = top - int(crop.y0), left - int(crop.x0)
    part = (slice(first_row, first_row + bottom - top), slice(first_column, first_column + right - left))
    d = displacement
    centre = (d[:-1, :-1] + d[1:, :-1] + d[:-1, 1:] + d[1:, 1:]) * np.float32(0.25)
    shown = mask[part].copy()

    def cut(values: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = shown if values.ndim == 2 else shown[..., None]
        return np.where(inside, values[part], np.float32(np.nan)).astype(np.float32)

    return window, DetailMaps(shown, cut(centre), cut(coarse.depth), cut(coarse.normal), cut(normal))
