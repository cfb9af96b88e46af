"""Measure where the networks put the 68 landmarks, and how surely, on renders with known surfaces.

    python benchmarks/render_strangers.py ...            # several folders, of other seeds than the benchmark's
    python tools/measure_landmark_sources.py FOLDER ... --ict ict_face.npz

A render is a .npz with `image` (H, W, 3) uint8, `rotation` (3, 3), `translation` (3,), `focal` and `principal` (2,):
a camera at the origin that looks along -z; `vertices` (V, 3) mm on ICT-FaceKit's topology, and, if known,
`landmarks_exact` (68, 2) px, whose first 17 are on the visible outline.

For each landmark the offset is sought, in the face's frame and as a share of the eye distance, that best explains where
a network saw the landmark in all images: least squares with weights 1 / (1 + (e / .03)^2), stiff along the normal
(which few views tell), mirrored heads counted too. Standard deviations are those of one coordinate in the image, pooled
over regions and times 1.7: a network's errors at neighbouring landmarks are alike. Those of the jaw are across the
outline, point by point, with what is constant about them.
"""

from __future__ import annotations

import argparse
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.landmarks68 import BROWS, EYES, INNER, JAW, LANDMARK_COUNT, MIRRORED, NOSE, OUTER_EYES
from faceinv.face.mesh import vertex_normals
from faceinv.photo import blazeface, face_mesh, small_network
from faceinv.photo.square import Square

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

TARGET: Final = Path(__file__).resolve().parents[1] / "faceinv" / "data" / "landmark_sources.json"
NETWORKS: Final = ("face mesh", "small network")
REGIONS: Final = {
    "brows": BROWS,
    "nose": NOSE,
    "eyes": slice(EYES[0].start, EYES[1].stop),
    "mouth": slice(EYES[1].stop, LANDMARK_COUNT),
}
FRONTAL: Final = 20.0
CORRELATION: Final = 1.7
ROBUST: Final = 0.03
STIFF: Final = 0.03
FACING: Final = 0.25
"""Cosine between normal and view of landmarks that count."""
ANNOTATED: Final = (0.01, 0.02, 0.02)
"""Of annotated landmarks, known from annotators' agreement and not measured here: inner ones, brows, jaw."""


@dataclass(frozen=True)
class Seen:
    """One render: what is true and what networks said; lengths are shares of the eye distance."""

    rotation: Array
    facing: Array
    """(68,) cosines."""
    residual: dict[str, Array]
    """(68, 2) x right, y up: how far beside the common place each network saw the landmark."""
    outline: dict[str, Array]
    """(17,) how far beside the visible outline, outwards, the jaw was seen; empty where the outline is not known."""
    turn: float
    """Degrees between the face's forward direction and the view."""


def read(path: Path, triangles: NDArray[np.int64], marks: NDArray[np.int64]) -> Seen | None:
    """What the networks see in a render; None where no face is found."""
    with np.load(path) as stored:
        image = stored["image"].astype(np.float32) / np.float32(255)
        rotation, vertices = stored["rotation"], stored["vertices"]
        camera = vertices @ rotation.T + stored["translation"]
        focal, principal = float(stored["focal"]), stored["principal"]
        exact = stored["landmarks_exact"] if "landmarks_exact" in stored.files else None
    long = max(image.shape[:2])
    boxes = blazeface.face_boxes(image, Square((long - 1) / 2, (long - 1) / 2, long), blazeface.SIDE)
    if not boxes:
        return None
    mesh = face_mesh.locate(image, boxes[0].square)
    small = None if mesh is None else small_network.refine(image, mesh.points)
    if mesh is None or small is None:
        return None
    points = camera[marks]
    depth = -points[:, 2]
    places = principal + focal * points[:, :2] * [1.0, -1.0] / depth[:, None]
    px = focal / depth * np.linalg.norm(points[OUTER_EYES[0]] - points[OUTER_EYES[1]])  # of the eye distance there
    seen = {"face mesh": mesh.points, "small network": small}
    normals = vertex_normals(camera, triangles)[marks]
    view = -points / np.linalg.norm(points, axis=1, keepdims=True)
    ahead = np.degrees(np.arccos(np.clip(rotation[2, 2], -1, 1)))
    return Seen(
        rotation,
        (normals * view).sum(axis=1),
        {name: (found - places) * [1.0, -1.0] / px[:, None] for name, found in seen.items()},
        {} if exact is None else {name: _beside(found[JAW], exact[JAW]) / px[JAW] for name, found in seen.items()},
        float(ahead),
    )


def _beside(points: Array, line: Array) -> Array:
    """(17,) signed distances of points from a polyline, away from its middle."""
    start, edge = line[:-1], np.diff(line, axis=0)
    arm = points[:, None] - start
    along = np.clip((arm * edge).sum(axis=2) / (edge**2).sum(axis=1), 0, 1)
    gap = arm - along[..., None] * edge
    nearest = (gap**2).sum(axis=2).argmin(axis=1)
    out = gap[np.arange(len(points)), nearest]
    away = np.sign((out * (points - line.mean(axis=0))).sum(axis=1))
    return np.asarray(away * np.linalg.norm(out, axis=1))


def offsets_of(renders: list[Seen], network: str, normals: Array) -> Array:
    """(68, 3) of one network, symmetric; `normals` (68, 3) are those of the mean face."""
    offsets = np.zeros((LANDMARK_COUNT, 3))
    for mark in range(INNER.start, LANDMARK_COUNT):
        used = [render for render in renders if render.facing[mark] > FACING]
        rows = np.stack([render.rotation[:2] for render in used])
        seen = np.stack([render.residual[network][mark] for render in used])
        stiff = STIFF * len(used) * np.outer(normals[mark], normals[mark])
        for _ in range(15):
            error = np.linalg.norm(rows @ offsets[mark] - seen, axis=1)
            weighted = rows / (1 + (error / ROBUST) ** 2)[:, None, None]
            matrix = np.einsum("ija,ijb->ab", weighted, rows) + stiff
            offsets[mark] = np.linalg.solve(matrix, np.einsum("ija,ij->a", weighted, seen))
    symmetric: Array = (offsets + offsets[MIRRORED] * [-1.0, 1.0, 1.0]) / 2
    return symmetric


def left_over(renders: list[Seen], network: str, offsets: Array, region: slice, turned: tuple[float, float]) -> Array:
    """(Q, 2) what the offsets leave, at landmarks of a region that face the camera."""
    rows = []
    for render in renders:
        if turned[0] <= render.turn < turned[1]:
            error = render.residual[network] - offsets @ render.rotation[:2].T
            rows.append(error[region][render.facing[region] > FACING])
    return np.concatenate(rows) if rows else np.zeros((0, 2))


def describe(renders: list[Seen], tables: dict[str, Array]) -> None:
    """Print mean distances, % of the eye distance, before and after the offsets."""
    for network, offsets in tables.items():
        print(f"{network}: offsets {100 * np.linalg.norm(offsets[INNER], axis=1).mean():.2f} % on average")
        for name, table in (("before", np.zeros_like(offsets)), ("after", offsets)):
            parts = {**REGIONS, "inner": INNER}
            means = {
                part: np.linalg.norm(left_over(renders, network, table, marks, (0, 180)), axis=1).mean()
                for part, marks in parts.items()
            }
            print(f"  {name}: " + ", ".join(f"{part} {100 * mean:.2f} %" for part, mean in means.items()))


def spreads(renders: list[Seen], network: str, offsets: Array) -> tuple[Array, float]:
    """(68,) standard deviations of faces from the front, and the turn at which they have doubled."""
    sigma = np.zeros(LANDMARK_COUNT)
    for marks in REGIONS.values():
        rest = left_over(renders, network, offsets, marks, (0, FRONTAL))
        sigma[marks] = CORRELATION * np.sqrt((rest**2).mean())
    beside = [render.outline[network] for render in renders if render.outline]
    if not beside:
        raise SystemExit("no render tells the outline of the jaw: give some with 'landmarks_exact'")
    squares = (np.stack(beside) ** 2).mean(axis=0)
    sigma[JAW] = np.sqrt((squares + squares[MIRRORED[JAW]]) / 2)
    steps = np.arange(0.0, 90.0, 10.0)
    turns, growth = [], []
    for low in steps:
        rest = left_over(renders, network, offsets, INNER, (low, low + 10))
        if len(rest) > 200:
            inside = [render.turn for render in renders if low <= render.turn < low + 10]
            turns.append(np.mean(inside))
            growth.append(np.sqrt((rest**2).mean()))
    sizes = np.array(growth)
    slope, start = np.polyfit(np.square(turns), sizes, 1)
    print(
        f"{network}: one coordinate's spread by turn: ",
        dict(zip(np.round(turns), np.round(100 * sizes, 2), strict=True)),
    )
    return sigma, float(np.sqrt(start / max(slope, 1e-9)))


def _rounded(values: Array) -> list[Any]:
    return (np.round(values, 4) + 0.0).tolist()  # type: ignore[no-any-return]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+", help="folders of renders")
    parser.add_argument("--ict", type=Path, required=True, help="ICT-FaceKit's face as .npz")
    parser.add_argument(
        "--held-out", type=Path, nargs="*", default=[], help="folders on which the result is tried only"
    )
    parser.add_argument("--to", type=Path, default=TARGET, help="file to write (default: %(default)s)")
    options = parser.parse_args()
    with np.load(options.ict) as stored:
        ict = {"mean": 10.0 * stored["vertices"], "triangles": stored["faces"].astype(np.int64)}
        ict["marks"] = stored["landmarks68"].astype(np.int64)

    def renders_in(folders: list[Path]) -> list[Seen]:
        paths = sorted(path for folder in folders for path in folder.glob("*.npz"))
        every = [read(path, ict["triangles"], ict["marks"]) for path in paths]
        return [render for render in every if render is not None]

    renders, held_out = renders_in(options.folders), renders_in(options.held_out)
    print(f"{len(renders)} renders, {len(held_out)} held out")
    normals = vertex_normals(ict["mean"], ict["triangles"])[ict["marks"]]
    tables = {network: offsets_of(renders, network, normals) for network in NETWORKS}
    describe(held_out or renders, tables)
    measured = {network: spreads(renders, network, tables[network]) for network in NETWORKS}

    inner, brows, jaw = ANNOTATED
    sigma = np.full(LANDMARK_COUNT, inner)
    sigma[BROWS], sigma[JAW] = brows, jaw
    sources: dict[str, dict[str, Any]] = {
        "annotated": {"offsets": np.zeros((LANDMARK_COUNT, 3)), "sigma": sigma, "yaw_scale": 1000.0},
        **{
            name: {"offsets": tables[name], "sigma": spread, "yaw_scale": scale}
            for name, (spread, scale) in measured.items()
        },
    }
    sources["face mesh outline"] = sources["face mesh"]
    sigma = measured["face mesh"][0].copy()
    sigma[JAW] = measured["small network"][0][JAW]
    sources["face mesh"] = {**sources["face mesh outline"], "sigma": sigma}
    content = {
        "sources": {
            name: {
                "offsets": _rounded(source["offsets"]),
                "sigma": _rounded(source["sigma"]),
                "yaw_scale": round(source["yaw_scale"], 1),
            }
            for name, source in sources.items()
        },
    }
    # A line for each landmark.
    text = re.sub(r"\[[^\[\]]*\]", lambda row: " ".join(row[0].split()), json.dumps(content, indent=1))
    options.to.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
