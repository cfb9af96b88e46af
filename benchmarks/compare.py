"""Engines side by side on one linearisation, the first one named being the yardstick; or, with --save, whole fits.

python benchmarks/compare.py numpy torch mxnet torch:float64
python benchmarks/compare.py --save        # as `faceinv compare`: fits and what they replace, to benchmarks/results/
"""

from __future__ import annotations

import argparse
from importlib import resources

from report import RESULTS, table

from faceinv.comparison.agreement import compare_engines
from faceinv.comparison.report import markdown, save
from faceinv.comparison.run import Plan, compare
from faceinv.face.formats import load_model


def main() -> None:
    """Print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backends", nargs="*", help="by default numpy, torch and mxnet; with --save all that start")
    parser.add_argument("--model", default="default")
    parser.add_argument("--size", type=int, default=224, help="px across the image")
    parser.add_argument("--rounds", type=int, help="by default 15; with --save 3 fits")
    parser.add_argument("--normals", choices=("smooth", "flat"), default="smooth")
    parser.add_argument("--save", action="store_true", help="fit, and write compare.json, .md and .png")
    given = parser.parse_args()
    if given.save:
        with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
            plan = Plan(photo, tuple(given.backends), (given.size,), model=given.model, rounds=given.rounds or 3)
            record = compare(plan, lambda line: print(line, flush=True))
        save(record, RESULTS)
        print(markdown(record))
        return
    backends = given.backends or ["numpy", "torch", "mxnet"]
    found = compare_engines(backends, load_model(given.model), given.size, given.rounds or 15, given.normals)
    rows = []
    for one in found:
        errors = {"cost": one.cost_error, "g": one.gradient_error, "H": one.hessian_error}
        rows.append(
            {
                "engine": one.backend,
                "freeze ms": f"{one.freeze_ms:.1f}",
                "linearize ms": f"{one.linearize_ms:.1f}",
                "cost ms": f"{one.cost_ms:.1f}",
                "ratio": f"{one.ratio:.2f}",
                "other triangles": one.other_triangles,
                **{name: f"{error:.1e}" for name, error in errors.items()},
                "what": one.description,
            }
        )
    print(table(rows))


if __name__ == "__main__":
    main()
