"""The caller of an Upscaler, who wants to see progress and may cancel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from .errors import Cancelled


@dataclass(frozen=True)
class Host:
    """The two functions that a caller may pass along; either may be None. Exceptions that they raise propagate.

    Attributes:
        progress: called with the steps done and the steps known so far, after every batch.
        cancelled: called before every batch and every strip; True cancels.
    """

    progress: Callable[[int, int], None] | None = None
    cancelled: Callable[[], bool] | None = None

    def report(self, done: int, total: int) -> None:
        if self.progress is not None:
            self.progress(done, total)

    def check_cancelled(self) -> None:
        """Raise `Cancelled` if the caller wants to stop."""
        if self.cancelled is not None and self.cancelled():
            raise Cancelled("the upscaling was cancelled")

    def without_progress(self) -> Host:
        return replace(self, progress=None)
