"""A comparison as JSON, a Markdown table and a plot."""

from __future__ import annotations

import importlib.util
import json
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from faceinv.files import write_whole

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["markdown", "plot", "save"]

_COLUMNS: Final = (
    ("engine", "engine", ""),
    ("px", "size", ""),
    ("problem", "problem", ""),
    ("start s", "start_s", ".2f"),
    ("first fit s", "first_fit_s", ".2f"),
    ("fit s", "fit_s", ".3f"),
    ("linearisation ms", "linearization_s", "ms"),
    ("iterations", "iterations", ""),
    ("final cost", "final_cost", ".6f"),
    ("vertex RMS mm", "vertex_rms_mm", ".1e"),
    ("image RMS", "image_rms", ".1e"),
    ("peak MB", "peak_memory_mb", ".0f"),
    ("H off by", "hessian_error", ".0e"),
    ("g off by", "gradient_error", ".0e"),
)


def save(record: dict[str, Any], folder: Path, stem: str = "compare") -> list[Path]:
    """Write `<stem>.json`, `.md` and, where matplotlib is installed, `.png`; returns what was written.

    Raises:
        InputError: when the folder cannot be written.
    """
    written = [folder / f"{stem}.json", folder / f"{stem}.md"]
    for path, text in zip(written, (json.dumps(_short(record), indent=1) + "\n", markdown(record)), strict=True):
        with write_whole(path) as temporary:
            temporary.write_text(text, encoding="utf-8", errors="backslashreplace")
    if importlib.util.find_spec("matplotlib") is not None:
        written.append(folder / f"{stem}.png")
        plot(record, written[-1])
    return written


def markdown(record: dict[str, Any]) -> str:
    """The tables."""
    machine = record["machine"]
    lines = [
        f"# faceinv {record['faceinv']}: engines compared",
        "",
        f"{record['date']}; {machine['processor']}, {machine['cores']} cores, {machine['system']}, "
        f"Python {machine['python']}; load before and after: {machine['load_before']}, {machine['load_after']}. "
        f"Photo: {record['photo']}. Landmarks are given, so finding them is not counted. Each engine runs in its own "
        f"process: 'start' builds it, 'first fit' has what must still be compiled (numpy's kernels were "
        f"{'' if record['numpy_kernels_compiled_before'] else 'not '}compiled before), 'fit' is the median of "
        f"{record['rounds']} more. A linearisation is surface, visibility, cost, g and H at the finest level. "
        f"RMS differences are against {record['reference']}, and so are those of H and g on one problem that is the "
        "same for all, over their max norm.",
        "",
        "| " + " | ".join(title for title, _, _ in _COLUMNS) + " |",
        "|" + "---|" * len(_COLUMNS),
    ]
    for row in record["engines"]:
        lines.append("| " + " | ".join(_cell(row[key], style) for _, key, style in _COLUMNS) + " |")
    lines += [f"\nSkipped: {one['engine']}: {one['reason']}" for one in record["skipped"]]
    return "\n".join([*lines, *(_baseline_lines(record["baselines"]) if record["baselines"] else [])]) + "\n"


def _baseline_lines(found: dict[str, Any]) -> list[str]:
    lines = ["", "## What these replace", "", "On the photo, from the landmark fit, at one image size.", ""]
    one = found["finite_differences"]
    lines.append(
        f"- **Finite differences** ({one['engine']}; extrapolated): one render {one['render_ms']:.1f} ms, times "
        f"{one['parameters']} + 1: {one['extrapolated_s']:.2f} s for a Jacobian, {one['ratio']:.0f} times a "
        f"linearisation ({one['linearization_s'] * 1e3:.1f} ms)."
    )
    one = found["least_squares"]
    lines.append(
        f"- **SciPy least_squares** ('trf', x_scale='jac', {one['engine']}; {one['note']}): "
        f"{_seconds(one['seconds_to_equal_cost'])} to cost {one['equal_cost']:.6g}; Gauss-Newton "
        f"{_seconds(one['gauss_newton_seconds_to_equal_cost'])}{_times(one['ratio'])}."
    )
    one = found["adam"]
    if "skipped" in one:
        lines.append(f"- **Adam**: skipped: {one['skipped']}.")
        return lines
    rates = ", ".join(f"{rate}: {cost:.6g}" for rate, cost in one["best_cost_by_rate"].items())
    lines.append(
        f"- **Adam** ({one['engine']}; {one['note']}): best cost {one['best_cost']:.6g} in {one['steps']} steps of "
        f"{one['step_ms']:.1f} ms, after {_seconds(one['seconds_to_best_cost'])}; Gauss-Newton on the same engine "
        f"passes it after {_seconds(one['gauss_newton_seconds_to_best_cost'])}{_times(one['ratio'])} and ends at "
        f"{one['gauss_newton_final_cost']:.6g}. Within 0.1 % of it: Adam {_seconds(one['seconds_to_equal_cost'])}, "
        f"Gauss-Newton {_seconds(one['gauss_newton_seconds_to_equal_cost'])}{_times(one['equal_ratio'])}. "
        f"Rate {one['rate']:g}, best of {one['tuning_steps']} steps each ({rates})."
    )
    return lines


def plot(record: dict[str, Any], path: Path) -> None:
    """Fit times by engine, and costs over time. Needs matplotlib.

    Raises:
        InputError: when the file cannot be written.
    """
    from matplotlib.figure import Figure

    rows = [row for row in record["engines"] if row["problem"] == "photo"]
    adam = (record["baselines"] or {}).get("adam", {})
    curves = "trace" in adam
    figure = Figure(figsize=(11 if curves else 6, 4), layout="constrained")
    axes = figure.subplots(1, 2 if curves else 1, squeeze=False)[0]
    names = [f"{row['engine']} {row['size']} px" for row in rows]
    axes[0].barh(names, [row["fit_s"] for row in rows], color="#3a6ea5")
    axes[0].invert_yaxis()
    axes[0].set(xlabel="seconds per fit", title="Fits of the photo")
    if curves:
        for key, label in (("trace", "Adam"), ("gauss_newton_trace", "Gauss-Newton")):
            seconds, cost = np.array(adam[key]).T
            axes[1].plot(seconds, cost, label=label)
        axes[1].set(xscale="log", yscale="log", xlabel="seconds", ylabel="cost", title=f"Same energy, {adam['engine']}")
        axes[1].legend()
    with write_whole(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _cell(value: Any, style: str) -> str:
    if style == "ms":
        return f"{value * 1e3:.1f}"
    return format(value, style)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.2f} s"


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f" ({ratio:.1f} times sooner)"


def _short(value: Any) -> Any:
    """Numbers short enough to read; what is no number becomes null."""
    if isinstance(value, dict):
        return {str(key): _short(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_short(entry) for entry in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
    return value
