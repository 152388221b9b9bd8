"""Compare the first two seconds of a video that Supertile made with PyAV's own decode of the source."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition
from supertile import EncoderOptions, Span, SupertileError, Upscaler, VideoReport, upscale_video
from supertile.video.kinds import VIDEO_SUFFIXES

from .comparison import DEVIATING, EQUAL, READ_BY_US, REFUSED_BY_BOTH, REFUSED_BY_US, Comparison

MAX_SECONDS = Fraction(2)
MAX_PIXELS = 4_000_000  # of all frames of a file
_MIN_FRAMES = 3
_TOLERANCE = Fraction(3, 1000)  # seconds: Matroska rounds both ends of an offset to 1 ms
_MAX_MEAN_DIFFERENCE = 1.0  # of luma, in 8-bit codes
_LOSSLESS_SUFFIXES = (".mp4", ".mkv")  # of containers that hold FFV1
_MAX_DOUBLED_SIDE = 2048
_LUMA_FORMATS = ("yuv", "gray", "nv")


class Undecodable(Exception):
    """PyAV decodes no frame of a file."""


@dataclass
class Sound:
    """The packets of an audio stream."""

    codec: str
    times: list[Fraction] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)


@dataclass
class Decoded:
    """The frames of the largest video stream up to `end` seconds after the first, and all audio packets."""

    size: tuple[int, int]
    end: Fraction = MAX_SECONDS
    rate: Fraction = Fraction(25)
    times: list[Fraction | None] = field(default_factory=list)
    luma: list[np.ndarray | None] = field(default_factory=list)
    duration: Fraction | None = None
    is_whole: bool = False
    interlaced: bool = False
    sizes: set[tuple[int, int]] = field(default_factory=set)
    sounds: list[Sound] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    @property
    def start(self) -> Fraction:
        return next((time for time in self.times if time is not None), Fraction(0))


def compare_video(path: Path, target: Path, upscaler: Upscaler, *, lossless: bool = True) -> Comparison:
    """Compare number, times, size and luma of frames, duration, and audio packets.

    Args:
        path: the video.
        target: the file to write; its suffix is chosen here.
        upscaler: repeats every pixel.
        lossless: write FFV1, so that luma can be compared; else what a user gets by default, without its luma.
    """
    reference: Decoded | str
    try:
        reference = decoded(path, end=None)
    except (Undecodable, av.FFmpegError, OSError, ValueError) as error:
        reference = f"{type(error).__name__}: {error}"
    scale = 1 if isinstance(reference, Decoded) and max(reference.size) > _MAX_DOUBLED_SIDE else 2
    lossless = lossless and scale == 2
    suffix = VIDEO_SUFFIXES.get(path.suffix.lower(), ".mkv")
    encoder = EncoderOptions(preset="ultrafast")
    if lossless:
        suffix, encoder = suffix if suffix in _LOSSLESS_SUFFIXES else ".mkv", EncoderOptions(codec="ffv1")
    end = reference.end if isinstance(reference, Decoded) else MAX_SECONDS
    warnings: list[str] = []
    try:
        report = upscale_video(
            path, target.with_suffix(suffix), upscaler, encoder=encoder, size=f"{scale}x", span=Span(end=end),
            warn=warnings.append,
        )  # fmt: skip
    except SupertileError as error:
        if isinstance(reference, str):
            return Comparison(REFUSED_BY_BOTH, [str(error), f"PyAV: {reference}"], warnings)
        return Comparison(REFUSED_BY_US, [str(error)], warnings)
    if isinstance(reference, str):
        return Comparison(READ_BY_US, [f"{report.frames} frames; PyAV: {reference}"], warnings)
    try:
        result = decoded(target.with_suffix(suffix), end=end + 10)
    except Undecodable as error:
        return Comparison(DEVIATING, [f"the result is not a video: {error}"], warnings)
    details = [*_differing_frames(reference, result, report, scale, lossless), *_differing_sounds(reference, result)]
    return Comparison(DEVIATING if details else EQUAL, details, warnings)


def decoded(path: Path, end: Fraction | None) -> Decoded:
    """Decode a file as PyAV does by itself. `end` None: as many seconds as `MAX_SECONDS` and `MAX_PIXELS` allow."""
    with av.open(str(path), metadata_errors="replace") as container:
        stream = _video_stream(container)
        if stream is None:
            raise Undecodable("no video stream")
        stream.thread_type = "NONE"
        width, height = stream.codec_context.width, stream.codec_context.height
        found = Decoded((width, height), end or MAX_SECONDS, kinds=[each.type for each in container.streams])
        found.rate = max(Fraction(1), Fraction(stream.average_rate or stream.guessed_rate or 25))
        if end is None and width and height:
            frames = max(_MIN_FRAMES, MAX_PIXELS // (width * height))
            found.end = min(MAX_SECONDS, frames / found.rate).limit_denominator(1000)
        sounds = {each.index: Sound(each.codec_context.name) for each in container.streams.audio if each.codec_context}
        past_end = False
        for packet in _packets(container):
            if packet.stream_index in sounds and packet.size:
                time = packet.pts if packet.pts is not None else packet.dts
                if time is not None:
                    sounds[packet.stream_index].times.append(time * Fraction(packet.time_base))
                    sounds[packet.stream_index].contents.append(bytes(packet))
            elif packet.stream_index == stream.index and not past_end and (packet.size or packet.dts is None):
                with contextlib.suppress(av.FFmpegError, EOFError):
                    for frame in packet.decode():
                        past_end = past_end or not _take(found, frame)
        if stream.duration:
            found.duration = stream.duration * Fraction(stream.time_base)
        found.is_whole = not past_end
        found.sounds = [sound for sound in sounds.values() if sound.times]
    if not found.times:
        raise Undecodable("no frame can be decoded")
    return found


def _video_stream(container: Any) -> Any:
    stills = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [each for each in container.streams.video if each.codec_context and not each.disposition & stills]
    if not streams:
        return None
    return max(
        streams,
        key=lambda each: (
            bool(each.disposition & Disposition.default),
            each.codec_context.width * each.codec_context.height,
            -each.index,
        ),
    )


def _packets(container: Any) -> Iterator[Any]:
    with contextlib.suppress(av.FFmpegError, IndexError):
        yield from container.demux([each for each in container.streams if each.type in ("video", "audio")])


def _take(found: Decoded, frame: Any) -> bool:
    """Keep a frame. Returns False at the end of the span."""
    base = Fraction(frame.time_base)
    time = frame.pts if frame.pts is not None else frame.dts
    seconds = None if time is None else time * base
    if seconds is not None and found.times and seconds - found.start >= found.end:
        return False
    if seconds is None and len(found.times) >= found.rate * found.end:
        return False
    found.times.append(seconds)
    found.sizes.add((frame.width, frame.height))
    found.interlaced |= bool(frame.interlaced_frame)
    if len(found.times) == 1:
        found.size = frame.width, frame.height
    found.luma.append(_luma(frame))
    return True


def _luma(frame: Any) -> np.ndarray | None:
    name, bits = frame.format.name, frame.format.components[0].bits
    if not name.startswith(_LUMA_FORMATS) or name.endswith("be") or (bits > 8 and name.startswith("nv")):
        return None
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height]
    codes = rows[:, : frame.width] if bits == 8 else rows[:, : 2 * frame.width].copy().view("<u2")
    if "422" in name and name.startswith("yuyv"):
        return None
    # What lies outside RGB bypasses the network and is enlarged smoothly.
    return np.clip(codes.astype(np.float32) / 2 ** (bits - 8), 16, 235)


def _differing_frames(
    source: Decoded, result: Decoded, report: VideoReport, scale: int, lossless: bool
) -> Iterator[str]:
    if result.size != tuple(scale * side for side in source.size):
        yield f"{result.size[0]}x{result.size[1]} made of {source.size[0]}x{source.size[1]}"
    if len(source.times) != len(result.times):
        yield f"{len(result.times)} frames; PyAV: {len(source.times)}"
    if report.frames != len(result.times):
        yield f"{report.frames} frames reported, {len(result.times)} in the file"
    pairs = [
        (ours - result.start, theirs - source.start)
        for ours, theirs in zip(result.times, source.times, strict=False)
        if ours is not None and theirs is not None
    ]
    if 0 < (missing := source.times.count(None)) < len(source.times):  # raw streams have no times at all
        yield f"{missing} frames without a time"
    far = [(number, pair) for number, pair in enumerate(pairs) if abs(pair[0] - pair[1]) > _TOLERANCE]
    if far:
        number, (ours, theirs) = far[0]
        times = f"{float(ours):.4f} s; PyAV: {float(theirs):.4f} s"
        yield f"{len(far)} frames at other times, first frame {number} at {times}"
    if source.is_whole and source.duration and result.duration:
        frame = Fraction(1) if len(pairs) < 2 else (pairs[-1][1] - pairs[0][1]) / (len(pairs) - 1)
        # The declared duration counts from the stream's start, which edit lists and decoders move.
        if abs(result.duration - source.duration) > max(frame * Fraction(3, 2), _TOLERANCE):
            yield f"{float(result.duration):.3f} s long; PyAV: {float(source.duration):.3f} s"
    if lossless and not source.interlaced and len(source.sizes) == 1:
        worst = max(_differences(source, result), default=(0.0, 0))
        if worst[0] > _MAX_MEAN_DIFFERENCE:
            yield f"luma of frame {worst[1]} differs by {worst[0]:.1f} on average"


def _differences(source: Decoded, result: Decoded) -> Iterator[tuple[float, int]]:
    for number, (theirs, ours) in enumerate(zip(source.luma, result.luma, strict=False)):
        if theirs is not None and ours is not None and ours[::2, ::2].shape == theirs.shape:
            yield float(np.abs(ours[::2, ::2] - theirs).mean()), number


def _differing_sounds(source: Decoded, result: Decoded) -> Iterator[str]:
    for kind in ("video", "audio", "subtitle"):
        if source.kinds.count(kind) != result.kinds.count(kind):
            yield f"{result.kinds.count(kind)} {kind} streams; PyAV: {source.kinds.count(kind)}"
    expected = [sound for sound in source.sounds if sound.times[0] - source.start < source.end]
    if len(expected) != len(result.sounds):
        yield f"{len(result.sounds)} audio streams with packets; PyAV: {len(expected)}"
        return
    for number, (theirs, ours) in enumerate(zip(expected, result.sounds, strict=True)):
        offsets = [time - source.start for time in theirs.times if time - source.start < source.end]
        contents = theirs.contents[: len(offsets)]
        if ours.codec != theirs.codec:
            yield f"audio {number} is {ours.codec}; PyAV: {theirs.codec}"
            continue
        if len(ours.times) != len(offsets):
            yield f"audio {number} has {len(ours.times)} packets; PyAV: {len(offsets)}"
        changed = sum(not b.endswith(a) for a, b in zip(ours.contents, contents, strict=False))
        if changed:
            yield f"audio {number}: {changed} packets have other contents"
        moved = [
            abs(a - result.start - b) for a, b in zip(ours.times, offsets, strict=False)
            if abs(a - result.start - b) > _TOLERANCE
        ]  # fmt: skip
        if moved:
            yield f"audio {number}: {len(moved)} packets at other times, by up to {float(max(moved)):.4f} s"
