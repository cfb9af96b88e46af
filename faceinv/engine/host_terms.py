"""The terms of the energy that need no image: landmarks and priors. Float64 on the host; 68 points are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.records import LandmarkPoints
from faceinv.face.landmarks68 import JAW, JAW_COUNT, LANDMARK_COUNT, NOSE
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Energy, Problem
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
    weights = np.tile(prior_diagonal(layout, problem.energy), (len(problem.landmarks), 1))
    means = np.zeros_like(weights)
    if problem.focal_prior is not None:
        means[:, layout.inverse_focal], weights[:, layout.inverse_focal] = problem.focal_prior.T
    return weights, means


class HostTerms:
    """Landmark and prior terms of a batch. Items do not touch: an item of a batch gets the bits it gets alone."""

    def __init__(self, model: MorphableModel) -> None:
        self.model = model
        self.layout = ParameterLayout.of(model)
        mean = model.mean.astype(np.float64)
        # Only vertices that can be landmarks matter; the gathered bases are small.
        self._ids, inverse = np.unique(
            np.concatenate([model.landmark_vertices.ravel(), model.jaw_contour.ravel()]), return_inverse=True
        )
        inner = model.landmark_vertices.size
        self._corners = inverse[:inner].reshape(model.landmark_vertices.shape)
        self._rows = inverse[inner:].reshape(model.jaw_contour.shape)
        self._mean = mean[self._ids]
        self._basis = np.concatenate(
            [model.identity_basis[self._ids], model.expression_basis[self._ids]], axis=2, dtype=np.float64
        )
        self._place = np.full(model.vertex_count, -1)
        self._place[self._ids] = np.arange(len(self._ids))
        self._moving = np.r_[self.layout.shape, self.layout.pose]  # landmarks depend on nothing else

    def points(self, chi: NDArray[np.float64], target: NDArray[np.float64]) -> LandmarkPoints:
        """Landmark points for chi (B, P): fixed ones for the inner face, the silhouette's for the jaw.

        Each row of the model's jaw contour gives its outermost vertex in the image; jaw targets (B, 68, 2) px are then
        matched to the nearest point of the polyline through them, within two segments of their own place.
        """
        batch = len(chi)
        vertices = np.tile(self.model.landmark_vertices, (batch, 1, 1))
        weights = np.tile(self.model.landmark_weights.astype(np.float64), (batch, 1, 1))
        if self.model.jaw_contour.shape[1] > 1:
            xy = self.layout.cameras(chi).project(self._shape(chi))[..., :2]
            each = np.arange(batch)[:, None]
            nose = (weights[:, NOSE, :, None] * xy[:, self._corners[NOSE]]).sum(axis=2)
            rows = xy[:, self._rows]
            outward = rows[:, :, 0] - nose.mean(axis=1)[:, None]
            outermost = (rows * outward[:, :, None]).sum(axis=3).argmax(axis=2)
            contour = self.model.jaw_contour[np.arange(JAW_COUNT), outermost]
            polyline = xy[each, self._place[contour]]
            # Segments near each mark, in order; those beyond the ends are out of reach.
            segment = np.arange(JAW_COUNT)[:, None] + np.arange(-2, 2)
            on_contour = (segment >= 0) & (segment < JAW_COUNT - 1)
            segment = np.clip(segment, 0, JAW_COUNT - 2)
            start, edge = polyline[:, segment], polyline[:, segment + 1] - polyline[:, segment]
            wanted = target[:, JAW, None] - start
            length = np.maximum((edge**2).sum(axis=3), 1e-12)
            along = np.clip((wanted * edge).sum(axis=3) / length, 0.0, 1.0)
            gap = np.where(on_contour, ((along[..., None] * edge - wanted) ** 2).sum(axis=3), np.inf)
            best = gap.argmin(axis=2)
            marks = np.arange(JAW_COUNT)
            first, share = segment[marks, best], along[each, marks, best]
            vertices[:, JAW] = np.stack([contour[each, first], *[contour[each, first + 1]] * 2], axis=2)
            weights[:, JAW] = np.stack([1 - share, share, np.zeros_like(share)], axis=2)
        return LandmarkPoints(vertices, weights)

    def cost(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(landmark terms, prior terms) of some items of a batch, each (items,)."""
        chi = chi[items]
        image_xy = self.layout.cameras(chi).project(self._marks(chi, points, items))[..., :2]
        residual = self._residual(image_xy, problem, items)
        weights, means = (part[items] for part in priors(self.layout, problem))
        return (residual**2).sum(axis=(1, 2)), (weights * (chi - means) ** 2).sum(axis=1)

    def linearize(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
        """((landmark terms, prior terms), g (items, P), H (items, P, P)) of some items of a batch."""
        layout = self.layout
        residual, jacobian = self._rows_of(chi[items], points, problem, items)
        weights, means = (part[items] for part in priors(layout, problem))
        away = chi[items] - means
        moving = self._moving
        transposed = jacobian.transpose(0, 2, 1)
        gradient, hessian = weights * away, np.zeros((len(items), layout.count, layout.count))
        gradient[:, moving] += (transposed @ residual[:, :, None])[:, :, 0]
        hessian[:, moving[:, None], moving] = transposed @ jacobian
        hessian[:, np.arange(layout.count), np.arange(layout.count)] += weights
        # As `cost` sums them, so that the two agree to the last bit.
        cost = (residual.reshape(-1, LANDMARK_COUNT, 2) ** 2).sum(axis=(1, 2)), (weights * away**2).sum(axis=1)
        return cost, gradient, hessian

    def landmark_rows(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmark residuals (items, 136) in the energy's scale, x and y of point after point; their derivative
        (items, 136, P)."""
        residual, moving = self._rows_of(chi[items], points, problem, items)
        jacobian = np.zeros((len(items), 2 * LANDMARK_COUNT, self.layout.count))
        jacobian[:, :, self._moving] = moving
        return residual, jacobian

    def _rows_of(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Residuals (items, 136), and their derivative by shape and pose, (items, 136, K + the camera's parameters)."""
        count = self.layout.shape_count
        place, weights = self._place[points.vertices[items]], points.weights[items]
        basis = np.zeros((len(chi), LANDMARK_COUNT, 3, count))
        for k in range(3):
            basis += weights[:, :, k, None, None] * self._basis[place[:, :, k]]
        camera, marks = self.layout.cameras(chi), self._marks(chi, points, items)
        screen = camera.screen_jacobian(marks)[..., None]
        jacobian = np.empty((len(chi), LANDMARK_COUNT, 2, len(self._moving)))
        for d in range(2):
            jacobian[:, :, d, :count] = screen[:, :, d, 0] * basis[:, :, 0] + screen[:, :, d, 1] * basis[:, :, 1]
            jacobian[:, :, d, :count] += screen[:, :, d, 2] * basis[:, :, 2]
        jacobian[..., count:] = camera.pose_columns(marks)
        jacobian *= self._factor(problem, items)[:, :, None, None]
        rows = 2 * LANDMARK_COUNT
        residual = self._residual(camera.project(marks)[..., :2], problem, items)
        return residual.reshape(-1, rows), jacobian.reshape(-1, rows, len(self._moving))

    def _shape(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, M, 3) mm of the vertices that can be landmarks."""
        rows = 3 * len(self._ids)
        # A product for each item, so that its bits do not depend on the others.
        moved = self._basis.reshape(rows, self.layout.shape_count) @ chi[:, self.layout.shape, None]
        shape: NDArray[np.float64] = self._mean + moved.reshape(-1, rows // 3, 3)
        return shape

    def _marks(self, chi: NDArray[np.float64], points: LandmarkPoints, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(items, 68, 3) mm the landmark points, model space."""
        corners = self._shape(chi)[np.arange(len(chi))[:, None, None], self._place[points.vertices[items]]]
        marks: NDArray[np.float64] = (points.weights[items][..., None] * corners).sum(axis=2)
        return marks

    def _factor(self, problem: Problem, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(items, 68)."""
        weight = problem.energy.landmarks / LANDMARK_COUNT * problem.landmark_weights[items]
        factor: NDArray[np.float64] = np.sqrt(weight) / problem.eye_distance[items, None]
        return factor

    def _residual(
        self, image_xy: NDArray[np.float64], problem: Problem, items: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(items, 68, 2) of landmark points (items, 68, 2) px."""
        gap = image_xy - problem.landmarks[items]
        residual: NDArray[np.float64] = gap * self._factor(problem, items)[..., None]
        return residual
