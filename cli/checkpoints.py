"""`supertile info` and `supertile convert`: what a checkpoint is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .console import errors_as_sentences
from .options import BaseWindow, Debug, Dtype, Mean

if TYPE_CHECKING:
    from ..weights.loader import CheckpointInfo


def info(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    debug: Debug = False,
) -> None:
    """Show what a checkpoint is: its family, scale, hyper-parameters and size."""
    with errors_as_sentences(debug):
        from ..weights.loader import inspect_checkpoint

        found = inspect_checkpoint(file)
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps(dataclasses.asdict(found), indent=2, default=str))
        else:
            from ..inference.memory import planned
            from ..weights.loader import network_without_weights

            _print_info(found, planned(network_without_weights(file)))


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint in any container.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write.")],
    dtype: Annotated[Dtype, typer.Option(help="Type of the stored numbers.")] = Dtype.keep,
    mean: Mean = None,
    base_window: BaseWindow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Write a checkpoint as safetensors, with what cannot be read off its tensors stored beside them."""
    with errors_as_sentences(debug):
        from ..weights.loader import convert_checkpoint

        _print_info(
            convert_checkpoint(file, out, dtype=dtype.value, mean=mean, base_window=base_window, overwrite=overwrite)
        )


def _print_info(found: CheckpointInfo, memory: str | None = None) -> None:
    table = Table(show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows: list[tuple[str, object]] = [
        ("file", found.path),
        ("network", found.variant or found.family),
        ("scale", f"{found.scale}x"),
        ("channels", f"{found.input_channels} in, {found.output_channels} out"),
        ("parameters", f"{found.parameters:,}"),
        ("stored as", f"{found.dtype}, {found.container}, {found.file_bytes / 1e6:.1f} MB"),
        *((name, value) for name, value in found.hyperparameters.items() if name != "scale"),
        *found.metadata.items(),
    ]
    if memory is not None:
        rows.append(("memory", memory))
    if found.not_inferable:
        rows.append(("not in the file", ", ".join(found.not_inferable)))
    for name, value in rows:
        table.add_row(escape(name), escape(str(value)))
    Console().print(table)
