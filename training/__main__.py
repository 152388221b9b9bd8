"""`python -m supertile.training`: make images, train a network on them or on one's own, export it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from .config import CONFIGS, NETWORKS
from .errors import TrainingError

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the corpus.")]
Size = Annotated[int, typer.Option(min=64, metavar="N", help="Sides of its tiles in pixels.")]


@app.command()
def generate(
    folder: Folder,
    count: Annotated[int, typer.Option(min=1, metavar="N", help="Images.")] = 1000,
    size: Size = 512,
    seed: Annotated[int, typer.Option(metavar="N", help="The same seed gives the same images.")] = 0,
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes; default: all cores.")] = None,
    only: Annotated[
        str, typer.Option(metavar="SCENES", help="Of one kind: leaves, lines, text, page, graphics, print.")
    ] = "",
    typefaces: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Set letters in these .ttf and .otf files, too.")
    ] = None,
) -> None:
    """Make a corpus of images drawn here: about a second each on one core, 3 KB for every 1000 pixels."""
    from .corpus import generate

    with _errors_as_sentences(), _progress("images") as progress:
        workers = workers or os.cpu_count() or 1
        generate(
            folder,
            seed=seed,
            count=count,
            size=size,
            workers=workers,
            only=only,
            typefaces=typefaces,
            progress=progress,
        )


@app.command()
def collect(
    folder: Folder,
    images: Annotated[list[Path], typer.Argument(metavar="PICTURES...", help="Your own: files, or folders of them.")],
    size: Size = 512,
) -> None:
    """Make a corpus of your own images, cut into tiles. Best are those that were reduced, or never compressed."""
    from .corpus import collect
    from .validation import image_files

    with _errors_as_sentences(), _progress("tiles") as progress:
        files = [file for each in images for file in (image_files(each) if each.is_dir() else [each])]
        collect(folder, files, size=size, progress=progress)


@app.command()
def train(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A folder; a training that is in it goes on.")],
    corpus: Annotated[Path, typer.Option(metavar="FOLDER", help="As generate or collect made it.")],
    mix: Annotated[
        list[str] | None,
        typer.Option(metavar="FOLDER=SHARE[,PLAIN]", help="Take this share of the crops from another corpus, such as "
                     "0.2; a second number is its own plain_share."),
    ] = None,
    config: Annotated[str, typer.Option(help=f"The rates and sizes to begin from: {', '.join(CONFIGS)}.")] = "pretrain",
    network: Annotated[str, typer.Option(help=f"By its published name: {', '.join(NETWORKS)}.")] = "VapSR-S",
    scale: Annotated[int, typer.Option(min=1, metavar="N", help="How many times larger.")] = 2,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any value of the config (steps, batch, patch, learning_rate, "
                     "seed, ...) or, as network.NAME, any hyper-parameter."),
    ] = None,
    begin: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Begin with this network's weights, as far as they fit.")
    ] = None,
    validate: Annotated[Path | None, typer.Option(metavar="FOLDER", help="Large images to measure on.")] = None,
    every: Annotated[int, typer.Option(min=1, metavar="N", help="Steps between checkpoints.")] = 500,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the CPU; default: torch's.")] = None,
) -> None:  # fmt: skip
    """Train a network. Ctrl-C ends after the step under way, with a checkpoint; the same command goes on from there."""
    with _errors_as_sentences():
        import torch

        from ..inference.upscaler import choose_device
        from ..weights.loader import load_model
        from .session import STATE, train
        from .trainer import Trainer
        from .validation import Validation

        if threads:
            torch.set_num_threads(threads)
        settings = _named(CONFIGS, config, "config")(_named(NETWORKS, network, "network"), scale)
        for each in set_ or ():
            settings = _changed(settings, each)
        trainer = Trainer(settings, _corpora(corpus, mix or [], scale), choose_device(device))
        console = Console(stderr=True)
        if (run / STATE).exists():
            trainer.load(run / STATE)
            _say(console, f"Going on from step {trainer.step} of {settings.steps}.")
        elif begin is not None:
            left = trainer.begin_with(load_model(begin).model.state_dict())
            _say(console, f"Beginning with {begin}; {len(left)} tensors of the network are new.")
        validation = Validation.of(validate, scale) if validate else None
        train(trainer, run, every=every, validation=validation, say=typer.echo)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a training.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.safetensors", help="The file to write or replace.")],
    fact: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="For its header: title, author, license, ...")
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Keep all digits; twice the size.")] = False,
) -> None:  # fmt: skip
    """Write the averaged weights of a training as safetensors, for load_model, spandrel and ComfyUI."""
    with _errors_as_sentences():
        from .export import export
        from .session import STATE

        facts = dict(_split(each) for each in fact or ())
        info = export(run / STATE, out, facts=facts, precision="fp32" if fp32 else "fp16")
        typer.echo(f"{out}: {info.variant} x{info.scale}, {info.parameters:,} parameters, {info.file_bytes:,} bytes")


@app.command()
def measure(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file, or the name of a bundled network.")],
    benchmarks: Annotated[list[Path], typer.Argument(metavar="FOLDERS...", help="With NNN_HR.png and NNN_LR.png.")],
    threads: Annotated[int | None, typer.Option(min=1, metavar="N", help="Of the CPU; default: torch's.")] = None,
) -> None:
    """Print PSNR and SSIM of a network beside bicubic, on clean, compressed and noisy images."""
    with _errors_as_sentences():
        import torch

        from ..weights.loader import load_model
        from .measuring import rows

        if threads:
            torch.set_num_threads(threads)
        loaded = load_model(model)
        for folder in benchmarks:
            typer.echo(f"| {folder.parent.name} x{loaded.scale} | bicubic | {Path(model).stem} |\n|---|---|---|")
            for row in rows(loaded.model, folder, loaded.scale):
                figures = (f"{psnr:.2f} / {ssim:.4f}" for psnr, ssim in (row.bicubic, row.network))
                typer.echo(f"| {row.degradation} | {' | '.join(figures)} |")


@app.command()
def letters(
    models: Annotated[list[str], typer.Argument(metavar="MODELS...", help="Files, or names of bundled networks.")],
    typeface: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="May be repeated. Default: Pillow's own.")
    ] = None,
) -> None:
    """Print how many characters Tesseract misreads on enlarged scans of small print, beside bicubic."""
    with _errors_as_sentences():
        from ..weights.loader import load_model
        from .letters import misread_shares

        typer.echo("| network | scale | typeface | bicubic | network |\n|---|---|---|---|---|")
        typefaces: list[Path | None] = [*typeface] if typeface else [None]
        for model in models:
            loaded = load_model(model)
            for each in typefaces:
                bicubic, network = misread_shares(loaded, each)
                name = each.stem if each else "Pillow's"
                typer.echo(f"| {Path(model).stem} | {loaded.scale} | {name} | {bicubic:.1%} | {network:.1%} |")


@app.command()
def edges(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A file, or the name of a bundled network.")],
    benchmarks: Annotated[list[Path], typer.Argument(metavar="FOLDERS...", help="With NNN_HR.png and NNN_LR.png.")],
) -> None:
    """Print the errors of the outermost pixels as the network computes them, and with the image continued."""
    with _errors_as_sentences():
        from ..weights.loader import load_model
        from .measuring import edge_errors

        typer.echo("| | ring 1 | ring 2 | ring 3 | ring 4 | ring 5 |\n|---|---|---|---|---|---|")
        for folder in benchmarks:
            for kind in ("network", "extend"):
                figures = (f"{error:.2f}" for error in edge_errors(load_model(model), folder, kind))
                typer.echo(f"| {Path(model).stem}, {folder.parent.name}, {kind} | {' | '.join(figures)} |")


@app.command()
def sheet(
    sources: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="With the photographs that training/sheet.py names.")
    ],
    out: Annotated[Path, typer.Argument(metavar="FOLDER", help="To write crops-2x.jpg and crops-4x.jpg into.")],
) -> None:
    """Draw crops of degraded pictures beside bicubic, as docs/images shows them."""
    with _errors_as_sentences():
        from .sheet import draw_sheet

        for scale in (2, 4):
            typer.echo(draw_sheet(sources, out, scale))


def _named(known: dict[str, Any], name: str, what: str) -> Any:
    if name not in known:
        raise TrainingError(f"There is no {what} {name!r}; there are {', '.join(known)}")
    return known[name]


def _changed(settings: Any, assignment: str) -> Any:
    """The config with one value changed, as NAME=VALUE says."""
    name, text = _split(assignment)
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    value = tuple(value) if isinstance(value, list) else value
    if name.startswith("network."):
        return replace(settings, network={**settings.network, name.removeprefix("network."): value})
    known = {n: v for n, v in vars(settings).items() if n not in ("family", "network", "scale")}
    if name not in known:
        raise TrainingError(f"A config has no value {name!r}; it has {', '.join(known)} and network.NAME")
    if isinstance(known[name], str):
        return replace(settings, **{name: text})
    if isinstance(value, bool) or not isinstance(value, (int, type(known[name]))) or value < 0:
        raise TrainingError(f"{name} is a number such as {known[name]}, not {text!r}")
    return replace(settings, **{name: type(known[name])(value)})


def _corpora(folder: Path, mix: list[str], scale: int) -> Any:
    """Return the corpus in a folder, or a mixture of it with those that FOLDER=SHARE[,PLAIN] names."""
    from .corpus import Corpus, Mixture

    others = [_split(each) for each in mix]
    try:
        numbers = [[float(number) for number in text.split(",", 1)] for _, text in others]
    except ValueError as error:
        raise TrainingError(f"A share of the crops is a number from 0 to 1 ({error})") from error
    corpora = [Corpus(each, scale) for each in (folder, *(Path(other) for other, _ in others))]
    shares = [share for share, *_ in numbers]
    plain = [None, *(number[1] if len(number) > 1 else None for number in numbers)]
    return Mixture(corpora, [1 - sum(shares), *shares], plain) if others else corpora[0]


def _split(assignment: str) -> tuple[str, str]:
    name, equals, text = assignment.partition("=")
    if not equals or not name:
        raise TrainingError(f"{assignment!r} is not NAME=VALUE")
    return name.strip(), text.strip()


@contextmanager
def _errors_as_sentences() -> Iterator[None]:
    """Errors that a user can act on become one sentence and an exit code of 1, Ctrl-C one of 130."""
    from ..inference.errors import UpscaleError
    from ..weights.errors import CheckpointError

    console = Console(stderr=True)
    try:
        yield
    except KeyboardInterrupt:
        _say(console, "Interrupted; the same command goes on from here.")
        raise typer.Exit(130) from None
    except (TrainingError, CheckpointError, UpscaleError, OSError) as error:
        _say(console, text if (text := str(error)).endswith((".", "?")) else f"{text}.")
        raise typer.Exit(1) from None


def _say(console: Console, sentence: str) -> None:
    console.print(sentence, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _progress(what: str) -> Iterator[Any]:
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m supertile.training"))
