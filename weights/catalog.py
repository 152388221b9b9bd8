"""List models with family, scale, size and license, from the headers of their files alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .architectures import family_of, shapes_of
from .errors import CheckpointError, UnknownArchitectureError
from .files import CheckpointHeader, read_header
from .listing_cache import Facts, ListingCache, cache_file
from .model_folders import ModelFile, model_files
from .other_families import recognize
from .shapes import KnownArguments
from .state_dicts import drop_training_buffers

_LICENSE_KEYS = ("modelspec.license", "license", "licence")
_SCALE_IN_NAME = re.compile(r"(?<![a-z0-9])(?:sr)?(?:x([1-8])|([1-8])x)(?![0-9])", re.IGNORECASE)


@dataclass(frozen=True)
class ModelListing:
    """A model file as a list shows it.

    Attributes:
        name: by which it is found.
        path: the file.
        file_bytes: size of the file.
        family: "HAT", "VapSR", "HiT-SR" or spandrel's name of another architecture; None if it cannot be used.
        variant: the published name of its hyper-parameters; None for other architectures.
        scale: output pixels per input pixel along each side; None if the header does not tell.
        scale_from_name: True if the scale was only read from the file name.
        license: as the file states it, else None.
        problem: why it cannot be used, as a sentence; else None.
    """

    name: str
    path: Path
    file_bytes: int
    family: str | None = None
    variant: str | None = None
    scale: int | None = None
    scale_from_name: bool = False
    license: str | None = None
    problem: str | None = None


def list_models(folders: Iterable[Path] | None = None, *, cached: bool = False) -> list[ModelListing]:
    """Describe the models of all model folders and the bundled ones, reading headers only.

    Damage among the weights and missing tensors show only when a model is loaded.

    Args:
        folders: None for SUPERTILE_MODELS and ComfyUI's folders (`model_folders`).
        cached: keep what is found in the user's cache folder, and read only what has changed since.
    """
    cache = ListingCache(cache_file() if cached else None)
    listing = [_describe(file, cache) for file in model_files(folders)]
    cache.save()
    return listing


def license_of(metadata: Mapping[str, object]) -> str | None:
    """Return the license that the metadata of a file states, on one line."""
    lower = {key.lower(): value for key, value in metadata.items() if isinstance(value, str)}
    return next((" ".join(lower[key].split())[:80] for key in _LICENSE_KEYS if lower.get(key)), None)


def _describe(file: ModelFile, cache: ListingCache) -> ModelListing:
    try:
        status = file.path.stat()
        facts = cache.get(file.path, status)
        if facts is None:
            facts = _facts(file.path)
            if not (file.path.parent / "config.json").exists():  # it may belong to the file
                cache.put(file.path, status, facts)
    except OSError as error:
        return ModelListing(file.name, file.path, 0, problem=f"{error.strerror or error}.")
    listing = ModelListing(file.name, file.path, status.st_size, **facts)
    guessable = listing.problem is None and listing.scale is None
    if guessable and (match := _SCALE_IN_NAME.search(file.path.stem)) is not None:
        listing = replace(listing, scale=int(match[1] or match[2]), scale_from_name=True)
    return listing


def _facts(path: Path) -> Facts:
    """Return family, variant, scale, license and problem as the file states them. Raises OSError."""
    facts = dict.fromkeys(("family", "variant", "scale", "license", "problem"))
    try:
        header = read_header(path)
        family, variant, scale = _network(header)
    except CheckpointError as error:
        return facts | {"problem": f"{error.problem[:1].upper()}{error.problem[1:]}."}
    return facts | {"family": family, "variant": variant, "scale": scale, "license": license_of(header.metadata)}


def _network(header: CheckpointHeader) -> tuple[str, str | None, int | None]:
    """Return family, variant and scale."""
    shapes = shapes_of(header.tensors)
    family = family_of(shapes)
    if family is not None:
        known = KnownArguments.gather(header.metadata, header.config)
        config = family.read_config(drop_training_buffers(shapes), known)
        return family.NAME, family.variant(config), config.scale
    state = {name: torch.empty(info.shape, dtype=info.dtype, device="meta") for name, info in header.tensors.items()}
    name = recognize(state)
    if name is None:
        raise UnknownArchitectureError(header.path, "neither Supertile nor spandrel knows its architecture")
    return name, None, None
