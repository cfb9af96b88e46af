"""Writes tests/engines/golden/*.npz from the reference engine: run by hand, from a checkout, when the contract changes.

PYTHONPATH=tests/support python tests/engines/make_golden.py
"""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
from problems import run

from faceinv.engine.records import Normals

GOLDEN = Path(__file__).parent / "golden"
ROWS = np.arange(0, 600, 7)


def main() -> None:
    """Write one file for each kind of normals."""
    GOLDEN.mkdir(exist_ok=True)
    for normals in get_args(Normals):
        made = run("numpy:float64", normals)
        residual, jacobian, weight = made.differentiator.residual_jacobian(made.chi, made.frozen, 0, ROWS)
        np.savez_compressed(
            GOLDEN / f"{normals}.npz",
            triangle=made.visibility.triangle,
            image_xy=made.geometry.image_xy[:, ::10],
            radiance=made.radiance[:, ::4, ::4],
            cost=made.linearization.cost.total,
            gradient=made.linearization.gradient,
            hessian=made.linearization.hessian,
            residual=residual,
            jacobian=jacobian,
            weight=weight,
        )


if __name__ == "__main__":
    main()
