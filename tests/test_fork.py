"""Fits in forked and spawned processes: they compute, or say at once what to do; they never hang."""

from __future__ import annotations

import copy
import importlib.util
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from small import few_modes

import faceinv
from faceinv import process
from faceinv.errors import BackendError
from faceinv.photo import image_file
from faceinv.photo.read import load_image

PHOTO = Path(faceinv.__file__).parent / "data" / "sample.jpg"
SMALL = {"size": 48, "levels": 1, "iterations": 2}
SECONDS = 240
"""On a machine that is busy with other things too; a hang lasts for ever."""
ENGINES = ["numpy", *(name for name in ("torch", "mxnet") if importlib.util.find_spec(name))]
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@cache
def told(scenario: str, *arguments: str) -> dict[str, Any]:
    """What the scenario of this file prints when it runs as a program of its own."""
    done = subprocess.run(
        [sys.executable, __file__, scenario, *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def computes_or_names_spawn(answers: list[Any], expected: float) -> bool:
    return all(
        answer == expected or (isinstance(answer, str) and "BackendError" in answer and "'spawn'" in answer)
        for answer in answers
    )


@needs_fork
@pytest.mark.parametrize("engine", ENGINES)
def test_children_forked_before_a_fit_compute(engine: str) -> None:
    answers = told("fits", engine)
    assert answers["forked before"] == [answers["parent"]] * 2


@needs_fork
@pytest.mark.parametrize("engine", ENGINES)
def test_children_forked_after_a_fit_compute_or_name_spawn(engine: str) -> None:
    answers = told("fits", engine)
    assert len(answers["forked after"]) == 3
    assert computes_or_names_spawn(answers["forked after"], answers["parent"]), answers


@pytest.mark.parametrize("engine", ENGINES)
def test_children_spawned_after_a_fit_compute(engine: str) -> None:
    answers = told("fits", engine)
    assert answers["spawned"] == [answers["parent"]]


@needs_fork
@pytest.mark.parametrize("engine", ENGINES)
def test_other_engines_compute_or_name_spawn_in_children_forked_after_a_fit(engine: str) -> None:
    """Libraries share one OpenMP: the threads of one are those of the others."""
    answers = told("fits", engine)["others"]
    assert list(answers) == [name for name in ENGINES if name != engine]
    assert all(isinstance(cost, float) or "'spawn'" in cost for cost in answers.values()), answers


@needs_fork
def test_drawing_in_a_child_forked_after_a_fit_names_spawn() -> None:
    answers = told("fits", "numpy")
    assert "BackendError" in answers["drawn"]
    assert "'spawn'" in answers["drawn"]


@needs_fork
def test_landmarks_are_found_in_forked_children() -> None:
    answers = told("landmarks")
    assert answers["parent"]
    assert answers["forked"] == [answers["parent"]] * 3


@needs_fork
def test_a_child_of_someone_elses_numba_threads_names_spawn() -> None:
    (answer,) = told("other_numba")["forked"]
    assert "BackendError" in answer
    assert "'spawn'" in answer


@needs_fork
@pytest.mark.skipif("torch" not in ENGINES, reason="PyTorch is not installed")
def test_a_child_of_someone_elses_torch_threads_computes() -> None:
    answers = told("other_torch")
    assert answers["forked"] == [answers["parent"]]


# ---- the guard by itself


def answer_of_fork(question: Any) -> str:
    """What a forked child of this process answers."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return str(pool.apply_async(question).get(SECONDS))


def _asks_for_threads() -> str:
    return str(_outcome(lambda: process.before_threads("a library")))


def _asks_to_be_alone() -> str:
    def enter() -> None:
        with process.alone("a session"):
            pass

    return str(_outcome(enter))


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_only_libraries_that_had_started_threads_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_started", set())
    assert answer_of_fork(_asks_for_threads) == "None"
    process.before_threads("a library")
    process.before_threads("a library")  # again and again, in the parent
    assert "BackendError: a library cannot compute in this process" in answer_of_fork(_asks_for_threads)
    assert answer_of_fork(_asks_to_be_alone) == "None"


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_is_within_is_told() -> None:
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with process.alone("a session"):
            entered.set()
            leave.wait(SECONDS)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert entered.wait(SECONDS)
        assert "a session cannot compute in this process" in answer_of_fork(_asks_to_be_alone)
    finally:
        leave.set()
        thread.join()
    assert answer_of_fork(_asks_to_be_alone) == "None"


def _photo_size() -> str:
    return str(load_image(PHOTO).size)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_while_another_thread_reads_a_photo_does_not_stop_reading() -> None:
    size = _photo_size()
    with image_file._OPENING, image_file._GIVEN:
        assert answer_of_fork(_photo_size) == size


# ---- copies of a fitter


def landmarks_of(result: faceinv.FitResult) -> Any:
    return result.landmarks2d.tobytes()


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("copied", [lambda fitter: pickle.loads(pickle.dumps(fitter)), copy.copy, copy.deepcopy])
def test_a_copy_of_a_fitter_fits_alike(fitted: bool, copied: Any) -> None:
    fitter = faceinv.Fitter(few_modes(), "numpy:float64", SMALL)
    landmarks = faceinv.Fitter(few_modes(), config=SMALL).fit(PHOTO).landmarks_target
    if fitted:
        fitter.fit(PHOTO, landmarks)
    again = copied(fitter)
    assert (again.backend, again.config, again.model_source) == (fitter.backend, fitter.config, fitter.model_source)
    assert again.model.fingerprint == fitter.model.fingerprint
    assert landmarks_of(again.fit(PHOTO, landmarks)) == landmarks_of(fitter.fit(PHOTO, landmarks))


def test_a_fitter_with_the_packaged_model_travels_light() -> None:
    content = pickle.dumps(faceinv.Fitter())
    assert len(content) < 10_000
    assert pickle.loads(content).model.fingerprint == faceinv.Fitter().model.fingerprint


def test_a_fitter_with_a_model_file_travels_without_the_file(tmp_path: Path) -> None:
    from faceinv.face.formats import save_npz_model

    save_npz_model(few_modes(), tmp_path / "model.npz")
    fitter = faceinv.Fitter(tmp_path / "model.npz")
    content = pickle.dumps(fitter)
    (tmp_path / "model.npz").unlink()
    again = pickle.loads(content)
    assert again.model.fingerprint == fitter.model.fingerprint
    assert again.model_source == fitter.model_source


# ---- in the child process


def _outcome(action: Any) -> Any:
    try:
        return action()
    except BackendError as error:
        return f"BackendError: {error}"


_fitter: Any = None
_result: Any = None


def _cost(engine: str) -> Any:
    """The cost of a small fit, by a fitter that was there before a fork, else by one of its own."""
    global _fitter, _result
    if _fitter is None:
        _fitter = faceinv.Fitter(few_modes(), engine, SMALL)

    def fit() -> float:
        global _result
        _result = _fitter.fit(PHOTO)
        return float(_result.cost)

    return _outcome(fit)


def _new_cost(engine: str) -> Any:
    return _outcome(lambda: float(faceinv.Fitter(few_modes(), engine, SMALL).fit(PHOTO).cost))


def _draw(_: str) -> Any:
    return _outcome(lambda: str(_result.overlay().size))


def fits(engine: str) -> dict[str, Any]:
    fork = multiprocessing.get_context("fork")
    answers: dict[str, Any] = {}
    global _fitter
    _fitter = faceinv.Fitter(few_modes(), engine, SMALL)
    with fork.Pool(2) as pool:
        answers["forked before"] = pool.map(_cost, [engine] * 2)
    answers["parent"] = _cost(engine)
    with fork.Pool(2) as pool:
        answers["forked after"] = [*pool.map(_cost, [engine] * 2), pool.apply(_new_cost, [engine])]
        answers["drawn"] = pool.apply(_draw, [engine])
        answers["others"] = {name: pool.apply(_new_cost, [name]) for name in ENGINES if name != engine}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        answers["spawned"] = pool.map(_cost, [engine])
    return answers


def _landmarks(_: int) -> Any:
    from faceinv.photo.detector import detect_faces
    from faceinv.photo.read import load_image

    return _outcome(lambda: [face.landmarks.tolist() for face in detect_faces(load_image(PHOTO).pixels)])


def landmarks() -> dict[str, Any]:
    answers = {"parent": _landmarks(0)}
    with multiprocessing.get_context("fork").Pool(2) as pool:
        return answers | {"forked": pool.map(_landmarks, range(3))}


def other_numba() -> dict[str, Any]:
    import numba

    @numba.njit(parallel=True)  # type: ignore[untyped-decorator, unused-ignore]
    def total(values: Any) -> float:
        result = 0.0
        for k in numba.prange(len(values)):
            result += values[k]
        return result

    total(np.ones(10))
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return {"forked": pool.map(_cost, ["numpy"])}


def other_torch() -> dict[str, Any]:
    import torch

    big = torch.rand(1000, 1000)
    (big @ big).exp().sum().item()
    with multiprocessing.get_context("fork").Pool(1) as pool:
        answers = {"forked": pool.map(_cost, ["torch"])}
    return answers | {"parent": _cost("torch")}


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
