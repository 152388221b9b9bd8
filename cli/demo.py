"""`supertile demo`: try the bundled model on an image and a clip that come with the package."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .console import errors_as_sentences, say, termination_cleans_up, warnings_once
from .display import frame_bar_state, progress_bar
from .options import Debug, Device


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder to write to; files of the same names are replaced.")
    ] = Path("out/demo"),
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Upscale a bundled image and a bundled clip.

    The image is also shown beside its bicubic enlargement.
    """
    with errors_as_sentences(debug, stdout_is_the_result=False), termination_cleans_up():
        from ..demo.show import show
        from ..inference.upscaler import Upscaler
        from ..weights.bundle import bundled_for
        from ..weights.loader import load_model

        console = Console(stderr=True)
        name = bundled_for(None)
        say(console, f"Enlarging a bundled image and clip with {name}, a small network that comes with Supertile.")
        with progress_bar(console, hidden=False) as progress, warnings_once(console):
            frames = progress.add_task("frames", total=None)
            upscaler = Upscaler(load_model(name), device=device)
            for path in show(folder, upscaler, lambda state: progress.update(frames, **frame_bar_state(state))):
                typer.echo(path)
        say(
            console,
            "image_beside_bicubic.png has bicubic on the left. Its tiny letters wobble: larger networks do better, and "
            "docs/models.md says where they are.",
        )
