"""An engine of one's own: plain NumPy, complete, slow, and short. `docs/ENGINES.md` explains it.

The neighbouring `pyproject.toml` registers it under the name `plain`. So:

    pip install ./examples
    python examples/own_engine.py [PHOTO]

Derivatives are central differences, at two drawings for each unknown: good for few modes and few pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from numpy.typing import NDArray

import faceinv
from faceinv.engine.host_differentiator import HostTermsDifferentiator
from faceinv.engine.interface import AbstractDifferentiator, AbstractRenderer, Engine
from faceinv.engine.records import (
    DEPTH_UNITS,
    MIN_DOUBLE_AREA,
    PIXEL_QUANTITIES,
    RASTER_LIMIT,
    SHADED,
    SNAP,
    EngineSettings,
    Frozen,
    Geometry,
    PixelQuantity,
    Pixels,
    Problem,
    ResidualJacobian,
    Visibility,
    hessian_lattice,
)
from faceinv.errors import BackendError
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import sh_basis
from faceinv.face.mesh import triangle_normals, vertex_normals
from faceinv.face.model import MorphableModel
from faceinv.face.self_shadow import MOMENT_COUNT, shadows

__all__ = ["build"]

Floats = NDArray[np.float64]
_STEP = 1e-5
"""Of an unknown, for differences: standard deviations, radians, pixels, or of a logarithm."""
_FOCAL_STEP = 1e-7
"""Of one over the focal length, 1/px."""


class PlainRenderer(AbstractRenderer):
    """Draws with NumPy."""

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.model, self.settings = model, settings
        self.layout = ParameterLayout.of(model)

    def geometry(self, chi: Floats) -> Geometry:
        """The surface, its normals and colours, and where the camera sees them."""
        layout, model = self.layout, self.model
        vertices = np.stack([model.vertices(x[layout.identity], x[layout.expression]) for x in chi])
        normals = np.stack([vertex_normals(surface, model.triangles) for surface in vertices])
        albedo = np.stack([model.mean_albedo + model.albedo_basis @ x[layout.albedo] for x in chi])
        camera = layout.cameras(chi)
        screen = camera.project(vertices)
        return Geometry(vertices, normals, albedo, screen[..., :2], screen[..., 2], camera)

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """By the rule that every engine follows, so that all see the same triangles."""
        triangle = np.stack(
            [
                nearest_triangles(xy, depth, self.model.triangles, size)
                for xy, depth in zip(geometry.image_xy, geometry.depth, strict=True)
            ]
        )
        centres = np.stack(np.meshgrid(np.arange(size[1]), np.arange(size[0])), axis=-1)
        weights = []
        for item, (xy, shown) in enumerate(zip(geometry.image_xy, triangle, strict=True)):
            corners = xy[self.model.triangles[shown]]
            snapped = barycentric(snap(corners), centres * SNAP)
            # Weights are those of the true corners, but for triangles seen edge-on.
            image_weights = np.where(edge_on(corners)[..., None], snapped, barycentric(corners, centres))
            nearer = 1 + geometry.camera.inverse_focal(item) * geometry.depth[item][self.model.triangles[shown]]
            weights.append(on_surface(image_weights, nearer))
            weights[-1][shown < 0] = 0.0
        return Visibility(triangle, np.stack(weights))

    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """Means over the corners of each pixel's triangle."""
        model, triangle = self.model, visibility.triangle
        rotation = np.asarray(geometry.camera.rotation)
        moments = np.zeros((model.vertex_count, MOMENT_COUNT)) if model.occlusion is None else model.occlusion

        def mean(values: Floats, corners: NDArray[np.int32] = model.triangles) -> Floats:
            mixed = [
                (weights[..., None] * of[corners[shown]]).sum(axis=-2)
                for weights, of, shown in zip(visibility.barycentric, values, triangle, strict=True)
            ]
            return np.stack(mixed)

        def normal() -> Floats:
            if self.settings.normals == "flat":
                faces = [triangle_normals(surface, model.triangles) for surface in geometry.vertices]
                model_frame = np.stack([of[shown] for of, shown in zip(faces, triangle, strict=True)])
            else:
                model_frame = mean(geometry.normals)
            turned: Floats = np.stack([one @ turn.T for one, turn in zip(model_frame, rotation, strict=True)])
            turned /= np.maximum(np.linalg.norm(turned, axis=-1, keepdims=True), 1e-12)
            return turned

        def depth() -> Floats:
            inverse_focal = np.array([geometry.camera.inverse_focal(item) for item in range(len(triangle))])
            flat = mean((geometry.depth / (1 + inverse_focal[:, None] * geometry.depth))[..., None])[..., 0]
            return flat / (1 - inverse_focal[:, None, None] * flat)

        uv = np.broadcast_to(model.uv.astype(np.float64), (len(triangle), *model.uv.shape))
        read: dict[str, Callable[[], Floats]] = {
            "position": lambda: mean(geometry.vertices),
            "normal": normal,
            "albedo": lambda: mean(geometry.albedo),
            "shadow": lambda: mean(shadows(moments, rotation)),
            "depth": depth,
            "uv": lambda: mean(uv, model.uv_triangles),
        }
        seen = triangle >= 0
        pictures: dict[str, Floats | None] = dict.fromkeys(PIXEL_QUANTITIES)
        for name in quantities:
            if name == "shadow" and model.occlusion is None:
                continue
            picture = read[name]()
            pictures[name] = np.where(seen[..., None] if picture.ndim == 4 else seen, picture, 0.0)
        return Pixels(triangle, **pictures)

    def shade(self, pixels: Pixels, lighting: Floats) -> Floats:
        """Albedo times the light that its normal receives, less what the face itself keeps off."""
        basis = sh_basis(pixels.needed("normal"))
        if self.model.occlusion is not None:
            basis -= pixels.needed("shadow")
        light = basis @ lighting[:, None]
        return np.where(pixels.triangle[..., None] >= 0, pixels.needed("albedo") * light, 0.0)

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """It is there already."""
        return array


def snap(xy: Floats) -> NDArray[np.int64]:
    """Points in units of 1/SNAP px."""
    return np.floor(xy * SNAP + 0.5).astype(np.int64)


def cross(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Of vectors (..., 2)."""
    product: NDArray[Any] = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return product


def edge_on(corners: Floats) -> NDArray[np.bool_]:
    """Triangles (..., 3, 2) px whose projection is too thin for a derivative; y is down, so fronts are negative."""
    thin: NDArray[np.bool_] = (
        cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]) >= -MIN_DOUBLE_AREA
    )
    return thin


def barycentric(corners: NDArray[Any], points: NDArray[Any]) -> Floats:
    """Weights (..., 3) of points (..., 2) in triangles (..., 3, 2); zeros where a triangle has no area."""
    a, b, c = (corners[..., k, :] for k in range(3))
    area = cross(b - a, c - a)
    area = np.where(area == 0, 1, area)
    second, third = cross(points - a, c - a) / area, cross(b - a, points - a) / area
    return np.stack([1.0 - second - third, second, third], axis=-1)


def on_surface(weights: Floats, nearer: Floats) -> Floats:
    """Weights (..., 3) on the surface of those in the image, of corners that are so many times larger (..., 3)."""
    shares = weights * nearer
    total = shares.sum(axis=-1, keepdims=True)
    return shares / np.where(total == 0, 1, total)


def nearest_triangles(
    xy: Floats, depth: Floats, triangles: NDArray[np.int32], size: tuple[int, int]
) -> NDArray[np.int32]:
    """(H, W) the nearest triangle that faces the viewer, -1 for none. See `AbstractRenderer.rasterize` for the rule."""
    height, width = size
    usable = (np.abs(xy) <= RASTER_LIMIT).all(axis=1) & np.isfinite(depth)
    order = triangles[:, [0, 2, 1]]  # positive area with y down
    corners = snap(np.where(usable[:, None], xy, 0.0))[order]
    area = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    low = np.maximum(-(-corners.min(axis=1) // SNAP), 0)
    high = np.minimum(corners.max(axis=1) // SNAP, [width - 1, height - 1])
    drawn = np.flatnonzero((area > 0) & (low <= high).all(axis=1) & usable[order].all(axis=1))
    # Every pixel of every triangle's bounding box.
    box = (high - low + 1)[drawn]
    count = box.prod(axis=1)
    number = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    t, wide = np.repeat(drawn, count), np.repeat(box[:, 0], count)
    pixel = low[t] + np.stack([number % wide, number // wide], axis=1)
    covered, edges = np.ones(len(t), np.bool_), []
    for k in range(3):
        start, side = corners[t, k - 2], corners[t, k - 1] - corners[t, k - 2]
        edges.append(cross(side, pixel * SNAP - start))
        top_left = (side[:, 1] < 0) | ((side[:, 1] == 0) & (side[:, 0] > 0))
        covered &= edges[k] >= np.where(top_left, 0, 1)
    z = depth[order[t]]
    height_px = (edges[0] * z[:, 0] + edges[1] * z[:, 1] + edges[2] * z[:, 2]) * (1.0 / area[t])
    # One integer holds depth and triangle: the largest is the nearest, and of equals the lowest triangle.
    last = 2**32 - 1
    key = np.floor(height_px * DEPTH_UNITS + 0.5).astype(np.int64) * 2**32 + (last - t)
    best = np.full(height * width, -(2**63), np.int64)
    np.maximum.at(best, (pixel[:, 1] * width + pixel[:, 0])[covered], key[covered])
    return np.where(best == -(2**63), -1, last - best % 2**32).astype(np.int32).reshape(size)


@dataclass(frozen=True)
class Seen:
    """The photometric pixels of one photo, F, row by row."""

    xy: NDArray[np.int64]
    """(F, 2)."""
    triangle: NDArray[np.int32]
    """(F,)."""
    colour: Floats
    """(F, 3) of the photo."""
    root: Floats
    """(F, 1) the root of the pixels' weights."""


class PlainDifferentiator(HostTermsDifferentiator):
    """The photometric term by drawing F's pixels alone; landmarks and priors are inherited."""

    renderer: PlainRenderer

    def _see(self, chi: Floats) -> tuple[Visibility, NDArray[np.int64], list[Seen]]:
        """F: pixels of the photo's mask that show a triangle of the face mask, and not edge-on."""
        model, geometry = self.renderer.model, self.renderer.geometry(chi)
        visibility = self.renderer.rasterize(geometry, self.problem.size)
        seen = []
        for item, triangle in enumerate(visibility.triangle):
            thin = edge_on(geometry.image_xy[item][model.triangles])
            chosen = (triangle >= 0) & (model.face_mask & ~thin)[triangle] & self.problem.mask[item]
            y, x = np.nonzero(chosen)
            colour = self.problem.image[item][chosen].astype(np.float64)
            root = np.sqrt(self.problem.weights[item][chosen].astype(np.float64))[:, None]
            seen.append(Seen(np.stack([x, y], axis=1), triangle[chosen], colour, root))
        return visibility, np.array([len(one.triangle) for one in seen]), seen

    def _pixels(self, chi: Floats, seen: Seen) -> Pixels:
        """F as an image of one row at chi (P,), every pixel keeping the triangle that it saw when F was frozen."""
        renderer = self.renderer
        geometry = renderer.geometry(chi[None])
        corners = renderer.model.triangles[seen.triangle]
        nearer = 1 + geometry.camera.inverse_focal(0) * geometry.depth[0][corners]
        weights = on_surface(barycentric(geometry.image_xy[0][corners], seen.xy), nearer)
        row = Visibility(seen.triangle[None, None], weights[None, None])
        return renderer.interpolate(geometry, row, SHADED)

    def _difference(self, chi: Floats, seen: Seen, pixels: Pixels | None = None) -> Floats:
        """(F, 3) radiance less photo at chi (P,)."""
        radiance = self.renderer.shade(pixels or self._pixels(chi, seen), self.renderer.layout.gamma(chi[None]))
        difference: Floats = radiance[0, 0] - seen.colour
        return difference

    def _photometric_cost(self, chi: Floats, frozen: Frozen, item: int) -> float:
        """w / |F| times the sum of Huber's function."""
        energy, seen = self.problem.energy, frozen.cache[item]
        size = np.abs(self._difference(chi, seen))
        near = np.minimum(size, energy.huber_delta)
        return float(energy.photometric / len(seen.triangle) * (seen.root**2 * near * (2 * size - near)).sum())

    def _rows(self, chi: Floats, seen: Seen) -> ResidualJacobian:
        """All rows at chi (P,)."""
        energy, layout = self.problem.energy, self.renderer.layout
        scale = np.sqrt(energy.photometric / len(seen.triangle))
        pixels = self._pixels(chi, seen)
        difference = self._difference(chi, seen, pixels).ravel()
        columns = []
        steps = np.full(layout.count, _STEP)
        steps[layout.inverse_focal] = _FOCAL_STEP
        for k, step in enumerate(np.diag(steps)):
            if layout.principal_point.start <= k < layout.principal_point.stop:  # held always
                columns.append(np.zeros(difference.size))
                continue
            unmoved = pixels if k >= layout.lighting.start else None  # light moves nothing
            moved = (layout.retract(chi[None], sign * step[None])[0] for sign in (1, -1))
            ahead, behind = (self._difference(at, seen, unmoved) for at in moved)
            columns.append((ahead - behind).ravel() / (2 * steps[k]))
        weight = energy.huber_delta / np.maximum(np.abs(difference), energy.huber_delta)
        if np.isinf(energy.huber_delta):
            weight = np.ones_like(difference)
        scale = np.repeat(scale * seen.root, 3)
        return ResidualJacobian(scale * difference, scale[:, None] * np.stack(columns, axis=1), weight)

    def _photometric(
        self, chi: Floats, frozen: Frozen, item: int, free: NDArray[np.bool_]
    ) -> tuple[float, Floats, Floats]:
        """Cost and J^T W r of all pixels, and J^T W J from those on the lattice, where there are any."""
        seen = frozen.cache[item]
        residual, jacobian, weight = self._rows(chi, seen)
        x, y = seen.xy.T
        sample = hessian_lattice(self.problem.size, self.problem.hessian_step)[y, x]
        every = np.ones_like(sample)
        chosen = np.repeat(sample if sample.any() else every, 3)
        root = np.sqrt(weight * len(chosen) / chosen.sum())[chosen, None] * jacobian[chosen]
        hessian = root.T @ root
        return self._photometric_cost(chi, frozen, item), jacobian.T @ (weight * residual), (hessian + hessian.T) / 2

    def _photometric_rows(
        self, chi: Floats, frozen: Frozen, item: int, rows: NDArray[np.int64] | None
    ) -> ResidualJacobian:
        """For checks."""
        every = self._rows(chi[item], frozen.cache[item])
        return every if rows is None else ResidualJacobian(*(part[rows] for part in every))


class PlainEngine(Engine):
    """NumPy alone."""

    name = "plain"

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.description = f"NumPy {np.__version__}, by finite differences in float64"
        self.renderer: PlainRenderer = PlainRenderer(model, settings)

    def differentiator(self, problem: Problem) -> AbstractDifferentiator:
        """For a batch of photos."""
        return PlainDifferentiator(self.renderer, problem)


def build(model: MorphableModel, settings: EngineSettings) -> Engine:
    """What the entry point names."""
    if settings.device not in ("", "cpu"):
        raise BackendError(f"engine 'plain' runs on 'cpu' only, not on '{settings.device}'.")
    return PlainEngine(model, settings)


def main(photo: str) -> None:
    """Fit a photo with this engine and with the packaged one."""
    model = faceinv.load_model("default", identity=4, expression=2, albedo=2, face_only=True)
    config = faceinv.FitConfig(size=32, levels=1, iterations=4)
    own, packaged = (faceinv.Fitter(model, backend, config).fit(photo) for backend in ("plain", "numpy"))
    apart = np.linalg.norm(own.vertices - packaged.vertices, axis=1)
    print(f"{own.status.value} The two engines' faces are {apart.max():.4f} mm apart at most.")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else str(resources.files("faceinv") / "data" / "sample.jpg"))
