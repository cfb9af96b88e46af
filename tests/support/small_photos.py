"""Small photos with landmarks, which are fitted in no time, and settings of small data sets."""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageEnhance
from quick import quick_fit, sample

from faceinv.photo.pts import write_pts

SMALL_TOML = """
samples = 1
[dataset]
shard = 4
[fit]
size = 32
levels = 1
iterations = 1
"""


def make_photos(folder: Path, names: list[str]) -> Path:
    """Small copies of the packaged photo, each a little brighter than the last, with landmarks beside them."""
    with Image.open(sample()) as photo:
        small = photo.crop((130, 20, 330, 220))
    folder.mkdir(parents=True, exist_ok=True)
    for place, name in enumerate(names):
        ImageEnhance.Brightness(small).enhance(0.8 + 0.05 * place).save(folder / name)
        write_pts((folder / name).with_suffix(".pts"), quick_fit().landmarks_target - [130.0, 20.0])
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
