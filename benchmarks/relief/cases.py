"""Pictures by formula, in which all is known: a smooth face, relief, paint and light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, get_args

import numpy as np

from faceinv.face.lighting import sh_basis
from faceinv.photo.color import linear_to_srgb
from relief.face import SmoothFace, draw_light, smooth_face
from relief.ridges import displaced_normals, draw_ridges, flat
from relief.skin import MOLES, SKIN, draw_brow_and_beard, draw_skin, single_moles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

__all__ = ["KINDS", "Kind", "ReliefCase", "mole_cases", "relief_case"]

Kind: TypeAlias = Literal["clean", "painted", "flat", "bare", "hair", "flash", "dark", "grey"]
"""`clean` ridges on plain skin; `painted` ridges on painted skin; `flat` painted skin without relief; `bare` plain skin
without relief; `hair` plain flat skin under brows and a beard; `flash` painted ridges with the lamp at the camera;
`dark` painted ridges on dark skin, dimly lit; `grey` painted ridges in black and white."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
_TUNE: Final = 1000
"""Seeds from here on are for tuning, those below are reported."""


@dataclass(frozen=True)
class ReliefCase:
    """A picture and what it was made from; (H, W, ...) arrays."""

    name: str
    kind: str
    photo: NDArray[np.float32]
    """(H, W, 3) sRGB-encoded in [0, 1], of 256 levels."""
    coarse_normals: Array
    """(H, W, 3) unit, camera frame: x right, y up, z to the viewer."""
    normals: Array
    """(H, W, 3) unit, the true ones."""
    displacement: Array
    """(H, W) mm towards the viewer, true."""
    mask: NDArray[np.bool_]
    """(H, W) the face."""
    mm_per_px: float
    lighting: Array
    """(9, 3) under which the picture was made, for an albedo of one."""
    albedo: Array
    """(H, W, 3) linear, true."""
    marks: Array | None = None
    """(N, 3) x, y, radius in mm of lone moles."""


def relief_case(kind: Kind, seed: int, size: int = 512, tune: bool = False, noise: float = 1 / 255) -> ReliefCase:
    """A picture.

    Args:
        kind: what it shows.
        seed: ridges, paint and light follow from it.
        size: side in px; the face's height takes .82 of it.
        tune: for tuning: never the same as one that is reported.
        noise: standard deviation of each sRGB-encoded value.
    """
    face = smooth_face(size)
    rng = np.random.default_rng([seed + _TUNE * tune, KINDS.index("painted" if kind in ("flash", "grey") else kind)])
    shape = face.mask.shape
    assert len(shape) == 2
    relief = flat(shape) if kind in ("flat", "bare", "hair") else draw_ridges(rng, shape, face.mm_per_px)
    lighting = draw_light(rng)
    if kind == "flash":
        lighting = np.outer([1.6, 0.0, 2.2, 0.0, 0.0, 0.0, 0.4, 0.0, 0.0], [1.02, 1.0, 0.98])
    logs = np.zeros((*shape, 3))
    if kind in ("painted", "flat", "flash", "dark", "grey"):
        logs = draw_skin(rng, shape, face.mm_per_px)
    if kind == "hair":
        logs = draw_brow_and_beard(rng, shape, face.mm_per_px)
    skin = SKIN ** (2.2 if kind == "dark" else 1.0)
    level = 0.3 if kind == "dark" else 0.75
    normals = displaced_normals(face.normals, relief)
    return _pictured(
        f"{kind} {seed}", kind, face, normals, relief.displacement, skin * np.exp(logs), lighting, level, rng, noise
    )


def mole_cases(seed: int, size: int = 512, tune: bool = False) -> Iterator[ReliefCase]:
    """Flat plain skin with lone marks, a picture for each colour of `MOLES`; without noise but for its 256 levels."""
    face = smooth_face(size)
    shape = face.mask.shape
    assert len(shape) == 2
    for number, colour in enumerate(MOLES):
        rng = np.random.default_rng([seed + _TUNE * tune, 100 + number])
        logs, marks = single_moles(rng, face.mask, face.mm_per_px, colour)
        albedo = SKIN * np.exp(logs)
        lighting = draw_light(rng)
        yield _pictured(
            f"{colour} moles {seed}",
            f"{colour} moles",
            face,
            face.normals,
            np.zeros(shape),
            albedo,
            lighting,
            0.75,
            rng,
            0.0,
            marks,
        )


def _pictured(
    name: str,
    kind: str,
    face: SmoothFace,
    normals: Array,
    displacement: Array,
    albedo: Array,
    lighting: Array,
    level: float,
    rng: np.random.Generator,
    noise: float,
    marks: Array | None = None,
) -> ReliefCase:
    """The picture of a surface, exposed so that all but two of a hundred of the face's pixels are below `level`."""
    light = albedo * np.maximum(sh_basis(normals) @ lighting, 0.0)
    exposure = level / float(np.quantile(light[face.mask], 0.98))
    encoded = linear_to_srgb(np.clip(exposure * light, 0, 1))
    if kind == "grey":
        encoded = np.repeat(encoded @ np.array([[0.299], [0.587], [0.114]]), 3, axis=-1)
        encoded = encoded + noise * rng.standard_normal(encoded.shape[:2])[..., None]
    else:
        encoded = encoded + noise * rng.standard_normal(encoded.shape)
    photo = (np.rint(255 * np.clip(encoded, 0, 1)) / 255).astype(np.float32)
    return ReliefCase(
        name,
        kind,
        photo,
        face.normals,
        normals,
        displacement,
        face.mask,
        face.mm_per_px,
        exposure * lighting,
        albedo,
        marks,
    )
