"""What can be wrong with a measurement, in a sentence for the user."""

from __future__ import annotations

from ..errors import SupertileError


class BenchError(SupertileError):
    """Nothing can be measured as asked: a checkout that is none, a package that is missing, a contender that ended."""


class CheckoutError(BenchError):
    """A path is no checkout of the repository that it was given for."""

    exit_code = 2
