"""Annotated photos: the folders of 300-W.

300-W (Sagonas et al., ICCV workshops 2013) comes from https://ibug.doc.ic.ac.uk/resources/300-W, for research only; its
photos belong to their makers. Two layouts are read, and any folder like them:

- the competition's `300W/01_Indoor` and `300W/02_Outdoor`, PNG files with `.pts` files of the same name;
- the annotated older sets `afw`, `helen/trainset`, `helen/testset`, `ibug`, `lfpw/trainset`, `lfpw/testset`, JPEG
  or PNG.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from faceinv.errors import InputError
from faceinv.photo.image_file import image_suffixes, is_image_file
from faceinv.photo.pts import read_pts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["AnnotatedPhoto", "Dataset300W", "Skipped"]

_LANDMARKS: Final = ".pts"


@dataclass(frozen=True, eq=False)
class AnnotatedPhoto:
    """A photo and where its face's landmarks are."""

    image: Path
    landmarks: NDArray[np.float64]
    """(68, 2) px, 0-based (the file counts from 1)."""
    subset: str
    """`indoor`, `outdoor`, or the folder within the data set, such as `helen/trainset`; empty at its top."""


@dataclass(frozen=True)
class Skipped:
    """A file that gave no annotated photo, and why."""

    path: Path
    kind: str
    """`no .pts file`, `no photo`, `second photo of the same name`, or `unusable landmarks`."""
    detail: str = ""
    """What is wrong with the landmarks."""


class Dataset300W:
    """The annotated photos below a folder, in the order of their paths, read one by one while iterating.

    Upper and lower case of suffixes do not matter. Photos without landmarks, landmarks without a photo, and landmark
    files that cannot be used are passed over and listed in `skipped`.

    Args:
        root: the folder; sets are looked for below it at any depth.
        subsets: which to read, by `AnnotatedPhoto.subset` or the beginning of its path (`helen` means both of its
            halves). None reads all.

    Raises:
        InputError: when the folder does not exist, holds no photo, or holds none of the subsets.
    """

    def __init__(self, root: str | os.PathLike[str], subsets: Sequence[str] | None = None) -> None:
        self.root = Path(root)
        if not self.root.is_dir():
            raise InputError(f"'{self.root}' is no folder; a folder with the photos of 300-W is expected.")
        present = list(dict.fromkeys(subset for subset, _, images, _ in self._folders() if images))
        if not present:
            raise InputError(
                f"folder '{self.root}' holds no photos ({', '.join(sorted(image_suffixes()))}). Name the folder that "
                "300-W was unpacked to, with 01_Indoor and 02_Outdoor, or afw, helen, ibug and lfpw in it."
            )
        wanted = present if subsets is None else [name.strip("/").lower() for name in subsets]
        for name in wanted:
            if not any(_belongs(subset, name) for subset in present):
                raise InputError(f"folder '{self.root}' has no subset '{name}'; it has {', '.join(present)}.")
        self.subsets = tuple(subset for subset in present if any(_belongs(subset, name) for name in wanted))
        """The subsets that are read."""
        self.skipped: tuple[Skipped, ...] = ()
        """What the latest iteration has passed over so far."""

    def __iter__(self) -> Iterator[AnnotatedPhoto]:
        self.skipped = ()
        for subset, folder, images, marked in self._folders():
            if subset not in self.subsets:
                continue
            taken: set[str] = set()
            for image in images:
                stem = Path(image).stem.lower()
                if stem in taken:
                    self._skip(folder / image, "second photo of the same name")
                    continue
                taken.add(stem)
                if stem not in marked:
                    self._skip(folder / image, "no .pts file")
                    continue
                try:
                    landmarks = read_pts(folder / marked[stem])
                except InputError as error:
                    self._skip(folder / marked[stem], "unusable landmarks", str(error))
                    continue
                yield AnnotatedPhoto(folder / image, landmarks, subset)
            for stem, annotation in marked.items():
                if stem not in taken:
                    self._skip(folder / annotation, "no photo")

    def report(self) -> str:
        """What the latest iteration has passed over, in a few lines for people."""
        if not self.skipped:
            return f"{self.root}: nothing was skipped"
        examples: dict[str, Path] = {}
        for skip in self.skipped:
            examples.setdefault(skip.kind, skip.path)
        counts = Counter(skip.kind for skip in self.skipped)
        lines = [f"{self.root}: {len(self.skipped)} files skipped"]
        lines += [f"  {count} x {kind}, such as {examples[kind]}" for kind, count in counts.most_common()]
        return "\n".join(lines)

    def _skip(self, path: Path, kind: str, detail: str = "") -> None:
        self.skipped = (*self.skipped, Skipped(path, kind, detail))

    def _folders(self) -> Iterator[tuple[str, Path, list[str], dict[str, str]]]:
        """Subset, folder, its photos, and its landmark files by lower-case stem."""
        for place, folders, files in os.walk(self.root):
            folders.sort()
            names = sorted(name for name in files if not name.startswith("."))
            images = [name for name in names if is_image_file(name)]
            marked = {Path(n).stem.lower(): n for n in names if Path(n).suffix.lower() == _LANDMARKS}
            if images or marked:
                yield _subset(Path(place).relative_to(self.root)), Path(place), images, marked


def _subset(folder: Path) -> str:
    parts = [part.lower() for part in folder.parts]
    for part in parts:
        for name in ("indoor", "outdoor"):
            if name in part:
                return name
    return "/".join(parts)


def _belongs(subset: str, name: str) -> bool:
    return subset == name or subset.startswith(name + "/")
