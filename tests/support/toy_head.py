"""A small head with a known shape, and writers of each published layout around it."""

from __future__ import annotations

import json
import pickle
import struct
import sys
import types
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import io

from faceinv.face.model import MorphableModel

ROWS, COLUMNS = 44, 34
JAW = [(-66, 30), (-66, 12), (-64, -8), (-60, -26), (-54, -42), (-45, -56), (-33, -67), (-17, -75)]
HALF = {
    17: [(-58, 48), (-50, 54), (-39, 56), (-28, 55), (-16, 51)],
    31: [(-13, -8), (-7, -11)],
    36: [(-46, 33), (-38, 39), (-28, 39), (-20, 32), (-28, 28), (-38, 28)],
    48: [(-26, -33), (-16, -27), (-6, -24)],
}
MIDDLE = {8: (0, -79), 27: (0, 34), 28: (0, 24), 29: (0, 13), 30: (0, 3), 33: (0, -12)}


def landmark_plan() -> NDArray[np.float64]:
    """(68, 2) mm: where the landmarks are, seen from the front."""
    plan = np.zeros((68, 2))
    plan[:8] = JAW
    plan[9:17] = [(-x, y) for x, y in reversed(JAW)]
    plan[17:22] = HALF[17]
    plan[22:27] = [(-x, y) for x, y in reversed(HALF[17])]
    for number, place in MIDDLE.items():
        plan[number] = place
    plan[31:33] = HALF[31]
    plan[34:36] = [(-x, y) for x, y in reversed(HALF[31])]
    plan[36:42] = HALF[36]
    plan[42:48] = [(-HALF[36][k][0], HALF[36][k][1]) for k in (3, 2, 1, 0, 5, 4)]
    plan[48:60] = [
        *HALF[48], (0, -26), (6, -24), (16, -27), (26, -33), (16, -41), (6, -45), (0, -46), (-6, -45), (-16, -41),
    ]  # fmt: skip
    plan[60:68] = [(-21, -33), (-7, -31), (0, -31), (7, -31), (21, -33), (7, -37), (0, -37), (-7, -37)]
    return plan


@dataclass
class Toy:
    """A face: x right, y up, z front, millimetres, triangles wound outwards."""

    mean: NDArray[np.float64]
    triangles: NDArray[np.int64]
    landmarks: NDArray[np.int64]
    identity: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    """(3N, K) orthonormal."""
    expression: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    albedo: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))


@cache
def toy(identity: int = 5, expression: int = 4, albedo: int = 3, seed: int = 0) -> Toy:
    x, y = np.meshgrid(np.linspace(-74, 74, COLUMNS), np.linspace(-95, 100, ROWS))
    z = 95 * np.sqrt(np.maximum(1 - (x / 86) ** 2 - (y / 135) ** 2, 0.02))
    z = z + 24 * np.exp(-((x / 11) ** 2) - ((y - 2) / 16) ** 2)
    mean = np.stack([x.ravel(), y.ravel(), z.ravel()], axis=1)
    corner = (np.arange(ROWS - 1)[:, None] * COLUMNS + np.arange(COLUMNS - 1)).ravel()
    low = np.stack([corner, corner + 1, corner + COLUMNS + 1], axis=1)
    high = np.stack([corner, corner + COLUMNS + 1, corner + COLUMNS], axis=1)
    distance = np.linalg.norm(mean[None, :, :2] - landmark_plan()[:, None], axis=2)
    made = Toy(mean, np.concatenate([low, high]), distance.argmin(axis=1))
    made.identity = orthonormal(mean, identity, seed)
    made.expression = orthonormal(mean, expression, seed + 1)
    made.albedo = orthonormal(mean, albedo, seed + 2)
    return made


def orthonormal(mean: NDArray[np.float64], count: int, seed: int) -> NDArray[np.float64]:
    """(3N, count) smooth orthonormal modes."""
    random = np.random.default_rng(seed)
    waves = random.normal(scale=0.04, size=(count, 3, 3))
    phases = random.uniform(0, 6, size=(count, 3))
    modes = np.sin(np.einsum("nd,kcd->nkc", mean, waves) + phases).transpose(0, 2, 1).reshape(-1, count)
    return np.linalg.qr(modes)[0]


def model_of(head: Toy, scale: float = 20.0) -> MorphableModel:
    """The toy as a finished model, to stand for the default one."""
    n = len(head.mean)

    def shaped(basis: NDArray[np.float64], by: float) -> NDArray[np.float32]:
        return (basis * by).reshape(n, 3, -1).astype(np.float32)

    weights = np.zeros((68, 3), np.float32)
    weights[:, 0] = 1
    return MorphableModel(
        name="toy",
        licence="none",
        albedo_space="linear",
        mean=head.mean.astype(np.float32),
        identity_basis=shaped(head.identity, scale),
        expression_basis=shaped(head.expression, scale),
        mean_albedo=np.full((n, 3), 0.5, np.float32) + (head.mean / 1000).astype(np.float32),
        albedo_basis=shaped(head.albedo, 0.5),
        triangles=head.triangles.astype(np.int32),
        landmark_vertices=np.repeat(head.landmarks[:, None], 3, axis=1).astype(np.int32),
        landmark_weights=weights,
        face_mask=np.ones(len(head.triangles), bool),
        jaw_band=np.zeros((17, 0), np.int32),
        uv=np.zeros((n, 2), np.float32),
        uv_triangles=head.triangles.astype(np.int32),
        mirror=np.arange(n, dtype=np.int32),
    )


# Basel Face Model 2009 ------------------------------------------------------------------------------------------------


@dataclass
class BaselFiles:
    """What `write_basel` wrote, as numbers: the known answer, mm and 0..1, on the trimmed mesh."""

    folder: Path
    mean: NDArray[np.float64]
    identity: NDArray[np.float64]
    expression: NDArray[np.float64]
    mean_albedo: NDArray[np.float64]
    albedo: NDArray[np.float64]
    head: Toy


def write_basel(folder: Path, only_first: bool = False, **modes: int) -> BaselFiles:
    """The four files. The full mesh has eight vertices more than the trimmed one, the first and last among them."""
    head = toy(**modes)
    n = len(head.mean)
    extra = np.linspace(0, n + 7, 8).astype(int)
    trim = np.setdiff1d(np.arange(n + 8), extra)
    full = np.zeros((n + 8, 3))
    full[trim] = head.mean * 1000
    full[extra] = [1000.0, -2000.0, 5000.0]
    random = np.random.default_rng(5)
    triangles = head.triangles[:, ::-1]
    whole = np.concatenate([trim[triangles], [extra[:3]]]) + 1

    def spread(basis: NDArray[np.float64]) -> NDArray[np.float32]:
        wide = np.zeros((n + 8, 3, basis.shape[1]))
        wide[trim] = basis.reshape(n, 3, -1)
        return wide.reshape(3 * (n + 8), -1).astype(np.float32)

    identity_deviation = 1e5 * np.linspace(9, 2, head.identity.shape[1])
    albedo_deviation = 300 * np.linspace(9, 2, head.albedo.shape[1])
    colours = random.uniform(40, 220, (n + 8, 3))
    folder.mkdir(parents=True, exist_ok=True)
    io.savemat(
        folder / "01_MorphableModel.mat",
        {
            "shapeMU": full.reshape(-1, 1).astype(np.float32),
            "shapePC": spread(head.identity),
            "shapeEV": identity_deviation[:, None].astype(np.float32),
            "texMU": colours.reshape(-1, 1).astype(np.float32),
            "texPC": spread(head.albedo),
            "texEV": albedo_deviation[:, None].astype(np.float32),
            "tl": whole.astype(np.float64),
        },
    )
    expression_mean = random.normal(scale=800, size=(n, 3))
    expression_deviation = 1e5 * np.linspace(6, 1, head.expression.shape[1])
    answer = BaselFiles(
        folder,
        head.mean + expression_mean / 1000,
        (head.identity * identity_deviation / 1000).reshape(n, 3, -1),
        (head.expression * expression_deviation / 1000).reshape(n, 3, -1),
        colours[trim] / 255,
        (head.albedo * albedo_deviation / 255).reshape(n, 3, -1),
        head,
    )
    if only_first:
        return answer
    io.savemat(
        folder / "model_info.mat",
        {
            "segbin": np.zeros((n + 8, 4), np.uint8),
            "trimIndex": (trim + 1)[:, None].astype(np.float64),
            "tri": (triangles + 1).T.astype(np.float64),
            "keypoints": head.landmarks[None].astype(np.float64),
        },
    )
    with (folder / "Exp_Pca.bin").open("wb") as stream:
        stream.write(struct.pack("<i", head.expression.shape[1]))
        stream.write(expression_mean.astype("<f4").tobytes())
        for mode in head.expression.T:
            stream.write(mode.astype("<f4").tobytes())
    (folder / "std_exp.txt").write_text(" ".join(f"{value:g}" for value in expression_deviation))
    return answer


# Basel Face Model 2017 and 2019 ---------------------------------------------------------------------------------------


@dataclass
class StatismoFiles:
    path: Path
    mean: NDArray[np.float64]
    identity: NDArray[np.float64]
    expression: NDArray[np.float64]
    mean_albedo: NDArray[np.float64]
    albedo: NDArray[np.float64]
    head: Toy


def write_statismo(
    path: Path, without: str = "", scaled: bool = False, dictionary: bool = False, opaque: bool = False
) -> StatismoFiles:
    import h5py  # type: ignore[import-untyped]

    head = toy()
    n = len(head.mean)
    random = np.random.default_rng(7)
    expression_mean = random.normal(scale=0.5, size=(n, 3))
    colours = random.uniform(0.2, 0.8, (n, 3))
    models = {
        "shape": (head.mean, head.identity, np.linspace(900, 100, head.identity.shape[1]) ** 2 / 10),
        "color": (colours, head.albedo, np.linspace(4, 1, head.albedo.shape[1]) ** 2),
        "expression": (expression_mean, head.expression, np.linspace(300, 50, head.expression.shape[1]) ** 2 / 10),
    }
    whitened = {}
    names = {"right.eye.corner_outer": 36, "left.eye.corner_outer": 45, "center.nose.tip": 30, "left.lips.corner": 54}
    points = {name: head.mean[head.landmarks[number]].tolist() for name, number in names.items()}
    points["left.ear.lobule.attachement"] = [1.0, 2.0, 3.0]
    text = json.dumps(points if dictionary else [{"id": k, "coordinates": v} for k, v in points.items()])
    with h5py.File(path, "w") as file:
        for kind, (mean, basis, variance) in models.items():
            whitened[kind] = (basis * np.sqrt(variance)).reshape(n, 3, -1)
            file[f"{kind}/model/mean"] = mean.reshape(-1).astype(np.float32)
            file[f"{kind}/model/pcaBasis"] = (basis * np.sqrt(variance) if scaled else basis).astype(np.float32)
            file[f"{kind}/model/pcaVariance"] = variance.astype(np.float32)
            file[f"{kind}/representer/points"] = head.mean.T.astype(np.float32)
            file[f"{kind}/representer/cells"] = head.triangles.T.astype(np.int32)
        file["metadata/landmarks/json"] = np.void(text.encode()) if opaque else text
        if without:
            del file[without]
    return StatismoFiles(
        path, head.mean + expression_mean, whitened["shape"], whitened["expression"], colours, whitened["color"], head
    )


# FLAME ----------------------------------------------------------------------------------------------------------------


def eyeball(head: Toy) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The toy's vertices and triangles with a small separate part behind an eye, listed first."""
    part = np.array([[-33.0, 33, 40], [-30, 33, 40], [-33, 36, 40], [-32, 34, 44]])
    faces = np.array([[0, 1, 3], [1, 2, 3], [2, 0, 3], [0, 2, 1]])
    return np.concatenate([part, head.mean]), np.concatenate([faces, head.triangles + 4])


def chumpy_module() -> types.ModuleType:
    """A module `chumpy.ch` whose objects are pickled as the real ones are."""
    module = types.ModuleType("chumpy.ch")

    class Ch:
        def __init__(self, x: Any) -> None:
            self.x = x

    Ch.__module__, Ch.__qualname__ = "chumpy.ch", "Ch"
    module.Ch = Ch  # type: ignore[attr-defined]
    return module


def write_flame(path: Path, chumpy: bool = False, protocol: int = 2, **changes: Any) -> tuple[Toy, dict[str, Any]]:
    """A FLAME pickle with 300 + 6 modes; returns the head and what was stored."""
    from scipy import sparse

    head = toy(identity=300, expression=6)
    vertices, triangles = eyeball(head)
    n = len(vertices)
    basis = np.zeros((n, 3, 306))
    basis[4:, :, :300] = head.identity.reshape(-1, 3, 300) * np.linspace(0.3, 0.01, 300)
    basis[4:, :, 300:] = head.expression.reshape(-1, 3, 6) * 0.1
    stored: dict[str, Any] = {
        "v_template": vertices / 1000,
        "f": triangles.astype(np.uint32),
        "shapedirs": basis,
        "J_regressor": sparse.csc_matrix(np.eye(5, n)),
        "weights": np.zeros((n, 5)),
        "kintree_table": np.zeros((2, 5), np.int64),
        "bs_style": "lbs",
    } | changes
    written = dict(stored)
    module = chumpy_module()
    if chumpy:
        sys.modules["chumpy"], sys.modules["chumpy.ch"] = types.ModuleType("chumpy"), module
        written |= {name: module.Ch(stored[name]) for name in ("v_template", "shapedirs", "weights")}
    try:
        path.write_bytes(pickle.dumps(written, protocol))
    finally:
        sys.modules.pop("chumpy", None)
        sys.modules.pop("chumpy.ch", None)
    return head, stored


def embedding(
    head: Toy, triangles: NDArray[np.int64], count: int = 68
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Triangle numbers (count,) and weights (count, 3) of the toy's last `count` landmarks, two rows down to 1/2."""
    shift = len(triangles) - len(head.triangles)
    faces = np.array([np.flatnonzero((head.triangles == v).any(axis=1))[0] for v in head.landmarks[-count:]]) + shift
    weights = (triangles[faces] == head.landmarks[-count:, None] + 4 * (shift > 0)).astype(np.float64)
    return faces, weights


# ICT-FaceKit ----------------------------------------------------------------------------------------------------------


def write_ict(folder: Path, identities: int = 3, expressions: tuple[str, ...] = ("aSmall", "jawOpen")) -> Toy:
    """OBJ files in centimetres; the later an expression, the further it moves the face."""
    folder.mkdir(parents=True, exist_ok=True)
    head = toy(identity=max(identities, 1), expression=max(len(expressions), 1))
    vertices, triangles = eyeball(head)

    def write(name: str, offset: NDArray[np.float64]) -> None:
        moved = vertices.copy()
        moved[4:] += offset
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in moved / 10]
        lines += [f"vt {0.5 + x / 300:.6f} {0.5 + y / 300:.6f}" for x, y, _ in vertices]
        quad = len(head.triangles) // 2
        lines += ["usemtl M_Face"]
        lines += [" ".join(["f", *(f"{v + 1}/{v + 1}" for v in face)]) for face in triangles[:4]]
        for low, high in zip(triangles[4 : 4 + quad], triangles[4 + quad :], strict=True):
            lines.append(" ".join(["f", *(f"{v + 1}/{v + 1}" for v in (*low, high[2]))]))
        (folder / f"{name}.obj").write_text("# a comment\nmtllib x.mtl\n" + "\n".join(lines) + "\n")

    write("generic_neutral_mesh", np.zeros((len(head.mean), 3)))
    for k in range(identities):
        write(f"identity{k:03d}", head.identity[:, k].reshape(-1, 3) * 60)
    for k, name in enumerate(expressions):
        write(name, head.expression[:, k].reshape(-1, 3) * (30 + 30 * k))
    table = {"expressions": list(expressions), "idx_to_landmark_verts": (head.landmarks + 4).tolist()}
    (folder / "vertex_indices.json").write_text(json.dumps(table))
    return head


# GNM ------------------------------------------------------------------------------------------------------------------


def write_gnm(path: Path, quads_only: bool = False, jaw_out_of_turn: bool = False, **changes: Any) -> Toy:
    head = toy(identity=4, expression=5)
    vertices, triangles = eyeball(head)
    n = len(vertices)
    identity = np.zeros((5, n, 3))
    identity[1:, 4:] = head.identity.T.reshape(4, -1, 3) * 0.05
    identity[0, :4] = 0.01
    expression = np.zeros((5, n, 3))
    expression[:, 4:] = head.expression.T.reshape(5, -1, 3) * np.array([0.01, 0.05, 0.02, 0.04, 0.03])[:, None, None]
    mirror = np.arange(n)
    grid = np.arange(n - 4).reshape(ROWS, COLUMNS)
    mirror[4:] = grid[:, ::-1].ravel() + 4
    stored: dict[str, Any] = {
        "version": "3.0",
        "variant": "head",
        "template_vertex_positions": (vertices / 1000).astype(np.float32),
        "vertex_identity_basis": identity.astype(np.float32),
        "expression_basis": expression.astype(np.float32),
        "identity_names": np.array([f"i{k}" for k in range(5)]),
        "expression_names": np.array([f"e{k}" for k in range(5)]),
        "triangles": triangles.astype(np.int32),
        "triangle_uvs": (0.5 + vertices[triangles][:, :, :2] / 300).astype(np.float32),
        "mirror_indices": mirror.astype(np.int32),
        "vertex_groups": np.ones((1, n), np.float32),
        "vertex_group_names": np.array(["skin"]),
    }
    if quads_only:
        half = len(head.triangles) // 2
        low, high = triangles[4 : 4 + half], triangles[4 + half :]
        stored["quads"] = np.concatenate([low, high[:, 2:]], axis=1).astype(np.int32)
        del stored["triangles"], stored["triangle_uvs"]
    np.savez(path, **(stored | changes))
    order = np.arange(68)
    if jaw_out_of_turn:
        order[2:7] = order[6:1:-1].copy()
    faces, weights = embedding(head, triangles)
    lines = [" ".join(f"{v} {w:.4f}" for v, w in zip(triangles[faces[k]], weights[k], strict=True)) for k in order]
    (path.parent / "head_sparse_68.txt").write_text("\n".join(lines) + "\n")
    return head
