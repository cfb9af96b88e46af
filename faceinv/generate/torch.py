"""A data set of `faceinv dataset` for PyTorch: any picture by its number. Needs torch and pyarrow.

For reading from start to end, as from a network, use the package `webdataset`: the shards are its format.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from faceinv.errors import InputError

try:
    import torch
    from torch.utils.data import Dataset as _Base
except ImportError as error:
    raise ImportError("faceinv.generate.torch needs PyTorch, which is not installed.") from error

__all__ = ["Dataset"]

_SHAPES: Final = {
    "landmarks": (68, 2),
    "landmark_visible": (68,),
    "rotation": (3, 3),
    "translation": (2,),
    "principal_point": (2,),
    "lighting": (9, 3),
    "identity": (-1,),
    "expression": (-1,),
    "albedo": (-1,),
}
_NUMBERS: Final = ("yaw", "pitch", "roll", "scale", "kappa")
_COLUMNS: Final = ("shard", "image_offset", "image_size", "json_offset", "json_size", "npz_offset", "npz_size")


class Dataset(_Base[dict[str, Any]]):  # type: ignore[misc, unused-ignore]
    """The pictures of a data set, in the order of its index.

    A picture is a dict of tensors: `image` (3, S, S) float32 from 0 to 1, `landmarks` (68, 2) px, `landmark_visible`,
    `yaw`, `pitch`, `roll` (degrees), `identity`, `expression`, `albedo`, `lighting` (9, 3), `scale`, `rotation`,
    `translation`, `kappa`, `principal_point`, those of `maps`, and the text `key`. Several workers may read, started by
    `spawn` or otherwise.

    Args:
        folder: of the data set.
        maps: arrays of the `.npz` files to give too, such as `depth` and `normal`; without any these are not read.
        transform: what is done with each dict.

    Raises:
        InputError: when there is no complete data set in the folder, or it has no such maps.
    """

    def __init__(
        self,
        folder: str | Path,
        maps: Sequence[str] = (),
        transform: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.maps = tuple(maps)
        self.transform = transform
        self.card = _card(self.folder)
        """What `dataset.json` says."""
        keys, columns = _index(self.folder)
        self._keys = keys
        self._shards, self._shard = np.unique(columns.pop("shard"), return_inverse=True)
        self._places = columns
        self._open: dict[int, IO[bytes]] = {}
        if len(self) and self.maps:
            with np.load(io.BytesIO(self._read(0, "npz"))) as archive:
                lacking = [name for name in self.maps if name not in archive.files]
                known = ", ".join(archive.files)
            if lacking:
                raise InputError(f"the pictures of '{folder}' have no {', '.join(lacking)}; they have {known}.")
            self._close()

    def __len__(self) -> int:
        """Pictures."""
        return len(self._keys)

    def __getitem__(self, number: int) -> Any:
        """One picture, see the class; where there is a transform, what it makes of that."""
        from PIL import Image

        if not -len(self) <= number < len(self):
            raise IndexError(number)
        number %= len(self)
        with Image.open(io.BytesIO(self._read(number, "image"))) as picture:
            pixels = np.array(picture.convert("RGB"))
        record = json.loads(self._read(number, "json"))
        sample: dict[str, Any] = {
            "key": str(self._keys[number]),
            "image": torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255),
        }
        for name, shape in _SHAPES.items():
            kind = torch.bool if name == "landmark_visible" else torch.float32
            sample[name] = torch.tensor(record[name], dtype=kind).reshape(shape)
        sample |= {name: torch.tensor(record[name], dtype=torch.float32) for name in _NUMBERS}
        if self.maps:
            with np.load(io.BytesIO(self._read(number, "npz"))) as archive:
                sample |= {name: torch.from_numpy(archive[name]) for name in self.maps}
        return sample if self.transform is None else self.transform(sample)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": {}}

    def _read(self, number: int, kind: str) -> bytes:
        shard = int(self._shard[number])
        if shard not in self._open:
            if len(self._open) >= 64:
                self._close()
            self._open[shard] = (self.folder / "shards" / str(self._shards[shard])).open("rb", buffering=0)
        stream = self._open[shard]
        stream.seek(int(self._places[f"{kind}_offset"][number]))
        return stream.read(int(self._places[f"{kind}_size"][number]))

    def _close(self) -> None:
        for stream in self._open.values():
            stream.close()
        self._open.clear()

    def __del__(self) -> None:
        self._close() if "_open" in self.__dict__ else None


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        complete = card["complete"]
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"'{folder}' holds no data set: '{path.name}' is missing or damaged.") from None
    if not complete:
        raise InputError(
            f"the data set in '{folder}' is not complete. Run the command that makes it again: it goes on."
        )
    return dict(card)


def _index(folder: Path) -> tuple[Any, dict[str, Any]]:
    """Keys, and where each picture's files are."""
    try:
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError(f"data sets need pyarrow ({error}): pip install 'faceinv[dataset]'.") from None
    path = folder / "index.parquet"
    try:
        table = pq.read_table(path, columns=["status", "key", *_COLUMNS])
    except (OSError, ValueError) as error:
        raise InputError(f"'{path}' cannot be read: {error}.") from None
    table = table.filter(pc.equal(table["status"], "ok"))
    columns = {name: table[name].to_numpy() for name in _COLUMNS}
    return table["key"].to_numpy().astype(np.str_), {**columns, "shard": columns["shard"].astype(np.str_)}
