"""Tar files whose bytes follow from what is in them: no times, no owners, the order in which files are added."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO

from faceinv.errors import InputError

__all__ = ["Archive", "members"]


class Archive:
    """Writes an archive to a stream; the end is written when the block ends well."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._tar = tarfile.TarFile(fileobj=stream, mode="w", format=tarfile.USTAR_FORMAT)

    def __enter__(self) -> Archive:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        if kind is None:
            self._tar.close()

    def add(self, name: str, data: bytes) -> int:
        """Add a file.

        Returns:
            where its contents begin in the archive.
        """
        information = tarfile.TarInfo(name)
        information.size = len(data)
        information.mode = 0o644
        start = self._tar.offset + tarfile.BLOCKSIZE
        self._tar.addfile(information, io.BytesIO(data))
        return start


def members(path: Path) -> Iterator[tuple[str, bytes]]:
    """Names and contents of an archive's files, one at a time.

    Raises:
        InputError: when it is damaged.
    """
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                stream = tar.extractfile(member)
                if stream is not None:
                    yield member.name, stream.read()
                tar.members = []  # type: ignore[attr-defined]  # which would grow with each
    except (OSError, tarfile.TarError) as error:
        raise InputError(f"'{path}' cannot be read ({error}); it is damaged. Delete it and run again.") from None
