"""The face model: a mean surface, whitened linear bases, and what is known about its mesh."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np

from faceinv.errors import ModelError
from faceinv.face.arrays import all_finite, combined
from faceinv.face.expression_units import ExpressionUnits
from faceinv.face.landmarks68 import JAW_COUNT, LANDMARK_COUNT
from faceinv.face.self_shadow import MOMENT_COUNT

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MorphableModel"]

_ROUNDING: Final = 1e-6
"""Of a covariance's largest entry: what rounding to float32 may do to its symmetry and its smallest variance."""


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A 3D morphable face model (Blanz and Vetter, SIGGRAPH 1999) with a separate expression basis.

    Model space has x to the image's right for a frontal face, y up, z towards the viewer, in
    millimetres. Every basis is stored multiplied by its standard deviations, so a coefficient of 1 is
    one standard deviation and the prior on coefficients is the standard normal.

    Raises:
        ModelError: when fields disagree in shape, hold non-finite values or indices out of range.
    """

    name: str
    """What results and messages call the model."""
    licence: str
    """One line on the terms the model comes under."""
    albedo_space: str
    """`"linear"`: albedo is linear RGB and photos are sRGB-decoded first. `"srgb"`: photos are used as they are."""
    mean: NDArray[np.float32]
    """(N, 3) mm: the mean surface."""
    identity_basis: NDArray[np.float32]
    """(N, 3, Ki) mm per standard deviation."""
    expression_basis: NDArray[np.float32]
    """(N, 3, Ke) mm per standard deviation."""
    mean_albedo: NDArray[np.float32]
    """(N, 3) reflectance, RGB."""
    albedo_basis: NDArray[np.float32]
    """(N, 3, Ka) reflectance per standard deviation."""
    triangles: NDArray[np.int32]
    """(T, 3) vertex indices, counter-clockwise seen from outside."""
    landmark_vertices: NDArray[np.int32]
    """(68, 3) vertex indices; landmark l is `sum_k landmark_weights[l, k] * V[landmark_vertices[l, k]]`."""
    landmark_weights: NDArray[np.float32]
    """(68, 3) barycentric weights, each row summing to 1."""
    face_mask: NDArray[np.bool_]
    """(T,) triangles that are skin which photos show; only they enter the photometric term."""
    jaw_band: NDArray[np.int32]
    """(17, M) triangles over which the outline of each jaw landmark can move (`faceinv.face.jaw_band`), -1 after the
    last of a row. M may be 0: jaw landmarks then stay where they are."""
    uv: NDArray[np.float32]
    """(U, 2) texture coordinates, origin at the lower left (as in OBJ)."""
    uv_triangles: NDArray[np.int32]
    """(T, 3) indices into `uv`, corner for corner with `triangles`."""
    mirror: NDArray[np.int32]
    """(N,) the vertex on the other side of the face; a vertex of the midline names itself."""
    expression_names: tuple[str, ...] = ()
    """Ke names of the modes, or none."""
    expression_units: ExpressionUnits | None = None
    """The named expressions whose combinations the modes are, or None where the modes have no such meaning."""
    occlusion: NDArray[np.float32] | None = None
    """(N, 10) moments of the directions in which the mean face blocks its own light, model space: see
    `faceinv.face.self_shadow`. None where light reaches everything."""
    field_count: int = 0
    """The last so many albedo modes are no statistics but a smooth field: see `faceinv.face.albedo_field`."""
    part_names: tuple[str, ...] = ()
    """Names of the surface's parts, as `skin`, `left_eye` (the subject's own left), `upper_teeth`, `tongue`; or
    none."""
    triangle_parts: NDArray[np.uint8] | None = None
    """(T,) each triangle's part, an index into `part_names`; None where these are none."""

    def __post_init__(self) -> None:
        def convert(name: str, dtype: type, *shape: int | None) -> None:
            value = np.asarray(getattr(self, name))
            expected = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
            same_rank = value.ndim == len(shape)
            if not same_rank or any(s is not None and s != v for s, v in zip(shape, value.shape, strict=True)):
                raise ModelError(f"model '{self.name}': field '{name}' has shape {value.shape}, expected {expected}.")
            if value.dtype.kind not in ("iub" if dtype is not np.float32 else "iubf"):
                wanted = np.dtype(dtype)
                raise ModelError(f"model '{self.name}': field '{name}' holds {value.dtype}, expected {wanted}.")
            value = np.ascontiguousarray(value, dtype=dtype)
            if dtype is np.float32 and not all_finite(value):
                raise ModelError(f"model '{self.name}': field '{name}' holds NaN or infinite values.")
            value = value.view()  # the caller's own array stays writable
            value.setflags(write=False)
            object.__setattr__(self, name, value)

        n = np.shape(self.mean)[0] if np.ndim(self.mean) else 0
        t = np.shape(self.triangles)[0] if np.ndim(self.triangles) else 0
        if n < 3 or t < 1:
            raise ModelError(f"model '{self.name}': {n} vertices and {t} triangles; a surface needs 3 and 1 at least.")
        convert("mean", np.float32, n, 3)
        convert("identity_basis", np.float32, n, 3, None)
        convert("expression_basis", np.float32, n, 3, None)
        convert("mean_albedo", np.float32, n, 3)
        convert("albedo_basis", np.float32, n, 3, None)
        convert("triangles", np.int32, t, 3)
        convert("landmark_vertices", np.int32, LANDMARK_COUNT, 3)
        convert("landmark_weights", np.float32, LANDMARK_COUNT, 3)
        convert("face_mask", np.bool_, t)
        convert("jaw_band", np.int32, JAW_COUNT, None)
        convert("uv", np.float32, None, 2)
        convert("uv_triangles", np.int32, t, 3)
        convert("mirror", np.int32, n)
        if self.occlusion is not None:
            convert("occlusion", np.float32, n, MOMENT_COUNT)
        if not 0 <= self.field_count <= self.albedo_count:
            raise ModelError(
                f"model '{self.name}': {self.field_count} of {self.albedo_count} albedo modes are said to be a field."
            )
        for name, limit in (
            ("triangles", n),
            ("landmark_vertices", n),
            ("mirror", n),
            ("uv_triangles", len(self.uv)),
        ):
            value = getattr(self, name)
            if value.size == 0 or value.min() < 0 or value.max() >= limit:
                span = f"{value.min()}..{value.max()}" if value.size else "nothing"
                raise ModelError(f"model '{self.name}': field '{name}' has indices {span}, expected 0..{limit - 1}.")
        band = self.jaw_band
        if band.size and (band.min() < -1 or band.max() >= t):
            span = f"{band.min()}..{band.max()}"
            raise ModelError(f"model '{self.name}': field 'jaw_band' has indices {span}, expected -1..{t - 1}.")
        if np.abs(self.landmark_weights.sum(axis=1) - 1).max() > 1e-3:
            raise ModelError(f"model '{self.name}': each row of 'landmark_weights' must sum to 1.")
        if not self.face_mask.any():
            raise ModelError(f"model '{self.name}': 'face_mask' leaves no triangle.")
        if self.albedo_space not in ("linear", "srgb"):
            given = self.albedo_space
            raise ModelError(f"model '{self.name}': albedo_space is '{given}', expected 'linear' or 'srgb'.")
        if self.expression_names and len(self.expression_names) != self.expression_count:
            raise ModelError(
                f"model '{self.name}': {len(self.expression_names)} expression names for {self.expression_count} modes."
            )
        if self.expression_units is not None and self.expression_units.matrix.shape[1] != self.expression_count:
            given = self.expression_units.matrix.shape[1]
            raise ModelError(
                f"model '{self.name}': expression units of {given} modes for {self.expression_count} modes."
            )
        if self.part_names and self.triangle_parts is not None:
            convert("triangle_parts", np.uint8, t)
            if int(self.triangle_parts.max()) >= len(self.part_names):
                raise ModelError(
                    f"model '{self.name}': field 'triangle_parts' has indices up to {self.triangle_parts.max()}, but "
                    f"there are {len(self.part_names)} part names."
                )
        elif self.part_names or self.triangle_parts is not None:
            raise ModelError(f"model '{self.name}': 'part_names' and 'triangle_parts' come together or not at all.")

    @property
    def vertex_count(self) -> int:
        """N."""
        return len(self.mean)

    @property
    def identity_count(self) -> int:
        """Ki."""
        return int(self.identity_basis.shape[2])

    @property
    def expression_count(self) -> int:
        """Ke."""
        return int(self.expression_basis.shape[2])

    @property
    def albedo_count(self) -> int:
        """Ka."""
        return int(self.albedo_basis.shape[2])

    @property
    def own_albedo_count(self) -> int:
        """Albedo modes that are the model's own: those before the field."""
        return self.albedo_count - self.field_count

    @cached_property
    def jaw_triangles(self) -> NDArray[np.int32]:
        """The triangles of the jaw's band, each once, ascending."""
        return np.unique(self.jaw_band[self.jaw_band >= 0])

    @cached_property
    def fingerprint(self) -> str:
        """A short digest of geometry and bases: results name it, caches key on it. An albedo field does not change it,
        nor does occlusion: both follow from the rest."""
        digest = hashlib.sha256()
        for name in ("mean", "identity_basis", "expression_basis", "mean_albedo", "albedo_basis", "triangles"):
            array = getattr(self, name)
            if name == "albedo_basis" and self.field_count:
                array = np.ascontiguousarray(array[:, :, : self.own_albedo_count])
            digest.update(repr(array.shape).encode())
            digest.update(array.data)
        return digest.hexdigest()[:16]

    def vertices(
        self, identity: NDArray[np.floating] | None = None, expression: NDArray[np.floating] | None = None
    ) -> NDArray[np.float64]:
        """The surface (N, 3) in mm, float64, for whitened coefficients (Ki,) and (Ke,); none means zeros."""
        surface = self.mean.astype(np.float64)
        if identity is not None:
            surface += combined(self.identity_basis, identity)
        if expression is not None:
            surface += combined(self.expression_basis, expression)
        return surface

    def part(self, *names: str) -> NDArray[np.bool_]:
        """(T,) the triangles of the named parts. A model without parts is skin throughout.

        Raises:
            ModelError: when the model has parts, but none of a given name.
        """
        if self.triangle_parts is None:
            return np.full(len(self.triangles), "skin" in names)
        unknown = sorted(set(names) - set(self.part_names))
        if unknown:
            raise ModelError(
                f"model '{self.name}' has no part '{unknown[0]}'; its parts are {', '.join(self.part_names)}."
            )
        chosen: NDArray[np.bool_] = np.isin(self.triangle_parts, [self.part_names.index(name) for name in names])
        return chosen

    def landmarks(self, vertices: NDArray[np.floating]) -> NDArray[np.float64]:
        """The 68 landmarks (68, D) of per-vertex values (N, D)."""
        corners = np.asarray(vertices, np.float64)[self.landmark_vertices]
        points: NDArray[np.float64] = np.einsum("lk,lkd->ld", self.landmark_weights.astype(np.float64), corners)
        return points

    def truncated(
        self, identity: int | None = None, expression: int | None = None, albedo: int | None = None
    ) -> MorphableModel:
        """The same model with only its first modes of each kind; None keeps all."""
        keep_expression = self.expression_count if expression is None else expression
        keep_albedo = min(self.albedo_count, self.albedo_count if albedo is None else albedo)
        return dataclasses.replace(
            self,
            identity_basis=self.identity_basis[:, :, : self.identity_count if identity is None else identity],
            expression_basis=self.expression_basis[:, :, :keep_expression],
            albedo_basis=self.albedo_basis[:, :, :keep_albedo],
            field_count=max(0, keep_albedo - self.own_albedo_count),
            expression_names=self.expression_names[:keep_expression],
            expression_units=None
            if self.expression_units is None
            else self.expression_units.columns(slice(keep_expression)),
        )

    def restricted(self, triangles: NDArray[np.bool_]) -> MorphableModel:
        """The same model on some of its triangles (T,) alone, every index moved along. Coefficients keep their meaning.

        Vertices and triangles keep their order. Vertices that no kept triangle uses are left out, and with them the
        mirror partner of others, which then name themselves.

        Raises:
            ModelError: when a landmark would lose a vertex, or the jaw's band a triangle.
        """
        kept = np.asarray(triangles, np.bool_)
        if kept.shape != (len(self.triangles),):
            expected = (len(self.triangles),)
            raise ModelError(f"model '{self.name}': a choice of triangles has shape {kept.shape}, expected {expected}.")
        used = np.unique(self.triangles[kept])
        place = np.full(self.vertex_count, -1, np.int32)
        place[used] = np.arange(len(used), dtype=np.int32)
        needed = self.landmark_vertices[self.landmark_weights != 0]
        if (place[needed] < 0).any() or not kept[self.jaw_triangles].all():
            raise ModelError(f"model '{self.name}': landmarks need triangles that are to be left out.")
        main = np.take_along_axis(self.landmark_vertices, self.landmark_weights.argmax(axis=1)[:, None], axis=1)
        mirror = place[self.mirror[used]]
        corners, flat = np.unique(self.uv_triangles[kept], return_inverse=True)
        return dataclasses.replace(
            self,
            mean=self.mean[used],
            identity_basis=self.identity_basis[used],
            expression_basis=self.expression_basis[used],
            mean_albedo=self.mean_albedo[used],
            albedo_basis=self.albedo_basis[used],
            triangles=place[self.triangles[kept]],
            landmark_vertices=place[np.where(self.landmark_weights != 0, self.landmark_vertices, main)],
            face_mask=self.face_mask[kept],
            jaw_band=np.where(self.jaw_band < 0, -1, (np.cumsum(kept) - 1)[self.jaw_band]).astype(np.int32),
            uv=self.uv[corners],
            uv_triangles=flat.reshape(-1, 3).astype(np.int32),
            mirror=np.where(mirror < 0, np.arange(len(used)), mirror).astype(np.int32),
            triangle_parts=None if self.triangle_parts is None else self.triangle_parts[kept],
            occlusion=None if self.occlusion is None else self.occlusion[used],
        )

    def with_prior(self, mean: NDArray[np.floating], covariance: NDArray[np.floating]) -> MorphableModel:
        """The same model under another normal prior on its identity, as of a group of people.

        The identity basis B is whitened anew, B <- B L with L L^T the covariance, and the mean surface moves by B mean,
        so that the new coefficients have the standard normal as their prior again: a of this model is
        `mean + L a'` of the new one. The new modes are the principal components of the surfaces that the prior
        describes, those that move the most first, so that `truncated` keeps the most important.

        Args:
            mean: (Ki,) of the coefficients, in this model's standard deviations.
            covariance: (Ki, Ki), symmetric and positive semi-definite. A direction without variance becomes a mode
                that moves nothing.

        Raises:
            ModelError: when a shape differs, a number is not finite, or the covariance is none.
        """
        count = self.identity_count
        try:
            centre, spread = (np.asarray(value) for value in (mean, covariance))
        except (ValueError, TypeError) as error:
            raise ModelError(f"model '{self.name}': the prior's mean and covariance are no arrays ({error}).") from None
        for field, value, shape in (("mean", centre, (count,)), ("covariance", spread, (count, count))):
            if value.shape != shape or value.dtype.kind not in "iuf":
                given = f"{value.dtype} of shape {value.shape}"
                raise ModelError(f"model '{self.name}': the prior's {field} is {given}, expected numbers {shape}.")
            if not np.isfinite(value).all():
                raise ModelError(f"model '{self.name}': the prior's {field} holds NaN or infinite values.")
        basis = self.identity_basis.astype(np.float64).reshape(3 * self.vertex_count, count)
        to_old = self._factor(spread.astype(np.float64))
        moved = basis @ to_old
        _, turn = np.linalg.eigh(moved.T @ moved)
        return dataclasses.replace(
            self,
            mean=(self.mean + (basis @ centre).reshape(-1, 3)).astype(np.float32),
            identity_basis=(moved @ turn[:, ::-1]).astype(np.float32).reshape(self.identity_basis.shape),
        )

    def _factor(self, covariance: NDArray[np.float64]) -> NDArray[np.float64]:
        """(K, K) L with L L^T the covariance."""
        size = float(np.abs(covariance).max(initial=0.0))
        skew = float(np.abs(covariance - covariance.T).max(initial=0.0))
        if skew > _ROUNDING * size:
            raise ModelError(
                f"model '{self.name}': the prior's covariance is not symmetric; entries differ by up to {skew:.3g}."
            )
        variance, directions = np.linalg.eigh((covariance + covariance.T) / 2)
        if variance.min(initial=0.0) < -_ROUNDING * size:
            raise ModelError(
                f"model '{self.name}': the prior's covariance has the negative variance {variance.min():.3g}; it "
                "must be positive semi-definite."
            )
        factor: NDArray[np.float64] = directions * np.sqrt(np.maximum(variance, 0))
        return factor

    def __reduce__(self) -> tuple[type[MorphableModel], tuple[object, ...]]:
        # By the constructor: a copy's arrays are checked and read-only too.
        return type(self), tuple(getattr(self, field.name) for field in dataclasses.fields(self))
