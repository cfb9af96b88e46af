"""Non-rigid registration of a head mesh onto another head's surface.

Annealed in stiffness as in Amberg, Romdhani and Vetter, "Optimal step nonrigid ICP algorithms for surface registration"
(CVPR 2007): first only long waves may bend the template, guided by landmarks; then shorter and shorter ones, guided by
nearest points that face the same way, from template to surface (point to plane) and back. Resistance is against any
deformation but local similarities (`Stiffness`), so that heads of other size and proportion are not pulled back, and
triangles keep their shape. Rims of eye holes go to rims where both have them. What has no counterpart (a neck cut
elsewhere, the inside of a mouth) follows its surroundings.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph
from scipy.sparse.linalg import LinearOperator, cg, splu
from scipy.spatial import cKDTree

from faceinv.face.mesh import triangle_normals, vertex_areas, vertex_normals
from faceinv.face.registration.correspondence import Correspondence, FacingSurface, open_vertices
from faceinv.face.registration.similarity import Similarity, similarity_of_points
from faceinv.face.registration.stiffness import Stiffness

if TYPE_CHECKING:
    from faceinv.face.model import MorphableModel

__all__ = ["Registered", "RegistrationSettings", "Stage", "Template", "register_surface"]

Points = NDArray[np.float64]
Triangles = NDArray[np.int64]


@dataclass(frozen=True)
class Template:
    """The head that is laid on another."""

    vertices: Points
    """(N, 3) mm: x to the image's right, y up, z to the viewer; symmetric about x = 0 where `mirror` says so."""
    triangles: Triangles
    """(T, 3)"""
    landmark_vertices: NDArray[np.int64]
    """(68, 3)"""
    landmark_weights: Points
    """(68, 3)"""
    mirror: NDArray[np.int64]
    """(N,) the vertex on the other side."""
    importance: Points
    """(N,) how much a vertex's counterpart counts: 1 on the face; less where heads differ beyond registration, as
    inside the mouth (0)."""

    @classmethod
    def of(cls, model: MorphableModel) -> Template:
        """A model's mean; what is outside the face mask counts less the farther it is."""
        vertices = model.mean.astype(np.float64)
        face = np.zeros(len(vertices), np.bool_)
        face[model.triangles[model.face_mask]] = True
        distance = np.asarray(cKDTree(vertices[face]).query(vertices)[0])
        return cls(
            vertices,
            model.triangles.astype(np.int64),
            model.landmark_vertices.astype(np.int64),
            model.landmark_weights.astype(np.float64),
            model.mirror.astype(np.int64),
            0.1 + 0.9 * np.exp(-((distance / 8.0) ** 2)),
        )

    def landmarks(self, placed: Points) -> Points:
        """(68, 3) the landmarks of positions (N, 3)."""
        marks: Points = np.einsum("lk,lkd->ld", self.landmark_weights, placed[self.landmark_vertices])
        return marks


@dataclass(frozen=True)
class Stage:
    """One step of the annealing."""

    wave_mm: float
    """Shorter waves than this across the surface are resisted,"""
    stretch_mm: float
    """and differences in growth over less than this."""
    landmark_mm2: float
    """Weight of a landmark, as of so much surface."""
    reach_mm: float
    """Counterparts farther off do not count."""
    rounds: int


_STAGES: Final = (
    Stage(150.0, 40.0, 400.0, 0.0, 6),
    Stage(120.0, 30.0, 300.0, 15.0, 4),
    Stage(80.0, 25.0, 200.0, 12.0, 4),
    Stage(50.0, 20.0, 100.0, 10.0, 4),
    Stage(30.0, 15.0, 50.0, 8.0, 4),
    Stage(20.0, 12.0, 20.0, 6.0, 4),
    Stage(14.0, 10.0, 8.0, 5.0, 4),
    Stage(10.0, 8.0, 3.0, 4.0, 4),
    Stage(8.0, 7.0, 1.0, 3.0, 4),
    Stage(5.0, 5.0, 0.3, 2.0, 3),
)


_FLIP: Final = np.array([-1.0, 1.0, 1.0])
_SYMMETRIC_MM: Final = 0.2
"""A surface whose mirror image lies nearer than this is symmetric."""
_NEAR_MM: Final = 15.0
"""Of the template, where a surface is looked at for symmetry."""
_SOLVED: Final = 1e-7
"""Residual of a step's linear system, as a share of its right side."""
_ITERATIONS: Final = 300


@dataclass(frozen=True)
class RegistrationSettings:
    """How a template is laid on a surface."""

    stages: tuple[Stage, ...] = _STAGES
    """From stiff to soft."""
    along: float = 0.05
    """Weight of the distance along the surface beside that of the distance to it."""
    back: float = 0.5
    """Weight of the counterparts that the surface's own vertices have on the template."""
    rim: float = 4.0
    """mm: weight of a rim's points, for each mm of rim."""
    landmark_shares: Points = field(default_factory=lambda: _landmark_shares())
    """(68,) weight of each landmark beside the others."""
    symmetric: bool | None = None
    """Both heads are symmetric, and the result shall be; None finds out."""


def _landmark_shares() -> Points:
    shares = np.ones(68)
    shares[:17] = 0.02  # definitions of the jaw differ by centimetres
    shares[[7, 8, 9]] = 0.1
    shares[17:27] = 0.1
    shares[27:30] = 0.2
    return shares


@dataclass(frozen=True)
class Registered:
    """A template laid on a surface."""

    vertices: Points
    """(N, 3) mm, in the surface's space."""
    counterparts: Correspondence
    """Of the N vertices on the surface."""
    trust: Points
    """(N,) from 0, no counterpart, to 1."""
    similarity: Similarity
    """From the template's space to the surface's, by all trusted vertices."""


def register_surface(
    template: Template,
    vertices: Points,
    triangles: Triangles,
    landmarks: Points,
    settings: RegistrationSettings | None = None,
) -> Registered:
    """Lay a template on a surface.

    Args:
        template: the head to lay.
        vertices: (N', 3) mm of the other surface, in whatever pose.
        triangles: (T', 3), wound outwards.
        landmarks: (68, 3) mm on it.
        settings: how; None for what suits heads.
    """
    return _Laying(template, vertices, triangles, landmarks, settings or RegistrationSettings()).run()


class _Laying:
    """A registration under way, in the template's space: the surface is brought there by a similarity first."""

    def __init__(
        self, template: Template, vertices: Points, triangles: Triangles, landmarks: Points, how: RegistrationSettings
    ) -> None:
        self.template, self.how = template, how
        own = template.landmarks(template.vertices)
        self.home = similarity_of_points(landmarks[17:], own[17:])
        self.marks = self.home(landmarks)
        self.kept = _outside_sockets(self.home(vertices), triangles, self.marks)
        triangles = triangles[self.kept]
        self.surface = FacingSurface(self.home(vertices), triangles)
        self.symmetric = self._are_symmetric() if how.symmetric is None else how.symmetric
        self.area = vertex_areas(template.vertices, template.triangles) * template.importance
        self.surface_area = vertex_areas(self.surface.vertices, triangles)
        self.stiffness = Stiffness(template.vertices, template.triangles)
        count = len(template.vertices)
        rows = np.repeat(np.arange(68), 3)
        self.marking = sparse.coo_array(
            (template.landmark_weights.ravel(), (rows, template.landmark_vertices.ravel())), shape=(68, count)
        ).tocsr()
        self.open = open_vertices(count, template.triangles)
        self.rims = self._rims()

    def _are_symmetric(self) -> bool:
        """Whether both heads are their own mirror images, as near as a landmark is placed."""
        own = self.template.vertices
        if np.abs(own[self.template.mirror] * _FLIP - own).max() > _SYMMETRIC_MM:
            return False
        face = cKDTree(own).query(self.surface.vertices)[0] < _NEAR_MM
        mirrored = self.surface.vertices[face] * _FLIP
        found = self.surface.counterparts(mirrored, self.surface.normals[face] * _FLIP)
        return len(mirrored) > 0 and float(np.quantile(found.distance, 0.9)) < _SYMMETRIC_MM

    def _rims(self) -> list[tuple[NDArray[np.int64], Points]]:
        """For each eye that has a hole in both heads: the template's rim (R,) and points of the surface's (., 3)."""
        rims = []
        own = self.template.landmarks(self.template.vertices)
        for eye in (slice(36, 42), slice(42, 48)):
            mine = _open_edges(self.template.vertices, self.template.triangles, own[eye])
            other = _open_edges(self.surface.vertices, self.surface.triangles, self.marks[eye])
            if len(mine) and len(other):
                ends = self.surface.vertices[other]
                dense = np.concatenate([ends[:, 0] + t / 8 * (ends[:, 1] - ends[:, 0]) for t in range(8)])
                rims.append((np.unique(mine), dense))
        return rims

    def run(self) -> Registered:
        placed = self.template.vertices.copy()
        for stage in self.how.stages:
            for _ in range(stage.rounds):
                placed = self._solved(placed, stage)
        normals = vertex_normals(placed, self.template.triangles)
        found = self.surface.counterparts(placed, normals)
        trust = self._trust(found, 3.0)
        back = self.home.inverse()
        return Registered(
            back(placed),
            Correspondence(
                np.flatnonzero(self.kept)[found.triangle],
                found.weights,
                back(found.position),
                found.normal @ back.rotation.T,
                back.scale * found.distance,
                found.agreement,
                found.inner,
            ),
            trust,
            similarity_of_points(self.template.vertices, back(placed), trust * self.area),
        )

    def _trust(self, found: Correspondence, reach: float) -> Points:
        """(M,) how much counterparts are worth."""
        near = np.clip(1 - (found.distance / max(reach, 1e-9)) ** 2, 0.0, 1.0) ** 2
        facing = np.clip((found.agreement - 0.5) / 0.4, 0.0, 1.0)
        return np.where(found.inner, near * facing, 0.0)

    def _solved(self, placed: Points, stage: Stage) -> Points:
        """Positions after one linear least squares step."""
        count = len(placed)
        wave = (stage.wave_mm / (2 * np.pi)) ** 4
        stretch = (stage.stretch_mm / (2 * np.pi)) ** 2
        resistance = self.stiffness.matrix(stretch, wave)
        right = self.stiffness.pull(placed, stretch, wave)
        share = stage.landmark_mm2 * self.how.landmark_shares
        marking = self.marking.T @ sparse.diags_array(share)
        even = resistance + marking @ self.marking
        right += np.asarray(marking @ self.marks)
        for rim, curve in self.rims:
            length = self.how.rim * 1.5
            goal = curve[cKDTree(curve).query(placed[rim])[1]]
            weight = np.zeros(count)
            weight[rim] = length
            even = even + sparse.diags_array(weight)
            right[rim] += length * goal
        blocks = np.zeros((count, 3, 3))
        couplings: list[sparse.csr_array] = []
        if stage.reach_mm:
            normals = vertex_normals(placed, self.template.triangles)
            found = self.surface.counterparts(placed, normals)
            weight = self.area * self._trust(found, stage.reach_mm) * ~self.open
            toward = found.normal[:, :, None] * found.normal[:, None, :] + self.how.along * np.eye(3)
            blocks += weight[:, None, None] * toward
            right += weight[:, None] * np.einsum("nij,nj->ni", toward, found.position)
            if self.how.back:
                coupling, pull = self._back(placed, normals, stage.reach_mm)
                couplings.append(coupling)
                right += pull
        index = np.arange(3 * count).reshape(count, 3)
        matrix = sparse.kron(even, sparse.eye_array(3), format="csr")
        matrix = (
            matrix
            + sparse.coo_array(
                (blocks.ravel(), (np.repeat(index, 3, axis=1).ravel(), np.tile(index, (1, 3)).ravel())),
                shape=matrix.shape,
            ).tocsr()
        )
        for coupling in couplings:
            matrix = matrix + coupling
        moved = _solution(matrix, even, right, placed)
        solution = moved
        if self.symmetric:
            solution = (solution + solution[self.template.mirror] * _FLIP) / 2
        return solution

    def _back(self, placed: Points, normals: Points, reach: float) -> tuple[sparse.csr_array, Points]:
        """Rows of the surface's vertices on the template: a (3N, 3N) matrix and what it pulls to, (N, 3)."""
        own = FacingSurface(placed, self.template.triangles)
        found = own.counterparts(self.surface.vertices, self.surface.normals)
        importance = np.einsum(
            "mk,mk->m", found.weights, self.template.importance[self.template.triangles[found.triangle]]
        )
        weight = self.how.back * self.surface_area * self._trust(found, reach) * importance
        use = np.flatnonzero(weight > 1e-9)
        corners = self.template.triangles[found.triangle[use]]
        normal = self.surface.normals[use]
        columns = (3 * corners[:, :, None] + np.arange(3)).reshape(len(use), 9)
        values = (found.weights[use][:, :, None] * normal[:, None, :]).reshape(len(use), 9)
        rows = sparse.csr_array(
            (values.ravel(), columns.ravel(), 9 * np.arange(len(use) + 1)), shape=(len(use), 3 * len(placed))
        )
        weighted = rows.T @ sparse.diags_array(weight[use])
        goal = (normal * self.surface.vertices[use]).sum(axis=1)
        return sparse.csr_array(weighted @ rows), (weighted @ goal).reshape(-1, 3)


def _outside_sockets(vertices: Points, triangles: Triangles, marks: Points) -> NDArray[np.bool_]:
    """(T,) the triangles without what lies behind the edges of the lids: their backs and the eye sockets.

    About the eyes a surface that faces back is the back of a lid; what only hangs together with the face through it is
    the socket. So the rim of the hole is the edge that the front view shows, in every mesh that has a hole.
    """
    kept = np.ones(len(triangles), np.bool_)
    facing = triangle_normals(vertices, triangles)[:, 2]
    centres = vertices[triangles].mean(axis=1)
    for eye in (slice(36, 42), slice(42, 48)):
        middle, width = marks[eye].mean(axis=0), float(np.linalg.norm(marks[eye][3] - marks[eye][0]))
        near = (((centres - middle)[:, :2] / width) ** 2).sum(axis=1) < 0.6**2
        near &= np.abs(centres[:, 2] - middle[2]) < width
        kept &= ~(near & (facing < 0))
    graph = sparse.coo_array(
        (np.ones(2 * kept.sum()), (triangles[kept][:, [0, 1]].ravel(), triangles[kept][:, [1, 2]].ravel())),
        shape=(len(vertices), len(vertices)),
    )
    _, part = csgraph.connected_components(graph, directed=False)
    own = part[triangles[:, 0]]
    on_face: NDArray[np.bool_] = kept & (own == np.bincount(own[kept]).argmax())
    return on_face


def _solution(matrix: sparse.csr_array, even: sparse.csr_array, right: Points, start: Points) -> Points:
    """(N, 3) the solution of a (3N, 3N) system by conjugate gradients.

    What the coordinates share, `even` (N, N), and the mean of their own diagonals are factorised for a preconditioner:
    much less work than factorising the whole.
    """
    count = len(start)
    own = matrix.diagonal().reshape(count, 3).mean(axis=1) - even.diagonal()
    factor = splu(
        sparse.csc_matrix(even + sparse.diags_array(own)),
        permc_spec="MMD_AT_PLUS_A",
        options={"SymmetricMode": True},
        diag_pivot_thresh=0.0,
    )
    precondition = LinearOperator(
        matrix.shape, matvec=lambda vector: factor.solve(vector.reshape(count, 3)).ravel(), dtype=np.float64
    )
    found, _ = cg(matrix, right.ravel(), x0=start.ravel(), rtol=_SOLVED, maxiter=_ITERATIONS, M=precondition)
    return np.asarray(found, np.float64).reshape(count, 3)


def _open_edges(vertices: Points, triangles: Triangles, eye: Points) -> NDArray[np.int64]:
    """(E, 2) the edges about an eye's landmarks (6, 3) that one triangle only has."""
    edges = np.sort(np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]]), axis=1)
    edges, uses = np.unique(edges, axis=0, return_counts=True)
    edges = edges[uses == 1]
    width = float(np.linalg.norm(eye[3] - eye[0]))
    distance = np.linalg.norm(vertices[edges] - eye.mean(axis=0), axis=2).max(axis=1)
    near: NDArray[np.int64] = edges[distance < 0.75 * width]
    return near
