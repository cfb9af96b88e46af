"""Which pixels of a photo show the surface of a fitted head itself, and how surely.

Not the surface: the ground beside it (by the matte), hair, hands and collars in front of it (by their colours, where
hair does not grow and nothing of the face itself has such colours), and pixels by the edges of what is in front of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.lighting import SH_CONSTANTS, sh_basis
from faceinv.face.mesh import vertex_normals
from faceinv.face.self_shadow import shadows
from faceinv.photo.color import srgb_to_linear
from faceinv.photo.crop import FaceCrop
from faceinv.photo.matte import person_matte
from faceinv.render.raster import rasterize_triangles
from faceinv.render.regions import regions_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["PosedHead", "Seen", "look"]

_SIDE: Final = 512
"""px of the crop that is looked at."""
_MARGIN: Final = 3.0
"""Its side over that of the landmarks' box: the matte's network wants shoulders."""
_GROUND: Final = (0.55, 0.95)
"""The matte from which a pixel starts to count, and from which it counts fully."""
_DARK: Final = 0.03
"""Radiances are compared by their ratio, above this."""
_LEAST_SPREAD: Final = np.array([0.14, 0.05, 0.05])
"""Of the face's logarithms: of brightness, red over green, green over blue. What is closer is never taken for hair."""
_FOREIGN: Final = (6.0, 14.0)
"""Squared distances, in those spreads, at which a pixel may be something else, and surely is."""
_BRIGHT: Final = 0.35
"""Weight of what is brighter than the skin: it may shine."""
_EDGE_PX: Final = (0.5, 3.5)
"""Distances from edges in front of the surface at which the photo starts to count, and counts fully; px of the crop."""
_EDGE_MM: Final = 6.0
_SLACK_MM: Final = 1.5
_FLOOR: Final = 0.25
"""Shading is kept above this share of the constant light: second-order light goes below 0 where photos do not."""
_INNER: Final = 0.6
"""The same for eyes, teeth and the mouth."""
_NECK_SEEN: Final = 0.7
"""How much less a neck counts at its lower end."""
_OUTSIDE: Final = 0.5
"""So many pixels beside the middle of the face, for each in it, make hair of what else would be a brow."""
_HAIR_PIXELS: Final = 40
"""So many show the colour of hair."""
_HAIR_TONE: Final = 0.4
"""Of them so many are darker than that colour: hair shines."""


@dataclass(frozen=True, eq=False)
class PosedHead:
    """A head as its photo's camera sees it."""

    model: MorphableModel
    face: Face
    vertices: NDArray[np.float64]
    """(N, 3) mm."""

    @cached_property
    def albedo(self) -> NDArray[np.float32]:
        """(N, 3) in the model's albedo space, above 0."""
        return self._albedo(self.face.albedo)

    @cached_property
    def own_albedo(self) -> NDArray[np.float32]:
        """The same without the albedo field, which follows what covers the face where a fit has not noticed it."""
        own = np.arange(len(self.face.albedo)) < self.model.own_albedo_count
        return self.albedo if own.all() else self._albedo(np.where(own, self.face.albedo, 0.0))

    def _albedo(self, coefficients: NDArray[np.float64]) -> NDArray[np.float32]:
        # In float32, which is finer than what a texture stores, and ten times as fast.
        basis = self.model.albedo_basis.reshape(-1, len(coefficients))
        moved = (basis @ coefficients.astype(np.float32)).reshape(-1, 3)
        albedo: NDArray[np.float32] = np.maximum(self.model.mean_albedo + moved, np.float32(0.004))
        return albedo

    @cached_property
    def projected(self) -> NDArray[np.float64]:
        """(N, 3) x, y, depth, px of the photo."""
        return self.face.camera.project(self.vertices)

    @cached_property
    def normals(self) -> NDArray[np.float64]:
        """(N, 3) unit, camera frame."""
        turned: NDArray[np.float64] = vertex_normals(self.vertices, self.model.triangles) @ self.face.camera.rotation.T
        return turned

    @cached_property
    def facing(self) -> NDArray[np.float64]:
        """(N,) the cosine between normal and view."""
        cosine: NDArray[np.float64] = (self.normals * self.face.camera.to_viewer(self.vertices)).sum(axis=1)
        return cosine

    @cached_property
    def shading(self) -> NDArray[np.float64]:
        """(N, 3) radiance over reflectance under the fitted light, with a soft floor.

        What is turned away from the camera is lit as what faces it: no photo tells of light from behind.
        """
        front = self.normals.copy()
        front[:, 2] = np.abs(front[:, 2])
        basis = sh_basis(front)
        if self.model.occlusion is not None:
            basis = basis - shadows(self.model.occlusion, self.face.camera.rotation)
        gamma = self.face.lighting
        shade: NDArray[np.float64] = basis @ gamma
        floor = np.maximum(_FLOOR * SH_CONSTANTS[0] * gamma[0], 1e-3)
        soft: NDArray[np.float64] = 0.5 * (shade + floor + np.sqrt((shade - floor) ** 2 + floor**2))
        # What the mean face keeps off its teeth is no more than a guess once the mouth opens.
        inner = regions_of(self.model).skin == 0
        return np.where(inner[:, None], np.maximum(soft, _INNER * SH_CONSTANTS[0] * gamma[0]), soft)


@dataclass(frozen=True, eq=False)
class Seen:
    """What a photo shows of a head's surface."""

    crop: FaceCrop
    """The square that was looked at."""
    area: tuple[slice, slice]
    """Rows and columns of the crop beside which nothing of the head lies."""
    trust: NDArray[np.float32]
    """(S, S) of the crop, from 0 to 1: how surely a pixel shows the surface that lies there."""
    colours: NDArray[np.float32]
    """(S, S, 3) of the crop, sRGB-encoded."""
    hair: NDArray[np.float64] | None
    """(3,) RGB in the model's space: the colour of the hair over and beside the face; None where none is seen."""
    visible: NDArray[np.float32]
    """(N,) from 0 to 1: whether nothing of the head lies before a vertex, and the photo has it."""


def look(head: PosedHead, photo: NDArray[np.float32]) -> Seen:
    """Look at a head in its photo (H, W, 3), sRGB-encoded."""
    marks = head.face.camera.project(head.model.landmarks(head.vertices))[:, :2]
    crop = FaceCrop.around(marks, _MARGIN, _SIDE)
    colours, on_photo = crop.cut(photo)
    window = _Window.of(head, crop)
    trust = np.zeros((_SIDE, _SIDE), np.float32)
    if window is None:
        return Seen(crop, (slice(0, 0), slice(0, 0)), trust, colours, None, np.zeros(len(head.vertices), np.float32))
    matte = person_matte(colours)
    person = _ramp(matte[window.area], *_GROUND)
    own, hair = _own_colours(head, window, colours[window.area], matte[window.area])
    trust[window.area] = person * own * _clear(head, window) * on_photo[window.area]
    return Seen(crop, window.area, trust, colours, hair, _visible(head, window, photo.shape[:2]))


@dataclass(frozen=True, eq=False)
class _Window:
    """The part of the crop in which the head lies, and what is drawn there."""

    area: tuple[slice, slice]
    xy: NDArray[np.float64]
    """(N, 2) px of the window."""
    depth: NDArray[np.float64]
    """(N,) px of the crop, larger is nearer."""
    triangle: NDArray[np.int32]
    """(h, w) -1 for none."""
    barycentric: NDArray[np.float64]
    """(h, w, 3)."""

    @classmethod
    def of(cls, head: PosedHead, crop: FaceCrop) -> _Window | None:
        """None where the head is beside the crop, or no camera can see it."""
        projected = crop.camera_to_crop(head.face.camera).project(head.vertices)
        xy, depth = projected[:, :2], projected[:, 2]
        fine = np.isfinite(projected).all(axis=1)
        if not fine.any():
            return None
        low = np.clip(np.floor(xy[fine].min(axis=0)) - 2, 0, crop.size).astype(int)
        high = np.clip(np.ceil(xy[fine].max(axis=0)) + 3, 0, crop.size).astype(int)
        if (high <= low).any():
            return None
        size = int(high[1] - low[1]), int(high[0] - low[0])
        triangle, barycentric = rasterize_triangles(xy - low, depth, head.model.triangles, size)
        area = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
        return cls(area, xy - low, depth, triangle, barycentric)

    def of_vertices(self, triangles: NDArray[np.int32], values: NDArray[Any]) -> NDArray[np.float64]:
        """(h, w, D) values (N, D) of vertices, 0 where none are."""
        drawn = self.triangle >= 0
        result = np.zeros((*self.triangle.shape, values.shape[1]))
        corners = triangles[self.triangle[drawn]]
        weights = self.barycentric[drawn]
        result[drawn] = sum(weights[:, k, None] * values[corners[:, k]] for k in range(3))
        return result


@dataclass(frozen=True, eq=False)
class _SkinColours:
    """How a photo's pixels differ from the fitted face, where they show it."""

    centre: NDArray[np.float64]
    """(3,) of the signs: brightness, red over green, green over blue; logarithms of photo over render."""
    spread: NDArray[np.float64]
    """(3,)"""

    @classmethod
    def of(cls, signs: NDArray[np.float64]) -> _SkinColours:
        """Of signs (M, 3) of pixels that surely show it."""
        centre = np.median(signs, axis=0)
        spread = np.maximum(1.4826 * np.median(np.abs(signs - centre), axis=0), _LEAST_SPREAD)
        return cls(centre, spread)

    def foreign(self, signs: NDArray[np.float64], bright: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """(...) from 0 to 1: whether signs (..., 3) are of something else; `bright` weighs what is brighter."""
        off = (signs - self.centre) / self.spread
        off[..., 0] *= np.where(off[..., 0] > 0, bright, 1.0)
        return _ramp((off**2).sum(axis=-1), *_FOREIGN)


def _signs(photo: NDArray[Any], drawn: NDArray[np.float64]) -> NDArray[np.float64]:
    """(..., 3) of colours in the model's space."""
    ratio = np.log(np.maximum(photo, 0) + _DARK) - np.log(np.maximum(drawn, 0) + _DARK)
    return np.stack([ratio.mean(axis=-1), ratio[..., 0] - ratio[..., 1], ratio[..., 1] - ratio[..., 2]], axis=-1)


def _own_colours(
    head: PosedHead, window: _Window, colours: NDArray[np.float32], matte: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """(h, w) from 0 to 1: whether a pixel may be the surface by its colour, beside what the fitted face has there; and
    the colour of the hair.

    In the middle of the face everything may be, and where hair grows too. Hair is what is no skin on the scalp and
    around the head, over the ears' lower ends.
    """
    from scipy.ndimage import gaussian_filter, grey_closing, grey_erosion

    regions = regions_of(head.model)
    shares = np.stack([regions.scalp, regions.core, regions.skin, regions.neck], axis=1)
    drawn = window.of_vertices(head.model.triangles, np.concatenate([head.albedo * head.shading, shares], axis=1))
    scalp, core, skin, neck = (drawn[..., k] for k in range(3, 7))
    photo = srgb_to_linear(colours) if head.model.albedo_space == "linear" else colours
    signs = gaussian_filter(_signs(photo, drawn[..., :3]), (1.0, 1.0, 0))
    sure = (core > 0.9) & (skin > 0.9)
    if sure.sum() < _HAIR_PIXELS:
        return np.ones(scalp.shape), None
    known = _SkinColours.of(signs[sure])
    covered = window.triangle >= 0
    foreign = known.foreign(signs, np.where(neck > 0, 1.0, _BRIGHT))
    # Wrinkles and moles are small; what covers the face is not, and throws a shadow beside it.
    like = grey_closing(np.where(covered, 1 - foreign, 1.0), (7, 7))
    free = np.maximum(np.maximum(scalp, np.where(_hanging(head, window, like < 0.5, core), 0.0, core)), 1 - skin)
    like = gaussian_filter(grey_erosion(like, (9, 9)), 2.0)
    own = (free + (1 - free) * like) * (1 - _NECK_SEEN * neck)
    # Beside the head there is nothing to compare with but the face's mean colour.
    mean = drawn[..., :3][sure].mean(axis=0)
    beside = known.foreign(_signs(photo, np.broadcast_to(mean, photo.shape)), 1.0)
    ears = window.xy[head.model.landmark_vertices[[0, 16], 0], 1].mean()
    above = np.arange(len(photo))[:, None] < ears
    hair = above & (matte > 0.97) & (((scalp > 0.8) & (foreign > 0.7)) | (~covered & (beside > 0.9)))
    if hair.sum() < _HAIR_PIXELS:
        return own, None
    return own, np.exp(np.quantile(np.log(np.maximum(photo[hair], 0) + _DARK / 10), _HAIR_TONE, axis=0))


def _hanging(
    head: PosedHead, window: _Window, foreign: NDArray[np.bool_], core: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """(h, w) what hangs into the middle of the face from above or beside: foreign colours over the nose's lower end
    that go on outside. A beard goes on outside, too, but lower down."""
    from scipy.ndimage import label

    nose = window.xy[head.model.landmark_vertices[33, 0], 1]
    found, count = label(foreign & (np.arange(len(foreign))[:, None] < nose))
    inside = np.bincount(found[core > 0.5], minlength=count + 1)
    outside = np.bincount(found[core < 0.1], minlength=count + 1)
    hanging = outside > _OUTSIDE * inside
    hanging[0] = False
    return np.asarray(hanging[found])


def _clear(head: PosedHead, window: _Window) -> NDArray[np.float64]:
    """(h, w) from 0 to 1: whether a pixel is away from edges of the head before its own surface, and from its outline.

    Of skin alone: eyes and teeth lie close behind lids and lips.
    """
    from scipy.ndimage import distance_transform_edt, maximum_filter

    triangle = window.triangle
    depth = window.of_vertices(head.model.triangles, window.depth[:, None])[..., 0]
    skin = (triangle >= 0) & head.model.part("skin")[triangle]
    nearest = maximum_filter(np.where(skin, depth, -1e30), 3)
    jump = _EDGE_MM * float(head.face.camera.scale) * _zoom(head, window)
    behind = skin & (nearest - depth > jump)
    away: NDArray[np.float64] = distance_transform_edt((triangle >= 0) & ~behind)
    return np.where(skin, _ramp(away, *_EDGE_PX), np.where(triangle >= 0, 1.0, 0.0))


def _visible(head: PosedHead, window: _Window, size: tuple[int, ...]) -> NDArray[np.float32]:
    """(N,) from 0 to 1."""
    from scipy.ndimage import minimum_filter

    drawn = window.of_vertices(head.model.triangles, window.depth[:, None])[..., 0]
    # The lowest depth around a pixel: a vertex passes if it is not far behind any of them.
    nearest = minimum_filter(np.where(window.triangle >= 0, drawn, 1e30), 3)
    xy = np.where(np.isfinite(window.xy), window.xy, -1e6)
    column, row = (np.clip(np.rint(xy[:, k]).astype(int), 0, nearest.shape[1 - k] - 1) for k in range(2))
    per_mm = float(head.face.camera.scale) * _zoom(head, window) * head.face.camera.magnification(head.vertices) ** 2
    gap = (nearest[row, column] - window.depth) / per_mm
    place = head.projected[:, :2]
    height, width = size[:2]
    inside = np.minimum.reduce([place[:, 0], place[:, 1], width - 1 - place[:, 0], height - 1 - place[:, 1]])
    shown = np.where(gap > 1e20, 1.0, 1 - _ramp(gap, _SLACK_MM, 2 * _SLACK_MM))
    visible: NDArray[np.float32] = (shown * _ramp(inside, 0.0, 2.0)).astype(np.float32)
    return visible


def _zoom(head: PosedHead, window: _Window) -> float:
    """px of the crop over px of the photo."""
    spread = np.ptp(head.projected[:, 0])
    return float(np.ptp(window.xy[:, 0]) / max(float(spread), 1e-9))


def _ramp(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """0 up to `low`, 1 from `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))
