"""`supertile models`: list the models that are found by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .console import errors_as_sentences, say
from .display import show
from .options import AsJson, Debug

if TYPE_CHECKING:
    from ..weights.catalog import ModelListing


def models(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER...",
            exists=True,
            file_okay=False,
            show_default=False,
            help="Folders to list. Default: those of SUPERTILE_MODELS, and ComfyUI's models/upscale_models.",
        ),
    ] = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """List models.

    Show the family, scale, size and license of each model file, and why a file cannot be used. Only headers are read.
    Every name can be given to --model, also without its suffix, or its beginning. The bundled models come last.
    """
    with errors_as_sentences(debug):
        from ..weights.catalog import list_models
        from ..weights.model_folders import MODELS_VARIABLE, model_folders

        searched = folders or model_folders()
        listing = list_models(searched, cached=True)
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps([dataclasses.asdict(each) for each in listing], indent=2, default=str))
            return
        show(_table([each for each in listing if each.problem is None]))
        console = Console()
        for each in listing:
            if each.problem is not None:
                say(console, f"{each.path}: {each.problem}")
        if not searched:
            say(
                Console(stderr=True),
                f"Only bundled models were found. Set {MODELS_VARIABLE} to your model folder, or name it here.",
            )


def _table(listing: list[ModelListing]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("name", overflow="fold")
    table.add_column("network", overflow="fold")
    for heading in ("scale", "size"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("license", overflow="fold")
    for each in listing:
        scale = "" if each.scale is None else f"{each.scale}x{'?' if each.scale_from_name else ''}"
        network = each.variant or each.family or ""
        size = f"{each.file_bytes / 1e6:.1f} MB"
        table.add_row(*map(escape, (each.name, network, scale, size, each.license or "")))
    if any(each.scale_from_name for each in listing):
        table.caption = "?: scale by the file name only"
    return table
