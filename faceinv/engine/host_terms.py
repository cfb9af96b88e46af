"""The terms of the energy that need no image: landmarks and priors. Float64 on the host; 68 points are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import sparse

from faceinv.engine.jaw_outline import DOUBTFUL, JawOutline
from faceinv.engine.records import MARK_CORNERS, LandmarkPoints
from faceinv.engine.remembered import Remembered
from faceinv.face.landmarks68 import JAW, LANDMARK_COUNT
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from numpy.typing import NDArray

    from faceinv.engine.records import Energy, Problem
    from faceinv.face.camera import Seen
    from faceinv.face.model import MorphableModel

__all__ = ["HostTerms", "prior_diagonal", "priors"]


def prior_diagonal(layout: ParameterLayout, energy: Energy) -> NDArray[np.float64]:
    """(P,) the weights of chi^2: standard-normal priors for identity, expression and albedo, a weak one for lighting
    above its constant coefficients, none for the pose."""
    diagonal = np.zeros(layout.count)
    diagonal[layout.identity] = energy.identity
    diagonal[layout.expression] = energy.expression
    diagonal[layout.albedo] = energy.albedo
    diagonal[layout.lighting] = energy.lighting
    diagonal[layout.ambient] = 0.0
    return diagonal


def priors(layout: ParameterLayout, problem: Problem) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weights (B, P) of (chi - mean)^2, and the means (B, P): zeros but for one over the focal length."""
    weights = np.repeat(prior_diagonal(layout, problem.energy)[None], len(problem.landmarks), axis=0)
    means = np.zeros_like(weights)
    if problem.focal_prior is not None:
        means[:, layout.inverse_focal], weights[:, layout.inverse_focal] = problem.focal_prior.T
    return weights, means


class HostTerms:
    """Landmark and prior terms of a batch. Items are worked on one after another and do not touch: an item of a batch
    gets the bits it gets alone.

    Args:
        model: whose landmarks they are.
        surface: gives vertices (N, 3) mm of chi (P,) of an item of a batch, where an engine has them on the host: used
            where photos are drawn, so that it has them anyway.
    """

    def __init__(
        self, model: MorphableModel, surface: Callable[[NDArray[np.float64], int], NDArray[np.float64]] | None = None
    ) -> None:
        self.model = model
        self._surface = surface
        self.layout = ParameterLayout.of(model)
        outline = self._outline = JawOutline(model) if model.jaw_band.shape[1] else None
        # Only vertices that can be landmarks, and those around them, matter: those of the outline, then the others.
        known = outline.vertices if outline else np.zeros(0, np.int64)
        ids = np.concatenate([known, np.setdiff1d(model.landmark_vertices, known)])
        self._outline_count = len(known)
        self._ids, self._place = ids, np.full(model.vertex_count, -1)
        self._place[ids] = np.arange(len(ids))
        self._mean = model.mean[ids].astype(np.float64)
        bases = [model.identity_basis[ids], model.expression_basis[ids]]
        self._basis = np.concatenate(bases, axis=2, dtype=np.float64).reshape(3 * len(ids), self.layout.shape_count)
        spare = MARK_CORNERS - model.landmark_vertices.shape[1]
        self._fixed_vertices = np.pad(model.landmark_vertices, ((0, 0), (0, spare)), mode="edge")
        self._fixed_weights = np.pad(model.landmark_weights.astype(np.float64), ((0, 0), (0, spare)))
        self._shapes: Remembered[NDArray[np.float64]] = Remembered()
        self._outlines: Remembered[tuple[NDArray[Any], ...]] = Remembered()

    def resize(self, items: int) -> None:
        """Remember the latest shapes and outlines of so many items of a batch."""
        self._shapes.resize(items)
        self._outlines.resize(items)

    def points(self, chi: NDArray[np.float64], problem: Problem) -> LandmarkPoints:
        """Landmark points for chi (B, P): fixed ones for the inner face, the nearest ones of the outline for the
        jaw."""
        batch = len(chi)
        vertices = np.repeat(self._fixed_vertices[None], batch, axis=0)
        weights = np.repeat(self._fixed_weights[None], batch, axis=0)
        unit = 1 / (problem.landmark_sigma * problem.eye_distance[:, None])
        metric = unit[..., None, None] * np.eye(2)
        if self._outline is not None:
            for item in range(batch):
                found = self._nearest_of_outline(self._outline, chi[item], problem, item)
                vertices[item, JAW], weights[item, JAW], across, gap = found
                sure = unit[item, JAW] / np.sqrt(1 + (gap * unit[item, JAW] / DOUBTFUL) ** 2)
                metric[item, JAW, 0] = across * sure[:, None]
                metric[item, JAW, 1] = 0.0
        return LandmarkPoints(vertices, weights, metric)

    def cost(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(landmark terms, prior terms) of some items of a batch, each (items,)."""
        weights, means = priors(self.layout, problem)
        terms = np.zeros((len(items), 2))
        for place, item in enumerate(items.tolist()):
            _, residual = self._see(chi[item], points, problem, item)
            terms[place] = _squares(residual, weights[item], chi[item] - means[item])
        return terms[:, 0], terms[:, 1]

    def linearize(
        self,
        chi: NDArray[np.float64],
        points: LandmarkPoints,
        problem: Problem,
        items: NDArray[np.int64],
        free: NDArray[np.bool_] | None = None,
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
        """((landmark terms, prior terms), g (items, P), H (items, P, P)) of some items of a batch; parts of g and H
        without any entry that is `free` (B, P) may lack the landmarks."""
        layout, pose = self.layout, self.layout.pose
        free = np.ones(chi.shape, np.bool_) if free is None else free
        weights, means = priors(layout, problem)
        terms = np.zeros((len(items), 2))
        gradient, hessian = np.zeros((len(items), layout.count)), np.zeros((len(items), layout.count, layout.count))
        for place, item in enumerate(items.tolist()):
            seen, residual = self._see(chi[item], points, problem, item)
            away = chi[item] - means[item]
            terms[place] = _squares(residual, weights[item], away)
            g, h = gradient[place], hessian[place]
            g += weights[item] * away
            by_shape = free[item, layout.shape].any()
            if by_shape or free[item, pose].any():
                count = layout.shape_count if by_shape else 0
                jacobian = self._rows(seen, points, item, count)
                pull, product = jacobian.T @ residual.T.ravel(), jacobian.T @ jacobian
                g[:count] += pull[:count]
                g[pose] += pull[count:]
                h[:count, :count], h[:count, pose] = product[:count, :count], product[:count, count:]
                h[pose, :count], h[pose, pose] = product[count:, :count], product[count:, count:]
            h.reshape(-1)[:: layout.count + 1] += weights[item]
        return (terms[:, 0], terms[:, 1]), gradient, hessian

    def landmark_rows(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmark residuals (items, 136), in standard deviations, two of point after point; their derivative
        (items, 136, P)."""
        layout, count = self.layout, self.layout.shape_count
        residuals = np.zeros((len(items), LANDMARK_COUNT, 2))
        jacobian = np.zeros((*residuals.shape, layout.count))
        for place, item in enumerate(items.tolist()):
            seen, residuals[place] = self._see(chi[item], points, problem, item)
            rows = self._rows(seen, points, item, count).reshape(2, LANDMARK_COUNT, -1).transpose(1, 0, 2)
            jacobian[place, ..., :count], jacobian[place, ..., layout.pose] = rows[..., :count], rows[..., count:]
        return residuals.reshape(len(items), -1), jacobian.reshape(len(items), -1, layout.count)

    def _see(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, item: int
    ) -> tuple[Seen, NDArray[np.float64]]:
        """The landmark points of one chi (P,), as its camera sees them, and their residuals (68, 2)."""
        corners = self._shape(chi, problem, item).take(self._place.take(points.vertices[item]), axis=0)
        offsets = problem.landmark_offsets[item if len(problem.landmark_offsets) > 1 else 0]
        seen = self.layout.cameras(chi).see((points.weights[item][:, None] @ corners)[:, 0] + offsets)
        gap = seen.image_xy - problem.landmarks[item]
        return seen, (points.metric[item] @ gap[..., None])[..., 0]

    def _rows(self, seen: Seen, points: LandmarkPoints, item: int, count: int) -> NDArray[np.float64]:
        """(136, count + the camera's parameters): how the residuals, those of all first rows of A before those of all
        second ones, move with the first `count` coefficients of shape, all or none, and with the camera."""
        metric = points.metric[item]
        jacobian = np.empty((2 * LANDMARK_COUNT, count + self.layout.camera.PARAMETER_COUNT))
        jacobian.reshape(2, LANDMARK_COUNT, -1)[..., count:] = (metric @ seen.pose_columns).transpose(1, 0, 2)
        if count:
            # A J says how a residual moves with its point, and the point moves with its corners.
            screen, weights = (metric @ seen.screen_jacobian).transpose(1, 0, 2), points.weights[item]
            mark, corner = weights.nonzero()
            moved = weights[mark, corner][:, None] * screen[:, mark]
            columns = 3 * self._place[points.vertices[item][mark, corner]][:, None] + np.arange(3)
            ends = 3 * np.searchsorted(mark, np.arange(LANDMARK_COUNT), side="right")
            by_vertices = sparse.csr_array(
                (moved.ravel(), np.tile(columns.ravel(), 2), np.concatenate([[0], ends, ends[-1] + ends])),
                shape=(len(jacobian), len(self._basis)),
            )
            jacobian[:, :count] = by_vertices @ self._basis
        return jacobian

    def _shape(self, chi: NDArray[np.float64], problem: Problem, item: int) -> NDArray[np.float64]:
        """(M, 3) mm of the vertices that matter, for one chi (P,)."""
        if self._surface is not None and problem.energy.photometric:
            return self._surface(chi, item).take(self._ids, axis=0)
        coefficients = chi[self.layout.shape]
        return self._shapes.get(
            item, coefficients.tobytes(), lambda: self._mean + (self._basis @ coefficients).reshape(-1, 3)
        )

    def _nearest_of_outline(
        self, outline: JawOutline, chi: NDArray[np.float64], problem: Problem, item: int
    ) -> tuple[NDArray[Any], ...]:
        """See `JawOutline.points`, for one chi (P,)."""
        layout, target = self.layout, problem.landmarks[item, JAW]
        vertices = self._shape(chi, problem, item)[: self._outline_count]
        key = vertices.tobytes() + chi[layout.pose].tobytes() + target.tobytes()
        return self._outlines.get(item, key, lambda: outline.points(layout.cameras(chi), vertices, target))


def _squares(
    residual: NDArray[np.float64], weights: NDArray[np.float64], away: NDArray[np.float64]
) -> tuple[float, float]:
    """(landmark term, prior term)."""
    return float((residual**2).sum()), float((weights * away**2).sum())
