"""Colours of a fitted face, at its vertices and as a texture image.

`albedo` is what was fitted: reflectance without light. `photo` is the photo's own colours where the photo shows the
surface. Where it does not, the other side of the face is taken if that one is visible, and the fitted face under the
fitted light otherwise; both are multiplied by a smooth correction that makes them meet the photo at the border, so that
no seam shows. Hair or a hand in front of the face is painted onto it: only the face itself is known to hide things.

Eyes have the photo's colours in an albedo too (`faceinv.render.eye_colour`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from faceinv.errors import InputError
from faceinv.face.lighting import sh_basis
from faceinv.face.mesh import vertex_normals
from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.eye_colour import albedo_with_eyes
from faceinv.render.raster import rasterize_triangles
from faceinv.render.scene import draw_depth
from faceinv.render.uv import texture_layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face

__all__ = ["Texture", "texture_image", "vertex_colours"]

Texture = Literal["albedo", "photo"]

_SIZES: Final = (1024, 2048)
"""Texels along each side of a texture image: the first for albedo, and for photos in which the face is small enough."""

_DARKEST: Final = 0.004
"""Linear. Ratios of colours are taken above this."""
_MAX_GAIN: Final = 2.5
"""The most by which colours of hidden parts are corrected, either way."""
_SMOOTHNESS: Final = 3.0
"""Weight of the correction's differences between neighbours, over that of a vertex that is seen."""
_FACING: Final = (0.12, 0.45)
"""The cosine between the normal and the view from which the photo starts to count, and from which it counts fully."""
_DEPTH_SLACK_MM: Final = 1.5
_RIM: Final = 0.012
"""The photo fades in over this share of the face's height inside the face's outline and behind its edges."""
_DEPTH_MAP_HEIGHT: Final = 768


def vertex_colours(
    model: MorphableModel, face: Face, texture: Texture = "albedo", photo: NDArray[np.float32] | None = None
) -> NDArray[np.float64]:
    """(N, 3) sRGB-encoded colours in [0, 1] of the vertices.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        texture: `albedo` or `photo`.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; needed for a texture from it, and for the eyes' colours.

    Raises:
        InputError: for another texture, or one of a photo that is not given.
    """
    index = np.arange(model.vertex_count)
    points = _Points(np.repeat(index[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(index), 1)))
    return _colours(model, face, texture, photo, points)


def texture_image(
    model: MorphableModel,
    face: Face,
    texture: Texture = "albedo",
    photo: NDArray[np.float32] | None = None,
    size: int | None = None,
) -> NDArray[np.uint8]:
    """(size, size, 3) sRGB texture for `texture_layout`; row 0 is v = 1. Gaps hold the nearest colour.

    Args:
        model: the model.
        face: the face, in the frame of the photo.
        texture: `albedo` or `photo`.
        photo: (H, W, 3) sRGB-encoded in [0, 1]; needed for a texture from it, and for the eyes' colours.
        size: texels along each side; None for 1024, or 2048 where a photo has more to show.

    Raises:
        InputError: for another texture, or one of a photo that is not given.
    """
    from scipy.ndimage import distance_transform_edt

    uv = texture_layout(model)
    if size is None:
        size = _texture_size(model, face, uv) if texture == "photo" else _SIZES[0]
    xy = np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], axis=1)
    triangle, barycentric = rasterize_triangles(
        xy, np.zeros(len(xy)), model.uv_triangles, (size, size), both_sides=True
    )
    covered = triangle >= 0
    image = np.zeros((size, size, 3))
    points = _Points(model.triangles[triangle[covered]], barycentric[covered])
    image[covered] = _colours(model, face, texture, photo, points)
    if covered.any() and not covered.all():
        nearest = distance_transform_edt(~covered, return_distances=False, return_indices=True)
        image = image[nearest[0], nearest[1]]
    rounded: NDArray[np.uint8] = np.rint(255 * image).astype(np.uint8)
    return rounded


def _texture_size(model: MorphableModel, face: Face, uv: NDArray[np.float64]) -> int:
    """The smallest size at which the face has as many texels as pixels in the photo, or the largest."""
    skin = model.face_mask
    texels = _area(uv, model.uv_triangles[skin])
    pixels = _area(face.camera.project(face.vertices(model))[:, :2], model.triangles[skin])
    return next((size for size in _SIZES if texels * size**2 >= pixels), _SIZES[-1])


def _area(xy: NDArray[np.float64], triangles: NDArray[np.int32]) -> float:
    a, b, c = (xy[triangles[:, k]] for k in range(3))
    double = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    return float(np.abs(double).sum()) / 2


@dataclass(frozen=True)
class _Points:
    """Points of the surface."""

    corners: NDArray[np.integer[Any]]
    """(M, 3) vertices."""
    weights: NDArray[np.float64]
    """(M, 3)."""

    def of(self, values: NDArray[np.floating]) -> NDArray[np.float64]:
        """Interpolate per-vertex values (N, D) to (M, D)."""
        result: NDArray[np.float64] = np.einsum(
            "mk,mkd->md", self.weights, np.asarray(values, np.float64)[self.corners]
        )
        return result

    def mirrored(self, mirror: NDArray[np.int32]) -> _Points:
        """The points on the other side of the face."""
        return _Points(mirror[self.corners], self.weights)


def _colours(
    model: MorphableModel, face: Face, texture: str, photo: NDArray[np.float32] | None, points: _Points
) -> NDArray[np.float64]:
    """(M, 3) sRGB-encoded in [0, 1]."""
    if texture not in ("albedo", "photo"):
        raise InputError(f"texture is {texture!r}; expected 'albedo' or 'photo'.")
    if texture == "photo":
        if photo is None:
            raise InputError("a photo texture needs the photo; give it.")
        return _PhotoColours(model, face, photo).at(points)
    albedo = np.clip(points.of(albedo_with_eyes(model, face, photo)), 0.0, 1.0)
    return linear_to_srgb(albedo) if model.albedo_space == "linear" else albedo


class _PhotoColours:
    """The photo on the surface, and what stands for it where it is hidden. Colours inside are linear light."""

    def __init__(self, model: MorphableModel, face: Face, photo: NDArray[np.float32]) -> None:
        self.model, self.face, self.photo = model, face, photo
        vertices = face.vertices(model)
        self.vertices, self.image_xy = vertices, face.camera.project(vertices)[:, :2]
        self.normals = vertex_normals(vertices, model.triangles) @ face.camera.rotation.T
        self.to_viewer, larger = face.camera.to_viewer(vertices), face.camera.magnification(vertices)
        # How much a millimetre towards the viewer changes the depth.
        self.depth_per_mm = float(face.camera.scale) * larger**2
        self._draw_depth()
        index = np.arange(model.vertex_count)
        points = _Points(np.repeat(index[:, None], 3, axis=1), np.tile([1.0, 0.0, 0.0], (len(index), 1)))
        self.fitted = self._fitted_colours()
        here, seen = self._sample(points)
        mirrored, seen_mirrored = self._sample(points.mirrored(model.mirror))
        self.gain_fitted = _smooth_gain(model.triangles, _log_ratio(here, self.fitted), seen)
        self.gain_mirror = _smooth_gain(model.triangles, _log_ratio(here, mirrored), seen * seen_mirrored)

    def at(self, points: _Points) -> NDArray[np.float64]:
        """(M, 3) sRGB-encoded in [0, 1]."""
        here, seen = self._sample(points)
        mirrored, seen_mirrored = self._sample(points.mirrored(self.model.mirror))
        mirrored *= np.exp(points.of(self.gain_mirror))
        fitted = points.of(self.fitted) * np.exp(points.of(self.gain_fitted))
        hidden = seen_mirrored[:, None] * mirrored + (1 - seen_mirrored[:, None]) * fitted
        return linear_to_srgb(np.clip(seen[:, None] * here + (1 - seen[:, None]) * hidden, 0.0, 1.0))

    def _draw_depth(self) -> None:
        """The depth of the nearest surface around the face, and how far inside of its outlines each pixel lies."""
        from scipy.ndimage import distance_transform_edt, grey_erosion, minimum_filter

        low, high = self.image_xy.min(axis=0), self.image_xy.max(axis=0)
        self.zoom = _DEPTH_MAP_HEIGHT / max(float((high - low).max()), 1e-9)
        self.corner = low - 2 / self.zoom
        width, height = (int(n) for n in np.ceil((high - low) * self.zoom) + 5)
        camera = self.face.camera.moved(self.zoom, -self.corner * self.zoom)
        depth = draw_depth(self.model, replace(self.face, camera=camera), (height, width))
        # The lowest depth around a pixel: a point passes if it is not far behind any of them.
        self.nearest = minimum_filter(np.where(np.isfinite(depth), depth, 1e30), 3)
        with np.errstate(invalid="ignore"):
            step = depth - grey_erosion(np.where(np.isfinite(depth), depth, -1e30), (3, 3))
        jump = 6.0 * float(self.face.camera.scale) * self.zoom
        self.rim = distance_transform_edt(np.isfinite(depth) & (step < jump))

    def _sample(self, points: _Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Colours (M, 3) of the photo at points, linear, and how much they are to be trusted (M,), 0 to 1."""
        from scipy.ndimage import map_coordinates

        projected = self.face.camera.project(points.of(self.vertices))
        xy, depth = projected[:, :2], projected[:, 2]
        rows_columns = [xy[:, 1], xy[:, 0]]
        colours = np.stack(
            [map_coordinates(self.photo[..., c], rows_columns, order=1, mode="nearest") for c in range(3)], 1
        )
        height, width = self.photo.shape[:2]
        from_edge = np.minimum.reduce([xy[:, 0], xy[:, 1], width - 1 - xy[:, 0], height - 1 - xy[:, 1]])
        place = (xy - self.corner) * self.zoom
        column = np.clip(np.rint(place[:, 0]).astype(int), 0, self.nearest.shape[1] - 1)
        row = np.clip(np.rint(place[:, 1]).astype(int), 0, self.nearest.shape[0] - 1)
        slack = _DEPTH_SLACK_MM * points.of(self.depth_per_mm[:, None])[:, 0] * self.zoom
        in_front = depth * self.zoom >= self.nearest[row, column] - slack
        rim = map_coordinates(self.rim, [place[:, 1], place[:, 0]], order=1, mode="nearest")
        normals, to_viewer = points.of(self.normals), points.of(self.to_viewer)
        facing = (normals * to_viewer).sum(axis=1) / np.maximum(np.linalg.norm(normals, axis=1), 1e-9)
        trust = _ramp(facing, *_FACING) * _ramp(rim, 1.0, 1.0 + _RIM * _DEPTH_MAP_HEIGHT) * _ramp(from_edge, 0.0, 2.0)
        return srgb_to_linear(colours.astype(np.float64)), trust * in_front

    def _fitted_colours(self) -> NDArray[np.float64]:
        """(N, 3) the fitted face under the fitted light, which is believed only where the camera could have seen it."""
        normals = self.normals.copy()
        normals[:, 2] = np.abs(normals[:, 2])
        shade = sh_basis(normals) @ self.face.lighting
        seen = shade[self.normals[:, 2] > _FACING[1]]
        if len(seen):
            shade = np.clip(shade, np.maximum(np.percentile(seen, 5, axis=0), 0.0), np.percentile(seen, 95, axis=0))
        colours = np.clip(albedo_with_eyes(self.model, self.face, self.photo) * shade, 0.0, 1.0)
        if self.model.albedo_space == "srgb":
            colours = srgb_to_linear(colours)
        return np.maximum(colours, _DARKEST)


def _ramp(values: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """0 up to `low`, 1 from `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    result: NDArray[np.float64] = t * t * (3 - 2 * t)
    return result


def _log_ratio(wanted: NDArray[np.float64], given: NDArray[np.float64]) -> NDArray[np.float64]:
    limit = np.log(_MAX_GAIN)
    ratio = np.log(np.maximum(wanted, _DARKEST)) - np.log(np.maximum(given, _DARKEST))
    result: NDArray[np.float64] = np.clip(ratio, -limit, limit)
    return result


def _smooth_gain(
    triangles: NDArray[np.int32], ratio: NDArray[np.float64], weight: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The smooth field (N, 3) on the mesh that follows `ratio` where `weight` (N,) is large and goes on elsewhere."""
    from scipy.sparse import coo_array, csc_array, diags_array
    from scipy.sparse.linalg import splu

    count = len(ratio)
    if weight.max(initial=0.0) < 1e-3:
        return np.zeros_like(ratio)
    start, end = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
    both = (np.concatenate([start, end]), np.concatenate([end, start]))
    links = coo_array((np.ones(2 * len(start)), both), shape=(count, count)).tocsr()
    links.data[:] = 1.0
    laplacian = diags_array(links.sum(axis=1)) - links
    # A weak pull to the mean keeps parts that touch nothing visible (and the matrix) in bounds.
    pull = 1e-4
    mean = (weight[:, None] * ratio).sum(axis=0) / weight.sum()
    matrix = csc_array(_SMOOTHNESS * laplacian + diags_array(weight + pull))
    right = weight[:, None] * ratio + pull * mean
    solved: NDArray[np.float64] = splu(matrix).solve(right)
    return solved
