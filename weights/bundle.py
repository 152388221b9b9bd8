"""The networks that come with the package: small, trained by `training/`."""

from __future__ import annotations

from pathlib import Path

_FOLDER = Path(__file__).parent / "bundled"


def bundled_models() -> dict[str, Path]:
    """Return the file of each bundled network by its name, sorted.

    "supertile-2x" and "supertile-4x" are for clean images, "supertile-photo-2x" and "supertile-photo-4x" for
    compressed, noisy or blurred ones.
    """
    return {path.stem: path for path in sorted(_FOLDER.glob("*.safetensors"))}


def resolve(name: str | Path) -> Path:
    """Return a path that exists unchanged, else the file of the bundled network of that name, else the path."""
    path = Path(name)
    return path if path.is_file() else bundled_models().get(str(name), path)


def bundled_for(factor: float | None) -> str:
    """Return the bundled network that enlarges by `factor` with the least work; for None, the one of largest scale."""
    return "supertile-2x" if factor is not None and factor <= 2 else "supertile-4x"
