"""`faceinv view` and `faceinv overlay`: saved results, to look at."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from faceinv.errors import InputError

__all__ = ["overlay", "view"]

Result = Annotated[
    str, typer.Argument(help="STEM.npz that 'faceinv fit' wrote, or STEM alone.", metavar="RESULT", show_default=False)
]
Photo = Annotated[
    Path | None, typer.Option(help="The photo, where it is not where it was.", metavar="IMAGE", show_default=False)
]
Model = Annotated[
    str | None, typer.Option(help="The face model, where it is not where it was.", metavar="PATH", show_default=False)
]


def view(
    result: Annotated[
        str,
        typer.Argument(
            help="STEM.npz that 'faceinv fit' wrote, STEM alone, or the folder of a run.",
            metavar="RESULT",
            show_default=False,
        ),
    ],
    photo: Photo = None,
    model: Model = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The page to write; STEM.html unless given.", metavar="HTML")
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it, or only say where it is.")] = True,
) -> None:
    """Open the report of a result in the browser; it is made where there is none yet."""
    from faceinv.cli.console import reporter
    from faceinv.output.report.browser import open_page

    with reporter() as report:
        page = _folder_page(Path(result)) if Path(result).is_dir() else None
        if page is None:
            page = _page(result, photo, model, output, report.note)
        report.result(str(page))
        if browser and not open_page(page):
            report.note("No browser was found here; open that file in one.")


def overlay(
    result: Result,
    photo: Photo = None,
    model: Model = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The picture to write; STEM_overlay.png unless given.", metavar="PNG"),
    ] = None,
) -> None:
    """Draw photo, landmarks, render, geometry and residual of a saved result side by side."""
    from faceinv.output.picture import save_image
    from faceinv.run.saved import find_saved, load_saved

    saved = find_saved(result)
    loaded = load_saved(saved, photo, model)
    if loaded.photo is None:
        raise InputError(f"the photo of '{saved.path}' was not found. Say where it is: --photo IMAGE.")
    path = saved.path.with_name(f"{saved.path.stem}_overlay.png") if output is None else output
    save_image(path, loaded.overlay())
    typer.echo(f"{path}")


def _page(result: str, photo: Path | None, model: str | None, output: Path | None, note: Callable[[str], None]) -> Path:
    """The page of one result, made where it is wanted."""
    from faceinv.output.report.templating import is_own_page
    from faceinv.run.saved import find_saved, load_saved, write_saved_report

    given = Path(result)
    if output is None and photo is None and given.suffix.lower() == ".html" and is_own_page(given):
        return given
    saved = find_saved(result)
    if output is None and photo is None and saved.page_is_fresh and is_own_page(saved.page):
        return saved.page
    page = saved.page if output is None else output
    if page.suffix.lower() != ".html":
        raise InputError(f"'{page}' should end in .html: reports are pages.")
    if page.is_file() and not is_own_page(page):
        raise InputError(f"'{page}' is a page that faceinv did not write. Give another name: -o HTML.")
    loaded = load_saved(saved, photo, model)
    if loaded.photo is None:
        note("The photo was not found, so the page has no pictures of it. Say where it is: --photo IMAGE.")
    write_saved_report(saved, loaded, page)
    return page


def _folder_page(folder: Path) -> Path:
    """The page on a folder of results.

    Raises:
        InputError: where there is none.
    """
    from faceinv.run.index import INDEX

    if not (folder / INDEX).is_file():
        raise InputError(
            f"folder '{folder}' has no {INDEX}, which 'faceinv fit FOLDER --report' writes. Give one result: STEM.npz."
        )
    return folder / INDEX
