"""The upscalers of `supertile upscale` and the processes that share their work, started when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..images.choice import UpscalerChoice
from ..images.source_kind import SourceKind
from ..inference.cluster.pool import RayPool
from ..inference.eight_bits import sentence
from ..inference.pool import UpscalerPool
from ..video.source_kind import source_kind
from ..weights.bundle import bundled_for

if TYPE_CHECKING:
    from ..images.jobs import FileJob
    from ..inference.spec import UpscalerSpec
    from ..inference.upscaler import Upscaler

_FIXED = SourceKind(False, "")


class Upscalers:
    """One upscaler for all sources, or one for degraded sources and one for clean ones.

    Args:
        spec: of the upscaler; its model is replaced unless `fixed`.
        fixed: True to use the model of `spec` for all sources, which is then built at once.
        factor: the enlargement that chooses among the bundled networks.
        device: to compute on, unless `devices` names several.
        devices: devices that share the work.
        cluster: address of a Ray cluster for videos; None: no cluster.
        stack: closes the processes.
        inform: called with a sentence for the first source of each kind.
        warn: called with sentences about the cluster.
        kind_of: decides which sources are degraded.
    """

    def __init__(
        self,
        spec: UpscalerSpec,
        *,
        fixed: bool,
        factor: float | None,
        device: str,
        devices: Sequence[str],
        cluster: str | None,
        stack: ExitStack,
        inform: Callable[[str], None],
        warn: Callable[[str], None],
        kind_of: Callable[[Path], SourceKind] = source_kind,
    ) -> None:
        self._spec, self._fixed, self._factor = spec, fixed, factor
        self._device, self._devices = devices[0] if devices else device, devices
        self._cluster, self._stack, self._inform, self._warn = cluster, stack, inform, warn
        self._pools: dict[bool, UpscalerPool] = {}
        self._clusters: dict[bool, RayPool] = {}
        kind_of = (lambda source: _FIXED) if fixed else kind_of
        self.choice = UpscalerChoice(self._build, kind_of=kind_of, inform=self._say)
        if fixed:
            self.choice.upscaler(degraded=False)

    def groups(self, jobs: Sequence[FileJob]) -> dict[bool, list[FileJob]]:
        """Return the jobs with degraded (True) and with clean sources, if there are any."""
        by_kind: dict[bool, list[FileJob]] = {}
        for job in jobs:
            by_kind.setdefault(self.choice.is_degraded(job.source), []).append(job)
        return by_kind

    def pool_of(self, source: Path) -> UpscalerPool | None:
        """Return the processes that share the settings of a source's upscaler, None for a single device."""
        return self.pool(degraded=self.choice.is_degraded(source)) if len(self._devices) > 1 else None

    def pool(self, *, degraded: bool) -> UpscalerPool:
        """Return the processes of the upscaler for degraded or for clean sources."""
        if degraded not in self._pools:
            spec = self._spec_of(degraded).with_precision(self.choice.upscaler(degraded=degraded))
            self._pools[degraded] = self._stack.enter_context(UpscalerPool(spec, self._devices))
        return self._pools[degraded]

    def video_pool_of(self, source: Path) -> UpscalerPool | RayPool | None:
        """Return the pool for a video: the cluster, if there is one."""
        if self._cluster is None:
            return self.pool_of(source)
        degraded = self.choice.is_degraded(source)
        if degraded not in self._clusters:
            spec = self._spec_of(degraded)
            pool = self._stack.enter_context(RayPool(spec, self._cluster, warn=self._warn))
            if pool.precision() != self.choice.upscaler(degraded=degraded).precision:  # it has other devices
                upscaler = spec.with_settings(precision=pool.precision()).build(self._device)
                self.choice.replace(upscaler, degraded=degraded)
            self._clusters[degraded] = pool
        return self._clusters[degraded]

    def notes(self) -> list[str]:
        """Return a sentence for each upscaler that has computed results of 8 bits in a faster precision."""
        return [
            f"{self._spec_of(degraded).name}: {sentence(upscaler.agreement)}"
            for degraded, upscaler in self.choice.built()
            if upscaler.agreement is not None
        ]

    def _spec_of(self, degraded: bool) -> UpscalerSpec:
        return self._spec if self._fixed else replace(self._spec, model=bundled_for(self._factor, degraded=degraded))

    def _build(self, degraded: bool) -> Upscaler:
        return self._spec_of(degraded).build(self._device)

    def _say(self, source: Path, kind: SourceKind) -> None:
        name = self._spec_of(kind.is_degraded).model
        self._inform(f"{source.name} {kind.reason}: {name}; choose another with --model.")
