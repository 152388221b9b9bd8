"""The root of every error that Supertile raises for its user."""

from __future__ import annotations

from typing import Any


class SupertileError(Exception):
    """Base class of Supertile's errors. `str()` is one sentence: what was given, what is wrong, what to do.

    Subclasses carry the name of the package instead of their module, so that a host prints `supertile.UpscaleError`.
    All of them can be had from the package itself.
    """

    exit_code = 1
    """Exit code of the command line: 1 if something failed, 2 for wrong usage."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = "supertile"


SupertileError.__module__ = "supertile"
