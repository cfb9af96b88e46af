"""Engines side by side on one linearisation; the first one named is the yardstick.

python benchmarks/compare.py numpy torch mxnet torch:float64
"""

from __future__ import annotations

import argparse

from report import table

from faceinv.compare import compare_engines
from faceinv.formats import load_model


def main() -> None:
    """Print one line for each engine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backends", nargs="*", default=["numpy", "torch", "mxnet"])
    parser.add_argument("--model", default="default")
    parser.add_argument("--size", type=int, default=224, help="px across the image")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--normals", choices=("smooth", "flat"), default="smooth")
    given = parser.parse_args()
    found = compare_engines(given.backends, load_model(given.model), given.size, given.rounds, given.normals)
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
