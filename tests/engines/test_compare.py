"""The side-by-side comparison of engines."""

from __future__ import annotations

import pytest
from problems import toy_model
from tolerances import TOLERANCE

from faceinv.comparison.agreement import compare_engines
from faceinv.errors import BackendError, InputError


def test_compare(engine_name: str) -> None:
    first, other, missing = compare_engines(
        ["numpy:float64", f"{engine_name}:float32", "numpy:gpu"], toy_model(), size=48, rounds=2
    )
    assert first.ratio == 1
    assert first.hessian_error == 0
    assert other.available
    assert other.other_triangles == 0
    assert max(other.cost_error, other.gradient_error, other.hessian_error) < TOLERANCE["float32"].bound
    assert min(other.freeze_ms, other.linearize_ms, other.cost_ms, other.ratio) > 0
    assert not missing.available
    assert "'cpu' only" in missing.description


def test_refusals() -> None:
    with pytest.raises(InputError, match="0 engines"):
        compare_engines([], toy_model())
    with pytest.raises(BackendError):
        compare_engines(["numpy:gpu", "numpy"], toy_model())
