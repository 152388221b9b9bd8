"""The networks that come with the package: small, trained by `training/`."""

from __future__ import annotations

from pathlib import Path

from .model_folders import find_model

EXTENDED_EDGES = frozenset({"supertile-2x", "supertile-4x", "supertile-photo-2x", "supertile-photo-4x"})
"""Networks, by the title in their header, whose outermost pixels are nearer to the original if the image is continued.

Measured; see the section "Edges" of docs/decisions/inference.md. VapSR learns to see through its padding with zeros:
the authors' files, trained for much longer, do not gain.
"""
EDGE_MARGIN = 4

_FOLDER = Path(__file__).parent / "bundled"


def bundled_models() -> dict[str, Path]:
    """Return the file of each bundled network by its name, sorted.

    "supertile-2x" and "supertile-4x" are for clean images, "supertile-photo-2x" and "supertile-photo-4x" for
    compressed, noisy or blurred ones.
    """
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def resolve(name: str | Path) -> Path:
    """Return the file that a name means: a path that exists, a bundled network, or a file of the model folders.

    A path that exists is returned unchanged, and so is one that nothing fits. `model_folders.find_model` describes
    which names fit.

    Raises:
        UnreadableCheckpointError: the name is the beginning of several models.
    """
    path = Path(name)
    if path.is_file():
        return path
    if (bundled := bundled_models().get(str(name))) is not None:
        return bundled
    return path if path.exists() else find_model(str(name)) or path


def bundled_pair(name: str | Path) -> tuple[Path, Path] | None:
    """Return the networks for clean images and for photos of the scale of a bundled one; None for other models."""
    models, path = bundled_models(), resolve(name)
    if path not in models.values():
        return None
    scale = path.stem.rpartition("-")[2]
    return models[f"supertile-{scale}"], models[f"supertile-photo-{scale}"]


def bundled_for(factor: float | None, *, degraded: bool = False) -> str:
    """Return the bundled network that enlarges by `factor` with the least work; for None, the one of largest scale.

    With `degraded`, the one for compressed, noisy or blurred images.
    """
    scale = "2x" if factor is not None and factor <= 2 else "4x"
    return f"supertile-photo-{scale}" if degraded else f"supertile-{scale}"
