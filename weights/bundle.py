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
    """The file that is meant: one that exists, else the bundled network of that name, else the path as it is."""
    path = Path(name)
    return path if path.is_file() else bundled_models().get(str(name), path)


def bundled_for(factor: float | None) -> str:
    """Which bundled network makes images `factor` times as large with the least work; None: as large as it can."""
    return "supertile-2x" if factor is not None and factor <= 2 else "supertile-4x"
