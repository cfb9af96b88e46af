"""How far engines agree: cost, gradient and Hessian of one problem that is the same for all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.engine.records import Energy, Problem
from faceinv.face.camera import Camera, rotation_matrix
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import ambient
from faceinv.face.state import Face

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.engine.interface import Engine
    from faceinv.face.model import MorphableModel

__all__ = ["Standard", "standard_linearization", "standard_problem"]


@dataclass(frozen=True)
class Standard:
    """What an engine makes of `standard_problem`; host arrays."""

    triangle: NDArray[np.int32]
    """(1, H, W)."""
    cost: NDArray[np.float64]
    """(1,)."""
    gradient: NDArray[np.float64]
    """(1, P)."""
    hessian: NDArray[np.float64]
    """(1, P, P)."""

    def differences(self, reference: Standard) -> dict[str, float]:
        """Pixels that show another triangle, and the greatest differences over the reference's max norm."""

        def error(array: NDArray[np.float64], expected: NDArray[np.float64]) -> float:
            return float(np.abs(array - expected).max() / np.abs(expected).max())

        return {
            "other_triangles": float((self.triangle != reference.triangle).sum()),
            "cost_error": error(self.cost, reference.cost),
            "gradient_error": error(self.gradient, reference.gradient),
            "hessian_error": error(self.hessian, reference.hessian),
        }


def standard_linearization(engine: Engine, size: int) -> Standard:
    """Linearise `standard_problem` of the engine's model in an image of size x size px."""
    problem, chi = standard_problem(engine.renderer.model, size)
    differentiator, host = engine.differentiator(problem), engine.renderer.to_host
    frozen = differentiator.freeze(chi)
    linearization = differentiator.linearize(chi, frozen, np.ones(1, np.bool_))
    assert frozen.visibility is not None  # the problem has a photometric term
    return Standard(
        triangle=host(frozen.visibility.triangle),
        cost=linearization.cost.total,
        gradient=host(linearization.gradient),
        hessian=host(linearization.hessian),
    )


def standard_problem(model: MorphableModel, size: int, seed: int = 0) -> tuple[Problem, NDArray[np.float64]]:
    """A random face that fills a square image of noise, turned a little: (problem of one photo, chi (1, P))."""
    layout = ParameterLayout.of(model)
    rng = np.random.default_rng(seed)
    shape, albedo = 0.5 * rng.normal(size=layout.shape_count), 0.5 * rng.normal(size=layout.albedo_count)
    height = float(np.ptp(model.mean[np.unique(model.triangles[model.face_mask]), 1]))
    camera = Camera(0.8 * size / height, rotation_matrix(np.array([0.1, 0.3, -0.1])), np.full(2, size / 2))
    face = Face(
        identity=shape[layout.identity],
        expression=shape[layout.expression],
        albedo=albedo,
        camera=camera,
        lighting=ambient(0.8) + 0.15 * rng.normal(size=(9, 3)),
    )
    chi = face.pack(layout)[None]
    problem = Problem(
        image=(0.3 + 0.2 * rng.uniform(size=(1, size, size, 3))).astype(np.float32),
        mask=np.ones((1, size, size), np.bool_),
        landmarks=np.full((1, 68, 2), size / 2),
        landmark_sigma=np.full((1, 68), 0.03),
        eye_distance=np.array([0.4 * size]),
        energy=Energy(
            photometric=1000.0,
            identity=1.0,
            expression=1.0,
            albedo=1.0,
            lighting=1.0,
            huber_delta=0.1,
        ),
    )
    return problem, chi
