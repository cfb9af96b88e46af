"""Engines by autodiff work on blocks of pixels and of rows, which a small photo needs only one of."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fixture_types import Need
from problems import shadowed_model, toy_chi, weighted_problem
from tolerances import SAME, TOLERANCE, assert_agrees

from faceinv.engine.local_autodiff import differentiator as module
from faceinv.engine.records import EngineSettings, Linearization, Normals
from faceinv.engine.registry import build_engine

ONE = np.ones(1, np.bool_)


@pytest.mark.parametrize("normals", ["smooth", "flat"])
@pytest.mark.parametrize("name", ["torch", "mxnet"])
def test_how_many_blocks_there_are_does_not_matter(
    name: str, normals: Normals, usable: Need, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With so few pixels on the lattice that some blocks have none."""
    usable(name)
    engine, chi = build_engine(f"{name}:float64", shadowed_model(), EngineSettings(normals=normals)), toy_chi(1)
    problem = replace(weighted_problem(1), hessian_step=49)
    layout = engine.renderer.layout
    light = layout.mask(layout.lighting)[None]

    counts: list[tuple[int, int]] = []

    def linearized() -> list[Linearization]:
        differentiator = engine.differentiator(problem)
        frozen = differentiator.freeze(chi)
        counts.append((len(frozen.cache[0].blocks), min(block.samples for block in frozen.cache[0].blocks)))
        made = [differentiator.linearize(chi, frozen, ONE, free) for free in (None, light)]
        assert np.array_equal(made[0].cost.total, differentiator.cost(chi, frozen, ONE).total)
        return made

    whole = linearized()
    monkeypatch.setattr(module, "BLOCK_PIXELS", 37)
    monkeypatch.setattr(module, "_ROW_PIXELS", 5)
    for got, want in zip(linearized(), whole, strict=True):
        assert counts[0][0] == 1
        assert counts[1][0] > 20
        assert counts[1][1] == 0 < counts[0][1]
        assert_agrees(got.cost.total, want.cost.total, SAME, "cost")
        assert_agrees(got.gradient, want.gradient, TOLERANCE["float64"], "g")
        assert_agrees(got.hessian, want.hessian, TOLERANCE["float64"], "H")
