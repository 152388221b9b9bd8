"""The upscalers of `supertile upscale` and the processes that share their work, started when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.choice import UpscalerChoice
from ..inference.pool import UpscalerPool
from ..video.source_kind import source_kind
from ..weights.bundle import bundled_for

if TYPE_CHECKING:
    from ..images.jobs import FileJob
    from ..images.source_kind import SourceKind
    from ..inference.spec import UpscalerSpec
    from ..inference.upscaler import Upscaler


class Upscalers:
    """One upscaler for all sources, or one for degraded sources and one for clean ones.

    Args:
        spec: of the upscaler; its model is replaced unless `fixed`.
        fixed: True to use the model of `spec` for all sources.
        factor: the enlargement that chooses among the bundled networks.
        device: to compute on, unless `devices` names several.
        devices: devices that share the work.
        stack: closes the processes.
        inform: called with a sentence for the first source of each kind.
    """

    def __init__(
        self,
        spec: UpscalerSpec,
        *,
        fixed: bool,
        factor: float | None,
        device: str,
        devices: Sequence[str],
        stack: ExitStack,
        inform: Callable[[str], None],
    ) -> None:
        self._spec, self._fixed, self._factor = spec, fixed, factor
        self._device, self._devices = devices[0] if devices else device, devices
        self._stack, self._inform = stack, inform
        self._pools: dict[bool, UpscalerPool] = {}
        self._choice = UpscalerChoice(self._build, kind_of=source_kind, inform=self._say)
        self._only = self._build(False) if fixed else None

    @property
    def choice(self) -> Upscaler | UpscalerChoice:
        """The upscaler of all sources, or the choice between two."""
        return self._only or self._choice

    def groups(self, jobs: Sequence[FileJob]) -> list[tuple[list[FileJob], Upscaler, UpscalerPool]]:
        """Return the jobs of each upscaler that has any, with it and its pool."""
        by_kind: dict[bool, list[FileJob]] = {}
        for job in jobs:
            by_kind.setdefault(self._is_degraded(job.source), []).append(job)
        return [(group, self._upscaler(kind), self._pool(kind)) for kind, group in by_kind.items()]

    def pool_of(self, source: Path) -> UpscalerPool | None:
        """Return the pool that shares the settings of a source's upscaler, None for a single device."""
        return self._pool(self._is_degraded(source)) if len(self._devices) > 1 else None

    def _is_degraded(self, source: Path) -> bool:
        return not self._fixed and self._choice.is_degraded(source)

    def _upscaler(self, degraded: bool) -> Upscaler:
        return self._only or self._choice.upscaler(degraded=degraded)

    def _pool(self, degraded: bool) -> UpscalerPool:
        if degraded not in self._pools:
            spec = self._spec_of(degraded).with_precision(self._upscaler(degraded))
            self._pools[degraded] = self._stack.enter_context(UpscalerPool(spec, self._devices))
        return self._pools[degraded]

    def _spec_of(self, degraded: bool) -> UpscalerSpec:
        return self._spec if self._fixed else replace(self._spec, model=bundled_for(self._factor, degraded=degraded))

    def _build(self, degraded: bool) -> Upscaler:
        return self._spec_of(degraded).build(self._device)

    def _say(self, source: Path, kind: SourceKind) -> None:
        name = self._spec_of(kind.is_degraded).model
        self._inform(f"{source.name} {kind.reason}: {name}; choose another with --model.")
