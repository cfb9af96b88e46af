"""Path-traced portraits of people who are in no model of ours, with everything that is true about them.

The heads come from ICT-FaceKit (MIT licence, not part of this repository): identities drawn from all its modes, mild
expressions. Everything that the picture shows of them is made here: skin of many tones with blotches, moles, brows,
lips and stubble; eyes; hair; clothes; lamps, windows, skies; a perspective camera from 0.3 to 1.5 m. Mitsuba 3 traces
the light, so there are cast shadows, shine and light from one cheek to another.

The split `dev` is there to be looked at and tuned on; `test` is only reported.

    pip install 'faceinv[benchmark]'
    python benchmarks/render_strangers.py --ict ICT-FOLDER --split dev --out FOLDER
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image
from portraits.head import IctHead
from portraits.scene import load_mitsuba, render

__all__ = ["SPLITS"]

SPLITS: Final = {"dev": (11, 16), "test": (23, 24)}
"""First number of the seeds, and how many faces there are."""


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ict", type=Path, required=True, help="folder with ict_face.npz and FaceXModel/")
    parser.add_argument("--split", choices=sorted(SPLITS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; renders go to OUT/SPLIT")
    parser.add_argument("--faces", type=int, help="only the first ones")
    parser.add_argument("--first", type=int, default=0, help="begin with this one")
    parser.add_argument("--samples", type=int, default=25, help="rays for each pixel (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    mitsuba = load_mitsuba(options.threads)
    head = IctHead.read(options.ict)
    folder = options.out / options.split
    folder.mkdir(parents=True, exist_ok=True)
    seed, count = SPLITS[options.split]
    for number in range(options.first, min(options.faces or count, count)):
        began = time.perf_counter()
        portrait = {"name": f"{options.split}{number:02d}", **render(mitsuba, head, (seed, number), options.samples)}
        np.savez_compressed(folder / f"{portrait['name']}.npz", **portrait)
        Image.fromarray(portrait["image"]).save(folder / f"{portrait['name']}.png")
        seen = f"{portrait['light']}, {portrait['distance']:.0f} mm, yaw {portrait['angles'][1]:.0f}"
        print(f"{portrait['name']}: {time.perf_counter() - began:.0f} s, {seen}", flush=True)


if __name__ == "__main__":
    main()
