"""Identity: random people drawn with the sliders, and their principal components."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import numpy as np
from mesh import mirror_average
from principal import mix, positive_sign, principal_components
from sources import LOCAL_GROUPS, MILLIMETRES, macro_offset

if TYPE_CHECKING:
    from arrays import Floats
    from mesh import Mesh
    from sources import Sources

__all__ = ["IDENTITY_MODES", "draw_faces", "face_weight", "identity_modes"]

log = logging.getLogger("faceinv.data")

IDENTITY_MODES: Final = 60
SEED: Final = 20240601
DRAWS: Final = 400
"""Random characters."""
ASYMMETRY: Final = 0.06
"""Independent part of each side's sliders, and the strength of the targets that are asymmetric by design."""
UNUSED_TARGETS: Final = ("head-trans", "head-back", "ear-shape", "asymm-", "asym-ear", "asym-top")
OPPOSITES: Final = (
    ("-incr", "-decr"),
    ("-up", "-down"),
    ("-out", "-in"),
    ("-forward", "-backward"),
    ("-convex", "-concave"),
    ("-uncompress", "-compress"),
)


def local_sliders(sources: Sources) -> dict[str, list[tuple[Floats, Floats]]]:
    """Sliders by group; one or two sides each (left, right), a side being a pair of opposite offsets (V, 3)."""
    sliders: dict[str, list[tuple[Floats, Floats]]] = {}
    keys = [
        key
        for key in sources.targets
        if key.split("/")[0] in LOCAL_GROUPS and not any(word in key for word in UNUSED_TARGETS)
    ]
    nothing = np.zeros_like(sources.vertices)
    taken: set[str] = set()
    for key in sorted(keys):
        if key in taken:
            continue
        opposite = ""
        for one, other in OPPOSITES:
            for a, b in ((one, other), (other, one)):
                if key.endswith(a) and key.removesuffix(a) + b in sources.targets:
                    opposite = key.removesuffix(a) + b
        taken |= {key, opposite}
        name = key.replace("/l-", "/").replace("/r-", "/")
        pair = (sources.targets[key], sources.targets[opposite] if opposite else nothing)
        sliders.setdefault(name, []).append(pair)
    return sliders


def draw_faces(sources: Sources, mesh: Mesh, origin: Floats) -> Floats:
    """(DRAWS, M, 3) mm: random people, aligned with the mean by a similarity."""
    random = np.random.RandomState(SEED)
    sliders = local_sliders(sources)
    asymmetric = [
        offset
        for key, offset in sources.targets.items()
        if key.startswith("asym/") and not any(word in key for word in UNUSED_TARGETS)
    ]
    kept = mesh.kept
    log.info("%d local sliders, %d asymmetric targets", len(sliders), len(asymmetric))
    anchor = face_weight(mesh)
    faces = np.empty((DRAWS, len(kept), 3))
    for number in range(DRAWS):
        ancestry = np.round(random.dirichlet([0.6, 0.6, 0.6]), 4)
        ancestry = ancestry / ancestry.sum()
        male, age = np.round(random.beta(0.5, 0.5), 4), np.round(random.beta(1.2, 2.0), 4)
        muscle, weight = np.round(random.beta(3.0, 3.0), 4), np.round(random.beta(3.0, 3.0), 4)
        face = (sources.vertices + macro_offset(sources, ancestry, male, age, muscle, weight))[kept]
        for name, sides in sliders.items():
            strength = LOCAL_GROUPS[name.split("/")[0]]
            common = np.round(np.clip(random.normal(), -2.5, 2.5) * strength, 4)
            for more, less in sides:
                own = common
                if len(sides) > 1:
                    own = common + np.round(np.clip(random.normal(), -2.5, 2.5) * ASYMMETRY, 4)
                face += own * more[kept] if own > 0 else -own * less[kept]
        for offset in asymmetric:
            face += np.round(np.abs(np.clip(random.normal(), -2.5, 2.5)) * 2 * ASYMMETRY, 4) * offset[kept]
        faces[number] = _aligned(face * MILLIMETRES - origin, mesh.mean, anchor)
    return faces


def face_weight(mesh: Mesh) -> Floats:
    """(M,) how much a vertex counts in alignment and statistics: its area, less at ears, scalp and inside the mouth."""
    corners = mesh.mean[mesh.coarse_quads]
    area = np.linalg.norm(np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1]), axis=1) / 2
    weight = np.zeros(len(mesh.mean))
    for k in range(4):
        np.add.at(weight, mesh.coarse_quads[:, k], area / 4)
    _, y, z = mesh.mean.T
    outside = (z < 5) | (y > 75) | (y < -112 + 0.3 * z)
    weight = np.sqrt(weight) * np.where(outside, 0.25, 1.0)
    return np.round((weight + weight[mesh.coarse_mirror]) / 2, 3)


def _aligned(face: Floats, mean: Floats, weight: Floats) -> Floats:
    """The similarity of `face` (M, 3) closest to `mean` in weighted least squares."""
    w = (weight / weight.sum())[:, None]
    centre, goal = (w * face).sum(axis=0), (w * mean).sum(axis=0)
    a, b = face - centre, mean - goal
    u, singular, vt = np.linalg.svd((w * a).T @ b)
    u[:, 2] *= np.sign(np.linalg.det(u @ vt))
    scale = singular.sum() / (w * a * a).sum()
    moved: Floats = scale * a @ (u @ vt) + goal
    return moved


def identity_modes(faces: Floats, mesh: Mesh) -> tuple[Floats, Floats, Floats]:
    """The mean (M, 3), the modes (M, 3, K) in mm per standard deviation, and cumulative variance (K,).

    Every face counts together with its mirror image, so a mode is exactly symmetric or exactly antisymmetric.
    """
    flip = np.array([-1.0, 1.0, 1.0])
    faces = np.round(faces, 3)
    mirrored = faces[:, mesh.coarse_mirror] * flip
    even, odd = (faces + mirrored) / 2, (faces - mirrored) / 2
    mean = np.round(even.mean(axis=0), 3)
    mean = mirror_average(mean, mesh.coarse_mirror)
    weight = face_weight(mesh)
    modes, variances = [], []
    for part in (even - mean, odd):
        integers = np.rint(part * weight[:, None] * 100).astype(np.int64).reshape(len(part), -1)
        values, mixtures = principal_components(integers, np.full(len(part), 1 / len(part)))
        keep = min(IDENTITY_MODES, len(values))
        modes.append(mix(part.reshape(len(part), -1), mixtures[:, :keep]))
        variances.append(values)
    total = sum(float(v.sum()) for v in variances)
    values = np.concatenate([v[: m.shape[1]] for v, m in zip(variances, modes, strict=True)])
    order = np.argsort(-values, kind="stable")[:IDENTITY_MODES]
    chosen = np.concatenate(modes, axis=1)[:, order].reshape(-1, 3, IDENTITY_MODES)
    return mean, positive_sign(chosen), np.cumsum(values[order]) / total
