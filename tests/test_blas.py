"""One thread of BLAS inside, and what there was before outside, whoever enters and leaves in whatever order."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import numpy as np  # noqa: F401 - brings a BLAS
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from faceinv.engine.blas import one_blas_thread


def threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    """Two threads of BLAS, where it can have so many."""
    with threadpool_limits(2, "blas"):
        if threads() != {2}:
            pytest.skip("this BLAS has one thread")
        yield


def test_blas_has_one_thread_within_and_what_it_had_without() -> None:
    with one_blas_thread():
        assert threads() == {1}
        with one_blas_thread():
            assert threads() == {1}
        assert threads() == {1}
    assert threads() == {2}


def test_a_thread_that_leaves_first_takes_nothing_from_another() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.set()
            assert leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    with one_blas_thread():
        leave.set()
        thread.join()
        assert threads() == {1}
    assert threads() == {2}


def test_the_limit_stays_while_any_thread_is_within() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.set()
            assert leave.wait(30)

    thread = threading.Thread(target=other)
    with one_blas_thread():
        thread.start()
        assert inside.wait(30)
    assert threads() == {1}
    leave.set()
    thread.join()
    assert threads() == {2}


def test_the_limit_holds_in_a_thread_that_did_not_set_it_first() -> None:
    seen: list[set[int]] = []

    def other() -> None:
        with one_blas_thread():
            seen.append(threads())
        seen.append(threads())

    with one_blas_thread():
        pass
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [{1}, {2}]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_can_enter_though_another_thread_was_within() -> None:
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    assert inside.wait(30)
    child = os.fork()
    if not child:
        status = 1
        try:
            with one_blas_thread():
                status = 0 if threads() == {1} else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    leave.set()
    thread.join()
    assert os.waitstatus_to_exitcode(status) == 0
