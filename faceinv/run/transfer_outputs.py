"""One face with another's detail: what is carried, and the files that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.errors import InputError
from faceinv.photo.crop import FaceCrop

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

    from faceinv.detail.relief_map import Band, ReliefMap
    from faceinv.detail.transfer import DrapedFace
    from faceinv.fitting.result import FitResult

__all__ = ["Carried", "transfer_paths", "write_carried"]

_PANEL: Final = 448
_MARGIN: Final = 1.35
_RIM_MM: Final = 3.0
"""Detail fades over this length towards the rims of lids and lips."""


@dataclass(frozen=True, eq=False)
class Carried:
    """A face and the relief of another."""

    giver: FitResult
    taker: FitResult
    relief: ReliefMap
    """What is carried, faded towards lids and lips, with its strength."""
    settings: dict[str, Any]
    """How it was chosen, for the JSON."""

    @classmethod
    def of(
        cls,
        giver: FitResult,
        taker: FitResult,
        bands: Mapping[Band, float] | None = None,
        strength: float = 1.0,
        symmetric: bool = False,
    ) -> Carried:
        """Carry the detail of one result to the face of another.

        Args:
            giver: has detail.
            taker: of the same mesh and texture layout.
            bands: the strength of each band that is carried; None for the whole detail as it is.
            strength: what all is multiplied by.
            symmetric: mirror detail to the side that the giver's photo does not show.

        Raises:
            InputError: for a giver without detail, faces of different meshes, or a strength that is not finite.
        """
        numbers = [strength, *(bands or {}).values()]
        if not all(math.isfinite(number) for number in numbers):
            raise InputError(f"strengths of detail are {numbers}; expected finite numbers.")
        if giver.detail is not None and not giver.detail.status.success:
            raise InputError(f"the result to take detail from has none. {giver.detail.status.value}")
        relief = giver.relief(symmetric=symmetric)
        relief = relief if bands is None else relief.mixed(bands)
        relief = relief.scaled(strength).without_rims(taker.model, _RIM_MM)
        settings = {"bands": None if bands is None else dict(bands), "strength": strength, "symmetric": symmetric}
        return cls(giver, taker, relief, settings)


def transfer_paths(folder: Path, stem: str) -> dict[str, Path]:
    """The files by kind."""
    suffixes = {
        "picture": ".png",
        "glb": ".glb",
        "normals": "_normals.png",
        "displacement": "_displacement.png",
        "json": ".json",
    }
    return {kind: folder / f"{stem}{suffix}" for kind, suffix in suffixes.items()}


def write_carried(carried: Carried, folder: Path, stem: str, extra: dict[str, Any]) -> dict[str, Path]:
    """Write the files, each whole or not at all, the JSON last.

    Args:
        carried: the face with the other's relief.
        folder: made when it is missing.
        stem: what the files' names begin with.
        extra: entries put first in the JSON.

    Returns:
        the files by kind.

    Raises:
        InputError: when a file cannot be written.
    """
    from PIL import Image

    from faceinv.detail.transfer import drape
    from faceinv.output.export import export_face
    from faceinv.output.picture import save_image
    from faceinv.output.relief_pictures import displacement_picture, vectors_picture
    from faceinv.run.outputs import write_json

    paths, taker = transfer_paths(folder, stem), carried.taker
    draped = drape(carried.relief, taker.model, taker.face, taker.image_size[::-1])
    displacement = displacement_picture(carried.relief)
    export_face(taker.model, taker.face, paths["glb"], relief=carried.relief)
    save_image(paths["normals"], vectors_picture(draped.normals, draped.skin))
    save_image(paths["displacement"], Image.fromarray(displacement.values))
    save_image(paths["picture"], transfer_sheet(carried))
    offset = carried.relief.offset
    record = {
        **extra,
        **carried.settings,
        "displacement_image": {
            **displacement.scale(),
            "texels": carried.relief.size,
            "least_mm": float(offset.min()),
            "most_mm": float(offset.max()),
        },
        "files": {kind: path.name for kind, path in paths.items()},
    }
    write_json(paths["json"], record)
    return paths


def transfer_sheet(carried: Carried, panel: int = _PANEL) -> Image.Image:
    """The giver's geometry with its detail, the taker's without and with it, the taker lit without and with it, and its
    photo relit where that is known; side by side."""
    from faceinv.detail.transfer import relit, relit_photo
    from faceinv.output.overlay import sheet
    from faceinv.output.panels import clay
    from faceinv.photo.color import linear_to_srgb

    giver, taker = carried.giver, carried.taker
    own = _draped(giver, giver.relief(), panel)
    new, crop = _draped(taker, carried.relief, panel), _crop(taker, panel)

    def shaded(draped: DrapedFace, normals: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.where(draped.covered[..., None], clay(np.asarray(normals, np.float64)), 0.93)

    def lit(coarse: bool) -> NDArray[np.float64]:
        picture = relit(new, coarse=coarse).astype(np.float64)
        return np.where(picture[..., 3:] > 0, linear_to_srgb(np.clip(picture[..., :3], 0, 1)), 0.93)

    panels = [
        ("detail is taken from", shaded(own, own.normals)),
        ("the other face", shaded(new, new.coarse_normals)),
        ("with the detail", shaded(new, new.normals)),
        ("lit, without", lit(True)),
        ("lit, with the detail", lit(False)),
    ]
    if taker.photo is not None:
        photo, _ = crop.cut(taker.photo)
        panels += [("photo", np.clip(photo, 0, 1)), ("photo, relit", relit_photo(new, np.clip(photo, 0, 1)))]
    return sheet(panels, panel)


def _crop(result: FitResult, panel: int) -> FaceCrop:
    return FaceCrop.around(result.landmarks2d, _MARGIN, panel)


def _draped(result: FitResult, relief: ReliefMap, panel: int) -> DrapedFace:
    """A face with relief in a square around it."""
    from faceinv.detail.transfer import drape

    camera = _crop(result, panel).camera_to_crop(result.camera)
    return drape(relief, result.model, replace(result.face, camera=camera), (panel, panel))
