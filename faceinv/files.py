"""Writing files whole or not at all, reading `.npz` files that may be damaged, and refusing URLs."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from faceinv.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from faceinv.errors import ModelError

__all__ = ["private_temporary_folder", "read_arrays", "refuse_url", "write_arrays", "write_whole"]

_URL = re.compile(r"(https?|ftp|s3|gs|file):/|data:[\w.+-]*[/;,]", re.IGNORECASE)


def read_arrays(
    path: Path, what: str, error: type[InputError] | type[ModelError], names: tuple[str, ...] | None = None
) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz`, all or those named. Pickles are refused.

    Raises:
        error: when there is no such file, it cannot be read to its end or lacks a name; the message calls it `what`.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            missing = [name for name in names or () if name not in archive.files]
            if not missing:
                return {key: np.asarray(archive[key]) for key in names or archive.files}
    except FileNotFoundError:
        raise error(f"{what} '{path}' does not exist.") from None
    # Damage shows anywhere between the zip's directory and an array's header.
    except (
        *(OSError, EOFError, ValueError, TypeError, KeyError, MemoryError),
        *(RuntimeError, zipfile.BadZipFile, zlib.error, struct.error),
    ) as cause:
        # NumPy takes what is no archive for a pickle, and advises to load it as one.
        reason = "it is no archive of plain arrays" if "allow_pickle" in str(cause) else cause
        raise error(f"{what} '{path}' cannot be read as .npz ({reason}); is it complete?") from None
    raise error(f"{what} '{path}' lacks {', '.join(missing)}; it is not the published file.")


def write_arrays(stream: IO[bytes], arrays: Mapping[str, Any]) -> None:
    """Write an `.npz`, as `numpy.load` reads it. Whole numbers are compressed, fast; of floats nothing would be gained.

    The same arrays give the same bytes. Objects, which would be pickled, are refused with a ValueError.
    """
    with zipfile.ZipFile(stream, "w") as archive:
        for name, value in arrays.items():
            array, content = np.asanyarray(value), io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            kind = zipfile.ZIP_DEFLATED if array.dtype.kind in "iub" else zipfile.ZIP_STORED
            entry = zipfile.ZipInfo(f"{name}.npy")  # of no date, so that the same arrays give the same bytes
            entry.external_attr = 0o600 << 16
            archive.writestr(entry, content.getbuffer(), kind, compresslevel=1)


def refuse_url(path: str | os.PathLike[str], what: str) -> str:
    """The path as text.

    Raises:
        InputError: when it is a URL, which the message calls that of the `what`.
    """
    text = os.fspath(path)
    match = _URL.match(text)
    if match is None:
        return text
    scheme = match[0].split(":")[0].lower()
    advice = {
        "file": f"Give the file's path, without 'file:': '{re.sub(r'^file:/*', '/', text, flags=re.IGNORECASE)}'.",
        "data": "Decode it first (base64.b64decode) and give the bytes or save them to a file.",
    }.get(scheme, "faceinv reads nothing from a network: download the file first and give its path.")
    shown = text if len(text) <= 80 else text[:77] + "..."
    raise InputError(f"'{shown}' is a URL; the {what} must be a file here. {advice}")


@contextmanager
def write_whole(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends well, remove it otherwise.

    The temporary name keeps the suffix, by which libraries choose a format. Missing parent folders are made.

    Raises:
        InputError: when the folder cannot be made or written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
        os.close(descriptor)
    except OSError as error:
        raise InputError(
            f"cannot write '{path}': {error.strerror or error}. Choose a folder that can be written."
        ) from None
    temporary = Path(name)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise InputError(f"cannot write '{path}': {error.strerror or error}.") from None
    finally:
        temporary.unlink(missing_ok=True)


def private_temporary_folder(name: str) -> Path | None:
    """A folder that outlives the process and that nobody else may write, for code that is run later.

    Returns:
        The folder; None where there is no place for one, or where somebody else made what has its name.
    """
    user = os.getuid() if hasattr(os, "getuid") else None
    try:
        place = Path(tempfile.gettempdir())
        if place == Path.cwd():  # Python's last resort; nobody looks for such things there
            return None
        folder = place / (name if user is None else f"{name}-{user}")
        folder.mkdir(mode=0o700, exist_ok=True)
        state = folder.lstat()
    except OSError:
        return None
    private = user is None or (state.st_uid == user and not state.st_mode & 0o077)
    return folder if stat.S_ISDIR(state.st_mode) and private else None
