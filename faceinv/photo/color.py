"""Colours as sRGB: its transfer curve, and the colour profiles that photos carry."""

from __future__ import annotations

import functools
import io
import logging
import struct
from typing import TYPE_CHECKING, Any, Final, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image
    from PIL.ImageCms import ImageCmsProfile

__all__ = ["linear_to_srgb", "profile_to_srgb", "srgb_to_linear"]

_Float = TypeVar("_Float", np.float32, np.float64)
_SAME: Final = 2
"""Of 255: profiles of sRGB round its primaries and store its curve as a short table; none is further off than this."""
_WHITE_D50: Final = (0.9642, 1.0, 0.8249)
"""XYZ of the profile connection space's white."""
_SRGB_CURVE: Final = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
"""g, a, b, c, d of ICC's parametric curve of type 3: (a x + b)^g from d on, c x below."""
_log = logging.getLogger(__name__)


def srgb_to_linear(values: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Decode sRGB (IEC 61966-2-1) values to linear light; any shape, float32 or float64 kept."""
    low = values <= 0.04045
    curve = ((np.maximum(values, 0.04045) + 0.055) / 1.055) ** 2.4
    return np.where(low, values / 12.92, curve).astype(values.dtype, copy=False)


def linear_to_srgb(values: npt.NDArray[_Float]) -> npt.NDArray[_Float]:
    """Encode linear light as sRGB (IEC 61966-2-1) values; any shape, float32 or float64 kept."""
    low = values <= 0.0031308
    curve = 1.055 * np.maximum(values, 0.0031308) ** (1 / 2.4) - 0.055
    return np.where(low, values * 12.92, curve).astype(values.dtype, copy=False)


def profile_to_srgb(image: Image.Image, values: npt.NDArray[Any], label: str) -> npt.NDArray[Any]:
    """Follow the colour profile of an image, where it has one.

    What a profile does to colours counts, not its name: one that leaves a grid of colours (or a ramp of greys) where
    sRGB has them, within 2 of 255, leaves the values untouched. A profile of another kind of image than the one it
    came with, or a damaged one, is passed over with a warning.

    Args:
        image: with its profile in `info["icc_profile"]`.
        values: its pixels, (H, W) grey or (H, W, 3 or 4) RGB with opacity, uint8, uint16 or floats in [0, 1].
        label: names the image in warnings.

    Returns:
        (H, W) or (H, W, 3 or 4), the same pixels as sRGB, uint8, uint16 or floats in [0, 1].
    """
    content = image.info.get("icc_profile")
    if not content or image.mode == "LAB":  # which Pillow has already taken to sRGB
        return values
    try:
        from PIL import ImageCms

        profile = ImageCms.ImageCmsProfile(io.BytesIO(content))
        space = profile.profile.xcolor_space.strip()
        if space == "CMYK" and image.mode == "CMYK":
            return _cmyk_to_srgb(image, profile)
        if space == "RGB" and values.ndim == 3:
            return _rgb_to_srgb(values, profile)
        if space in ("RGB", "GRAY") and _is_grey(values):
            return _grey_to_srgb(values, profile, space)
        raise ValueError(f"it is a profile for {space}, the image is {image.mode}")
    except Exception as error:  # no colour management in this Pillow, or a damaged profile
        _log.warning("%s: its colour profile cannot be used (%s); its values are taken as sRGB", label, error)
        return values


def _cmyk_to_srgb(image: Image.Image, profile: ImageCmsProfile) -> npt.NDArray[np.uint8]:
    from PIL import ImageCms

    converted = ImageCms.profileToProfile(image, profile, ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert converted is not None  # only conversions in place return nothing
    return np.asarray(converted)


def _rgb_to_srgb(values: npt.NDArray[Any], profile: ImageCmsProfile) -> npt.NDArray[Any]:
    from PIL import Image, ImageCms

    transform = ImageCms.buildTransform(
        profile,
        ImageCms.createProfile("sRGB"),
        "RGB",
        "RGB",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(9, 81, 3)
    if _near(np.asarray(transform.apply(Image.fromarray(grid))), grid):
        return values
    converted = values.copy()
    converted[..., :3] = np.asarray(transform.apply(Image.fromarray(np.ascontiguousarray(values[..., :3]))))
    return converted


def _grey_to_srgb(values: npt.NDArray[Any], profile: ImageCmsProfile, space: str) -> npt.NDArray[Any]:
    """By a table of 16 bits, so that dark greys of linear light are not rounded twice."""
    from PIL import Image, ImageCms

    ramp = np.arange(256, dtype=np.uint8)[None]
    given = np.arange(0, 65536, dtype=np.uint16)[None] if space == "GRAY" else np.repeat(ramp[..., None], 3, axis=2)
    transform = ImageCms.buildTransform(
        profile,
        ImageCms.ImageCmsProfile(io.BytesIO(_grey_srgb_profile())),
        "I;16" if space == "GRAY" else "RGB",
        "I;16",
        renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION | ImageCms.Flags.NOOPTIMIZE,
    )
    curve = np.asarray(transform.apply(Image.fromarray(given)))[0] / 65535
    if _near(255 * curve, np.linspace(0, 255, len(curve))):
        return values
    whole = {"u1": 255, "u2": 65535}.get(values.dtype.str[1:], 1)
    converted: npt.NDArray[np.float64] = values / whole
    grey = converted if values.ndim == 2 else converted[..., :3]
    grey[:] = np.interp(grey, np.linspace(0, 1, len(curve)), curve)
    return converted


def _near(converted: npt.NDArray[Any], given: npt.NDArray[Any]) -> bool:
    return bool(np.abs(converted.astype(np.float64) - given).max() <= _SAME)


def _is_grey(values: npt.NDArray[Any]) -> bool:
    return values.ndim == 2 or bool((values[..., :1] == values[..., 1:3]).all())


@functools.cache
def _grey_srgb_profile() -> bytes:
    """An ICC profile of greys with sRGB's curve (ICC.1:2010, 7 and 8.4), which Pillow cannot make."""

    def fixed(*numbers: float) -> bytes:
        return struct.pack(f">{len(numbers)}i", *(round(number * 65536) for number in numbers))

    tags = {
        b"wtpt": b"XYZ " + bytes(4) + fixed(*_WHITE_D50),
        b"kTRC": b"para" + struct.pack(">IHH", 0, 3, 0) + fixed(*_SRGB_CURVE),
    }
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(data))
        body += data
    head = struct.pack(">I4xI4s4s4s", 128 + len(table) + len(body), 0x04200000, b"mntr", b"GRAY", b"XYZ ")
    head += struct.pack(">12x4s28x", b"acsp") + fixed(*_WHITE_D50)
    return head.ljust(128, b"\0") + table + body
