"""How well are faces recovered that another model made: surface error on rendered strangers with exact ground truth.

The faces come from ICT-FaceKit (MIT licence, not part of this repository): random identities and mild expressions, with
an invented skin, eyes, hair and background, under other light than the engine's and a perspective camera. Fits are
compared with the true surface, after alignment, at the points of the face that the picture shows:

- mean: the model's mean face, not fitted at all;
- landmarks: the fit of the 68 points alone, the start of every fit;
- full: the whole fit, with landmarks as detected and, apart from it, with the true ones;
- bound: the model bent onto the true surface, which is what its basis can express.

Renders are kept in a folder, by default in the system's temporary one.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import math
import tempfile
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numba
import numpy as np
from PIL import Image, ImageFilter
from report import save, table
from scipy.spatial import cKDTree
from surfaces import Expressed, Surface, align, express, face_triangles, quantile, similarity_of_points, vertex_areas

from faceinv import FitConfig, load_model
from faceinv.face.camera import rotation_from_euler
from faceinv.face.lighting import sh_basis
from faceinv.fitting import stages
from faceinv.fitting.fitter import Fitter
from faceinv.photo.color import linear_to_srgb
from faceinv.photo.detector import detect_faces

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.fitting.result import FitResult

    Array = NDArray[np.float64]

__all__ = ["Stranger", "evaluate", "load_strangers"]

ICT: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "ict" / "ict_face.npz"
VERSION: Final = 2
"""Of the recipe: renders of another one are made anew."""
SIZE: Final = 512
_SUPER: Final = 2
_MODES: Final = 50
_UNITS: Final = (
    "browDown",
    "browInnerUp",
    "browOuterUp",
    "cheekPuff",
    "cheekRaiser",
    "cheekSquint",
    "eyeBlink",
    "eyeSquint",
    "eyeWide",
    "jawForward",
    "jawOpen",
    "mouthDimple",
    "mouthFrown",
    "mouthFunnel",
    "mouthLowerDown",
    "mouthPress",
    "mouthPucker",
    "mouthRollLower",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmile",
    "mouthStretch",
    "mouthUpperUp",
    "noseSneer",
    "mouthLeft",
    "mouthRight",
    "jawLeft",
    "jawRight",
)
_LIMITS: Final = {"jawOpen": 0.3, "eyeBlink": 0.35, "mouthFunnel": 0.3, "mouthPucker": 0.4, "noseSneer": 0.3}
_EYE_RADIUS: Final = 12.2
_SKIN, _EYE, _MOUTH, _HAIR = range(4)


@dataclass(frozen=True)
class Stranger:
    """One rendered face and the truth about it. Lengths in mm, in a space of its own."""

    seed: int
    image: NDArray[np.uint8]
    """(512, 512, 3) sRGB."""
    vertices: Array
    """(N, 3) the true surface, upright."""
    points: Array
    """(Q, 3) its vertices that the picture shows and that belong to the face."""
    areas: Array
    """(Q,) mm^2."""
    landmarks3d: Array
    """(68, 3)."""
    landmarks2d: Array
    """(68, 2) px: the same projected, hidden or not."""
    detected: Array
    """(68, 2) px."""
    angles: Array
    """Pitch, yaw, roll in degrees, and the distance in m."""


# ---- the face


class _Source:
    """ICT's face, and its correspondence with a model that lends it skin and says what belongs to the face."""

    def __init__(self, path: Path, model: MorphableModel) -> None:
        with np.load(path) as stored:
            self.mean = stored["vertices"].astype(np.float64) * 10
            self.triangles = stored["faces"].astype(np.int64)
            self.identity = stored["identity"].astype(np.float64) * 10
            names = [str(name) for name in stored["expression_names"]]
            self.expression = dict(zip(names, stored["expression"].astype(np.float64) * 10, strict=True))
            self.landmarks = stored["landmarks68"].astype(np.int64)
        self.holes = _holes(self.triangles, self.mean)
        areas = vertex_areas(self.mean, self.triangles, len(self.mean))
        front = (self.mean[:, 2] > 35) & (np.abs(self.mean[:, 1]) < 110)
        laid = express(model, self.mean[front], areas[front], self.mean[self.landmarks], prior=1e-3)
        surface = Surface(laid.vertices, model.triangles)
        similarity = laid.similarity
        local = ((self.mean - similarity.translation) @ similarity.rotation) / similarity.scale
        hit = surface.nearest(local)
        corners = model.triangles[hit.triangle]
        self.face = model.face_mask[hit.triangle] & (hit.distance < 4.0)
        self.mean_skin = np.einsum("vk,vkc->vc", hit.weights, model.mean_albedo[corners].astype(np.float64))
        self.skin_modes = np.einsum("vk,vkcm->vcm", hit.weights, model.albedo_basis[corners].astype(np.float64))


def _holes(triangles: NDArray[np.int64], points: Array) -> dict[str, NDArray[np.int64]]:
    """The vertices on the rims of eyes and mouth."""
    from scipy import sparse
    from scipy.sparse import csgraph

    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(edges, axis=0, return_counts=True)
    rim = unique[counts == 1]
    graph = sparse.coo_array((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), shape=(len(points), len(points)))
    _, label = csgraph.connected_components(graph, directed=False)
    loops = [np.flatnonzero(label == k) for k in np.unique(label[rim[:, 0]])]
    loops.sort(key=lambda loop: float(np.ptp(points[loop, 0])))
    eyes = sorted(loops[:2], key=lambda loop: float(points[loop, 0].mean()))
    return {"left eye": eyes[0], "right eye": eyes[1], "mouth": loops[2]}


def _sphere(rim: Array, radius: float) -> Array:
    """The centre of the ball of that radius which lies behind a rim."""
    centre = rim.mean(axis=0) - np.array([0.0, 0.0, 0.75 * radius])
    for _ in range(30):
        arm = rim - centre
        length = np.linalg.norm(arm, axis=1)
        rows = -arm / length[:, None]
        centre = centre - np.linalg.solve(rows.T @ rows + 0.5 * np.eye(3), rows.T @ (length - radius))
    return np.asarray(centre)


def _ball(centre: Array, radii: Array, count: int) -> tuple[Array, NDArray[np.int64], Array]:
    """Vertices, triangles and unit normals of an ellipsoid."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count), indexing="ij")
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=-1)
    index = np.arange(unit[..., 0].size).reshape(theta.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    normals = (unit / radii).reshape(-1, 3)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    return (
        centre + (unit * radii).reshape(-1, 3),
        np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]),
        normals,
    )


@dataclass
class _Scene:
    """Meshes joined into one, with what each vertex is and where it is on the mean face."""

    vertices: list[Array] = dataclasses.field(default_factory=list)
    normals: list[Array] = dataclasses.field(default_factory=list)
    reference: list[Array] = dataclasses.field(default_factory=list)
    triangles: list[NDArray[np.int64]] = dataclasses.field(default_factory=list)
    kinds: list[NDArray[np.int64]] = dataclasses.field(default_factory=list)
    count: int = 0

    def add(self, vertices: Array, normals: Array, reference: Array, triangles: NDArray[np.int64], kind: int) -> None:
        self.vertices.append(vertices)
        self.normals.append(normals)
        self.reference.append(reference)
        self.triangles.append(triangles + self.count)
        self.kinds.append(np.full(len(triangles), kind))
        self.count += len(vertices)


def _normals(vertices: Array, triangles: NDArray[np.int64]) -> Array:
    corners = vertices[triangles]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(summed, triangles[:, k], crossed)
    unit: Array = summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)
    return unit


# ---- the picture


@numba.njit(cache=False)  # type: ignore[untyped-decorator]
def _rasterize(
    xy: Array, inverse: Array, triangles: NDArray[np.int64], size: int
) -> tuple[NDArray[np.int64], Array]:  # pragma: no cover
    """Nearest triangle of each pixel and perspective-correct weights; `inverse` is one over the distance along z."""
    index = np.full((size, size), -1, np.int64)
    weights = np.zeros((size, size, 3))
    buffer = np.zeros((size, size))
    for t in range(len(triangles)):
        i, j, k = triangles[t]
        ax, ay, bx, by, cx, cy = xy[i, 0], xy[i, 1], xy[j, 0], xy[j, 1], xy[k, 0], xy[k, 1]
        area = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
        if area == 0.0:
            continue
        left, right = max(0, math.ceil(min(ax, bx, cx))), min(size - 1, math.floor(max(ax, bx, cx)))
        top, bottom = max(0, math.ceil(min(ay, by, cy))), min(size - 1, math.floor(max(ay, by, cy)))
        for y in range(top, bottom + 1):
            for x in range(left, right + 1):
                u = ((bx - x) * (cy - y) - (by - y) * (cx - x)) / area
                v = ((cx - x) * (ay - y) - (cy - y) * (ax - x)) / area
                w = 1.0 - u - v
                if u < 0 or v < 0 or w < 0:
                    continue
                near = u * inverse[i] + v * inverse[j] + w * inverse[k]
                if near > buffer[y, x]:
                    buffer[y, x] = near
                    index[y, x] = t
                    weights[y, x, 0] = u * inverse[i] / near
                    weights[y, x, 1] = v * inverse[j] / near
                    weights[y, x, 2] = w * inverse[k] / near
    return index, weights


def _waves(rng: np.random.Generator, points: Array, length: float, count: int = 24) -> Array:
    """(Q,) smooth noise of unit variance whose features are about `length` mm across."""
    directions = rng.normal(size=(count, 3)) * (2 * np.pi / (2.5 * length))
    phases = rng.uniform(0, 2 * np.pi, count)
    total = np.zeros(len(points))
    for direction, phase in zip(directions, phases, strict=True):
        total += np.cos(points @ direction + phase)
    return total * math.sqrt(2 / count)


def _from_line(points: Array, line: Array) -> Array:
    """Distance in the xy plane from a polyline."""
    best = np.full(len(points), np.inf)
    for a, b in itertools.pairwise(line):
        edge = b - a
        along = np.clip(((points - a) @ edge) / (edge @ edge), 0, 1)
        best = np.minimum(best, np.linalg.norm(a + along[:, None] * edge - points, axis=1))
    return best


def _within(points: Array, polygon: Array) -> NDArray[np.bool_]:
    """Even-odd rule in the xy plane."""
    in_outline = np.zeros(len(points), np.bool_)
    x, y = points.T
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        in_outline ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay if by != ay else 1e-9) + ax)
    return in_outline


def _ramp(values: Array, low: float, high: float) -> Array:
    share = np.clip((values - low) / (high - low), 0, 1)
    smooth: Array = share * share * (3 - 2 * share)
    return smooth


def _paint_skin(rng: np.random.Generator, source: _Source, place: Array, skin: Array, hair: Array) -> Array:
    """(Q, 3) linear reflectance of skin with brows, lips, blemishes and a hairline, at places on the mean face."""
    marks = source.mean[source.landmarks]
    tone = rng.normal(size=3) * 0.05
    colour = skin * np.exp(0.10 * _waves(rng, place, 35)[:, None] + tone)
    colour *= np.exp(np.outer(0.06 * _waves(rng, place, 14), [0.4, 1.0, 0.8]))  # redness comes and goes
    colour *= np.exp(0.035 * _waves(rng, place, 2.5)[:, None])
    # Cheeks and nose are redder.
    for centre, reach in ((marks[[2, 48]].mean(0), 18.0), (marks[[14, 54]].mean(0), 18.0), (marks[30], 11.0)):
        near = np.exp(-((place - centre) ** 2).sum(axis=1) / (2 * reach**2))
        colour *= np.exp(np.outer(near * rng.uniform(0, 0.25), [0.05, -1.0, -0.8]))
    # Freckles and moles.
    spots = source.mean[rng.choice(np.flatnonzero(source.face), int(rng.choice([8, 40, 250])))]
    spots = spots + rng.normal(size=spots.shape)
    gap, which = cKDTree(spots).query(place)
    size, strength = rng.uniform(0.5, 1.1, len(spots)), rng.uniform(0.05, 0.45, len(spots))
    colour *= 1 - (strength[which] * np.exp(-((gap / size[which]) ** 2)))[:, None] * [0.7, 1.0, 1.1]
    # Stubble.
    if rng.random() < 0.35:
        beard = _ramp(-place[:, 1], 18, 34) * _ramp(np.abs(place[:, 0]) + 0.9 * np.abs(place[:, 1] + 60), 8, 30)
        beard = np.maximum(beard, _ramp(-place[:, 1], 52, 60)) * _ramp(place[:, 2], 25, 45)
        beard *= rng.uniform(0.15, 0.5) * (0.85 + 0.15 * _waves(rng, place, 2))
        colour = colour * (1 - beard[:, None]) + beard[:, None] * (0.5 * hair + 0.02)
    # Lips.
    outer, inner = marks[48:60, :2], marks[60:68, :2]
    edge = _from_line(place[:, :2], np.vstack([outer, outer[:1]]))
    signed = np.where(_within(place[:, :2], outer), edge, -edge)
    lips = _ramp(signed, -1.0, 1.2) * (place[:, 2] > 80) * rng.uniform(0.5, 0.95)
    red = np.array([rng.uniform(0.85, 1.05), rng.uniform(0.4, 0.7), rng.uniform(0.45, 0.75)])
    colour = colour * (1 - lips[:, None] * (1 - red))
    line = _from_line(place[:, :2], np.vstack([inner, inner[:1]]))
    colour *= 1 - (0.5 * np.exp(-((line / 0.9) ** 2)) * (place[:, 2] > 80))[:, None]
    # Brows: strokes above the landmarks' line.
    thick, dense = rng.uniform(3.0, 5.0), rng.uniform(0.55, 0.95)
    for brow in (marks[17:22, :2], marks[22:27, :2]):
        gap = _from_line(place[:, :2], brow + np.array([0.0, 0.5]))
        strokes = np.clip(0.85 + 0.1 * _waves(rng, place * [1.5, 0.6, 1.0], 1.2), 0, 1)
        cover = dense * (1 - _ramp(gap, 0.45 * thick, thick)) * strokes * (place[:, 2] > 60)
        colour = colour * (1 - cover[:, None]) + cover[:, None] * 0.8 * hair
    # Lash lines.
    for lid, depth in ((marks[36:40, :2], 0.7), (marks[42:46, :2], 0.7)):
        gap = _from_line(place[:, :2], lid)
        colour *= 1 - (depth * np.exp(-((gap / 1.3) ** 2)))[:, None]
    # Hair.
    line_height = rng.uniform(98, 110) - 0.002 * place[:, 0] ** 2 + 2.5 * _waves(rng, place * [1, 0.2, 1], 5)
    temple = 69 - 0.3 * np.maximum(place[:, 1] - 60, 0) + 1.5 * _waves(rng, place * [1, 0.3, 1], 5)
    cover = np.maximum(
        _ramp(place[:, 1] - line_height, -3, 3),
        _ramp(-place[:, 2] + 36 + 4 * _waves(rng, place, 8), 0, 6)
        * _ramp(place[:, 1], 45, 60)
        * (np.abs(place[:, 0]) > 60),
    )
    cover = np.maximum(cover, _ramp(np.abs(place[:, 0]) - temple, -1, 3) * _ramp(place[:, 1], 45, 75))
    strands = np.exp(0.35 * _waves(rng, place * [1.0, 0.15, 1.0], 2.0))
    return np.asarray(np.clip(colour * (1 - cover[:, None]) + (cover * strands)[:, None] * hair, 0.003, 0.97))


def _background(rng: np.random.Generator, size: int) -> Array:
    """(size, size, 3) linear: two colours, soft blobs, shoulders in cloth."""
    y, x = np.mgrid[0:size, 0:size] / size - 0.5
    flat = np.stack([x.ravel() * 300, y.ravel() * 300, np.zeros(x.size)], axis=1)
    first, second = rng.uniform(0.02, 0.6, 3), rng.uniform(0.02, 0.6, 3)
    share = _ramp(_waves(rng, flat, rng.uniform(30, 120), 10), -1.5, 1.5).reshape(size, size, 1)
    picture = first * share + second * (1 - share)
    cloth = rng.uniform(0.02, 0.4, 3)
    slope = 0.36 + 0.5 * x**2 + 0.06 * np.abs(x)
    cover = _ramp(y - slope, 0.0, 0.01)[..., None]
    weave = np.exp(0.15 * _waves(rng, flat, 6, 16)).reshape(size, size, 1)
    painted: Array = picture * (1 - cover) + cover * cloth * weave
    return painted


def _light(rng: np.random.Generator, points: Array, normals: Array, view: Array, gloss: Array) -> tuple[Array, Array]:
    """Diffuse irradiance over pi and specular radiance, (Q, 3) each; no cast shadows."""
    tint = np.exp(rng.normal(size=(3, 3)) * rng.choice([0.05, 0.05, 0.2]))
    if rng.random() < 0.5:  # light from all around, as spherical harmonics
        gamma = np.zeros((9, 3))
        gamma[0] = 1.0
        ahead = np.array([rng.normal() * 0.6, rng.normal() * 0.35 + 0.4, 0.7])
        gamma[[3, 1, 2]] = np.outer(ahead / np.linalg.norm(ahead) * rng.uniform(0.2, 0.5), tint[0])
        gamma[4:] = rng.normal(size=(5, 1)) * 0.08 * tint[1]
        gamma[1:] += rng.normal(size=(8, 3)) * 0.03
        diffuse = np.maximum(sh_basis(normals) @ gamma, 0.02)
        direction = np.broadcast_to(ahead / np.linalg.norm(ahead), points.shape)
        strength = np.ones(len(points))
    else:  # one lamp, and what the room gives back
        lamp = np.array([rng.normal() * 600, rng.uniform(0, 700), rng.uniform(500, 1500)])
        arm = lamp - points
        distance = np.linalg.norm(arm, axis=1)
        direction = arm / distance[:, None]
        strength = (np.median(distance) / distance) ** 2
        facing = np.maximum((normals * direction).sum(axis=1), 0) * strength
        sky = 0.5 + 0.5 * normals[:, 1]
        room = rng.uniform(0.2, 0.6)
        diffuse = facing[:, None] * tint[0] + room * (sky[:, None] * tint[1] + (1 - sky[:, None]) * 0.6 * tint[2])
    half = direction + view
    half /= np.linalg.norm(half, axis=1, keepdims=True)
    shine = gloss * strength * np.maximum((normals * half).sum(axis=1), 0) ** 24
    return diffuse, shine[:, None] * tint[0]


def _make(source: _Source, seed: int) -> Stranger | None:
    """One stranger; None when no face is detected in it."""
    rng = np.random.default_rng([VERSION, seed])
    coefficients = rng.normal(size=_MODES) * rng.uniform(0.8, 1.0)
    neutral = source.mean + np.tensordot(coefficients, source.identity[:_MODES], axes=1)
    vertices = neutral.copy()
    for unit in rng.choice(_UNITS, int(rng.integers(2, 6)), replace=False):
        strength = rng.uniform(0, _LIMITS.get(unit, 0.5))
        for name, side_share in ((unit, 1.0), (f"{unit}_L", rng.uniform(0.8, 1)), (f"{unit}_R", rng.uniform(0.8, 1))):
            if name in source.expression:
                vertices += strength * side_share * source.expression[name]
    growth = np.ptp(neutral[source.landmarks[[0, 16]], 0]) / np.ptp(source.mean[source.landmarks[[0, 16]], 0])

    scene = _Scene()
    scene.add(vertices, _normals(vertices, source.triangles), source.mean, source.triangles, _SKIN)
    gaze = np.array([rng.normal() * 0.12, rng.normal() * 0.06, 1.0])
    gaze /= np.linalg.norm(gaze)
    for side in ("left eye", "right eye"):
        centre = _sphere(neutral[source.holes[side]], _EYE_RADIUS * growth)
        ball, triangles, normals = _ball(centre, np.full(3, _EYE_RADIUS * growth), 60)
        scene.add(ball, normals, np.stack([normals @ gaze, *normals.T[:2]], axis=1), triangles, _EYE)
    rim = vertices[source.holes["mouth"]]
    middle = rim.mean(axis=0)
    radii = np.maximum(np.ptp(rim, axis=0) / 2, 2.0) * [1.15, 1.3, 0.6]
    bag, triangles, normals = _ball(middle - [0.0, 0.0, radii[2] + 2.0], radii, 20)
    scene.add(bag, normals, bag - middle, triangles, _MOUTH)
    caps = [(np.array([0.0, 38.0, -22.0]), np.array([81.0, 104.0, 92.0]))]
    if rng.random() < 0.4:
        caps.append((np.array([0.0, -25.0, -55.0]), np.array([rng.uniform(95, 115), 120.0, 50.0])))
    for middle, radii in caps:
        cap, triangles, normals = _ball(middle * growth, radii * growth, 60)
        scene.add(cap, normals, cap, triangles, _HAIR)

    pitch, yaw, roll = rng.uniform(-10, 10), rng.uniform(-25, 25), rng.uniform(-8, 8)
    distance = rng.uniform(600, 1500)
    rotation = rotation_from_euler(*np.radians([pitch, yaw, roll]))
    pivot = np.array([0.0, 10.0, 60.0])
    focal = SIZE * distance / (rng.uniform(290, 350) * growth)
    centre_px = np.array([SIZE / 2, SIZE / 2 + 6]) + rng.normal(size=2) * 10

    def project(points: Array) -> tuple[Array, Array, Array]:
        camera = (points - pivot) @ rotation.T
        depth = distance - camera[:, 2]
        return centre_px + focal * camera[:, :2] * [1, -1] / depth[:, None], 1 / depth, camera

    joined = np.concatenate(scene.vertices)
    triangles = np.concatenate(scene.triangles)
    kinds = np.concatenate(scene.kinds)
    xy, inverse, camera = project(joined)
    fine = SIZE * _SUPER
    index, weights = _rasterize((xy + 0.5) * _SUPER - 0.5, inverse, triangles, fine)
    covered = index >= 0
    hit, share = index[covered], weights[covered]

    def interpolate(values: Array) -> Array:
        return np.asarray(np.einsum("pk,pkd->pd", share, values[triangles[hit]]))

    place = interpolate(np.concatenate(scene.reference))
    normals = interpolate(np.concatenate(scene.normals)) @ rotation.T
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    position = interpolate(camera)
    view = np.array([0.0, 0.0, distance]) - position
    view /= np.linalg.norm(view, axis=1, keepdims=True)

    hair = np.array([[0.012, 0.009, 0.008], [0.05, 0.03, 0.018], [0.11, 0.075, 0.045], [0.2, 0.19, 0.18]])
    strand = hair[rng.choice(4, p=[0.35, 0.35, 0.2, 0.1])] * rng.uniform(0.8, 1.2)
    iris = np.array([[0.05, 0.025, 0.012], [0.04, 0.06, 0.09], [0.05, 0.06, 0.03]])[rng.integers(3)]
    kind = kinds[hit]
    albedo = np.zeros((len(hit), 3))
    gloss = np.zeros(len(hit))
    skin = kind == _SKIN
    draw = source.mean_skin + source.skin_modes @ (0.8 * rng.normal(size=source.skin_modes.shape[2]))
    typical = np.median(source.mean_skin[source.face], axis=0)
    # Bounded ratios to the typical skin, in brightness and in hue, keep dark draws the colour of skin.
    ratio = np.clip(draw / typical, 0.15, 2.0)
    bright = ratio.prod(axis=1, keepdims=True) ** (1 / 3)
    base = typical * bright * np.clip(ratio / bright, 0.8, 1.25) ** rng.uniform(0.9, 1.15)
    tone = float(np.median(base[source.face, 1]))
    corners = triangles[hit[skin]]  # skin is the first mesh
    albedo[skin] = _paint_skin(rng, source, place[skin], np.einsum("pk,pkd->pd", share[skin], base[corners]), strand)
    gloss[skin] = rng.uniform(0.0, 0.2) * tone
    eye = kind == _EYE
    away = np.degrees(np.arccos(np.clip(place[eye, 0], -1, 1)))
    white = np.array([0.5, 0.46, 0.44]) * min(1.0, 3.0 * tone)
    ring = _ramp(away, 26, 29)[:, None]
    albedo[eye] = white * ring + (1 - ring) * np.where(away[:, None] < 11, 0.006, iris * (0.5 + 0.015 * away[:, None]))
    gloss[eye] = 0.05
    albedo[kind == _MOUTH] = [0.05, 0.015, 0.013]
    dark = kind == _HAIR
    albedo[dark] = strand * np.exp(0.35 * _waves(rng, place[dark] * [1.0, 0.15, 1.0], 2.5))[:, None]
    diffuse, shine = _light(rng, position, normals, view, gloss)
    radiance = albedo * diffuse + shine
    radiance[eye] *= 0.8  # lids shade the eyes
    exposure = (
        rng.uniform(0.2, 0.3)
        * np.sqrt(min(1.0, tone / 0.25))
        / np.median(radiance[skin & source.face[triangles[hit, 0].clip(max=len(source.face) - 1)]])
    )
    picture = _background(rng, fine)
    picture[covered] = radiance * exposure
    picture = picture.reshape(SIZE, _SUPER, SIZE, _SUPER, 3).mean(axis=(1, 3))
    picture += rng.normal(size=picture.shape) * 0.004
    image = np.rint(linear_to_srgb(np.clip(picture, 0, 1)) * 255).astype(np.uint8)
    image = np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(0.5)))

    seen = np.unique(triangles[hit[skin]])
    seen = seen[source.face[seen]]
    areas = vertex_areas(vertices, source.triangles, len(vertices))[seen]
    landmarks3d = vertices[source.landmarks]
    landmarks2d = project(landmarks3d)[0]
    faces = detect_faces(image.astype(np.float32) / np.float32(255))
    if not faces:
        return None
    return Stranger(
        seed=seed,
        image=image,
        vertices=vertices,
        points=vertices[seen],
        areas=areas,
        landmarks3d=landmarks3d,
        landmarks2d=landmarks2d,
        detected=np.asarray(faces[0].landmarks, np.float64),
        angles=np.array([pitch, yaw, roll, distance / 1000]),
    )


def load_strangers(count: int = 12, ict: Path = ICT, cache: Path | None = None, first: int = 0) -> list[Stranger]:
    """The first renders of the series, made where the cache lacks them.

    Args:
        count: how many.
        ict: ICT-FaceKit's face as one file.
        cache: folder of renders; by default one in the system's temporary folder.
        first: the seed of the first; a series without a detected face is skipped.
    """
    folder = cache or Path(tempfile.gettempdir()) / "faceinv-strangers"
    folder.mkdir(parents=True, exist_ok=True)
    source: _Source | None = None
    renders: list[Stranger] = []
    seed = first
    while len(renders) < count:
        path = folder / f"stranger{VERSION}-{seed:03d}.npz"
        if path.is_file():
            renders.append(_read(path))
        else:
            source = source or _Source(ict, load_model("default"))
            stranger = _make(source, seed)
            if stranger is None:
                print(f"seed {seed}: no face detected, left out")
            else:
                np.savez_compressed(path, **{f.name: getattr(stranger, f.name) for f in dataclasses.fields(stranger)})
                Image.fromarray(stranger.image).save(path.with_suffix(".png"))
                renders.append(stranger)
        seed += 1
    return renders


def _read(path: Path) -> Stranger:
    with np.load(path) as stored:
        fields = {key: stored[key] for key in stored.files}
    return Stranger(seed=int(fields.pop("seed")), **fields)


# ---- the measure


@dataclass(frozen=True)
class _Model:
    """A model ready to be measured."""

    model: MorphableModel

    @cached_property
    def skin(self) -> NDArray[np.int32]:
        return face_triangles(self.model)


def surface_error(stranger: Stranger, measured: _Model, vertices: Array) -> dict[str, float]:
    """How far the shown face lies from a surface that was laid on it, in mm of the true face.

    Statistics are weighted by area. `rigid` keeps the surface's own size; the others leave scale free, since a photo
    does not tell it.
    """
    surface = Surface(vertices, measured.skin)
    landmarks = measured.model.landmarks(vertices)[17:]
    truth = stranger.landmarks3d[17:]
    errors = {}
    for scaled in (True, False):
        start = similarity_of_points(landmarks, truth, scaled=scaled)
        laid, distance = align(surface, stranger.points, stranger.areas, start, scaled)
        if scaled:
            errors["median"] = quantile(distance, stranger.areas, 0.5)
            errors["mean"] = float(np.average(distance, weights=stranger.areas))
            errors["p90"] = quantile(distance, stranger.areas, 0.9)
            errors["scale"] = laid.scale
        else:
            errors["rigid"] = quantile(distance, stranger.areas, 0.5)
    return errors


def landmark_fit(fitter: Fitter, stranger: Stranger, landmarks: Array) -> Array:
    """(N, 3) the surface after the first stage of a fit, which sees the 68 points only."""
    problem = stages.problem_at(fitter.config, [fitter.prepare(stranger.image, landmarks)], 0)
    chi = stages.start_from_landmarks(fitter.engine, fitter.config, problem)[0]
    return fitter.model.vertices(chi[fitter.layout.identity], chi[fitter.layout.expression])


def evaluate(
    config: FitConfig,
    renders: list[Stranger],
    model: MorphableModel | None = None,
    landmarks: tuple[str, ...] = ("detected", "exact"),
) -> dict[str, Any]:
    """Fit every render with one configuration.

    Args:
        config: of the fits.
        renders: from `load_strangers`.
        model: the face model; the default one for None.
        landmarks: which landmarks fits are given: `detected`, `exact` or both.

    Returns:
        `faces`: for every render and every fit the surface errors and the measures of the fit; `summary`: their means
        and worst values over the renders, by the name of the fit (`landmarks detected`, `full detected`, ...).
    """
    fitter = Fitter(model or load_model("default"), config=config)
    measured = _Model(fitter.model)
    faces: list[dict[str, Any]] = []
    for stranger in renders:
        for kind in landmarks:
            points = stranger.detected if kind == "detected" else stranger.landmarks2d
            common = {"seed": stranger.seed}
            start = surface_error(stranger, measured, landmark_fit(fitter, stranger, points))
            faces.append({**common, "fit": f"landmarks {kind}", **start})
            began = time.perf_counter()
            result = fitter.fit(stranger.image, points)
            seconds = time.perf_counter() - began
            faces.append(
                {
                    **common,
                    "fit": f"full {kind}",
                    **surface_error(stranger, measured, result.vertices),
                    **_measures(result, stranger),
                    "seconds": seconds,
                }
            )
    return {"summary": summarise(faces), "faces": faces}


def _measures(result: FitResult, stranger: Stranger) -> dict[str, Any]:
    gap = np.linalg.norm(result.landmarks2d - stranger.landmarks2d, axis=1)[17:].mean()
    truth = rotation_from_euler(*np.radians(stranger.angles[:3]))
    turn = np.arccos(np.clip((np.trace(truth.T @ result.camera.rotation) - 1) / 2, -1, 1))
    return {
        "landmark_percent": 100 * result.landmark_error,
        "true_landmark_percent": 100 * gap / np.linalg.norm(stranger.landmarks2d[36] - stranger.landmarks2d[45]),
        "rmse": result.photometric_rmse,
        "turn_degrees": float(np.degrees(turn)),
        "max_identity": float(np.abs(result.identity).max(initial=0.0)),
        "max_expression": float(np.abs(result.expression).max(initial=0.0)),
        "max_albedo": float(np.abs(result.albedo_coefficients).max(initial=0.0)),
        "iterations": len(result.history),
        "status": result.status.name,
    }


def references(renders: list[Stranger], model: MorphableModel, prior: float = 3e-4) -> list[dict[str, Any]]:
    """Errors of the mean face, and of the model bent onto the true surface, for every render."""
    measured = _Model(model)
    faces: list[dict[str, Any]] = []
    for stranger in renders:
        mean = surface_error(stranger, measured, model.mean.astype(np.float64))
        faces.append({"seed": stranger.seed, "fit": "mean", **mean})
        bent: Expressed = express(model, stranger.points, stranger.areas, stranger.landmarks3d, prior)
        largest = float(np.abs(bent.coefficients).max())
        error = surface_error(stranger, measured, bent.vertices)
        faces.append({"seed": stranger.seed, "fit": "bound", **error, "max_coefficient": largest})
    return faces


def summarise(faces: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Means over renders of every number, and the worst median, by fit."""
    summary: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(face["fit"] for face in faces):
        chosen = [face for face in faces if face["fit"] == name]
        keys = [key for key, value in chosen[0].items() if isinstance(value, float | int) and key != "seed"]
        summary[name] = {key: float(np.mean([face[key] for face in chosen])) for key in keys}
        summary[name]["worst_median"] = max(face["median"] for face in chosen)
        for key in ("max_identity", "max_expression", "max_albedo"):
            if key in keys:
                summary[name][key] = max(face[key] for face in chosen)
    return summary


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=12, help="renders (default %(default)s)")
    parser.add_argument("--ict", type=Path, default=ICT, help="ICT-FaceKit's face area as .npz")
    parser.add_argument("--cache", type=Path, help="folder of renders (default: in the system's temporary folder)")
    parser.add_argument("--config", type=Path, help="TOML file of the fits' settings")
    parser.add_argument("--model", default="default", help="face model (default: the package's own)")
    parser.add_argument("--save", action="store_true", help="write results/strangers.json beside this file")
    options = parser.parse_args()
    if not options.ict.is_file():
        parser.error(f"'{options.ict}' does not exist; give the path of ICT-FaceKit's face area with --ict")
    config = FitConfig.from_toml(options.config) if options.config else FitConfig()
    model = load_model(options.model)
    began = time.perf_counter()
    renders = load_strangers(options.count, options.ict, options.cache)
    print(f"{len(renders)} renders ready after {time.perf_counter() - began:.1f} s")
    gaps = [_detector_gap(stranger) for stranger in renders]
    print(
        f"detected landmarks: inner 51 off by {np.mean(gaps):.2f} % of the outer-eye distance, worst {max(gaps):.2f} %"
    )
    faces = references(renders, model)
    fitted = evaluate(config, renders, model)
    summary = {**summarise(faces), **fitted["summary"]}
    columns = ("median", "mean", "p90", "rigid", "worst_median")
    rows = [{"fit": name, **{key: numbers[key] for key in columns}} for name, numbers in summary.items()]
    print("Distance of the face shown from the fitted surface, mm, means over renders:")
    print(table(rows))
    keys: tuple[str, ...] = (
        "landmark_percent",
        "true_landmark_percent",
        "rmse",
        "turn_degrees",
        "max_identity",
        "max_expression",
    )
    keys = (*keys, "max_albedo", "iterations", "seconds")
    full = {name: numbers for name, numbers in summary.items() if name.startswith("full")}
    print(table([{"fit": name, **{key: numbers[key] for key in keys}} for name, numbers in full.items()]))
    if options.save:
        content = {
            "config": dataclasses.asdict(config),
            "model": model.fingerprint,
            "detector_percent": {"mean": float(np.mean(gaps)), "worst": max(gaps)},
            "summary": summary,
            "faces": [*faces, *fitted["faces"]],
        }
        print(f"saved {save('strangers', content).name}")


def _detector_gap(stranger: Stranger) -> float:
    gap = np.linalg.norm(stranger.detected - stranger.landmarks2d, axis=1)[17:].mean()
    return float(100 * gap / np.linalg.norm(stranger.landmarks2d[36] - stranger.landmarks2d[45]))


if __name__ == "__main__":
    main()
