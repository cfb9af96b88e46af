"""How much of a face's fine relief is found in a photo, and how much is found that is not there.

By formula (`relief.cases`): ridges .2 to 1 mm high on plain and on painted skin, painted flat skin, lone moles of four
colours, brows and a beard. Path-traced (`--renders`, made by `render_relief.py`): wrinkled people who are in no model
of ours, on their true smooth surface and on fits of ours. Tune with `--tune`; what is without it is only reported.

- r, gain: correlation of found with true displacement after a 3 mm high-pass, and how much of it is found;
- flat: mm that 99 % of the relief found on flat skin stay below; dent: peak to peak on a lone mole, mm;
- steepest, spikes: the largest slope, and the share (%) of pixels with one above 1;
- coarse, refined: mean angle of normals to the true ones, degrees;
- partial: correlation of high-passed normals with the true ones, less what the coarse normals explain.

    python benchmarks/detail.py --renders FOLDER --save
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from relief.cases import KINDS, ReliefCase, mole_cases, relief_case
from relief.find import Found, KnownCoarse, find
from relief.measures import (
    angle,
    correlation_and_gain,
    false_dents,
    false_relief,
    partial_correlation,
    slopes,
)
from relief.portraits import Portrait, load_portraits
from relief.sheet import relief_sheet, shaded
from relief.skin import SKIN
from report import RESULTS, save, table

from faceinv import FitConfig, fit
from faceinv.detail.record import FORMULATIONS
from faceinv.fitting.fitter import Fitter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from faceinv.detail.record import Formulation
    from faceinv.engine.interface import Engine

__all__ = ["evaluate_case", "evaluate_portrait", "known_coarse"]

_SIZES: Final = (128, 192, 256, 384, 512, 768, 1024)
_FLAT: Final = ("flat", "bare", "hair")


def known_coarse(case: ReliefCase) -> KnownCoarse:
    """What the stage is given of a picture by formula."""
    albedo = np.broadcast_to(SKIN, case.albedo.shape)
    return KnownCoarse(case.photo, case.coarse_normals, case.mask, case.mm_per_px, albedo, case.lighting)


def evaluate_case(case: ReliefCase, engine: Engine, formulation: Formulation) -> tuple[dict[str, Any], Found]:
    """A row of figures for a picture by formula."""
    found = find(known_coarse(case), engine, formulation)
    mask, h = found.mask, case.mm_per_px
    row: dict[str, Any] = {"case": case.name, "kind": case.kind}
    if case.marks is not None:
        return {**row, **false_dents(found.displacement, mask, h, case.marks)}, found
    row["r"], row["gain"] = correlation_and_gain(found.displacement, case.displacement, mask, h)
    row["flat"] = false_relief(found.displacement, mask) if case.kind in _FLAT else float("nan")
    row["steepest"], row["spikes"] = slopes(found.displacement, mask, h)
    row["coarse"], row["refined"] = (angle(n, case.normals, mask) for n in (case.coarse_normals, found.normals))
    row |= {"partial": float("nan"), "partial_gain": float("nan")}
    if case.kind not in _FLAT:
        row |= partial_correlation(found.normals, case.coarse_normals, case.normals, mask, h)
    return {**row, **found.seconds, "inner": found.inner}, found


def evaluate_portrait(
    portrait: Portrait, engine: Engine, formulation: Formulation, backend: str, on_fit: bool
) -> tuple[dict[str, Any], list[NDArray[np.uint8]]]:
    """A row of figures for a traced portrait, on its true smooth surface or on a fit, and pictures: the photo, the true
    surface, the coarse one and what was found."""
    row: dict[str, Any] = {"face": portrait.name, "light": portrait.light, "wrinkled": portrait.wrinkled}
    h = portrait.mm_per_px
    if on_fit:
        config = FitConfig(detail=formulation)
        result = fit(portrait.photo, landmarks=portrait.landmarks, backend=backend, config=config)
        detail = result.detail
        assert detail is not None
        mask = detail.mask & portrait.measured
        displacement, coarse, refined = (
            np.nan_to_num(array.astype(np.float64))
            for array in (detail.displacement, detail.coarse_normals, detail.normals)
        )
    else:
        found = find(portrait.known, engine, formulation)
        mask, displacement, coarse, refined = found.mask, found.displacement, portrait.smooth_normals, found.normals
    row["coarse"], row["refined"] = (angle(n, portrait.fine_normals, mask) for n in (coarse, refined))
    row |= partial_correlation(refined, coarse, portrait.fine_normals, mask, h)
    row["r"], row["gain"] = correlation_and_gain(displacement, portrait.relief, mask, h)
    row["99 %"] = false_relief(displacement, mask)
    row["steepest"], row["spikes"] = slopes(displacement, mask, h)
    cut = _box(mask)
    surfaces = (shaded(normals, mask)[cut] for normals in (portrait.fine_normals, coarse, refined))
    return row, [portrait.photo[cut], *surfaces]


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice]:
    """The part of a picture that holds a mask."""
    rows, columns = np.nonzero(mask)
    return slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)


def means(rows: Sequence[dict[str, Any]], by: str) -> list[dict[str, Any]]:
    """Rows of means over what `by` calls alike, of numbers."""
    out = []
    for name in dict.fromkeys(row[by] for row in rows):
        alike = [row for row in rows if row[by] == name]
        numbers = [key for key, value in alike[0].items() if isinstance(value, int | float) and key != by]
        out.append({by: name, **{key: float(np.mean([row[key] for row in alike])) for key in numbers}})
    return out


def timed(engine: Engine, formulation: Formulation, sizes: Sequence[int], repeats: int) -> list[dict[str, Any]]:
    """Seconds by stage against the size of the picture: the least of some runs."""
    rows = []
    for size in sizes:
        known = known_coarse(relief_case("painted", 0, size))
        find(known, engine, formulation)  # compiles
        least: dict[str, float] = {}
        for _ in range(repeats):
            for name, value in find(known, engine, formulation).seconds.items():
                least[name] = min(value, least.get(name, value))
        rows.append({"size": size, "pixels": int(known.mask.sum()), **least, "all": sum(least.values())})
    return rows


def pictured(case: ReliefCase, found: Found) -> list[NDArray[np.uint8]]:
    """Photo, true, coarse and found surface of a picture by formula."""
    cut = _box(case.mask)
    surfaces = (shaded(normals, case.mask)[cut] for normals in (case.normals, case.coarse_normals, found.normals))
    return [np.rint(255 * case.photo[cut]).astype(np.uint8), *surfaces]


def markdown(title: str, rows: Sequence[dict[str, Any]]) -> str:
    """A table of a document."""
    if not rows:
        return ""
    lines = [f"## {title}", "", "| " + " | ".join(rows[0]) + " |", "|" + " --- |" * len(rows[0])]
    for row in rows:
        cells = (f"{value:.3g}" if isinstance(value, float) else str(value) for value in row.values())
        lines.append("| " + " | ".join(cells).replace("nan", "") + " |")
    return "\n".join([*lines, "", ""])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backend", default="numpy", help="engine (default %(default)s)")
    parser.add_argument("--formulation", choices=FORMULATIONS, default=FORMULATIONS[0])
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="pictures by formula")
    parser.add_argument("--seeds", type=int, default=3, help="of each kind (default %(default)s)")
    parser.add_argument("--size", type=int, default=512, help="of pictures by formula, px (default %(default)s)")
    parser.add_argument("--tune", action="store_true", help="pictures for tuning, which are not reported")
    parser.add_argument("--renders", type=Path, help="folder of render_relief.py")
    parser.add_argument("--faces", type=int, help="only the first renders")
    parser.add_argument("--fits", action="store_true", help="renders on fits of ours, too")
    parser.add_argument("--times", action="store_true", help="seconds against size, too")
    parser.add_argument("--sizes", type=int, nargs="*", default=_SIZES, help="for --times")
    parser.add_argument("--repeats", type=int, default=5, help="for --times (default %(default)s)")
    parser.add_argument("--picture", type=Path, help="write pictures of the first of each kind, and of renders")
    parser.add_argument("--save", action="store_true", help="write results/detail.json, .md and .png beside this file")
    options = parser.parse_args()
    if options.save and options.tune:
        parser.error("what is for tuning is not saved.")
    engine = Fitter("default", options.backend).engine
    began = time.perf_counter()
    content: dict[str, Any] = {"backend": options.backend, "formulation": options.formulation}
    text = ""
    sheet: list[list[NDArray[np.uint8]]] = []
    traced: list[list[NDArray[np.uint8]]] = []

    def report(title: str, key: str, rows: list[dict[str, Any]], by: str | None = None) -> None:
        nonlocal text
        shown = means(rows, by) if by else rows
        print(f"{title}\n{table(shown)}\n", flush=True)
        content[key] = rows
        text += markdown(title, shown)

    rows = []
    for kind in options.kinds:
        for seed in range(options.seeds):
            case = relief_case(kind, seed, options.size, options.tune)
            row, found = evaluate_case(case, engine, options.formulation)
            rows.append(row)
            if not seed:
                sheet.append(pictured(case, found))
    report("By formula, means", "cases", rows, "kind")
    rows = []
    for case in mole_cases(0, options.size, options.tune):
        row, found = evaluate_case(case, engine, options.formulation)
        rows.append(row)
        sheet.append(pictured(case, found))
    report("Lone moles on flat skin", "moles", rows)
    if options.renders:
        portraits = load_portraits(options.renders, "tune" if options.tune else "test", options.faces)
        for on_fit in (False, True)[: 1 + options.fits]:
            rows = []
            for portrait in portraits:
                row, pictures = evaluate_portrait(portrait, engine, options.formulation, options.backend, on_fit)
                rows.append(row)
                traced.append(pictures)
            where = "fits" if on_fit else "their true smooth surface"
            report(f"Traced portraits on {where}", f"portraits on {'fits' if on_fit else 'truth'}", rows)
            wrinkled = [row for row in rows if row["wrinkled"]]
            report(
                "Means of those with wrinkles", f"means on {'fits' if on_fit else 'truth'}", means(wrinkled, "wrinkled")
            )
    if options.times:
        rows = timed(engine, options.formulation, options.sizes, options.repeats)
        report("Seconds against size", "times", rows)
    print(f"{time.perf_counter() - began:.1f} s")
    if options.picture:
        relief_sheet([*sheet, *traced]).save(options.picture)
    if options.save:
        path = save("detail", content)
        path.with_suffix(".md").write_text(f"# Fine detail, {options.backend}\n\n{text}".rstrip() + "\n")
        relief_sheet(sheet[:5], 240).save(RESULTS / "detail.png", optimize=True)
        print(f"saved {path.name}")


if __name__ == "__main__":
    main()
