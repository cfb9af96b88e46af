"""`faceinv compare`: how fast the engines are here, and how far they agree."""

from __future__ import annotations

import importlib.util
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from faceinv.errors import InputError

__all__ = ["compare"]


def compare(
    image: Annotated[
        Path | None, typer.Argument(help="A photo; by default the one that comes with the package.", metavar="[IMAGE]")
    ] = None,
    engines: Annotated[
        str, typer.Option(help="Engines, engine[:device][:dtype]; by default all that work here.", metavar="A,B,C")
    ] = "",
    sizes: Annotated[str, typer.Option(help="Pixels across the face.", metavar="PX,PX")] = "224",
    dtypes: Annotated[str, typer.Option(help="Precisions: float32, float64 or both.", metavar="T,T")] = "float32",
    baselines: Annotated[
        bool | None,
        typer.Option(
            "--baselines/--no-baselines",
            help="Time finite differences, Adam and SciPy, too (minutes). By default for a single size.",
        ),
    ] = None,
    adam_steps: Annotated[int, typer.Option(help="Steps of Adam.", metavar="N", min=1)] = 1500,
    rounds: Annotated[int, typer.Option(help="Fits that are timed, after the first.", metavar="N", min=1)] = 3,
    model: Annotated[
        str, typer.Option(help="'default', or a face model's file or folder.", metavar="NAME_OR_PATH")
    ] = "default",
    config: Annotated[Path | None, typer.Option(help="Settings of the fits.", metavar="FILE.toml")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the files go.", metavar="DIR")] = Path(
        "faceinv-compare"
    ),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Fit a photo and a drawn face with every engine, each in its own process, and time what they replace.

    Writes compare.json, compare.md (tables) and, with matplotlib, compare.png.
    """
    from faceinv.cli.console import reporter
    from faceinv.comparison.report import markdown, save
    from faceinv.comparison.run import Plan, compare
    from faceinv.fitting.config import FitConfig
    from faceinv.run.outputs import check_folder

    pixels = _sizes(sizes)
    precisions = _words(dtypes)
    if not precisions or not set(precisions) <= {"float32", "float64"}:
        raise InputError(f"--dtypes is '{dtypes}'; expected float32, float64 or both, separated by a comma.")
    with reporter(quiet, bars=False) as report, resources.as_file(resources.files("faceinv") / "data") as data:
        plan = Plan(
            image=image or data / "sample.jpg",
            engines=_words(engines),
            sizes=pixels,
            dtypes=precisions,
            model=model,
            config=FitConfig() if config is None else FitConfig.from_toml(config),
            rounds=rounds,
            baselines=len(pixels) == 1 if baselines is None else baselines,
            adam_steps=adam_steps,
        )
        check_folder(output)
        record = compare(plan, report.note)
        written = save(record, output)
        report.result(markdown(record))
        if importlib.util.find_spec("matplotlib") is None:
            report.note('No plot: matplotlib is not installed. Install it with: pip install "faceinv[plot]".')
        report.note("Written: " + ", ".join(str(path) for path in written))


def _words(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))


def _sizes(text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(word) for word in _words(text))
    except ValueError:
        sizes = ()
    if not sizes:
        raise InputError(
            f"--sizes is '{text}'; expected whole numbers of pixels, separated by commas, such as 112,224."
        )
    return sizes
