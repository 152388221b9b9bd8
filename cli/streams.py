"""Standard output and error that never fail: closed, full, cut off by `| head -1`, or unable to show a character."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast


class TolerantStream:
    """A text stream that escapes the characters it cannot show, and drops everything after its first failure.

    Attributes:
        failure: the error that ended the output; None while there is none.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self.failure is None:
            encoding = self._stream.encoding or "utf-8"
            try:
                self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
            except OSError as error:
                self._fail(error)
        return len(text)

    def flush(self) -> None:
        if self.failure is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._fail(error)

    def _fail(self, error: OSError) -> None:
        """Lead the descriptor into nothing, so that what is still buffered does not fail at the end of the process."""
        self.failure = error
        with suppress(OSError, ValueError):
            descriptor, nothing = self._stream.fileno(), os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, descriptor)
            os.close(nothing)


@contextmanager
def tolerant_streams() -> Iterator[TolerantStream]:
    """Make `sys.stdout` and `sys.stderr` tolerant while the block runs; yield the former."""
    before = sys.stdout, sys.stderr
    tolerant = [each if isinstance(each, TolerantStream) else TolerantStream(each or _null()) for each in before]
    sys.stdout, sys.stderr = (cast(TextIO, each) for each in tolerant)
    try:
        yield tolerant[0]
    finally:
        for each in tolerant:
            each.flush()
        sys.stdout, sys.stderr = before


def open_missing_descriptors() -> None:
    """Open descriptors 0 to 2 where they are closed, lest a file gets their number and what libraries print."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number


def _null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")
