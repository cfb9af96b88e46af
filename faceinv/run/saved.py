"""Results that were saved: which they are, where their photos are, and how their GLBs were made."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from faceinv.errors import InputError
from faceinv.run.outputs import is_record, output_paths, read_json

if TYPE_CHECKING:
    from faceinv.render.texture import Texture

__all__ = ["GlbOptions", "Saved", "find_saved", "glb_options"]


@dataclass(frozen=True)
class Saved:
    """A result's `.npz`, and the record beside it where there is one."""

    path: Path
    record: dict[str, Any]
    """What the JSON beside it holds; empty where there is none that faceinv wrote."""

    @classmethod
    def of(cls, path: Path) -> Saved:
        """The result in a file, whether or not it is there."""
        record = read_json(path.with_suffix(".json"))
        return cls(path, dict(record) if is_record(record) else {})

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return self.path.stem

    def photo(self, given: Path | None) -> Path:
        """Its photo: the file that is given, or the one that the record names, looked for in the folder that is given,
        beside the result, and where it was then.

        Raises:
            InputError: when it is not found.
        """
        if given is not None and not given.is_dir():
            return given
        name = self.record.get("image")
        if not isinstance(name, str) or not name:
            raise InputError(
                f"'{self.path}' does not tell which photo it was fitted to: there is no '{self.stem}.json' beside it "
                "that names it. Give the photo: --photo PHOTO."
            )
        folders = [*([] if given is None else [given]), self.path.parent, Path()]
        places = [folder / part for folder in folders for part in (name, Path(name).name)]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise InputError(
                f"the photo '{name}' of '{self.path}' is neither where it was nor beside the result. Give it: "
                "--photo PHOTO."
            )
        return found


def find_saved(inputs: Sequence[Path]) -> list[Saved]:
    """The results in files and folders. In a folder and its sub-folders those are results that have a record beside
    them.

    Raises:
        InputError: when a folder holds none.
    """
    found: dict[Path, Saved] = {}
    for path in inputs:
        if not path.is_dir():
            found.setdefault(path.absolute(), Saved.of(path))
            continue
        results = [Saved.of(one) for one in sorted(path.rglob("*.npz")) if not one.name.startswith(".")]
        results = [one for one in results if one.record]
        if not results:
            raise InputError(
                f"folder '{path}' holds no results (.npz with a .json beside them), nor do its sub-folders."
            )
        for one in results:
            found.setdefault(one.path.absolute(), one)
    return list(found.values())


@dataclass(frozen=True)
class GlbOptions:
    """How a GLB was made."""

    texture: Texture = "albedo"
    camera: bool = False
    rig: bool = False


def glb_options(folder: Path, stem: str) -> GlbOptions:
    """How a result's GLB was made, so that it can be made like that again; the defaults where there is none."""
    try:
        tree = _tree(output_paths(folder, stem)["glb"])
        texture: Literal["photo", "albedo"] = "photo" if tree["asset"]["extras"]["texture"] == "photo" else "albedo"
        return GlbOptions(texture, bool(tree.get("cameras")), any(mesh.get("weights") for mesh in tree["meshes"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return GlbOptions()


def _tree(path: Path) -> Any:
    """The JSON of a GLB."""
    with path.open("rb") as stream:
        magic, _, _, length, kind = struct.unpack("<4sIII4s", stream.read(20))
        if magic != b"glTF" or kind != b"JSON":
            raise ValueError("no GLB")
        return json.loads(stream.read(length))
