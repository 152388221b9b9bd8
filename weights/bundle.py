"""The networks that come with the package: small, trained by `training/`."""

from __future__ import annotations

from pathlib import Path

from .model_folders import find_model

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


def bundled_for(factor: float | None) -> str:
    """Return the bundled network that enlarges by `factor` with the least work; for None, the one of largest scale."""
    return "supertile-2x" if factor is not None and factor <= 2 else "supertile-4x"
