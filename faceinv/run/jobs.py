"""What is to be done in a folder of photos: the photos, their files' names, and what an earlier run has finished.

A photo is finished when its record (its JSON) is there, which is written last and says what failed where it did. What
faceinv itself has written is never taken for a photo: overlays are known by the records beside them, and every picture
by a mark in the file, so that photos and results may share a folder.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from faceinv.errors import InputError
from faceinv.output.picture import is_own_picture
from faceinv.photo.image_file import VIDEO_ADVICE, image_suffixes, is_image_file, is_unread_picture, is_video
from faceinv.run.outputs import (
    FitOptions,
    failure,
    finite,
    is_record,
    output_paths,
    read_json,
    unique_stems,
    write_json,
)
from faceinv.version import __version__

__all__ = [
    "Inventory",
    "Job",
    "Record",
    "check_settings",
    "fail",
    "find_jobs",
    "finished",
    "left_out",
    "without_own_pictures",
]

Record = dict[str, Any]
"""What the JSON of a photo holds: `image`, `status`, `files`, `source`, and numbers or an `error`."""


@dataclass(frozen=True)
class Job:
    """One photo of a folder."""

    image: Path
    landmarks: Path | None
    name: str
    """The photo's path within its folder, with `/`."""
    folder: Path
    """Where its files go."""
    stem: str
    """What their names begin with."""

    @property
    def record(self) -> Path:
        """The file that says that the photo is finished."""
        return output_paths(self.folder, self.stem)["json"]

    def source(self) -> dict[str, list[int]]:
        """What tells whether the photo or its landmarks have changed since: size and time by name.

        Raises:
            OSError: when one of them cannot be looked at.
        """
        return {
            path.name: [path.stat().st_size, path.stat().st_mtime_ns]
            for path in (self.image, self.landmarks)
            if path is not None
        }


@dataclass(frozen=True)
class Inventory:
    """What a folder holds."""

    jobs: tuple[Job, ...]
    """Its photos, in the order of their paths."""
    unread: Mapping[str, int]
    """How many pictures and videos of each suffix (lower case) are not read."""
    own: int
    """How many pictures faceinv itself has made."""

    def skipped(self) -> str:
        """Sentences on the pictures and videos that are not read; empty where there are none."""
        pictures = {suffix: number for suffix, number in self.unread.items() if not is_video(suffix)}
        videos = {suffix: number for suffix, number in self.unread.items() if is_video(suffix)}
        advice = "Save them as JPEG or PNG"
        if {".heic", ".heif", ".hif"} & set(pictures):
            advice += ", as phones do when told to store or share the most compatible format"
        return " ".join([*_skipped(pictures, f"{advice}."), *_skipped(videos, VIDEO_ADVICE)])


def _skipped(counts: Mapping[str, int], advice: str) -> list[str]:
    if not counts:
        return []
    count = sum(counts.values())
    kinds = ", ".join(f"{number} {suffix}" for suffix, number in sorted(counts.items()))
    verb = "file was" if count == 1 else "files were"
    return [f"{count} {verb} skipped, of kinds that are not read: {kinds}. {advice}"]


def find_jobs(folder: Path, output: Path) -> Inventory:
    """All photos of a folder and its sub-folders; hidden ones, the output folder and own pictures are left out.

    Raises:
        InputError: when there are none.
    """
    jobs: list[Job] = []
    unread: Counter[str] = Counter()
    own = 0
    for place, names, files in os.walk(folder):
        here = Path(place)
        names[:] = sorted(n for n in names if not n.startswith(".") and (here / n).absolute() != output.absolute())
        visible = [here / name for name in sorted(files) if not name.startswith(".")]
        images = [path for path in visible if is_image_file(path)]
        photos = without_own_pictures(images)
        own += len(images) - len(photos)
        unread.update(path.suffix.lower() for path in visible if is_unread_picture(path) or is_video(path))
        landmarks = {path.stem.lower(): path for path in visible if path.suffix.lower() == ".pts"}
        for image, stem in zip(photos, unique_stems(photos), strict=True):
            name = image.relative_to(folder)
            jobs.append(Job(image, landmarks.get(image.stem.lower()), name.as_posix(), output / name.parent, stem))
    inventory = Inventory(tuple(jobs), dict(unread), own)
    if not jobs:
        kinds = ", ".join(sorted(image_suffixes()))
        reasons = " ".join(sentence for sentence in (inventory.skipped(), left_out(own)) if sentence)
        raise InputError(f"folder '{folder}' holds no photos ({kinds}), nor do its sub-folders. {reasons}".strip())
    return inventory


def without_own_pictures(images: Sequence[Path]) -> list[Path]:
    """The same without what faceinv has made: by the mark in the file, or by the record beside an overlay."""
    return [path for path in images if not is_own_picture(path) and not _is_listed_overlay(path)]


def left_out(own: int) -> str:
    """A sentence on so many pictures of our own; empty for none."""
    if not own:
        return ""
    return "1 picture is left out: faceinv made it." if own == 1 else f"{own} pictures are left out: faceinv made them."


def check_settings(path: Path, options: FitOptions, overwrite: bool) -> None:
    """Note the settings of a run in its folder; refuse to mix results of different settings in one.

    Raises:
        InputError: when an earlier run had others, and its results are not to be overwritten.
    """
    wanted = finite(
        {
            "model": options.model,
            "backend": options.backend,
            "texture": options.texture,
            "export_camera": options.export_camera,
            "rig": options.rig,
            "texture_size": options.texture_size,
            "version": __version__,
            **{f"config.{key}": value for key, value in asdict(options.config).items()},
        }
    )
    if not overwrite and path.exists():
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
            different = [key for key in {**wanted, **earlier} if wanted.get(key) != earlier.get(key)]
        except (OSError, ValueError, TypeError, AttributeError):
            raise InputError(f"'{path}' is damaged. Use --overwrite to start anew, or another --output.") from None
        if different:
            changes = ", ".join(f"{key} was {earlier.get(key)!r}, is {wanted.get(key)!r}" for key in different[:4])
            raise InputError(
                f"'{path.parent}' holds results of a run with other settings: {changes}. "
                "Choose another --output, or --overwrite to do all photos again."
            )
        return
    write_json(path, wanted)


def finished(job: Job, extras: Sequence[str] = ()) -> Record | None:
    """What an earlier run gave for a photo that has not changed since and whose files are all there; a photo that was
    fitted lacks none of the kinds of files that are asked for beside the usual ones."""
    record = read_json(job.record)
    try:
        if not is_record(record) or record["source"] != job.source():
            return None
        if not all((job.folder / name).is_file() for name in record["files"].values()):
            return None
        if record["status"] != "failed" and not set(extras) <= set(record["files"]):
            return None
    except (OSError, TypeError, KeyError, AttributeError):
        return None
    return dict(record)


def fail(job: Job, message: str) -> Record:
    """Record that a photo cannot be fitted, so that the next run need not try again."""
    record: Record = failure(job.name, message)
    try:
        record["source"] = job.source()
        write_json(job.record, record)
    except (OSError, InputError):
        record["source"] = {}
    return record


def _is_listed_overlay(path: Path) -> bool:
    """Whether the record beside a picture names it as its overlay."""
    name = path.name
    if not name.endswith("_overlay.png"):
        return False
    record = read_json(path.with_name(name.removesuffix("_overlay.png") + ".json"))
    return is_record(record) and record["files"].get("overlay") == name
