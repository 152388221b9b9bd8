"""A model in a few lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spandrel import ImageModelDescriptor

from ..inference.memory import planned

# What those who write it call it: modelspec, OpenModelDB, Hugging Face.
FACTS = {
    "title": ("modelspec.title", "title", "name"),
    "author": ("modelspec.author", "author", "authors"),
    "license": ("modelspec.license", "license", "license"),
    "origin": ("modelspec.source", "source", "url", "homepage", "repo"),
    "description": ("modelspec.description", "description"),
    "date": ("modelspec.date", "date"),
}
LONGEST = 300


def describe(
    model: ImageModelDescriptor, precision: str, file: str | None = None, metadata: Mapping[str, object] | None = None
) -> str:
    """One "name: value" a line; of the metadata what says who made it and what may be done with it."""
    facts = {
        "file": file,
        "family": model.architecture.name,
        "variant": ", ".join(model.tags) or None,
        "scale": f"x{model.scale}",
        "channels": f"{model.input_channels} in, {model.output_channels} out",
        "parameters": f"{sum(p.numel() for p in model.model.parameters()):,}",
        "precision": precision,
        "memory": planned(model.model),
        **dict(_told(metadata or {})),
    }
    return "\n".join(f"{name}: {value}" for name, value in facts.items() if value)


def _told(metadata: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    lower = {name.lower(): value for name, value in metadata.items()}
    for fact, names in FACTS.items():
        found = next((lower[name] for name in names if isinstance(lower.get(name), str) and lower[name]), None)
        if found is not None:
            words = " ".join(str(found).split())
            yield fact, words if len(words) <= LONGEST else words[: LONGEST - 1] + "…"
