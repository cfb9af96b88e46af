"""Detail for results that were saved: which they are, where their photos are, and how their files were made."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from faceinv.errors import InputError
from faceinv.fitting.config import FitConfig
from faceinv.run.outputs import FitOptions, output_paths, refuse_overwriting, write_result
from faceinv.run.saved import Saved

if TYPE_CHECKING:
    from faceinv.detail.record import Formulation
    from faceinv.fitting.result import FitResult
    from faceinv.render.texture import Texture

__all__ = ["earlier_options", "find_results", "photo_of", "refine_saved"]


def find_results(inputs: Sequence[Path]) -> list[Saved]:
    """The results in files and folders. In a folder and its sub-folders those are results that have a record beside
    them.

    Raises:
        InputError: when a file is not there, or a folder holds no results.
    """
    found: dict[Path, Saved] = {}
    for path in inputs:
        if not path.exists():
            raise InputError(f"result '{path}' does not exist. Give the .npz that 'faceinv fit' wrote, or its folder.")
        if not path.is_dir():
            found.setdefault(path.absolute(), Saved(path))
            continue
        results = [Saved(one) for one in sorted(path.rglob("*.npz")) if not one.name.startswith(".")]
        results = [one for one in results if one.record]
        if not results:
            raise InputError(
                f"folder '{path}' holds no results (.npz with a .json beside them), nor do its sub-folders."
            )
        for one in results:
            found.setdefault(one.path.absolute(), one)
    return list(found.values())


def photo_of(saved: Saved, given: Path | None = None) -> Path:
    """The file of a result's photo.

    Args:
        saved: the result.
        given: the photo, or a folder in which the one that the result's record names is looked for; None for where it
            was and beside the result.

    Raises:
        InputError: when it is not found.
    """
    if given is not None and not given.is_dir():
        return given
    places = list(saved.photos() if given is None else _in_folder(saved, given))
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        named = f" '{saved.record['image']}'" if "image" in saved.record else ""
        where = "neither where it was nor beside the result" if given is None else f"not in '{given}'"
        raise InputError(f"the photo{named} of '{saved.path}' is {where}. Say where it is: --photo IMAGE.")
    return found


def _in_folder(saved: Saved, folder: Path) -> Iterator[Path]:
    for place in saved.photos():
        if not place.is_absolute():
            yield folder / place
        yield folder / place.name


def refine_saved(
    saved: Saved,
    folder: Path,
    *,
    photo: Path | None = None,
    mask: Path | None = None,
    formulation: Formulation = "robust",
    model: str | None = None,
    backend: str = "numpy",
) -> dict[str, Any]:
    """Find the detail of a saved result, and write its files anew with the detail in them.

    They are as they were otherwise: the GLB's texture, rig and camera, a page where there was one. Where the detail
    cannot be looked for nothing is written.

    Args:
        saved: the result.
        folder: where its files go.
        photo: its photo, or a folder that holds it; see `photo_of`.
        mask: pixels of the photo that may be used.
        formulation: `robust` or `paper`.
        model: the face model, where its file has moved.
        backend: the engine.

    Returns:
        what the JSON holds.

    Raises:
        FaceinvError: when the result, its model, photo or mask cannot be used, or a file cannot be written.
    """
    from faceinv.fitting.result import load_result

    result = load_result(saved.path, model)
    image = photo_of(saved, photo)
    refined = result.with_detail(image, mask=mask, formulation=formulation, backend=backend)
    stem, options = saved.path.stem, earlier_options(saved, refined, formulation)
    outputs = output_paths(folder, stem, options.kinds).values()
    refuse_overwriting(
        [image, *([] if mask is None else [mask])],
        [path for path in outputs if path.absolute() != saved.path.absolute()],
    )
    record = {key: value for key, value in saved.record.items() if key not in ("files", "detail", "thumbnail")}
    # The result does not know the fit's course any more.
    kept = frozenset(("iterations", "seconds", "versions")) & record.keys()
    if isinstance(seconds := record.get("seconds"), dict):
        took = refined.timings["detail"]
        total = sum(time for name, time in seconds.items() if name not in ("total", "detail"))
        record["seconds"] = {**seconds, "detail": took, "total": total + took}
    return write_result(refined, folder, stem, options, record or {"image": str(image)}, kept)


def earlier_options(saved: Saved, result: FitResult, formulation: Formulation) -> FitOptions:
    """How a result's files were made, so that they can be made like that again; the defaults where there are none."""
    from faceinv.render.texture import Texture

    texture: Texture = "albedo"
    camera = rig = False
    try:
        tree = _tree(output_paths(saved.path.parent, saved.path.stem)["glb"])
        named = tree["asset"]["extras"]["texture"]
        texture = named if named in get_args(Texture) else texture
        camera, rig = bool(tree.get("cameras")), any(mesh.get("weights") for mesh in tree["meshes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        pass
    files = saved.record.get("files", {})
    config = FitConfig(detail=formulation)
    pages = {"report": "report" in files, "write_pts": "landmarks" in files}
    return FitOptions(result.model_source, result.backend, config, texture, camera, rig, **pages)


def _tree(path: Path) -> Any:
    """The JSON of a GLB."""
    with path.open("rb") as stream:
        magic, _, _, length, kind = struct.unpack("<4sIII4s", stream.read(20))
        if magic != b"glTF" or kind != b"JSON":
            raise ValueError("no GLB")
        return json.loads(stream.read(length))
