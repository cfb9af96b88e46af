"""What happened to a file on its way: still packed, or altered by a transfer that took it for text."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Final

from faceinv.face.formats._pickle import looks_like_pickle

__all__ = ["archive_kind", "with_transfer_damage"]

_ARCHIVES: Final = (
    (0, b"\x1f\x8b", "gzip"),
    (0, b"BZh", "bzip2"),
    (0, b"\xfd7zXZ\x00", "xz"),
    (0, b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (0, b"Rar!", "RAR"),
    (0, b"\x28\xb5\x2f\xfd", "Zstandard"),
    (257, b"ustar", "tar"),
)
"""Where a kind of archive has which bytes."""
_NO_TEXT: Final = "\N{REPLACEMENT CHARACTER}".encode()
_ENOUGH: Final = 8
"""Line feeds that are no accident."""
_LOOKED_AT: Final = 1 << 22
"""Bytes."""


def archive_kind(path: Path, head: bytes) -> str:
    """`"zip"`, `"gzip"` ... for a file, beginning with `head`, that must be unpacked first; empty for any other."""
    for place, magic, kind in _ARCHIVES:
        if head[place : place + len(magic)] == magic:
            return kind
    if not head.startswith(b"PK"):
        return ""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception:  # a damaged directory raises anything; such a file is read as `.npz`, which says so
        return ""
    return "" if not names or any(name.endswith(".npy") for name in names) else "zip"


def with_transfer_damage(message: str, path: Path) -> str:
    """What is wrong with a file, and whether a transfer in text mode did it.

    In a binary file a line feed follows a carriage return once in 256 times. Where each one does, or where the bytes of
    the character that stands for what is no text abound, a program took the file for text.
    """
    try:
        with path.open("rb") as stream:
            content = stream.read(_LOOKED_AT)
    except OSError:
        return message
    if b"\0" not in content and not looks_like_pickle(content[:8]):
        return message  # it is text
    feeds, replaced = content.count(b"\n"), content.count(_NO_TEXT)
    if feeds >= _ENOUGH and content.count(b"\r\n") == feeds:
        return (
            f"{message} Each line feed in it follows a carriage return: a transfer in text mode (FTP, Git, an editor) "
            "altered it. Fetch it again in binary mode."
        )
    if content.startswith(_NO_TEXT) or 300 * replaced > len(content) + 300 * _ENOUGH:
        return f"{message} It was read and written as text, which destroyed its bytes; fetch it again in binary mode."
    return message
