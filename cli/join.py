"""`supertile join`: make a file of the parts that an interrupted job has finished."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import errors_as_sentences, termination_cleans_up
from .options import Debug, Overwrite


def join(
    target: Annotated[
        Path,
        typer.Argument(metavar="DST", help="Target of the interrupted job, or a folder, as ComfyUI's output folder."),
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="File to write. Default: DST with .partial in its name."),
    ] = None,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Join the finished parts of an interrupted video.

    The file holds the video from its start to the first part that is missing, with audio and all other streams cut to
    match. The parts stay, so that `supertile upscale` can go on.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        from ..video.parts.found import interrupted_job
        from ..video.parts.publish import join_partial

        typer.echo(str(join_partial(interrupted_job(target), output, overwrite=overwrite)))
