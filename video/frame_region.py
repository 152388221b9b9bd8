"""Upscale part of a single frame as the whole frame would be, without encoding it: for previews."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..images.region import Box, RegionPlan
from ..images.resize import resize, resize_with_alpha
from ..inference.resample import resample
from .color.convert import convert
from .color.yuv import to_rgb
from .errors import VideoError
from .frame_upscaler import FrameUpscaler, wait_for
from .frames import Color, Frame, FrameFormat, Layout, Span, VideoInfo
from .read.open import SourceOptions, open_source

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler


@dataclass(frozen=True, eq=False)
class StillFrame:
    """One frame of a source.

    Attributes:
        info: of the source.
        frame: its planes, as stored: not turned upright.
    """

    info: VideoInfo
    frame: Frame

    @property
    def seconds(self) -> Fraction:
        """Time since the first frame of the source."""
        return self.frame.pts * self.info.time_base - self.info.origin

    def rgb(self) -> tuple[Tensor, Tensor | None]:
        """Return (1 or 3, H, W) float32 in [0, 1], clamped, and alpha (1, H, W) or None; as stored."""
        info = self.info
        color = self.frame.color or info.color
        rgb, alpha = to_rgb(self.frame.planes, info.layout, color, width=info.width, height=info.height)
        if self.frame.color is not None:
            rgb = convert(rgb, self.frame.color, info.color)
        return rgb.clamp(0, 1), alpha


def first_frame(
    source: str | Path,
    span: Span = Span(),
    *,
    source_options: SourceOptions = SourceOptions(),
    warn: Callable[[str], None],
) -> StillFrame:
    """Read the first frame of a span.

    Args:
        source: path of a video, an animation or numbered images.
        span: seconds since the first frame of the source.
        source_options, warn: as `open_source` takes them.

    Raises:
        NoFrameError: there is no frame in the span.
        VideoError: the source cannot be read.
    """
    frames = open_source(source, source_options, span=span, warn=warn)
    try:
        for frame in frames:
            return StillFrame(frames.info, frame)
    finally:
        frames.close()
    raise VideoError(f"{source} has no frame that can be read.")


@torch.inference_mode()
def upscale_frame_region(
    still: StillFrame,
    box: Box,
    upscaler: Upscaler,
    target: tuple[int, int],
    *,
    cancelled: Callable[[], bool] | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Upscale part of a frame as `upscale_video` does, up to the encoder.

    Where the network's result is resampled, values beyond black and white are clamped before, not after it.

    Args:
        still: the frame.
        box: of the part, as stored.
        upscaler: the model.
        target: (width, height) of the whole result, as stored; see `upscale.target_size`.
        cancelled: as `upscale_video` takes it.

    Returns:
        Color (3, h, w) and alpha (1, h, w) or None, float32 in [0, 1], with the size of `box.scaled(...)`. The
        transfer function is that of the source.

    Raises:
        SizeError, UpscaleError, Cancelled: as `upscale_video`.
    """
    info, layout = still.info, still.info.layout
    plan = region_plan(still, box, upscaler, target)
    outer = plan.outer
    given = replace(info, width=outer.width, height=outer.height)
    rgb = Layout("rgb", 16, alpha=layout.alpha)
    color = Color(0, True, primaries=info.color.primaries, transfer=info.color.transfer)
    network = FrameUpscaler(upscaler, given, FrameFormat(*plan.network_size, rgb, color), cancelled=cancelled)
    [result] = network.run([replace(still.frame, planes=_cropped(still.frame.planes, layout, outer))])
    wait_for(result)
    large = torch.stack([plane.float() for plane in result.planes]).div_(65535)
    rgb_planes, alpha = large[:3], large[3:] if layout.alpha else None
    if info.color.hdr or plan.part.source == target:  # as FrameUpscaler resamples HDR: not in linear light
        large = resample(large, target, part=plan.part).clamp(0, 1)
        return large[:3], large[3:] if layout.alpha else None
    if alpha is None:
        return resize(rgb_planes[None], target, part=plan.part)[0], None
    resized = resize_with_alpha(rgb_planes[None], alpha[None], target, part=plan.part)
    return resized[0][0], resized[1][0]


def region_plan(still: StillFrame, box: Box, upscaler: Upscaler, target: tuple[int, int]) -> RegionPlan:
    """Return which pixels are computed for part of a frame; arguments as for `upscale_frame_region`."""
    info = still.info
    chroma = 1 << max(info.layout.subsampling)
    return RegionPlan.of(box, (info.width, info.height), target, upscaler, multiple=chroma)


def _cropped(planes: tuple[Tensor, ...], layout: Layout, box: Box) -> tuple[Tensor, ...]:
    """Return part of the planes; its origin lies on a sample of chroma."""
    x, y = layout.subsampling if layout.model == "yuv" else (0, 0)
    cropped = []
    for index, plane in enumerate(planes):
        height, width = layout.size_of(index, box.width, box.height)
        is_chroma = layout.model == "yuv" and index in (1, 2)
        top, left = (box.top >> y, box.left >> x) if is_chroma else (box.top, box.left)
        cropped.append(plane[top : top + height, left : left + width].contiguous())
    return tuple(cropped)
