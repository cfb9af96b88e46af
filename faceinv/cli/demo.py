"""`faceinv demo`: fit the photo that comes with the package."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["demo"]


def demo(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="Where the files go.")] = Path(
        "faceinv-demo"
    ),
    backend: Annotated[str, typer.Option(help="The engine: engine[:device][:dtype].", metavar="STR")] = "numpy",
    size: Annotated[int | None, typer.Option(help="Pixels across the face at the finest level.", metavar="PX")] = None,
) -> None:
    """Fit the packaged photo and say where the files are."""
    from faceinv.cli.fit import fit_images
    from faceinv.fitting.config import FitConfig
    from faceinv.run.outputs import FitOptions, output_paths, with_options

    # By rows: the other way's kernels are a quarter of all that would be compiled before the first face is seen.
    config = with_options(FitConfig(assembly="rows"), size=size)
    with resources.as_file(resources.files("faceinv") / "data" / "sample.jpg") as photo:
        status = fit_images([photo], output, FitOptions("default", backend, config, "albedo", report=True))
    if status:
        raise typer.Exit(status)
    paths = output_paths(output, "sample", ["report"])
    typer.echo(f"\nThe fit in a browser (open this first): {paths['report']}")
    typer.echo(f"The fit at a glance:                   {paths['overlay']}")
    typer.echo(f"The 3D face, for any glTF viewer:      {paths['glb']}")
    typer.echo(f"All numbers, for faceinv.load_result:  {paths['npz']}")
    typer.echo(f"A summary:                             {paths['json']}")
