"""`faceinv fit`: photos in, files out."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from faceinv.engine.compiling import FIRST_RUN
from faceinv.errors import DeviceLostError, FaceinvError, InputError, escaped
from faceinv.files import refuse_url
from faceinv.render.atlas import LARGEST as LARGEST_TEXTURE
from faceinv.run.folder import Listener
from faceinv.run.jobs import Inventory, Job, Record, left_out, without_own_pictures
from faceinv.run.outputs import (
    FitOptions,
    check_folder,
    check_model,
    describe,
    failure,
    json_line,
    output_paths,
    photo_place,
    refuse_overwriting,
    unique_stems,
    with_options,
    write_result,
)
from faceinv.run.work import check_result, unexpected

if TYPE_CHECKING:
    from faceinv.cli.console import Reporter
    from faceinv.fitting.fitter import Fitter
    from faceinv.fitting.result import FitResult
    from faceinv.run.executors import MakeExecutor

__all__ = ["fit", "fit_images"]

_log = logging.getLogger(__name__)


_PIPE: Final = Path("-")
"""Stands for standard input."""
_PIPED: Final = Path("stdin")
"""What a photo from there is called, and its files."""


class _Texture(StrEnum):
    ALBEDO = "albedo"
    PHOTO = "photo"
    PHOTO_DELIT = "photo-delit"


class _Camera(StrEnum):
    PERSPECTIVE = "perspective"
    WEAK = "weak"


class _Export(StrEnum):
    PAPER = "3dface"


class _Face(StrEnum):
    ALL = "all"
    LARGEST = "largest"


def fit(
    inputs: Annotated[
        list[str],
        typer.Argument(
            help="Photos, one folder of photos (such as 300-W), or - for a photo from standard input.",
            metavar="IMAGE...",
        ),
    ],
    landmarks: Annotated[
        Path | None,
        typer.Option(help="68 landmarks of the one photo given: .pts, .npy, .csv, .txt or .json.", metavar="FILE"),
    ] = None,
    model: Annotated[
        str, typer.Option(help="'default', or a face model's file or folder.", metavar="NAME_OR_PATH")
    ] = "default",
    backend: Annotated[
        str, typer.Option(help="The engine: engine[:device][:dtype], such as torch:cuda:0.", metavar="STR")
    ] = "numpy",
    mask: Annotated[
        Path | None, typer.Option(help="White where the one photo given may be used.", metavar="PNG")
    ] = None,
    size: Annotated[int | None, typer.Option(help="Pixels across the face at the finest level.", metavar="PX")] = None,
    camera: Annotated[
        _Camera | None, typer.Option(help="How photos are projected; perspective unless the settings say otherwise.")
    ] = None,
    focal_length: Annotated[
        float | None,
        typer.Option(help="Of the camera, in pixels of the photos; without it, that of their EXIF.", metavar="PX"),
    ] = None,
    distance: Annotated[
        float | None,
        typer.Option(
            help="From camera to head, for photos whose focal length is not known; 900 unless the settings say "
            "otherwise.",
            metavar="MM",
        ),
    ] = None,
    estimate_distance: Annotated[
        bool | None,
        typer.Option(
            "--estimate-distance/--hold-distance",
            help="For these photos: find the distance by the fit, around that one, or hold it there; it is found "
            "unless the settings say otherwise.",
        ),
    ] = None,
    export_camera: Annotated[
        bool, typer.Option("--export-camera", help="Put the photo's camera into the GLB.")
    ] = False,
    rig: Annotated[
        bool,
        typer.Option("--rig", help="A GLB that moves: expressions as morph targets by ARKit's names, eyes as nodes."),
    ] = False,
    detail: Annotated[
        bool | None,
        typer.Option(
            "--detail/--no-detail",
            help="Find wrinkles and other relief that shading shows; not, unless the settings say otherwise.",
        ),
    ] = None,
    export: Annotated[
        list[_Export] | None,
        typer.Option(
            help="One more file: 3dface, STEM_3dface.txt, identity and expression as the data set 3DFace has them "
            "(Basel 2009 only).",
        ),
    ] = None,
    texture: Annotated[
        _Texture,
        typer.Option(help="The GLB's colours: fitted reflectance, or the photo's own, with its light or without."),
    ] = _Texture.ALBEDO,
    texture_size: Annotated[
        int | None,
        typer.Option(
            help="Texels along each side of the texture; 1024 by default.", metavar="N", min=64, max=LARGEST_TEXTURE
        ),
    ] = None,
    face: Annotated[_Face, typer.Option(help="Fit the largest face, or all (STEM_1, STEM_2, ...).")] = _Face.LARGEST,
    report: Annotated[
        bool, typer.Option("--report", help="Write STEM.html, a page that shows the fit; for a folder index.html, too.")
    ] = False,
    write_pts: Annotated[
        bool, typer.Option("--write-pts", help="Write the fitted landmarks to STEM.pts, which counts pixels from 1.")
    ] = False,
    config: Annotated[Path | None, typer.Option(help="Settings; options here win.", metavar="FILE.toml")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the files go.", metavar="DIR")] = Path(
        "faceinv-out"
    ),
    workers: Annotated[
        int | None, typer.Option(help="Processes for a folder; by default one for each core.", metavar="N", min=1)
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(
            help="For a folder: of Dask distributed, whose workers do the work: tcp://HOST:PORT.", metavar="ADDRESS"
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="For a folder: do finished images again.")] = False,
    retry: Annotated[bool, typer.Option("--retry", help="For a folder: try again what failed.")] = False,
    json_lines: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each face, and all else on standard error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
) -> None:
    """Fit faces in photos, or in all photos of a folder.

    For each photo: STEM.npz (all numbers), STEM.glb (3D, in metres, upright), STEM_overlay.png (look at this first) and
    STEM.json (a summary). With --detail also STEM_normals.png, STEM_depth.png, STEM_displacement.png and
    STEM_dense.ply.

    A folder is searched with its sub-folders. Landmarks are taken from .pts files beside the photos where there are
    some. A run that was stopped goes on where it stopped. summary.csv lists all photos.
    """
    from faceinv.fitting.config import FitConfig

    for name in inputs:
        refuse_url(name, "photo")
    paths = _distinct([Path(name) for name in inputs])
    folders = [path for path in paths if path.is_dir()]
    settings = with_options(
        FitConfig() if config is None else FitConfig.from_toml(config),
        size=size,
        camera=None if camera is None else camera.value,
        focal_length_px=focal_length,
        distance=distance,
        estimate_distance=estimate_distance,
    )
    if detail is not None and bool(settings.detail) != detail:  # which formulation, the settings may say
        settings = with_options(settings, detail=detail)
    exports = [kind.value for kind in export or ()]
    exports += [kind for kind, wanted in (("report", report), ("landmarks", write_pts)) if wanted]
    asked = tuple(dict.fromkeys(exports))
    options = FitOptions(model, backend, settings, texture.value, export_camera, rig, texture_size, asked)
    contents: dict[Path, bytes] = {}
    if _PIPE in paths:
        if len(paths) > 1:
            raise InputError(f"'-' is the photo on standard input, to be given alone; {len(paths)} inputs were given.")
        paths = [_PIPED]
        contents[_PIPED] = _standard_input()
    if folders:
        if len(paths) > 1:
            raise InputError(f"'{folders[0]}' is a folder, which must be given alone; {len(paths)} inputs were given.")
        if landmarks is not None or mask is not None or face is _Face.ALL:
            raise InputError(
                "--landmarks, --mask and --face all are for photos given one by one; a folder's landmarks are taken "
                "from .pts files beside its photos."
            )
        status = _fit_folder(folders[0], output, options, workers, overwrite, retry, quiet, json_lines, scheduler)
    elif scheduler is not None:
        raise InputError("--scheduler is for a folder of photos; photos given one by one are fitted here.")
    else:
        status = fit_images(
            paths,
            output,
            options,
            landmarks=landmarks,
            mask=mask,
            faces=face.value,
            contents=contents,
            quiet=quiet,
            machine=json_lines,
        )
    if status:
        raise typer.Exit(status)


def fit_images(
    images: Sequence[Path],
    output: Path,
    options: FitOptions,
    *,
    landmarks: Path | None = None,
    mask: Path | None = None,
    faces: Literal["all", "largest"] = "largest",
    contents: Mapping[Path, bytes] | None = None,
    quiet: bool = False,
    machine: bool = False,
) -> int:
    """Fit photos one after the other; one that fails does not stop the others.

    Args:
        images: the photos' files.
        output: the folder of the results.
        options: what the photos share.
        landmarks: of the one photo.
        mask: of the one photo.
        faces: which of a photo.
        contents: of those that are no files, by the name that stands for one.
        quiet: say nothing but errors.
        machine: standard output has a line of JSON for each face, and nothing else.

    Returns:
        the exit status: 0 all done, 1 some failed, 2 all failed.

    Raises:
        FaceinvError: when options cannot be used; nothing has been written then.
    """
    from faceinv.cli.console import reporter
    from faceinv.photo.pts import read_landmarks

    if len(images) > 1 and (landmarks is not None or mask is not None):
        name = "--landmarks" if landmarks is not None else "--mask"
        raise InputError(f"{name} belongs to one photo; {len(images)} were given. Fit them one by one.")
    if faces == "all" and landmarks is not None:
        raise InputError("--landmarks names one face and --face all asks for every one; give one of them.")
    points = None if landmarks is None else read_landmarks(landmarks)
    given = len(images)
    if given > 1:  # `*.png` in a folder with results; one that is given by itself is meant
        images = without_own_pictures(images) or images
    stems = unique_stems(images)
    outputs = [path for stem in stems for path in output_paths(output, stem, options.kinds).values()]
    refuse_overwriting([*images, *(path for path in (landmarks, mask) if path is not None)], outputs)
    failed = 0
    with reporter(quiet, machine=machine) as report, ExitStack() as compiling:
        if len(images) < given:
            report.note(left_out(given - len(images)))
        fitter = _prepare(options, report, compiling)
        check_folder(output)
        bars = _Bars(report, len(images))
        for image, stem in zip(images, stems, strict=True):
            if stem != image.stem:
                report.note(f"{image}: another photo has the same name; its files are called {stem}.*")
            try:
                source = (contents or {}).get(image, image)
                results = _fit_one(fitter, source, points, mask, faces, bars.within(image.name))
                for index, result in enumerate(results, 1):
                    name = f"{stem}_{index}" if faces == "all" else stem
                    extra = {
                        "image": str(image),
                        **photo_place(image, output),
                        **({"face": index} if faces == "all" else {}),
                    }
                    record = write_result(result, output, name, options, extra)
                    report.result(describe(image.name, record, output / f"{name}.glb"))
                    report.record(json_line(record, output))
                compiling.close()  # the first that is fitted has compiled all
            except DeviceLostError:
                raise  # nothing more can be fitted; what was written stays
            except FaceinvError as error:
                failed += 1
                report.error(_about(image, str(error)))
                report.record(json_line(failure(str(image), str(error)), output))
            except Exception as error:  # a fault of the program must not cost the results of other photos
                failed += 1
                _log.debug("unexpected", exc_info=error)
                report.error(f"'{image}': {unexpected(error)}")
                report.record(json_line(failure(str(image), unexpected(error)), output))
            bars.next()
        if failed and len(images) > 1:
            report.error(f"{failed} of {len(images)} photos failed; the files of the others are in '{output}'.")
    return 0 if not failed else 1 if failed < len(images) else 2


def _prepare(options: FitOptions, report: Reporter, compiling: ExitStack) -> Fitter:
    """Load model and engine; say so when kernels must be compiled first, and show how far it is while `compiling`.

    Raises:
        FaceinvError: when one of them cannot be used.
    """
    from faceinv.fitting.fitter import Fitter
    from faceinv.run import warmup

    fitter = Fitter(options.model, options.backend, options.config)
    check_model(fitter.model, fitter.model_source, options)
    if warmup.needs_compiling(fitter):
        report.note(warmup.FIRST_RUN)
        compiling.enter_context(warmup.counted_compiling(report.counter("compiling kernels")))
    return fitter


def _fit_folder(
    folder: Path,
    output: Path,
    options: FitOptions,
    workers: int | None,
    overwrite: bool,
    retry: bool,
    quiet: bool,
    machine: bool,
    scheduler: str | None = None,
) -> int:
    """Fit all photos of a folder; the exit status is 0 all are fitted, 1 some failed, 2 all failed.

    Raises:
        FaceinvError: when options cannot be used or no photo is there.
    """
    from faceinv.cli.console import reporter
    from faceinv.run.folder import fit_folder

    make: MakeExecutor | None = None
    if scheduler is not None:
        from faceinv.run.cluster import connect

        cluster = connect(scheduler)
        # Workers start elsewhere: paths must not depend on where this process is.
        folder, output = folder.absolute(), output.absolute()
        make, workers = cluster.make, workers or cluster.workers
    with reporter(quiet, machine=machine) as report:
        outcome = fit_folder(
            folder,
            output,
            options,
            workers=workers,
            overwrite=overwrite,
            retry=retry,
            listener=_FolderReport(report),
            make=make,
        )
        total, failed, summary = len(outcome.inventory.jobs), outcome.failed, outcome.summary
        skipped = outcome.inventory.skipped()
        report.note(f"{total - failed} of {total} photos are fitted; {summary} lists them all. {skipped}".strip())
        if outcome.index is not None:
            report.note(f"To look at them: {outcome.index}")
        if failed:
            report.error(f"{failed} of {total} photos failed; {summary} says why. --retry tries them again.")
    return 0 if not failed else 1 if failed < total else 2


def _fit_one(
    fitter: Fitter,
    image: Path | bytes,
    landmarks: Any,
    mask: Path | None,
    faces: str,
    progress: Callable[[str, float], None],
) -> list[FitResult]:
    if faces == "all":
        results = fitter.fit_faces(image, mask=mask, progress=progress)
    else:
        results = [fitter.fit(image, landmarks, mask=mask, progress=progress)]
    return [check_result(result) for result in results]


def _about(image: Path, message: str) -> str:
    """An error that says which photo it is about."""
    named = escaped(str(image)) in message or f"'{escaped(image.name)}'" in message
    return message if named else f"'{image}': {message}"


def _standard_input() -> bytes:
    """What is piped into the program.

    Raises:
        InputError: where nothing is.
    """
    stream = sys.stdin
    content = b"" if stream is None or stream.isatty() else stream.buffer.read()
    if not content:
        raise InputError("'-' reads the photo from standard input, which is empty. Pipe one in: faceinv fit - < me.jpg")
    return content


def _distinct(paths: list[Path]) -> list[Path]:
    """Without photos given twice."""
    return list({path.absolute(): path for path in paths}.values())


class _FolderReport(Listener):
    """Says how a run over a folder goes."""

    def __init__(self, report: Reporter) -> None:
        self._report = report
        self._count = report.counter("photos")
        self._total = 0
        self._compiling: Callable[[int, int], None] | None = None

    def found(self, inventory: Inventory, done: int) -> None:
        self._total = len(inventory.jobs)
        if inventory.own:
            self._report.note(left_out(inventory.own))
        if done:
            self._report.note(f"{done} of {self._total} photos were finished by an earlier run.")
        self._count(done, self._total)

    def earlier(self, job: Job, record: Record) -> None:
        self._report.record(json_line(record, job.folder))

    def compiling(self, done: int, total: int) -> None:
        if self._compiling is None:
            self._report.note(FIRST_RUN)
            self._compiling = self._report.counter("compiling kernels")
        self._compiling(done, total)

    def finished(self, job: Job, record: Record, done: int) -> None:
        self._count(done, self._total)
        self._report.record(json_line(record, job.folder))
        count = f"[{done}/{self._total}] "
        if record["status"] == "failed":
            self._report.error(f"{count}{job.name}: {record['error']}")
        else:
            self._report.result(count + describe(job.name, record, output_paths(job.folder, job.stem)["glb"]))


class _Bars:
    """A bar over photos, where there are several, and one within a fit."""

    def __init__(self, report: Reporter, count: int) -> None:
        self._progress = report.progress
        if self._progress is not None:
            self._photos = self._progress.add_task("photos", total=count, visible=count > 1)
            self._stage = self._progress.add_task("", total=100)

    def within(self, name: str) -> Callable[[str, float], None]:
        """Progress of one fit."""
        began = time.perf_counter()

        def tell(stage: str, done: float) -> None:
            if self._progress is not None:
                seconds = time.perf_counter() - began
                self._progress.update(
                    self._stage, description=f"{name}: {stage} ({seconds:.0f} s)", completed=round(100 * done)
                )

        return tell

    def next(self) -> None:
        """A photo is done."""
        if self._progress is not None:
            self._progress.advance(self._photos)
            self._progress.reset(self._stage)
