"""The version of this package, which stands in pyproject.toml."""

from __future__ import annotations

from pathlib import Path


def version() -> str:
    """Return it: from the pyproject.toml beside this file in a checkout, else as it was installed."""
    project = Path(__file__).with_name("pyproject.toml")
    if project.is_file():
        for line in project.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "version":
                return value.strip().strip('"')
    from importlib.metadata import version as installed_version

    return installed_version("supertile")
