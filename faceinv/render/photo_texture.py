"""The photo's colours on the surface, and what stands for them where the photo does not show it.

All is done with reflectances, photo over fitted shading, so that what is seen on one side of a face can stand for the
other under another light:

    q = T q_photo + (1 - T) (T' q_mirror g' + (1 - T') fill)

T and T' say how surely the photo shows a point and the point on the other side (`faceinv.render.seen`). On skin the
fill is the fitted albedo times a gain. Gains are smooth fields over the surface (`faceinv.render.membrane`) that make
what is filled in meet the photo's colours at the border of what is seen: Poisson blending, of logarithms. The scalp's
fill is not the fitted albedo, which is that of skin, but what the photo shows of the scalp, hair or not, going on
smoothly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.photo.color import linear_to_srgb, srgb_to_linear
from faceinv.render.eye_colour import EyeColours, with_eye_colours
from faceinv.render.lids import lids_when_shut
from faceinv.render.membrane import membrane_of
from faceinv.render.regions import regions_of
from faceinv.render.seen import PosedHead, Seen, look

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["PhotoTexture"]

_FACING: Final = (0.12, 0.45)
"""The cosine between normal and view from which the photo starts to count, and from which it counts fully."""
_FACING_HAIR: Final = (0.1, 0.4)
"""The same for the scalp, whose hair the photo shows though the skull below turns away."""
_DARKEST: Final = 0.004
"""Ratios of colours are taken above this."""
_MAX_GAIN: Final = 2.5
"""The most by which filled colours are corrected, either way."""
_BLUR_PX: Final = 1.5
"""Of the crop. Colours are compared at vertices, which are some millimetres apart."""
_SURE: Final = (0.6, 0.95)
"""The trust from which a vertex's colour starts to count for what is not seen, and from which it counts fully."""
_HAIR_PULL: Final = 0.12
"""How soon the scalp's colour becomes that of hair, away from what is seen of it; over what is known of a patch."""
_ENTRIES: Final = 4097


@dataclass(frozen=True, eq=False)
class PhotoTexture:
    """Colours of any points of a head's surface, from its photo."""

    photo: NDArray[np.float32]
    """(H, W, 3) sRGB-encoded."""
    seen: Seen
    vertices: NDArray[np.float32]
    """(N, 12) of `blend_texels`."""
    linear: bool
    """Whether the model's albedo is linear light."""

    @classmethod
    def of(
        cls, head: PosedHead, photo: NDArray[np.float32], eyes: EyeColours | None = None, moving: bool = False
    ) -> PhotoTexture:
        """Of a head in the frame of a photo.

        Args:
            head: the head.
            photo: (H, W, 3) sRGB-encoded in [0, 1].
            eyes: their colours, where the photo does not show them.
            moving: whether eyes and mouth are to move: then eyes, teeth, the mouth's inside, and lids that would be
                stretched are not taken from the photo.
        """
        seen = look(head, photo)
        linear = head.model.albedo_space == "linear"
        vertices = _at_vertices(head, seen, eyes, linear, moving)
        return cls(photo, seen, vertices, linear)

    def at(
        self,
        corners: NDArray[np.int32],
        mirrored: NDArray[np.int32],
        weights: NDArray[np.float32],
        lit: bool = True,
        reduce: int = 1,
    ) -> NDArray[np.uint8]:
        """(M, 3) sRGB at points of the surface.

        Args:
            corners: (M, 3) the vertices around each.
            mirrored: (M, 3) those around the point on the other side.
            weights: (M, 3) barycentric.
            lit: as photographed; else reflectances, without the fitted light.
            reduce: how many of the photo's pixels, along each side, are averaged to one before.
        """
        from faceinv.backends.numpy_numba.texels import blend_texels
        from faceinv.backends.numpy_numba.threads import before_launch

        before_launch()
        photo, vertices, crop = self.photo, self.vertices, self.seen.crop
        place = np.array([crop.x0, crop.y0, crop.zoom], np.float32)
        if reduce > 1:
            photo = _reduced(photo, reduce)
            vertices = vertices.copy()
            vertices[:, :2] /= reduce
            place = np.array([crop.x0 / reduce, crop.y0 / reduce, crop.zoom * reduce], np.float32)
        result = np.empty((len(corners), 3), np.uint8)
        tables = _tables(self.linear)
        corners, mirrored = np.ascontiguousarray(corners), np.ascontiguousarray(mirrored)
        blend_texels(
            np.ascontiguousarray(photo, np.float32),
            self.seen.trust,
            place,
            corners,
            mirrored,
            np.ascontiguousarray(weights, np.float32),
            vertices,
            *tables,
            lit,
            result,
        )
        return result


def _at_vertices(
    head: PosedHead, seen: Seen, eyes: EyeColours | None, linear: bool, moving: bool
) -> NDArray[np.float32]:
    model = head.model
    regions, membrane = regions_of(model), membrane_of(model)
    facing = np.where(regions.scalp > 0.5, _ramp(head.facing, *_FACING_HAIR), _ramp(head.facing, *_FACING))
    trust = facing * seen.visible
    lids = np.zeros(model.vertex_count, np.bool_)
    if moving:
        usable, lids = lids_when_shut(model, head.face, head.vertices)
        trust = np.asarray(trust * usable * regions.skin, trust.dtype)
    xy = np.where(np.isfinite(head.projected), head.projected, 0.0)[:, :2]
    colours, sure = _sampled(seen, xy, linear)
    known = np.where(lids, 0.0, trust * _ramp(sure, *_SURE).astype(np.float64))
    shading = head.shading
    # What is not seen is lit as what is: second-order light goes on wildly.
    if known.sum() > 10:
        lit = shading[known > 0.5] if (known > 0.5).any() else shading
        limits = np.percentile(lit, [1, 99], axis=0)
        bounded = np.clip(shading, *limits)
        shading = np.where(known[:, None] > 0, shading, bounded)
    reflectance = np.log(np.maximum(colours, _DARKEST)) - np.log(shading)
    own: NDArray[Any] = head.own_albedo
    albedo = np.log(own if eyes is None else np.maximum(with_eye_colours(model, own, eyes), _DARKEST))
    skin, scalp = regions.skin.astype(np.float64), regions.scalp.astype(np.float64)
    limit = float(np.log(_MAX_GAIN))
    gain = membrane.extended(np.clip(reflectance - albedo, -limit, limit), known * skin * (1 - scalp))
    fill = albedo + gain * skin[:, None]
    hair = None if seen.hair is None else np.log(np.maximum(seen.hair, _DARKEST)) - np.log(shading).mean(axis=0)
    if hair is not None:
        cover = membrane.extended(reflectance, known * scalp, hair, _HAIR_PULL)
        fill += scalp[:, None] * (cover - fill)
    elif (known * scalp).sum() > 10:
        fill += scalp[:, None] * (membrane.extended(reflectance, known * scalp) - fill)
    both = known * known[model.mirror] * skin
    mirror_gain = membrane.extended(np.clip(reflectance - reflectance[model.mirror], -limit, limit), both)
    # Pixels' coordinates are counted from corners here, not from middles.
    parts = (xy + 0.5, trust[:, None], shading, np.exp(fill), np.exp(mirror_gain))
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _sampled(seen: Seen, xy: NDArray[np.float64], linear: bool) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours (N, 3) of the photo at points in the model's space, and the trust in them (N,)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    rows, columns = seen.area
    trust, colours = seen.trust[rows, columns], seen.colours[rows, columns]
    if trust.size == 0:
        return np.zeros((len(xy), 3)), np.zeros(len(xy))
    place = seen.crop.to_crop(xy) - [columns.start, rows.start]
    at = [place[:, 1], place[:, 0]]
    # Only what is trusted mixes: ground beside the face is not to bleed into it.
    planes = [trust, *(colours[..., d] * trust for d in range(3))]
    share, *mixed = (map_coordinates(gaussian_filter(plane, _BLUR_PX), at, order=1) for plane in planes)
    found = np.clip(np.stack(mixed, axis=1) / np.maximum(share, 1e-3)[:, None], 0, 1).astype(np.float64)
    return srgb_to_linear(found) if linear else found, map_coordinates(trust, at, order=1)


def _reduced(photo: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Means over blocks; what is over at the right and bottom is left out."""
    height, width = (n // step for n in photo.shape[:2])
    blocks = photo[: height * step, : width * step].reshape(height, step, width, step, 3)
    mean: NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return mean


@cache
def _tables(linear: bool) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """From sRGB to the model's space, and back to bytes."""
    values = np.linspace(0, 1, _ENTRIES)
    fine = np.linspace(0, 1, 16 * (_ENTRIES - 1) + 1)
    decode, encode = (srgb_to_linear(values), linear_to_srgb(fine)) if linear else (values, fine)
    return decode.astype(np.float32), (255 * encode).astype(np.float32)


def _ramp(values: NDArray[Any], low: float, high: float) -> NDArray[Any]:
    """0 up to `low`, 1 from `high`, smooth between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3 - 2 * t))
