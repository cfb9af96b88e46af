"""Write a full-size stand-in for the Basel Face Model 2009, in that model's own files.

The real files may not be passed on. For benchmarks of size and speed this writes files of the same names, layouts,
counts and number formats from faceinv's default model (CC0): 53,490 vertices of which 53,215 are kept, 105,840
triangles, 199 identity and 199 albedo modes, 79 expression modes, 68 landmarks.

    python benchmarks/make_basel_standin.py FOLDER

The default mesh is refined by splitting its longest edges, which reaches any count exactly. The default model's modes
come first, as principal components; the rest are smooth random fields, made orthonormal to them. Same input, same
files. It looks like the default model, and says nothing about how well the Basel model fits anyone.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import io, sparse
from scipy.spatial import cKDTree

from faceinv.face.fit_mesh import fit_mesh
from faceinv.face.formats import load_model
from faceinv.photo.color import linear_to_srgb

VERTICES, TRIANGLES, TRIMMED = 53_215, 105_840, 275
IDENTITY, EXPRESSION, ALBEDO = 199, 79, 199
FULL_TRIANGLES = 106_333

Points = NDArray[np.float64]
Faces = NDArray[np.int64]


def refine(vertices: Points, faces: Faces, count: int, face_count: int) -> tuple[sparse.csr_array, Faces]:
    """Split edges, the longest first, until there are exactly so many vertices and triangles.

    Splitting an edge inside adds one vertex and two triangles; splitting one at the rim adds one of each.

    Returns:
        A matrix (count, N) that takes values on the old vertices to the new ones, and triangles (face_count, 3).

    Raises:
        ValueError: when the counts cannot be reached by adding vertices.
    """
    at_rim = (2 * count - face_count) - (2 * len(vertices) - len(faces))
    inner_count = count - len(vertices) - at_rim
    if at_rim < 0 or inner_count < 0:
        raise ValueError(f"{count} vertices and {face_count} triangles cannot be reached from {len(vertices)}.")
    parents: list[NDArray[np.int64]] = []
    points = vertices
    for left, uses in ((at_rim, 1), (inner_count, 2)):
        while left:
            chosen, owners = _longest_edges(points, faces, uses, left)
            middle = np.arange(len(points), len(points) + len(chosen))
            points = np.concatenate([points, points[chosen].mean(axis=1)])
            faces = _split(faces, chosen, owners, middle)
            parents.append(chosen)
            left -= len(chosen)
    total = sparse.eye_array(len(vertices), format="csr")
    for chosen in parents:
        known = total.shape[0]
        half = np.full(2 * len(chosen), 0.5)
        rows = np.repeat(np.arange(len(chosen)), 2)
        step = sparse.csr_array((half, (rows, chosen.ravel())), shape=(len(chosen), known))
        total = sparse.vstack([total, step @ total], format="csr")
    return total, faces


def _longest_edges(points: Points, faces: Faces, uses: int, wanted: int) -> tuple[Faces, list[NDArray[np.int64]]]:
    """Edges (E, 2) with `uses` triangles each, no two of one triangle, and for each use the triangles (E,)."""
    sides = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    edges, first, index, counts = np.unique(sides, axis=0, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(index.ravel(), kind="stable")
    second = order[np.cumsum(counts) - 1]
    length = np.linalg.norm(points[edges[:, 0]] - points[edges[:, 1]], axis=1)
    candidates = np.flatnonzero(counts == uses)
    candidates = candidates[np.argsort(-length[candidates], kind="stable")]
    # Only the longer half of a round, so that later rounds split what is then longest.
    candidates = candidates[: max(wanted, 1)] if uses == 1 else candidates[: max(len(candidates) // 4, 1)]
    taken = np.zeros(len(faces), bool)
    chosen = []
    for edge in candidates:
        owners = first[edge] % len(faces), second[edge] % len(faces)
        if taken[owners[0]] or taken[owners[1]]:
            continue
        taken[list(owners)] = True
        chosen.append(edge)
        if len(chosen) == wanted:
            break
    picked = np.array(chosen)
    return edges[picked], [part[picked] % len(faces) for part in ((first, second) if uses == 2 else (first,))]


def _split(faces: Faces, edges: Faces, owners: list[NDArray[np.int64]], middle: NDArray[np.int64]) -> Faces:
    """The triangles with each owner of an edge cut in two at the edge's middle vertex."""
    faces, added = faces.copy(), []
    for triangles in owners:
        old = faces[triangles]
        turn = np.zeros(len(old), np.int64)
        for k in range(3):
            side = np.sort(old[:, [k, (k + 1) % 3]], axis=1)
            turn[(side == edges).all(axis=1)] = k
        a, b, c = (old[np.arange(len(old)), (turn + k) % 3] for k in range(3))
        faces[triangles] = np.stack([a, middle, c], axis=1)
        added.append(np.stack([middle, b, c], axis=1))
    return np.concatenate([faces, *added])


def principal(basis: Points, points: Points, count: int, seed: int) -> tuple[Points, Points]:
    """Orthonormal modes (3N, count) and standard deviations (count,): those of `basis` (3N, K), then random fields."""
    left, deviation, _ = np.linalg.svd(basis, full_matrices=False)
    kept = min(count, int((deviation > 1e-6 * deviation[0]).sum()))
    random = np.random.default_rng(seed)
    extra = count - kept
    waves = random.normal(scale=1 / 25, size=(extra, 3, 3))
    phases = random.uniform(0, 2 * np.pi, size=(extra, 1, 3))
    fields = np.sin(np.einsum("nd,kdc->knc", points, waves) + phases).reshape(extra, 3 * len(points)).T
    modes = np.linalg.qr(np.concatenate([left[:, :kept], fields], axis=1))[0]
    smaller = deviation[kept - 1] * 0.98 ** np.arange(1, extra + 1)
    return modes, np.concatenate([deviation[:kept], smaller])


def write_standin(
    folder: Path,
    vertices: int = VERTICES,
    triangles: int = TRIANGLES,
    identity: int = IDENTITY,
    expression: int = EXPRESSION,
    albedo: int = ALBEDO,
) -> None:
    """Write `01_MorphableModel.mat`, `model_info.mat`, `Exp_Pca.bin` and `std_exp.txt` into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = fit_mesh(load_model("default"))
    take, faces = refine(model.mean.astype(np.float64), model.triangles.astype(np.int64), vertices, triangles)
    mean = take @ model.mean.astype(np.float64)
    full = vertices + TRIMMED
    left_out = np.linspace(0, full - 1, TRIMMED).astype(np.int64)
    kept = np.setdiff1d(np.arange(full), left_out)
    random = np.random.default_rng(0)

    def refined(basis: NDArray[np.float32]) -> Points:
        flat = basis.reshape(len(basis), -1).astype(np.float64)
        return np.asarray(take @ flat).reshape(len(mean) * 3, -1)

    def on_full(values: Points, fill: Points) -> NDArray[np.float32]:
        wide = np.zeros((full, 3, values.shape[1]), np.float32)
        wide[kept] = values.reshape(vertices, 3, -1)
        wide[left_out] = fill[:, :, None]
        return wide.reshape(3 * full, -1)

    nothing = np.zeros((TRIMMED, 3))
    shape_modes, shape_deviation = principal(refined(model.identity_basis) * 1000, mean, identity, 1)
    colour = take @ model.mean_albedo.astype(np.float64)
    slope = (linear_to_srgb(np.clip(colour + 1e-3, 0, 1)) - linear_to_srgb(np.clip(colour - 1e-3, 0, 1))) / 2e-3
    colour_modes, colour_deviation = principal(
        refined(model.albedo_basis) * 255 * slope.reshape(-1, 1), mean, albedo, 2
    )
    mouth = model.landmarks(model.mean)[60:68].mean(axis=0) * 1000 - (0, 0, 15_000)
    content = {
        "shapeMU": on_full(mean.reshape(-1, 1) * 1000, mouth + random.normal(scale=5000, size=(TRIMMED, 3))),
        "shapePC": on_full(shape_modes, nothing),
        "shapeEV": shape_deviation[:, None].astype(np.float32),
        "texMU": on_full(255 * linear_to_srgb(np.clip(colour, 0, 1)).reshape(-1, 1), nothing + 90),
        "texPC": on_full(colour_modes, nothing),
        "texEV": colour_deviation[:, None].astype(np.float32),
    }
    del shape_modes, colour_modes
    inner = left_out[random.integers(0, TRIMMED, (FULL_TRIANGLES - TRIANGLES, 3))]
    inward = faces[:, ::-1]
    content["tl"] = (np.concatenate([kept[inward], inner]) + 1).astype(np.float64)
    io.savemat(folder / "01_MorphableModel.mat", content)
    del content
    keypoints = cKDTree(mean).query(model.landmarks(model.mean))[1]
    io.savemat(
        folder / "model_info.mat",
        {
            "trimIndex": (kept + 1)[:, None].astype(np.float64),
            "tri": (inward + 1).T.astype(np.float64),
            "keypoints": np.asarray(keypoints, np.float64)[None],
        },
    )
    moving = refined(model.expression_basis) * 1000
    expression_modes, expression_deviation = principal(moving, mean, expression, 3)
    with (folder / "Exp_Pca.bin").open("wb") as stream:
        stream.write(struct.pack("<i", expression))
        stream.write((0.1 * moving.mean(axis=1)).astype("<f4").tobytes())
        stream.write(np.ascontiguousarray(expression_modes.T, "<f4").tobytes())
    (folder / "std_exp.txt").write_text(" ".join(f"{value:.6g}" for value in expression_deviation), encoding="ascii")
    (folder / "README.txt").write_text(
        "Not the Basel Face Model: a stand-in of its size and layout, made from faceinv's default model (CC0).\n",
        encoding="utf-8",
    )


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write a full-size stand-in for the Basel Face Model 2009.")
    parser.add_argument("folder", type=Path)
    write_standin(parser.parse_args().folder)


if __name__ == "__main__":
    main()
