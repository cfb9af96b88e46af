"""What is to be done for a data set and what is done: a small database beside its files, for any number of photos.

One process at a time has it: it is locked while it is open. A kill at any moment leaves it as it was after the last
step that was noted, and steps that were done and not noted are done again, with the same outcome.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from faceinv.dataset.files import OutputError
from faceinv.errors import InputError

__all__ = ["Found", "Ledger", "Source"]

_PAGE: Final = 256
_TABLES: Final = """
create table found (origin integer, name blob, path blob unique on conflict ignore, landmarks blob, result integer);
create table photos (
    number integer primary key, name blob, path blob, landmarks blob, result integer,
    prepared integer default 0, drawn integer default 0, reason text, key text, detail integer default 0
);
create index failures on photos (number) where reason is not null;
create table shards (number integer primary key, photos integer, failed integer, pictures integer);
"""


@dataclass(frozen=True)
class Found:
    """A photo or result that was given."""

    origin: int
    """Which of the inputs it is of."""
    name: str
    """Its path within that, with `/`."""
    path: Path
    landmarks: Path | None
    """Of a photo, where there are some beside it."""
    result: bool
    """Whether it is a result, and no photo."""


@dataclass(frozen=True)
class Source:
    """The same, numbered in the order of inputs and names."""

    number: int
    name: str
    path: Path
    landmarks: Path | None
    result: bool


class Ledger:
    """The database at a path, made where there is none.

    Raises:
        InputError: when another process has it, or it is damaged.
        OutputError: when it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._faults():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(path, timeout=0.5, isolation_level=None)
            self._base.execute("pragma locking_mode = exclusive")
            self._base.execute("begin exclusive")
            if not self._base.execute("select count(*) from sqlite_master").fetchone()[0]:
                for statement in _TABLES.split(";"):
                    self._base.execute(statement)
            self._base.execute("commit")

    def close(self) -> None:
        """Give it free."""
        self._base.close()

    @property
    def total(self) -> int:
        """Photos; 0 until they were all found."""
        return self._number("select count(*) from photos")

    def fill(self, found: Iterable[Found]) -> None:
        """Number all photos, once."""
        with self._faults():
            self._base.execute("begin")
            self._base.execute("delete from found")
            rows = (
                (one.origin, _blob(one.name), _blob(one.path.absolute()), _blob(one.landmarks), int(one.result))
                for one in found
            )
            try:
                self._base.executemany("insert into found values (?, ?, ?, ?, ?)", rows)
            except BaseException:
                self._base.execute("rollback")
                raise
            self._base.execute(
                "insert into photos (number, name, path, landmarks, result) "
                "select row_number() over (order by origin, name) - 1, name, path, landmarks, result from found"
            )
            self._base.execute("delete from found")
            self._base.execute("commit")

    def pending(self, step: str) -> Iterator[Source]:
        """Photos for which a step (`prepared`, `drawn`) is to be done, in their order; those that failed are left
        out."""
        last = -1
        query = (
            f"select number, name, path, landmarks, result from photos where number > ? and {step} = 0 "
            f"and reason is null order by number limit {_PAGE}"
        )
        while rows := self._rows(query, last):
            for number, name, path, landmarks, result in rows:
                last = number
                marks = None if landmarks is None else Path(os.fsdecode(landmarks))
                yield Source(number, os.fsdecode(name), Path(os.fsdecode(path)), marks, bool(result))

    def prepared(self, number: int, key: str, detail: bool) -> None:
        """Note that a photo has a fit."""
        self._do("update photos set prepared = 1, key = ?, detail = ? where number = ?", key, int(detail), number)

    def drawn(self, number: int) -> None:
        """Note that a photo's pictures are there."""
        self._do("update photos set drawn = 1 where number = ?", number)

    def failed(self, number: int, reason: str) -> None:
        """Note that a photo cannot be used, and why."""
        text = reason.encode("utf-8", "backslashreplace").decode("utf-8")
        self._do("update photos set reason = ? where number = ?", text, number)

    def shard_done(self, number: int, photos: int, failed: int, pictures: int) -> None:
        """Note that a shard is there."""
        self._do("insert or replace into shards values (?, ?, ?, ?)", number, photos, failed, pictures)

    def shard_is_done(self, number: int) -> bool:
        """Whether a shard is there."""
        return bool(self._number("select count(*) from shards where number = ?", number))

    def unfinished(self, first: int, last: int) -> int:
        """How many photos of a range (last excluded) are neither drawn nor failed."""
        query = "select count(*) from photos where number >= ? and number < ? and drawn = 0 and reason is null"
        return self._number(query, first, last)

    def outcomes(self, first: int, last: int) -> list[tuple[int, str, str | None]]:
        """(number, name, reason or None) of a range of photos, last excluded."""
        query = "select number, name, reason from photos where number >= ? and number < ? order by number"
        return [(number, os.fsdecode(name), reason) for number, name, reason in self._rows(query, first, last)]

    def usable(self, detail: bool) -> Iterator[tuple[int, str]]:
        """(number, key) of photos with a fit, with detail where it is asked for."""
        last = -1
        query = (
            "select number, key from photos where number > ? and prepared = 1 and detail >= ? and reason is null "
            f"order by number limit {_PAGE}"
        )
        while rows := self._rows(query, last, int(detail)):
            last = rows[-1][0]
            yield from rows

    def source(self, number: int) -> Source:
        """One photo."""
        query = "select number, name, path, landmarks, result from photos where number = ?"
        ((_, name, path, landmarks, result),) = self._rows(query, number)
        marks = None if landmarks is None else Path(os.fsdecode(landmarks))
        return Source(number, os.fsdecode(name), Path(os.fsdecode(path)), marks, bool(result))

    def count(self, what: str) -> int:
        """How many photos are `prepared`, `drawn` or `failed`; all are looked at."""
        condition = "reason is not null" if what == "failed" else f"{what} = 1 and reason is null"
        return self._number(f"select count(*) from photos where {condition}")

    def first_failures(self, count: int, results: bool) -> list[tuple[str, str]]:
        """(name, reason) of the first photos or results that could not be prepared."""
        query = (
            "select name, reason from photos where reason is not null and prepared = 0 and result = ? "
            f"order by number limit {count}"
        )
        return [(os.fsdecode(name), reason) for name, reason in self._rows(query, int(results))]

    def forget_failures(self, results: bool) -> None:
        """Let photos or results that could not be prepared be tried again."""
        query = "update photos set reason = null where reason is not null and prepared = 0 and result = ?"
        self._do(query, int(results))

    def pictures(self) -> int:
        """In the shards that are done."""
        return self._number("select coalesce(sum(pictures), 0) from shards")

    def _rows(self, query: str, *values: object) -> list[Any]:
        with self._faults():
            return self._base.execute(query, values).fetchall()

    def _number(self, query: str, *values: object) -> int:
        with self._faults():
            return int(self._base.execute(query, values).fetchone()[0])

    def _do(self, query: str, *values: object) -> None:
        with self._faults():
            self._base.execute(query, values)

    @contextmanager
    def _faults(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            folder = self._path.parent.parent
            if "locked" in str(error):
                raise InputError(
                    f"another run works on '{folder}'. Wait until it ends, or choose another --output."
                ) from None
            raise OutputError(f"cannot write '{self._path}': {error}.") from None
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"'{self._path}' is damaged ({error}). Delete the folder it is in, and run again: all is made anew."
            ) from None
        except OSError as error:
            raise OutputError(f"cannot write '{self._path}': {error.strerror or error}.") from None


def _blob(path: str | Path | None) -> bytes | None:
    return None if path is None else os.fsencode(path)
