"""Splits of rendered portraits: how they are rendered from a command line, and found again."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from portraits.head import IctHead

if TYPE_CHECKING:
    Render = Callable[[IctHead, tuple[int, int], argparse.Namespace], dict[str, Any]]

__all__ = ["render_split", "split_files", "splits_parser"]


def splits_parser(description: str, splits: Mapping[str, tuple[int, int]], samples: int) -> argparse.ArgumentParser:
    """The options that all scripts have that render; `samples` is how many rays a pixel gets unless told."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--ict", type=Path, required=True, help="folder with ict_face.npz and FaceXModel/")
    parser.add_argument("--split", choices=sorted(splits), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; renders go to OUT/SPLIT")
    parser.add_argument("--faces", type=int, help="only the first ones")
    parser.add_argument("--first", type=int, default=0, help="begin with this one")
    parser.add_argument("--samples", type=int, default=samples, help="rays for each pixel (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    return parser


def render_split(options: argparse.Namespace, splits: Mapping[str, tuple[int, int]], render: Render) -> None:
    """Render the faces that the options ask for, and write NAME.npz and NAME.png of each.

    Args:
        options: of `splits_parser`.
        splits: first number of the seeds, and how many faces there are, by name.
        render: gives arrays by name, `image` (S, S, 3) uint8 among them, of a face of a head, by its two seeds.
    """
    head = IctHead.read(options.ict)
    folder = options.out / options.split
    folder.mkdir(parents=True, exist_ok=True)
    seed, count = splits[options.split]
    for number in range(options.first, min(options.faces or count, count)):
        began = time.perf_counter()
        portrait = render(head, (seed, number), options)
        name = f"{options.split}{number:02d}"
        np.savez_compressed(folder / f"{name}.npz", name=name, **portrait)
        Image.fromarray(portrait["image"]).save(folder / f"{name}.png")
        print(f"{name}: {time.perf_counter() - began:.0f} s, {portrait['light']}", flush=True)


def split_files(folder: Path, split: str, faces: int | None, script: str) -> list[Path]:
    """The files of a split, or the first of them.

    Raises:
        FileNotFoundError: when there are none; it names the script that makes them.
    """
    files = sorted((folder / split).glob("*.npz"))[:faces]
    if not files:
        raise FileNotFoundError(
            f"no renders in '{folder / split}'. Make them: python benchmarks/{script} --ict FOLDER "
            f"--split {split} --out '{folder}'."
        )
    return files
