"""Errors of a benchmark. `str()` is one sentence for the user."""

from __future__ import annotations

from ..errors import SupertileError


class BenchError(SupertileError):
    """A benchmark cannot run: a wrong checkout, a missing package, a contender that has ended."""


class CheckoutError(BenchError):
    """A path is not a checkout of the repository it was given for."""

    exit_code = 2
