"""Where the head that is drawn ends or is lifted, its vertices have other normals than the model's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from faceinv.face.mesh import triangle_normals

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["Rim"]


@dataclass(frozen=True, eq=False)
class Rim:
    """Vertices with a triangle that is not drawn, or that has been moved."""

    vertices: NDArray[np.int64]
    """(M,)."""
    around: NDArray[np.int32]
    """(R, 3) all the model's triangles that have one of them."""

    @classmethod
    def of(cls, model: MorphableModel, drawn: NDArray[np.bool_], lift: NDArray[np.float64]) -> Rim:
        """Of a model whose triangles (T,) are drawn or not, and whose vertices are moved by (N, 3) mm."""
        moved = np.abs(lift).max(axis=1) > 0
        changed = ~drawn | moved[model.triangles].any(axis=1)
        vertices = np.unique(model.triangles[changed])
        found = np.zeros(model.vertex_count, np.bool_)
        found[vertices] = True
        return cls(vertices, model.triangles[found[model.triangles].any(axis=1)])

    def own_normals(self, normals: NDArray[np.float64], vertices: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) unit, model space: normals (N, 3) of what is drawn, but those of the rim by the model's own surface
        (N, 3) mm."""
        faces = triangle_normals(vertices, self.around)
        corners, count = self.around.ravel(), len(vertices)
        sums = [np.bincount(corners, np.repeat(faces[:, axis], 3), minlength=count) for axis in range(3)]
        total = np.stack([part[self.vertices] for part in sums], axis=1)
        result = np.array(normals, np.float64, order="C")
        result[self.vertices] = total / np.maximum(np.linalg.norm(total, axis=1, keepdims=True), 1e-12)
        return result
