"""ICT-FaceKit's head, and random people made of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse import csgraph, linalg

from portraits.meshes import edges_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.int64]

__all__ = ["IctHead", "draw_face", "eyeball"]


_UNITS: Final = (
    "browDown", "browInnerUp", "browOuterUp", "cheekPuff", "cheekRaiser", "cheekSquint", "eyeBlink", "eyeSquint",
    "eyeWide", "jawForward", "jawOpen", "mouthDimple", "mouthFrown", "mouthFunnel", "mouthLowerDown", "mouthPress",
    "mouthPucker", "mouthRollLower", "mouthShrugLower", "mouthShrugUpper", "mouthSmile", "mouthSmile", "mouthStretch",
    "mouthUpperUp", "noseSneer", "mouthLeft", "mouthRight", "jawLeft", "jawRight",
)  # fmt: skip


_LIMITS: Final = {"jawOpen": 0.25, "eyeBlink": 0.3, "mouthFunnel": 0.3, "mouthPucker": 0.4, "noseSneer": 0.3}


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


def _carry_on(triangles: Indices, count: int, moves: Array) -> Array:
    """(K, N, 3) motions known at the first vertices, (K, n, 3), continued harmonically over the others."""
    known = moves.shape[1]
    edges, _ = edges_of(triangles)
    ones = np.ones(len(edges))
    one_way = sparse.coo_array((ones, (edges[:, 0], edges[:, 1])), shape=(count, count))
    graph = (one_way + one_way.T).tocsr()
    laplacian = sparse.csr_array(sparse.diags(np.asarray(graph.sum(axis=1)).ravel())) - graph
    inner = laplacian[known:, known:] + 1e-6 * sparse.eye_array(count - known)
    values = moves.transpose(1, 0, 2).reshape(known, -1)
    rest = linalg.splu(sparse.csc_matrix(inner)).solve(-(laplacian[known:, :known] @ values))
    return np.concatenate([values, rest]).reshape(count, len(moves), 3).transpose(1, 0, 2)


def _loops(triangles: Indices, points: Array) -> list[Indices]:
    """Vertices of each border of a mesh, the narrowest border first."""
    edges, counts = edges_of(triangles)
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


def eyeball(mean: Array, neutral: Array, side: int) -> tuple[Array, float]:
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
