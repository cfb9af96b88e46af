"""Fitted people side by side: each photo above its geometry in one grey and under one light, from in front and half
turned, without hair, colour or pose to tell them apart by. What differs between the columns is the fitted shape alone.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from photos import PHOTOS, find_photos
from PIL import Image

from faceinv import FitConfig, fit
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.render.scene import draw_faces

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel
    from faceinv.face.state import Face
    from faceinv.fitting.result import FitResult

__all__ = ["geometry_views", "sheet"]

TILE: Final = 230
"""Side of a picture on the sheet, px."""
_VIEWS: Final = (0.0, -35.0, 75.0)
"""Yaw, degrees."""
_HEIGHT: Final = 235.0
"""What a picture shows from its lower to its upper edge, mm."""
_GREY: Final = 0.55
_CLOTH: Final = 24


def geometry_views(model: MorphableModel, face: Face, expression: bool = True) -> list[NDArray[np.uint8]]:
    """(TILE, TILE, 3) sRGB for each view: the face without its colours, on a dark ground.

    Args:
        model: The face's model.
        face: Its coefficients; pose, albedo and light are replaced.
        expression: False for the neutral face.
    """
    lighting = np.zeros((9, 3))
    # Ambient light and a lamp high on the left: relief shows as shade.
    lighting[:4] = np.array([1.3, 0.75, 0.6, -0.7])[:, None]
    bare = dataclasses.replace(
        model,
        field_count=0,
        mean_albedo=np.full_like(model.mean_albedo, _GREY),
        albedo_basis=np.zeros_like(model.albedo_basis[:, :, :0]),
        albedo_space="linear",
    )
    used = np.unique(model.triangles[model.face_mask])
    middle = model.mean[used].astype(np.float64)
    middle = (middle.min(axis=0) + middle.max(axis=0)) / 2
    scale = TILE / _HEIGHT
    posed = []
    for yaw in _VIEWS:
        rotation = rotation_from_euler(0.0, np.radians(yaw), 0.0)
        turned = scale * rotation @ middle
        camera = Camera(scale, rotation, np.array([(TILE - 1) / 2 - turned[0], (TILE - 1) / 2 + turned[1]]))
        posed.append(
            dataclasses.replace(
                face,
                camera=camera,
                albedo=face.albedo[:0],
                lighting=lighting,
                expression=face.expression if expression else np.zeros_like(face.expression),
            )
        )
    pictures = []
    for scene in draw_faces(bare, posed, (TILE, TILE)):
        picture = np.where(scene.covered[:, :, None], np.round(255 * scene.srgb), _CLOTH)
        pictures.append(picture.astype(np.uint8))
    return pictures


def sheet(fits: Sequence[tuple[NDArray[np.uint8], FitResult]]) -> Image.Image:
    """One column a person: photo (cut around the face), then the views of its geometry."""
    columns = []
    for photo, result in fits:
        points = result.landmarks2d
        centre, half = points.mean(axis=0), 0.85 * np.ptp(points, axis=0).max()
        left, top, right, bottom = (int(value) for value in (*(centre - half), *(centre + half)))
        cut = Image.fromarray(photo).crop((left, top, right, bottom)).resize((TILE, TILE), Image.Resampling.LANCZOS)
        columns.append(np.concatenate([np.asarray(cut), *geometry_views(result.model, result.face)], axis=0))
    return Image.fromarray(np.concatenate(columns, axis=1))


def main(arguments: list[str] | None = None) -> None:
    """Fit every photo of a folder and write the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="*", help="photos, or one folder of them")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture to write")
    parser.add_argument("--model", default="default")
    parser.add_argument("--backend", default="numpy")
    parser.add_argument("--config", type=Path, help="TOML file of settings")
    options = parser.parse_args(arguments)
    paths = options.photos or [PHOTOS]
    if len(paths) == 1 and paths[0].is_dir():
        paths = find_photos(paths[0])
    config = FitConfig.from_toml(options.config) if options.config else FitConfig()
    fits = []
    for path in paths:
        photo = np.asarray(Image.open(path).convert("RGB"))
        fits.append((photo, fit(path, model=options.model, backend=options.backend, config=config)))
    sheet(fits).save(options.output)


if __name__ == "__main__":
    main()
