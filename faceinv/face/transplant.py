"""Carrying the people of one model over to the mesh of another.

The other mesh is laid on the model's mean (`registration`), so that every vertex has a counterpart there; mean,
identity modes and albedo follow, and what the other mesh comes with stays: eyes, teeth, texture coordinates, named
expressions, landmarks, face mask. Where there is no counterpart (a neck cut elsewhere, the inside of the mouth) modes
go on smoothly. Loose parts (eyeballs, teeth, lashes) follow the skin by the rule that says best how they follow it in
the other model's own identity modes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.linalg import splu
from scipy.spatial import cKDTree

from faceinv.errors import ModelError
from faceinv.face.formats._mesh import vertex_parts
from faceinv.face.jaw_band import jaw_band
from faceinv.face.mesh import vertex_areas
from faceinv.face.model import MorphableModel
from faceinv.face.registration import Registered, Template, register_surface, similarity_of_points
from faceinv.face.registration.stiffness import cotangent_laplacian

__all__ = ["Transplanted", "transplant"]

Points = NDArray[np.float64]

_WAVE_MM: Final = 6.0
"""Shorter waves of a mode than this are noise of the correspondence."""
_FAR_MM2: Final = 1e-4
"""What smoothness a mode keeps where it has no counterpart: of its second derivatives, against the rest."""
_OFF_MM: Final = 3.0
"""Median distance of the face from the other surface beyond which it is no registration."""
_BORROWED: Final = 0.8
"""Cosine between each mode of a borrowed albedo and the same mode of its owner, at least."""
_PART_MM: Final = (4.0, 8.0, 15.0, 30.0)
"""Skin within one of these distances of a loose part carries it."""


@dataclass(frozen=True)
class Transplanted:
    """A model whose people are another's."""

    model: MorphableModel
    distance: float
    """mm, RMS over the face: between the laid mesh and the other mean."""
    normal_angle: float
    """Degrees, mean over the face: between their normals."""
    folded: float
    """Share of the face's vertices whose normals differ by more than 30 degrees."""
    covered: float
    """Share of the face's vertices that have a counterpart."""
    own_albedo: bool
    """Whether albedo was carried over."""


def transplant(source: MorphableModel, onto: MorphableModel) -> Transplanted:
    """Give the mesh of `onto` the identities of `source`, and its albedo where it has one of its own.

    The result is in the space and of the size of `onto`.

    Raises:
        ModelError: when `source` has that mesh already, has no identity modes, or its mean cannot be registered.
    """
    if source.triangles.shape == onto.triangles.shape and (source.triangles == onto.triangles).all():
        raise ModelError(
            f"model '{source.name}' has the mesh of '{onto.name}' already; there is nothing to carry over."
        )
    if not source.identity_count:
        raise ModelError(f"model '{source.name}' has no identity modes; there is nothing to carry over.")
    skin = _skin(onto)
    template = _part_of(Template.of(onto), skin)
    mean = source.mean.astype(np.float64)
    laid = register_surface(template, mean, source.triangles.astype(np.int64), source.landmarks(mean))
    face = np.flatnonzero(np.isin(skin, np.unique(onto.triangles[onto.face_mask])))
    covered = laid.trust[face] > 0.5
    if float(np.median(laid.counterparts.distance[face])) > _OFF_MM or covered.mean() < 0.5:
        raise ModelError(
            f"model '{source.name}': the face of '{onto.name}' cannot be laid on its mean; {covered.mean():.0%} of it "
            "has a counterpart there. Look at its landmarks with 'faceinv models render'; a right table may be given "
            "in 'landmarks.txt' beside the model."
        )
    area = vertex_areas(template.vertices, template.triangles)
    on_face = np.zeros(len(skin))
    on_face[face] = area[face]
    home = similarity_of_points(laid.vertices, template.vertices, on_face)

    corners, weights = source.triangles[laid.counterparts.triangle], laid.counterparts.weights
    moves = np.zeros((len(skin), 3, source.identity_count))
    for k in range(3):
        moves += weights[:, k, None, None] * source.identity_basis[corners[:, k]]
    turned = home.scale * np.einsum("ij,njm->nim", home.rotation, moves)
    modes = _continued(template, laid.trust * area, turned, _WAVE_MM)

    parts = _LooseParts(onto, skin)
    shift = parts.carried((home(laid.vertices) - template.vertices)[:, :, None])[..., 0]
    new_mean = (onto.mean + shift).astype(np.float32)
    own_albedo, space, mean_albedo, albedo = _albedo(source, onto, template, skin, laid, area)
    angle = np.rad2deg(np.arccos(np.clip(laid.counterparts.agreement[face], -1, 1)))
    model = dataclasses.replace(
        onto,
        name=f"{source.name} on {onto.name}",
        licence=f"Identity{' and albedo' * own_albedo} from {source.name}: {source.licence} "
        f"Mesh, expressions and all else from {onto.name}: {onto.licence}",
        mean=new_mean,
        identity_basis=parts.carried(modes).astype(np.float32),
        albedo_space=space,
        mean_albedo=mean_albedo.astype(np.float32),
        albedo_basis=albedo.astype(np.float32),
        jaw_band=jaw_band(new_mean, onto.triangles, onto.landmark_vertices, onto.landmark_weights),
        occlusion=None,
    )
    return Transplanted(
        model,
        float(np.sqrt((laid.counterparts.distance[face] ** 2).mean()) * home.scale),
        float(angle.mean()),
        float((angle > 30).mean()),
        float(covered.mean()),
        own_albedo,
    )


def _skin(model: MorphableModel) -> NDArray[np.int64]:
    """The vertices of the part that holds the face."""
    parts = vertex_parts(model.vertex_count, model.triangles.astype(np.int64))
    face = parts[model.triangles[model.face_mask][:, 0]]
    return np.flatnonzero(parts == np.bincount(face).argmax())


def _part_of(template: Template, vertices: NDArray[np.int64]) -> Template:
    """A template of some of its vertices."""
    place = np.full(len(template.vertices), -1, np.int64)
    place[vertices] = np.arange(len(vertices))
    triangles = place[template.triangles]
    mirror = place[template.mirror[vertices]]
    return Template(
        template.vertices[vertices],
        triangles[(triangles >= 0).all(axis=1)],
        np.maximum(place[template.landmark_vertices], 0),
        template.landmark_weights,
        np.where(mirror < 0, np.arange(len(vertices)), mirror),
        template.importance[vertices],
    )


def _continued(template: Template, trust: Points, values: NDArray[Any], wave_mm: float) -> Points:
    """Values (N, ...) as they are where they are trusted (N,) mm^2, and smooth where not.

    Minimises the squared difference by trust, plus the squared Laplacian by area, weighed so that waves shorter than
    `wave_mm` are smoothed, plus a little of the squared gradient, so that there is one solution.
    """
    laplacian = cotangent_laplacian(template.vertices, template.triangles)
    area = np.maximum(vertex_areas(template.vertices, template.triangles), 1e-3)
    bending = laplacian @ sparse.diags_array(1 / area) @ laplacian
    system = sparse.diags_array(trust) + (wave_mm / (2 * np.pi)) ** 4 * bending + _FAR_MM2 * laplacian
    system = system + sparse.diags_array(np.full(len(area), 1e-9))
    factor = splu(sparse.csc_matrix(system), permc_spec="MMD_AT_PLUS_A", options={"SymmetricMode": True})
    flat = np.asarray(values, np.float64).reshape(len(values), -1)
    smooth: Points = np.asarray(factor.solve(trust[:, None] * flat)).reshape(values.shape)
    return smooth


class _LooseParts:
    """How parts of a mesh that do not hang together with its skin follow it."""

    def __init__(self, model: MorphableModel, skin: NDArray[np.int64]) -> None:
        self.skin, self.count = skin, model.vertex_count
        self.places = model.mean.astype(np.float64)
        labels = vertex_parts(model.vertex_count, model.triangles.astype(np.int64))
        own = model.identity_basis.astype(np.float64)
        tree = cKDTree(self.places[skin])
        self.rules: list[tuple[NDArray[np.int64], NDArray[np.int64] | None, NDArray[np.int64]]] = []
        """Vertices of a part; the skin's vertices that carry it as a whole, or None; and the nearest of each vertex."""
        for label in np.setdiff1d(np.unique(labels), labels[skin[:1]]):
            vertices = np.flatnonzero(labels == label)
            found = tree.query(self.places[vertices])
            distance, nearest = np.asarray(found[0]), np.asarray(found[1], np.int64)
            choices: list[NDArray[np.int64] | None] = [None]
            for reach in _PART_MM:
                near = tree.query_ball_point(self.places[vertices], float(distance.min()) + reach)
                choices.append(np.unique(np.concatenate([np.asarray(rows, np.int64) for rows in near])))
            errors = [
                float(((self._moved(vertices, anchors, nearest, own[skin]) - own[vertices]) ** 2).sum())
                for anchors in choices
            ]
            self.rules.append((vertices, choices[int(np.argmin(errors))], nearest))

    def _moved(
        self, vertices: NDArray[np.int64], anchors: NDArray[np.int64] | None, nearest: NDArray[np.int64], skin: Points
    ) -> Points:
        """(P, 3, K): a shift and a growth fitted to the anchors, or each vertex as the nearest of the skin."""
        if anchors is None or len(anchors) < 3:
            return skin[nearest]
        points = self.places[self.skin[anchors]]
        middle = points.mean(axis=0)
        arms, moves = points - middle, skin[anchors]
        growth = np.einsum("ad,adk->k", arms, moves) / (arms**2).sum()
        carried: Points = moves.mean(axis=0) + (self.places[vertices] - middle)[:, :, None] * growth
        return carried

    def carried(self, skin: Points) -> Points:
        """(N, 3, K) displacements of all vertices for those of the skin (S, 3, K)."""
        whole = np.zeros((self.count, *skin.shape[1:]))
        whole[self.skin] = skin
        for vertices, anchors, nearest in self.rules:
            whole[vertices] = self._moved(vertices, anchors, nearest, skin)
        return whole


def _albedo(
    source: MorphableModel,
    onto: MorphableModel,
    template: Template,
    skin: NDArray[np.int64],
    laid: Registered,
    area: Points,
) -> tuple[bool, str, Points, Points]:
    """Whether albedo is carried over, its colour space, the mean (N, 3) and the modes (N, 3, K)."""
    corners, weights = source.triangles[laid.counterparts.triangle], laid.counterparts.weights
    mean = np.einsum("nk,nkc->nc", weights, source.mean_albedo[corners])
    if source.albedo_space == onto.albedo_space and _borrowed(source, onto, corners, weights, skin, laid.trust > 0.5):
        kept = onto.mean_albedo.astype(np.float64), onto.albedo_basis.astype(np.float64)
        return False, onto.albedo_space, *kept
    modes = np.einsum("nk,nkcm->ncm", weights, source.albedo_basis[corners], optimize=True)
    everything = np.concatenate([mean[:, :, None], modes], axis=2)
    carried = _continued(template, laid.trust * area, everything, _WAVE_MM / 3)
    whole_mean = onto.mean_albedo.astype(np.float64)
    if source.albedo_space != onto.albedo_space:
        whole_mean = _recoded(whole_mean, source.albedo_space)
    whole = np.zeros((onto.vertex_count, 3, modes.shape[2]))
    whole_mean[skin], whole[skin] = carried[..., 0], carried[..., 1:]
    return True, source.albedo_space, np.clip(whole_mean, 0.0, 1.0), whole


def _borrowed(
    source: MorphableModel,
    onto: MorphableModel,
    corners: NDArray[np.int32],
    weights: Points,
    skin: NDArray[np.int64],
    sure: NDArray[np.bool_],
) -> bool:
    """Whether the albedo of `source` is that of `onto`, as models without one borrow it from the default model: every
    mode is the same picture, but for where the face's parts were thought to be."""
    count = source.albedo_count
    if not 0 < count <= onto.albedo_count:
        return False
    for k in range(count):
        other = np.einsum("nk,nkc->nc", weights, source.albedo_basis[corners, :, k])[sure].ravel()
        own = onto.albedo_basis[skin[sure], :, k].astype(np.float64).ravel()
        if other @ own < _BORROWED * float(np.linalg.norm(other) * np.linalg.norm(own)):
            return False
    return True


def _recoded(albedo: Points, space: str) -> Points:
    """Reflectances in the other colour space (IEC 61966-2-1)."""
    if space == "srgb":
        low, high = 12.92 * albedo, 1.055 * np.maximum(albedo, 1e-9) ** (1 / 2.4) - 0.055
        return np.where(albedo <= 0.0031308, low, high)
    return np.where(albedo <= 0.04045, albedo / 12.92, ((np.maximum(albedo, 0) + 0.055) / 1.055) ** 2.4)
