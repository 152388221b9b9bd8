"""The command line: a module for each command, or for a few that belong together.

Commands turn arguments into values, call the library and print what it returns. torch is imported inside them, so that
help and wrong usage answer at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__
from .bench import bench
from .checkpoints import convert, info
from .compare import compare
from .config import with_config
from .demo import demo
from .doctor import doctor
from .evaluate import evaluate
from .join import join
from .measure import attribution, receptive_field, seams
from .models import models
from .preview import preview
from .upscale import upscale

app = typer.Typer(
    name="supertile",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"supertile {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Upscale images and videos with HAT, VapSR, HiT-SR or any other network that spandrel supports."""


for command in (
    upscale,
    preview,
    join,
    models,
    info,
    convert,
    demo,
    compare,
    attribution,
    receptive_field,
    seams,
    doctor,
    bench,
):
    app.command()(with_config(command))
app.command("eval")(with_config(evaluate))
