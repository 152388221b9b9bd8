"""`supertile bench`: the speed of Supertile on this machine, beside spandrel, ComfyUI and the authors' code."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .console import FAILED, errors_as_sentences, say, termination_cleans_up
from .options import Debug, Device, ModelFolder, complete_model

if TYPE_CHECKING:
    from ..benchmarks.cases import Case
    from ..benchmarks.contenders import Setup
    from ..benchmarks.report import Row

FILE_TABLE_WIDTH = 170


def require_benchmarks() -> None:
    """Say so and end where the package was installed without them. Raises typer.Exit."""
    if find_spec("..benchmarks", __package__) is None:
        typer.echo("supertile bench needs the benchmarks, which only a clone of the repository has.", err=True)
        raise typer.Exit(FAILED)


def parse_case(text: str) -> str:
    """Parse the name of a case in `benchmarks.cases.CASES`."""
    require_benchmarks()
    from ..benchmarks.cases import CASES

    if text.lower() not in CASES:
        raise typer.BadParameter(f"{text!r} is not a case; choose {', '.join(CASES)}.")
    return text.lower()


def parse_image(text: str) -> Any:
    """Parse "WIDTHxHEIGHT" as `benchmarks.cases.Workload`."""
    require_benchmarks()
    from ..benchmarks.cases import Workload

    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in pixels.")
    return Workload(int(width), int(height))


def parse_output(text: str) -> Path:
    """Parse the path of a file to write."""
    path = Path(text)
    if path.is_dir() or not path.parent.is_dir():
        raise typer.BadParameter(f"{text!r} cannot be written: it is a folder, or its folder does not exist.")
    return path


Checkout = Annotated[
    Path | None,
    typer.Option(
        exists=True,
        file_okay=False,
        metavar="CHECKOUT",
        help="Checkout of the authors' repository: measure their code too.",
    ),
]
Output = Annotated[Any, typer.Option(parser=parse_output, metavar="FILE", help="Write the figures to FILE as JSON.")]


def bench(
    case: Annotated[
        list[Any] | None,
        typer.Option(
            parser=parse_case,
            metavar="CASE",
            help="Case to measure: hat-s, hat, hat-l, vapsr, hit-srf, hit-sir, hit-sng, esrgan, compact, span, "
            "realplksr, atd, dat, drct, fdat, omnisr, rcan, rgt, swin2sr, swinir, pixels, tiles, tiles-2048 or "
            "batches; repeat for several. Default: a selection that takes some minutes.",
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            metavar="MODEL",
            autocompletion=complete_model,
            help="Measure this checkpoint instead of the cases: a file or a name.",
        ),
    ] = None,
    model_folder: ModelFolder = None,
    size: Annotated[
        list[Any] | None,
        typer.Option(
            parser=parse_image,
            metavar="WxH",
            help="Size of the input image in pixels; repeat for several. Default: by case.",
        ),
    ] = None,
    hat: Checkout = None,
    vapsr: Checkout = None,
    hitsr: Checkout = None,
    rounds: Annotated[
        int | None,
        typer.Option(min=1, help="Measurements of each contender. Default: 5; 3 with --quick, 1 with --scaling."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Number of CPU threads. Default: as many as PyTorch chooses.")
    ] = None,
    device: Device = "auto",
    quick: Annotated[bool, typer.Option("--quick", help="Measure only the smallest images.")] = False,
    scaling: Annotated[
        bool,
        typer.Option("--scaling", help="Measure time and memory from 0.1 to 33 megapixels and 1 to 64 frames instead."),
    ] = False,
    startup: Annotated[bool, typer.Option("--startup", help="Measure the time to the first result instead.")] = False,
    json: Output = None,
    plot: Annotated[
        Any, typer.Option(parser=parse_output, metavar="FILE.png", help="Plot time over pixels and over batch size.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Measure the speed on this machine.

    Supertile is measured beside spandrel, ComfyUI's tiling and the authors' code, and on a CPU beside these in other
    layouts and precisions and, where they are installed, in OpenVINO and ONNX Runtime. All take turns in one run, so
    their ratios are reliable even if the times are not. --json and --plot replace files that exist.
    """
    if sum(map(bool, (case, scaling, startup))) > 1 or (model and (case or scaling)):
        raise typer.BadParameter(
            "--case, --scaling and --startup exclude each other, and --model excludes the first two."
        )
    if startup and plot is not None:
        raise typer.BadParameter("--plot cannot be used with --startup.")
    require_benchmarks()
    with errors_as_sentences(debug), termination_cleans_up():
        from ..benchmarks.contenders import setup_of
        from ..benchmarks.machine import describe, headline
        from ..benchmarks.plot import check_possible, write_plot
        from ..benchmarks.report import write_json

        if plot is not None:
            check_possible()
        setup = setup_of(device, threads, {"HAT": hat, "VapSR": vapsr, "HiT-SR": hitsr})
        machine = describe(setup)
        out, err = Console(), Console(stderr=True)
        if not out.is_terminal:
            out = Console(width=FILE_TABLE_WIDTH)
        rounds = rounds or (3 if quick else 1 if scaling else 5)
        sections: dict[str, Any] = {}
        if startup:
            sections["startup"] = _startup(out, setup, rounds, model or "supertile-4x")
        else:
            cases = _cases(case, model, size, quick, scaling, setup.device_type)
            sections = _measure_cases(cases, setup, rounds, out, err)
        out.print(headline(machine, sections.get("peaks", {})), markup=False, highlight=False, soft_wrap=True)
        if json is not None:
            write_json(json, machine, sections)
        if plot is not None:
            write_plot(plot, sections.get("rows", []), headline(machine, {}))


def _cases(
    names: list[str] | None, model: str | None, sizes: list[Any] | None, quick: bool, scaling: bool, device_type: str
) -> list[Case]:
    from dataclasses import replace

    from ..benchmarks import cases

    if model is not None:
        from ..weights.loader import inspect_checkpoint

        info = inspect_checkpoint(model)
        chosen = cases.checkpoint_cases(model, info.family, info.scale, info.input_channels)
    elif scaling:
        chosen = list(cases.SCALING)
    else:
        chosen = [cases.CASES[name] for name in dict.fromkeys(names)] if names else list(cases.DEFAULT)
    chosen = [case.on(device_type) for case in chosen]
    if sizes:
        rising = tuple(sorted(sizes, key=lambda shown: shown.pixels))
        chosen = [replace(c, workloads=tuple(replace(s, images=c.workloads[0].images) for s in rising)) for c in chosen]
    return [case.shortened() for case in chosen] if quick else chosen


def _measure_cases(cases: list[Case], setup: Setup, rounds: int, out: Console, err: Console) -> dict[str, Any]:
    from ..benchmarks import report
    from ..benchmarks.errors import BenchError
    from ..benchmarks.rounds import measure

    rows: list[Row] = []
    left_out: list[str] = []
    peaks: dict[str, float] = {}
    for case in cases:
        try:
            with err.status(case.network.name) as status:
                measured = measure(case, setup, rounds, lambda text: status.update(escape(text)))
        except BenchError as error:  # the other cases go on
            if len(cases) == 1:
                raise
            say(err, f"Skipped: {error}")
            left_out.append(str(error))
            continue
        its_rows = report.rows(measured)
        out.print(table(its_rows, case.question))
        for sentence in map(report.speedup_text, report.speedups(its_rows)):
            out.print(sentence, markup=False, highlight=False, soft_wrap=True)
        for sentence in report.failures(measured):
            say(err, f"Skipped: {sentence}")
        rows += its_rows
        left_out += report.failures(measured)
        for name, rate in report.peaks(measured).items():
            peaks[name] = max(rate, peaks.get(name, 0.0))
    return {"rounds": rounds, "peaks": peaks, "rows": rows, "left_out": left_out}


def _startup(out: Console, setup: Setup, rounds: int, model: str) -> dict[str, Any]:
    from ..benchmarks.startup import measure_startup

    startup = measure_startup(setup.device, setup.threads, rounds, model)
    shown = _table(("step", "median"))
    for name, seconds in startup["steps"].items():
        shown.add_row(name, _time(seconds))
    shown.add_row("to the first result", _time(startup["to_first_result"]))
    out.print(shown)
    effect = "initializes CUDA, which it must not" if startup["cuda_at_import"] else "does not initialize CUDA"
    out.print(f"Importing {effect}.", markup=False)
    return startup


def table(rows: Iterable[Row], question: str) -> Table:
    """Return the figures of a case as a Markdown table, ready for a web page."""
    columns = ["network", "input", "contender", "median", "spread", "time, ours = 1", "s/MP", "GFLOP/s", "of peak"]
    columns += ["work", "memory"] + (["memory without images"] if question == "growth" else ["difference", "agreement"])
    shown = _table(columns)
    for row in rows:
        images = f"{row.width}x{row.height}" + (f", {row.images}" if row.images > 1 else "")
        last = [_number(row.difference, ".1e"), _number(row.agreement, ".0f", " dB")]
        if question == "growth":
            last = [_bytes(row.memory_without_images)]
        shown.add_row(
            row.network, images, row.contender, _time(row.median), f"{row.spread:.2f}",
            f"{row.ratio:.2f} ({row.ratio_low:.2f} to {row.ratio_high:.2f})", f"{row.seconds_per_megapixel:.2f}",
            _number(row.flops_per_second and row.flops_per_second / 1e9, ",.0f"), _number(row.share, ".0%"),
            _number(row.work, ".2f"), _bytes(row.memory), *last,
        )  # fmt: skip
    return shown


def _table(columns: Iterable[str]) -> Table:
    shown = Table(box=box.MARKDOWN)
    for index, column in enumerate(columns):
        shown.add_column(column, justify="left" if index < 3 else "right")
    return shown


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 10 else f"{seconds * 1000:,.1f} ms"


def _bytes(count: int | None) -> str:
    return _number(None if count is None else count / 2**20, ",.0f", " MiB")


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"
