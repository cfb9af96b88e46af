"""The files of one result, and their names."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from faceinv.errors import InputError
from faceinv.files import write_whole
from faceinv.output.report.templating import is_own_page
from faceinv.run.detail_outputs import DETAIL_FILES, write_detail_files
from faceinv.version import library_versions

if TYPE_CHECKING:
    from faceinv.face.model import MorphableModel
    from faceinv.fitting.config import FitConfig
    from faceinv.fitting.result import FitResult
    from faceinv.render.texture import Texture

__all__ = [
    "EXPORTS",
    "SUFFIXES",
    "FitOptions",
    "check_folder",
    "check_model",
    "clean_leftovers",
    "describe",
    "failure",
    "finite",
    "is_record",
    "json_line",
    "output_paths",
    "photo_place",
    "read_json",
    "record_of",
    "refuse_overwriting",
    "title_of",
    "unique_stems",
    "with_options",
    "write_json",
    "write_result",
]

SUFFIXES: Final = (".npz", ".glb", "_overlay.png", ".json")
"""What a result's stem is followed by. The last one is written last: where it is, the others are whole."""
EXPORTS: Final = {"3dface": "_3dface.txt", "report": ".html", "landmarks": ".pts"}
"""Files that are written on request, and what a result's stem is followed by."""


@dataclass(frozen=True)
class FitOptions:
    """What all images of one run share."""

    model: str
    backend: str
    config: FitConfig
    texture: Texture
    export_camera: bool = False
    """Whether GLBs hold the photos' cameras."""
    rig: bool = False
    """Whether GLBs hold morph targets and turnable eyes."""
    texture_size: int | None = None
    """Texels along each side of the textures; None for 1024."""
    exports: tuple[str, ...] = ()
    """Files on request: keys of `EXPORTS`."""

    @property
    def kinds(self) -> tuple[str, ...]:
        """Those, and the files that a result has where detail was asked for and its photo shows it."""
        return (*self.exports, *(DETAIL_FILES if self.config.detail else ()))


def output_paths(folder: Path, stem: str, exports: Sequence[str] = ()) -> dict[str, Path]:
    """The files of one result by kind: `npz`, `glb`, `overlay`, `json`, and before the last those on request and those
    of detail that are named."""
    *kinds, last = zip(("npz", "glb", "overlay", "json"), SUFFIXES, strict=True)
    wanted = ((name, {**EXPORTS, **DETAIL_FILES}[name]) for name in exports)
    return {kind: folder / f"{stem}{suffix}" for kind, suffix in (*kinds, *wanted, last)}


def write_result(
    result: FitResult,
    folder: Path,
    stem: str,
    options: FitOptions,
    extra: dict[str, Any],
    kept: frozenset[str] = frozenset(),
) -> dict[str, Any]:
    """Write all files of a result, each whole or not at all, the JSON last.

    Args:
        result: the face, with its photo.
        folder: made when it is missing.
        stem: what the files' names begin with.
        options: which files, and what is in them.
        extra: entries put first in the JSON; `image` names the photo.
        kept: entries of the JSON that stay as `extra` has them, such as of a fit whose course is not known any more.

    Returns:
        what the JSON holds.

    Raises:
        InputError: when a file cannot be written.
    """
    from faceinv.fitting.reporting import report_content
    from faceinv.output.picture import save_image
    from faceinv.output.report.page import write_report
    from faceinv.output.report.pictures import thumbnail
    from faceinv.photo.pts import write_pts

    paths = output_paths(folder, stem, options.exports)
    names, earlier = {kind: path.name for kind, path in paths.items()}, read_json(paths["json"])
    result.save(paths["npz"])
    result.export(
        paths["glb"],
        options.texture,
        camera=options.export_camera,
        rig=options.rig,
        texture_size=options.texture_size,
    )
    save_image(paths["overlay"], result.overlay())
    record = {**extra, **{key: value for key, value in record_of(result).items() if key not in kept}}
    if result.detail is not None:
        record["detail"], written = write_detail_files(result, folder, stem)
        names |= written
    record["files"] = names
    if "3dface" in paths:
        result.export_parameters(paths["3dface"], "3dface")
    if "landmarks" in paths:
        write_pts(paths["landmarks"], result.landmarks2d)
    if "report" in paths:
        content = report_content(result, title_of(record), {k: v for k, v in names.items() if k != "report"})
        write_report(content, paths["report"])
        record["thumbnail"] = thumbnail(content)
    write_json(paths["json"], record)
    # What an earlier run wrote of detail is of another fit.
    for kind, suffix in DETAIL_FILES.items():
        name = f"{stem}{suffix}"
        if kind not in names and is_record(earlier) and earlier["files"].get(kind) == name:
            (folder / name).unlink(missing_ok=True)
    return record


def title_of(record: dict[str, Any]) -> str:
    """What the page of a result is called: its photo's name, and which face where there are several."""
    name = Path(str(record.get("image", "face"))).name
    return f"{name}, face {record['face']}" if "face" in record else name


def record_of(result: FitResult) -> dict[str, Any]:
    """What the JSON says of a result. Angles in degrees, `R = Rz(roll) Ry(yaw) Rx(pitch)`."""
    from faceinv.face.camera import euler_angles

    pitch, yaw, roll = (math.degrees(angle) for angle in euler_angles(result.camera.rotation))
    return {
        "status": result.status.name.lower(),
        "message": result.status.value,
        "success": result.status.success,
        "warnings": list(result.warnings),
        "iterations": len(result.history),
        "cost": result.cost,
        "cost_photometric": result.cost_photometric,
        "cost_landmarks": result.cost_landmarks,
        "cost_prior": result.cost_prior,
        "photometric_rmse": result.photometric_rmse,
        "landmark_error": result.landmark_error,
        "pose": {"scale_px_per_mm": result.camera.scale, "pitch_deg": pitch, "yaw_deg": yaw, "roll_deg": roll},
        "camera": {
            "model": "weak" if result.camera_source == "weak" else "perspective",
            "source": result.camera_source,
            "kappa_per_mm": result.camera.kappa,
            "distance_mm": result.camera.distance,
            "focal_length_px": result.camera.focal_length,
            "principal_point_px": None if result.camera_source == "weak" else result.camera.centre.tolist(),
        },
        "expression_units": result.expression_units,
        "image_size": list(result.image_size),
        "seconds": {**result.timings, "total": sum(result.timings.values())},
        "model": result.model_source,
        "model_name": result.model.name,
        "backend": result.backend,
        "versions": library_versions(result.backend),
    }


def write_json(path: Path, record: dict[str, Any]) -> None:
    """Write a record, whole or not at all; NaN and infinity become null.

    Raises:
        InputError: when it cannot be written.
    """
    text = json.dumps(finite(record), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    with write_whole(path) as temporary:
        # A name that is not Unicode holds lone surrogates, and Python's escapes of those are JSON's own.
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))


def json_line(record: dict[str, Any], folder: Path) -> str:
    """A record as one line of ASCII, without its picture and with the folder that its files are in."""
    entries = {key: value for key, value in record.items() if key != "thumbnail"}
    return json.dumps(finite({**entries, "folder": str(folder)}), allow_nan=False)


def photo_place(image: Path, folder: Path) -> dict[str, str]:
    """For a record in `folder`: where the photo is as seen from there, `photo`; nothing for what is no file."""
    if not image.is_file():
        return {}
    try:
        place = os.path.relpath(image, folder)
    except ValueError:  # on another drive
        place = str(image.absolute())
    return {"photo": Path(place).as_posix()}


def failure(image: str, error: str) -> dict[str, Any]:
    """The record of a photo that could not be fitted."""
    return {"image": image, "status": "failed", "success": False, "error": error, "files": {}}


def read_json(path: Path) -> Any:
    """What a JSON file holds; None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None


def is_record(content: Any) -> bool:
    """Whether the content of a JSON file is that of a record which faceinv wrote."""
    return (
        isinstance(content, dict)
        and isinstance(content.get("status"), str)
        and isinstance(content.get("files"), dict)
        and all(isinstance(name, str) for name in content["files"].values())
    )


def finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have, and Python's numbers for NumPy's."""
    if isinstance(value, dict):
        return {str(key): finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [finite(entry) for entry in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def describe(name: str, record: dict[str, Any], file: Path) -> str:
    """One line on a result."""

    def shown(key: str, pattern: str) -> str:
        value = record.get(key)
        return pattern.format(value) if isinstance(value, int | float) and math.isfinite(value) else "unknown"

    numbers = (
        f"photometric RMSE {shown('photometric_rmse', '{:.3f}')}, landmarks {shown('landmark_error', '{:.1%}')}, "
        f"{record['seconds']['total']:.1f} s, {record['status'].replace('_', ' ')}"
    )
    warnings = "".join(f" [{warning}]" for warning in record.get("warnings", ()))
    return f"{name}: {numbers} -> {file}{warnings}"


def unique_stems(images: Sequence[Path]) -> list[str]:
    """A name for each image's files, no two alike even where upper and lower case do not matter.

    The stem where it is alone; else with the parent folder's name before it, else with the suffix behind it, else with
    a number behind that.
    """
    stems = [path.stem for path in images]
    longer = (
        [f"{path.absolute().parent.name}_{path.stem}" for path in images],
        [f"{path.stem}_{path.suffix[1:]}" for path in images],
    )
    for names in longer:
        counts = Counter(stem.lower() for stem in stems)
        names = [name if counts[stem.lower()] > 1 else stem for name, stem in zip(names, stems, strict=True)]
        fresh = Counter(name.lower() for name in names)
        # Take a longer name only where it tells the image from all others.
        stems = [name if fresh[name.lower()] == 1 else stem for name, stem in zip(names, stems, strict=True)]
    taken: set[str] = set()
    for index, stem in enumerate(stems):
        name, number = stem, 2
        while name.lower() in taken or (name != stem and name.lower() in {other.lower() for other in stems}):
            name, number = f"{stem}_{number}", number + 1
        taken.add(name.lower())
        stems[index] = name
    return stems


def check_folder(folder: Path) -> None:
    """Make the output folder and see that files can be written there.

    Raises:
        InputError: when they cannot.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = "it is a file" if folder.is_file() else error.strerror or error
        raise InputError(f"cannot write in '{folder}': {reason}. Choose a folder that can be written.") from None


def check_model(model: MorphableModel, source: str, options: FitOptions) -> None:
    """See that a model can give what is asked for, before anything is fitted.

    Args:
        model: the model.
        source: its path or name.
        options: what is asked for.

    Raises:
        InputError: when it cannot.
    """
    if "3dface" in options.exports:
        from faceinv.output.parameters_3dface import deviations_3dface

        deviations_3dface(model, source)
    if options.rig:
        from faceinv.output.rig import units_of

        units_of(model)


def clean_leftovers(folder: Path, stem: str) -> None:
    """Remove what a killed run left of unfinished files of one stem."""
    endings = "|".join(Path(suffix).stem for suffix in ("_overlay.png", "_3dface.txt", *DETAIL_FILES.values()))
    pattern = re.compile(rf"\.{re.escape(stem)}({endings})?\.[a-z0-9_]{{8}}\.(npz|glb|png|ply|json|txt|html|pts)")
    if not folder.is_dir():
        return
    for path in folder.glob(".*"):
        if pattern.fullmatch(path.name):
            path.unlink(missing_ok=True)


def refuse_overwriting(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    """Raise where an output would replace an input, or a file of somebody else's.

    Raises:
        InputError: naming the file.
    """
    given = {path.absolute() for path in inputs}
    for path in outputs:
        if path.absolute() in given:
            raise InputError(f"the output '{path}' would replace an input. Choose another folder for the output.")
        if _is_foreign(path):
            raise InputError(
                f"the output '{path}' would replace a file that faceinv did not write. Choose another folder for the "
                "output."
            )


def _is_foreign(path: Path) -> bool:
    """Whether a file is there of a kind that people keep, and not of ours."""
    if path.suffix == ".json":
        return (content := read_json(path)) is not None and not is_record(content)
    if path.suffix == ".html":
        return path.is_file() and not is_own_page(path)
    if path.suffix == ".pts" and path.is_file():
        record = read_json(path.with_suffix(".json"))
        return not (is_record(record) and record["files"].get("landmarks") == path.name)
    return False


def with_options(config: FitConfig, **options: Any) -> FitConfig:
    """The configuration with other values of its fields; those that are None are kept.

    Raises:
        ConfigError: when one is out of its range.
    """
    return replace(config, **{name: value for name, value in options.items() if value is not None})
