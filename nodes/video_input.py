"""A VIDEO of ComfyUI as a source for `upscale_video`: a file with its trim, or images with their sound."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..inference.errors import UpscaleError
from ..video.frames import Span, VideoInfo
from ..video.read.open import SourceOptions, open_source
from ..video.read.shared_file import views
from ..video.remux.wav import aac_file, wav_file
from .finite import check_finite, numbered


@dataclass
class VideoInput:
    """A source for `upscale_video`, and the arguments that belong to it."""

    source: Any
    options: SourceOptions = field(default_factory=SourceOptions)
    span: Span = field(default_factory=Span)
    streams_from: Any = None
    from_images: bool = False

    def info(self) -> VideoInfo:
        """Return the properties of the source. Raises VideoError if it cannot be read."""
        source = views(self.source, 1)[0] if isinstance(self.source, io.BytesIO) else self.source
        with closing(open_source(source, self.options, warn=lambda sentence: None)) as frames:
            return frames.info


class Images:
    """Frames (C, H, W) of an IMAGE (T, H, W, C), with its alpha (T, H, W) if there is one, one at a time."""

    def __init__(self, images: Tensor, alpha: Tensor | None = None) -> None:
        self._images, self._alpha = images, alpha

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[Tensor]:
        for index, image in enumerate(self._images):
            check_finite(image, numbered("frame", index + 1, len(self)))
            planes = image.movedim(-1, 0)
            planes = planes.expand(3, -1, -1) if planes.shape[0] == 1 else planes
            if self._alpha is not None and planes.shape[0] == 3:
                planes = torch.cat([planes, self._alpha[index][None].to(planes)])
            yield planes


def video_input(video: Any, base: type, lossless_sound: bool) -> VideoInput:
    """Make a source of any VIDEO.

    A file, on disk or in memory, is read directly, within its trim. Other videos are asked for their images.

    Args:
        video: what is connected to the node.
        base: ComfyUI's VideoInput.
        lossless_sound: keep the sound of images as floats, instead of encoding it as AAC.

    Raises:
        UpscaleError: not a video, a file that no longer exists, or images that cannot be upscaled.
    """
    own_source = getattr(type(video), "get_stream_source", None)
    if own_source is not None and own_source is not getattr(base, "get_stream_source", None):
        source = video.get_stream_source()
        if isinstance(source, (str, os.PathLike)):
            if not os.path.isfile(source):  # FFmpeg would open an address
                raise UpscaleError(f"The video {os.path.basename(source)!r} no longer exists; load it again.")
            source = Path(source)
        window = getattr(video, "get_active_trim_window", lambda: (0.0, 0.0))()
        # The core's nodes read the first stream; so do ours, unless the file marks others as its defaults.
        return VideoInput(source, SourceOptions(stream="first"), trim(*window))
    if not hasattr(video, "get_components"):
        raise UpscaleError(
            f"The video input is a {type(video).__name__}; connect the output of Load Video or Create Video."
        )
    return _from_components(video.get_components(), lossless_sound)


def trim(start: float, duration: float) -> Span:
    """Return the span of a trim in ComfyUI, in seconds. A duration of 0 means up to the end."""
    if start < 0 or duration < 0:
        raise UpscaleError(f"Start is {start:g} s and duration is {duration:g} s; neither may be negative.")
    first = Fraction(start).limit_denominator(1_000_000)
    length = Fraction(duration).limit_denominator(1_000_000)
    return Span(first or None, first + length if length else None)


def _from_components(components: Any, lossless_sound: bool) -> VideoInput:
    images: Tensor = components.images
    if images.dim() != 4 or min(images.shape) < 1 or images.shape[-1] not in (1, 3, 4):
        raise UpscaleError(f"A video needs images of 1, 3 or 4 channels; these have the shape {tuple(images.shape)}.")
    rate = Fraction(components.frame_rate).limit_denominator(100_000)
    source = VideoInput(
        Images(images, getattr(components, "alpha", None)), SourceOptions(frame_rate=rate), from_images=True
    )
    if (audio := components.audio) and audio["waveform"].numel():
        make_file = wav_file if lossless_sound else aac_file
        source.streams_from = make_file(audio["waveform"][0], int(audio["sample_rate"]))
        source.span = Span(end=len(images) / rate)  # no longer than the images
    return source
