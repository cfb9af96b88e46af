"""Making a data set: fits first, then what photos lend each other, then pictures, shard after shard.

Photos are the unit of work, and go to any `concurrent.futures` executor. This process alone writes shards, index and
card. What is done is noted (`faceinv.dataset.ledger`), and every file follows from settings and photos alone, so that a
run that was stopped goes on, and ends with the bytes of one that was not, whoever works on it.
"""

from __future__ import annotations

import hashlib
import heapq
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from faceinv.dataset.card import begun_card, finish_card, write_card
from faceinv.dataset.files import Places
from faceinv.dataset.ledger import Ledger, Source
from faceinv.dataset.settings import DatasetSettings
from faceinv.dataset.shards import join_index, need_pyarrow, write_shard
from faceinv.dataset.sources import find_sources
from faceinv.dataset.work import DIED, Shared, draw, fitted, prepare, save_donors
from faceinv.dataset.work import Outcome as Step
from faceinv.errors import InputError
from faceinv.generate.config import check_steps
from faceinv.run.executors import MakeExecutor, ProcessPool, plan
from faceinv.run.tasks import Crew

__all__ = ["Outcome", "Watcher", "make_dataset"]

_DONORS: Final = 256
"""Photos whose expressions and lights are lent, at most."""
_LENDERS: Final = 64
"""Photos whose detail is lent, at most."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    folder: Path
    photos: int
    failed: int
    """Photos that could not be used; the index says why."""
    pictures: int
    earlier: bool = False
    """Whether it was complete before."""


class Watcher:
    """Told how a run goes; each of these does nothing here."""

    def found(self, photos: int) -> None:
        """So many photos were found, now or by an earlier run."""

    def step(self, name: str, done: int, failed: int, total: int) -> None:
        """Photos of a step (`fitting`, `drawing`) are done, some of them failed, of so many."""

    def failure(self, name: str, reason: str) -> None:
        """A photo cannot be used."""

    def shard(self, path: Path, pictures: int, failed: int) -> None:
        """A shard is there."""


def make_dataset(
    inputs: Sequence[str | Path],
    output: str | Path,
    settings: DatasetSettings | None = None,
    *,
    photos: Path | None = None,
    workers: int | None = None,
    make: MakeExecutor | None = None,
    sheets: bool = False,
    watcher: Watcher | None = None,
    before: Callable[[Shared, Ledger], None] | None = None,
) -> Outcome:
    """Make a data set of photos or results, or go on with it.

    Args:
        inputs: photos, results of `faceinv fit` (`.npz`), and folders of them.
        output: the folder of the data set.
        settings: what it is made with.
        photos: a folder where photos of results are looked for.
        workers: how many; None for one for each core, or one for a GPU.
        make: makes executors; processes on this machine by default (`faceinv.run.cluster.connect` for others).
        sheets: write a page for each shard.
        watcher: told how it goes.
        before: called when photos are found, before the first is worked on.

    Raises:
        InputError: when something given cannot be used: no photos, results that are of another model or version or have
            lost their photo, a folder with a data set of other settings, a folder that cannot be written. What was
            finished stays.
        FaceinvError: when model, engine or settings cannot be used.
    """
    from faceinv.fitting.fitter import Fitter

    need_pyarrow()
    settings, watcher = settings or DatasetSettings(), watcher or Watcher()
    paths = [Path(one) for one in inputs]
    if not paths:
        raise InputError("no photos or results are given.")
    places = Places(Path(output).absolute())
    if places.folder.exists() and not places.folder.is_dir():
        raise InputError(f"'{output}' is a file; a data set needs a folder. Choose another --output.")
    fitter = Fitter(settings.model, settings.backend, settings.fit_config())  # errors of model and engine show here
    model = fitter.model
    share = plan(1 << 62, fitter.engine.batch_size, workers)
    fingerprint = model.fingerprint
    fitter.engine.close()
    if settings.kind == "pairs":
        check_steps(settings.draw, fingerprint)
    card = begun_card(places, settings, model, [one.name or str(one) for one in paths])
    if card["complete"]:
        counts = card["counts"]
        shutil.rmtree(places.work, ignore_errors=True)
        return Outcome(places.folder, counts["photos"], counts["failed"], counts["pictures"], True)
    shared = Shared(places, settings, fingerprint, None if photos is None else photos.absolute(), uuid.uuid4().hex[:12])
    if not places.card.exists():
        _find(places, paths)
        write_card(places, card)
    ledger = Ledger(places.ledger)
    try:
        if not ledger.total:
            ledger.fill(find_sources(paths, places.folder))
        shutil.rmtree(places.work / "tries", ignore_errors=True)
        ledger.forget_failures(results=True)
        watcher.found(ledger.total)
        if before is not None:
            before(shared, ledger)
        with Crew(share.workers, share.threads, make or ProcessPool) as crew:
            run = _Run(shared, ledger, watcher, crew, sheets)
            run.prepare()
            run.lend()
            run.draw()
        summary = join_index(places, run.shards)
        places.clean()
        finish_card(places, card, summary)
    finally:
        ledger.close()
    shutil.rmtree(places.work, ignore_errors=True)
    return Outcome(places.folder, summary.photos, summary.failed, summary.pictures)


def _find(places: Places, paths: Sequence[Path]) -> None:
    """Note all photos; where something that was given cannot be one, nothing is left."""
    existed = places.folder.exists()
    shutil.rmtree(places.work, ignore_errors=True)  # of a run that was stopped before it had found all
    try:
        ledger = Ledger(places.ledger)
        try:
            ledger.fill(find_sources(paths, places.folder))
        finally:
            ledger.close()
    except BaseException:
        shutil.rmtree(places.work if existed else places.folder, ignore_errors=True)
        raise


class _Run:
    """The steps of a run."""

    def __init__(self, shared: Shared, ledger: Ledger, watcher: Watcher, crew: Crew, sheets: bool) -> None:
        self._shared, self._ledger, self._watcher, self._crew = shared, ledger, watcher, crew
        self._sheets = sheets
        self._total = ledger.total
        self._per_shard = shared.settings.photos_per_shard
        self.shards = -(-self._total // self._per_shard)

    def prepare(self) -> None:
        """Fit photos, and see that results can be used.

        Raises:
            InputError: for results that cannot, or when no photo can.
        """
        ledger = self._ledger
        done, failed = ledger.count("prepared"), ledger.count("failed")
        for source, outcome in self._tasks("prepare", ledger.pending("prepared")):
            if outcome.error is None:
                ledger.prepared(source.number, outcome.key, outcome.detail)
                done += 1
            else:
                ledger.failed(source.number, outcome.error)
                failed += 1
                if not source.result:  # of results it ends the run with the reasons
                    self._watcher.failure(source.name, outcome.error)
            self._watcher.step("fitting", done, failed, self._total)
        wrong = ledger.first_failures(4, results=True)
        if wrong:
            reasons = " ".join(reason for _, reason in wrong[:3])
            raise InputError(f"results cannot be used. {reasons}{' So it is with others.' if wrong[3:] else ''}")
        if not done:
            reasons = " ".join(f"'{name}': {reason}" for name, reason in ledger.first_failures(3, results=False))
            raise InputError(f"none of {self._total} photos can be used. {reasons}")

    def lend(self) -> None:
        """Choose what photos lend each other."""
        if self._shared.places.donors.exists():
            return
        donors, lenders = choose_donors(self._shared, self._ledger)
        if self._shared.settings.kind == "fine" and not lenders:
            raise InputError(
                "variants of kind 'fine' take the detail of other faces, and none of these results has one. Find it "
                "first: faceinv detail RESULT.npz, or give photos."
            )
        save_donors(self._shared, (fitted(self._shared, one) for _, one in donors), lenders)

    def draw(self) -> None:
        """Draw all photos, and write each shard when its photos are done."""
        ledger, watcher = self._ledger, self._watcher
        done, failed = ledger.count("drawn"), ledger.count("failed")
        for number in range(self.shards):  # what an earlier run drew and did not join, or whose photos all failed
            self._finish(number)
        for source, outcome in self._tasks("draw", ledger.pending("drawn")):
            if outcome.error is None:
                ledger.drawn(source.number)
                done += 1
            else:
                ledger.failed(source.number, outcome.error)
                watcher.failure(source.name, outcome.error)
                failed += 1
            watcher.step("drawing", done, failed, self._total)
            self._finish(source.number // self._per_shard)

    def _tasks(self, step: str, sources: Iterator[Source]) -> Iterator[tuple[Source, Step]]:
        work = partial(prepare if step == "prepare" else draw, self._shared)
        return self._crew.run(sources, work, _died)

    def _finish(self, number: int) -> None:
        """Write a shard if its photos are done."""
        ledger, places = self._ledger, self._shared.places
        first = number * self._per_shard
        last = min(first + self._per_shard, self._total)
        if ledger.shard_is_done(number) or ledger.unfinished(first, last):
            return
        photos = ledger.outcomes(first, last)
        pictures = write_shard(places, number, photos)
        if self._sheets:
            from faceinv.dataset.sheet import write_sheet

            write_sheet(places, number, photos)
        failed = sum(reason is not None for _, _, reason in photos)
        ledger.shard_done(number, len(photos), failed, pictures)
        for photo, _, _ in photos:
            places.part(photo).unlink(missing_ok=True)
        self._watcher.shard(places.shard(number), pictures, failed)


def choose_donors(shared: Shared, ledger: Ledger) -> tuple[list[tuple[str, Source]], list[tuple[str, Source]]]:
    """Whose expressions and lights, and whose details are lent: those of some photos, by a draw of the seed's."""

    def some(count: int, detail: bool) -> list[tuple[str, Source]]:
        drawn = ((_lot(shared.settings.seed, number, key), number, key) for number, key in ledger.usable(detail))
        chosen = {key: number for _, number, key in heapq.nsmallest(count, drawn)}
        return [(key, ledger.source(number)) for key, number in sorted(chosen.items())]

    return some(_DONORS, False), some(_LENDERS, True) if shared.settings.kind == "fine" else []


def _lot(seed: int, number: int, key: str) -> bytes:
    return hashlib.sha256(f"{seed} {number} {key}".encode()).digest()


def _died(source: Source) -> Step:
    return Step(DIED)
