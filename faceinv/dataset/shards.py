"""Shards and the index: made by the one process that runs, from the parts that workers made of photos.

The index is read and written by pyarrow, the extra `dataset`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from faceinv.dataset.archive import Archive, members
from faceinv.dataset.files import Places, written
from faceinv.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Summary", "join_index", "need_pyarrow", "write_shard"]

_TEXTS: Final = ("source", "photo", "kind", "expression_source", "lighting_source", "relief_source")
_INTEGERS: Final = ("seed", "index", "frame", "visible_landmarks")
_NUMBERS: Final = (
    *("yaw", "pitch", "roll", "scale", "kappa", "distance_mm", "span_mm", "body_turn", "face_share", "skin_share"),
    *("relief_pores", "relief_wrinkles", "relief_folds"),
)
_LISTS: Final = (
    *("rotation", "translation", "principal_point", "identity", "expression", "albedo", "lighting", "landmarks"),
)
_FILES: Final = ("image", "json", "npz")


@dataclass
class Summary:
    """What the index holds."""

    pictures: int = 0
    photos: int = 0
    failed: int = 0
    shards: int = 0
    ranges: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    """Least, mean and most of numbers."""
    sources: dict[str, dict[str, int]] = field(default_factory=dict)
    """How many pictures have their expression and light from where."""


def need_pyarrow() -> None:
    """See that pyarrow is there.

    Raises:
        InputError: where it is not.
    """
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise InputError(f"data sets need pyarrow ({error}): pip install 'faceinv[dataset]'.") from None


def write_shard(places: Places, number: int, photos: list[tuple[int, str, str | None]]) -> int:
    """Join the parts of photos, and write the shard and its part of the index, each whole or not at all.

    Args:
        places: the data set.
        number: of the shard.
        photos: (number, name, why it failed or None) of the shard's photos.

    Returns:
        how many pictures are in it.

    Raises:
        OutputError: when a file cannot be written.
    """
    import pyarrow.parquet

    rows: list[dict[str, Any]] = []
    with written(places.shard(number)) as stream, Archive(stream) as archive:
        for photo, name, reason in photos:
            if reason is not None:
                rows.append({"status": "failed", "reason": reason, "photo_number": photo, "source": name})
                continue
            for key, files in _samples(places.part(photo)):
                row = {"status": "ok", "key": key, "shard": places.shard(number).name, "photo_number": photo}
                for suffix, data in files.items():
                    kind = suffix if suffix in _FILES else "image"
                    row[f"{kind}_offset"] = archive.add(f"{key}.{suffix}", data)
                    row[f"{kind}_size"] = len(data)
                rows.append({**row, **json.loads(files["json"])})
    table = pyarrow.Table.from_pylist([_escaped(row) for row in rows], schema=_schema())
    with written(places.shard_index(number)) as stream:
        pyarrow.parquet.write_table(table, stream, compression="zstd")
    return sum(row["status"] == "ok" for row in rows)


def join_index(places: Places, shards: int) -> Summary:
    """Write the index of all shards, a row group for each.

    Returns:
        what it holds.

    Raises:
        OutputError: when it cannot be written.
    """
    import pyarrow.parquet

    summary = Summary(shards=shards)
    sums: dict[str, list[float]] = {}
    with (
        written(places.index) as stream,
        pyarrow.parquet.ParquetWriter(stream, _schema(), compression="zstd") as writer,
    ):
        for number in range(shards):
            table = pyarrow.parquet.read_table(places.shard_index(number))
            writer.write_table(table)
            _count(summary, sums, table)
    summary.ranges = {name: (low, total / count, high) for name, (low, total, high, count) in sorted(sums.items())}
    return summary


def _samples(part: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """The files of each picture in a part, by suffix."""
    key, files = "", dict[str, bytes]()
    for name, data in members(part):
        stem, _, suffix = name.partition(".")
        if stem != key and files:
            yield key, files
            files = {}
        key = stem
        files[suffix] = data
    if files:
        yield key, files


def _schema() -> pa.Schema:
    import pyarrow as pa

    fields = [("status", pa.string()), ("reason", pa.string()), ("key", pa.string()), ("shard", pa.string())]
    fields += [("photo_number", pa.int64())]
    fields += [(f"{file}_{what}", pa.int64()) for file in _FILES for what in ("offset", "size")]
    fields += [(name, pa.string()) for name in _TEXTS] + [(name, pa.int64()) for name in _INTEGERS]
    fields += [(name, pa.float64()) for name in _NUMBERS] + [(name, pa.list_(pa.float64())) for name in _LISTS]
    return pa.schema([*fields, ("landmark_visible", pa.list_(pa.bool_()))])


def _escaped(row: dict[str, Any]) -> dict[str, Any]:
    from faceinv.errors import escaped

    return {key: escaped(value) if isinstance(value, str) else value for key, value in row.items()}


def _count(summary: Summary, sums: dict[str, list[float]], table: pa.Table) -> None:
    import pyarrow.compute as pc

    good = table.filter(pc.equal(table["status"], "ok"))
    summary.pictures += good.num_rows
    summary.failed += table.num_rows - good.num_rows
    summary.photos += len(pc.unique(table["photo_number"]))
    for name in _NUMBERS:
        column = good[name].drop_null()
        if len(column):
            low, high, total = pc.min(column).as_py(), pc.max(column).as_py(), pc.sum(column).as_py()
            known = sums.setdefault(name, [low, 0.0, high, 0])
            sums[name] = [min(known[0], low), known[1] + total, max(known[2], high), known[3] + len(column)]
    for name in ("expression_source", "lighting_source"):
        counts = summary.sources.setdefault(name, {})
        for pair in pc.value_counts(good[name]).to_pylist():
            value = pair["values"] if pair["values"] in ("photo", "prior", "units", "drawn") else "other photos"
            counts[value] = counts.get(value, 0) + pair["counts"]
