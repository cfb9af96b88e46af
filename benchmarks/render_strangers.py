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

from typing import Final

from portraits.scene import load_mitsuba, render
from portraits.splits import render_split, splits_parser

__all__ = ["SPLITS"]

SPLITS: Final = {"dev": (11, 16), "test": (23, 24)}
"""First number of the seeds, and how many faces there are."""


def main() -> None:
    """Command line."""
    options = splits_parser(__doc__.split("\n")[0], SPLITS, samples=25).parse_args()
    mitsuba = load_mitsuba(options.threads)
    render_split(options, SPLITS, lambda head, seeds, o: render(mitsuba, head, seeds, o.samples))


if __name__ == "__main__":
    main()
