"""A surface is computed once for each chi that a fit visits, alone or in a batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
from fixture_types import Need
from problems import SIZE, toy_chi, toy_model, toy_problem

from faceinv.engine.evaluation import radiance
from faceinv.engine.local_autodiff.raster import rasterize
from faceinv.engine.registry import build_engine
from faceinv.engine.remembered import Remembered
from faceinv.fitting.config import FitConfig
from faceinv.fitting.fitter import Fitter
from faceinv.fitting.stages import fit_stages
from faceinv.photo.color import linear_to_srgb

CONFIG = FitConfig(size=40, levels=1, iterations=6, cost_tolerance=1e-2)


@cache
def photos() -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Two faces turned to either side, and their landmarks; one ends before the other."""
    model = toy_model()
    renderer, chi = build_engine("numpy", model).renderer, toy_chi(2)
    geometry = renderer.geometry(chi)
    drawn = radiance(renderer, geometry, renderer.rasterize(geometry, SIZE), chi)
    images = [linear_to_srgb(np.clip(one, 0, 1).astype(np.float32)) for one in drawn]
    return images, [model.landmarks(xy) for xy in geometry.image_xy]


def computed(name: str, chosen: list[int]) -> list[int]:
    """How many surfaces a fit of these photos computes for each."""
    fitter = Fitter(toy_model(), name, CONFIG)
    counts: Counter[int] = Counter()
    surfaces: Any = fitter.engine.renderer.surfaces  # type: ignore[attr-defined]
    get = surfaces.get

    def counted(item: int, key: bytes, make: Any) -> Any:
        def made() -> Any:
            counts[item] += 1
            return make()

        return get(item, key, made)

    surfaces.get = counted
    images, landmarks = photos()
    prepared = [fitter.prepare(images[k], landmarks[k]) for k in chosen]
    fit_stages(fitter.engine, fitter.config, prepared, lambda stage, done: None)
    return [counts[item] for item in range(len(chosen))]


@pytest.mark.parametrize("name", ["numpy", "torch", "mxnet"])
def test_a_batch_computes_as_many_surfaces_for_a_photo_as_a_fit_of_it_alone(name: str, usable: Need) -> None:
    usable(name)
    alone = [computed(name, [k])[0] for k in range(2)]
    assert alone[0] != alone[1]  # else the photos would take turns in step
    for size in (3, 6):
        chosen = [k % 2 for k in range(size)]
        assert computed(name, chosen) == [alone[k] for k in chosen]
    assert max(alone) < 30


def test_two_are_kept_for_each_item() -> None:
    memory: Remembered[str] = Remembered()
    memory.resize(2)
    made: list[tuple[int, bytes]] = []

    def get(item: int, key: bytes) -> str:
        def make() -> str:
            made.append((item, key))
            return f"{item}{key!r}"

        value = memory.get(item, key, make)
        assert value == f"{item}{key!r}"
        return value

    for key in (b"a", b"b"):
        for item in (0, 1):
            get(item, key)
    for key in (b"a", b"b"):
        for item in (0, 1):
            get(item, key)
    assert len(made) == 4
    get(0, b"c")  # the oldest of its item goes
    get(1, b"a")
    get(0, b"b")
    assert len(made) == 5
    get(0, b"a")
    assert made[-1] == (0, b"a")
    assert len(made) == 6


def test_memory_is_bounded_by_the_batch() -> None:
    memory: Remembered[object] = Remembered()
    kept = memory.get(0, b"a", object)
    assert memory.get(1, b"a", object) is not memory.get(1, b"a", object)  # beyond the batch nothing is kept
    memory.resize(3)
    assert memory.get(0, b"a", object) is kept  # what is there stays
    second = memory.get(2, b"a", object)
    assert memory.get(2, b"a", object) is second
    memory.resize(1)
    memory.resize(3)
    assert memory.get(2, b"a", object) is not second


@pytest.mark.parametrize("name", ["numpy", "torch", "mxnet"])
def test_a_geometry_that_was_changed_is_drawn_as_it_is(name: str, usable: Need) -> None:
    """What is remembered of a surface is not taken for a copy of it that was moved."""
    usable(name)
    renderer = build_engine(name, toy_model()).renderer
    geometry = renderer.geometry(toy_chi(1))
    first = renderer.to_host(renderer.rasterize(geometry, SIZE).triangle)
    moved = renderer.rasterize(replace(geometry, image_xy=geometry.image_xy + 5.0), SIZE)
    shown = renderer.to_host(moved.triangle)
    assert np.array_equal(shown[:, 5:, 5:], first[:, :-5, :-5])
    assert not np.array_equal(shown, first)
    assert np.array_equal(renderer.to_host(renderer.rasterize(geometry, SIZE).triangle), first)


@pytest.mark.parametrize("name", ["torch", "mxnet"])
def test_a_surface_is_drawn_once_at_each_size(name: str, usable: Need, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often it is frozen, drawn for its misfit, or seen under another light."""
    usable(name)
    drawn: list[tuple[int, int]] = []

    def counted(*given: Any) -> Any:
        drawn.append(given[-1])
        return rasterize(*given)

    monkeypatch.setattr("faceinv.engine.local_autodiff.renderer.rasterize", counted)
    engine, chi = build_engine(name, toy_model()), toy_chi(1)
    lit = chi.copy()
    lit[:, engine.renderer.layout.lighting] *= 1.5
    differentiator = engine.differentiator(toy_problem(1))
    differentiator.freeze(chi)
    again = differentiator.without_occluders(lit, 0.1)
    again.freeze(lit)
    again.photometric_rmse(chi)
    assert drawn == [SIZE]
    small = engine.renderer.rasterize(engine.renderer.geometry(chi), (20, 30))
    assert small.triangle.shape == (1, 20, 30)
    assert drawn == [SIZE, (20, 30)]
    again.freeze(chi + 1e-3)
    assert drawn == [SIZE, (20, 30), SIZE]
