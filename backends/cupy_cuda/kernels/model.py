"""A face model on a device, as the kernels read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.face.layout import ParameterLayout
from faceinv.face.mesh import Connectivity

if TYPE_CHECKING:
    from faceinv.backends.cupy_cuda.launch.device import Array, Device
    from faceinv.engine.records import EngineSettings
    from faceinv.face.model import MorphableModel

__all__ = ["DeviceModel"]

_PACK: Final = 4
"""Shape columns are padded to a multiple of this, so that packs of float32 or float64 (assembly.cu) are whole."""


@dataclass(frozen=True, eq=False)
class DeviceModel:
    """One model on one device; arrays are there unless named host. Bases have the dtype of rows, `real`."""

    device: Device
    host: MorphableModel
    layout: ParameterLayout
    real: np.dtype[Any]
    flat: bool
    """One normal for each triangle."""
    triangles: Array
    """(T, 3) int32."""
    corner_start: Array
    corners: Array
    ring_start: Array
    ring: Array
    ring_slot: Array
    """See `Connectivity`."""
    face_mask: Array
    """(T,) uint8."""
    shape_basis: Array
    """(N, 3, shape_stride) identity and expression, vertex after vertex; zeros beyond the last mode."""
    albedo_basis: Array
    """(N, 3, Ka)."""
    shape_modes: Array
    """(Ki + Ke, 3 N) mode after mode."""
    albedo_modes: Array
    """(Ka, 3 N)."""
    mean: Array
    """(3 N,) float64."""
    mean_albedo: Array
    """(3 N,) float64."""
    landmark_vertices: Array
    """(68, 3) int32."""
    landmark_weights: Array
    """(68, 3) float64."""
    jaw_band: Array
    """(17, M) int32."""
    moments: Array | None
    """(N, 10) float64 occlusion, or None."""

    @classmethod
    def of(cls, device: Device, model: MorphableModel, settings: EngineSettings) -> DeviceModel:
        """Copy a model to a device.

        Raises:
            DeviceMemoryError: when there is no room.
        """
        layout, real = ParameterLayout.of(model), np.dtype(settings.dtype)
        mesh = Connectivity.of(model.triangles, model.vertex_count)
        shape = np.concatenate([model.identity_basis, model.expression_basis], axis=2, dtype=real)
        padding = ((0, 0), (0, 0), (0, -layout.shape_count % _PACK))
        rows, put = 3 * model.vertex_count, device.asarray
        copied = cls(
            device=device,
            host=model,
            layout=layout,
            real=real,
            flat=settings.normals == "flat",
            triangles=put(model.triangles),
            corner_start=put(mesh.corner_start),
            corners=put(mesh.corners),
            ring_start=put(mesh.ring_start),
            ring=put(mesh.ring),
            ring_slot=put(mesh.ring_slot),
            face_mask=put(model.face_mask.astype(np.uint8)),
            shape_basis=put(np.pad(shape, padding)),
            albedo_basis=put(model.albedo_basis.astype(real)),
            shape_modes=put(shape.reshape(rows, layout.shape_count).T),
            albedo_modes=put(model.albedo_basis.reshape(rows, model.albedo_count).T.astype(real)),
            mean=put(model.mean.astype(np.float64).ravel()),
            mean_albedo=put(model.mean_albedo.astype(np.float64).ravel()),
            landmark_vertices=put(model.landmark_vertices.astype(np.int32)),
            landmark_weights=put(model.landmark_weights.astype(np.float64)),
            jaw_band=put(model.jaw_band.astype(np.int32)),
            moments=None if model.occlusion is None else put(model.occlusion.astype(np.float64)),
        )
        device.synchronize()  # whatever stream is used next, the model is there
        device.free_unused()  # staging buffers
        return copied

    @cached_property
    def vertices(self) -> int:
        """N."""
        return self.host.vertex_count

    @cached_property
    def triangle_count(self) -> int:
        """T."""
        return len(self.host.triangles)

    @cached_property
    def shape_stride(self) -> int:
        """Ki + Ke and padding: the length of a row of `shape_basis`."""
        return int(self.shape_basis.shape[2])

    @cached_property
    def real_name(self) -> str:
        """`real` in C."""
        return "double" if self.real == np.float64 else "float"

    @cached_property
    def flat_name(self) -> str:
        """`flat` in C."""
        return "true" if self.flat else "false"

    @cached_property
    def texture_uv(self) -> Array:
        """(M, 2) float64 texture coordinates; copied when first asked for, as fits do not need them."""
        return self.device.asarray(self.host.uv.astype(np.float64))

    @cached_property
    def uv_triangles(self) -> Array:
        """(T, 3) int32 rows of `texture_uv`; copied when first asked for."""
        return self.device.asarray(self.host.uv_triangles.astype(np.int32))
