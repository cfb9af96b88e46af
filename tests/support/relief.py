"""Known relief on a face, as the detail stage would give it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import gaussian_filter
from small import few_modes

from faceinv.detail.record import Detail, DetailMaps, DetailStatus
from faceinv.face.camera import Camera, rotation_from_euler
from faceinv.face.lighting import ambient
from faceinv.face.state import Face
from faceinv.render.scene import renderer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["Rough", "bumps", "detail_of", "rough"]


@dataclass(frozen=True, eq=False)
class Rough:
    """A face with relief."""

    model: MorphableModel
    face: Face
    detail: Detail


def bumps(shape: tuple[int, int], pixel: float, wavelength: float, deviation: float = 0.1) -> NDArray[np.float64]:
    """(H, W) mm: smooth random relief whose waves are mostly longer than `wavelength` mm."""
    noise = np.random.default_rng(5).normal(size=shape)
    smooth = gaussian_filter(noise, wavelength / 4 / pixel)
    return smooth * (deviation / smooth.std())


def detail_of(
    model: MorphableModel, face: Face, size: tuple[int, int], corners: NDArray[np.float64], keep: float = 0.0
) -> Detail:
    """The detail of a face in an image of size (H, W) that displaces it by `corners` (H + 1, W + 1) mm.

    Pixels whose normal's z is not above `keep` are not in its mask.
    """
    renderer = renderer_of(model)
    geometry = renderer.geometry(face.pack(renderer.layout)[None])
    pixels = renderer.interpolate(geometry, renderer.rasterize(geometry, size), ["normal", "depth"])
    triangle, normal, depth = pixels.triangle[0], pixels.needed("normal")[0], pixels.needed("depth")[0]
    mask = (triangle >= 0) & model.face_mask[triangle] & (normal[..., 2] > keep)
    larger = float(
        np.mean(face.camera.magnification(face.vertices(model)[np.unique(model.triangles[model.face_mask])]))
    )
    pixel = 1 / (float(face.camera.scale) * larger)
    across, down = np.diff(corners, axis=1), np.diff(corners, axis=0)
    right, lower = (across[1:] + across[:-1]) / (2 * pixel), (down[:, 1:] + down[:, :-1]) / (2 * pixel)
    bent = normal + normal[..., 2:] * np.stack([-right, lower, np.zeros_like(right)], axis=2)
    bent /= np.maximum(np.linalg.norm(bent, axis=2, keepdims=True), 1e-9)
    middle = (corners[1:, 1:] + corners[1:, :-1] + corners[:-1, 1:] + corners[:-1, :-1]) / 4
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    window = (int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)
    cut = np.s_[window[0] : window[2], window[1] : window[3]]

    def shown(values: NDArray[np.float64]) -> NDArray[np.float32]:
        here = mask[cut].reshape(mask[cut].shape + (1,) * (values.ndim - 2))
        return np.where(here, values[cut], np.nan).astype(np.float32)

    return Detail(
        maps=DetailMaps(mask[cut], shown(middle), shown(depth), shown(normal), shown(bent)),
        window=window,
        image_size=(size[1], size[0]),
        scale=float(face.camera.scale),
        kappa=float(face.camera.kappa),
        formulation="robust",
        status=DetailStatus.CONVERGED,
        cost={"total": 1.0, "photometric": 0.75, "curvature": 0.25},
        pixel=pixel,
        colour_direction=np.array([0.4, 0.6, 0.69]),
        warnings=("The light is drawn by lot.",),
    )


def rough(size: int = 200, yaw: float = 0.0, wavelength: float = 12.0, deviation: float = 0.15) -> Rough:
    """Some face of `few_modes` in a square image, seen from 700 mm, with bumps."""
    model = few_modes()
    rng = np.random.default_rng(0)
    camera = Camera(
        size / 200, rotation_from_euler(0.05, yaw, 0.1), np.array([0.5, 0.42]) * size, 1 / 700, np.full(2, size / 2)
    )
    light = ambient(0.7)
    light[2], light[3] = 0.4, 0.2
    face = Face(rng.normal(0, 0.5, 6), rng.normal(0, 0.3, 5), rng.normal(0, 0.5, 3), camera, light)
    corners = bumps((size + 1, size + 1), 1 / camera.scale, wavelength, deviation)
    return Rough(model, face, detail_of(model, face, (size, size), corners))
