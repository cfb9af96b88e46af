"""Read a data set of `faceinv dataset` in PyTorch, in two ways: any picture by number, or shard after shard.

Run: python examples/dataset_loaders.py DATASET [WORKERS]

Needs torch, pyarrow and webdataset.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from torch.utils.data import DataLoader

from faceinv.generate.torch import Dataset


def by_number(folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    """Batches of random pictures, read by several processes."""
    data = Dataset(folder, maps=["depth"])
    spawned = "spawn" if workers else None
    yield from DataLoader(data, batch_size=4, shuffle=True, num_workers=workers, multiprocessing_context=spawned)


def to_tensors(sample: dict[str, Any]) -> dict[str, Any]:
    """What is wanted of a picture's files."""
    known = sample["json"]
    image = torch.from_numpy(np.array(sample["jpg"].convert("RGB"))).permute(2, 0, 1).float() / 255
    with np.load(io.BytesIO(sample["npz"])) as arrays:
        depth = torch.from_numpy(arrays["depth"])
    return {"image": image, "depth": depth, "yaw": torch.tensor(known["yaw"], dtype=torch.float32)}


def by_shard(folder: Path, workers: int) -> Iterator[dict[str, Any]]:
    """Batches in the order of the shards, which are shared out among processes; works with URLs, too."""
    shards = [str(path) for path in sorted((folder / "shards").glob("*.tar"))]
    data = webdataset.WebDataset(shards, shardshuffle=False, empty_check=False)
    data = data.decode("pil", only=["jpg", "json"]).map(to_tensors)
    spawned = "spawn" if workers else None
    yield from DataLoader(data, batch_size=4, num_workers=workers, multiprocessing_context=spawned)


def main() -> None:
    """Count pictures both ways."""
    folder = Path(sys.argv[1])
    workers = int(sys.argv[2]) if len(sys.argv) > 2 else 2
    for name, batches in (("by number", by_number(folder, workers)), ("by shard", by_shard(folder, workers))):
        count, turned = 0, 0.0
        for batch in batches:
            assert batch["image"].shape[1] == 3
            assert batch["depth"].shape[1:] == batch["image"].shape[2:]
            count += len(batch["image"])
            turned += float(batch["yaw"].abs().sum())
        print(f"{name}: {count} pictures, turned by {turned / count:.2f} degrees on average")


if __name__ == "__main__":
    main()
