"""A few damaged inputs of every kind; `benchmarks/fuzz.py` tries as many as one likes."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", BENCHMARKS / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        patch.setitem(sys.modules, "fuzz", module)  # its dataclasses look for it there
        spec.loader.exec_module(module)
    return module


def test_damaged_inputs_are_answered_or_refused(fuzz: ModuleType) -> None:
    answers = fuzz.run(count=90, seed=5)
    assert [answer for answer in answers if answer.outcome not in ("answered", "refused")] == []
    kinds = fuzz.summary(answers)
    assert len(kinds) >= 40
    assert sum(row["refused"] for row in kinds) > 30


def test_what_is_raised_and_what_is_slow_is_not_right(fuzz: ModuleType) -> None:
    assert not fuzz.Answer("kind", "change", 0.1, "ValueError: odd").right
    assert not fuzz.Answer("kind", "change", fuzz.SLOW + 1, "answered").right
    assert fuzz.Answer("kind", "change", 0.1, "refused").right
