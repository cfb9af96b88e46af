"""The renderer: posed surfaces, visibility and what pixels show of them, by kernels."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from faceinv.backends.numpy_numba import pixels as pixel_kernels
from faceinv.backends.numpy_numba.camera import packed, posed, projected, turned
from faceinv.backends.numpy_numba.mesh import Mesh
from faceinv.backends.numpy_numba.parts import Posed, Shape
from faceinv.backends.numpy_numba.raster import rasterize
from faceinv.backends.numpy_numba.surface import linear_surface, vertex_normals
from faceinv.backends.numpy_numba.threads import before_launch
from faceinv.engine.blas import one_blas_thread
from faceinv.engine.host_terms import HostTerms
from faceinv.engine.interface import AbstractRenderer
from faceinv.engine.records import PIXEL_QUANTITIES, Geometry, Pixels, Visibility
from faceinv.engine.remembered import Remembered
from faceinv.face.layout import ParameterLayout
from faceinv.face.lighting import SH_COUNT
from faceinv.face.self_shadow import shadows

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from faceinv.engine.records import EngineSettings, PixelQuantity
    from faceinv.face.model import MorphableModel

__all__ = ["NumbaRenderer", "Surface"]


@dataclass(frozen=True)
class Surface:
    """The posed surface of one item."""

    shape: Shape
    posed: Posed
    image_xy: NDArray[np.float64]
    """(N, 2) px."""
    depth: NDArray[np.float64]
    """(N,) px."""


class NumbaRenderer(AbstractRenderer):
    """Renders with Numba kernels."""

    def __init__(self, model: MorphableModel, settings: EngineSettings) -> None:
        self.model = model
        self.layout = ParameterLayout.of(model)
        self.settings = settings
        self.real = np.dtype(settings.dtype)
        self.mesh = Mesh.of(model.triangles, model.vertex_count)
        self.shape_basis = np.concatenate([model.identity_basis, model.expression_basis], axis=2, dtype=self.real)
        self.albedo_basis = np.array(model.albedo_basis, self.real, order="C")
        # Writable copies: Numba would compile kernels once more for read-only arrays.
        self.mean, self.mean_albedo = model.mean.copy(), model.mean_albedo.copy()
        self.uv, self.uv_triangles = model.uv.astype(np.float64), model.uv_triangles.copy()
        self.flat = settings.normals == "flat"
        self._moments = None if model.occlusion is None else model.occlusion.astype(np.float64)
        self.surfaces: Remembered[Surface] = Remembered()

    def surface(self, chi: NDArray[np.float64], item: int) -> Surface:
        """The posed surface of an item of a batch, chi (P,)."""
        before_launch()
        # Light falls on a surface but does not change it.
        return self.surfaces.get(item, chi[: self.layout.lighting.start].tobytes(), lambda: self._surface(chi))

    @cached_property
    def host_terms(self) -> HostTerms:
        """See `AbstractRenderer.host_terms`."""
        return HostTerms(self.model, lambda chi, item: self.surface(chi, item).shape.vertices)

    def _surface(self, chi: NDArray[np.float64]) -> Surface:
        layout, count = self.layout, self.model.vertex_count
        mesh = self.mesh
        vertices, albedo, normals = (np.empty((count, 3)) for _ in range(3))
        inverse_length = np.empty(count)
        linear_surface(self.mean, self.shape_basis, chi[layout.shape].copy(), vertices)
        linear_surface(self.mean_albedo, self.albedo_basis, chi[layout.albedo].copy(), albedo)
        vertex_normals(mesh.triangles, mesh.corner_start, mesh.corners, vertices, normals, inverse_length)
        camera = layout.cameras(chi)
        points = posed(camera, vertices)
        image_xy, depth, screen = projected(camera, points)
        shape = Shape(vertices, normals, inverse_length)
        shadow = self._shadow(camera.rotation)
        return Surface(
            shape, Posed(points, screen, turned(camera, normals), albedo, packed(camera), shadow), image_xy, depth
        )

    def _shadow(self, rotation: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 9) of the vertices, or (0, 9) where the model has none."""
        return np.zeros((0, SH_COUNT)) if self._moments is None else shadows(self._moments, rotation)

    @one_blas_thread()
    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        surfaces = [self.surface(one, item) for item, one in enumerate(chi)]
        return Geometry(
            vertices=np.stack([s.shape.vertices for s in surfaces]),
            normals=np.stack([s.shape.normals for s in surfaces]),
            albedo=np.stack([s.posed.albedo for s in surfaces]),
            image_xy=np.stack([s.image_xy for s in surfaces]),
            depth=np.stack([s.depth for s in surfaces]),
            camera=self.layout.cameras(chi),
        )

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        before_launch()
        batch = len(geometry.image_xy)
        triangle, barycentric = np.empty((batch, *size), np.int32), np.empty((batch, *size, 3))
        for item in range(batch):
            xy, depth = np.array(geometry.image_xy[item], order="C"), np.array(geometry.depth[item], order="C")
            inverse_focal = geometry.camera.inverse_focal(item)
            rasterize(xy, depth, inverse_focal, self.mesh.triangles, triangle[item], barycentric[item])
        return Visibility(triangle, barycentric)

    @one_blas_thread()
    def interpolate(
        self, geometry: Geometry, visibility: Visibility, quantities: Collection[PixelQuantity] = PIXEL_QUANTITIES
    ) -> Pixels:
        """See `AbstractRenderer.interpolate`."""
        tables: dict[str, tuple[NDArray[np.int32], NDArray[np.float64]]] = {
            "position": (self.mesh.triangles, geometry.vertices),
            "albedo": (self.mesh.triangles, geometry.albedo),
            "depth": (self.mesh.triangles, self._flat_depth(geometry)[..., None]),
            "uv": (self.uv_triangles, np.broadcast_to(self.uv, (len(visibility.triangle), *self.uv.shape))),
        }
        if self.model.occlusion is not None and "shadow" in quantities:
            rotations = np.asarray(geometry.camera.rotation)
            tables["shadow"] = (self.mesh.triangles, np.stack([self._shadow(rotation) for rotation in rotations]))
        mixed: dict[str, NDArray[np.float64]] = {}
        for name, (corners, values) in tables.items():
            if name in quantities:
                mixed[name] = np.empty((*visibility.triangle.shape, values.shape[2]))
                for item, out in enumerate(mixed[name]):
                    table = np.array(values[item], order="C")
                    pixel_kernels.mix(visibility.triangle[item], visibility.barycentric[item], corners, table, out)
                    if name == "depth":
                        out /= 1.0 - geometry.camera.inverse_focal(item) * out
        return Pixels(
            triangle=visibility.triangle,
            position=mixed.get("position"),
            normal=self._normals(geometry, visibility) if "normal" in quantities else None,
            albedo=mixed.get("albedo"),
            shadow=mixed.get("shadow"),
            depth=mixed["depth"][..., 0] if "depth" in mixed else None,
            uv=mixed.get("uv"),
        )

    @staticmethod
    def _flat_depth(geometry: Geometry) -> NDArray[np.float64]:
        """(B, N) px: p_z of the vertices, which is linear on the surface as the depth is in the image."""
        inverse_focal = np.array([geometry.camera.inverse_focal(item) for item in range(len(geometry.depth))])
        with np.errstate(invalid="ignore"):  # of vertices behind the camera
            flat: NDArray[np.float64] = geometry.depth / (1.0 + inverse_focal[:, None] * geometry.depth)
        return flat

    def _normals(self, geometry: Geometry, visibility: Visibility) -> NDArray[np.float64]:
        """(B, H, W, 3) unit normals in the camera frame."""
        out = np.empty((*visibility.triangle.shape, 3))
        for item, normals in enumerate(out):
            camera = geometry.camera.item(item)
            pixel_kernels.mix_normals(
                self.flat,
                visibility.triangle[item],
                visibility.barycentric[item],
                self.mesh.triangles,
                posed(camera, geometry.vertices[item]),
                turned(camera, geometry.normals[item]),
                normals,
            )
        return out

    def shade(self, pixels: Pixels, lighting: NDArray[np.float64]) -> NDArray[np.float64]:
        """See `AbstractRenderer.shade`."""
        normal, albedo = pixels.needed("normal"), pixels.needed("albedo")
        width = pixels.triangle.shape[2]
        out, none = np.empty((*pixels.triangle.shape, 3)), np.zeros((0, width, SH_COUNT))
        shadow = None if self.model.occlusion is None else pixels.needed("shadow")
        for item, colours in enumerate(out):
            gamma = np.array(lighting[item], np.float64, order="C")
            lost = none if shadow is None else shadow[item]
            pixel_kernels.radiance(pixels.triangle[item], normal[item], albedo[item], lost, gamma, colours)
        return out

    def to_host(self, array: NDArray[Any]) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return array
