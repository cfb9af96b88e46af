"""The command line: `faceinv demo`, `fit`, `detail`, `dataset`, `view`, `overlay`, `engines`, `compare`, `models`.

Exit status: 0 done, 1 some fits failed, 2 input or options that cannot be used, 130 interrupted, 141 nobody reads on.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from faceinv.cli.compare import compare
from faceinv.cli.console import CLOSED_PIPE, ClosedPipeError, accept_any_text, print_error, silence
from faceinv.cli.dataset import dataset
from faceinv.cli.demo import demo
from faceinv.cli.detail import detail
from faceinv.cli.engines import engines
from faceinv.cli.fit import fit
from faceinv.cli.models import models_app
from faceinv.cli.view import overlay, view
from faceinv.errors import FaceinvError
from faceinv.version import __version__

__all__ = ["app", "main"]


class _Commands(TyperGroup):
    """Turns errors made on purpose into one line and an exit status."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        accept_any_text()
        return super().main(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except FaceinvError as error:
            print_error(str(error))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            print_error("interrupted; what was finished is kept.")
            raise typer.Exit(130) from None
        except (ClosedPipeError, BrokenPipeError):
            silence()
            raise typer.Exit(CLOSED_PIPE) from None


app = typer.Typer(
    name="faceinv",
    cls=_Commands,
    help="One photo in, a 3D face out.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.command()(demo)
app.command()(fit)
app.command()(detail)
app.command()(dataset)
app.command()(view)
app.command()(overlay)
app.command()(engines)
app.command()(compare)
app.add_typer(models_app, name="models")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"faceinv {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """The program `faceinv`."""
    app(prog_name="faceinv")
