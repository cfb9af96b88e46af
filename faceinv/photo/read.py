"""Photos and masks in, arrays of one kind out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceinv.errors import InputError
from faceinv.photo.color import profile_to_srgb
from faceinv.photo.image_file import decode_given, open_image
from faceinv.photo.lens import exif_focal_length

__all__ = [
    "MIN_SIDE",
    "ImageLike",
    "LoadedImage",
    "MaskLike",
    "SupportsArray",
    "load_image",
    "load_mask",
]


class SupportsArray(Protocol):
    """What NumPy makes an array of, such as an array or a tensor on the host."""

    def __array__(self) -> npt.NDArray[Any]: ...


ImageLike: TypeAlias = (
    str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | Image.Image | npt.NDArray[Any] | SupportsArray
)
"""A photo: its path, its file's bytes, its file opened in binary mode, a PIL image, or an array."""
MaskLike: TypeAlias = ImageLike
"""A mask, in the same ways."""

MIN_SIDE = 16
"""Photos with a shorter side than this, in pixels, hold no face to fit."""
_RANGE_SLACK = 1e-4
_FILE: Final = "path, bytes or binary file of a"
_PHOTO: Final = f"{_FILE} photo, a PIL image, or an array (height, width, 3) of uint8 or of floats in [0, 1]"
_MASK: Final = f"{_FILE} mask, a PIL image, or an array (height, width) of bool, uint8 or floats in [0, 1]"


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A photo, upright.

    Attributes:
        pixels: (H, W, 3) float32, C-contiguous, RGB, sRGB-encoded values in [0, 1].
        name: the file's name without folder, or "image" when it did not come from a file.
        focal_length: px, as EXIF tells it; None where it does not.
    """

    pixels: npt.NDArray[np.float32]
    name: str
    focal_length: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        return self.pixels.shape[1], self.pixels.shape[0]


def load_image(source: ImageLike) -> LoadedImage:
    """Read a photo into one form, whatever it comes as.

    - A file is turned upright by its EXIF orientation, so everything computed from it is in the upright photo's pixels.
    - Transparent parts are shown on white. Of an animation, the first picture is taken, and a warning logged.
    - A file with an embedded colour profile other than sRGB (Display P3, Adobe RGB, linear light, CMYK) is converted
      to sRGB; what the profile does counts, not its name.
    - Greyscale becomes three equal channels. 16-bit greyscale is scaled by 65535; Pillow reads 16-bit colour
      files as their upper 8 bits.

    Args:
        source: path (str or Path), the file's content (bytes), the file opened in binary mode (read from its
            beginning, if it can go there), PIL image, or array: (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8,
            uint16 or floats in [0, 1].

    Raises:
        InputError: no such file, a folder, a URL, not an image, a damaged file, more than 150 megapixels, a side under
            16 px, or an array of another shape, dtype or range.
    """
    opened, focal_length = open_image(source, "photo"), None
    if opened is not None:
        focal_length = exif_focal_length(opened.image)
        values, label, name = _values(opened.image, opened.label), opened.label, opened.name
    elif isinstance(source, Image.Image):
        label, name = "the PIL image", "image"
        decoded = decode_given(source, label)
        values, focal_length = _values(decoded, label), exif_focal_length(decoded)
    else:
        label, name = "the image array", "image"
        values = _check_array(source, label)
    height, width = values.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{label} is {width} x {height} px; at least {MIN_SIDE} px a side are needed to see a face. "
            "Give a larger photo."
        )
    return LoadedImage(pixels=_to_rgb(values), name=name, focal_length=focal_length)


def load_mask(source: MaskLike, size: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Read a mask of the pixels that may be used.

    A pixel is used where the mask is bright: above half of its range. An array or file that holds nothing above 1 in
    whole numbers is read as 0 = leave out, 1 = use. Transparent pixels are left out.

    Args:
        source: path, bytes, binary file, PIL image, or array (H, W) or (H, W, 1) of bool, unsigned integers or floats
            in [0, 1].
        size: (width, height) of the photo, px.

    Returns:
        (H, W) bool, True where the photo may be used.

    Raises:
        InputError: a file or array that cannot be read, of another size than the photo, or with nothing to use.
    """
    opened = open_image(source, "mask")
    if opened is not None:
        label = opened.label if opened.label.startswith("the ") else f"the mask {opened.label}"
        mask = _mask_of_image(opened.image, label)
    elif isinstance(source, Image.Image):
        label = "the mask"
        mask = _mask_of_image(decode_given(source, label), label)
    else:
        label = "the mask array"
        mask = _mask_of_array(source, label)
    height, width = mask.shape
    if (width, height) != tuple(size):
        raise InputError(
            f"{label} is {width} x {height} px, the photo is {size[0]} x {size[1]} px. "
            "Give a mask of the (upright) photo's size."
        )
    if not mask.any():
        raise InputError(f"{label} leaves out every pixel. Mark the pixels to use with white (or 1, or True).")
    return mask


def _values(image: Image.Image, label: str) -> npt.NDArray[Any]:
    """Pixels of a decoded image: (H, W) or (H, W, 3) or (H, W, 4), as uint8, uint16 or floats in [0, 1]; sRGB."""
    return profile_to_srgb(image, _stored_values(image, label), label)


def _stored_values(image: Image.Image, label: str) -> npt.NDArray[Any]:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16, copy=False)
    if image.mode == "I":
        values = np.asarray(image)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"{label} holds whole numbers from {values.min()} to {values.max()}; 0 to 65535 are expected. "
                "Save it as an 8-bit or 16-bit image."
            )
        return values.astype(np.uint16)
    if image.mode == "F":
        return _check_array(np.asarray(image), label)
    return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))


def _check_array(source: object, label: str) -> npt.NDArray[Any]:
    """An image array that is one of the kinds known here."""
    if not isinstance(source, np.ndarray) and not hasattr(source, "__array__"):
        raise InputError(f"cannot use a {type(source).__name__} as a photo: {_PHOTO} is expected.")
    values = _as_array(source, label)
    if values.ndim == 3 and values.shape[0] in (1, 3, 4) and values.shape[2] not in (1, 3, 4):
        raise InputError(
            f"{label} has shape {values.shape}, channels first; {_PHOTO} is expected. Use array.transpose(1, 2, 0)."
        )
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (1, 3, 4)) or 0 in values.shape:
        raise InputError(f"{label} has shape {values.shape}; {_PHOTO} is expected.")
    if values.dtype in (np.dtype(np.uint8), np.dtype(np.uint16)):
        return values
    return _check_floats(values, label, _PHOTO)


def _as_array(source: object, label: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(source)
    except Exception as error:  # such as a tensor on a device
        raise InputError(f"{label}, a {type(source).__name__}, cannot be read by NumPy: {error}.") from error


def _check_floats(values: npt.NDArray[Any], label: str, expected: str) -> npt.NDArray[Any]:
    if not np.issubdtype(values.dtype, np.floating):
        raise InputError(
            f"{label} is of {values.dtype}; {expected} is expected. Use array.astype(numpy.uint8) if it holds 0 to 255."
        )
    if not np.isfinite(values).all():
        raise InputError(f"{label} holds NaN or infinite values; {expected} is expected. Replace them first.")
    low, high = float(values.min()), float(values.max())
    if low < -_RANGE_SLACK or high > 1 + _RANGE_SLACK:
        advice = "Divide it by 255." if low >= 0 and 1.5 < high <= 255 else "Clip or rescale it."
        raise InputError(f"{label} holds floats from {low:.6g} to {high:.6g}; {expected} is expected. {advice}")
    clipped: npt.NDArray[Any] = np.clip(values, 0, 1)
    return clipped


def _to_rgb(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(H, W, 3) float32 in [0, 1], of its own memory."""
    scale = {"u1": 255, "u2": 65535}.get(values.dtype.str[1:], 1)
    result = np.array(values, dtype=np.float32, order="C")
    if scale != 1:
        result /= np.float32(scale)
    if result.ndim == 2:
        result = result[:, :, None]
    if result.shape[2] == 4:
        result = result[:, :, :3] * result[:, :, 3:] + (1 - result[:, :, 3:])
    if result.shape[2] == 1:
        result = np.repeat(result, 3, axis=2)
    return np.ascontiguousarray(result)


def _mask_of_image(image: Image.Image, label: str) -> npt.NDArray[np.bool_]:
    if image.mode in ("F", "I") or image.mode.startswith("I;16"):
        return _mask_of_array(_stored_values(image, label), label)
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        grey, alpha = np.asarray(rgba.convert("RGB").convert("L")), np.asarray(rgba)[:, :, 3]
        return _mask_of_array(grey, label) & (alpha > 127)
    return _mask_of_array(np.asarray(image if image.mode == "1" else image.convert("L")), label)


def _mask_of_array(source: object, label: str) -> npt.NDArray[np.bool_]:
    if not isinstance(source, np.ndarray) and not hasattr(source, "__array__"):
        raise InputError(f"cannot use a {type(source).__name__} as a mask: {_MASK} is expected.")
    values = _as_array(source, label)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.ndim != 2 or 0 in values.shape:
        raise InputError(f"{label} has shape {values.shape}; {_MASK} is expected.")
    if values.dtype == np.bool_:
        return values.copy()
    if np.issubdtype(values.dtype, np.integer):
        limit = 127 if values.dtype.itemsize == 1 or values.max() <= 255 else 32767
        used: npt.NDArray[np.bool_] = values > (0 if values.max() <= 1 else limit)
        return used
    used = _check_floats(values, label, _MASK) > 0.5
    return used
