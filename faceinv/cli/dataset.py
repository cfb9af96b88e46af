"""`faceinv dataset`: training data from photos or results."""

from __future__ import annotations

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from faceinv.errors import InputError
from faceinv.files import refuse_url

if TYPE_CHECKING:
    from faceinv.cli.console import Reporter
    from faceinv.dataset.factory import Outcome
    from faceinv.dataset.ledger import Ledger
    from faceinv.dataset.work import Shared
    from faceinv.generate.steps import Steps
    from faceinv.run.executors import MakeExecutor

__all__ = ["dataset"]


class _Kind(StrEnum):
    COARSE = "coarse"
    FINE = "fine"
    PAIRS = "pairs"


def dataset(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, results (.npz) of `faceinv fit`, or folders of them.", metavar="PHOTOS_OR_RESULTS..."
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder of the data set.", metavar="OUT")],
    kind: Annotated[
        _Kind | None,
        typer.Option(
            help="Other poses, expressions, lights and cameras (coarse, unless the settings say otherwise); these with "
            "other faces' details (fine); frames with a neighbour (pairs)."
        ),
    ] = None,
    variants: Annotated[int | None, typer.Option(help="Of each photo; 30 by default.", metavar="N")] = None,
    size: Annotated[int | None, typer.Option(help="Pixels along each side; 224 by default.", metavar="PX")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all that is drawn; 0 by default.", metavar="N")] = None,
    model: Annotated[
        str | None, typer.Option(help="The face model, of the results too.", metavar="NAME_OR_PATH")
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="The engine: engine[:device][:dtype]; numpy by default.", metavar="STR")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(help="Distributions, and tables [dataset] and [fit]; options here win.", metavar="FILE.toml"),
    ] = None,
    steps: Annotated[
        Path | None,
        typer.Option(
            help="Of kind pairs: how neighbours differ, as measured of a video: the folder with the results (.npz) of "
            "its frames, or a file of Steps.save.",
            metavar="PATH",
        ),
    ] = None,
    photos: Annotated[
        Path | None, typer.Option(help="Where the photos of results are, if they moved.", metavar="DIR")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes; by default one for each core, or one for a GPU.", metavar="N", min=1)
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(help="Of Dask distributed, whose workers do the work: tcp://HOST:PORT.", metavar="ADDRESS"),
    ] = None,
    preview: Annotated[
        bool, typer.Option("--preview", help="First write preview.png: some photos and variants, with their labels.")
    ] = False,
    sheets: Annotated[bool, typer.Option("--sheets", help="Write an HTML page for each shard.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Make training data: variants of photos, with all that is known of them.

    Photos are fitted first. OUT gets shards/*.tar (WebDataset: an image, a JSON and an .npz for each picture),
    index.parquet (a row for each picture, and for each photo that failed, with the reason) and dataset.json (what it is
    and who may use it). The same command goes on with a run that was stopped.
    """
    from faceinv.cli.console import reporter
    from faceinv.cli.dataset_progress import DatasetProgress
    from faceinv.dataset.factory import make_dataset
    from faceinv.dataset.settings import DatasetSettings
    from faceinv.generate.steps import Steps

    if photos is not None and not photos.is_dir():
        raise InputError(f"--photos '{photos}' is no folder.")
    settings = DatasetSettings.read(
        config,
        kind=None if kind is None else kind.value,
        variants=variants,
        size=size,
        seed=seed,
        model=model,
        backend=backend,
    )
    if steps is not None:
        if settings.kind != "pairs":
            raise InputError(f"--steps is for --kind pairs; this is {settings.kind}.")
        settings = replace(settings, draw=replace(settings.draw, steps=Steps.load(steps)))
    make: MakeExecutor | None = None
    if scheduler is not None:
        from faceinv.run.cluster import connect

        cluster = connect(scheduler)
        make, workers = cluster.make, workers or cluster.workers
    with reporter(quiet) as report:
        if settings.draw.steps is not None and settings.kind == "pairs":
            report.note(_measured(settings.draw.steps))

        def before(shared: Shared, ledger: Ledger) -> None:
            from faceinv.dataset.preview import write_preview

            report.note(f"To look at first: {write_preview(shared, ledger)}")

        outcome = make_dataset(
            [refuse_url(name, "photo or result") for name in inputs],
            output,
            settings,
            photos=photos,
            workers=workers,
            make=make,
            sheets=sheets,
            watcher=DatasetProgress(report, settings.pictures),
            before=before if preview else None,
        )
        _say(report, outcome)
    if outcome.failed and not outcome.earlier:
        raise typer.Exit(1 if outcome.pictures else 2)


def _measured(steps: Steps) -> str:
    spread = steps.record()
    return (
        f"Steps of {steps.pairs} pairs of frames, {steps.cuts} left out as cuts: yaw {spread['yaw']:.2f}, pitch "
        f"{spread['pitch']:.2f}, roll {spread['roll']:.2f} degrees; {spread['x']:.1f}, {spread['y']:.1f} mm; "
        f"expression {spread['expression']:.2f}."
    )


def _say(report: Reporter, outcome: Outcome) -> None:
    if outcome.earlier:
        report.note(f"'{outcome.folder}' is complete since an earlier run; nothing was done.")
    good = outcome.photos - outcome.failed
    report.result(f"{outcome.pictures} pictures of {good} photos -> {outcome.folder}")
    if outcome.failed:
        report.error(f"{outcome.failed} of {outcome.photos} photos failed; index.parquet says why.")
