"""Upscale frames of planes: planes to RGB, through an Upscaler, and back to planes, all on its device.

Color, and alpha where a frame has it, are separate streams of images, so that static tiles are found in each of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ..images.alpha import fill_transparent, keep_in_local_range
from ..images.channels import from_batch, to_batch
from ..images.resize import resize, resize_with_alpha
from ..images.size import runs_of_the_model
from ..inference.finish import keep_colors, mix
from ..inference.resample import resample
from .color.convert import convert
from .color.yuv import from_rgb, split_gamut, to_rgb
from .frames import Frame, FrameFormat, VideoInfo

if TYPE_CHECKING:
    import av

    from ..inference.upscaler import Upscaler


@dataclass(eq=False)
class _Opened:
    """The properties of a frame that bypass the model."""

    pts: int
    duration: int
    image_count: int  # in the first slots
    overshoot: Tensor | None  # (1 or 3, H, W): values minus their clamp to [0, 1]
    alpha: Tensor | None  # (1, H, W), of the source
    alpha_varies: bool
    source: Tensor | None  # (1 or 3, H, W) in [0, 1], if the result is to be like it in some way
    captions: av.VideoFrame | None = None


class FrameUpscaler:
    """Turns frames of `info` into frames of the `target` format.

    Args:
        upscaler: the model with its device and precision.
        info: the source.
        target: size, layout and color of the results, and how the frames lie in them. Other sizes than the model's are
            reached by resampling.
        reuse_static: skip tiles that equal the same tile of the previous frame.
        cancelled: called before every batch of tiles, as the upscaler takes it.

    Raises:
        UpscaleError: the model takes another number of channels.
    """

    def __init__(
        self,
        upscaler: Upscaler,
        info: VideoInfo,
        target: FrameFormat,
        *,
        reuse_static: bool = True,
        cancelled: Callable[[], bool] | None = None,
    ) -> None:
        upscaler = upscaler.for_depth(target.layout.depth)
        self._upscaler, self._info, self._reuse_static, self._cancelled = upscaler, info, reuse_static, cancelled
        self._target, self._framing = target, target.whole
        self._runs = len(list(runs_of_the_model(info.width, info.height, self._framing.scaled, upscaler.scale)))
        channels = upscaler.input_channels
        to_batch(torch.zeros(3, 1, 1), None, channels)  # raises before any work if the model takes other channels
        gray = info.layout.model == "gray"
        colors = 3 if channels == 1 and not gray else 1
        self._finish = upscaler.finish
        wide, high = self._framing.scaled
        self._enlarges = wide > info.width and high > info.height
        self._keep_colors = partial(keep_colors, seamless=upscaler.seamless, eight_bits=target.layout.depth <= 8)
        self._slots = colors + (info.layout.alpha and channels != 4)
        self._channels = 1 if gray else 3  # of color

    def run(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        """Yield as many frames, in order, with the pts and durations of the source and planes on the CPU.

        Copies from CUDA may still be in flight: call `wait_for` before reading the planes.
        """
        source = iter(frames)
        opened: deque[_Opened] = deque()  # in order, waiting for their results
        waiting: list[deque[Tensor]] = [deque() for _ in range(self._slots)]

        def open_next() -> bool:
            if (frame := next(source, None)) is None:
                return False
            images, state = self._open(frame)
            for slot, image in zip(waiting, images, strict=False):
                slot.append(image)
            opened.append(state)
            return True

        def images_of(slot: deque[Tensor]) -> Iterator[Tensor]:
            while slot or open_next():
                if slot:
                    yield slot.popleft()

        results = [self._stream(images_of(slot)) for slot in waiting]
        while opened or open_next():
            larger = [next(result) for result in results[: opened[0].image_count]]
            yield self._close(opened.popleft(), larger)
            del larger  # the consumer of the frame must not keep its memory alive

    def _stream(self, images: Iterator[Tensor]) -> Iterator[Tensor]:
        for run in range(self._runs):
            images = self._upscaler.stream(
                images,
                keep_on_device=True,
                reuse_static=self._reuse_static,
                finish=False,  # which is done at the size of the target
                again=run > 0,
                cancelled=self._cancelled,
            )
        return images

    @torch.inference_mode()
    def _open(self, frame: Frame) -> tuple[Tensor, _Opened]:
        """Return images (N, channels, H, W) for the first N slots: color first, alpha last if it varies."""
        info = self._info
        coded = frame.color or info.color
        color, alpha = to_rgb(
            frame.planes, info.layout, coded, self._upscaler.device, width=info.width, height=info.height
        )
        if frame.color is not None:
            color = convert(color, frame.color, info.color)
        color, overshoot = split_gamut(color)
        varies = alpha is not None and bool(alpha.min() < alpha.max())
        if alpha is not None and varies:
            color = fill_transparent(color, alpha)
        batch = to_batch(color, alpha if varies else None, self._upscaler.input_channels)
        source = color if self._finish.active else None
        return batch, _Opened(frame.pts, frame.duration, len(batch), overshoot, alpha, varies, source, frame.captions)

    @torch.inference_mode()
    def _close(self, frame: _Opened, larger: list[Tensor]) -> Frame:
        batch = larger[0][None] if len(larger) == 1 else torch.stack(larger)
        color, alpha = from_batch(batch, self._channels, frame.alpha_varies)
        if alpha is not None and frame.alpha is not None:
            alpha = keep_in_local_range(alpha, frame.alpha, seamless=self._upscaler.seamless)
        color, alpha = self._finished(*self._resized(color, alpha, frame.source), frame)
        if frame.overshoot is not None:  # superwhite and out-of-gamut values are enlarged without the model
            color = color + F.interpolate(frame.overshoot[None], size=color.shape[-2:], mode="bilinear")[0]
        if frame.alpha is not None and alpha is None:
            alpha = frame.alpha.flatten()[0].expand(1, *color.shape[-2:])
        color, alpha = self._framing.place(color, alpha)
        planes = from_rgb(color, alpha, self._target.layout, self._target.color)
        return Frame(_to_host(planes), frame.pts, frame.duration, captions=frame.captions)

    def _finished(self, color: Tensor, alpha: Tensor | None, frame: _Opened) -> tuple[Tensor, Tensor | None]:
        """Mix a result of the target's size with its source, and correct its colors."""
        source, seamless, finish = frame.source, self._upscaler.seamless, self._finish
        if source is None:
            return color, alpha
        if finish.strength < 1:
            color = mix(color, source, finish.strength, seamless=seamless)
            if alpha is not None and frame.alpha is not None:
                alpha = mix(alpha, frame.alpha, finish.strength, seamless=seamless)
        return self._keep_colors(color, source) if finish.keep_colors and self._enlarges else color, alpha

    def _resized(self, color: Tensor, alpha: Tensor | None, source: Tensor | None) -> tuple[Tensor, Tensor | None]:
        size = self._framing.scaled
        if color.shape[-2:] == size[::-1]:
            return color, alpha
        seamless = self._upscaler.seamless
        if source is not None and self._finish.keep_colors and not self._enlarges:
            color = self._keep_colors(color, source)
        if self._info.color.hdr:  # `resize` works in the linear light of sRGB, which is wrong for PQ and HLG
            both = color if alpha is None else torch.cat([color, alpha])
            both = resample(both, size, seamless=seamless)
            return both[: color.shape[0]], None if alpha is None else both[color.shape[0] :].clamp_(0, 1)
        if alpha is None:
            return resize(color[None], size, seamless=seamless)[0], None
        resized = resize_with_alpha(color[None], alpha[None], size, seamless=seamless)
        return resized[0][0], resized[1][0]


# --- across the host boundary ------------------------------------------------------------------------------------


def pinned(device: torch.device) -> Callable[[Frame], Frame]:
    """Return the function that pins the planes of a frame in memory, for an asynchronous copy to a CUDA device."""
    if device.type != "cuda":
        return lambda frame: frame
    return lambda frame: replace(frame, planes=tuple(plane.pin_memory() for plane in frame.planes))


class _InFlight(tuple[Tensor, ...]):
    """Planes whose copy from the device may still be in flight."""

    arrived: torch.cuda.Event


def _to_host(planes: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    if planes[0].device.type != "cuda":
        return tuple(plane.cpu() for plane in planes)
    buffers = _InFlight(
        torch.empty(plane.shape, dtype=plane.dtype, pin_memory=True).copy_(plane, non_blocking=True) for plane in planes
    )
    buffers.arrived = torch.cuda.Event()
    buffers.arrived.record()
    return buffers


def wait_for(frame: Frame) -> None:
    """Wait until the planes of a result have arrived on the CPU."""
    if isinstance(frame.planes, _InFlight):
        frame.planes.arrived.synchronize()
