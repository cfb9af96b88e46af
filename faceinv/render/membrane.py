"""Smooth fields over a mesh that follow what is known at some vertices and go on elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csr_array

    from faceinv.face.model import MorphableModel

__all__ = ["Membrane", "membrane_of"]

_SMOOTHNESS: Final = 1.5
"""Weight of differences between neighbouring patches, over that of a vertex that is known."""
_PULL: Final = 1e-3
"""Weight of what a field tends to, at every patch: what touches nothing known takes that."""
_SWEEPS: Final = 4
"""Averages with neighbours that make a field of patches smooth."""

_known: WeakKeyDictionary[MorphableModel, Membrane] = WeakKeyDictionary()


def membrane_of(model: MorphableModel) -> Membrane:
    """The membrane over a model's mesh; prepared once for as long as the model lives."""
    if model not in _known:
        _known[model] = Membrane(model.triangles, model.vertex_count)
    return _known[model]


class Membrane:
    """The field of least bending energy, of first differences, on patches of a vertex and its neighbours each.

    That is the minimiser of `sum w_v (f - value_v)^2 + smoothness sum (f_a - f_b)^2` over neighbouring patches a, b:
    the membrane with which Poisson blending corrects what is pasted (Perez et al. 2003), on the surface, so that charts
    of a texture do not matter. Patches make it a matter of milliseconds.
    """

    def __init__(self, triangles: NDArray[np.int32], count: int) -> None:
        from scipy.sparse import coo_array, diags_array

        start, end = triangles.ravel(), np.roll(triangles, 1, axis=1).ravel()
        both = (np.concatenate([start, end]), np.concatenate([end, start]))
        links: csr_array[Any, tuple[int, int]] = coo_array(
            (np.ones(2 * len(start)), both), shape=(count, count)
        ).tocsr()
        links.data[:] = 1.0
        self.patch, self.patches = _patches(links)
        entries = (np.ones(count), (np.arange(count), self.patch))
        member = coo_array(entries, shape=(count, self.patches)).tocsr()
        between = (member.T @ links @ member).tocsr()
        between.setdiag(0)
        between.eliminate_zeros()
        self._laplacian = (diags_array(np.asarray(between.sum(axis=1))) - between).tocsc()
        degree = np.maximum(np.asarray(links.sum(axis=1)), 1.0)
        average = (diags_array(np.full(count, 0.5)) + diags_array(0.5 / degree) @ links).tocsr()
        spread = member
        for _ in range(_SWEEPS):
            spread = average @ spread
        self._spread = spread.tocsr()

    def extended(
        self,
        values: NDArray[Any],
        weights: NDArray[Any],
        rest: NDArray[np.float64] | None = None,
        pull: float = _PULL,
    ) -> NDArray[np.float64]:
        """(N, D) the smooth field that follows values (N, D) as far as weights (N,) from 0 to 1 say.

        Args:
            values: what is known; of any value where the weight is 0.
            weights: how surely.
            rest: (D,) what the field tends to far away from what is known; None for the mean of that, or 0 where
                nothing is.
            pull: how strongly it does, over a patch that is known.
        """
        from scipy.sparse import diags_array
        from scipy.sparse.linalg import splu

        total = float(weights.sum())
        if total < 1e-3:
            return np.zeros(values.shape) + (0.0 if rest is None else rest)
        values = np.where(weights[:, None] > 0, values, 0.0).astype(np.float64)
        known = np.bincount(self.patch, weights, self.patches)
        right = np.stack(
            [np.bincount(self.patch, weights * values[:, d], self.patches) for d in range(values.shape[1])], axis=1
        )
        if rest is None:
            rest = (weights[:, None] * values).sum(axis=0) / total
        matrix = (_SMOOTHNESS * self._laplacian + diags_array(known + pull)).tocsc()
        solver = splu(matrix, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
        return np.asarray(self._spread @ solver.solve(right + pull * rest), np.float64)


def _patches(links: csr_array[Any, tuple[int, int]]) -> tuple[NDArray[np.intp], int]:
    """(N,) a patch for each vertex, and how many there are: vertices none of whose neighbours has one yet take these,
    the others join a neighbour's."""
    start, ring = links.indptr.tolist(), links.indices.tolist()
    patch = [-1] * (len(start) - 1)
    count = 0
    for vertex in range(len(patch)):
        around = ring[start[vertex] : start[vertex + 1]]
        if patch[vertex] < 0 and all(patch[other] < 0 for other in around):
            patch[vertex] = count
            for other in around:
                patch[other] = count
            count += 1
    joined = list(patch)
    for vertex, own in enumerate(patch):
        if own < 0:
            joined[vertex] = next(
                patch[other] for other in ring[start[vertex] : start[vertex + 1]] if patch[other] >= 0
            )
    return np.array(joined, np.intp), count
