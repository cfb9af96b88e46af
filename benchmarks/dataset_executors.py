"""Which executor makes data sets on one machine: processes of our own, or a local cluster of Dask distributed.

Run: python benchmarks/dataset_executors.py [--photos 6] [--variants 8] [--rounds 3] [--save]

Both do the same photos in turn, with as many workers, of one thread each, and write the same bytes. Figures: seconds
from start to end, seconds of processor time of all processes, MB of all processes at most.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from report import save

__all__ = ["memory_of"]


def one(kind: str, photos: Path, out: Path, variants: int, workers: int) -> None:
    """Make a data set, in a process of its own, and print what it cost."""
    from faceinv.dataset import DatasetSettings, make_dataset
    from faceinv.fitting.config import FitConfig

    settings = DatasetSettings(variants=variants, size=128, fit=FitConfig(size=64, levels=1, iterations=4), shard=32)
    peak, stop = [0.0], threading.Event()
    watch = threading.Thread(target=_watch, args=(peak, stop), daemon=True)
    start = time.perf_counter()
    watch.start()
    if kind == "pool":
        make_dataset([photos], out, settings, workers=workers)
    else:
        from distributed import LocalCluster

        from faceinv.run.cluster import connect

        local: Any = LocalCluster
        with local(n_workers=workers, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as cluster:
            found = connect(cluster.scheduler_address)
            make_dataset([photos], out, settings, workers=workers, make=found.make)
    seconds = time.perf_counter() - start
    stop.set()
    watch.join()
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    processor = sum(one.ru_utime + one.ru_stime for one in used)
    print(json.dumps({"seconds": seconds, "processor": processor, "mb": peak[0]}))


def _watch(peak: list[float], stop: threading.Event) -> None:
    while not stop.wait(0.2):
        peak[0] = max(peak[0], memory_of(os.getpid()))


def memory_of(pid: int) -> float:
    """MB of a process and all below it, where pages that are shared count in part (Linux)."""
    total = 0.0
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            total += sum(memory_of(int(child)) for child in (task / "children").read_text().split())
    except OSError:
        pass
    return total


def main() -> None:
    """Compare, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", type=int, default=6)
    parser.add_argument("--variants", type=int, default=8)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--save", action="store_true")
    parser.add_argument("--one", nargs=3, metavar=("KIND", "PHOTOS", "OUT"))
    options = parser.parse_args()
    if options.one:
        kind, photos, out = options.one
        one(kind, Path(photos), Path(out), options.variants, options.workers)
        return
    found: dict[str, list[dict[str, float]]] = {"pool": [], "dask": []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "photos").mkdir()
        sample = Path(__file__).parents[1] / "faceinv" / "data" / "sample.jpg"
        for number in range(options.photos):
            shutil.copy(sample, folder / "photos" / f"{number}.jpg")
        for number in range(options.rounds):
            for kind, rows in found.items():
                words = ["--one", kind, str(folder / "photos"), str(folder / f"{kind}{number}")]
                words += ["--variants", str(options.variants), "--workers", str(options.workers)]
                done = subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True)
                rows.append(json.loads(done.stdout.splitlines()[-1]))
    pictures = options.photos * options.variants
    record: dict[str, Any] = {"photos": options.photos, "pictures": pictures, "workers": options.workers}
    record["rounds"] = options.rounds
    for kind, rows in found.items():
        record[kind] = {key: round(statistics.median(row[key] for row in rows), 1) for key in rows[0]}
        print(kind, record[kind])
    if options.save:
        save("dataset_executors", record)


if __name__ == "__main__":
    main()
