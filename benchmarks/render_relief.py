"""Path-traced portraits of wrinkled people, with the true normals of every pixel; for `detail.py`.

Heads, paint, light and cameras are those of `render_strangers.py`, with wrinkles on the skin. The split `tune` is there
to be looked at and tuned on; `test` is only reported.

    pip install 'faceinv[benchmark]'
    python benchmarks/render_relief.py --ict ICT-FOLDER --split tune --out FOLDER
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image
from portraits.head import IctHead
from portraits.scene import load_mitsuba
from relief.traced import SPLITS, trace


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ict", type=Path, required=True, help="folder with ict_face.npz and FaceXModel/")
    parser.add_argument("--split", choices=sorted(SPLITS), required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder; renders go to OUT/SPLIT")
    parser.add_argument("--faces", type=int, help="only the first ones")
    parser.add_argument("--first", type=int, default=0, help="begin with this one")
    parser.add_argument("--size", type=int, default=640, help="side of the pictures, px (default %(default)s)")
    parser.add_argument("--samples", type=int, default=256, help="rays for each pixel (default %(default)s)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--variant", default="scalar_rgb", help="Mitsuba's; llvm_ad_rgb is quicker where it works")
    options = parser.parse_args()
    mitsuba = load_mitsuba(options.threads, options.variant)
    head = IctHead.read(options.ict)
    folder = options.out / options.split
    folder.mkdir(parents=True, exist_ok=True)
    seed, count = SPLITS[options.split]
    for number in range(options.first, min(options.faces or count, count)):
        began = time.perf_counter()
        portrait = trace(mitsuba, head, (seed, number), options.size, options.samples)
        name = f"{options.split}{number:02d}"
        np.savez_compressed(folder / f"{name}.npz", name=name, **portrait)
        Image.fromarray(portrait["image"]).save(folder / f"{name}.png")
        print(f"{name}: {time.perf_counter() - began:.0f} s, {portrait['light']}", flush=True)


if __name__ == "__main__":
    main()
