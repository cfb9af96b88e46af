"""Photos and masks in, arrays of one kind out."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from faceinv.errors import InputError
from faceinv.files import refuse_url
from faceinv.photo.color import profile_to_srgb

__all__ = [
    "MAX_PIXELS",
    "MIN_SIDE",
    "ImageLike",
    "LoadedImage",
    "MaskLike",
    "SupportsArray",
    "image_suffixes",
    "is_image_file",
    "is_unread_picture",
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

MAX_PIXELS = 150_000_000
"""Photos with more pixels than this are refused before they are decoded."""
MIN_SIDE = 16
"""Photos with a shorter side than this, in pixels, hold no face to fit."""
_FORMATS: Final = frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
        *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pnm", ".tga", ".mpo"),
    )
)
"""Photos, if the Pillow that is installed reads them; HEIC takes a plug-in."""
_UNREAD: Final = frozenset(
    (
        *(".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef", ".srw", ".raw"),
        *(".psd", ".xcf", ".svg", ".eps", ".pdf"),
    )
)
"""Pictures that are not read, whatever is installed; those who keep them among their photos should hear of it."""
_HEIC_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_RANGE_SLACK = 1e-4
_FILE: Final = "path, bytes or binary file of a"
_PHOTO: Final = f"{_FILE} photo, a PIL image, or an array (height, width, 3) of uint8 or of floats in [0, 1]"
_MASK: Final = f"{_FILE} mask, a PIL image, or an array (height, width) of bool, uint8 or floats in [0, 1]"
_OPENING = threading.Lock()
"""Filters of warnings belong to the whole process, and photos are read by several threads."""
_GIVEN = threading.Lock()
"""An image that is not loaded yet is not safe to be loaded by two threads."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LoadedImage:
    """A photo, upright.

    Attributes:
        pixels: (H, W, 3) float32, C-contiguous, RGB, sRGB-encoded values in [0, 1].
        name: the file's name without folder, or "image" when it did not come from a file.
    """

    pixels: npt.NDArray[np.float32]
    name: str

    @property
    def size(self) -> tuple[int, int]:
        """(width, height), px."""
        return self.pixels.shape[1], self.pixels.shape[0]


def image_suffixes() -> frozenset[str]:
    """Suffixes, in lower case, of the photos that the Pillow which is installed reads, with its plug-ins."""
    return frozenset(filter(_is_read, _FORMATS))


def is_image_file(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix is that of a photo which is read here."""
    return _is_read(Path(path).suffix.lower())


def is_unread_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix is that of a picture, such as HEIC or a camera's raw file, which is not read here."""
    suffix = Path(path).suffix.lower()
    return suffix in _FORMATS | _UNREAD and not _is_read(suffix)


def _is_read(suffix: str) -> bool:
    return suffix in _FORMATS and Image.registered_extensions().get(suffix) in Image.OPEN


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
    opened = _open(source, "photo")
    if opened is not None:
        values, label, name = _values(opened.image, opened.label), opened.label, opened.name
    elif isinstance(source, Image.Image):
        label, name = "the PIL image", "image"
        values = _values(_decode_given(source, label), label)
    else:
        label, name = "the image array", "image"
        values = _check_array(source, label)
    height, width = values.shape[:2]
    if min(height, width) < MIN_SIDE:
        raise InputError(
            f"{label} is {width} x {height} px; at least {MIN_SIDE} px a side are needed to see a face. "
            "Give a larger photo."
        )
    return LoadedImage(pixels=_to_rgb(values), name=name)


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
    opened = _open(source, "mask")
    if opened is not None:
        label = opened.label if opened.label.startswith("the ") else f"the mask {opened.label}"
        mask = _mask_of_image(opened.image, label)
    elif isinstance(source, Image.Image):
        label = "the mask"
        mask = _mask_of_image(_decode_given(source, label), label)
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


@dataclass(frozen=True)
class _Opened:
    """A decoded image file."""

    image: Image.Image
    label: str
    """Names it in messages."""
    name: str
    """The file's name without folder, or "image"."""


def _open(source: object, what: str) -> _Opened | None:
    """Open and decode an image that is given as a file, in any way; None for what is none."""
    if isinstance(source, str | os.PathLike):
        path = Path(refuse_url(source, what))
        return _Opened(_read_file(path, what), f"'{path}'", path.name)
    if isinstance(source, bytes | bytearray | memoryview):
        content, label, name = bytes(source), f"the {what} given as bytes", "image"
    elif callable(getattr(source, "read", None)):
        given = getattr(source, "name", None)
        label, name = (
            (f"'{given}'", Path(given).name) if isinstance(given, str) else (f"the {what} given as a file", "image")
        )
        content = _read_stream(source, label)
    else:
        return None
    return _Opened(_read(io.BytesIO(content), label, len(content)), label, name)


def _read_stream(stream: Any, label: str) -> bytes:
    try:
        if stream.seekable():
            stream.seek(0)  # as Pillow does: it may have just been written, or been read before
        content = stream.read()
    except (OSError, ValueError, AttributeError) as error:  # it is closed, of text that cannot be decoded, or no file
        raise InputError(f"cannot read {label}: {error}. Open it in binary mode: open(path, 'rb').") from error
    if not isinstance(content, bytes):
        raise InputError(
            f"{label} gives {type(content).__name__}, not bytes. Open it in binary mode: open(path, 'rb')."
        )
    return content


def _read_file(path: Path, what: str) -> Image.Image:
    """Open and decode an image file."""
    label = f"'{path}'"
    try:
        if path.is_dir():
            raise InputError(f"{label} is a folder; the {what} must be a file. Give the path of one image.")
        if not path.exists():
            raise InputError(f"no {what} at {label}. Check the path (relative paths start at {Path.cwd()}).")
        if not path.is_file():
            raise InputError(f"{label} is not a regular file. Save the {what} to a file first.")
        with path.open("rb") as file:
            return _read(file, label, path.stat().st_size)
    except OSError as error:
        raise InputError(f"cannot read {label}: {error.strerror or error}.") from error


def _read(file: IO[bytes], label: str, length: int) -> Image.Image:
    """Decode an open image file of so many bytes."""
    try:
        with _OPENING, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is checked instead
            image = Image.open(file)
    except UnidentifiedImageError:
        file.seek(0)
        raise InputError(_not_an_image(file.read(12), label, length)) from None
    except Image.DecompressionBombError:
        raise InputError(f"{label} has too many pixels; up to {MAX_PIXELS} are read. Shrink it first.") from None
    _say_if_animated(image, label)
    return _decode(image, label)


def _not_an_image(head: bytes, label: str, length: int) -> str:
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC_BRANDS:
        return (
            f"{label} is a HEIC photo, which Pillow reads with a plug-in only. Save it as JPEG or PNG, or install "
            "pillow-heif and call pillow_heif.register_heif_opener() before fitting from Python."
        )
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return f"{label} is an AVIF photo, which this Pillow was built without. Save it as JPEG or PNG."
    return (
        f"{label} is not an image that Pillow can read ({length} bytes). Give a JPEG, PNG, TIFF, WebP, AVIF, GIF or "
        "BMP file."
    )


def _say_if_animated(image: Image.Image, label: str) -> None:
    if image.format == "MPO":  # cameras add a preview or a second view to one photo
        return
    try:
        count = getattr(image, "n_frames", 1)
        image.seek(0)
    except Exception:  # damaged: decoding it says so better
        return
    if count > 1:
        _log.warning("%s holds %d pictures (an animation or pages); the first is used", label, count)


def _decode(image: Image.Image, label: str) -> Image.Image:
    """Decode all pixels and turn the image upright; the image given is left as it is."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{label} is {width} x {height} px, more than the {MAX_PIXELS} pixels that are read. Shrink it first."
        )
    try:
        image.load()
    except Exception as error:  # decoders meet damaged data with almost any exception
        raise InputError(
            f"{label} is damaged or cut short: {error}. Give a whole file (save or download it again)."
        ) from error
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # a damaged EXIF block, on pixels that are fine
        _log.warning("%s: its EXIF orientation cannot be read (%s); the photo is taken as stored", label, error)
        return image


def _decode_given(image: Image.Image, label: str) -> Image.Image:
    """A copy of an image that is somebody else's and may be used by several threads: it decodes itself only once."""
    with _GIVEN:
        return _decode(image, label)


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
