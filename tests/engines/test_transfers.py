"""A step stays on the engine's device: chi goes up once for each photo, and the result comes down once."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from fixture_types import Need
from problems import toy_chi, toy_model, toy_problem

from faceinv.engine.registry import build_engine


def forbid(monkeypatch: pytest.MonkeyPatch, owner: type, names: tuple[str, ...], counts: Counter[str]) -> None:
    """Count every way from the library to NumPy or to a Python number."""
    for name in names:
        original = getattr(owner, name)

        def counted(self: Any, *args: Any, _name: str = name, _original: Any = original, **kwargs: Any) -> Any:
            counts[_name] += 1
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(owner, name, counted)


@pytest.mark.parametrize("name", ["torch", "mxnet"])
def test_linearize_makes_one_trip_each_way(name: str, usable: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    usable(name)
    engine = build_engine(name, toy_model())
    differentiator = engine.differentiator(toy_problem(2))
    chi = toy_chi(2)
    frozen = differentiator.freeze(chi)
    moved = chi + 1e-3  # so that nothing remembered can serve
    counts: Counter[str] = Counter()
    ops = engine.renderer.ops  # type: ignore[attr-defined]
    forbid(monkeypatch, type(ops), ("upload", "download"), counts)
    if name == "torch":
        import torch

        ways = ("numpy", "item", "tolist", "cpu", "__array__", "__float__", "__int__", "__bool__", "__index__")
        forbid(monkeypatch, torch.Tensor, ways, counts)
        expected = {"upload": 2, "download": 2, "cpu": 2, "numpy": 2}
    else:
        forbid(monkeypatch, type(ops.full((1,), 0.0, "float64")), ("asnumpy", "asscalar"), counts)
        expected = {"upload": 2, "download": 2, "asnumpy": 2}
    differentiator.linearize(moved, frozen, np.ones(2, np.bool_))
    assert counts == expected
    counts.clear()
    differentiator.cost(moved, frozen, np.ones(2, np.bool_))
    assert counts == {key: value for key, value in expected.items() if key != "upload"}
