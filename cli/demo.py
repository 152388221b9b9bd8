"""`supertile demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from .console import bar_of_frames, errors_as_sentences, progress_bar, sigterm_cleans_up, warnings_once
from .options import Debug, Device


def demo(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")] = Path("out/demo"),
    device: Device = "auto",
    debug: Debug = False,
) -> None:
    """Enlarge an image and a clip that come with the package, and show the image beside bicubic."""
    with errors_as_sentences(debug), sigterm_cleans_up():
        from ..demo.show import show
        from ..inference.upscaler import Upscaler
        from ..weights.bundle import bundled_for
        from ..weights.loader import load_model

        console = Console(stderr=True)
        with progress_bar(console, hidden=False) as progress, warnings_once(console):
            frames = progress.add_task("frames", total=None)
            upscaler = Upscaler(load_model(bundled_for(None)), device=device)
            for path in show(folder, upscaler, lambda state: progress.update(frames, **bar_of_frames(state))):
                typer.echo(path)
