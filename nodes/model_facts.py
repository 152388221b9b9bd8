"""The facts known about a model, as lines of text. Needs no ComfyUI."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spandrel import ImageModelDescriptor

from ..inference.memory import planned

METADATA_KEYS = {  # as modelspec, OpenModelDB and Hugging Face name them
    "title": ("modelspec.title", "title", "name"),
    "author": ("modelspec.author", "author", "authors"),
    "license": ("modelspec.license", "license", "licence"),
    "origin": ("modelspec.source", "source", "url", "homepage", "repo"),
    "description": ("modelspec.description", "description"),
    "date": ("modelspec.date", "date"),
}
MAX_VALUE_LENGTH = 300


def describe(
    model: ImageModelDescriptor, precision: str, file: str | None = None, metadata: Mapping[str, object] | None = None
) -> str:
    """Return lines of "name: value".

    Args:
        model: any upscale model.
        precision: precision the model was loaded in.
        file: its file name, if it is known.
        metadata: of its file; of these, author, license and origin are shown.
    """
    facts = {
        "file": file,
        "family": model.architecture.name,
        "variant": ", ".join(model.tags) or None,
        "scale": f"x{model.scale}",
        "channels": f"{model.input_channels} in, {model.output_channels} out",
        "parameters": f"{sum(p.numel() for p in model.model.parameters()):,}",
        "precision": precision,
        "memory": planned(model.model),
        **dict(_stated(metadata or {})),
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value)


def _stated(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield the facts that the metadata states, on one line each."""
    lower = {key.lower(): value for key, value in metadata.items() if isinstance(value, str)}
    for fact, keys in METADATA_KEYS.items():
        value = next((" ".join(lower[key].split()) for key in keys if lower.get(key)), None)
        if value is not None:
            yield fact, value if len(value) <= MAX_VALUE_LENGTH else value[: MAX_VALUE_LENGTH - 1] + "…"
