"""Find model files by name: in the folders that the user has named, in ComfyUI's, and among the bundled ones.

Needs no torch, so that the command line can complete names at once.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from .comfyui_folders import comfyui_folders
from .errors import UnreadableCheckpointError

MODELS_VARIABLE = "SUPERTILE_MODELS"
"""Environment variable with the user's model folders, separated as in PATH."""

MODEL_SUFFIXES = frozenset({".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin"})

_BUNDLED = Path(__file__).parent / "bundled"
_COMFYUI_PLACES = ("ComfyUI", "comfy/ComfyUI", "Documents/ComfyUI", "ComfyUI_windows_portable/ComfyUI")
_MAX_FILES = 5000
_MAX_DEPTH = 4
_MAX_NAMES = 5


@dataclass(frozen=True)
class ModelFile:
    """A model file in a model folder.

    Attributes:
        name: path below the folder, with forward slashes: "HAT/Real_HAT_GAN_SRx4.pth". Bundled ones have no suffix.
        path: the file.
        folder: the model folder.
    """

    name: str
    path: Path
    folder: Path

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which it is found: with and without its folders, with and without its suffix."""
        short = self.name.rpartition("/")[2]
        stem_length = len(short) - len(self.path.suffix) if short.endswith(self.path.suffix) else len(short)
        folders = self.name[: len(self.name) - len(short)]
        return tuple(dict.fromkeys((self.name, folders + short[:stem_length], short, short[:stem_length])))


def model_folders() -> list[Path]:
    """Return the model folders that exist, first those of SUPERTILE_MODELS, then ComfyUI's.

    Those are its `models/upscale_models` and what its `extra_model_paths.yaml` names. ComfyUI is looked for where this
    package lies in its custom_nodes, in the current folder, and in the usual places in the home folder.
    """
    named = [Path(text).expanduser() for text in os.environ.get(MODELS_VARIABLE, "").split(os.pathsep) if text]
    return _existing(*named, *(folder for host in _comfyui_places() for folder in comfyui_folders(host)))


def comfyui_installations() -> list[Path]:
    """Return the folders of ComfyUI that exist, among those in which `model_folders` looks for it."""
    return [
        place
        for place in _existing(*_comfyui_places())
        if (place / "main.py").is_file() and (place / "custom_nodes").is_dir()
    ]


def _comfyui_places() -> list[Path]:
    above = Path(__file__).absolute().parents
    hosts = [above[3]] if len(above) > 3 and above[2].name == "custom_nodes" else []
    hosts += [Path(), Path("ComfyUI")]
    with suppress(RuntimeError):  # no home folder
        hosts += [Path.home() / place for place in _COMFYUI_PLACES]
    return hosts


def _existing(*folders: Path) -> list[Path]:
    """Return the folders that exist, each once."""
    found: dict[str, Path] = {}
    for folder in folders:
        if folder.is_dir():
            found.setdefault(os.path.realpath(folder), folder)
    return list(found.values())


def model_files(folders: Iterable[Path] | None = None) -> list[ModelFile]:
    """Return the model files in folders, sorted by name in each, and then the bundled ones.

    Args:
        folders: None for `model_folders()`. Folders in them are walked too, hidden ones left out.
    """
    files = [
        ModelFile(path.relative_to(folder).as_posix(), path, folder)
        for folder in (model_folders() if folders is None else folders)
        for path in _files_below(folder, _MAX_DEPTH)
    ]
    bundled = [ModelFile(path.stem, path, _BUNDLED) for path in sorted(_BUNDLED.glob("*.safetensors"))]
    return files[:_MAX_FILES] + bundled


def find_model(name: str) -> Path | None:
    """Return the model file of a name, or None.

    The name may lack its suffix, its folders and its end, as long as only one file is meant; upper and lower case are
    the same. A name that fits as it stands comes before one that is only the beginning of others, and a folder before
    those after it.

    Raises:
        UnreadableCheckpointError: several files begin with the name.
    """
    wanted = name.replace(os.sep, "/")
    if not wanted.strip("./") or os.path.isabs(name):
        return None
    files = model_files()
    for fits in (lambda known: known == wanted, lambda known: known.casefold() == wanted.casefold()):
        for file in files:
            if any(map(fits, file.names)):
                return file.path
    start = wanted.casefold()
    beginning = [file for file in files if any(known.casefold().startswith(start) for known in file.names)]
    distinct = list({file.name: file for file in beginning}.values())
    if len(distinct) > 1:
        raise UnreadableCheckpointError(
            name, f"several models begin with this name: {_listed([file.name for file in distinct])}; type more of it"
        )
    return distinct[0].path if distinct else None


def hint_for(name: str | Path) -> str:
    """Return the end of the sentence about a model that does not exist: near names, or where to look."""
    wanted = Path(name).name.casefold()
    known = {known.casefold(): file.name for file in model_files() for known in file.names}
    stems = {Path(wanted).stem if Path(wanted).suffix in MODEL_SUFFIXES else wanted, wanted}
    near = [known[key] for stem in stems for key in difflib.get_close_matches(stem, known, n=3, cutoff=0.6)]
    if near:
        return f"did you mean {_listed(list(dict.fromkeys(near)), 'or')}?"
    return "check the name and the folder (supertile models lists those that are found by name)"


def _files_below(folder: Path, depth: int) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            visible = sorted(
                (each for each in entries if not each.name.startswith(".")), key=lambda each: each.name.casefold()
            )
    except OSError:
        return
    for entry in visible:
        path = folder / entry.name
        if path.suffix.lower() in MODEL_SUFFIXES:
            if path.is_file():
                yield path
        elif depth > 1 and entry.is_dir():
            yield from _files_below(path, depth - 1)


def _listed(names: list[str], word: str = "and") -> str:
    if len(names) > _MAX_NAMES:
        names = [*names[:_MAX_NAMES], f"{len(names) - _MAX_NAMES} more"]
    *most, last = names
    return f"{', '.join(most)} {word} {last}" if most else last
