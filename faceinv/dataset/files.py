"""Where the files of a data set are, and writing them whole or not at all."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from faceinv.errors import InputError
from faceinv.files import write_whole

__all__ = ["CARD", "INDEX", "OutputError", "Places", "written"]

CARD: Final = "dataset.json"
INDEX: Final = "index.parquet"


class OutputError(InputError):
    """A file of the data set that cannot be written: it ends the run, as no photo is at fault."""


@contextmanager
def written(path: Path) -> Iterator[IO[bytes]]:
    """A stream for a file that is there when the block ends well, and whole then.

    Raises:
        OutputError: when it cannot be written.
    """
    with ExitStack() as stack:
        try:
            temporary = stack.enter_context(write_whole(path))
            stream = stack.enter_context(_opened(temporary))
        except (InputError, OSError) as error:
            raise OutputError(str(error)) from None
        yield cast("IO[bytes]", _Checked(stream, path))
        try:
            stack.close()
        except (InputError, OSError) as error:
            raise OutputError(str(error)) from None


def _opened(path: Path) -> IO[bytes]:
    return path.open("wb")


class _Checked(io.RawIOBase):
    """A stream whose faults are the folder's, and no photo's. Closing it leaves the one below open."""

    def __init__(self, stream: IO[bytes], path: Path) -> None:
        self._stream = stream
        self._path = path

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """See `io.RawIOBase.write`.

        Raises:
            OutputError: when it cannot be done.
        """
        return int(self._done(lambda: self._stream.write(data)))

    def tell(self) -> int:
        """See `io.IOBase.tell`."""
        return self._stream.tell()

    def flush(self) -> None:
        """See `io.IOBase.flush`."""
        self._done(self._stream.flush)

    def _done(self, step: Callable[[], Any]) -> Any:
        try:
            return step()
        except OSError as error:
            raise OutputError(
                f"cannot write '{self._path}': {error.strerror or error}. What was finished is kept: make room and run "
                "the same command again."
            ) from None


@dataclass(frozen=True)
class Places:
    """The files of a data set in its folder. What is in `work` is gone when the data set is complete."""

    folder: Path

    @property
    def card(self) -> Path:
        """What the data set is."""
        return self.folder / CARD

    @property
    def index(self) -> Path:
        """A table of all pictures."""
        return self.folder / INDEX

    @property
    def work(self) -> Path:
        """What is needed to go on."""
        return self.folder / ".work"

    @property
    def ledger(self) -> Path:
        """See `faceinv.dataset.ledger`."""
        return self.work / "ledger.sqlite"

    @property
    def donors(self) -> Path:
        """Expressions and lights that photos lend each other."""
        return self.work / "donors.npz"

    def shard(self, number: int) -> Path:
        """A shard."""
        return self.folder / "shards" / f"{number:06d}.tar"

    def sheet(self, number: int) -> Path:
        """The page of a shard."""
        return self.folder / "sheets" / f"{number:06d}.html"

    def clean(self) -> None:
        """Remove what a process that was killed had begun to write."""
        for folder in (self.folder, self.folder / "shards", self.folder / "sheets"):
            for pattern in (".*.tar", ".*.html", ".*.parquet", ".*.json", ".*.png"):
                for path in folder.glob(pattern):
                    path.unlink(missing_ok=True)

    def shard_index(self, number: int) -> Path:
        """A shard's part of the index."""
        return self.work / "index" / f"{number:06d}.parquet"

    def fit(self, photo: int) -> Path:
        """The fit of a photo."""
        return self.work / "fits" / f"{photo // 1000:06d}" / f"{photo:09d}.npz"

    def part(self, photo: int) -> Path:
        """A photo's part of its shard."""
        return self.work / "parts" / f"{photo // 1000:06d}" / f"{photo:09d}.tar"

    def tries(self, run: str, step: str, photo: int) -> Path:
        """A file with a byte for each time that a run began with a photo."""
        return self.work / "tries" / run / step / f"{photo // 1000:06d}" / str(photo)
