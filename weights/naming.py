"""The name by which messages and reports call a model: that of its file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spandrel import ImageModelDescriptor
from torch import nn

_SOURCE = "supertile_source"  # an attribute of our own on spandrel's descriptor, which copies of it keep


def note_source(
    model: ImageModelDescriptor[nn.Module], name: str, metadata: Mapping[str, object] | None = None
) -> None:
    """Note on a model which file it was loaded from, or what it was made of, and what the file's header says."""
    vars(model)[_SOURCE] = {"file": name, "metadata": dict(metadata or {})}


def source_of(model: ImageModelDescriptor[nn.Module]) -> dict[str, Any]:
    """Return what `note_source` has noted, as `file` and `metadata`; nothing for a model of another loader."""
    return dict(vars(model).get(_SOURCE, {}))


def name_of(model: ImageModelDescriptor[nn.Module]) -> str:
    """Return the name that was noted on a model, else its architecture's."""
    return str(source_of(model).get("file") or model.architecture.name)
