"""`faceinv detail`: the fine detail of fitted faces, and one face's detail on another."""

from __future__ import annotations

import logging
import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from faceinv.errors import DeviceLostError, FaceinvError, InputError
from faceinv.run.outputs import check_folder, output_paths
from faceinv.run.refine import find_results, refine_saved
from faceinv.run.saved import Saved
from faceinv.run.work import unexpected

__all__ = ["detail"]

_log = logging.getLogger(__name__)


class _Formulation(StrEnum):
    ROBUST = "robust"
    PAPER = "paper"


def detail(
    results: Annotated[
        list[Path] | None,
        typer.Argument(help="Results (.npz) of `faceinv fit`, or folders of them.", metavar="[RESULT.npz]..."),
    ] = None,
    photo: Annotated[
        Path | None,
        typer.Option(
            help="The photo of the one result given, or the folder of the photos; without it, those that the results' "
            ".json files name. With --onto: the photo of that result, to be relit.",
            metavar="PHOTO",
        ),
    ] = None,
    mask: Annotated[
        Path | None, typer.Option(help="White where the one photo may be used, as for `fit`.", metavar="PNG")
    ] = None,
    formulation: Annotated[
        _Formulation, typer.Option(help="The energy: the default, or the paper's as it stands.")
    ] = _Formulation.ROBUST,
    source: Annotated[
        Path | None, typer.Option("--from", help="The result whose detail another face gets.", metavar="A.npz")
    ] = None,
    target: Annotated[Path | None, typer.Option("--onto", help="The result that gets it.", metavar="B.npz")] = None,
    bands: Annotated[
        str,
        typer.Option(
            help="With --onto: what is carried, such as 'wrinkles,folds=0.5': pores (waves under 2 mm), wrinkles (2 to "
            "6 mm) and folds, each times its strength; by default all as it is.",
            metavar="NAME[=X],...",
        ),
    ] = "",
    strength: Annotated[float, typer.Option(help="With --onto: what detail is multiplied by.", metavar="X")] = 1.0,
    symmetric: Annotated[
        bool,
        typer.Option("--symmetric", help="With --onto: mirror detail to the side that A's photo does not show."),
    ] = False,
    model: Annotated[
        str | None, typer.Option(help="The face model, where its file has moved since.", metavar="NAME_OR_PATH")
    ] = None,
    backend: Annotated[str, typer.Option(help="The engine: engine[:device][:dtype].", metavar="STR")] = "numpy",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Where the files go; by default where the results are.", metavar="DIR"),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Find the fine detail of fitted faces in their photos, or carry it to another face.

    For each result: the .npz, .glb (with a normal map), _overlay.png and .json with the detail in them, and
    _normals.png, _depth.png, _displacement.png (16-bit, in the texture) and _dense.ply (a vertex for each pixel).

    With --from and --onto: B's face with A's detail as B_detail_of_A.glb, .png (look at this first), _normals.png,
    _displacement.png and .json. A must have detail.
    """
    if (source is None) != (target is None):
        raise InputError("--from and --onto belong together: detail is carried from one result onto another.")
    if source is not None and target is not None:
        if results:
            raise InputError(f"with --from and --onto no other results are given; '{results[0]}' was.")
        if mask is not None:
            raise InputError("--mask is for finding detail; --from takes it from a result that has it.")
        _carry(source, target, photo, bands, strength, symmetric, model, output, quiet)
        return
    if not results:
        raise InputError("no results are given. Give one or more .npz of `faceinv fit`, or a folder of them.")
    if bands or symmetric or strength != 1.0:
        raise InputError("--bands, --strength and --symmetric are for carrying detail: give --from and --onto.")
    saved = find_results(results)
    if len(saved) > 1 and ((photo is not None and not photo.is_dir()) or mask is not None):
        name = "--mask" if mask is not None else "--photo"
        raise InputError(f"{name} belongs to one result; {len(saved)} were given. Take them one by one.")
    settings = {"formulation": formulation.value, "backend": backend, "mask": mask}
    status = _refine(saved, photo, settings, model, output, quiet)
    if status:
        raise typer.Exit(status)


def _refine(
    saved: list[Saved],
    photo: Path | None,
    settings: dict[str, Any],
    model: str | None,
    output: Path | None,
    quiet: bool,
) -> int:
    """The exit status: 0 all done, 1 some failed, 2 all failed."""
    from faceinv.cli.console import reporter

    if output is not None:
        stems = [one.path.stem.lower() for one in saved]
        twice = next((one for one in saved if stems.count(one.path.stem.lower()) > 1), None)
        if twice is not None:
            raise InputError(
                f"several results are called '{twice.path.stem}', and their files would replace each other in "
                f"'{output}'. Leave --output out, which puts them where the results are, or take them one by one."
            )
    failed = 0
    with reporter(quiet) as report:
        count = report.counter("results")
        for done, one in enumerate(saved):
            count(done, len(saved))
            folder = output or one.path.parent
            try:
                check_folder(folder)
                record = refine_saved(one, folder, photo=photo, model=model, **settings)
                glb = output_paths(folder, one.path.stem)["glb"]
                report.result(f"{one.path.name}: {_described(record['detail'])} -> {glb}")
            except DeviceLostError:
                raise
            except FaceinvError as error:
                failed += 1
                report.error(str(error) if str(one.path) in str(error) else f"'{one.path}': {error}")
            except Exception as error:  # a fault of the program must not cost the detail of other results
                failed += 1
                _log.debug("unexpected", exc_info=error)
                report.error(f"'{one.path}': {unexpected(error)}")
        count(len(saved), len(saved))
        if failed and len(saved) > 1:
            report.error(f"{failed} of {len(saved)} results failed; the others are done.")
    return 0 if not failed else 1 if failed < len(saved) else 2


def _described(record: dict[str, Any]) -> str:
    """What was found, for people."""
    if not record["success"]:
        return str(record["message"])
    reach, warnings = record["displacement_mm"], "".join(f" [{warning}]" for warning in record["warnings"])
    return (
        f"relief from {reach['least']:+.2f} to {reach['most']:+.2f} mm on {record['share_of_face']:.0%} of the face, "
        f"{record['status'].replace('_', ' ')}{warnings}"
    )


def _carry(
    source: Path,
    target: Path,
    photo: Path | None,
    bands: str,
    strength: float,
    symmetric: bool,
    model: str | None,
    output: Path | None,
    quiet: bool,
) -> None:
    from faceinv.cli.console import reporter
    from faceinv.fitting.result import load_result
    from faceinv.run.transfer_outputs import Carried, write_carried

    strengths = _strengths(bands)
    giver, taker = load_result(source, model), load_result(target, model)
    if giver.detail is None:
        raise InputError(f"'{source}' has no detail to carry. Find it first: faceinv detail {shlex.quote(str(source))}")
    if photo is not None:
        taker = taker.with_photo(photo)
        taker.check_photo()
    carried = Carried.of(giver, taker, strengths, strength, symmetric)
    folder = target.parent if output is None else output
    with reporter(quiet) as report:
        check_folder(folder)
        stem = f"{target.stem}_detail_of_{source.stem}"
        paths = write_carried(carried, folder, stem, {"from": str(source), "onto": str(target)})
        report.result(f"{target.name} with the detail of {source.name} -> {paths['picture']}")


def _strengths(text: str) -> dict[Any, float] | None:
    """What `--bands` says: a strength for each band, or None for the whole detail."""
    from faceinv.detail.relief_map import BANDS

    if not text.strip():
        return None
    strengths: dict[Any, float] = {}
    for word in text.split(","):
        name, given, value = word.strip().partition("=")
        if name.strip() not in BANDS:
            raise InputError(f"--bands names '{name.strip()}'; bands are {', '.join(BANDS)}, separated by commas.")
        try:
            strengths[name.strip()] = float(value) if given else 1.0
        except ValueError:
            raise InputError(f"--bands gives '{name.strip()}' the strength '{value}'; expected a number.") from None
    return strengths
