"""Upscale and encode a few frames of a video into a temporary folder, to learn how long and how large all would be."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

import av
import torch.nn.functional as F
from torch import Tensor

from ..inference.stream import Stats
from . import pipeline
from .errors import VideoError
from .frame_upscaler import FrameUpscaler, pinned, wait_for
from .frames import Frame, FrameSink, Span, VideoInfo
from .parts.task import VideoTask
from .read.open import open_source
from .write.file import VideoWriter
from .write.open import open_target

if TYPE_CHECKING:
    from ..inference.upscaler import Upscaler

_PLACES = (Fraction(1, 2), Fraction(1, 6), Fraction(4, 5))
_PLACE_LENGTH = Fraction(1, 5)
_MIN_SECONDS_FOR_PLACES = 8
"""Of shorter videos the beginning is computed."""
_MIN_FRAMES_FOR_SIZE = 60
"""After fewer frames, encoders that look ahead have not reached the sizes that they have in a long video."""
_MAX_STAND_IN_FRAMES = 150
_MIN_STAND_IN_SECONDS = 2.0


@dataclass
class VideoSample:
    """Figures of the frames that were computed.

    Attributes:
        frames: their number.
        frame_seconds: time of a frame in the middle of a run.
        upscale_seconds: time of a frame until it is upscaled; of one place, for `complete`.
        encode_seconds: time in the encoder, with completing the file; likewise.
        warm_up_seconds: how much longer the first batch of frames takes.
        key_bytes, other_bytes: sizes of key frames, and of all other frames.
        header_bytes: what a file holds beside its frames.
    """

    frames: int = 0
    frame_seconds: float = 0.0
    upscale_seconds: float = 0.0
    encode_seconds: float = 0.0
    warm_up_seconds: float = 0.0
    key_bytes: list[int] = field(default_factory=list)
    other_bytes: list[int] = field(default_factory=list)
    header_bytes: int = 0

    def size_of(self, frames: int, keys: int) -> float:
        """Return the estimated bytes of so many frames, of which `keys` are key frames."""
        if not self.other_bytes:  # a codec without other frames
            return frames * _mean(self.key_bytes)
        keys = min(keys, frames)
        return keys * _mean(self.key_bytes) + (frames - keys) * _mean(self.other_bytes)

    def complete(self, short: VideoSample, long: VideoSample, *, encodes_beside: bool) -> None:
        """Take the sizes and the encoding time of many stand-ins, the sizes scaled as the first of them compare.

        Args:
            short: stand-ins of the same number.
            long: those and more.
            encodes_beside: encoding does not slow the network down.
        """
        encode_seconds = max(0.0, long.encode_seconds - short.encode_seconds) / (long.frames - short.frames)
        if encodes_beside:
            self.frame_seconds = max(self.upscale_seconds, encode_seconds)
        else:
            self.frame_seconds = self.upscale_seconds + encode_seconds
        key_ratio = _mean(self.key_bytes) / max(1.0, _mean(short.key_bytes))
        other_ratio = key_ratio
        if self.other_bytes and short.other_bytes:
            other_ratio = _mean(self.other_bytes) / max(1.0, _mean(short.other_bytes))
        self.key_bytes = [round(size * key_ratio) for size in long.key_bytes]
        self.other_bytes = [round(size * other_ratio) for size in long.other_bytes]

    def add(self, other: VideoSample) -> None:
        """Add the frames of another place, which were computed with a warm network."""
        if not self.frames:
            self.warm_up_seconds, self.header_bytes = other.warm_up_seconds, other.header_bytes
        seconds = self.frames * self.frame_seconds + other.frames * other.frame_seconds
        self.frames += other.frames
        self.frame_seconds = seconds / self.frames
        self.key_bytes += other.key_bytes
        self.other_bytes += other.other_bytes


def compute_sample(task: VideoTask, info: VideoInfo, upscaler: Upscaler, *, seconds: float) -> VideoSample:
    """Compute frames from up to three places of a video.

    Args:
        task: all that decides the frames. Nothing is written at its target.
        info: of the source, as it was opened for the task.
        upscaler: the model.
        seconds: about how long to compute. Two batches of frames are computed, however long that takes.

    Raises:
        VideoError, UpscaleError: as `upscale_video`.
    """
    length = (info.duration or 0) * info.time_base
    start = info.start_pts * info.time_base - info.origin
    if length < _MIN_SECONDS_FOR_PLACES:
        return _compute_place(task, task.span, upscaler, seconds)
    sample = VideoSample()
    began = time.perf_counter()
    longest = 0.0
    failure: VideoError | None = None
    for place in _PLACES:
        place_began = time.perf_counter()
        if sample.frames and place_began - began + longest > seconds:
            break
        span = Span(start + length * place, start + length * (place + _PLACE_LENGTH))
        try:
            sample.add(_compute_place(task, span, upscaler, seconds / len(_PLACES)))
        except VideoError as error:  # nothing of this place can be decoded
            failure = error
        longest = max(longest, time.perf_counter() - place_began)
    if not sample.frames and failure is not None:
        raise failure
    return sample


def _compute_place(task: VideoTask, span: Span, upscaler: Upscaler, seconds: float) -> VideoSample:
    """Compute frames from the start of a span; sizes from more frames if these are few.

    Enlarged without the network, frames are as large as with it up to a factor, which the computed frames tell.
    """
    sample = _encode(task, span, upscaler, seconds / 2)
    if sample.frames < _MIN_FRAMES_FOR_SIZE:
        stand_in = cast("Upscaler", _Interpolator(upscaler))
        long = _encode(task, span, stand_in, max(seconds / 2, _MIN_STAND_IN_SECONDS), max_frames=_MAX_STAND_IN_FRAMES)
        if long.frames > sample.frames:
            short = _encode(task, span, stand_in, seconds, max_frames=sample.frames)
            if long.frames > short.frames:
                sample.complete(short, long, encodes_beside=upscaler.device.type != "cpu")
    return sample


class _Interpolator:
    """Enlarges images as an `Upscaler` does, without a network."""

    seamless = "none"

    def __init__(self, upscaler: Upscaler) -> None:
        self.scale, self.device, self.input_channels = upscaler.scale, upscaler.device, upscaler.input_channels
        self.finish, self.stats = upscaler.finish, Stats()

    def for_depth(self, bits: int) -> _Interpolator:
        return self

    def stream(self, images: Iterable[Tensor], **_: object) -> Iterator[Tensor]:
        for image in images:
            self.stats.tiles_computed += 1
            yield F.interpolate(image[None].float(), scale_factor=self.scale, mode="bicubic")[0].clamp(0, 1)


def _encode(
    task: VideoTask, span: Span, upscaler: Upscaler, seconds: float, *, max_frames: int | None = None
) -> VideoSample:
    """Compute frames from the start of a span as the run would: decoded, upscaled and encoded at the same time."""
    source = open_source(task.source, task.source_options, span=span, warn=_silent)
    try:
        with TemporaryDirectory(prefix="supertile-") as folder:
            info, target = source.info, Path(folder) / task.target.name
            shift = span.shifted(info.origin)
            sink = open_target(target, info, task.frames(info), task.encoder, span=shift, warn=_silent)
            try:
                run = _Run(FrameUpscaler(upscaler, info, sink.format, reuse_static=task.reuse_static), upscaler, sink)
                frames = islice(map(pinned(upscaler.device), run.until_stopped(source)), max_frames)
                run.compute(frames, seconds)
                return run.sample(target)
            finally:
                sink.discard()
    finally:
        source.close()


class _Run:
    """A run of the pipeline that stops by itself."""

    def __init__(self, frame_upscaler: FrameUpscaler, upscaler: Upscaler, sink: FrameSink) -> None:
        self._frame_upscaler, self._upscaler, self._sink = frame_upscaler, upscaler, sink
        self._is_stopped = False
        self._marks: list[tuple[float, int]] = []  # of each frame: seconds, and tiles done by then
        self._began = time.perf_counter()
        self._times = pipeline.StageTimes(0.0, {})

    def until_stopped(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        for frame in frames:
            if self._is_stopped:
                return
            yield frame

    def compute(self, frames: Iterator[Frame], seconds: float) -> None:
        tiles_before = self._tiles()
        self._began = time.perf_counter()

        def limited(waiting: Iterator[Frame]) -> Iterator[Frame]:
            for frame in waiting:
                if self._is_measured() and time.perf_counter() - self._began > seconds:
                    self._is_stopped = True
                if not self._is_stopped:  # else only empty the queue, at which the decoder waits
                    yield frame

        def upscale(waiting: Iterator[Frame]) -> Generator[Frame, None, None]:
            for frame in self._frame_upscaler.run(limited(waiting)):
                self._marks.append((time.perf_counter() - self._began, self._tiles() - tiles_before))
                yield frame

        def write(frame: Frame) -> None:
            wait_for(frame)
            self._sink.write(frame)

        self._times = pipeline.run(frames, upscale, write, self._sink.finish)

    def sample(self, target: Path) -> VideoSample:
        """Return the figures of the run; frames that came with the first batch tell nothing of the pace."""
        count = len(self._marks)
        (first, tiles), (last, _) = self._marks[0], self._marks[-1]
        in_first_batch = sum(mark[1] == tiles for mark in self._marks)
        if count > in_first_batch:
            pace = (last - first) / (count - in_first_batch)
            warm_up = max(0.0, first - pace * in_first_batch)
        else:
            pace, warm_up = last / count, 0.0
        encode_seconds = self._times.busy["encode"]
        if self._upscaler.device.type == "cpu":  # encoding takes time from the network, also what it does at the end
            frame_seconds = pace + max(0.0, self._times.total - last) / count
        else:
            frame_seconds = max(pace, encode_seconds / count, self._times.busy["decode"] / count)
        size = sum(file.stat().st_size for file in target.parent.iterdir())
        is_video = isinstance(self._sink, VideoWriter)
        keys, others = _packet_sizes(target) if is_video else ([size // count] * count, [])
        return VideoSample(
            frames=count,
            frame_seconds=frame_seconds,
            upscale_seconds=pace,
            encode_seconds=encode_seconds,
            warm_up_seconds=warm_up,
            key_bytes=keys,
            other_bytes=others,
            header_bytes=size - sum(keys) - sum(others),
        )

    def _tiles(self) -> int:
        return self._upscaler.stats.tiles_computed + self._upscaler.stats.tiles_reused

    def _is_measured(self) -> bool:
        return bool(self._marks) and self._marks[-1][1] > self._marks[0][1]


def _packet_sizes(path: Path) -> tuple[list[int], list[int]]:
    """Return the sizes of key frames and of other frames."""
    sizes: tuple[list[int], list[int]] = ([], [])
    with av.open(str(path)) as container:
        for packet in container.demux(video=0):
            if packet.size:
                sizes[0 if packet.is_keyframe else 1].append(packet.size)
    return sizes


def _mean(values: list[int]) -> float:
    return sum(values) / max(1, len(values))


def _silent(_: str) -> None:
    """Leave a warning out, which opening the whole source gives."""
