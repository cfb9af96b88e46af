"""Photos beside their fitted faces without and with fine detail, in one grey; a row for each lamp.

    python benchmarks/detail_sheet.py PHOTO... -o sheet.jpg
    python benchmarks/detail_sheet.py --formulations robust paper --lamps left above --side 260 -o docs/detail.jpg

The second is the document's picture, of the packaged photo.
"""

from __future__ import annotations

import argparse
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from relief.sheet import LAMPS, relief_sheet, shaded

from faceinv import fit
from faceinv.detail.record import FORMULATIONS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.detail.record import Detail

__all__ = ["before_and_after"]

_AROUND = 12
"""px around the face."""


def before_and_after(
    photo: NDArray[np.float32], details: Sequence[Detail], lamps: Sequence[str]
) -> list[list[NDArray[np.uint8]]]:
    """A row for each lamp: the photo (H, W, 3), sRGB in [0, 1], cut around the face; coarse surface; each relief."""
    mask = details[0].mask
    rows, columns = np.nonzero(mask)
    cut = np.s_[
        max(rows.min() - _AROUND, 0) : min(rows.max() + _AROUND, mask.shape[0]),
        max(columns.min() - _AROUND, 0) : min(columns.max() + _AROUND, mask.shape[1]),
    ]
    shown = np.rint(255 * np.clip(photo[cut], 0, 1)).astype(np.uint8)
    surfaces = [details[0].coarse_normals[cut], *(detail.normals[cut] for detail in details)]
    return [[shown, *(shaded(normals, mask[cut], LAMPS[lamp]) for normals in surfaces)] for lamp in lamps]


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="*", help="photos (default: the packaged one)")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the picture to write")
    parser.add_argument("--lamps", nargs="+", choices=sorted(LAMPS), default=list(LAMPS), help="from where")
    parser.add_argument("--side", type=int, default=380, help="of a picture on the sheet, px (default %(default)s)")
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument(
        "--formulations", nargs="+", choices=FORMULATIONS, default=FORMULATIONS[:1], help="a column for each"
    )
    options = parser.parse_args(arguments)
    photos = options.photos or [Path(str(resources.files("faceinv").joinpath("data", "sample.jpg")))]
    sheet = []
    for path in photos:
        fitted = fit(path, backend=options.backend)
        details = [fitted.with_detail(formulation=formulation).detail for formulation in options.formulations]
        known = [detail for detail in details if detail is not None]
        if not known[0].status.success:
            print(f"{path.name}: {known[0].status.value}")
            continue
        assert fitted.photo is not None
        sheet += before_and_after(fitted.photo, known, options.lamps)
    relief_sheet(sheet, options.side).save(options.output, quality=88, optimize=True)


if __name__ == "__main__":
    main()
