"""Photos given together: who fits them, in what order they come back, what one that fails costs, what is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from quick import sample
from small import few_modes

import faceinv
from faceinv.engine.interface import Engine, FittingThreads
from faceinv.engine.remembered import Remembered
from faceinv.fitting.side_by_side import side_by_side
from faceinv.photo.read import load_image

TINY = faceinv.FitConfig(size=32, levels=1, iterations=2)


@cache
def photo() -> NDArray[np.float32]:
    return load_image(sample()).pixels


@cache
def marks() -> NDArray[np.float64]:
    return fitter().fit(photo()).landmarks_target


@cache
def fitter() -> faceinv.Fitter:
    return faceinv.Fitter(few_modes(), config=TINY)


def photos(count: int) -> list[NDArray[np.float32]]:
    """Each darker than the one before."""
    return [photo() * np.float32(1 - 0.1 * number) for number in range(count)]


class OneByOne(Engine):
    """Works on nothing; says that so many threads may."""

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self.begun: list[str] = []

    def differentiator(self, problem: Any) -> Any:
        raise NotImplementedError

    def fitting_threads(self, photos: int) -> FittingThreads:
        return FittingThreads(min(photos, self.threads), lambda: self.begun.append(threading.current_thread().name))


# ---- work side by side


def test_what_is_done_side_by_side_comes_back_in_order_and_is_counted_by_the_caller() -> None:
    engine, told, tellers, late = OneByOne(2), [], set(), threading.Event()

    def work(number: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        if number == 0:
            assert late.wait(30)  # for a later one: they are under way together
        if number == 2:
            late.set()
        return number * number

    def done(count: int) -> None:
        told.append(count)
        tellers.add(threading.current_thread())

    assert side_by_side(engine, work, 5, done) == [0, 1, 4, 9, 16]
    assert told == [1, 2, 3, 4, 5]
    assert tellers == {threading.main_thread()}
    assert len(set(engine.begun)) == len(engine.begun) == 2


def test_no_more_is_under_way_than_there_are_threads() -> None:
    lock, under_way, most = threading.Lock(), 0, 0
    meet = threading.Barrier(3, timeout=30)

    def work(number: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        meet.wait()
        with lock:
            under_way -= 1

    side_by_side(OneByOne(3), work, 12, lambda count: None)
    assert most == 3


@pytest.mark.parametrize("threads", [1, 2])
def test_what_fails_ends_the_rest(threads: int) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 1:
            raise faceinv.BackendError("lost")
        if number > 1:
            stopped.wait(30)

    stopped = threading.Event()
    threading.Timer(0.2, stopped.set).start()
    with pytest.raises(faceinv.BackendError, match="lost"):
        side_by_side(OneByOne(threads), work, 50, lambda count: None)
    assert len(begun) < 50


def test_who_is_told_can_stop_the_rest() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number:
            stopped.wait(30)

    def done(count: int) -> None:
        threading.Timer(0.2, stopped.set).start()
        raise KeyboardInterrupt

    stopped = threading.Event()
    with pytest.raises(KeyboardInterrupt):
        side_by_side(OneByOne(2), work, 50, done)
    assert len(begun) < 50


def test_a_single_thread_is_the_callers_own() -> None:
    engine, seen = OneByOne(1), []
    side_by_side(engine, lambda number: seen.append(threading.current_thread()), 3, lambda count: None)
    assert seen == [threading.main_thread()] * 3
    assert not engine.begun


# ---- batches of photos


def test_each_photo_is_a_problem_of_its_own_where_an_engine_has_no_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    spied(monkeypatch, lambda problem: sizes.append(len(problem.image)))
    results = fitter().fit_batch(photos(3), [marks()] * 3)
    assert all(isinstance(result, faceinv.FitResult) for result in results)
    assert set(sizes) == {1}


def test_all_photos_are_one_problem_where_an_engine_has_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = fitter().fit_batch(photos(3), [marks()] * 3)
    sizes: list[int] = []
    spied(monkeypatch, lambda problem: sizes.append(len(problem.image)))
    monkeypatch.setattr(fitter().engine, "batch_size", 2)
    together = fitter().fit_batch(photos(3), [marks()] * 3)
    assert set(sizes) == {3}
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, faceinv.FitResult)
        assert isinstance(other, faceinv.FitResult)
        np.testing.assert_array_equal(one.hessian, other.hessian)
        np.testing.assert_array_equal(one.vertices, other.vertices)
        assert [r.item for r in one.history] == [r.item for r in other.history]


@pytest.mark.parametrize("batch_size", [1, 2])
def test_a_photo_that_fails_keeps_its_place(batch_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitter().engine, "batch_size", batch_size)
    first, second, third = fitter().fit_batch([photo(), "nowhere.jpg", photo()], [marks(), None, marks()])
    assert isinstance(second, faceinv.InputError)
    assert "item 1: " in str(second)
    assert isinstance(first, faceinv.FitResult)
    assert isinstance(third, faceinv.FitResult)
    assert {record.item for record in third.history} == {2}
    np.testing.assert_array_equal(first.vertices, third.vertices)


def test_an_engine_that_fails_ends_the_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(problem: Any) -> None:
        raise faceinv.BackendError("no memory")

    spied(monkeypatch, fail)
    with pytest.raises(faceinv.BackendError, match="no memory"):
        fitter().fit_batch(photos(4), [marks()] * 4)


def test_progress_of_a_batch_is_told_by_the_thread_that_calls() -> None:
    told: list[tuple[str, float, bool]] = []

    def tell(stage: str, done: float) -> None:
        told.append((stage, done, threading.current_thread() is threading.main_thread()))

    fitter().fit_batch(photos(3), [marks()] * 3, progress=tell)
    fractions = [done for _, done, _ in told]
    assert fractions == sorted(fractions)
    assert told[0][:2] == ("landmarks", 0.0)
    assert told[-1][:2] == ("done", 1.0)
    assert [stage for stage, _, _ in told[1:-1]] == ["1 of 3 photos", "2 of 3 photos", "3 of 3 photos"]
    assert all(own for _, _, own in told)


def spied(monkeypatch: pytest.MonkeyPatch, watch: Callable[[Any], None]) -> None:
    """Have the engine's problems watched."""
    engine, make = fitter().engine, fitter().engine.differentiator

    def differentiator(problem: Any) -> Any:
        watch(problem)
        return make(problem)

    monkeypatch.setattr(engine, "differentiator", differentiator)


# ---- what threads share


def test_threads_do_not_drive_out_what_others_remember() -> None:
    memory: Remembered[object] = Remembered()
    kept = memory.get(0, b"a", object)

    def elsewhere() -> None:
        memory.resize(3)
        for key in (b"a", b"b", b"c"):
            memory.get(0, key, object)

    other = threading.Thread(target=elsewhere)
    other.start()
    other.join()
    assert memory.get(0, b"a", object) is kept


LAYER = """
import sys
sys.path.insert(0, {support!r})
import numba, numpy as np
from quick import sample
from small import few_modes
import faceinv
fitter = faceinv.Fitter(few_modes(), config=faceinv.FitConfig(size=32, levels=1, iterations=2))
marks = fitter.fit(sample()).landmarks_target
one, two, three = fitter.fit_batch([sample()] * 3, [marks] * 3)
alone = fitter.fit(sample(), marks)
assert all(np.array_equal(alone.hessian, result.hessian) for result in (one, two, three))
print(numba.threading_layer(), fitter.engine.fitting_threads(8).count)
"""


@pytest.mark.parametrize(("layer", "count"), [("workqueue", 1), ("omp", 2)])
def test_numbas_own_threading_layer_has_one_caller_at_a_time(layer: str, count: int) -> None:
    """It ends the process where there are two."""
    support = os.path.join(os.path.dirname(__file__), "support")
    done = subprocess.run(
        [sys.executable, "-c", LAYER.format(support=support)],
        env={**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if layer == "omp" and "No threading layer could be loaded" in done.stderr:
        pytest.skip("Numba has no OpenMP here")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [layer, str(count)]
