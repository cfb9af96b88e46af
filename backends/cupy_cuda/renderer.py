"""Drawing the model with CUDA kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.backends.cupy_cuda.kernels import CAMERA_SIZE
from faceinv.backends.cupy_cuda.mesh import Connectivity
from faceinv.engine.interface import AbstractRenderer
from faceinv.engine.records import Geometry, Visibility
from faceinv.face.layout import ParameterLayout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.backends.cupy_cuda.device import Array, Device
    from faceinv.engine.records import EngineSettings
    from faceinv.face.model import MorphableModel

__all__ = ["CudaRenderer", "Surface", "blocks", "listed_pixels"]

_THREADS: Final = 128
_ITEMS: Final = 8
"""Items for which a thread of linear_surface works at once; batches of one have their own instance."""
_ROW_THREADS: Final = 4
"""Threads that share a triangle (raster.cu)."""
_PACK: Final = 4
"""Shape columns are padded to a multiple of this, so that packs of float32 or float64 (assembly.cu) are whole."""
_TILE: Final = 8
"""Side of the tiles in which pixels are listed (common.cuh)."""


def blocks(count: int, threads: int) -> int:
    """How many blocks hold `count` threads."""
    return -(-count // threads)


@dataclass(frozen=True)
class Surface:
    """The posed surface of a batch on the device, float64."""

    chi: Array
    """(B, P)."""
    camera: Array
    """(B, 39): see common.cuh."""
    points: Array
    """(B, N, 3) mm."""
    albedo: Array
    """(B, N, 3)."""
    normals: Array
    """(B, N, 3)."""
    inverse_length: Array
    """(B, N) one over the length of the unnormalised normals."""
    xy: Array
    """(B, N, 2) px."""
    depth: Array
    """(B, N) px."""

    @property
    def geometry(self) -> Geometry:
        """What other engines call it."""
        return Geometry(self.points, self.normals, self.albedo, self.xy, self.depth)


class CudaRenderer(AbstractRenderer):
    """One model on one device."""

    def __init__(self, device: Device, model: MorphableModel, settings: EngineSettings) -> None:
        self.device = device
        self.model = model
        self.layout = ParameterLayout.of(model)
        self.settings = settings
        self.real = np.dtype(settings.dtype)
        self.real_name = "double" if settings.dtype == "float64" else "float"
        self.flat = settings.normals == "flat"
        self.flat_name = "true" if self.flat else "false"
        device.load(self.real_name, self.flat_name)
        mesh = Connectivity.of(model.triangles, model.vertex_count)
        self.triangles = device.asarray(model.triangles)
        self.corner_start = device.asarray(mesh.corner_start)
        self.corners = device.asarray(mesh.corners)
        self.ring_start = device.asarray(mesh.ring_start)
        self.ring = device.asarray(mesh.ring)
        self.ring_slot = device.asarray(mesh.ring_slot)
        self.face_mask = device.asarray(model.face_mask.astype(np.uint8))
        shape = np.concatenate([model.identity_basis, model.expression_basis], axis=2, dtype=self.real)
        whole_packs = -(-self.layout.shape_count // _PACK) * _PACK
        padding = ((0, 0), (0, 0), (0, whole_packs - self.layout.shape_count))
        self.shape_basis = device.asarray(np.pad(shape, padding))
        self.shape_stride = whole_packs
        self.albedo_basis = device.asarray(model.albedo_basis.astype(self.real))
        # Mode after mode for linear_surface; vertex after vertex for the rest.
        rows = 3 * model.vertex_count
        self._shape_modes = device.asarray(shape.reshape(rows, self.layout.shape_count).T)
        self._albedo_modes = device.asarray(model.albedo_basis.reshape(rows, model.albedo_count).T.astype(self.real))
        self._mean = device.asarray(model.mean.astype(np.float64).ravel())
        self._mean_albedo = device.asarray(model.mean_albedo.astype(np.float64).ravel())
        device.synchronize()  # whatever stream is used next, the model is there
        device.free_unused()  # staging buffers

    def surface(self, chi: NDArray[np.float64]) -> Surface:
        """The posed surface of chi (B, P)."""
        device, layout, count = self.device, self.layout, self.model.vertex_count
        batch = len(chi)
        chi_there = device.asarray(np.ascontiguousarray(chi, np.float64))
        camera = self.cameras(chi_there)
        points, albedo = (
            self._linear(mean, basis, chi_there, part)
            for mean, basis, part in (
                (self._mean, self._shape_modes, layout.shape),
                (self._mean_albedo, self._albedo_modes, layout.albedo),
            )
        )
        normals, inverse_length = (device.empty((batch, count, *more), np.float64) for more in ((3,), ()))
        xy, depth = (device.empty((batch, count, *more), np.float64) for more in ((2,), ()))
        device.launch(
            "pose_surface",
            (blocks(count, _THREADS), batch, 1),
            _THREADS,
            batch=batch,
            vertices=count,
            triangle_count=len(self.model.triangles),
            triangles=self.triangles,
            corner_start=self.corner_start,
            corners=self.corners,
            camera=camera,
            points=points,
            normals=normals,
            inverse_length=inverse_length,
            xy=xy,
            depth=depth,
        )
        return Surface(chi_there, camera, points, albedo, normals, inverse_length, xy, depth)

    def cameras(self, chi: Array) -> Array:
        """Camera records (B, 39) of chi (B, P) on the device."""
        batch, parameters = chi.shape
        camera = self.device.empty((batch, CAMERA_SIZE), np.float64)
        self.device.launch(
            "pose_cameras",
            (blocks(batch, 32), 1, 1),
            32,
            batch=batch,
            parameters=parameters,
            pose=self.layout.pose.start,
            chi=chi,
            camera=camera,
        )
        return camera

    def _linear(self, mean: Array, basis: Array, chi: Array, part: slice) -> Array:
        batch, parameters = chi.shape
        modes, rows = basis.shape
        items = 1 if batch == 1 else _ITEMS
        out = self.device.empty((batch, rows), np.float64)
        self.device.launch(
            "linear_surface",
            (blocks(rows, _THREADS), blocks(batch, items), 1),
            _THREADS,
            template=(self.real_name, str(items)),
            batch=batch,
            rows=rows,
            modes=modes,
            parameters=parameters,
            first=part.start,
            mean=mean,
            basis=basis,
            chi=chi,
            out=out,
        )
        return out.reshape(batch, rows // 3, 3)

    def geometry(self, chi: NDArray[np.float64]) -> Geometry:
        """See `AbstractRenderer.geometry`."""
        return self.surface(chi).geometry

    def rasterize(self, geometry: Geometry, size: tuple[int, int]) -> Visibility:
        """See `AbstractRenderer.rasterize`."""
        batch, (height, width) = len(geometry.image_xy), size
        triangle = self.device.empty((batch, height, width), np.int32)
        barycentric = self.device.empty((batch, height, width, 3), np.float64)
        self.draw(geometry.image_xy, geometry.depth, triangle, barycentric)
        return Visibility(triangle, barycentric)

    def draw(
        self,
        xy: Array,
        depth: Array,
        triangle: Array,
        barycentric: Array,
        mask: Array | None = None,
        included: Array | None = None,
        used: Array | None = None,
    ) -> None:
        """Fill triangle (B, H, W) and barycentric (B, H, W, 3) and, given a mask (B, H, W), mark the photometric pixels
        in `included` (B, tile order) and their vertices in `used` (B, N), zeros before."""
        device = self.device
        batch, height, width = triangle.shape
        common = {
            "batch": batch,
            "vertices": self.model.vertex_count,
            "triangle_count": len(self.model.triangles),
            "height": height,
            "width": width,
            "xy": xy,
            "depth": depth,
            "triangles": self.triangles,
            "keys": device.zeros((batch, height, width), np.uint64),
        }
        grid = (blocks(_ROW_THREADS * len(self.model.triangles), _THREADS), batch, 1)
        device.launch("draw_triangles", grid, _THREADS, **common)
        listed = listed_pixels((height, width))
        device.launch(
            "resolve_pixels",
            (blocks(listed, _THREADS), batch, 1),
            _THREADS,
            **common,
            listed=listed,
            face_mask=None if mask is None else self.face_mask,
            mask=mask,
            triangle=triangle,
            barycentric=barycentric,
            included=included,
            used=used,
        )

    def shade(self, geometry: Geometry, visibility: Visibility, chi: NDArray[np.float64]) -> Array:
        """See `AbstractRenderer.shade`."""
        chi_there = self.device.asarray(np.ascontiguousarray(chi, np.float64))
        return self.radiance(geometry, self.cameras(chi_there), visibility)

    def radiance(self, geometry: Geometry, camera: Array, visibility: Visibility) -> Array:
        """Radiance (B, H, W, 3) under the camera records (B, 39)."""
        device = self.device
        batch, height, width = visibility.triangle.shape
        out = device.empty((batch, height, width, 3), np.float64)
        device.launch(
            "radiance",
            (blocks(height * width, _THREADS), batch, 1),
            _THREADS,
            template=(self.flat_name,),
            batch=batch,
            vertices=self.model.vertex_count,
            triangle_count=len(self.model.triangles),
            height=height,
            width=width,
            triangles=self.triangles,
            camera=camera,
            points=geometry.vertices,
            normals=geometry.normals,
            albedo=geometry.albedo,
            triangle=visibility.triangle,
            barycentric=visibility.barycentric,
            out=out,
        )
        return out

    def to_host(self, array: Array) -> NDArray[Any]:
        """See `AbstractRenderer.to_host`."""
        return self.device.to_host(array)

    def synchronize(self) -> None:
        """See `AbstractRenderer.synchronize`."""
        self.device.synchronize()


def listed_pixels(size: tuple[int, int]) -> int:
    """Places in tile order for an image of size (H, W): whole tiles."""
    return blocks(size[0], _TILE) * blocks(size[1], _TILE) * _TILE * _TILE
