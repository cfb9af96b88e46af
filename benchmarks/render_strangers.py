"""Path-traced portraits of people who are in no model of ours, with everything that is true about them.

The heads come from ICT-FaceKit (MIT licence, not part of this repository): identities drawn from all its modes, mild
expressions. Everything that the picture shows of them is made here: skin of many tones with blotches, moles, brows,
lips and stubble; eyes; hair; clothes; lamps, windows, skies; a perspective camera from 0.3 to 1.5 m. Mitsuba 3 traces
the light, so there are cast shadows, shine and light from one cheek to another.

The split `dev` is there to be looked at and tuned on; `test` is only reported.

    pip install 'faceinv[benchmark]'
    python benchmarks/render_strangers.py --ict ICT-FOLDER --split dev --out FOLDER
"""

from __future__ import annotations

import argparse
import io
import itertools
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph, linalg
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["SPLITS", "IctHead", "Pose", "draw_face", "outline_landmarks"]

VERSION: Final = 3
"""Of the recipe: renders of different ones must not be compared."""
SPLITS: Final = {"dev": (11, 16), "test": (23, 24)}
"""First number of the seeds, and how many faces there are."""
SIZE: Final = 400
DISTANCES: Final = (300.0, 600.0, 900.0, 1500.0)
"""From the camera to the middle of the face, mm; each within 8 %."""
_MAX_YAW: Final = 40.0
_UNITS: Final = (
    "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink", "eyeSquint",
    "eyeWide", "jawForward", "jawOpen", "mouthDimple", "mouthFrown", "mouthFunnel", "mouthLowerDown", "mouthPress",
    "mouthPucker", "mouthRollLower", "mouthShrugLower", "mouthShrugUpper", "mouthSmile", "mouthSmile", "mouthStretch",
    "mouthUpperUp", "noseSneer", "mouthLeft", "mouthRight", "jawLeft", "jawRight",
)  # fmt: skip
_LIMITS: Final = {"jawOpen": 0.25, "eyeBlink": 0.3, "mouthFunnel": 0.3, "mouthPucker": 0.4, "noseSneer": 0.3}
_TONES: Final = (
    (240, 205, 185), (228, 184, 156), (205, 154, 122), (166, 116, 86), (124, 82, 60), (88, 58, 45),
)  # fmt: skip
"""sRGB of skins, from light to dark."""
_HAIRS: Final = ((24, 20, 18), (46, 33, 25), (84, 60, 42), (140, 104, 66), (150, 146, 142))
_IRISES: Final = ((58, 36, 22), (86, 60, 36), (90, 110, 130), (84, 96, 70))


# ---- the head


@dataclass(frozen=True)
class IctHead:
    """ICT-FaceKit's head with its neck and sockets, in mm. Its first vertices are those of `ict_face.npz`."""

    mean: Array
    """(N, 3)."""
    triangles: Indices
    """(T, 3)."""
    identity: Array
    """(100, N, 3) one standard deviation each; beyond the face carried on smoothly."""
    expression: dict[str, Array]
    """(N, 3) at full strength."""
    landmarks: Indices
    """(68,)."""
    face_count: int
    """How many these are."""
    rims: dict[str, Indices]
    """Vertices of the edges of the lids (`left eye`, `right eye`, as the picture shows them)."""
    outline: NDArray[np.bool_]
    """(N,) skin within the jaw's outline: what a face's outline in a picture is the outline of."""
    scored: NDArray[np.bool_]
    """(N,) skin of the face whose place is measured: within the outline, below the hair."""

    @classmethod
    def read(cls, folder: Path) -> IctHead:
        """Read `ict_face.npz` and `FaceXModel/generic_neutral_mesh.obj` of a folder.

        Args:
            folder: with both files.
        """
        with np.load(folder / "ict_face.npz") as stored:
            face = stored["vertices"].astype(np.float64) * 10
            identity = stored["identity"].astype(np.float64) * 10
            names = [str(name) for name in stored["expression_names"]]
            expression = stored["expression"].astype(np.float64) * 10
            landmarks = stored["landmarks68"].astype(np.int64)
            face_triangles = stored["faces"].astype(np.int64)
        mean, triangles = _read_obj(folder / "FaceXModel" / "generic_neutral_mesh.obj", ("M_Face", "M_BackHead"))
        count = len(face)
        carried = _carry_on(triangles, len(mean), np.concatenate([identity, expression]))
        expressions = dict(zip(names, carried[len(identity) :], strict=True))
        rims = _eye_rims(face_triangles, face)
        outline = np.zeros(len(mean), np.bool_)
        outline[:count] = _within_jaw(face, face[landmarks[:17]])
        scored = outline & (mean[:, 1] < 92) & ~_near_holes(face_triangles, face, len(mean))
        return cls(mean, triangles, carried[: len(identity)], expressions, landmarks, count, rims, outline, scored)


def _read_obj(path: Path, materials: tuple[str, ...]) -> tuple[Array, Indices]:
    """Vertices in mm up to the last that is used, and the triangles of some materials."""
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    wanted = False
    for line in path.read_text().splitlines():
        words = line.split()
        if line.startswith("v "):
            vertices.append([10 * float(word) for word in words[1:4]])
        elif line.startswith("usemtl "):
            wanted = words[1] in materials
        elif line.startswith("f ") and wanted:
            corner = [int(word.split("/")[0]) - 1 for word in words[1:]]
            triangles += [(corner[0], corner[k], corner[k + 1]) for k in range(1, len(corner) - 1)]
    index = np.array(triangles)
    return np.array(vertices)[: index.max() + 1], index


def _edges(triangles: Indices) -> tuple[Indices, Indices]:
    """(E, 2) undirected edges, and in how many triangles each is."""
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    unique, counts = np.unique(pairs, axis=0, return_counts=True)
    return unique, counts


def _carry_on(triangles: Indices, count: int, moves: Array) -> Array:
    """(K, N, 3) motions known at the first vertices, (K, n, 3), continued harmonically over the others."""
    known = moves.shape[1]
    edges, _ = _edges(triangles)
    ones = np.ones(len(edges))
    graph = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    graph = (graph + graph.T).tocsr()
    laplacian = sparse.csr_array(sparse.diags(np.asarray(graph.sum(axis=1)).ravel())) - graph
    inner = laplacian[known:, known:] + 1e-6 * sparse.eye_array(count - known)
    values = moves.transpose(1, 0, 2).reshape(known, -1)
    rest = linalg.splu(sparse.csc_matrix(inner)).solve(-(laplacian[known:, :known] @ values))
    return np.concatenate([values, rest]).reshape(count, len(moves), 3).transpose(1, 0, 2)


def _loops(triangles: Indices, points: Array) -> list[Indices]:
    """Vertices of each border of a mesh, the narrowest border first."""
    edges, counts = _edges(triangles)
    rim = edges[counts == 1]
    graph = sparse.coo_array((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), shape=(len(points), len(points)))
    _, label = csgraph.connected_components(graph, directed=False)
    loops = [np.flatnonzero(label == k) for k in np.unique(label[rim[:, 0]])]
    return sorted(loops, key=lambda loop: float(np.ptp(points[loop, 0])))


def _eye_rims(triangles: Indices, points: Array) -> dict[str, Indices]:
    eyes = sorted(_loops(triangles, points)[:2], key=lambda loop: float(points[loop, 0].mean()))
    return {"left eye": eyes[0], "right eye": eyes[1]}


def _near_holes(triangles: Indices, points: Array, count: int) -> NDArray[np.bool_]:
    """(count,) the borders of eyes and mouth, and their neighbours: creases that no picture shows well."""
    near = np.zeros(count, np.bool_)
    for loop in _loops(triangles, points)[:3]:
        near[loop] = True
    for _ in range(2):
        near[triangles[near[triangles].any(axis=1)]] = True
    return near


def _within_jaw(points: Array, jaw: Array) -> NDArray[np.bool_]:
    """(N,) whether a ray from inside the head to a point leaves within the jaw line; above the line's ends, the ears,
    whether it leaves in front of these."""
    centre = np.array([0.0, -15.0, 25.0])

    def polar(place: Array) -> tuple[Array, Array]:
        arm = place - centre
        around = np.arctan2(arm[:, 0], -arm[:, 1])  # 0 towards the chin, positive to the image's right
        return around, np.arctan2(np.hypot(arm[:, 0], arm[:, 1]), arm[:, 2])

    around, away = polar(jaw)
    at, reach = polar(points)
    order = np.argsort(around)
    limit = np.interp(at, around[order], away[order])
    above = (at < around.min()) | (at > around.max())
    # Forehead: in front of the vertical plane through the jaw line's ends, up to the top of the skull.
    ends = jaw[[0, 16]].mean(axis=0)
    return np.where(above, points[:, 2] > ends[2] + 4.0, reach < limit)


# ---- a face and how it is seen


@dataclass(frozen=True)
class Pose:
    """The camera, at the origin, looks along -z; x right, y up."""

    rotation: Array
    """(3, 3) model space to the camera's."""
    translation: Array
    """(3,) mm."""
    focal: float
    """px."""
    size: int
    """px; the principal point is the middle of the image."""

    def to_camera(self, points: Array) -> Array:
        """(..., 3) mm, camera space."""
        moved: Array = points @ self.rotation.T + self.translation
        return moved

    def project(self, points: Array) -> Array:
        """(..., 2) px, pixel centres at integers."""
        seen = self.to_camera(points)
        centre = (self.size - 1) / 2
        return centre + self.focal * seen[..., :2] * [1.0, -1.0] / -seen[..., 2:]


def _rotation(pitch: float, yaw: float, roll: float) -> Array:
    (sp, cp), (sy, cy), (sr, cr) = ((math.sin(a), math.cos(a)) for a in np.radians([pitch, yaw, roll]))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    turned: Array = about_z @ about_y @ about_x
    return turned


def draw_face(rng: np.random.Generator, head: IctHead) -> tuple[Array, Array, dict[str, float]]:
    """A random person: (N, 3) at rest, (N, 3) with a mild expression, and the units' strengths."""
    neutral = head.mean + np.tensordot(rng.normal(size=len(head.identity)), head.identity, axes=1)
    moved, strengths = neutral.copy(), {}
    for unit in dict.fromkeys(rng.choice(_UNITS, int(rng.integers(1, 5)))):
        strength = float(rng.uniform(0, _LIMITS.get(unit, 0.5)))
        for name in (unit, f"{unit}_L", f"{unit}_R"):
            if name in head.expression:
                strengths[name] = strength * float(rng.uniform(0.75, 1.0))
                moved += strengths[name] * head.expression[name]
    return neutral, moved, strengths


def _draw_pose(rng: np.random.Generator, head: IctHead, vertices: Array, distance: float) -> tuple[Pose, Array]:
    """A camera at some distance, and the angles pitch, yaw, roll in degrees."""
    angles = np.array([rng.uniform(-12, 12), rng.uniform(-_MAX_YAW, _MAX_YAW), rng.uniform(-10, 10)])
    rotation = _rotation(*angles)
    marks = vertices[head.landmarks]
    middle = marks[17:].mean(axis=0)
    height = float(np.linalg.norm(marks[27] - marks[8]))
    focal = SIZE * distance / (rng.uniform(2.5, 2.9) * height)
    shift = rng.normal(size=2) * [9.0, 9.0] + [0.0, -6.0]
    place = np.array([shift[0] * distance / focal, shift[1] * distance / focal, -distance])
    return Pose(rotation, place - rotation @ middle, float(focal), SIZE), angles


def outline_landmarks(head: IctHead, vertices: Array, pose: Pose) -> Array:
    """(17, 2) px: the jaw as annotators mark it, on the visible outline of the face.

    The outline is that of the projected skin within the jaw line: where the head turns away, the contour at which the
    cheek ends; where it turns towards the camera, the jaw's edge itself. Each mark is where the outline is met by the
    ray from the middle of the face through the outermost point of its own cross-section of the head.
    """
    inside = head.outline[head.triangles].all(axis=1)
    edges, _ = _edges(head.triangles[inside])
    xy = pose.project(vertices)
    jaw, nose = head.landmarks[:17], vertices[head.landmarks[27:36]].mean(axis=0)
    # From well inside: the ends of the jaw line lie above it, the chin below.
    centre = pose.project(vertices[head.landmarks[27:31]].mean(axis=0) - [0.0, 12.0, 25.0])
    skin = np.unique(head.triangles[inside])
    start, along = xy[edges[:, 0]], xy[edges[:, 1]] - xy[edges[:, 0]]
    marks = np.empty((17, 2))
    for number, vertex in enumerate(jaw):
        # Seen from the front of the head: a cross-section through the jaw point, towards the nose or, higher up, level.
        toward = (vertices[vertex] - nose)[:2]
        if vertices[vertex, 1] > nose[1]:
            toward[1] = 0.0
        toward /= np.linalg.norm(toward)
        arm = vertices[skin] - vertices[vertex]
        off = np.abs(arm[:, 0] * toward[1] - arm[:, 1] * toward[0])
        own_side = (vertices[skin] - nose)[:, :2] @ toward > 0.15 * np.linalg.norm((vertices[vertex] - nose)[:2])
        section = skin[(off < 2.5) & own_side]
        outward = (pose.rotation @ np.array([*toward, 0.0]))[:2] * [1.0, -1.0]
        goal = xy[section[np.argmax(xy[section] @ outward)]] if len(section) else xy[vertex]
        ray = goal - centre
        ray /= np.linalg.norm(ray)
        # centre + r ray = start + s along
        cross = ray[0] * along[:, 1] - ray[1] * along[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            gap = start - centre
            r = (gap[:, 0] * along[:, 1] - gap[:, 1] * along[:, 0]) / cross
            s = (gap[:, 0] * ray[1] - gap[:, 1] * ray[0]) / cross
        met = (s >= 0) & (s <= 1) & (r > 0) & np.isfinite(r)
        marks[number] = centre + ray * r[met].max()
    return marks


# ---- meshes to be traced


def _vertex_normals(vertices: Array, triangles: Indices) -> Array:
    corners = vertices[triangles]
    crossed = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    summed = np.stack(
        [np.bincount(triangles.ravel(), np.repeat(crossed[:, d], 3), minlength=len(vertices)) for d in range(3)], axis=1
    )
    return summed / np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-12)


def _vertex_areas(vertices: Array, triangles: Indices) -> Array:
    corners = vertices[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 6
    return np.asarray(np.bincount(triangles.ravel(), np.repeat(area, 3), minlength=len(vertices)))


def _refine(vertices: Array, triangles: Indices, others: list[Array]) -> tuple[Array, Indices, list[Array]]:
    """Each triangle into four; new vertices lie on a curved surface through the old ones, which stay.

    Phong tessellation (Boubekeur and Alexa, SIGGRAPH Asia 2008): the middle of an edge, halfway pulled to the tangent
    planes of its ends. Other quantities of vertices are interpolated linearly.
    """
    normals = _vertex_normals(vertices, triangles)
    pairs = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, inverse = np.unique(pairs, axis=0, return_inverse=True)
    a, b = edges.T
    middle = (vertices[a] + vertices[b]) / 2
    pulled = middle
    for end in (a, b):
        height = ((middle - vertices[end]) * normals[end]).sum(axis=1, keepdims=True)
        pulled = pulled - 0.5 * height * normals[end]
    place = 0.25 * middle + 0.75 * pulled
    ab, bc, ca = (inverse.ravel().reshape(3, -1) + len(vertices))[:3]
    i, j, k = triangles.T
    finer = np.concatenate([np.stack(each, axis=1) for each in ((i, ab, ca), (ab, j, bc), (ca, bc, k), (ab, bc, ca))])
    return (
        np.concatenate([vertices, place]),
        finer,
        [np.concatenate([other, (other[a] + other[b]) / 2]) for other in others],
    )


def _ball(centre: Array, radii: Array, count: int) -> tuple[Array, Indices, Array]:
    """Vertices, triangles and outward directions of an ellipsoid."""
    theta, phi = np.meshgrid(np.linspace(0, np.pi, count), np.linspace(0, 2 * np.pi, 2 * count), indexing="ij")
    unit = np.stack([np.sin(theta) * np.sin(phi), np.cos(theta), np.sin(theta) * np.cos(phi)], axis=-1).reshape(-1, 3)
    index = np.arange(len(unit)).reshape(theta.shape)
    a, b, c, d = index[:-1, :-1].ravel(), index[1:, :-1].ravel(), index[1:, 1:].ravel(), index[:-1, 1:].ravel()
    return centre + unit * radii, np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)]), unit


def _eyeball(mean: Array, neutral: Array, side: int) -> tuple[Array, float]:
    """Centre and radius of the ball behind a lid's rim: ICT's own ball, moved as its distances from the rim demand."""
    home, radius = np.array([side * 31.0, 36.1, 79.3]), 14.9
    growth = float(np.ptp(neutral[:, 0]) / np.ptp(mean[:, 0]))
    wanted = np.linalg.norm(mean - home, axis=1) * growth
    centre = home + (neutral - mean).mean(axis=0)
    for _ in range(20):
        arm = neutral - centre
        length = np.linalg.norm(arm, axis=1)
        rows = -arm / length[:, None]
        centre = centre - np.linalg.solve(rows.T @ rows + 0.5 * np.eye(3), rows.T @ (length - wanted))
    return centre, radius * growth


# ---- colours


def _linear(srgb: Any) -> Array:
    share = np.asarray(srgb, np.float64) / 255
    curve: Array = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    return curve


def _encoded(linear: Array) -> NDArray[np.uint8]:
    share = np.clip(linear, 0, 1)
    curve = np.where(share <= 0.0031308, 12.92 * share, 1.055 * share ** (1 / 2.4) - 0.055)
    return np.rint(255 * curve).astype(np.uint8)


def _waves(rng: np.random.Generator, points: Array, length: float, count: int = 24) -> Array:
    """(Q,) smooth noise of unit variance whose features are about `length` mm across."""
    directions = rng.normal(size=(count, 3)) * (2 * np.pi / (2.5 * length))
    phases = rng.uniform(0, 2 * np.pi, count)
    total = np.zeros(len(points))
    for direction, phase in zip(directions, phases, strict=True):
        total += np.cos(points @ direction + phase)
    return total * math.sqrt(2 / count)


def _ramp(values: Array, low: float, high: float) -> Array:
    share = np.clip((values - low) / (high - low), 0, 1)
    smooth: Array = share * share * (3 - 2 * share)
    return smooth


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
    inside = np.zeros(len(points), np.bool_)
    x, y = points.T
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (ay > y) != (by > y)
        inside ^= crosses & (x < (bx - ax) * (y - ay) / (by - ay if by != ay else 1e-9) + ax)
    return inside


def _hair_cover(rng: np.random.Generator, place: Array, ears: Array) -> Array:
    """(Q,) from 0, bare, to 1, of places on the mean head. `ears` are 1 there."""
    line = rng.uniform(88, 106)
    fringe = line - 0.0028 * place[:, 0] ** 2 * (place[:, 2] > 0) + 2.5 * _waves(rng, place * [1, 0.3, 1], 6)
    top = _ramp(place[:, 1] - fringe, 0, 7) * _ramp(-place[:, 2], -108, -96)
    side_front = rng.uniform(20, 40)
    side = _ramp(side_front - place[:, 2] + 2 * _waves(rng, place, 5), 0, 8) * _ramp(place[:, 1], 28, 48)
    nape = rng.uniform(-90, -50)
    back = _ramp(-14 - place[:, 2], 0, 10) * _ramp(place[:, 1], nape, nape + 12)
    return np.maximum(np.maximum(top, side), back) * (1 - ears)


@dataclass(frozen=True)
class _Skin:
    """What a place of the skin looks like."""

    colour: Array
    """(Q, 3) linear reflectance."""
    roughness: Array
    """(Q,)."""


def _paint(rng: np.random.Generator, head: IctHead, place: Array, tone: Array, hair: Array) -> _Skin:
    """Skin at places (Q, 3) of the mean face."""
    marks = head.mean[head.landmarks]
    colour = np.tile(tone, (len(place), 1))
    colour *= np.exp(rng.uniform(0.03, 0.09) * _waves(rng, place, 32)[:, None])
    colour *= np.exp(np.outer(rng.uniform(0.02, 0.07) * _waves(rng, place, 11), [0.3, 1.0, 0.9]))
    colour *= np.exp(rng.uniform(0.01, 0.05) * _waves(rng, place, 2.2)[:, None])
    # Redder cheeks, nose and ears, darker lids, a paler or yellower forehead.
    regions = (
        (marks[[2, 48, 41]].mean(0), 17.0), (marks[[14, 54, 46]].mean(0), 17.0), (marks[30], 11.0), (marks[8], 14.0),
    )  # fmt: skip
    for centre, reach in regions:
        near = np.exp(-((place - centre) ** 2).sum(axis=1) / (2 * reach**2))
        colour *= np.exp(np.outer(near * rng.uniform(0, 0.3), [0.02, -1.0, -0.8]))
    for lid in (marks[36:42], marks[42:48]):
        gap = np.linalg.norm((place - lid.mean(0)) * [0.75, 1.0, 0.6], axis=1)
        colour *= np.exp(-np.outer(_ramp(-gap, -19, -8) * rng.uniform(0, 0.3), [0.8, 1.0, 0.9]))
    brow_height = marks[17:27, 1].mean()
    colour *= np.exp(np.outer(_ramp(place[:, 1] - brow_height, 5, 25) * rng.normal() * 0.07, [1.0, 1.0, 1.3]))
    # Freckles, moles, pimples.
    face = np.flatnonzero(head.outline)
    spots = head.mean[rng.choice(face, int(rng.choice([6, 15, 60, 300])))]
    spots = spots + rng.normal(size=spots.shape) * 0.8
    gap, which = cKDTree(spots).query(place)
    size, strength = rng.uniform(0.6, 1.3, len(spots)), rng.uniform(0.05, 0.35, len(spots)) / (1 + len(spots) / 200)
    colour *= 1 - (strength[which] * np.exp(-((gap / size[which]) ** 2)))[:, None] * [0.7, 1.0, 1.1]
    mole = head.mean[rng.choice(face, 4)]
    gap, _ = cKDTree(mole).query(place)
    colour *= 1 - np.outer(np.exp(-((gap / 1.2) ** 4)), [0.55, 0.7, 0.75])
    outer, inner = marks[48:60, :2], marks[60:68, :2]
    edge = _from_line(place[:, :2], np.vstack([outer, outer[:1]]))
    signed = np.where(_within(place[:, :2], outer), edge, -edge)
    # Stubble.
    if rng.random() < 0.35:
        beard = _ramp(-place[:, 1], 16, 34) * _ramp(np.abs(place[:, 0]) + 0.9 * np.abs(place[:, 1] + 60), 8, 30)
        beard = (
            np.maximum(beard, _ramp(-place[:, 1], 52, 60)) * _ramp(place[:, 2], 25, 45) * _ramp(place[:, 1], -120, -95)
        )
        beard *= rng.uniform(0.15, 0.5) * (0.85 + 0.15 * _waves(rng, place, 2)) * _ramp(-signed, 0, 2)
        colour = colour * (1 - beard[:, None]) + beard[:, None] * (0.6 * hair + 0.25 * tone)
    # Lips.
    lips = _ramp(signed, -1.0, 1.2) * (place[:, 2] > 80) * rng.uniform(0.4, 0.95)
    green = rng.uniform(0.45, 0.8)
    red = np.array([rng.uniform(0.85, 1.0), green, green * rng.uniform(0.95, 1.2)])
    colour = colour * (1 - lips[:, None] * (1 - red))
    line = _from_line(place[:, :2], np.vstack([inner, inner[:1]]))
    colour *= 1 - (0.4 * np.exp(-((line / 0.8) ** 2)) * (place[:, 2] > 80))[:, None]
    # Brows, thicker at their inner ends.
    thick, dense = rng.uniform(2.5, 5.0), rng.uniform(0.35, 0.9)
    lift = rng.normal() * 0.7
    for brow in (marks[17:22, :2], marks[22:27, :2]):
        gap = _from_line(place[:, :2], brow + np.array([0.0, lift]))
        taper = 1 - 0.35 * _ramp(np.abs(place[:, 0]), 25, 55)
        strokes = np.clip(0.85 + 0.12 * _waves(rng, place * [1.5, 0.6, 1.0], 1.2), 0, 1)
        cover = dense * (1 - _ramp(gap / taper, 0.4 * thick, thick)) * strokes * (place[:, 2] > 60)
        colour = colour * (1 - cover[:, None]) + cover[:, None] * np.minimum(hair, 0.35 * tone)
    # Lashes.
    depth = rng.uniform(0.3, 0.85)
    for lid in (marks[36:40, :2], marks[42:46, :2]):
        gap = _from_line(place[:, :2], lid)
        colour *= 1 - (depth * np.exp(-((gap / 1.1) ** 2)) * (place[:, 2] > 50))[:, None]
    # Inside of lids and mouth.
    deep = _within(place[:, :2], outer) & (place[:, 2] < 92)
    colour[deep] = np.array([0.16, 0.05, 0.045])
    # Foreheads and noses shine more.
    rough = rng.uniform(0.38, 0.6) * np.exp(0.12 * _waves(rng, place, 9))
    oil = np.exp(-((place - marks[29]) ** 2).sum(axis=1) / (2 * 14**2))
    oil = np.maximum(oil, _ramp(place[:, 1], 50, 75))
    rough = rough * (1 - rng.uniform(0, 0.25) * oil) - 0.1 * lips
    return _Skin(np.clip(colour, 0.004, 0.92), np.clip(rough, 0.25, 0.8))


# ---- light


def _directions(height: int) -> Array:
    """(height, 2 height, 3) of an environment map's pixels in Mitsuba's order."""
    v, u = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(2 * height) + 0.5) / (2 * height), indexing="ij")
    theta, phi = np.pi * v, 2 * np.pi * u
    return np.stack([np.sin(phi) * np.sin(theta), np.cos(theta), -np.cos(phi) * np.sin(theta)], axis=-1)


def _unit(azimuth: float, elevation: float) -> Array:
    """Towards a lamp: azimuth 0 behind the camera (+z), positive to the image's right; degrees."""
    a, e = np.radians([azimuth, elevation])
    return np.array([np.sin(a) * np.cos(e), np.sin(e), np.cos(a) * np.cos(e)])


def _warmth(rng: np.random.Generator, spread: float) -> Array:
    shift = rng.normal() * spread
    return np.array([1 + shift, 1.0, 1 - shift]) * np.exp(rng.normal(size=3) * 0.2 * spread)


def _surroundings(rng: np.random.Generator, kind: str) -> tuple[Array, list[tuple[Array, float, float, Array]]]:
    """An environment map (H, 2H, 3), and lamps: direction, distance mm, half side mm, radiance."""
    way = _directions(64)
    up = way[..., 1]
    flat = way.reshape(-1, 3) * 100
    noise = _waves(rng, flat, 60, 12).reshape(up.shape)
    lamps = []

    def disc(azimuth: float, elevation: float, radius: float) -> Array:
        angle = np.degrees(np.arccos(np.clip(way @ _unit(azimuth, elevation), -1, 1)))
        return 1 - _ramp(angle, 0.8 * radius, 1.2 * radius)

    if kind == "studio":
        sky = np.full(up.shape, rng.uniform(0.1, 0.4))[..., None] * (1 + 0.1 * noise[..., None]) * _warmth(rng, 0.03)
        side = rng.choice([-1.0, 1.0])
        half = rng.uniform(150, 500)
        distance = rng.uniform(900, 1600)
        strength = rng.uniform(1.5, 4.0) / (half / distance) ** 2 / 4
        lamps.append(
            (_unit(side * rng.uniform(10, 60), rng.uniform(5, 45)), distance, half, strength * _warmth(rng, 0.08))
        )
        if rng.random() < 0.6:
            fill = _unit(-side * rng.uniform(25, 70), rng.uniform(-5, 25))
            lamps.append((fill, distance, half, rng.uniform(0.1, 0.5) * strength * _warmth(rng, 0.05)))
    elif kind == "outdoor":
        zenith = np.array([0.5, 0.7, 1.0]) * rng.uniform(0.5, 1.0)
        horizon = np.array([1.0, 0.97, 0.93]) * rng.uniform(0.6, 1.2)
        ground = rng.uniform(0.08, 0.4) * np.array([1.0, rng.uniform(0.85, 1.05), rng.uniform(0.6, 0.9)])
        share = np.clip(up, 0, 1)[..., None] ** 0.6
        sky = np.where(up[..., None] > 0, horizon * (1 - share) + zenith * share, ground * (1 + 0.3 * noise[..., None]))
        blocked = _ramp(noise, 0.4, 0.8)[..., None] * (np.abs(up) < 0.5)[..., None] * rng.uniform(0, 0.9)
        sky = sky * (1 - blocked) + blocked * rng.uniform(0.03, 0.25, 3)
        if rng.random() < 0.6:
            radius = rng.uniform(8, 25)
            sun = disc(rng.uniform(-80, 80), rng.uniform(20, 65), radius)
            sky = sky + sun[..., None] * rng.uniform(0.8, 2.2) * 1500 / radius**2 * np.array([1.0, 0.93, 0.82])
    else:
        walls = rng.uniform(0.08, 0.35) * np.exp(0.5 * noise)[..., None] * _warmth(rng, 0.08)
        ceiling = rng.uniform(0.2, 0.9) * _warmth(rng, 0.1)
        floor = rng.uniform(0.04, 0.25) * _warmth(rng, 0.12)
        sky = np.where(up[..., None] > 0.55, ceiling, np.where(up[..., None] < -0.5, floor, walls))
        for _ in range(int(rng.integers(1, 3))):
            wide, high = rng.uniform(15, 35), rng.uniform(15, 30)
            azimuth, elevation = rng.uniform(-100, 100), rng.uniform(0, 30)
            across = np.degrees(np.arctan2(way[..., 0], way[..., 2])) - azimuth
            upward = np.degrees(np.arcsin(up)) - elevation
            pane = (1 - _ramp(np.abs(across), wide - 3, wide)) * (1 - _ramp(np.abs(upward), high - 3, high))
            sky = sky + pane[..., None] * rng.uniform(2.0, 6.0) * _warmth(rng, 0.06)
        if kind == "flash":
            reach = rng.uniform(0.7, 2.0) / 0.002
            lamps.append((_unit(rng.normal() * 3, rng.uniform(2, 7)), 1000.0, 25.0, reach * np.ones(3)))
    return np.maximum(sky, 0.0), lamps


# ---- the picture


def _load_mitsuba(threads: int) -> Any:
    try:
        import drjit
        import mitsuba
    except ImportError as error:
        raise SystemExit(f"{error}: renders need Mitsuba 3; pip install 'faceinv[benchmark]'.") from None
    mitsuba.set_variant("scalar_rgb")
    drjit.set_thread_count(threads)
    return mitsuba


def _coated(roughness: float, specular: float) -> dict[str, Any]:
    """A surface with the colours of its vertices and some shine."""
    colour = {"type": "mesh_attribute", "name": "vertex_color"}
    return {"type": "principled", "base_color": colour, "roughness": roughness, "specular": specular}


def _mesh(
    mi: Any, vertices: Array, triangles: Indices, normals: Array | None, bsdf: dict[str, Any], **attributes: Array
) -> Any:
    """A Mitsuba mesh; attributes are (N, C) by name without `vertex_`."""
    properties = mi.Properties()
    properties["mesh_bsdf"] = mi.load_dict(bsdf)
    mesh = mi.Mesh("mesh", len(vertices), len(triangles), props=properties, has_vertex_normals=normals is not None)
    parameters = mi.traverse(mesh)
    parameters["vertex_positions"] = np.ascontiguousarray(vertices, np.float32).ravel()
    parameters["faces"] = np.ascontiguousarray(triangles, np.uint32).ravel()
    if normals is not None:
        parameters["vertex_normals"] = np.ascontiguousarray(normals, np.float32).ravel()
    parameters.update()
    for name, values in attributes.items():
        width = 1 if values.ndim == 1 else values.shape[1]
        mesh.add_attribute(f"vertex_{name}", width, np.ascontiguousarray(values, np.float32).ravel())
    return mesh


def _visible(scene: Any, mi: Any, points: Array, normals: Array) -> NDArray[np.bool_]:
    """(Q,) which points (camera space, camera at the origin) the camera sees, not edge-on."""
    distance = np.linalg.norm(points, axis=1)
    towards = -points / distance[:, None]
    seen = (normals * towards).sum(axis=1) > 0.1
    for index in np.flatnonzero(seen):
        ray = mi.Ray3f(
            mi.Point3f(*(points[index] + 0.4 * normals[index] + 0.3 * towards[index])), mi.Vector3f(*towards[index])
        )
        ray.maxt = float(distance[index]) - 1.0
        seen[index] = not scene.ray_test(ray)
    return seen


def _render(mi: Any, head: IctHead, split: str, number: int, samples: int) -> dict[str, Any]:
    rng = np.random.default_rng([VERSION, SPLITS[split][0], number])
    distance = DISTANCES[number % 4] * rng.uniform(0.92, 1.08)
    neutral, vertices, strengths = draw_face(rng, head)
    pose, angles = _draw_pose(rng, head, vertices, distance)
    tone_at = rng.uniform(0, len(_TONES) - 1)
    tone = np.exp([np.interp(tone_at, range(len(_TONES)), np.log(_linear(_TONES))[:, c]) for c in range(3)])
    tone = tone * np.exp(rng.normal() * 0.05 * np.array([0.6, 0.0, -0.8]) + rng.normal() * 0.06)
    hair_kind = rng.choice(len(_HAIRS), p=[0.3, 0.3, 0.2, 0.1, 0.1]) if tone_at < 2.5 else rng.choice([0, 0, 1, 4])
    hair = _linear(_HAIRS[hair_kind]) * rng.uniform(0.8, 1.3)
    # Skin, finer than the picture.
    ears = ((np.abs(head.mean[:, 0]) > 71) & (np.abs(head.mean[:, 1] - 15) < 48) & (head.mean[:, 2] < 42)).astype(float)
    fine, triangles, (place, on_ear) = _refine(vertices, head.triangles, [head.mean, ears])
    fine, triangles, (place, on_ear) = _refine(fine, triangles, [place, on_ear])
    skin = _paint(rng, head, place, tone, hair)
    cover = _hair_cover(rng, place, on_ear)
    strands = np.exp(0.35 * _waves(rng, place * [1.0, 0.25, 0.6], 2.0))[:, None] * hair
    colour = skin.colour * (1 - 0.85 * cover[:, None]) + 0.85 * cover[:, None] * strands
    cloth = rng.uniform(0.03, 0.5) * np.exp(0.35 * rng.normal(size=3))
    clothed = _ramp(-place[:, 1] - 0.0009 * place[:, 0] ** 2, 148, 151)[:, None]
    colour = colour * (1 - clothed) + clothed * cloth
    normals = _vertex_normals(fine, triangles)
    bumpy = normals + rng.uniform(0.0, 0.05) * np.stack([_waves(rng, place, 1.0, 16) for _ in range(3)], axis=1)
    bumpy /= np.linalg.norm(bumpy, axis=1, keepdims=True)
    to_world = pose.rotation.T

    def camera(points: Array) -> Array:
        return pose.to_camera(points)

    gloss = float(rng.uniform(0.2, 0.55))
    skin_bsdf = {
        "type": "principled",
        "base_color": {"type": "mesh_attribute", "name": "vertex_color"},
        "roughness": {"type": "mesh_attribute", "name": "vertex_rough"},
        "specular": gloss,
        "sheen": float(rng.uniform(0, 0.15)),
    }
    two_sided = {
        "type": "twosided",
        "bsdf": {"type": "diffuse", "reflectance": {"type": "mesh_attribute", "name": "vertex_color"}},
    }
    scene: dict[str, Any] = {
        "type": "scene",
        "integrator": {"type": "path", "max_depth": 5, "rr_depth": 10},
        "skin": _mesh(mi, camera(fine), triangles, bumpy @ to_world, skin_bsdf, color=colour, rough=skin.roughness),
    }
    # Hair: a shell that leaves the skin where it begins.
    thickness = float(rng.choice([0.0, 3.0, 8.0, 16.0, 24.0], p=[0.12, 0.2, 0.28, 0.25, 0.15]))
    if thickness:
        depth = (
            thickness
            * np.sqrt(cover)
            * (1 + 0.25 * _waves(rng, place * [1, 0.6, 0.8], 10) + 0.12 * _waves(rng, place, 3))
            - 0.7
        )
        shell = fine + depth[:, None] * normals
        used = (cover[triangles] > 0).any(axis=1)
        scene["hair"] = _mesh(
            mi, camera(shell), triangles[used], _vertex_normals(shell, triangles) @ to_world,
            _coated(0.45, 0.4),
            color=np.clip(strands, 0, 0.9),
        )  # fmt: skip
        if rng.random() < 0.35 and thickness > 8:
            behind, tris, unit = _ball(np.array([0.0, -40.0, -45.0]), np.array([rng.uniform(92, 112), 130.0, 48.0]), 60)
            shade = np.exp(0.4 * _waves(rng, behind * [1, 0.15, 1], 2.5))[:, None] * hair
            scene["long"] = _mesh(mi, camera(behind), tris, None, two_sided, color=np.clip(shade, 0, 0.9))
    torso, tris, unit = _ball(np.array([0.0, -330.0, -45.0]), np.array([225.0, 165.0, 115.0]), 50)
    weave = cloth * np.exp(0.15 * _waves(rng, torso, 8))[:, None]
    scene["torso"] = _mesh(mi, camera(torso), tris, unit @ to_world, two_sided, color=np.clip(weave, 0, 0.9))
    # Eyes.
    iris = _linear(_IRISES[rng.integers(len(_IRISES) if tone_at < 2.0 else 2)]) * rng.uniform(0.7, 1.3)
    gaze = np.array([rng.normal() * 0.12, rng.normal() * 0.05, 1.0])
    if rng.random() < 0.6:  # into the camera
        ahead = -(pose.rotation.T @ pose.to_camera(vertices[head.landmarks[27]])) / distance
        gaze = np.clip(ahead, [-0.45, -0.22, 0.0], [0.45, 0.18, 1.0]) + 0.3 * gaze * [1, 1, 0]
    gaze /= np.linalg.norm(gaze)
    for name, side in (("left eye", -1), ("right eye", 1)):
        centre, radius = _eyeball(head.mean[head.rims[name]], neutral[head.rims[name]], side)
        # Poles of the ball, where its triangles are finest, towards the gaze.
        ball, tris, unit = _ball(np.zeros(3), np.full(3, radius), 90)
        across = np.cross([0.0, 1.0, 0.0], gaze)
        across /= np.linalg.norm(across)
        frame = np.stack([across, gaze, np.cross(across, gaze)], axis=1)
        angle = np.degrees(np.arccos(np.clip(unit[:, 1], -1, 1)))
        white = (
            np.array([0.5, 0.45, 0.43])
            * rng.uniform(0.75, 1.1)
            * (1 - 0.15 * _ramp(angle, 40, 70)[:, None] * [0, 1, 1])
        )
        rays = 1 + 0.25 * _waves(rng, unit * [40, 2, 40], 9)
        ring = _ramp(angle, 23, 25.5)[:, None]
        ball_colour = white * ring + (1 - ring) * np.where(
            angle[:, None] < rng.uniform(7.5, 10), 0.004, iris * rays[:, None]
        )
        scene[name] = _mesh(
            mi, camera(centre + ball @ frame.T), tris, unit @ frame.T @ to_world,
            _coated(0.12, 0.5),
            color=np.clip(ball_colour, 0.003, 0.9),
        )  # fmt: skip
    # Light.
    kind = ("studio", "outdoor", "room", "flash")[(number // 4 + number) % 4]
    sky, lamps = _surroundings(rng, kind)
    scene["sky"] = {"type": "envmap", "bitmap": mi.Bitmap(sky.astype(np.float32))}
    middle = pose.to_camera(vertices[head.landmarks[17:]].mean(axis=0))
    for index, (direction, far, half, radiance) in enumerate(lamps):
        at = middle + direction * far
        scene[f"lamp{index}"] = {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f()
            .look_at(origin=list(at), target=list(middle), up=[0, 1, 0.01])
            .scale([half, half, 1]),
            "emitter": {"type": "area", "radiance": {"type": "rgb", "value": [float(c) for c in radiance]}},
        }
    if rng.random() < 0.75:
        scene["wall"] = {
            "type": "rectangle",
            "to_world": mi.ScalarTransform4f()
            .translate([0, 0, float(middle[2] - rng.uniform(500, 1500))])
            .scale([4000, 4000, 1]),
            "bsdf": {
                "type": "diffuse",
                "reflectance": {
                    "type": "rgb",
                    "value": [
                        float(c) for c in rng.uniform(0.05, 0.8) * np.exp(rng.normal(size=3) * 0.2).clip(0.5, 1.2)
                    ],
                },
            },
        }
    scene["camera"] = {
        "type": "perspective",
        "fov": math.degrees(2 * math.atan(SIZE / 2 / pose.focal)),
        "near_clip": 20.0,
        "far_clip": 20000.0,
        "to_world": mi.ScalarTransform4f().look_at(origin=[0, 0, 0], target=[0, 0, -1], up=[0, 1, 0]),
        "film": {"type": "hdrfilm", "width": SIZE, "height": SIZE, "rfilter": {"type": "gaussian"}},
        "sampler": {"type": "multijitter", "sample_count": samples},
    }
    built = mi.load_dict(scene)
    linear = np.array(mi.render(built, spp=samples, seed=number))[..., :3].astype(np.float64)

    true_normals = _vertex_normals(vertices, head.triangles)
    areas = _vertex_areas(vertices, head.triangles)
    candidates = np.flatnonzero(head.scored)
    seen = candidates[_visible(built, mi, pose.to_camera(vertices[candidates]), true_normals[candidates] @ to_world)]
    xy = np.rint(pose.project(vertices[seen])).astype(int)
    inside = ((xy >= 0) & (xy < SIZE)).all(axis=1)
    seen, xy = seen[inside], xy[inside]
    # Exposure by the face, as cameras do: darker skins come out darker, but less so than they are.
    level = np.median(linear[xy[:, 1], xy[:, 0], 1])
    linear *= rng.uniform(0.85, 1.15) * 0.33 * min(1.0, (float(tone[1]) / 0.35) ** 0.5) / level
    linear += rng.normal(size=linear.shape) * 0.003
    packed = io.BytesIO()
    Image.fromarray(_encoded(linear)).save(packed, "jpeg", quality=int(rng.integers(88, 97)), subsampling=0)
    image = np.asarray(Image.open(io.BytesIO(packed.getvalue())))

    landmarks3d = vertices[head.landmarks]
    exact = pose.project(landmarks3d)
    hidden_jaw = exact[:17].copy()
    exact[:17] = outline_landmarks(head, vertices, pose)
    eye = float(np.linalg.norm(exact[36] - exact[45]))
    annotated = exact + rng.normal(size=(68, 2)) * 0.01 * eye
    tangent = np.gradient(exact[:17], axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    annotated[:17] += tangent * rng.normal(size=(17, 1)) * 0.03 * eye
    depth = -pose.to_camera(landmarks3d[17:].mean(axis=0))[2]
    return {
        "version": VERSION,
        "name": f"{split}{number:02d}",
        "image": image,
        "rotation": pose.rotation,
        "translation": pose.translation,
        "focal": pose.focal,
        "principal": np.full(2, (SIZE - 1) / 2),
        "distance": depth,
        "angles": angles,
        "light": kind,
        "tone": tone,
        "vertices": vertices[: head.face_count],
        "albedo": colour[: head.face_count],
        "neutral": neutral[: head.face_count],
        "triangles": head.triangles[(head.triangles < head.face_count).all(axis=1)],
        "visible": seen,
        "areas": areas[seen],
        "normals": true_normals[seen],
        "landmarks3d": landmarks3d,
        "landmarks_exact": exact,
        "landmarks_annotated": annotated,
        "landmarks_projected": np.concatenate([hidden_jaw, exact[17:]]),
        "units": np.array(sorted(strengths)),
        "strengths": np.array([strengths[name] for name in sorted(strengths)]),
    }


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ict", type=Path, required=True, help="folder with ict_face.npz and FaceXModel/")
    parser.add_argument("--split", choices=sorted(SPLITS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; renders go to OUT/SPLIT")
    parser.add_argument("--faces", type=int, help="only the first ones")
    parser.add_argument("--first", type=int, default=0, help="begin with this one")
    parser.add_argument("--samples", type=int, default=49, help="rays for each pixel (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    mi = _load_mitsuba(options.threads)
    head = IctHead.read(options.ict)
    folder = options.out / options.split
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.faces or SPLITS[options.split][1]):
        began = time.perf_counter()
        render = _render(mi, head, options.split, number, options.samples)
        np.savez_compressed(folder / f"{render['name']}.npz", **render)
        Image.fromarray(render["image"]).save(folder / f"{render['name']}.png")
        seen = f"{render['light']}, {render['distance']:.0f} mm, yaw {render['angles'][1]:.0f}"
        print(f"{render['name']}: {time.perf_counter() - began:.0f} s, {seen}", flush=True)


if __name__ == "__main__":
    main()
