"""A smooth field of albedo on any model: what skins are that its own albedo modes have never seen.

A model with few albedo modes explains a stranger's beard shadow, freckles or flush by bending the surface. The field
gives these a place: a Gaussian process over the face with the Matern spectrum, in eigenfunctions of the surface's
Laplacian (Lindgren, Rue and Lindstrom, JRSS B 2011), so that it is no more than some further albedo modes.

    rho = own modes + sum_k c_k s_k f_k mean_albedo t + sum_k d_k s'_k f_k mean_albedo t'

with f_k the eigenfunctions of the face mask's cotangent Laplacian, of unit mean square over it, without the constant,
and `s_k ~ (1 / l^2 + eigenvalue_k)^-3/4`, the spectrum of a process whose correlation falls off exponentially. Colours
t and t' are those in which skin differs from what a model says of it: mostly more or less of all, the most in blue,
as with pigment, stubble and shine; then red against blue, as with blood.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, eigsh, splu
from threadpoolctl import threadpool_limits

from faceinv.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.face.model import MorphableModel

__all__ = ["RICH", "TINT_MODES", "TONE_MODES", "has_rich_albedo", "laplacian_modes", "with_albedo_field"]

TONE_MODES: Final = 80
TINT_MODES: Final = 30
RICH: Final = 40
"""A model with so many albedo modes of its own, statistics of many skins, needs no field."""

_LENGTH_MM: Final = 10.0
"""l: over which skin is alike."""
_TONE: Final = 0.2
_TINT: Final = 0.05
"""Root mean squares over face and colours of each part, as a share of the mean albedo. These, the colours, l and the
spectrum are those of what the best light and the own modes left at the true shapes of 20 rendered strangers
(benchmarks/render_strangers.py, other seeds than its splits')."""
_TONE_COLOUR: Final = (0.45, 0.97, 1.36)
_TINT_COLOUR: Final = (1.5, 0.32, -0.73)
"""Of unit mean square (nearly)."""
_DECAY: Final = 0.75
_SRGB_SLOPE: Final = 1 / 2.2
"""A relative difference of light is this much of one in sRGB values."""
_RINGS: Final = 3
"""By which the face mask is widened: the field must not end where the mask does."""
_LARGEST_COTANGENT: Final = 10.0
_SHIFT: Final = -1e-6
"""1/mm^2, below every eigenvalue: those next to it are found."""
_LEAST_AREA: Final = 1e-3
"""mm^2 of a vertex: what keeps the mass matrix invertible at needles."""


def has_rich_albedo(model: MorphableModel) -> bool:
    """Whether the model's own albedo has so many modes that a field is not needed."""
    return model.own_albedo_count >= RICH


def with_albedo_field(model: MorphableModel, amplitude: float = 1.0) -> MorphableModel:
    """The model with the field's modes after its own albedo modes, in place of a field that it has.

    Args:
        model: the model.
        amplitude: multiplies the field's standard deviations; 0 takes the field away.

    Raises:
        ModelError: when the amplitude is negative or not finite.
    """
    if not (np.isfinite(amplitude) and amplitude >= 0):
        raise ModelError(f"the albedo field's amplitude is {amplitude}; expected a number of at least 0.")
    own = model.albedo_basis[:, :, : model.own_albedo_count]
    if not amplitude:
        return replace(model, albedo_basis=own, field_count=0) if model.field_count else model
    eigenvalues, modes = laplacian_modes(model, max(TONE_MODES, TINT_MODES))
    spectrum = (1.0 / _LENGTH_MM**2 + eigenvalues) ** -_DECAY
    tone = model.mean_albedo.astype(np.float64)[:, :, None]
    if model.albedo_space == "srgb":
        amplitude *= _SRGB_SLOPE
    parts = [own]
    for count, deviation, colour in (
        (TONE_MODES, _TONE, _TONE_COLOUR),
        (TINT_MODES, _TINT, _TINT_COLOUR),
    ):
        kept = spectrum[:count]
        deviations = amplitude * deviation * kept / np.sqrt((kept**2).sum())
        relative = tone * np.array(colour)[:, None]
        parts.append((relative * (modes[:, :count] * deviations)[:, None, :]).astype(np.float32))
    basis = np.concatenate(parts, axis=2)
    return replace(model, albedo_basis=basis, field_count=basis.shape[2] - own.shape[2])


def laplacian_modes(model: MorphableModel, count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first eigenfunctions of the Laplacian on the widened face mask of the mean face, without the constant.

    Cotangent weights (Pinkall and Polthier, Experimental Mathematics 1993) and lumped masses, free at the border. The
    start of the iteration and the signs are fixed, so that the result is the same at every call.

    Returns:
        (count,) eigenvalues, 1/mm^2, ascending; (N, count) functions of unit mean square over the region, zero outside.

    Raises:
        ModelError: when the region has no more vertices than there are functions.
    """
    inside = _widened(model.triangles, model.face_mask, model.vertex_count)
    used, flat = np.unique(model.triangles[inside], return_inverse=True)
    triangles, vertices = flat.reshape(-1, 3), model.mean[used].astype(np.float64)
    if len(used) <= count + 1:
        raise ModelError(
            f"model '{model.name}': {len(used)} vertices of the face mask are too few for an albedo field."
        )
    stiffness, area = _cotangent_laplacian(vertices, triangles)
    mass = sparse.diags_array(np.maximum(area, _LEAST_AREA)).tocsc()
    # Pieces that hang together have a constant each: those beyond the first are no smooth field either.
    pieces, _ = sparse.csgraph.connected_components(stiffness, directed=False)
    start = np.cos(np.arange(len(used), dtype=np.float64))
    # One thread: a pool that waits on small products is many times slower, and its sums depend on its size.
    with threadpool_limits(1, "blas"):
        shifted = splu(
            sparse.csc_array(stiffness - _SHIFT * mass),
            permc_spec="MMD_AT_PLUS_A",
            diag_pivot_thresh=0.0,
            options={"SymmetricMode": True},
        )
        inverse = LinearOperator(stiffness.shape, shifted.solve, dtype=np.float64)
        eigenvalues, modes = eigsh(stiffness, k=count + pieces, M=mass, sigma=_SHIFT, v0=start, OPinv=inverse)
    order = np.argsort(eigenvalues, kind="stable")[pieces:]
    eigenvalues, modes = np.maximum(eigenvalues[order], 0.0), modes[:, order] * np.sqrt(area.sum())
    peak = modes[np.abs(modes).argmax(axis=0), np.arange(count)]
    whole = np.zeros((model.vertex_count, count))
    whole[used] = modes * np.where(peak < 0, -1.0, 1.0)
    return eigenvalues, whole


def _widened(triangles: NDArray[np.int32], mask: NDArray[np.bool_], vertex_count: int) -> NDArray[np.bool_]:
    """(T,) the mask and the triangles around it, ring after ring."""
    for _ in range(_RINGS):
        touched = np.zeros(vertex_count, np.bool_)
        touched[triangles[mask]] = True
        mask = np.asarray(touched[triangles].any(axis=1))
    return mask


def _cotangent_laplacian(
    vertices: NDArray[np.float64], triangles: NDArray[np.int64]
) -> tuple[sparse.csc_array, NDArray[np.float64]]:
    """The stiffness matrix (V, V), positive semi-definite, and a third of the area around each vertex (V,) mm^2."""
    count = len(vertices)
    area = np.zeros(count)
    rows, columns, weights = [], [], []
    for k in range(3):
        a, b, c = (triangles[:, (k + i) % 3] for i in range(3))
        u, v = vertices[a] - vertices[c], vertices[b] - vertices[c]
        double = np.linalg.norm(np.cross(u, v), axis=1)
        cotangent = np.clip((u * v).sum(axis=1) / np.maximum(double, 1e-9), 0.0, _LARGEST_COTANGENT) / 2
        rows += [a, b]
        columns += [b, a]
        weights += [cotangent, cotangent]
        area += np.bincount(a, double / 6, minlength=count)
    links = sparse.coo_array(
        (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))), shape=(count, count)
    ).tocsc()
    return sparse.csc_array(sparse.diags_array(np.asarray(links.sum(axis=1))) - links), area
