"""Choose between an upscaler for degraded sources and one for clean ones, file by file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from .source_kind import SourceKind, source_kind

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


class UpscalerChoice:
    """An upscaler for each kind of source, built when the first source of that kind is due. Safe for several threads.

    Args:
        build: returns the upscaler for degraded sources (True) or for clean ones (False).
        kind_of: decides about a source.
        inform: called with the first source of each kind.
    """

    def __init__(
        self,
        build: Callable[[bool], Upscaler],
        *,
        kind_of: Callable[[Path], SourceKind] = source_kind,
        inform: Callable[[Path, SourceKind], None] = lambda source, kind: None,
    ) -> None:
        self._build, self._kind_of, self._inform = build, kind_of, inform
        self._kinds: dict[Path, bool] = {}
        self._upscalers: dict[bool, Upscaler] = {}
        self._informed: set[bool] = set()
        self._lock = threading.RLock()

    def is_degraded(self, source: Path) -> bool:
        """Return True if a source is compressed or noisy."""
        with self._lock:
            if source not in self._kinds:
                kind = self._kind_of(source)
                self._kinds[source] = kind.is_degraded
                if kind.reason and kind.is_degraded not in self._informed:
                    self._informed.add(kind.is_degraded)
                    self._inform(source, kind)
            return self._kinds[source]

    def upscaler(self, *, degraded: bool) -> Upscaler:
        """Return the upscaler for degraded or for clean sources."""
        with self._lock:
            if degraded not in self._upscalers:
                self._upscalers[degraded] = self._build(degraded)
            return self._upscalers[degraded]

    def replace(self, upscaler: Upscaler, *, degraded: bool) -> None:
        """Use another upscaler for degraded or for clean sources."""
        with self._lock:
            self._upscalers[degraded] = upscaler

    def built(self) -> list[tuple[bool, Upscaler]]:
        """Return the upscalers that were needed so far, each with True if it is for degraded sources."""
        with self._lock:
            return list(self._upscalers.items())

    def of(self, source: Path) -> Upscaler:
        """Return the upscaler for a source."""
        return self.upscaler(degraded=self.is_degraded(source))


def upscaler_for(source: Path, upscaler: Upscaler | UpscalerChoice) -> Upscaler:
    """Return the upscaler for a source, where one may serve all."""
    return upscaler.of(source) if isinstance(upscaler, UpscalerChoice) else upscaler


class Identities:
    """The identities of upscalers, each computed once."""

    def __init__(self, upscaler: Upscaler | UpscalerChoice) -> None:
        self._upscaler = upscaler
        self._known: dict[int, Mapping[str, str]] = {}

    def of(self, source: Path) -> Mapping[str, str]:
        """Return the identity of the upscaler for a source."""
        return self.of_upscaler(upscaler_for(source, self._upscaler))

    def of_upscaler(self, upscaler: Upscaler) -> Mapping[str, str]:
        """Return the identity of one of the upscalers."""
        if id(upscaler) not in self._known:
            self._known[id(upscaler)] = upscaler.identity()
        return self._known[id(upscaler)]
