"""The values that options take, and the options that several commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer


class Precision(str, Enum):
    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


class Compile(str, Enum):
    off = "off"
    auto = "auto"
    on = "on"
    verified = "verified"


class Seamless(str, Enum):
    none = "none"
    x = "x"
    y = "y"
    both = "both"


class Format(str, Enum):
    png = "png"
    jpg = "jpg"
    jpeg = "jpeg"
    webp = "webp"
    tif = "tif"
    tiff = "tiff"
    avif = "avif"
    jxl = "jxl"


class Deinterlace(str, Enum):
    auto = "auto"
    yes = "yes"
    no = "no"


class Dtype(str, Enum):
    keep = "keep"
    fp32 = "fp32"
    fp16 = "fp16"
    bf16 = "bf16"


def number_or(*words: str, at_least: int) -> Callable[[str], int | str]:
    """Return a parser for an option that takes one of `words` or a whole number."""

    def parse(text: str) -> int | str:
        if text in words:
            return text
        if not text.isdecimal() or int(text) < at_least:
            raise typer.BadParameter(f"{text!r} is not {', '.join(words)} or a whole number from {at_least}.")
        return int(text)

    return parse


def parse_mean(text: str) -> tuple[float, ...]:
    """Parse a color, "R,G,B" or one gray value."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) not in (1, 3) or not all(0 <= value <= 1 for value in values):
        raise typer.BadParameter(f"{text!r} is not R,G,B, or one number for gray, each from 0 to 1.")
    return values


def parse_blend(text: str) -> tuple[str, float]:
    """Parse "MODEL=WEIGHT"."""
    model, _, weight = text.rpartition("=")
    try:
        share = float(weight)
    except ValueError:
        share = -1.0
    if not model or not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is not MODEL=WEIGHT, with a weight from 0 to 1, as in supertile-4x=0.3.")
    return model, share


def parse_patch(text: str) -> tuple[int, int, int]:
    """Parse "X,Y,SIZE" in pixels."""
    if not re.fullmatch(r"\d{1,9},\d{1,9},[1-9]\d{0,8}", text):
        raise typer.BadParameter(f"{text!r} is not X,Y,SIZE: the top left corner and the side of a square, in pixels.")
    x, y, size = map(int, text.split(","))
    return x, y, size


def parse_point(text: str) -> tuple[int, int]:
    """Parse "X,Y" in pixels."""
    if not re.fullmatch(r"\d{1,9},\d{1,9}", text):
        raise typer.BadParameter(f"{text!r} is not X,Y: whole numbers of pixels from the left and the top.")
    x, y = map(int, text.split(","))
    return x, y


def parse_time(text: str) -> Any:
    """Parse seconds, or hours:minutes:seconds, as a Fraction."""
    from fractions import Fraction

    seconds = Fraction(0)
    parts = text.split(":")
    for part in parts:
        if not re.fullmatch(r"\d{1,9}(\.\d{0,9})?", part) or len(parts) > 3:
            raise typer.BadParameter(f"{text!r} is not a time; give seconds (90.5) or h:mm:ss (0:01:30.5).")
        seconds = seconds * 60 + Fraction(part)
    return seconds


def parse_rate(text: str) -> Any:
    """Parse frames per second as a Fraction."""
    from fractions import Fraction

    if not re.fullmatch(r"\d{1,9}(\.\d{1,9}|/[1-9]\d{0,8})?", text) or not Fraction(text):
        raise typer.BadParameter(f"{text!r} is not a frame rate; give one such as 25, 23.976 or 24000/1001.")
    return Fraction(text)


def parse_size(text: str) -> Any:
    """Parse a size as `images.size.Size`."""
    from ..images.size import Size, SizeError

    try:
        return Size.parse(text)
    except SizeError as error:
        raise typer.BadParameter(str(error)) from None


def parse_tile(text: str) -> int | str:
    """Parse a tile size; "none" is another word for "whole"."""
    tile = number_or("auto", "whole", "none", at_least=1)(text)
    return "whole" if tile == "none" else tile


def complete_model(incomplete: str) -> list[str]:
    """Return what the shell may complete `--model` to: names of models, and files and folders on the way to them."""
    from ..weights.model_folders import MODEL_SUFFIXES, model_files

    names = {name for file in model_files() for name in file.names if name.startswith(incomplete)}
    folder, beginning = os.path.split(incomplete)
    try:
        entries = list(os.scandir(folder or "."))
    except OSError:
        entries = []
    for entry in entries:
        path = os.path.join(folder, entry.name)
        if not entry.name.startswith(beginning) or (entry.name.startswith(".") and not beginning):
            continue
        if Path(path).suffix.lower() in MODEL_SUFFIXES:
            names.add(path)
        elif folder and entry.is_dir():
            names.add(f"{path}/")
    return sorted(names)


def add_model_folder(context: typer.Context, folder: Path | None) -> Path | None:
    """Search a folder for models before all others until the command ends, in its worker processes too."""
    from ..weights.model_folders import MODELS_VARIABLE

    if folder is None or context.resilient_parsing:
        return folder
    before = os.environ.get(MODELS_VARIABLE)

    def restore() -> None:
        if before is None:
            os.environ.pop(MODELS_VARIABLE, None)
        else:
            os.environ[MODELS_VARIABLE] = before

    context.call_on_close(restore)
    folders = [str(folder.absolute()), before]
    source = context.get_parameter_source("model_folder")
    if source is not None and source.name == "DEFAULT_MAP":  # a configuration file, which comes after the environment
        folders.reverse()
    os.environ[MODELS_VARIABLE] = os.pathsep.join(filter(None, folders))
    return folder


Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=complete_model,
        help="Checkpoint of the model, or the name of one that supertile models lists. Default: supertile-2x for sizes "
        "up to 2x, else supertile-4x.",
    ),
]
ModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--models",
        metavar="FOLDER",
        exists=True,
        file_okay=False,
        callback=add_model_folder,
        help="Folder to find models in by name, besides those of SUPERTILE_MODELS, ComfyUI's and the bundled ones.",
    ),
]
UpscaleModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        "-m",
        metavar="MODEL",
        autocompletion=complete_model,
        help="Checkpoint of the model, or the name of one that supertile models lists. Bundled: supertile-photo-2x and "
        "-4x for JPEGs, videos and noisy images, supertile-2x and -4x for clean ones. Default: chosen for each source; "
        "2x for sizes up to 2x.",
    ),
]
Denoise = Annotated[
    float | None,
    typer.Option(
        min=0,
        max=1,
        metavar="STRENGTH",
        help="How much noise and compression the bundled models remove, from 0 (supertile-4x) to 1 "
        "(supertile-photo-4x). Default: the source decides between both.",
    ),
]
Then = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODEL",
        autocompletion=complete_model,
        help="Another model, which runs on the result of --model: --model 1x-repair.pth --then supertile-4x. May be "
        "given several times. Where --size needs more, all but those of scale 1 run again.",
    ),
]
Blend = Annotated[
    Any,
    typer.Option(
        parser=parse_blend,
        metavar="MODEL=WEIGHT",
        help="Blend --model with another of the same scale; WEIGHT is that one's, from 0 to 1. If both are of one "
        "architecture and size, their weights are blended, else their results.",
    ),
]
Strength = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        metavar="STRENGTH",
        help="Mix in the source, resampled: 1 is all model, 0 all resampling (bicubic).",
    ),
]
KeepColors = Annotated[
    bool,
    typer.Option(
        "--keep-colors",
        help="Keep the colors of the source: reduced to its size, the result is the source. For clean sources: noise "
        "is kept as well.",
    ),
]
MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="FILE",
        help="Image that is white where the model is to be used; elsewhere images are resampled. Faster, because tiles "
        "without white are not computed. Resized to each image; not for videos.",
    ),
]
SizeOption = Annotated[
    Any,
    typer.Option(
        parser=parse_size,
        metavar="SIZE",
        help="Size of the result: a factor (2x, 1.5x), a box to fit into (1920x1080, 4k, 1080p), a side (1920x, x1080) "
        "or megapixels (12mp). These keep the aspect ratio. Exactly 1920x1080: fill:1920x1080 crops what is beyond, "
        "pad:1920x1080 adds bars (black or transparent; pad:1920x1080:white), stretch:1920x1080 distorts. Default: "
        "the scale of the model.",
    ),
]
Tile = Annotated[
    Any,
    typer.Option(
        parser=parse_tile,
        metavar="auto|whole|N",
        help="Longest side of a tile, in pixels of the source. whole: do not tile. auto: the whole image if it fits in "
        "memory, else the largest sensible tile.",
    ),
]
Overlap = Annotated[
    Any,
    typer.Option(
        parser=number_or("auto", at_least=0),
        metavar="auto|N",
        help="Overlap of neighboring tiles, in pixels of the source. auto: what the network needs for invisible seams.",
    ),
]
Batch = Annotated[
    Any,
    typer.Option(
        parser=number_or("auto", at_least=1),
        metavar="auto|N",
        help="Number of tiles computed at once. auto: chosen by the memory available.",
    ),
]
PrecisionOption = Annotated[
    Precision,
    typer.Option(
        help="Numeric precision of the network. auto: half precision where the hardware is faster with it and the "
        "difference is invisible, which for 8 bits means less than for more; else fp32."
    ),
]
CompileOption = Annotated[
    Compile,
    typer.Option(
        "--compile",
        help="Compile the network with torch.compile. auto: on CUDA, once the tiles have taken a minute. verified: as "
        "auto on a card on which supertile doctor has found that it works, else off.",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Number of CPU threads of the network. Default: one for each core, fewer while other programs are busy.",
    ),
]
Device = Annotated[
    str, typer.Option(help="Device to compute on: auto, cpu, cuda, cuda:1 or mps. auto: CUDA, else MPS, else the CPU.")
]
Cluster = Annotated[
    str | None,
    typer.Option(
        metavar="ADDRESS",
        help="Let the machines of a Ray cluster compute long videos: HOST:PORT, auto (the cluster that this machine "
        "belongs to) or local (start Ray here). Needs supertile[cluster].",
    ),
]
Devices = Annotated[
    str | None,
    typer.Option(
        metavar="NAMES",
        help="Several devices that share the work, a process for each: cuda:0,cuda:1 or all. They take images, and "
        "parts of long videos.",
    ),
]
SeamlessOption = Annotated[
    Seamless,
    typer.Option(
        "--seamless", help="Axes along which the image wraps around, for textures and panoramas. x: left and right."
    ),
]
SelfEnsemble = Annotated[
    bool,
    typer.Option(
        "--self-ensemble",
        help="Average the results of all eight flips and rotations: slightly better, eight times slower.",
    ),
]
Mean = Annotated[
    Any,
    typer.Option(
        parser=parse_mean,
        metavar="R,G,B",
        help="Mean color the model was trained with, each value from 0 to 1. Needed only if the checkpoint does not "
        "state it.",
    ),
]
BaseWindow = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Base window size of a HiT-SR model, in pixels. Needed only if the checkpoint does not state it.",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace files that exist. Sources are never replaced.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the figures to FILE as JSON.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only warnings and errors.")]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="SUPERTILE_DEBUG", help="Show the traceback of an error, for bug reports.")
]
