"""What a worker does for one photo: fit it, or see that its result can be used; and draw its variants.

What fails is returned, not raised, but for faults of the output folder, which end the run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.dataset.archive import Archive
from faceinv.dataset.files import OutputError, Places, written
from faceinv.dataset.ledger import Source
from faceinv.dataset.samples import npz_bytes, sample_files, sample_key
from faceinv.dataset.settings import DatasetSettings
from faceinv.engine.blas import one_blas_thread
from faceinv.errors import DeviceLostError, FaceinvError, InputError
from faceinv.files import read_arrays
from faceinv.generate.draws import Donors, photo_key
from faceinv.generate.variants import Variants
from faceinv.run.saved import Saved
from faceinv.run.work import check_result, unexpected
from faceinv.version import __version__

if TYPE_CHECKING:
    from faceinv.detail.relief_map import ReliefMap
    from faceinv.face.model import MorphableModel
    from faceinv.fitting.fitter import Fitter
    from faceinv.fitting.result import FitResult

__all__ = ["DIED", "TRIES", "Outcome", "Shared", "draw", "fitted", "prepare", "save_donors"]

_log = logging.getLogger(__name__)

TRIES: Final = 2
DIED: Final = f"the process died while it worked on this photo, {TRIES} times; it may have run out of memory."


@dataclass(frozen=True)
class Shared:
    """What all tasks of a run have in common."""

    places: Places
    settings: DatasetSettings
    fingerprint: str
    """Of the face model."""
    photos: Path | None = None
    """A folder where photos of results are looked for."""
    run: str = "run"
    """A name of its own for each run."""
    version: str = __version__
    """Of the program that gives the tasks."""


@dataclass(frozen=True)
class Outcome:
    """What became of a photo in one step."""

    error: str | None = None
    """Why it failed."""
    key: str = ""
    detail: bool = False
    """Whether its result has detail that others can take."""


def prepare(shared: Shared, source: Source) -> Outcome:
    """Fit a photo and keep its fit; or see that a result is one of this model and version and has its photo."""
    return _tried(shared, source, "prepare", lambda: _prepare(shared, source))


def draw(shared: Shared, source: Source) -> Outcome:
    """Draw all variants of a photo into its part of a shard."""
    return _tried(shared, source, "draw", lambda: _draw(shared, source))


def fitted(shared: Shared, source: Source) -> FitResult:
    """The fit of a prepared photo or result, with the photo.

    Raises:
        FaceinvError: when it cannot be used.
    """
    if source.result:
        return _usable(shared, source)
    result = _load(shared.places.fit(source.number), shared.settings.model).with_photo(source.path)
    _same_photo(result, source.path)
    return result


def save_donors(shared: Shared, results: Iterator[FitResult], lenders: list[tuple[str, Source]]) -> None:
    """Keep what photos lend each other, once for all: expressions and lights of some, and whose details are lent."""
    donors = Donors.of(list(results))
    paths = [os.fsencode(one.path if one.result else shared.places.fit(one.number)) for _, one in lenders]
    joined = np.frombuffer(b"\0".join(paths), np.uint8)
    names = np.array(donors.names, "S16")
    arrays = {"names": names, "expressions": donors.expressions, "lightings": donors.lightings}
    with written(shared.places.donors) as stream:
        stream.write(npz_bytes({**arrays, "lenders": np.array([key for key, _ in lenders], "S16"), "paths": joined}))


class _Reliefs(Mapping[str, "ReliefMap"]):
    """The details that are lent, by the key of their photos; each is read when it is asked for."""

    def __init__(self, shared: Shared, paths: Mapping[str, Path]) -> None:
        self._shared = shared
        self._paths = dict(paths)

    def __getitem__(self, key: str) -> ReliefMap:
        return _load(self._paths[key], self._shared.settings.model).relief(symmetric=True)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


def _tried(shared: Shared, source: Source, step: str, work: Callable[[], Outcome]) -> Outcome:
    """Do it, and once more where it fails; a photo with which two processes have died is not begun again."""
    if shared.version != __version__:
        raise OutputError(
            f"a worker has faceinv {__version__}, and the run was started by {shared.version}: install one version "
            "everywhere, and run the same command again."
        )
    mark = shared.places.tries(shared.run, step, source.number)
    if _begin(mark) > TRIES:
        return Outcome(DIED)
    error = ""
    for _ in range(TRIES):
        try:
            outcome = work()
        except OutputError:
            raise
        except DeviceLostError as lost:
            _log.error("%s", lost)
            os._exit(1)  # this process is of no more use
        except FaceinvError as fault:
            error = str(fault)
        except Exception as fault:
            _log.debug("unexpected", exc_info=fault)
            error = unexpected(fault)
        else:
            mark.unlink(missing_ok=True)
            return outcome
    mark.unlink(missing_ok=True)
    return Outcome(error or "it failed without a word.")


def _begin(mark: Path) -> int:
    """How often a photo has been begun, with this time."""
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        with mark.open("ab") as stream:
            stream.write(b".")
            return stream.tell()
    except OSError as error:
        raise OutputError(f"cannot write '{mark}': {error.strerror or error}.") from None


def _prepare(shared: Shared, source: Source) -> Outcome:
    settings = shared.settings
    if source.result:
        result = _usable(shared, source)
    else:
        with one_blas_thread():
            fitter = _fitter(settings.model, settings.backend, settings.fit_config())
            result = check_result(fitter.fit(source.path, None if source.landmarks is None else source.landmarks))
        path = shared.places.fit(source.number)
        try:
            result.save(path)
        except InputError as error:
            raise OutputError(str(error)) from None
        # What follows must not depend on whether the run was stopped here: numbers are those of the file.
        result = fitted(shared, source)
    detail = result.detail is not None and result.detail.status.success
    return Outcome(key=photo_key(result), detail=detail)


def _usable(shared: Shared, source: Source) -> FitResult:
    about = read_arrays(source.path, "result", InputError)
    known = {name: str(about.get(name, "")) for name in ("model", "model_fingerprint", "version")}
    if "version" in about and known["version"] != __version__:
        raise InputError(
            f"result '{source.path}' was fitted by faceinv {known['version']}; this is {__version__}. Fit the photo "
            "anew."
        )
    if "model_fingerprint" in about and known["model_fingerprint"] != shared.fingerprint:
        raise InputError(
            f"result '{source.path}' is of another model ('{known['model']}') or another state of it; this data set is "
            f"of '{shared.settings.model}'. Give results of one model, and name it: --model."
        )
    result = check_result(_load(source.path, shared.settings.model))
    saved = Saved(source.path)
    places = list(saved.photos())
    if shared.photos is not None:
        near = [shared.photos / one for one in places if not one.is_absolute()]
        places = [*near, *(shared.photos / one.name for one in places)]
    photo = next((place for place in places if place.is_file()), None)
    if photo is None:
        named = f" '{saved.record['image']}'" if "image" in saved.record else ""
        raise InputError(
            f"the photo{named} of result '{source.path}' is gone. Put it beside the result, or say in which folder it "
            "is: --photos DIR."
        )
    result = result.with_photo(photo)
    _same_photo(result, photo)
    return result


def _same_photo(result: FitResult, photo: Path) -> None:
    try:
        result.check_photo()
    except InputError as error:
        raise InputError(f"'{photo}' has changed since it was fitted: {error}") from None


def _load(path: Path, model: str) -> FitResult:
    from faceinv.fitting.result import load_result

    return load_result(path, _model(model))


def _draw(shared: Shared, source: Source) -> Outcome:
    settings = shared.settings
    result = fitted(shared, source)
    donors, reliefs = _lent(shared, shared.places.donors.stat().st_mtime_ns)
    with one_blas_thread():
        variants = Variants(
            [result],
            settings.kind,
            settings.variants,
            settings.size,
            settings.seed,
            settings.draw,
            donors=donors,
            reliefs=reliefs if settings.kind == "fine" else None,
            backend=settings.backend,
        )
        with written(shared.places.part(source.number)) as stream, Archive(stream) as archive:
            for variant in variants:
                key = sample_key(source.number, variant.index, variant.frame, settings.kind == "pairs")
                for suffix, data in sample_files(variant, result.model, source.name, settings).items():
                    archive.add(f"{key}.{suffix}", data)
    return Outcome(key=variants.keys[0])


@lru_cache(maxsize=1)
def _lent(shared: Shared, changed: int) -> tuple[Donors, _Reliefs]:
    stored = read_arrays(shared.places.donors, "the donors' file", InputError)
    names = tuple(name.decode("ascii") for name in stored["names"])
    raw = stored["paths"].tobytes()
    paths = [Path(os.fsdecode(one)) for one in raw.split(b"\0")] if raw else []
    lenders = (key.decode("ascii") for key in stored["lenders"])
    reliefs = _Reliefs(shared, dict(zip(lenders, paths, strict=True)))
    return Donors(names, stored["expressions"], stored["lightings"]), reliefs


@lru_cache(maxsize=1)
def _fitter(model: str, backend: str, config: object) -> Fitter:
    from faceinv.fitting.config import FitConfig
    from faceinv.fitting.fitter import Fitter

    assert isinstance(config, FitConfig)
    return Fitter(model, backend, config)


@lru_cache(maxsize=1)
def _model(source: str) -> MorphableModel:
    from faceinv.face.formats import load_model

    return load_model(source)
