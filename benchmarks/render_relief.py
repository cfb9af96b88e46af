"""Path-traced portraits of wrinkled people, with the true normals of every pixel; for `detail.py`.

Heads, paint, light and cameras are those of `render_strangers.py`, with wrinkles on the skin. The split `tune` is there
to be looked at and tuned on; `test` is only reported.

    pip install 'faceinv[benchmark]'
    python benchmarks/render_relief.py --ict ICT-FOLDER --split tune --out FOLDER
"""

from __future__ import annotations

from portraits.scene import load_mitsuba
from portraits.splits import render_split, splits_parser
from relief.traced import SPLITS, trace


def main() -> None:
    """Command line."""
    parser = splits_parser(__doc__.split("\n")[0], SPLITS, samples=256)
    parser.add_argument("--size", type=int, default=640, help="side of the pictures, px (default %(default)s)")
    parser.add_argument("--variant", default="scalar_rgb", help="Mitsuba's; llvm_ad_rgb is quicker where it works")
    options = parser.parse_args()
    mitsuba = load_mitsuba(options.threads, options.variant)
    render_split(options, SPLITS, lambda head, seeds, o: trace(mitsuba, head, seeds, o.size, o.samples))


if __name__ == "__main__":
    main()
