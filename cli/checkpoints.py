"""`supertile info` and `supertile convert`: describe a checkpoint, and write it as safetensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from .console import errors_as_sentences
from .display import show
from .options import AsJson, BaseWindow, Debug, Dtype, Mean, ModelFolder, complete_model

if TYPE_CHECKING:
    from ..weights.loader import CheckpointInfo


def info(
    file: Annotated[
        Path, typer.Argument(metavar="MODEL", autocompletion=complete_model, help="Checkpoint, or the name of a model.")
    ],
    model_folder: ModelFolder = None,
    as_json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Describe a checkpoint.

    Show its architecture, scale, hyper-parameters and size, and the memory that it takes.
    """
    with errors_as_sentences(debug):
        from ..weights.loader import inspect_checkpoint

        checkpoint = inspect_checkpoint(file)
        if as_json:
            import dataclasses
            import json

            typer.echo(json.dumps(dataclasses.asdict(checkpoint), indent=2, default=str))
        else:
            from ..inference.memory import planned
            from ..weights.loader import network_without_weights

            _print_info(checkpoint, planned(network_without_weights(file)))


def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Checkpoint: .pth, .pt, .ckpt or .safetensors.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="File to write.")],
    model_folder: ModelFolder = None,
    dtype: Annotated[Dtype, typer.Option(help="Type of the stored weights; keep: as they are.")] = Dtype.keep,
    mean: Mean = None,
    base_window: BaseWindow = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.safetensors if it exists.")] = False,
    debug: Debug = False,
) -> None:
    """Convert a checkpoint to safetensors.

    Hyper-parameters that do not follow from its tensors are stored in the header.
    """
    with errors_as_sentences(debug):
        from ..weights.loader import convert_checkpoint

        _print_info(
            convert_checkpoint(file, out, dtype=dtype.value, mean=mean, base_window=base_window, overwrite=overwrite)
        )


def _print_info(info: CheckpointInfo, memory: str | None = None) -> None:
    table = Table(show_header=False, box=None)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    rows: list[tuple[str, object]] = [
        ("file", info.path),
        ("network", info.variant or info.family),
        ("scale", f"{info.scale}x"),
        ("channels", f"{info.input_channels} in, {info.output_channels} out"),
        ("parameters", f"{info.parameters:,}"),
        ("stored as", f"{info.dtype}, {info.container}, {info.file_bytes / 1e6:.1f} MB"),
        *((name, value) for name, value in info.hyperparameters.items() if name != "scale"),
        *info.metadata.items(),
    ]
    if memory is not None:
        rows.append(("memory", memory))
    if info.not_inferable:
        rows.append(("not stated", ", ".join(info.not_inferable)))
    for name, value in rows:
        table.add_row(escape(name), escape(str(value)))
    show(table)
