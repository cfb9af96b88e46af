"""Values of vertices continued over the mesh from where they are known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np
from scipy.sparse import csr_array, diags_array

from faceinv.generate.regions import links_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["Spread"]

_CELLS_MM: Final = (5.0, 10.0, 20.0, 40.0, 80.0, 400.0)
"""Sides of the cubes in which vertices are gathered, from fine to coarse."""
_NEEDED: Final = (2.0, 5.0, 12.0, 25.0, 40.0, 1e-6)
"""The weight that a cube must hold to be believed fully: an earring is no skin."""
_SMOOTHING: Final = 12
"""Rounds in which what was continued is evened out between neighbours."""

_known: WeakKeyDictionary[MorphableModel, Spread] = WeakKeyDictionary()


class Spread:
    """Continues values over a model's vertices: a pyramid of weighted means over ever larger cubes of the mean
    surface, each vertex taking the finest that has been seen, and then rounds of averaging between neighbours. Made
    once for a model; a call takes milliseconds, where a sparse factorisation takes a second."""

    def __init__(self, model: MorphableModel) -> None:
        count = model.vertex_count
        links = links_of(model.triangles, count)
        degree = np.maximum(links.sum(axis=1), 1.0)
        self.mean: csr_array[Any, tuple[int, int]] = csr_array(diags_array(1.0 / degree) @ links)
        surface = model.mean.astype(np.float64)
        self._gather: list[csr_array[Any, tuple[int, int]]] = []
        for side in _CELLS_MM:
            cell = np.floor((surface - surface.min(axis=0)) / side).astype(np.int64)
            _, index = np.unique(cell, axis=0, return_inverse=True)
            index = index.ravel()
            ones = np.ones(count)
            self._gather.append(csr_array((ones, (index, np.arange(count))), shape=(int(index.max()) + 1, count)))

    @classmethod
    def of(cls, model: MorphableModel) -> Spread:
        """The one of a model; remembered for as long as the model lives."""
        if model not in _known:
            _known[model] = cls(model)
        return _known[model]

    def __call__(
        self, values: NDArray[np.floating], weight: NDArray[np.floating], support: float = 1.0
    ) -> NDArray[np.float64]:
        """(N, C): values (N, C) where the weight (N,), from 0 to 1, is 1, and their continuation where it is 0.

        Args:
            values: what is continued.
            weight: how sure it is.
            support: how much of it is needed to be believed, over what is usual; little for what is nearest.
        """
        given, sure = np.asarray(values, np.float64), np.asarray(weight, np.float64)[:, None]
        result, known = sure * given, sure.copy()
        for gather, needed in zip(self._gather, _NEEDED, strict=True):
            total = gather @ sure
            mean = (gather @ (sure * given)) / np.maximum(total, 1e-9)
            spread = gather.T @ np.concatenate([mean, np.minimum(total / (support * needed), 1.0)], axis=1)
            take = (1 - known) * spread[:, -1:]
            result += take * spread[:, :-1]
            known += take
        result = np.where(known > 0, result / np.maximum(known, 1e-9), 0.0)
        for _ in range(_SMOOTHING):
            result = sure * given + (1 - sure) * (self.mean @ result)
        return np.asarray(result, np.float64)
