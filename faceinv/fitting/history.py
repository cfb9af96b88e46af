"""The steps and times of a fit as arrays of a file.

`history` (S, 10) has a row for each step, in the order of `_NUMBERS`; `history_terms` (S, K) what its cost is the sum
of, named by `history_term_names`. `timings` (T,) are seconds, named by `timing_names`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.fitting.solver import Iteration

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["history_arrays", "history_of", "timings_of"]

_NUMBERS: Final = ("item", "index", "cost", "trial_cost", "step", "damping", "gain", "accepted", "rows", "seconds")
_WHOLE: Final = {"item": int, "index": int, "rows": int, "accepted": bool}


def history_arrays(history: Sequence[Iteration], timings: Mapping[str, float]) -> dict[str, NDArray[Any]]:
    """The arrays of steps and times."""
    names = list(dict.fromkeys(name for record in history for name in record.terms))
    rows = [[float(getattr(record, name)) for name in _NUMBERS] for record in history]
    terms = [[record.terms.get(name, np.nan) for name in names] for record in history]
    return {
        "history": np.array(rows, np.float64).reshape(len(rows), len(_NUMBERS)),
        "history_terms": np.array(terms, np.float64).reshape(len(rows), len(names)),
        "history_term_names": np.array(names, np.str_),
        "timings": np.array(list(timings.values()), np.float64),
        "timing_names": np.array(list(timings), np.str_),
    }


def history_of(stored: Mapping[str, NDArray[Any]]) -> tuple[Iteration, ...]:
    """The steps that a file holds; none where it holds none, or none that make sense."""
    rows, terms, names = (stored.get(name) for name in ("history", "history_terms", "history_term_names"))
    if rows is None or terms is None or names is None or names.ndim != 1:
        return ()
    fits = rows.ndim == 2 and rows.shape[1] == len(_NUMBERS) and terms.shape == (len(rows), len(names))
    if not fits or rows.dtype.kind != "f" or terms.dtype.kind != "f" or not np.isfinite(rows[:, [0, 1, 7, 8]]).all():
        return ()
    return tuple(
        Iteration(
            **{name: _WHOLE.get(name, float)(value) for name, value in zip(_NUMBERS, row, strict=True)},
            terms={str(name): value for name, value in zip(names, parts, strict=True) if not np.isnan(value)},
        )
        for row, parts in zip(rows.tolist(), terms.tolist(), strict=True)
    )


def timings_of(stored: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """The seconds by stage that a file holds."""
    seconds, names = stored.get("timings"), stored.get("timing_names")
    if seconds is None or names is None or seconds.ndim != 1 or seconds.shape != names.shape:
        return {}
    if seconds.dtype.kind != "f":
        return {}
    return {str(name): value for name, value in zip(names, seconds.tolist(), strict=True)}
