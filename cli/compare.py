"""`supertile compare`: PSNR and SSIM of two images, and a drawing of their difference."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from .console import errors_as_sentences, termination_cleans_up, warnings_once
from .display import show
from .options import AsJson, Debug, Overwrite


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="Image.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Image of the same size, such as the original.")],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            help="Draw both images, their difference and a close-up of where it is largest.",
        ),
    ] = None,
    border: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Pixels to ignore along each edge. Papers ignore as many as the scale."),
    ] = 0,
    as_json: AsJson = False,
    overwrite: Overwrite = False,
    debug: Debug = False,
) -> None:
    """Measure how much two images differ.

    Print PSNR and SSIM on Y and on RGB, in 8 bits.
    """
    with errors_as_sentences(debug), termination_cleans_up():
        from rich.console import Console

        from ..analysis.comparison import compare as compare_images
        from ..analysis.comparison_sheet import draw_sheet
        from ..analysis.evaluate import read_color
        from ..analysis.fidelity import ComparisonError
        from ..images.io.atomic import check_target
        from ..images.io.files import write_image
        from ..images.io.formats import format_of
        from ..images.io.picture import Picture

        if out is not None:
            format_of(out)
            check_target(out, overwrite=overwrite, sources=[a, b])
        with warnings_once(Console(stderr=True)):
            one, other = read_color(a), read_color(b)
        try:
            comparison = compare_images(one, other, border)
        except ComparisonError as error:
            raise ComparisonError(f"{a} and {b}: {error}.") from None
        if out is not None:
            names = (a.name, b.name) if a.name != b.name else (str(a), str(b))
            write_image(out, Picture(draw_sheet(one, other, comparison, names)), overwrite=overwrite, sources=[a, b])
        f = comparison.fidelity
        if as_json:
            import dataclasses
            import json
            import math

            figures = {n: v if math.isfinite(v) else None for n, v in dataclasses.asdict(f).items()}
            typer.echo(json.dumps(figures | {"identical": f.identical}, indent=2))
            return
        table = Table(box=None, header_style="bold")
        for name in ("", "PSNR", "SSIM"):
            table.add_column(name, justify="right" if name else "left")
        for channels, psnr, ssim in (("Y", f.psnr_y, f.ssim_y), ("RGB", f.psnr_rgb, f.ssim_rgb)):
            table.add_row(channels, "equal" if f.identical else f"{psnr:.2f} dB", f"{ssim:.4f}")
        show(table)
