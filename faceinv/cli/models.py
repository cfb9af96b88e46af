"""`faceinv models`: convert, describe and draw face models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from faceinv.errors import InputError
from faceinv.face.landmarks68 import OUTER_EYES

if TYPE_CHECKING:
    from faceinv.face.model import MorphableModel

__all__ = ["models_app"]

models_app = typer.Typer(
    name="models", help="Convert, describe and draw face models of any format.", no_args_is_help=True
)

Source = Annotated[str, typer.Argument(help="'default', a model file, or a folder with one.", metavar="SRC")]
Identity = Annotated[int | None, typer.Option(help="Keep this many identity modes.", metavar="N")]
Expression = Annotated[int | None, typer.Option(help="Keep this many expression modes.", metavar="N")]
Albedo = Annotated[int | None, typer.Option(help="Keep this many albedo modes.", metavar="N")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the file where there is one already.")]
FaceOnly = Annotated[bool, typer.Option("--face-only", help="Leave neck, ears and the back of the head out.")]


@models_app.command()
def convert(
    source: Source,
    destination: Annotated[Path, typer.Argument(help="The .npz file to write.", metavar="DST")],
    identity: Identity = None,
    expression: Expression = None,
    albedo: Albedo = None,
    face_only: FaceOnly = False,
    half: Annotated[bool, typer.Option("--half", help="Store the modes in 16 bits: half the size.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Write a model in faceinv's own format, which loads fastest, needs no other files, and holds what light the face
    keeps off itself."""
    from faceinv.face.formats import load_model, save_npz_model
    from faceinv.render.occlusion import with_occlusion

    _refuse_replacing(destination, overwrite)
    model = load_model(source, identity=identity, expression=expression, albedo=albedo, face_only=face_only)
    model = with_occlusion(model)
    save_npz_model(model, destination, dtype=np.float16 if half else np.float32)
    typer.echo(f"{destination}: {destination.stat().st_size / 1e6:.1f} MB")
    typer.echo(_describe(model))


@models_app.command()
def transplant(
    source: Source,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The .npz file to write; by default SRC's name, here.")
    ] = None,
    identity: Identity = None,
    albedo: Albedo = None,
    half: Annotated[bool, typer.Option("--half", help="Store the modes in 16 bits: half the size.")] = False,
    overwrite: Overwrite = False,
) -> None:
    """Carry the people of a model over to the default model's mesh.

    Mean, identity modes and albedo (where SRC has one) are SRC's; eyes, texture coordinates, named expressions,
    landmarks and jaw are the default model's.
    """
    from faceinv.face.formats import DEFAULT, load_model, save_npz_model
    from faceinv.face.transplant import transplant as carry_over

    destination = Path(f"{Path(source).stem}_on_{DEFAULT}.npz") if output is None else output
    if destination.suffix != ".npz":
        raise InputError(f"'{destination}' should end in .npz, faceinv's own format.")
    _refuse_replacing(destination, overwrite)
    if source == DEFAULT:
        raise InputError("SRC is the default model itself; give the model whose people it is to carry.")
    done = carry_over(load_model(source, identity=identity, albedo=albedo), load_model(DEFAULT))
    save_npz_model(done.model, destination, dtype=np.float16 if half else np.float32)
    typer.echo(f"{destination}: {destination.stat().st_size / 1e6:.1f} MB")
    typer.echo(
        f"  laid on     {done.distance:.2f} mm RMS from SRC's mean over the face, normals {done.normal_angle:.1f} "
        f"degrees apart ({done.folded:.1%} over 30); {done.covered:.0%} of the face has a counterpart"
    )
    typer.echo(f"  albedo      {'carried over' if done.own_albedo else 'of the default model'}")
    typer.echo(_describe(done.model))


@models_app.command()
def info(
    source: Source,
    identity: Identity = None,
    expression: Expression = None,
    albedo: Albedo = None,
    face_only: FaceOnly = False,
) -> None:
    """Say what a model holds, how much memory it takes, and under what terms it comes."""
    from faceinv.face.formats import load_model

    typer.echo(
        _describe(load_model(source, identity=identity, expression=expression, albedo=albedo, face_only=face_only))
    )


@models_app.command()
def render(
    source: Source,
    output: Annotated[Path, typer.Option("--output", "-o", help="The picture to write.")] = Path("model.png"),
    size: Annotated[int, typer.Option(min=32, max=2048, help="The side of each picture, px.")] = 256,
    face_only: FaceOnly = False,
    overwrite: Overwrite = False,
) -> None:
    """Draw a sheet: the mean, its landmarks and face mask, and the first mode of each kind at -2 and +2 sd."""
    from faceinv.face.formats import load_model
    from faceinv.output.model_sheet import render_sheet
    from faceinv.output.picture import save_image

    _refuse_replacing(output, overwrite)
    save_image(output, render_sheet(load_model(source, face_only=face_only), size))
    typer.echo(f"{output}")


def _refuse_replacing(path: Path, overwrite: bool) -> None:
    """Raise where a file is there already: both commands write into folders that people keep other files in.

    Raises:
        InputError: unless it may be replaced.
    """
    if path.is_file() and not overwrite:
        raise InputError(f"'{path}' is there already. Give --overwrite to replace it, or another name.")


def _describe(model: MorphableModel) -> str:
    """A few lines for people."""
    low, high = model.mean.min(axis=0), model.mean.max(axis=0)
    marks = model.landmarks(model.mean)
    arrays = [value for value in vars(model).values() if isinstance(value, np.ndarray)]
    on_vertices = int((model.landmark_weights.max(axis=1) > 0.999).sum())
    modes = {
        "identity": (model.identity_basis, "mm"),
        "expression": (model.expression_basis, "mm"),
        "albedo": (model.albedo_basis, f"reflectance, {model.albedo_space}"),
    }
    lines = [
        f"{model.name} ({model.fingerprint})",
        f"  surface     {model.vertex_count:,} vertices, {len(model.triangles):,} triangles, "
        f"{int(model.face_mask.sum()):,} of them in the face mask",
        f"  size        {' x '.join(f'{side:.0f}' for side in high - low)} mm (x to the image's right, y up, z front); "
        f"outer eye corners {marks[OUTER_EYES[1], 0] - marks[OUTER_EYES[0], 0]:.0f} mm apart",
    ]
    for kind, (basis, unit) in modes.items():
        strength = np.sqrt((basis.astype(np.float64) ** 2).sum(axis=1).mean(axis=0))
        span = f", {strength[0]:.3g} to {strength[-1]:.3g} {unit} RMS per standard deviation" if len(strength) else ""
        lines.append(f"  {kind:<11} {basis.shape[2]} modes{span}")
    if model.expression_names:
        lines.append(f"  named       {', '.join(model.expression_names[:6])}{', ...' * (model.expression_count > 6)}")
    lines += [
        f"  landmarks   68: {on_vertices} on vertices, {68 - on_vertices} on triangles; "
        f"a jaw band of {len(model.jaw_triangles):,} triangles",
        f"  memory      {sum(array.nbytes for array in arrays) / 1e6:.1f} MB",
        f"  licence     {model.licence}",
        "  Results made with a model come under its licence too; mind it before passing them on.",
    ]
    return "\n".join(lines)
