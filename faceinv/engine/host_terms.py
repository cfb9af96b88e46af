"""The terms of the energy that need no image: landmarks and priors. Float64 on the host; 68 points are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.jaw_outline import DOUBTFUL, JawOutline
from faceinv.engine.records import MARK_CORNERS, LandmarkPoints
from faceinv.face.landmarks68 import JAW, LANDMARK_COUNT
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
        outline = self._outline = JawOutline(model) if model.jaw_band.shape[1] else None
        # Only vertices that can be landmarks, and those around them, matter; the gathered bases are small.
        others = [outline.vertices] if outline else []
        self._ids = np.unique(np.concatenate([model.landmark_vertices.ravel(), *others]))
        self._place = np.full(model.vertex_count, -1)
        self._place[self._ids] = np.arange(len(self._ids))
        self._mean = model.mean[self._ids].astype(np.float64)
        self._basis = np.concatenate(
            [model.identity_basis[self._ids], model.expression_basis[self._ids]], axis=2, dtype=np.float64
        )
        self._outline_place = self._place[outline.vertices] if outline else self._ids[:0]
        self._moving = np.r_[self.layout.shape, self.layout.pose]  # landmarks depend on nothing else
        spare = MARK_CORNERS - model.landmark_vertices.shape[1]
        self._fixed_vertices = np.pad(model.landmark_vertices, ((0, 0), (0, spare)), mode="edge")
        self._fixed_weights = np.pad(model.landmark_weights.astype(np.float64), ((0, 0), (0, spare)))

    def points(self, chi: NDArray[np.float64], problem: Problem) -> LandmarkPoints:
        """Landmark points for chi (B, P): fixed ones for the inner face, the nearest ones of the outline for the
        jaw."""
        batch = len(chi)
        vertices = np.tile(self._fixed_vertices, (batch, 1, 1))
        weights = np.tile(self._fixed_weights, (batch, 1, 1))
        unit = 1 / (problem.landmark_sigma * problem.eye_distance[:, None])
        metric = unit[..., None, None] * np.eye(2)
        if self._outline is not None:
            for item in range(batch):
                camera, shape = self.layout.cameras(chi[item]), self._outline_shape(chi[item])
                found = self._outline.points(camera, shape, problem.landmarks[item, JAW])
                vertices[item, JAW], weights[item, JAW], across, gap = found
                sure = unit[item, JAW] / np.sqrt(1 + (gap * unit[item, JAW] / DOUBTFUL) ** 2)
                metric[item, JAW, 0] = across * sure[:, None]
                metric[item, JAW, 1] = 0.0
        return LandmarkPoints(vertices, weights, metric)

    def cost(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(landmark terms, prior terms) of some items of a batch, each (items,)."""
        chi = chi[items]
        image_xy = self.layout.cameras(chi).project(self._marks(chi, points, problem, items))[..., :2]
        residual = self._residual(image_xy, points, problem, items)
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
        """Landmark residuals (items, 136), in standard deviations, two of point after point; their derivative
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
        for k in range(MARK_CORNERS):
            used = weights[:, :, k].any(axis=0)  # corners beyond the third are the jaw's alone
            basis[:, used] += weights[:, used, k, None, None] * self._basis[place[:, used, k]]
        camera, marks = self.layout.cameras(chi), self._marks(chi, points, problem, items)
        metric = points.metric[items]
        # Each residual moves with its row of A J, J being how the image position moves with the point.
        screen = (metric @ camera.screen_jacobian(marks))[..., None]
        jacobian = np.empty((len(chi), LANDMARK_COUNT, 2, len(self._moving)))
        for d in range(2):
            jacobian[:, :, d, :count] = screen[:, :, d, 0] * basis[:, :, 0] + screen[:, :, d, 1] * basis[:, :, 1]
            jacobian[:, :, d, :count] += screen[:, :, d, 2] * basis[:, :, 2]
        jacobian[..., count:] = metric @ camera.pose_columns(marks)
        rows = 2 * LANDMARK_COUNT
        residual = self._residual(camera.project(marks)[..., :2], points, problem, items)
        return residual.reshape(-1, rows), jacobian.reshape(-1, rows, len(self._moving))

    def _outline_shape(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(M, 3) mm of the vertices around the outline, for one chi (P,)."""
        moved = self._basis.reshape(-1, self.layout.shape_count) @ chi[self.layout.shape]
        shape: NDArray[np.float64] = (self._mean + moved.reshape(-1, 3))[self._outline_place]
        return shape

    def _marks(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(items, 68, 3) mm the landmark points, model space."""
        place = self._place[points.vertices[items]]
        basis = self._basis[place].reshape(len(chi), 3 * place[0].size, self.layout.shape_count)
        # A product for each item, so that its bits do not depend on the others.
        corners = self._mean[place] + (basis @ chi[:, self.layout.shape, None]).reshape(*place.shape, 3)
        offsets = np.broadcast_to(problem.landmark_offsets, (len(problem.landmarks), LANDMARK_COUNT, 3))[items]
        marks: NDArray[np.float64] = (points.weights[items][..., None] * corners).sum(axis=2) + offsets
        return marks

    def _residual(
        self, image_xy: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(items, 68, 2) of landmark points (items, 68, 2) px."""
        gap = image_xy - problem.landmarks[items]
        residual: NDArray[np.float64] = (points.metric[items] @ gap[..., None])[..., 0]
        return residual
