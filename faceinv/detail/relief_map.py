"""Relief in the texture of a model: baked from a photo's detail, split into bands of size, given to other faces.

What is kept of every texel is the offset o of the surface along its normal n, in mm, and how o changes from texel to
texel. A displacement d along the camera's z moves the tangent plane by `d n_z` along n: that is o. Its slopes are those
of the normals n' that the detail stage found; differences of o would flatten what is a few pixels wide. So
`g = n - n' / (n . n')` is the gradient of o on the surface (mm per mm); times the steps that the surface makes from
texel to texel, it is the slopes. Back on a face, of whatever shape, its own steps make `g` of them, and the normal is
`unit(n - g)` (Blinn, "Simulation of wrinkled surfaces", SIGGRAPH 1978). So relief fits other people and other
expressions: wrinkles keep their depth, and become flatter where the skin is stretched.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import numpy as np

from faceinv.detail.chart import Chart, chart_of, layout_of
from faceinv.errors import InputError
from faceinv.face.mesh import vertex_normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Detail, Window
    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["BANDS", "GRAZING", "SIZES", "Band", "ReliefLevels", "ReliefMap", "texture_size"]

Band: TypeAlias = Literal["pores", "wrinkles", "folds"]
BANDS: Final[tuple[Band, ...]] = ("pores", "wrinkles", "folds")
"""From fine to coarse: what `ReliefMap.bands` gives for `CUTS`."""
CUTS: Final = (2.0, 6.0)
"""mm: wavelengths at which the bands meet. Waves of that length are half in either."""
SIZES: Final = (1024, 2048, 4096)
"""Texels along each side of the whole texture, of which the face has a part."""
GRAZING: Final = 0.15
"""n_z below which nothing is known of relief."""

_FACING: Final = 0.3
"""Relief is believed fully from `GRAZING` plus this on."""
_TEXELS_PER_PIXEL: Final = 3.5
"""With as many texels as this to a pixel of the face, normals come back from the texture as they were (a correlation of
.996 on portraits; .985 with one)."""
_FEATHER_MM: Final = 1.0
"""Relief fades in over this length behind the edge of what is seen."""
_SLACK_MM: Final = 1.5
"""How far behind the seen surface a texel may be to be seen."""
_LEAST_COSINE: Final = 0.2
"""Between normals with and without relief: less is no relief."""
_LEVELS: Final = 5
_HALF_GAUSS: Final = float(np.sqrt(2 * np.log(2)) / (2 * np.pi))
"""The deviation of the Gaussian, in wavelengths, that lets half of a wave through."""
_BLURS_PER_OCTAVE: Final = 2


@dataclass(frozen=True, eq=False)
class ReliefLevels:
    """A relief at its own and at coarser resolutions, each half of that before; float32, one after the other."""

    values: NDArray[np.float32]
    """(K, 3): offset mm, and its slopes to the right and down, mm per texel of the finest level."""
    starts: NDArray[np.int64]
    """(L,) where each level begins."""
    shapes: NDArray[np.int64]
    """(L, 2) its rows and columns."""


@dataclass(frozen=True, eq=False)
class ReliefMap:
    """Relief of a face's skin in the texture layout of its model (`faceinv.render.uv.texture_layout`).

    It knows the part of the texture that shows the face: `window`, of (h, w) texels; rows run from the top. It fits
    every face of every model with that layout, whatever modes the model has.

    Attributes:
        layout: a digest of the layout and the mesh (`faceinv.detail.chart.layout_of`).
        size: S, texels along each side of the whole texture.
        window: (top, left, bottom, right) texels, the last two exclusive.
        offset: (h, w) float32 mm along the surface's normal, outwards; 0 where nothing is known, faded towards there.
        slopes: (h, w, 2) float32 mm per texel, to the right and down: how the offset changes; faded likewise.
        weight: (h, w) float32 from 0 to 1: how far it is known. `offset` and `slopes` are multiplied by it already.
        spacing: (h, w) float32 mm that a texel is wide on the face that the relief was found on.
    """

    layout: str
    size: int
    window: Window
    offset: NDArray[np.float32]
    slopes: NDArray[np.float32]
    weight: NDArray[np.float32]
    spacing: NDArray[np.float32]

    def __post_init__(self) -> None:
        for array in (self.offset, self.slopes, self.weight, self.spacing):
            array.setflags(write=False)

    @classmethod
    def of(
        cls, model: MorphableModel, face: Face, detail: Detail, size: int | None = None, *, symmetric: bool = False
    ) -> ReliefMap:
        """Bake the detail of a photo.

        What the photo does not show stays flat: hidden and masked skin, and skin that is seen at a grazing angle
        (weight `clip((n_z - .15) / .3, 0, 1)`), faded over 1 mm. Pixels are read by a cubic spline.

        Args:
            model: the model.
            face: the face, in the frame of the photo.
            detail: its detail.
            size: texels along each side of the whole texture; None for one of `SIZES` that loses nothing.
            symmetric: give skin of which nothing is known what the other side of the face has.

        Raises:
            InputError: for a size that no texture has, or a model that shows no face in one.
        """
        chart = chart_of(model, texture_size(model, face) if size is None else size)
        seen = _Seen(model, face, detail)
        relief, weight = seen.at(chart, mirrored=False)
        if symmetric:
            other, known = seen.at(chart, mirrored=True)
            relief, weight = relief + (1 - weight[:, None]) * other, weight + (1 - weight) * known
        filled = chart.filled(relief) * chart.near[..., None]
        return cls(
            layout_of(model),
            chart.size,
            chart.window,
            np.ascontiguousarray(filled[..., 0]),
            np.ascontiguousarray(filled[..., 1:]),
            chart.filled(weight),
            chart.filled(chart.spacing(seen.vertices)),
        )

    def chart(self, model: MorphableModel) -> Chart:
        """The texels of a model's face.

        Raises:
            InputError: when the model has another layout.
        """
        if layout_of(model) != self.layout:
            raise InputError(
                f"this relief belongs to a model with another mesh or texture layout than '{model.name}'. Fit both "
                "faces with one model."
            )
        return chart_of(model, self.size)

    def scaled(self, factor: float) -> ReliefMap:
        """The same, so many times as deep."""
        return self._with(self._values * np.float32(factor))

    def without_rims(self, model: MorphableModel, width: float = 3.0) -> ReliefMap:
        """The same, faded over `width` mm towards the rims of lids and lips, which other expressions would stretch.

        Raises:
            InputError: when the model has another layout.
        """
        chart = self.chart(model)
        kept = chart.filled(_ramp(chart.rim_distance / max(width, 1e-9)))
        return replace(self._with(self._values * kept[..., None]), weight=self.weight * kept)

    def bands(self, cuts: Sequence[float] = CUTS) -> tuple[ReliefMap, ...]:
        """The relief by size, from fine to coarse; the bands add up to the whole.

        Args:
            cuts: mm, ascending: wavelengths on the face's surface where bands meet. For the ones that are given
                anyway, the three bands are those of `BANDS`.

        Raises:
            InputError: for lengths that are not positive and ascending.
        """
        lengths = [float(cut) for cut in cuts]
        if not all(np.isfinite(lengths)) or any(b <= a for a, b in zip([0.0, *lengths], lengths, strict=False)):
            raise InputError(f"bands meet at {lengths} mm; expected positive lengths that ascend.")
        smooth = [self._values, *(self._blurred(cut * _HALF_GAUSS) for cut in lengths)]
        parts = [fine - coarse for fine, coarse in itertools.pairwise(smooth)]
        return tuple(self._with(part) for part in (*parts, smooth[-1]))

    def mixed(self, strengths: Mapping[Band, float]) -> ReliefMap:
        """The relief with each band of `BANDS` multiplied by its strength; those not named are left out.

        Raises:
            InputError: for another name.
        """
        unknown = [name for name in strengths if name not in BANDS]
        if unknown:
            raise InputError(f"there is no band '{unknown[0]}'; bands are {', '.join(BANDS)}.")
        total = np.zeros_like(self._values)
        for name, part in zip(BANDS, self.bands(), strict=True):
            total += np.float32(strengths.get(name, 0.0)) * part._values
        return self._with(total)

    def picture(self) -> NDArray[np.float32]:
        """(S, S) float32 mm: the offset in the whole texture, zeros beside the face."""
        whole = np.zeros((self.size, self.size), np.float32)
        top, left, bottom, right = self.window
        whole[top:bottom, left:right] = self.offset
        return whole

    @cached_property
    def levels(self) -> ReliefLevels:
        """What is drawn: the offset and its slopes at several resolutions."""
        parts = [self._values]
        while len(parts) < _LEVELS and min(parts[-1].shape[:2]) >= 4:
            parts.append(_halved(parts[-1]))
        shapes = np.array([part.shape[:2] for part in parts], np.int64)
        starts = np.concatenate([[0], np.cumsum(shapes.prod(axis=1))[:-1]]).astype(np.int64)
        values = np.concatenate([part.reshape(-1, 3) for part in parts]).astype(np.float32)
        return ReliefLevels(values, starts, shapes)

    @property
    def _values(self) -> NDArray[np.float32]:
        """(h, w, 3): offset and slopes."""
        return np.concatenate([self.offset[..., None], self.slopes], axis=2)

    def _with(self, values: NDArray[np.float32]) -> ReliefMap:
        offset, slopes = (np.ascontiguousarray(part) for part in (values[..., 0], values[..., 1:]))
        return replace(self, offset=offset, slopes=slopes)

    def _blurred(self, sigma: float) -> NDArray[np.float32]:
        """(h, w, 3) offset and slopes, blurred by a Gaussian whose deviation is `sigma` mm of the surface everywhere.

        Texels are of different size, so that several blurs are mixed, by the variances that are wanted.
        """
        from scipy.ndimage import gaussian_filter

        wanted = sigma / np.maximum(self.spacing, 1e-9)
        low, high = float(wanted.min()), float(wanted.max())
        count = max(int(np.ceil(_BLURS_PER_OCTAVE * np.log2(max(high / low, 1.0)))), 1) + 1
        sigmas = np.geomspace(low, max(high, low * (1 + 1e-6)), count)
        values = self._values
        result = np.zeros_like(values)
        squares = sigmas**2
        place = np.interp(wanted**2, squares, np.arange(count))
        for index, one in enumerate(sigmas):
            share = np.clip(1 - np.abs(place - index), 0.0, 1.0).astype(np.float32)
            result += share[..., None] * gaussian_filter(values, (one, one, 0), mode="nearest", truncate=3.0)
        return result


def texture_size(model: MorphableModel, face: Face) -> int:
    """The smallest of `SIZES` at which the face has 3.5 texels for each pixel of it in the photo, or the largest."""
    pixels = _area(face.camera.project(face.vertices(model))[:, :2], model.triangles[model.face_mask])
    share = len(chart_of(model, SIZES[0]).triangle) / SIZES[0] ** 2
    return next((size for size in SIZES if share * size**2 >= _TEXELS_PER_PIXEL * pixels), SIZES[-1])


class _Seen:
    """What a photo tells of relief at points of the surface."""

    def __init__(self, model: MorphableModel, face: Face, detail: Detail) -> None:
        self.face = face
        self.vertices = face.vertices(model)
        self.normals = vertex_normals(self.vertices, model.triangles) @ face.camera.rotation.T
        self.detail = detail
        self._prepare()

    def _prepare(self) -> None:
        from scipy.ndimage import distance_transform_edt, spline_filter

        maps, scale = self.detail.maps, float(self.face.camera.scale)
        mask = maps.mask & np.isfinite(maps.displacement) & np.isfinite(maps.coarse_depth)
        self.any = bool(mask.any())
        if not self.any:
            return
        nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)
        # Beyond the mask its edge goes on, so that the splines do not swing there.
        n, bent = (normals[tuple(nearest)].astype(np.float64) for normals in (maps.coarse_normals, maps.normals))
        gradient = n - bent / np.maximum((n * bent).sum(axis=2, keepdims=True), _LEAST_COSINE)
        fields = [maps.displacement[tuple(nearest)].astype(np.float64), *np.moveaxis(gradient, 2, 0)]
        self.splines = [spline_filter(field, 3, mode="nearest") for field in fields]
        self.depth = maps.coarse_depth[tuple(nearest)].astype(np.float64)
        inside = distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1]
        self.inside = _ramp(inside / max(_FEATHER_MM * scale, 1.5))

    def at(self, chart: Chart, mirrored: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(M, 3) offsets in mm at texels and their slopes in mm per texel, times their weights, and these (M,)."""
        from scipy.ndimage import map_coordinates

        count = len(chart.triangle)
        if not self.any:
            return np.zeros((count, 3)), np.zeros(count)
        camera = self.face.camera
        points = chart.at_texels(self.vertices, mirrored)
        normals = chart.at_texels(self.normals, mirrored)
        n_z = normals[:, 2] / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
        projected = camera.project(points)
        top, left, *_ = self.detail.window
        place = [projected[:, 1] - top, projected[:, 0] - left]
        height, width = self.depth.shape
        within = (place[0] > -0.5) & (place[0] < height - 0.5) & (place[1] > -0.5) & (place[1] < width - 0.5)
        depth = map_coordinates(self.depth, place, order=1, mode="nearest")
        per_mm = float(camera.scale) * camera.magnification(points) ** 2
        # A pixel shows a range of depths where the surface is steep.
        steep = np.sqrt(np.clip(1 - n_z**2, 0.0, 1.0)) / np.maximum(n_z, GRAZING)
        seen = within & (np.abs(depth - projected[:, 2]) < _SLACK_MM * per_mm + steep)
        inside = map_coordinates(self.inside, place, order=1, mode="nearest")
        weight = np.clip((n_z - GRAZING) / _FACING, 0.0, 1.0) * inside * self._feathered(chart, seen)
        displacement, *gradient = (
            map_coordinates(spline, place, order=3, mode="nearest", prefilter=False) for spline in self.splines
        )
        frames = chart.frames_at_texels(chart.frames(self.vertices @ camera.rotation.T, mirrored))
        slopes = np.einsum("mik,km->mi", frames, gradient)
        return weight[:, None] * np.concatenate([(displacement * n_z)[:, None], slopes], axis=1), weight

    def _feathered(self, chart: Chart, seen: NDArray[np.bool_]) -> NDArray[np.float64]:
        """(M,) 1 where texels are seen, falling to 0 towards those that are not."""
        from scipy.ndimage import distance_transform_edt

        if seen.all():
            return np.ones(len(seen))
        hidden = chart.filled(~seen) > 0
        texels = np.median(_FEATHER_MM / np.maximum(chart.spacing(self.vertices), 1e-9))
        return _ramp(distance_transform_edt(~hidden)[chart.skin] / max(float(texels), 1.5))


def _halved(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W, D) to means of 2 x 2; a last odd row or column is repeated."""
    height, width, depth = values.shape
    even = np.pad(values, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    mean: NDArray[np.float32] = even.reshape(len(even) // 2, 2, -1, 2, depth).mean(axis=(1, 3))
    return mean


def _area(xy: NDArray[np.float64], triangles: NDArray[np.int32]) -> float:
    a, b, c = (xy[triangles[:, k]] for k in range(3))
    double = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return float(np.abs(double).sum()) / 2


def _ramp(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """From 0 at 0 to 1 at 1 and beyond, smooth."""
    t = np.clip(values, 0.0, 1.0)
    result: NDArray[np.float64] = t * t * (3 - 2 * t)
    return result
