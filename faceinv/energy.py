"""The terms of the energy that need no image: landmarks and priors. Float64 on the host; 68 points are cheap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from faceinv.camera import rotation_matrix
from faceinv.interface import LandmarkPoints
from faceinv.parameters import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.interface import Energy, Problem
    from faceinv.model import MorphableModel

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
    """Landmark and prior terms of one item: cost, g and H. Landmark points are given with a batch axis of 1."""

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
        self._basis = np.concatenate([model.identity[self._ids], model.expression[self._ids]], axis=2, dtype=np.float64)
        self._place = np.full(model.vertex_count, -1)
        self._place[self._ids] = np.arange(len(self._ids))

    def points(self, chi: NDArray[np.float64], target: NDArray[np.float64]) -> LandmarkPoints:
        """Landmark points for one item: fixed ones for the inner face, the silhouette's for the jaw.

        Each row of the model's jaw contour gives its outermost vertex in the image; a jaw target (68, 2) px is then
        matched to the nearest point of the polyline through them, within two segments of its own place.
        """
        vertices = self.model.landmark_vertices.copy()
        weights = self.model.landmark_weights.astype(np.float64)
        if self.model.jaw_contour.shape[1] > 1:
            xy = self._project(chi)
            inner = np.einsum("lk,lkd->ld", weights[_JAW:], xy[self._corners[_JAW:]])
            rows = xy[self._rows]
            outward = rows[:, 0] - inner[10:19].mean(axis=0)  # from the nose
            outermost = np.argmax(np.einsum("lcd,ld->lc", rows, outward), axis=1)
            contour = self.model.jaw_contour[np.arange(_JAW), outermost]
            polyline = xy[self._place[contour]]
            a, b = polyline[:-1], polyline[1:]
            edge = b - a
            length = np.maximum((edge**2).sum(axis=1), 1e-12)
            for mark in range(_JAW):
                near = np.arange(max(0, mark - 2), min(_JAW - 1, mark + 2))
                along = np.clip(((target[mark] - a[near]) * edge[near]).sum(axis=1) / length[near], 0.0, 1.0)
                gap = ((a[near] + along[:, None] * edge[near] - target[mark]) ** 2).sum(axis=1)
                best = int(np.argmin(gap))
                first = near[best]
                vertices[mark] = contour[first], contour[first + 1], contour[first + 1]
                weights[mark] = 1 - along[best], along[best], 0.0
        return LandmarkPoints(vertices[None], weights[None])

    def cost(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, item: int
    ) -> tuple[float, float]:
        """(landmark term, prior term) of one item."""
        residual = self._landmark_residual(self._project(chi), points, problem, item)
        return float((residual**2).sum()), float(prior_diagonal(self.layout, problem.energy) @ chi**2)

    def linearize(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, item: int
    ) -> tuple[tuple[float, float], NDArray[np.float64], NDArray[np.float64]]:
        """((landmark term, prior term), g (P,), H (P, P)) of one item."""
        layout = self.layout
        residual, jacobian = self.landmark_rows(chi, points, problem, item)
        diagonal = prior_diagonal(layout, problem.energy)
        hessian = jacobian.T @ jacobian
        hessian[np.diag_indices_from(hessian)] += diagonal
        cost = float((residual**2).sum()), float(diagonal @ chi**2)
        return cost, jacobian.T @ residual + diagonal * chi, hessian

    def landmark_rows(
        self, chi: NDArray[np.float64], points: LandmarkPoints, problem: Problem, item: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Landmark residuals (136,) in the energy's scale, x and y of point after point; their derivative (136, P)."""
        layout = self.layout
        xy = self._project(chi)
        place = self._place[points.vertices[0]]
        weights = points.weights[0]
        rotation, scale = rotation_matrix(chi[layout.rotation]), np.exp(chi[layout.log_scale])
        basis = np.einsum("lk,lkdm->ldm", weights, self._basis[place])
        shape = self._mean[place] + self._basis[place] @ chi[layout.shape]
        turned = np.einsum("lk,lkd->ld", weights, shape) @ rotation.T
        flip = np.array([1.0, -1.0])
        jacobian = np.zeros((68, 2, layout.count))
        jacobian[:, :, layout.shape] = scale * flip[:, None] * np.einsum("ed,ldm->lem", rotation[:2], basis)
        x, y, z = turned.T
        jacobian[:, :, layout.log_scale] = scale * flip * turned[:, :2]
        zero = np.zeros_like(x)
        jacobian[:, 0, layout.rotation] = scale * np.stack([zero, z, -y], axis=1)
        jacobian[:, 1, layout.rotation] = -scale * np.stack([-z, zero, x], axis=1)
        jacobian[:, 0, layout.translation.start] = 1.0
        jacobian[:, 1, layout.translation.start + 1] = 1.0
        factor = self._factor(problem, item)
        residual = self._landmark_residual(xy, points, problem, item)
        return residual.ravel(), (jacobian * factor[:, None, None]).reshape(136, -1)

    def _project(self, chi: NDArray[np.float64]) -> NDArray[np.float64]:
        layout = self.layout
        turned = (self._mean + self._basis @ chi[layout.shape]) @ rotation_matrix(chi[layout.rotation])[:2].T
        xy: NDArray[np.float64] = np.exp(chi[layout.log_scale]) * turned * np.array([1.0, -1.0])
        return xy + chi[layout.translation]

    def _factor(self, problem: Problem, item: int) -> NDArray[np.float64]:
        weight = problem.energy.landmarks / 68 * problem.landmark_weights[item]
        factor: NDArray[np.float64] = np.sqrt(weight) / problem.eye_distance[item]
        return factor

    def _landmark_residual(
        self, xy: NDArray[np.float64], points: LandmarkPoints, problem: Problem, item: int
    ) -> NDArray[np.float64]:
        modelled = np.einsum("lk,lkd->ld", points.weights[0], xy[self._place[points.vertices[0]]])
        residual: NDArray[np.float64] = (modelled - problem.landmarks[item]) * self._factor(problem, item)[:, None]
        return residual
