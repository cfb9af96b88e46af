"""Path-traced portraits of people who are in no model of ours, with everything that is true about them.

The heads come from ICT-FaceKit (MIT licence, not part of this repository): identities drawn from all its modes, mild
expressions. Everything that the picture shows of them is made here: skin of many tones with blotches, moles, brows,
lips and stubble; eyes; hair; clothes; lamps, windows, skies; a perspective camera from 0.3 to 1.5 m. Mitsuba 3 traces
the light, so there are cast shadows, shine and light from one cheek to another.

The split `dev` is there to be looked at and tuned on; `test` is only reported. `train` and `turned`, which turns up to
75 degrees and has its landmarks in `.pts` files, are for `examples/train_pose.py`.

    pip install 'faceinv[benchmark]'
    python benchmarks/render_strangers.py --ict ICT-FOLDER --split dev --out FOLDER
"""

from __future__ import annotations

import argparse
from typing import Any, Final

from portraits.head import IctHead
from portraits.scene import load_mitsuba, render
from portraits.splits import render_split, splits_parser
from portraits.view import MAX_YAW

from faceinv.photo.pts import write_pts

__all__ = ["SPLITS"]

SPLITS: Final = {"dev": (11, 16), "test": (23, 24), "train": (37, 40), "turned": (61, 17)}
"""First number of the seeds, and how many faces there are."""
TURNED: Final = 75.0
"""Degrees to either side, of `turned`, which a detector does not always find."""


def main() -> None:
    """Command line."""
    options = splits_parser(__doc__.split("\n")[0], SPLITS, samples=25).parse_args()
    mitsuba = load_mitsuba(options.threads)
    turned = options.split == "turned"

    def portrait(head: IctHead, seeds: tuple[int, int], o: argparse.Namespace) -> dict[str, Any]:
        made = render(mitsuba, head, seeds, o.samples, TURNED if turned else MAX_YAW)
        if turned:
            write_pts(o.out / o.split / f"{o.split}{seeds[1]:02d}.pts", made["landmarks_exact"])
        return made

    render_split(options, SPLITS, portrait)


if __name__ == "__main__":
    main()
