"""What fine detail is measured on: relief that is what it says, and measures that tell found from missed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def relief() -> Any:
    """The benchmark's modules by name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(BENCHMARKS)
        yield lambda name: importlib.import_module(f"relief.{name}")


def test_slopes_are_those_of_the_displacement(relief: Any) -> None:
    fine = relief("ridges").draw_ridges(np.random.default_rng(2), (240, 200), 0.05, 12)
    for found, axis in ((fine.right, 1), (fine.down, 0)):
        wanted = np.gradient(fine.displacement, 0.05, axis=axis)
        assert np.abs(found - wanted)[1:-1, 1:-1].max() < 3e-3
        assert np.abs(wanted).max() > 0.05


def test_normals_lean_away_from_a_rise(relief: Any) -> None:
    """Towards the viewer to the right and downward: the normal turns left and up."""
    ridges = relief("ridges")
    slope = ridges.Relief(*(np.full((1, 1), value) for value in (0.0, 0.3, 0.2)))
    x, y, z = ridges.displaced_normals(np.array([[[0.0, 0.0, 1.0]]]), slope)[0, 0]
    np.testing.assert_allclose([x / z, y / z], [-0.3, 0.2])


def test_cases_are_the_same_each_time_and_others_for_tuning(relief: Any) -> None:
    cases = relief("cases")
    first, again, tuning = (cases.relief_case("painted", 0, 96, tune) for tune in (False, False, True))
    np.testing.assert_array_equal(first.photo, again.photo)
    assert np.abs(first.displacement - tuning.displacement).max() > 0.1
    assert first.mask.any()
    assert not cases.relief_case("flat", 0, 96).displacement.any()
    np.testing.assert_allclose(np.linalg.norm(first.normals, axis=-1), 1)


def test_lone_moles_are_apart_and_on_the_face(relief: Any) -> None:
    case = next(iter(relief("cases").mole_cases(0, 160)))
    places = np.array(case.marks)[:, :2]
    gaps = np.linalg.norm(places[:, None] - places, axis=-1) + 99 * np.eye(len(places))
    assert len(places) > 20
    assert gaps.min() > 9
    column, row = np.rint(places / case.mm_per_px).astype(int).T
    assert case.mask[row, column].all()


def test_measures_tell_found_from_missed(relief: Any) -> None:
    measures, case = relief("measures"), relief("cases").relief_case("clean", 0, 160)
    mask, h = case.mask, case.mm_per_px
    true = case.displacement
    broad = 2.0 * np.cos(np.arange(160) / 160)[:, None] * np.ones(160)
    correlation, gain = measures.correlation_and_gain(0.5 * true + broad, true, mask, h)
    assert correlation > 0.99
    assert gain == pytest.approx(0.5, abs=0.01)
    assert abs(measures.correlation_and_gain(np.flip(true), true, mask, h)[0]) < 0.5
    assert measures.angle(case.normals, case.normals, mask) < 1e-5
    found = measures.partial_correlation(case.normals, case.coarse_normals, case.normals, mask, h)
    assert found["partial"] == pytest.approx(1)
    missed = measures.partial_correlation(case.coarse_normals, case.coarse_normals, case.normals, mask, h)
    assert missed == {"partial": 0.0, "partial_gain": 0.0}
    steep = np.zeros((160, 160))
    steep[80] = 3 * h
    steepest, spikes = measures.slopes(steep, mask, h)
    assert steepest == pytest.approx(3)
    assert 0 < spikes < 5
