"""What the derivatives of any engine must hold to, whatever its problem has in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from tolerances import FINITE_DIFFERENCE, TOLERANCE, assert_agrees

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from problems import Run

    from faceinv.engine.records import DType
    from faceinv.face.layout import ParameterLayout

__all__ = ["assert_gradient_is_a_difference", "assert_normal_equations_are_the_rows", "assert_rows_are_differences"]


def assert_normal_equations_are_the_rows(made: Run, dtype: DType) -> None:
    """H and g without landmarks and priors are J^T W J and J^T W r."""
    problem = made.differentiator.problem
    energy = replace(problem.energy, identity=0.0, expression=0.0, albedo=0.0, lighting=0.0)
    unmarked = np.full_like(problem.landmark_sigma, np.inf)
    bare = made.engine.differentiator(replace(problem, energy=energy, landmark_sigma=unmarked, focal_prior=None))
    frozen = bare.freeze(made.chi)
    linearized = bare.linearize(made.chi, frozen, np.ones(len(made.chi), np.bool_))
    residual, jacobian, weight = bare.residual_jacobian(made.chi, frozen, 0)
    assert_agrees(
        made.host(linearized.hessian)[0], jacobian.T @ (weight[:, None] * jacobian), TOLERANCE[dtype], "J^T W J"
    )
    assert_agrees(made.host(linearized.gradient)[0], jacobian.T @ (weight * residual), TOLERANCE[dtype], "J^T W r")


def assert_rows_are_differences(made: Run) -> None:
    """Central differences of the residuals of a single photo with visibility frozen, against J, column by column; the
    principal point is held, and has none."""
    layout = made.engine.renderer.layout
    jacobian = made.differentiator.residual_jacobian(made.chi, made.frozen, 0).jacobian
    assert not jacobian[:, layout.principal_point].any()
    for k, width, both in _moved(made, layout):
        ahead, behind = (made.differentiator.residual_jacobian(chi, made.frozen, 0).residual for chi in both)
        assert_agrees((ahead - behind) / (2 * width), jacobian[:, k], FINITE_DIFFERENCE, f"column {k}")


def assert_gradient_is_a_difference(made: Run) -> None:
    """Half the derivative of the cost of a single photo, all terms, Huber and weights of pixels included, is g."""
    layout, every = made.engine.renderer.layout, np.ones(1, np.bool_)
    slopes = np.zeros(layout.count)
    for k, width, both in _moved(made, layout):
        ahead, behind = (made.differentiator.cost(chi, made.frozen, every).total[0] for chi in both)
        slopes[k] = (ahead - behind) / (4 * width)
    assert_agrees(slopes, made.host(made.linearization.gradient)[0], FINITE_DIFFERENCE, "g")


def _moved(
    made: Run, layout: ParameterLayout
) -> Iterator[tuple[int, float, tuple[NDArray[np.float64], NDArray[np.float64]]]]:
    """Each unknown but the principal point: its place, the step, and chi a step ahead and behind."""
    for k in np.flatnonzero(~layout.mask(layout.principal_point)):
        # One over the focal length, in 1/px, is some hundred times smaller than other unknowns.
        width = 2e-7 if k == layout.inverse_focal else 2e-5
        step = np.zeros_like(made.chi)
        step[0, k] = width
        yield int(k), width, (layout.retract(made.chi, step), layout.retract(made.chi, -step))
