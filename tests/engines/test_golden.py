"""What engines say today is what the reference said when the golden files were written (`make_golden.py`)."""

from __future__ import annotations

import numpy as np
from make_golden import GOLDEN, ROWS
from problems import Run
from tolerances import SAME, TOLERANCE, assert_agrees

from faceinv.engine.records import DType, Normals


def test_golden(found: Run, dtype: DType, normals: Normals) -> None:
    with np.load(GOLDEN / f"{normals}.npz") as file:
        golden = {name: file[name] for name in file.files}
    assert np.array_equal(found.host(found.visibility.triangle), golden["triangle"])
    assert_agrees(found.host(found.geometry.image_xy)[:, ::10], golden["image_xy"], SAME, "image_xy")
    assert_agrees(found.radiance[:, ::4, ::4], golden["radiance"], SAME, "radiance")
    assert_agrees(found.linearization.cost.total, golden["cost"], SAME, "cost")
    assert_agrees(found.host(found.linearization.gradient), golden["gradient"], TOLERANCE[dtype], "g")
    assert_agrees(found.host(found.linearization.hessian), golden["hessian"], TOLERANCE[dtype], "H")
    rows = found.differentiator.residual_jacobian(found.chi, found.frozen, 0, ROWS)
    assert_agrees(rows.residual, golden["residual"], TOLERANCE[dtype], "residual")
    assert_agrees(rows.weight, golden["weight"], TOLERANCE[dtype], "weight")
    assert_agrees(rows.jacobian, golden["jacobian"], TOLERANCE[dtype], "J")
