"""The terms of the energy that need no image: landmarks and priors. Float64 on the host; 68 points are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.records import LandmarkPoints
from faceinv.face.camera import rotation_matrix
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.records import Energy, Problem
    from faceinv.face.model import MorphableModel

__all__ = ["HostTerms", "prior_diagonal"]

_JAW = 17


def prior_diagonal(layout: ParameterLayout, energy: Energy) -> NDArray[np.float64]:
    """(P,) the weights of chi^2: standard-normal priors for identity, expression and albedo, a weak one for lighting
    above its constant coefficients, none for the pose."""
    diagonal = np.zeros(layout.count)
    diagonal[layout.identity] = energy.identity
    diagonal[layout.expression] = energy.expression
    diagonal[layout.albedo] = energy.albedo
    diagonal[layout.lighting] = energy.lighting
    diagonal[layout.lighting.start : layout.lighting.stop : 9] = 0.0
    return diagonal


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
            xy, each = self._image(self._turned(self._shape(chi), chi), chi), np.arange(batch)[:, None]
            inner = (weights[:, _JAW:, :, None] * xy[:, self._corners[_JAW:]]).sum(axis=2)
            rows = xy[:, self._rows]
            outward = rows[:, :, 0] - inner[:, None, 10:19].mean(axis=2)  # from the nose
            outermost = (rows * outward[:, :, None]).sum(axis=3).argmax(axis=2)
            contour = self.model.jaw_contour[np.arange(_JAW), outermost]
            polyline = xy[each, self._place[contour]]
            # Segments near each mark, in order; those beyond the ends are out of reach.
            segment = np.arange(_JAW)[:, None] + np.arange(-2, 2)
            there = (segment >= 0) & (segment < _JAW - 1)
            segment = np.clip(segment, 0, _JAW - 2)
            start, edge = polyline[:, segment], polyline[:, segment + 1] - polyline[:, segment]
            wanted = target[:, :_JAW, None] - start
            length = np.maximum((edge**2).sum(axis=3), 1e-12)
            along = np.clip((wanted * edge).sum(axis=3) / length, 0.0, 1.0)
            gap = np.where(there, ((along[..., None] * edge - wanted) ** 2).sum(axis=3), np.inf)
            best = gap.argmin(axis=2)
            marks = np.arange(_JAW)
            first, share = segment[marks, best], along[each, marks, best]
            vertices[:, :_JAW] = np.stack([contour[each, first], *[contour[each, first + 1]] * 2], axis=2)
            weights[:, :_JAW] = np.stack([1 - share, share, np.zeros_like(share)], axis=2)
        return LandmarkPoints(vertices, weights)

    def cost(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(landmark terms, prior terms) of some items of a batch, each (items,)."""
        chi = chi[items]
        residual = self._residual(self._marks(chi, points, items), chi, problem, items)
        return (residual**2).sum(axis=(1, 2)), (prior_diagonal(self.layout, problem.energy) * chi**2).sum(axis=1)

    def linearize(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[tuple[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64], NDArray[np.float64]]:
        """((landmark terms, prior terms), g (items, P), H (items, P, P)) of some items of a batch."""
        layout = self.layout
        residual, jacobian = self._rows_of(chi[items], points, problem, items)
        diagonal = prior_diagonal(layout, problem.energy)
        moving = self._moving
        transposed = jacobian.transpose(0, 2, 1)
        gradient, hessian = diagonal * chi[items], np.zeros((len(items), layout.count, layout.count))
        gradient[:, moving] += (transposed @ residual[:, :, None])[:, :, 0]
        hessian[:, moving[:, None], moving] = transposed @ jacobian
        hessian[:, np.arange(layout.count), np.arange(layout.count)] += diagonal
        # As `cost` sums them, so that the two agree to the last bit.
        cost = (residual.reshape(-1, 68, 2) ** 2).sum(axis=(1, 2)), (diagonal * chi[items] ** 2).sum(axis=1)
        return cost, gradient, hessian

    def landmark_rows(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmark residuals (items, 136) in the energy's scale, x and y of point after point; their derivative
        (items, 136, P)."""
        residual, moving = self._rows_of(chi[items], points, problem, items)
        jacobian = np.zeros((len(items), 136, self.layout.count))
        jacobian[:, :, self._moving] = moving
        return residual, jacobian

    def _rows_of(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, items: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Residuals (items, 136), and their derivative (items, 136, K + 6) by shape and pose."""
        layout, count = self.layout, self.layout.shape_count
        place, weights = self._place[points.vertices[items]], points.weights[items]
        scale = layout.scale(chi)[:, None]
        rotation = rotation_matrix(chi[:, layout.rotation])
        basis = np.zeros((len(chi), 68, 3, count))
        for k in range(3):
            basis += weights[:, :, k, None, None] * self._basis[place[:, :, k]]
        marks = self._marks(chi, points, items)
        x, y, z = np.moveaxis(marks, 2, 0)
        zero, one = np.zeros_like(x), np.ones_like(x)
        jacobian = np.empty((len(chi), 68, 2, count + 6))
        for d, sign in enumerate((1.0, -1.0)):
            row = (sign * scale * rotation[:, d])[:, None, :, None]
            jacobian[:, :, d, :count] = row[:, :, 0] * basis[:, :, 0] + row[:, :, 1] * basis[:, :, 1]
            jacobian[:, :, d, :count] += row[:, :, 2] * basis[:, :, 2]
        # log s, a turn about each axis (dw x turned), and t.
        jacobian[:, :, 0, count:] = np.stack([x, zero, z, -y, one, zero], axis=2)
        jacobian[:, :, 1, count:] = np.stack([-y, z, zero, -x, zero, one], axis=2)
        jacobian *= self._factor(problem, items)[:, :, None, None]
        residual = self._residual(marks, chi, problem, items)
        return residual.reshape(-1, 136), jacobian.reshape(-1, 136, count + 6)

    def _shape(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, M, 3) mm of the vertices that can be landmarks."""
        rows = 3 * len(self._ids)
        # A product for each item, so that its bits do not depend on the others.
        moved = self._basis.reshape(rows, self.layout.shape_count) @ chi[:, self.layout.shape, None]
        shape: NDArray[np.float64] = self._mean + moved.reshape(-1, rows // 3, 3)
        return shape

    def _turned(self, shape: NDArray[np.float64], chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """Points (B, L, 3) mm, turned and scaled: px in the camera frame, y up, before the translation."""
        turned = shape @ rotation_matrix(chi[:, self.layout.rotation]).transpose(0, 2, 1)
        scaled: NDArray[np.float64] = self.layout.scale(chi)[:, None, None] * turned
        return scaled

    def _image(self, turned: NDArray[np.float64], chi: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where turned points are in the image, (B, L, 2) px."""
        xy: NDArray[np.float64] = turned[:, :, :2] * [1.0, -1.0] + chi[:, None, self.layout.translation]
        return xy

    def _marks(self, chi: NDArray[np.float64], points: LandmarkPoints, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(items, 68, 3) the landmark points, as `_turned` has them."""
        corners = self._shape(chi)[np.arange(len(chi))[:, None, None], self._place[points.vertices[items]]]
        return self._turned((points.weights[items][..., None] * corners).sum(axis=2), chi)

    def _factor(self, problem: Problem, items: NDArray[np.int64]) -> NDArray[np.float64]:
        """(items, 68)."""
        weight = problem.energy.landmarks / 68 * problem.landmark_weights[items]
        factor: NDArray[np.float64] = np.sqrt(weight) / problem.eye_distance[items, None]
        return factor

    def _residual(
        self, marks: NDArray[np.float64], chi: NDArray[np.float64], problem: Problem, items: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """(items, 68, 2)."""
        gap = self._image(marks, chi) - problem.landmarks[items]
        residual: NDArray[np.float64] = gap * self._factor(problem, items)[..., None]
        return residual
