"""Say in values, which travel to other processes, what a job is to make."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import torch

from ...images.framing import Framing
from ...version import version
from ..errors import VideoError
from ..frames import FrameFormat, FrameSource, Span, VideoInfo
from ..read.open import SourceOptions, open_source
from ..write.encoder_options import EncoderOptions
from ..write.encoders import Encoding
from ..write.open import choose_encoding, scaled_aspect_ratio
from .folder import JobFolder, file_identity
from .plan import Part


@dataclass(frozen=True)
class VideoTask:
    """Source, target and settings of a video: all that decides its frames, except the upscaler."""

    source: Path
    target: Path
    framing: Framing
    encoder: EncoderOptions
    span: Span
    source_options: SourceOptions
    reuse_static: bool = True

    def frames(self, info: VideoInfo) -> FrameFormat:
        """Return the format of the upscaled frames."""
        width, height = self.framing.size
        return replace(info.format, width=width, height=height, framing=self.framing)

    def encoding(self, info: VideoInfo) -> Encoding:
        """Return the encoder of the frames. Raises VideoError."""
        return choose_encoding(self.target, info, self.frames(info), self.encoder, warn=lambda _: None)[1]

    def aspect_ratio(self, info: VideoInfo) -> Fraction:
        """Return the sample aspect ratio of the target."""
        return scaled_aspect_ratio(info, *self.framing.scaled)

    def open_run(self, info: VideoInfo, run: Sequence[Part], warn: Callable[[str], None]) -> FrameSource:
        """Open the source for the frames of parts that follow each other. Raises VideoError."""
        start, stop = run[0].start, run[-1].stop
        after = self.span.end if stop is None else stop * info.time_base - info.origin
        span = Span(start * info.time_base - info.origin, after)
        return open_source(self.source, self.source_options, span=span, warn=warn)

    def identity(self, upscaler: Mapping[str, str], encoding: Encoding) -> dict[str, str]:
        """Return what decides the frames, by names for users."""
        options = {f"the {name.replace('_', ' ')}": str(value) for name, value in asdict(self.encoder).items()}
        return {
            "Supertile's version": version(),
            "PyAV's version": av.__version__,
            "PyTorch's version": torch.__version__,
            "the source": file_identity(self.source),
            "the size": str(self.framing),
            "the time span": f"{self.span.start} to {self.span.end}",
            "deinterlacing": self.source_options.deinterlace,
            "the video stream": str(self.source_options.stream),
            "the reuse of static tiles": str(self.reuse_static),
            "the encoder": f"{encoding.encoder} in {encoding.pixel_format.name}",
            **{f"the {name}": value for name, value in upscaler.items()},
            **options,
        }

    def settings(self, metadata: Mapping[str, str] | None) -> dict[str, Any]:
        """Return the task as JSON; see `task_of`."""
        return {
            "source": os.path.abspath(self.source),
            "size": self.framing.size,
            "scaled": self.framing.scaled,
            "color": self.framing.color,
            "encoder": asdict(self.encoder),
            "span": [None if bound is None else str(bound) for bound in (self.span.start, self.span.end)],
            "deinterlace": self.source_options.deinterlace,
            "stream": self.source_options.stream,
            "reuse_static": self.reuse_static,
            "metadata": dict(metadata or {}),
        }


def task_of(folder: JobFolder) -> VideoTask:
    """Return the task of a job that an earlier run has begun. Raises VideoError if it cannot be read."""
    try:
        settings = folder.job["settings"]
        start, end = (None if bound is None else Fraction(bound) for bound in settings["span"])
        (width, height), (across, down) = settings["size"], settings["scaled"]
        color = settings["color"] and tuple(map(float, settings["color"]))
        return VideoTask(
            Path(settings["source"]),
            Path(folder.job["target"]),
            Framing((int(width), int(height)), (int(across), int(down)), color),
            EncoderOptions(**settings["encoder"]),
            Span(start, end),
            SourceOptions(deinterlace=settings["deinterlace"], stream=settings["stream"]),
            bool(settings["reuse_static"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise VideoError(f"{folder.path} holds no job that this version of Supertile can continue.") from error
