"""Connect stages: one after the other, or two beside each other whose results are averaged."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, tee
from operator import mul

import torch
import torch.nn.functional as F
from torch import Tensor

from .host import Host
from .stage import Stage
from .tiling import TilePlan


class ChainStage:
    """Stages one after the other, in one stream: no image is complete before the next stage takes it up.

    Args:
        stages: at least one; the channels of each are those of the next.
    """

    def __init__(self, stages: Sequence[Stage]) -> None:
        self._stages = list(stages)
        *self._before, self.scale = accumulate((stage.scale for stage in stages), mul, initial=1)
        self.input_channels, self.output_channels = stages[0].input_channels, stages[-1].output_channels
        self.dtype = _common_dtype(stages)

    def stream(
        self,
        images: Iterable[Tensor],
        host: Host,
        *,
        keep_on_device: bool,
        reuse_static: bool,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        progress = _SumOfProgress(host, len(self._stages))
        images = progress.expecting(images, self.steps)
        last = len(self._stages) - 1
        for number, (stage, each_mask) in enumerate(zip(self._stages, self._masks(mask), strict=True)):
            images = stage.stream(
                images,
                progress.host(number),
                keep_on_device=keep_on_device or number < last,
                reuse_static=reuse_static,
                mask=each_mask,
            )
        yield from images

    def _masks(self, mask: Tensor | None) -> list[Tensor | None]:
        """Return the mask of each stage: it covers what the stages after it look at."""
        if mask is None:
            return [None] * len(self._stages)
        masks: list[Tensor | None] = []
        for stage, scale in zip(reversed(self._stages), reversed(self._before), strict=True):
            masks.append(enlarged_mask(mask, scale))
            mask = widened(mask, -(-stage.overlap // scale))
        return masks[::-1]

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        return self._stages[0].plan(height, width, reuse_static=reuse_static)

    def steps(self, height: int, width: int) -> int:
        pairs = zip(self._stages, self._before, strict=True)
        return sum(stage.steps(height * scale, width * scale) for stage, scale in pairs)

    @property
    def overlap(self) -> int:
        return sum(-(-stage.overlap // scale) for stage, scale in zip(self._stages, self._before, strict=True))

    @property
    def grid(self) -> int:
        pairs = zip(self._stages, self._before, strict=True)
        return math.lcm(*(stage.grid // math.gcd(stage.grid, scale) for stage, scale in pairs))

    @property
    def again(self) -> Stage:
        enlarging = [stage.again for stage in self._stages if stage.scale > 1]
        return ChainStage(enlarging) if enlarging else self

    def identity(self) -> str:
        return ", then ".join(stage.identity() for stage in self._stages)


class AverageStage:
    """Two stages beside each other, of equal scale and channels, and the weighted mean of their results.

    Args:
        first, second: the stages.
        weight: of the second, from 0 to 1.
    """

    def __init__(self, first: Stage, second: Stage, weight: float) -> None:
        self._stages, self._weight = (first, second), weight
        self.scale, self.input_channels, self.output_channels = (
            first.scale, first.input_channels, first.output_channels,
        )  # fmt: skip
        self.dtype = _common_dtype(self._stages)

    def stream(
        self,
        images: Iterable[Tensor],
        host: Host,
        *,
        keep_on_device: bool,
        reuse_static: bool,
        mask: Tensor | None = None,
    ) -> Iterator[Tensor]:
        progress = _SumOfProgress(host, 2)
        # Copies, because one stage may still wait for an image whose memory the caller has filled with the next.
        both = tee(image.clone() for image in progress.expecting(images, self.steps))
        first, second = (
            stage.stream(
                each, progress.host(number), keep_on_device=keep_on_device, reuse_static=reuse_static, mask=mask
            )
            for number, (stage, each) in enumerate(zip(self._stages, both, strict=True))
        )
        for result, other in zip(first, second, strict=True):
            yield torch.lerp(result, other, self._weight)

    def plan(self, height: int, width: int, *, reuse_static: bool = False) -> TilePlan:
        return self._stages[0].plan(height, width, reuse_static=reuse_static)

    def steps(self, height: int, width: int) -> int:
        return sum(stage.steps(height, width) for stage in self._stages)

    @property
    def overlap(self) -> int:
        return max(stage.overlap for stage in self._stages)

    @property
    def grid(self) -> int:
        return math.lcm(*(stage.grid for stage in self._stages))

    @property
    def again(self) -> Stage:
        return self

    def identity(self) -> str:
        first, second = (stage.identity() for stage in self._stages)
        return f"{first}, with {self._weight:g} of {second}"


def widened(mask: Tensor, pixels: int) -> Tensor:
    """Return a mask (H, W) bool that reaches `pixels` farther in every direction."""
    if pixels == 0:
        return mask
    side, padding = 2 * pixels + 1, pixels
    rows = F.max_pool2d(mask[None, None].float(), (side, 1), 1, (padding, 0))
    return F.max_pool2d(rows, (1, side), 1, (0, padding))[0, 0] > 0


def enlarged_mask(mask: Tensor, scale: int) -> Tensor:
    """Return a mask (H, W) as (scale * H, scale * W)."""
    return mask.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def _common_dtype(stages: Sequence[Stage]) -> torch.dtype:
    dtypes = {stage.dtype for stage in stages}
    return dtypes.pop() if len(dtypes) == 1 else torch.float32


class _SumOfProgress:
    """Adds up the progress of stages that compute one stream.

    The caller sees the steps that are done in all of them, of those that the images so far count in all of them.
    """

    def __init__(self, host: Host, stages: int) -> None:
        self._host, self._expected = host, 0
        self._done, self._known = [0] * stages, [0] * stages

    def expecting(self, images: Iterable[Tensor], steps: Callable[[int, int], int]) -> Iterator[Tensor]:
        for image in images:
            if image.dim() == 3 and min(image.shape) > 0:  # others are refused in their turn
                self._expected += steps(image.shape[1], image.shape[2])
            yield image

    def host(self, stage: int) -> Host:
        def report(done: int, known: int) -> None:
            self._done[stage], self._known[stage] = done, known
            self._host.report(sum(self._done), max(self._expected, sum(self._known)))

        return Host(report, self._host.cancelled)
