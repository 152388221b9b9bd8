"""ComfyUI's folders: which files there are, and where new ones go. Names in a prompt lead nowhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io

from ..inference.errors import UpscaleError
from ..weights.architectures import family_of, shapes_of
from ..weights.bundle import bundled_models
from ..weights.errors import CheckpointError
from ..weights.files import read_header
from ..weights.loader import inspect_checkpoint

log = logging.getLogger(__name__)

MODELS = "upscale_models"

# --- models ------------------------------------------------------------------------------------------------------

_families: dict[tuple[str, int, int], str | None] = {}
"""(path, size, mtime) -> the family's name, "" for one of spandrel's, None for a file that cannot be used."""


def model_files(family: str | None = None) -> list[str]:
    """Names of the upscale models of one of our families, or of all readable ones, as ComfyUI's list names them.

    The bundled ones come last in every list: whoever has no model yet finds one. ComfyUI asks for the lists several
    times for every prompt, so each file is looked into once.
    """
    found = {name: _family(name) for name in folder_paths.get_filename_list(MODELS)}
    own = [name for name, its in found.items() if its is not None and family in (None, its)]
    return own + [name for name in _bundled() if name not in found]


def model_path(name: str) -> Path:
    """Where a file of the list lies; names that lead elsewhere are not found."""
    bundled = _bundled()
    if name in bundled and folder_paths.get_full_path(MODELS, name) is None:
        return bundled[name]
    return Path(folder_paths.get_full_path_or_raise(MODELS, name))


@cache
def _bundled() -> dict[str, Path]:
    """The bundled models by the names of their files."""
    return {path.name: path for path in bundled_models().values()}


def file_state(name: str) -> tuple[int, int] | None:
    """Size and time of change: another file under the same name is loaded anew."""
    path = folder_paths.get_full_path(MODELS, name) or _bundled().get(name)
    try:
        facts = os.stat(path) if path else None
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts else None


def _family(name: str) -> str | None:
    path = folder_paths.get_full_path(MODELS, name)
    state = file_state(name)
    if path is None or state is None:
        return None
    key = (path, *state)
    if key not in _families:
        try:
            ours = family_of(shapes_of(read_header(path).tensors))
            # Those of spandrel would have to be built to know more, which takes longer than a list may.
            _families[key] = inspect_checkpoint(path).family if ours else ""
        except CheckpointError as error:
            _families[key] = None
            log.warning("%s It is left out of Supertile's lists.", error)
    return _families[key]


# --- what comes in ----------------------------------------------------------------------------------------------


def input_files(suffixes: Collection[str]) -> list[str]:
    """Files of ComfyUI's input folder, as its own loaders list them."""
    folder = folder_paths.get_input_directory()
    wanted = tuple(suffixes)
    return sorted(each.name for each in os.scandir(folder) if each.name.lower().endswith(wanted) and each.is_file())


def input_path(name: str) -> Path:
    """Where a file lies that a prompt names: "clip.mp4", or "clip.mp4 [output]". Raises UpscaleError elsewhere."""
    try:
        return Path(folder_paths.get_annotated_filepath(name))
    except ValueError as error:
        raise UpscaleError(f"{name!r} is no file of the input folder") from error


def input_state(name: str) -> tuple[int, int] | None:
    """Size and time of change: another file under the same name is another source."""
    try:
        facts = os.stat(input_path(name))
    except (OSError, UpscaleError):
        return None
    return facts.st_size, facts.st_mtime_ns


# --- what goes out -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Where a node writes. prefix: as ComfyUI's own nodes take it, with %width% and folders. suffix: not the user's."""

    folder: io.FolderType
    prefix: str
    suffix: str


@dataclass(frozen=True)
class NewFile:
    path: Path
    subfolder: str


def new_file(place: Place, width: int, height: int) -> NewFile:
    """The next free name at a place, for images of width x height. Raises UpscaleError for a prefix that has none."""
    base = folder_paths.get_directory_by_type(place.folder.value)
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(place.prefix, base, width, height)
    except Exception as error:  # it raises nothing narrower
        raise UpscaleError(f"the prefix {place.prefix!r} names no place in the {place.folder.value} folder") from error
    if "%" in name:
        raise UpscaleError(f"the prefix {place.prefix!r} has a % that stands for nothing that is known here")
    while (path := Path(folder, f"{name}_{counter:05}_{place.suffix}")).exists():
        counter += 1
    return NewFile(path, subfolder)


def writes_metadata() -> bool:
    """Whether ComfyUI may write prompts and workflows into files."""
    return not args.disable_metadata
