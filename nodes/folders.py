"""ComfyUI's folders: list their files, find new names in them. No name in a prompt leads to any other folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io

from ..inference.errors import UpscaleError
from ..video.errors import VideoError
from ..video.parts.folder import JOBS
from ..weights.architectures import family_of, shapes_of
from ..weights.bundle import bundled_models
from ..weights.errors import CheckpointError
from ..weights.files import read_header
from ..weights.loader import inspect_checkpoint

log = logging.getLogger(__name__)

MODELS = "upscale_models"
DEFAULT_NAME = "Supertile"
MAX_NAME_BYTES = 200
"""Of a part of a prefix; file systems allow 255, with number and suffix."""

SHOWN_LETTERS = 60


def quoted(value: object) -> str:
    """Return what a prompt names, in quotes, for a message: the beginning of long names."""
    text = repr(value)
    return text if len(text) <= SHOWN_LETTERS else f"{text[: SHOWN_LETTERS - 4]}...'"


# --- models ------------------------------------------------------------------------------------------------------

_families: dict[tuple[str | Path, int, int], str | None] = {}
"""(path, size, mtime) -> family; "" for an architecture of spandrel, None for a file that cannot be loaded."""


def model_files(family: str | None = None) -> list[str]:
    """List the upscale models of a family of Supertile, or all of them, by their names in ComfyUI's list.

    A file that cannot be read is in the list of all, where choosing it shows the reason. Bundled models come last.
    ComfyUI asks for the lists several times for every prompt, so each file is read once, and only for the lists of a
    family.
    """
    files = folder_paths.get_filename_list(MODELS)
    names = [*files, *(name for name in _bundled() if name not in files)]
    return [name for name in names if family is None or _family(name) == family]


def is_bundled(name: str) -> bool:
    """Return True if this is the file name of a model that comes with the pack."""
    return name in _bundled()


def model_path(name: str) -> Path:
    """Return the path of a file of the list. Raises FileNotFoundError for other names."""
    bundled = _bundled()
    if name in bundled and folder_paths.get_full_path(MODELS, name) is None:
        return bundled[name]
    return Path(folder_paths.get_full_path_or_raise(MODELS, name))


@cache
def _bundled() -> dict[str, Path]:
    """Return the bundled models by file name."""
    return {path.name: path for path in bundled_models().values()}


def file_state(name: str) -> tuple[int, int] | None:
    """Return size and modification time of a model, so that a file that has changed is loaded again."""
    path = folder_paths.get_full_path(MODELS, name) or _bundled().get(name)
    try:
        facts = os.stat(path) if path else None
    except OSError:
        return None
    return (facts.st_size, facts.st_mtime_ns) if facts else None


def _family(name: str) -> str | None:
    path = folder_paths.get_full_path(MODELS, name) or _bundled().get(name)
    state = file_state(name)
    if path is None or state is None:
        return None
    key = (path, *state)
    if key not in _families:
        try:
            own = family_of(shapes_of(read_header(path).tensors))
            # To recognize an architecture of spandrel, the model would have to be built: too slow for a list.
            _families[key] = inspect_checkpoint(path).family if own else ""
        except CheckpointError as error:
            _families[key] = None
            log.warning("%s The lists of Supertile's families leave it out.", error)
    return _families[key]


# --- input -------------------------------------------------------------------------------------------------------


def input_files(suffixes: Collection[str]) -> list[str]:
    """List the files in ComfyUI's input folder, without links that lead out of it, which ComfyUI opens for no node."""
    folder = folder_paths.get_input_directory()
    return sorted(each.name for each in os.scandir(folder) if is_input(each.name, suffixes))


def is_input(name: object, suffixes: Collection[str]) -> bool:
    """Return True if a prompt may name this file: "clip.mp4", "folder/clip.mp4" or "clip.mp4 [output]"."""
    try:
        path = input_path(name) if isinstance(name, str) else None
        return path is not None and path.name.lower().endswith(tuple(suffixes)) and path.is_file()
    except (OSError, ValueError, UpscaleError):
        return False


def input_path(name: str) -> Path:
    """Return the path for a name in a prompt, "clip.mp4" or "clip.mp4 [output]". Raises UpscaleError for others."""
    try:
        path = Path(folder_paths.get_annotated_filepath(name))
        folders = map(folder_paths.get_directory_by_type, ("input", "output", "temp"))
        if any(path.resolve().is_relative_to(Path(folder).resolve()) for folder in folders):
            return path  # cores before 0.28 do not check this themselves
    except ValueError as error:
        raise UpscaleError(f"{quoted(name)} is not a file in the input folder.") from error
    raise UpscaleError(f"{quoted(name)} is not a file in the input folder.")


def input_state(name: str) -> tuple[int, int] | None:
    """Return size and modification time of an input, so that a file that has changed is read again."""
    try:
        facts = os.stat(input_path(name))
    except (OSError, ValueError, UpscaleError):
        return None
    return facts.st_size, facts.st_mtime_ns


# --- output ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Place:
    """Folder and name for the files that a node writes.

    Attributes:
        folder: output or temp.
        prefix: of the file name, as in ComfyUI's own nodes: with folders and %width%.
        suffix: of the file name, ".mp4".
    """

    folder: io.FolderType
    prefix: str
    suffix: str


@dataclass(frozen=True)
class NewFile:
    path: Path
    subfolder: str


def new_file(place: Place, width: int, height: int) -> NewFile:
    """Return the next free name at a place, for images of width x height. Raises UpscaleError for a bad prefix."""
    base = folder_paths.get_directory_by_type(place.folder.value)
    prefix = place.prefix.strip()
    if os.path.normpath(prefix) == ".":
        prefix = DEFAULT_NAME
    if "\0" in prefix or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in prefix.split("/")):
        raise UpscaleError(
            f"The file name prefix {quoted(prefix)} cannot be part of a file name; choose one of at most "
            f"{MAX_NAME_BYTES} letters without control characters."
        )
    try:
        folder, name, counter, subfolder, _ = folder_paths.get_save_image_path(prefix, base, width, height)
    except OSError as error:
        raise UpscaleError(
            f"The file name prefix {quoted(prefix)} cannot be used: {(error.strerror or 'error').lower()}."
        ) from error
    except Exception as error:  # ComfyUI raises nothing narrower
        raise UpscaleError(
            f"The file name prefix {quoted(place.prefix)} leads out of the {place.folder.value} folder; choose another."
        ) from error
    if "%" in name:
        raise UpscaleError(
            f"The file name prefix {quoted(place.prefix)} has an unknown variable; use %width%, %height%, %year%, "
            "%month%, %day%, %hour%, %minute% or %second%."
        )
    while (path := Path(folder, f"{name}_{counter:05}_{place.suffix}")).exists():
        counter += 1
    return NewFile(path, subfolder)


_temporary: set[Path] = set()


def note_temporary(path: Path) -> None:
    """Note a file in the temp folder that cached results of ComfyUI refer to."""
    _temporary.add(path)


def count_of_vanished() -> int:
    """Return how many of these files were deleted: it grows when cached results have lost theirs."""
    return sum(not path.exists() for path in _temporary)


def jobs_folder(place: Place) -> Path:
    """Return the folder for the parts of unfinished videos, which no list of ComfyUI shows.

    Those of videos in the temp folder lie in the output folder as well, because ComfyUI empties the temp folder when
    it starts; but apart, because the workflows in such files are others.
    """
    jobs = Path(folder_paths.get_output_directory(), JOBS)
    return jobs / "temp" if place.folder is io.FolderType.temp else jobs


def below_its_folder(path: Path) -> str:
    """Return a path below the output folder as the page shows it, any other by its name."""
    try:
        return path.relative_to(folder_paths.get_output_directory()).as_posix()
    except ValueError:
        return path.name


def without_folders(sentence: str) -> str:
    """Return a sentence with the paths of files in ComfyUI's folders as names below them."""
    for kind in ("input", "output", "temp"):
        folder = folder_paths.get_directory_by_type(kind)
        for form in dict.fromkeys((folder, os.path.realpath(folder))):
            sentence = sentence.replace(os.path.join(form, ""), "")
    return sentence


@contextmanager
def naming_files() -> Iterator[None]:
    """Name files in errors as the user knows them, without the server's folders."""
    try:
        yield
    except VideoError as error:
        if (plain := without_folders(str(error))) == str(error):
            raise
        raise type(error)(plain) from error


def writes_metadata() -> bool:
    """Return True unless ComfyUI was started with --disable-metadata."""
    return not args.disable_metadata
