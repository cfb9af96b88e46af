"""What every benchmark shares: the description of the machine, tables, and JSON files of results."""

from __future__ import annotations

import datetime
import json
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import numpy as np

__all__ = ["RESULTS", "machine", "save", "table"]

RESULTS: Final = Path(__file__).resolve().parent / "results"
"""Where `--save` puts results."""
_PACKAGES: Final = ("numpy", "scipy", "numba", "onnxruntime")


def machine() -> dict[str, Any]:
    """Processor, cores and versions: what a time depends on, and nothing that names the computer."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": int(os.environ.get("NUMBA_NUM_THREADS", "0")) or os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or "unknown"
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def save(name: str, content: dict[str, Any], folder: Path = RESULTS) -> Path:
    """Write `<name>.json` with the machine and the date added; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    whole = {"benchmark": name, "date": today, "machine": machine(), **content}
    path.write_text(json.dumps(_plain(whole), indent=1) + "\n")
    return path


def _plain(value: Any) -> Any:
    """Without NumPy's types, and with floats short enough to read."""
    if isinstance(value, dict):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        number = float(value)
        return float(f"{number:.5g}") if np.isfinite(number) else None
    return value


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same keys as aligned text."""
    if not rows:
        return "(nothing)"
    keys = list(rows[0])
    cells = [keys, *[[_cell(row[key]) for key in keys] for row in rows]]
    widths = [max(len(line[k]) for line in cells) for k in range(len(keys))]
    lines = []
    for line in cells:
        padded = [
            cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        value = float(value)
        return f"{value:.4g}" if abs(value) < 0.1 else f"{value:.2f}"
    return str(value)
