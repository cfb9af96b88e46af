"""Where the skin of a face lies in its texture, and how far each place is from the rims of lids and lips."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

import numpy as np

from faceinv.errors import InputError
from faceinv.face.landmarks68 import EYES, INNER_LIPS
from faceinv.render.atlas import LARGEST, atlas_of
from faceinv.render.raster import rasterize_triangles

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.detail.record import Window
    from faceinv.face.model import MorphableModel

__all__ = ["Chart", "chart_of", "layout_of", "rim_edges"]

_ANY_SIZE: Final = 16
_MARGIN: Final = 8
"""Texels around the face's, so that filtering meets no border."""
_RIM_SPACING: Final = 0.25
"""mm between the points that stand for a rim."""

_KEPT: Final = 4
"""Charts that are remembered: models and sizes in turn."""

_digests: WeakKeyDictionary[MorphableModel, tuple[str, str]] = WeakKeyDictionary()
_charts: OrderedDict[tuple[str, int], Chart] = OrderedDict()
_lock = threading.Lock()


@dataclass(frozen=True, eq=False)
class Chart:
    """The texels of a model's texture that show the skin of the face (its `face_mask`), in a window of the texture.

    Rows run from the top, as in `faceinv.render.atlas`. (h, w) is the size of the window, M the number of such texels.
    Arrays are shared and read-only.
    """

    size: int
    """S, texels along each side of the whole texture."""
    window: Window
    """(top, left, bottom, right), the last two exclusive."""
    skin: NDArray[np.bool_]
    """(h, w): texels that show skin of the face; M are true."""
    triangle: NDArray[np.int32]
    """(M,) their triangles."""
    weights: NDArray[np.float64]
    """(M, 3) barycentric weights in these."""
    nearest: NDArray[np.int64]
    """(h, w) which of the M is nearest to each texel."""
    near: NDArray[np.bool_]
    """(h, w): texels that show skin, and those next to them, which filtering meets."""
    uv: NDArray[np.float64]
    """(U, 2) texture corners in texels of the window, x right, y down, 0 at the middle of its first."""
    triangles: NDArray[np.int32]
    """(T, 3) vertices."""
    uv_triangles: NDArray[np.int32]
    """(T, 3) texture corners."""
    face_mask: NDArray[np.bool_]
    """(T,) triangles that are skin of the face."""
    mirror: NDArray[np.int32]
    """(N,) the vertex on the other side of the face."""
    mean: NDArray[np.float64]
    """(N, 3) mm: the mean face."""
    rims: NDArray[np.int64]
    """(E, 2) vertices: `rim_edges`."""

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.skin.shape[0], self.skin.shape[1]

    @property
    def corners(self) -> NDArray[np.int32]:
        """(M, 3) vertices around each texel."""
        corners: NDArray[np.int32] = self.triangles[self.triangle]
        return corners

    def at_texels(self, values: NDArray[np.floating], mirrored: bool = False) -> NDArray[np.float64]:
        """Values (N, D) of vertices at the texels, (M, D); of the points on the other side of the face on demand."""
        corners = self.mirror[self.corners] if mirrored else self.corners
        mixed: NDArray[np.float64] = np.einsum("mk,mkd->md", self.weights, np.asarray(values, np.float64)[corners])
        return mixed

    def filled(self, values: NDArray[np.floating]) -> NDArray[np.float32]:
        """(h, w, ...) float32 of values (M, ...): other texels hold the nearest."""
        return np.asarray(values, np.float32)[self.nearest]

    def spacing(self, vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M,) mm of a surface (N, 3) that a texel is wide."""
        surface = _double_area(vertices[self.triangles])
        flat = _double_area(self.uv[self.uv_triangles])
        spacing: NDArray[np.float64] = np.sqrt(surface / np.maximum(flat, 1e-12))[self.triangle]
        return spacing

    def frames(self, vertices: NDArray[np.float64], mirrored: bool = False) -> NDArray[np.float64]:
        """(U, 2, 3) mm: how a surface (N, 3) moves by one texel to the right, and by one down, at texture corners.

        Smooth over the face, unlike those of triangles. Where it is `mirrored`, the other side of the surface stands
        for each.
        """
        from faceinv.backends.numpy_numba.relief import texture_frames

        triangles = self.mirror[self.triangles] if mirrored else self.triangles.copy()
        frames = np.empty((len(self.uv), 2, 3))
        texture_frames(
            *(np.array(vertices, np.float64, order="C"), triangles, self.uv.copy(), self.uv_triangles.copy()),
            *(self.face_mask.copy(), frames),
        )
        return frames

    def frames_at_texels(self, frames: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, 2, 3) of frames (U, 2, 3)."""
        corners = self.uv_triangles[self.triangle]
        mixed: NDArray[np.float64] = np.einsum("mk,mkij->mij", self.weights, frames[corners])
        return mixed

    @cached_property
    def rim_distance(self) -> NDArray[np.float64]:
        """(M,) mm on the mean face to the nearest rim of a lid or of the lips; infinite where the model has none."""
        from scipy.spatial import cKDTree

        edges = self.rims
        if not len(edges):
            return np.full(len(self.triangle), np.inf)
        start, end = self.mean[edges[:, 0]], self.mean[edges[:, 1]]
        steps = np.maximum(np.ceil(np.linalg.norm(end - start, axis=1) / _RIM_SPACING).astype(int), 1)
        index = np.repeat(np.arange(len(edges)), steps + 1)
        along = np.concatenate([np.linspace(0.0, 1.0, count + 1) for count in steps])[:, None]
        points = start[index] + along * (end - start)[index]
        return np.asarray(cKDTree(points).query(self.at_texels(self.mean))[0], np.float64)


def chart_of(model: MorphableModel, size: int) -> Chart:
    """The face's texels in a texture of `size` x `size`; the last few are remembered.

    Raises:
        InputError: for a size that no texture has, or a model that shows no face in one.
    """
    key = _digests_of(model)[1], size
    with _lock:
        chart = _charts.pop(key, None) or _make(model, size)
        _charts[key] = chart
        while len(_charts) > _KEPT:
            _charts.popitem(last=False)
        return chart


def layout_of(model: MorphableModel) -> str:
    """A short digest of what a place in the texture means on the mesh: models that share it exchange relief."""
    return _digests_of(model)[0]


def _digests_of(model: MorphableModel) -> tuple[str, str]:
    """Of the layout, and of all that a chart depends on."""
    if model not in _digests:
        digest = hashlib.sha256()
        for array in (model.uv, model.uv_triangles, model.triangles):
            digest.update(np.ascontiguousarray(array).data)
        layout = digest.hexdigest()[:16]
        for array in (model.face_mask, model.mirror, model.mean, model.landmark_vertices, model.landmark_weights):
            digest.update(np.ascontiguousarray(array).data)
        _digests[model] = layout, digest.hexdigest()
    return _digests[model]


def rim_edges(model: MorphableModel) -> NDArray[np.int64]:
    """(E, 2) vertices: the edges of the face mask around the eyes and the mouth, closed loops.

    A loop is one of these where its middle is nearer to that of an eye's landmarks, or of the inner lips', than half
    the width of these landmarks.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    triangles = model.triangles[model.face_mask].astype(np.int64)
    edges = np.sort(np.concatenate([triangles[:, [k, (k + 1) % 3]] for k in range(3)]), axis=1)
    single, count = np.unique(edges, axis=0, return_counts=True)
    border = single[count == 1]
    if not len(border):
        return border
    links = coo_array((np.ones(len(border), np.int8), tuple(border.T)), shape=(model.vertex_count,) * 2)
    label = connected_components(links, directed=False)[1][border[:, 0]]
    mean = model.mean.astype(np.float64)
    marks = model.landmarks(mean)
    kept = np.zeros(len(border), np.bool_)
    for group in (*EYES, INNER_LIPS):
        middle, width = marks[group].mean(axis=0), float(np.ptp(marks[group][:, 0]))
        for loop in np.unique(label):
            inside = label == loop
            around = mean[np.unique(border[inside])]
            near = float(np.linalg.norm(around.mean(axis=0) - middle)) < width / 2
            kept |= inside & (near and float(np.ptp(around[:, 0])) < 2 * width)
    return border[kept]


def _make(model: MorphableModel, size: int) -> Chart:
    from scipy.ndimage import distance_transform_edt

    if isinstance(size, bool) or not isinstance(size, int | np.integer) or not 1 <= size <= LARGEST:
        raise InputError(f"a texture of {size!r} texels along each side; expected a whole number from 1 to {LARGEST}.")
    # An atlas of this size would show the whole surface, of which the face is a small part.
    uv = atlas_of(model, _ANY_SIZE).uv
    xy = np.stack([uv[:, 0] * size - 0.5, (1 - uv[:, 1]) * size - 0.5], axis=1)
    chosen = np.flatnonzero(model.face_mask)
    used = xy[model.uv_triangles[chosen].ravel()]
    left, top = np.clip(np.floor(used.min(axis=0)).astype(int) - _MARGIN, 0, size)
    right, bottom = np.clip(np.ceil(used.max(axis=0)).astype(int) + 1 + _MARGIN, 0, size)
    xy = np.ascontiguousarray(xy - [left, top])
    number, barycentric = rasterize_triangles(
        xy, np.zeros(len(xy)), model.uv_triangles[chosen], (bottom - top, right - left), both_sides=True
    )
    skin = number >= 0
    if not skin.any():
        raise InputError(
            f"the model '{model.name}' shows no skin of the face in a texture of {size} texels along each side; it has "
            "no texture coordinates, or the texture is too small."
        )
    place = np.cumsum(skin.ravel()).reshape(skin.shape) - 1
    distance, there = distance_transform_edt(~skin, return_indices=True)
    chart = Chart(
        size=size,
        window=(int(top), int(left), int(bottom), int(right)),
        skin=skin,
        triangle=chosen[number[skin]].astype(np.int32),
        weights=barycentric[skin],
        nearest=place[there[0], there[1]],
        near=distance <= _MARGIN / 2,
        uv=xy,
        triangles=model.triangles,
        uv_triangles=model.uv_triangles,
        face_mask=model.face_mask,
        mirror=model.mirror,
        mean=model.mean.astype(np.float64),
        rims=rim_edges(model),
    )
    for array in (
        chart.skin,
        chart.triangle,
        chart.weights,
        chart.nearest,
        chart.near,
        chart.uv,
        chart.mean,
        chart.rims,
    ):
        array.setflags(write=False)
    return chart


def _double_area(corners: NDArray[np.floating]) -> NDArray[np.float64]:
    """Twice the area of triangles (T, 3, 2 or 3)."""
    one, other = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    if corners.shape[2] == 2:
        flat: NDArray[np.float64] = np.abs(one[:, 0] * other[:, 1] - one[:, 1] * other[:, 0])
        return flat
    double: NDArray[np.float64] = np.linalg.norm(np.cross(one, other), axis=1)
    return double
