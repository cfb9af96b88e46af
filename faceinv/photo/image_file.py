"""Image files, however they are given: which are photos, and what is in them, upright."""

from __future__ import annotations

import io
import logging
import os
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from PIL import Image, ImageOps, UnidentifiedImageError

from faceinv.errors import InputError
from faceinv.files import refuse_url
from faceinv.process import in_forked_children

__all__ = [
    "MAX_PIXELS",
    "VIDEO_ADVICE",
    "OpenedImage",
    "decode_given",
    "image_suffixes",
    "is_image_file",
    "is_unread_picture",
    "is_video",
    "open_image",
]

MAX_PIXELS = 150_000_000
"""Photos with more pixels than this are refused before they are decoded."""
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
_VIDEOS: Final = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".ogv"),
        *(".3gp", ".mts", ".m2ts"),
    )
)
VIDEO_ADVICE: Final = (
    "Videos are not fitted yet; a later release will. Until then save their frames as pictures, as by "
    "'ffmpeg -i VIDEO frames/%05d.png', and fit the folder."
)
_HEIC_BRANDS: Final = frozenset((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"))
_OPENING = threading.Lock()
"""Filters of warnings belong to the whole process, and photos are read by several threads."""
_GIVEN = threading.Lock()
"""An image that is not loaded yet is not safe to be loaded by two threads."""
_log = logging.getLogger(__name__)


def _renew_locks() -> None:
    """In a forked child, whose parent's other threads may have held them."""
    global _OPENING, _GIVEN
    _OPENING, _GIVEN = threading.Lock(), threading.Lock()


in_forked_children(_renew_locks)


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


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file's suffix, or a suffix itself, is that of a video."""
    text = os.fspath(path).lower()
    return text in _VIDEOS or Path(text).suffix in _VIDEOS


def _is_read(suffix: str) -> bool:
    return suffix in _FORMATS and Image.registered_extensions().get(suffix) in Image.OPEN


@dataclass(frozen=True)
class OpenedImage:
    """A decoded image file, upright."""

    image: Image.Image
    label: str
    """Names it in messages."""
    name: str
    """The file's name without folder, or "image"."""


def open_image(source: object, what: str) -> OpenedImage | None:
    """Open and decode an image that is given as a file, in any way; None for what is none."""
    if isinstance(source, str | os.PathLike):
        path = Path(refuse_url(source, what))
        return OpenedImage(_read_file(path, what), f"'{path}'", path.name)
    if isinstance(source, bytes | bytearray | memoryview):
        content, label, name = bytes(source), f"the {what} given as bytes", "image"
    elif callable(getattr(source, "read", None)):
        label, name = f"the {what} given as a file", "image"
        if isinstance(given := getattr(source, "name", None), str):
            label, name = f"'{given}'", Path(given).name
        content = _read_stream(source, label)
    else:
        return None
    return OpenedImage(_read(io.BytesIO(content), label, len(content)), label, name)


def _read_stream(stream: Any, label: str) -> bytes:
    try:
        if hasattr(stream, "seekable") and stream.seekable():
            stream.seek(0)  # as Pillow does: it may have just been written, or been read before
        content = stream.read()
    except (OSError, ValueError) as error:  # ValueError: it is closed, or of text that cannot be decoded
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
    except Exception as error:  # a damaged header of a kind that Pillow knows
        raise InputError(f"{label} is damaged: {error}. Give a whole file (save or download it again).") from error
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
    if _begins_as_video(head) or is_video(label.strip("'")):
        return f"{label} is a video. {VIDEO_ADVICE}"
    return (
        f"{label} is not an image that Pillow can read ({length} bytes). Give a JPEG, PNG, TIFF, WebP, AVIF, GIF or "
        "BMP file."
    )


def _begins_as_video(head: bytes) -> bool:
    """Whether these are the first twelve bytes of MP4, QuickTime or their kin, Matroska, WebM, AVI or MPEG."""
    kin = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide")
    return kin or head[:4] in (b"\x1a\x45\xdf\xa3", b"\x00\x00\x01\xba") or (head[:4], head[8:]) == (b"RIFF", b"AVI ")


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


def decode_given(image: Image.Image, label: str) -> Image.Image:
    """A copy of an image that is somebody else's and may be used by several threads: it decodes itself only once."""
    with _GIVEN:
        return _decode(image, label)
