"""Rendered strangers as they are and as they were fitted, side by side: what a median of distances cannot show.

One column a person: the picture, the true geometry from in front and half turned, and the fitted one.

    python benchmarks/strangers_sheet.py --renders FOLDER --faces 8 -o sheet.png
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from sheet import TILE, geometry_views
from strangers import KINDS, Stranger, load_renders, named_model, settings
from surfaces import similarity_of_points

from faceinv import FaceinvError, MorphableModel
from faceinv.face.state import Face
from faceinv.fitting.fitter import Fitter

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.fitting.result import FitResult

__all__ = ["column"]

_VIEWS = 2
"""Of the sheet's views: in front and half turned."""


def column(stranger: Stranger, result: FitResult) -> NDArray[np.uint8]:
    """(H, TILE, 3) sRGB."""
    points = stranger.landmarks_exact
    centre, half = points.mean(axis=0), 0.85 * np.ptp(points, axis=0).max()
    left, top, right, bottom = (int(value) for value in (*(centre - half), *(centre + half)))
    cut = Image.fromarray(stranger.image).crop((left, top, right, bottom)).resize((TILE, TILE))
    laid = similarity_of_points(stranger.landmarks3d[17:], result.landmarks3d[17:])
    true = _alone(laid(stranger.vertices), stranger)
    nothing = np.zeros(0)
    still = Face(nothing, nothing, nothing, result.camera, result.lighting)
    shown = [*geometry_views(true, still)[:_VIEWS], *geometry_views(result.model, result.face)[:_VIEWS]]
    return np.concatenate([np.asarray(cut), *shown], axis=0)


def _alone(vertices: NDArray[np.float64], stranger: Stranger) -> MorphableModel:
    """A surface as a model without modes."""
    seen = np.zeros(len(vertices), np.bool_)
    seen[stranger.visible] = True
    none = np.zeros((*vertices.shape, 0), np.float32)
    count = len(vertices)
    return MorphableModel(
        name="truth",
        licence="",
        albedo_space="linear",
        mean=vertices.astype(np.float32),
        identity_basis=none,
        expression_basis=none,
        mean_albedo=np.ones_like(vertices, np.float32),
        albedo_basis=none,
        triangles=stranger.triangles.astype(np.int32),
        landmark_vertices=np.zeros((68, 3), np.int32),
        landmark_weights=np.full((68, 3), 1 / 3, np.float32),
        face_mask=np.asarray(seen[stranger.triangles].all(axis=1)),
        jaw_band=np.zeros((17, 0), np.int32),
        uv=np.zeros((count, 2), np.float32),
        uv_triangles=stranger.triangles.astype(np.int32),
        mirror=np.arange(count, dtype=np.int32),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    default = Path(tempfile.gettempdir()) / "faceinv-strangers"
    parser.add_argument("--renders", type=Path, default=default, help="folder of renders (default %(default)s)")
    parser.add_argument("--split", default="dev")
    parser.add_argument("--faces", type=int, default=8, help="how many, from the first (default %(default)s)")
    parser.add_argument("--model", default="default", help="model: default, a path, or a folder with ict_face.npz")
    parser.add_argument("--config", nargs="*", default=[], help="KEY=VALUE settings, or TOML files")
    parser.add_argument("--landmarks", choices=KINDS, default="detected")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture to write")
    options = parser.parse_args()
    try:
        fitter = Fitter(named_model(options.model), "numpy", settings(options.config))
        renders = load_renders(options.renders, options.split, options.faces)
    except (FaceinvError, OSError) as error:
        parser.error(str(error))
    columns = []
    for stranger in renders:
        given = None if options.landmarks == "detected" else getattr(stranger, f"landmarks_{options.landmarks}")
        columns.append(column(stranger, fitter.fit(stranger.image, given)))
    Image.fromarray(np.concatenate(columns, axis=1)).save(options.output)


if __name__ == "__main__":
    main()
